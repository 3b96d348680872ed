"""From what a trust policy is and what a cluster wants there, to what will be written, and what will not and why.

Nothing here acts. A `Plan` can be printed, compared and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.evaluation.model import StatementRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim
from trustbind.policy.document_rules import STORED, Finding, findings
from trustbind.policy.document_rules.dead import variable_as_text
from trustbind.policy.fitting import Fit, LeftOut, OwnedStatements, fit
from trustbind.policy.owned_statement import (
    ChainKey,
    FederatedKey,
    Named,
    StatementKey,
    build,
    check_condition_issuers,
    has_owner_sid,
    is_owned,
    other_issuer,
    owner_prefix,
    placeholder,
    placeholder_sid,
    principal_of,
    retained_sid,
    sid_of,
)
from trustbind.policy.retained_trust import left_behind, record_of
from trustbind.policy.retention import KEEP_ALL, Retention
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning
from trustbind.policy.trusted_names import names_of
from trustbind.reasons import TrustReason

__all__ = [
    "DEFAULT_LIMIT",
    "NEAR_LIMIT_SHARE",
    "Change",
    "ChangeKind",
    "Desired",
    "Plan",
    "Refusal",
    "ReplacedStatement",
    "plan",
    "plan_without_revocation",
    "revoked_names",
    "standing_claims",
    "withheld",
]

DEFAULT_LIMIT: Final = 2048
"""Characters of a trust policy by default (IAM User Guide, "IAM and AWS STS quotas"); accounts can have more."""

NEAR_LIMIT_SHARE: Final = 0.8
"""From this share of the limit on, `TrustReason.NEAR_LIMIT` is told."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that one cluster wants in one role's trust policy, computed from all its live bindings.

    Attributes:
        role: whose trust policy.
        issuer: the cluster's.
        claims: of live bindings.
        retained: of bindings that go and leave their trust; it moves into a statement of its own.
        retention: which of what earlier bindings left may stay.
        former: of bindings that get nothing now; what they may have left is ours by its Sid and its principal.
        keeps_all: whether only additions are planned, so that every trusted subject stays trusted.
        replaced: foreign statements that claims take over, in the same write; see `ReplacedStatement`.
        restored: foreign statements that are written back for bindings that go.
    """

    role: RoleArn
    issuer: Issuer
    claims: tuple[Claim, ...] = ()
    retained: tuple[Claim, ...] = ()
    former: tuple[Claim, ...] = ()
    keeps_all: bool = False
    retention: Retention = KEEP_ALL
    replaced: tuple[ReplacedStatement, ...] = ()
    restored: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplacedStatement:
    """A foreign statement whose trust claims have as well, proved equal (`trustbind.migration.adoption`).

    Attributes:
        index: of it in the document that was read.
        after: what is left of it; None: nothing.
        bindings: whose claims have its trust; it goes only together with all of them.
    """

    index: int
    after: Statement | None
    bindings: frozenset[BindingRef]


class ChangeKind(StrEnum):
    """What happens to an owned statement."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    ADOPTED = "adopted"
    """A foreign statement, of which a binding's own has the trust now."""
    RESTORED = "restored"
    """A foreign statement, written back."""


@dataclass(frozen=True, slots=True)
class Change:
    """One statement that differs: ``before`` is None when added, ``after`` when removed."""

    kind: ChangeKind
    sid: str
    before: Statement | None
    after: Statement | None

    @property
    def is_foreign(self) -> bool:
        """Whether the statement is not ours."""
        return self.kind in {ChangeKind.ADOPTED, ChangeKind.RESTORED}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is not done, and why.

    Attributes:
        binding: whose wish; None when the whole write is meant.
        message: says what is wrong, where, and what to do.
    """

    binding: BindingRef | None
    reason: TrustReason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be written.

    Attributes:
        role: whose trust policy.
        current: the document that was read.
        document: the document that should be stored; the current one itself when there is nothing to do or the
            write is refused.
        changes: the owned statements that differ, in the order of the document.
        size: of ``document``, in characters without white space.
        limit: what the account allows, in the same unit.
        refusals: single bindings first, then what stops the whole write.
        applied: the bindings of which ``document`` holds everything, with the Sid of their first statement.
        pending: the Sids of owned statements that differ, where the whole write is refused.
    """

    role: RoleArn
    current: TrustDocument
    document: TrustDocument
    changes: tuple[Change, ...]
    size: int
    limit: int
    refusals: tuple[Refusal, ...] = ()
    applied: Mapping[BindingRef, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.changes

    @property
    def is_near_limit(self) -> bool:
        """Whether the resulting document is longer than 80 % of what is allowed."""
        return self.size > self.limit * NEAR_LIMIT_SHARE

    @property
    def fill(self) -> float:
        """The share of the limit that the document takes, 0 to 1; more where another writer exceeded it."""
        return self.size / self.limit

    @property
    def blocked(self) -> Refusal | None:
        """What stops the whole write; None when nothing does."""
        return next((r for r in self.refusals if r.binding is None), None)


def plan(current: TrustDocument, desired: Desired, limit: int = DEFAULT_LIMIT) -> Plan:
    """Return what has to be written so that ``current`` holds what ``desired`` asks for.

    Foreign statements keep their content and their order, but for those in `Desired.replaced`. An owned statement that
    means the same stays as it is written. What deleted bindings left stays in statements of its own while it is
    granted; what a live binding asks for is the live binding's. Where not everything fits, each binding keeps the
    subjects that the document already trusts for it. New subjects are added binding by binding, oldest first; a binding
    gets all of its new subjects or none.

    The work grows linearly with the number of claims, whatever fits.
    """
    asked = desired
    valid, refusals = _valid_claims(current, desired, desired.claims)
    desired = replace(desired, claims=tuple(valid))
    if desired.keeps_all:
        desired = replace(desired, claims=(*desired.claims, *_kept_claims(current, desired)), replaced=(), restored=())
    desired = replace(desired, retained=tuple(_standing(current, desired)))
    desired, unretained = _retainable(current, desired, limit)
    refusals += unretained
    claims, taken = _without_taken_sids(current, desired, sorted(desired.claims, key=_by_age))
    refusals += taken
    barred = {refusal.binding for refusal in taken if refusal.binding is not None}
    record = _recorded(current, desired)
    fitted = _fit(current, desired, claims, record, limit, barred)
    without = barred.union(fitted.left_out, (r.binding for r in refusals if r.binding is not None))
    if any(each.bindings & without for each in desired.replaced):
        # A statement goes only together with the claims that have its trust. With it, there is less room.
        left = tuple(each for each in desired.replaced if not each.bindings & without)
        return plan(current, replace(asked, replaced=left), limit)
    if desired.restored and _compose(current, desired, fitted.accepted, record)[0].size > max(limit, current.size):
        desired = replace(desired, restored=())
    refusals += [_too_long(desired, binding, left, limit) for binding, left in fitted.left_out.items()]
    document, changes = _compose(current, desired, fitted.accepted, record)
    applied = _applied(desired, barred.union(fitted.left_out))
    if not changes:
        document = current
    planned = Plan(desired.role, current, document, changes, document.size, limit, tuple(refusals), applied)
    if changes and (block := _block(current, desired)):
        return withheld(planned, desired, block)
    return planned


def plan_without_revocation(current: TrustDocument, desired: Desired, limit: int, refusal: Refusal) -> Plan:
    """Return the plan in which every trusted subject stays trusted.

    Args:
        current: see `plan`.
        desired: see `plan`.
        limit: see `plan`.
        refusal: says why; it is in the plan where something would have been revoked, and stops nothing else.
    """
    whole = plan(current, desired, limit)
    if not revoked_names(whole):
        return whole
    kept = plan(current, replace(desired, keeps_all=True), limit)
    applied = {ref: sid for ref, sid in kept.applied.items() if ref != _KEPT}
    pending = frozenset(c.sid for c in whole.changes if c.before is not None and not c.is_foreign)
    refusals = (*(r for r in kept.refusals if r.binding != _KEPT), refusal)
    return replace(kept, applied=applied, refusals=refusals, pending=kept.pending | pending)


def revoked_names(planned: Plan) -> frozenset[str]:
    """Return whom the role does not trust any more by our statements once the plan is carried out.

    Subjects of tokens, patterns of them, and source roles. Who moves from one statement to another is none of them.
    """
    changed = {change.sid for change in planned.changes if not change.is_foreign}
    owners = tuple(sid[:_OWNER] for sid in changed)  # who stands twice may be left in one that does not change
    stays = {str(s.get("Sid", "")) for s in planned.document.statements}
    return _trusted(planned.current, changed) - _trusted(planned.document, {s for s in stays if s.startswith(owners)})


def withheld(planned: Plan, desired: Desired, refusal: Refusal) -> Plan:
    """Return the plan that writes nothing, because of ``refusal``; what is there already still counts as applied."""
    there = _owned(planned.current, desired)
    lacking = {claim.binding for claim in (*desired.claims, *desired.retained) if there.split(claim)[1] is not None}
    held = {ref: sid for ref, sid in planned.applied.items() if ref not in lacking}
    current = planned.current
    refusals = (*planned.refusals, refusal)
    pending = frozenset(change.sid for change in planned.changes)
    return Plan(planned.role, current, current, (), current.size, planned.limit, refusals, held, pending)


def standing_claims(current: TrustDocument, issuer: Issuer, claims: Iterable[Claim]) -> list[Claim]:
    """Return the claims, oldest first, reduced to what ``current`` holds of them: they admit no new principal.

    Args:
        current: the document that was read.
        issuer: the cluster's.
        claims: of bindings that keep what stands and get nothing new. One that is deleted with ``Retain`` may have been
            changed just before, and nobody asked whether the change is granted.
    """
    there = OwnedStatements((s for s in current.statements if is_owned(s, issuer)), issuer)
    return _standing_in(there, claims)


def _trusted(document: TrustDocument, sids: Collection[str]) -> frozenset[str]:
    """Return whom the statements of a document with these Sids trust."""
    names: set[str] = set()
    for statement in document.statements:
        if statement.get("Sid") in sids and statement.get("Effect") == "Allow":
            names |= names_of(statement)
    return frozenset(names)


def _kept_claims(current: TrustDocument, desired: Desired) -> list[Claim]:
    """Return claims for all subjects that stand in statements that are wanted; other statements stay as they are."""
    there = _owned(current, desired)
    keys = dict.fromkeys(claim.key for claim in desired.claims if not isinstance(claim.key, ChainKey))
    return [Claim(_KEPT, key, tuple(sorted(names)), (False, "", _KEPT)) for key in keys if (names := there.names(key))]


def _applied(desired: Desired, partly: Collection[BindingRef]) -> dict[BindingRef, str]:
    """Return the bindings that get everything, with the Sid of their first statement."""
    applied: dict[BindingRef, str] = {}
    for claim in desired.claims:
        if claim.binding not in partly:
            applied.setdefault(claim.binding, sid_of(desired.issuer, claim.key))
    return applied


def _retainable(current: TrustDocument, desired: Desired, limit: int) -> tuple[Desired, list[Refusal]]:
    """Keep what a going binding leaves as an ordinary claim while it cannot have a statement of its own.

    There may be no room, and a deletion must not push a living binding out of the document; or another statement has
    its Sid.
    """
    if not desired.retained:
        return desired, []
    owns = _ownership(desired)
    foreign = {statement.get("Sid") for statement in current.statements if not owns(statement)}
    if foreign.intersection(retained_sid(desired.issuer, claim.key) for claim in desired.retained):
        reason, what = TrustReason.SID_TAKEN, "has another statement with the Sid that its retained trust needs"
        todo = "rename the Sid of that statement, or set spec.deletionPolicy: Revoke"
    elif _compose(current, desired, desired.claims, _recorded(current, desired))[0].size > limit:
        reason, what = TrustReason.TRUST_POLICY_FULL, "has no room to retain its trust in a statement of its own"
        todo = "make room, or set spec.deletionPolicy: Revoke"
    else:
        return desired, []
    kept = replace(desired, claims=(*desired.claims, *desired.retained), retained=())
    return kept, [
        Refusal(binding, reason, f"{binding}: the trust policy of {desired.role} {what}; {todo}")
        for binding in dict.fromkeys(claim.binding for claim in desired.retained)
    ]


def _by_age(claim: Claim) -> tuple[tuple[bool, str, BindingRef], BindingRef, str, str]:
    """Sort oldest first, and of one binding other issuers last, whatever order they come in."""
    foreign = claim.key if isinstance(claim.key, FederatedKey) else None
    return (claim.age, claim.binding, foreign.issuer.url if foreign else "", foreign.audience if foreign else "")


def _valid_claims(
    current: TrustDocument, desired: Desired, claims: Iterable[Claim]
) -> tuple[list[Claim], list[Refusal]]:
    """Sort out bindings of which a statement cannot be built at all, would be refused, or would never apply."""
    good: list[Claim] = []
    bad: dict[BindingRef, Refusal] = {}
    for claim in sorted(claims, key=_by_age):
        try:
            check_condition_issuers(desired.issuer, claim.key)
            built = build(desired.issuer, desired.role, claim.key, claim.subjects)
            _check_own(current.with_statements([built]), claim.key, desired.role)
        except InvalidValueError as error:
            refusal = Refusal(claim.binding, TrustReason.INVALID_SPEC, f"{claim.binding}: {error}")
            bad.setdefault(claim.binding, refusal)
        else:
            good.append(claim)
    return [c for c in good if c.binding not in bad], list(bad.values())


def _check_own(alone: TrustDocument, key: StatementKey, role: RoleArn) -> None:
    """Check a statement of ours as the rest of the document has it: its Version, and what IAM asks of other issuers.

    Args:
        alone: the document with this statement alone.
        key: of the statement.
        role: whose document.

    Raises:
        InvalidValueError: IAM refuses the statement, or it never applies.
    """
    other = other_issuer(key)
    if other is not None and (found := findings(alone, role, rules=STORED)):
        raise InvalidValueError(f"IAM refuses the statement for {other}, which {found[0].message}")
    if key.conditions and (found := findings(alone, role, rules=[variable_as_text])):
        raise InvalidValueError(f"its statement in the trust policy of {role} would never apply: it {found[0].message}")


def _without_taken_sids(
    current: TrustDocument, desired: Desired, claims: list[Claim]
) -> tuple[list[Claim], list[Refusal]]:
    """Sort out claims whose statement would have a Sid that another statement has.

    That is a foreign one, which is not overwritten, or the one of an older claim: two keys of one cluster with one Sid
    would need 2**32 statements, and are not mixed. IAM takes no document with one Sid twice.
    """
    owns = _ownership(desired)
    foreign = {
        s.get("Sid"): StatementRef(i, str(s.get("Sid"))) for i, s in enumerate(current.statements) if not owns(s)
    }
    by_sid: dict[str, StatementKey] = {}
    good: list[Claim] = []
    bad: list[Refusal] = []
    reserved = placeholder_sid(desired.issuer)
    for claim in claims:
        sid = sid_of(desired.issuer, claim.key)
        if sid in foreign:
            message = (
                f"{foreign[sid]} of the trust policy of {desired.role} has the Sid that this binding's "
                "statement needs, but names another principal; rename the Sid of that statement or remove the statement"
            )
        elif by_sid.setdefault(sid, claim.key) != claim.key or sid == reserved:
            message = (
                f"its statement would have the Sid {sid}, which another one has; change its audience or conditions"
            )
        else:
            good.append(claim)
            continue
        bad.append(Refusal(claim.binding, TrustReason.SID_TAKEN, f"{claim.binding}: {message}"))
    return good, bad


def _ownership(desired: Desired) -> Callable[[Statement], bool]:
    """Return a predicate: is a statement ours?

    Besides what `is_owned` finds, that is one with the Sid and the principal of a statement that is, or was, wanted:
    the conditions of a chain's statement may have been edited, and it is repaired, or removed.
    """
    principals: dict[Any, Statement] = {}
    kept: set[str] = set()
    if desired.keeps_all:
        kept.add(placeholder_sid(desired.issuer))
        kept.update(sid_of(desired.issuer, claim.key) for claim in desired.claims)
        kept.update(retained_sid(desired.issuer, claim.key) for claim in desired.retained)

    def owns(statement: Statement) -> bool:
        if desired.keeps_all and statement.get("Sid") not in kept:
            return False
        if is_owned(statement, desired.issuer):
            return True
        if not has_owner_sid(statement, desired.issuer):
            return False
        if not principals:
            for claim in (*desired.claims, *desired.retained, *desired.former):
                principal = {"Principal": principal_of(desired.issuer, desired.role, claim.key)}
                principals[sid_of(desired.issuer, claim.key)] = principal
                principals[retained_sid(desired.issuer, claim.key)] = principal
        wanted = principals.get(statement["Sid"])
        return wanted is not None and same_meaning(wanted, {"Principal": statement.get("Principal")})

    return owns


def _owned(current: TrustDocument, desired: Desired) -> OwnedStatements:
    return OwnedStatements(filter(_ownership(desired), current.statements), desired.issuer)


def _too_long(desired: Desired, binding: BindingRef, left: LeftOut, limit: int) -> Refusal:
    return Refusal(
        binding,
        TrustReason.TRUST_POLICY_FULL,
        f"{binding}: with it the trust policy of {desired.role} would have {left.size} characters, and the AWS account "
        f"allows {limit}, so {left.describe()}; remove a binding or another statement, use a second role, or raise the "
        "quota 'Role trust policy length'",
    )


def _standing(current: TrustDocument, desired: Desired) -> list[Claim]:
    """Return what bindings leave that are deleted, as far as it stands."""
    return _standing_in(_owned(current, desired), desired.retained)


def _standing_in(there: OwnedStatements, claims: Iterable[Claim]) -> list[Claim]:
    parts = (there.split(claim)[0] for claim in sorted(claims, key=_by_age))
    return [part for part in parts if part is not None]


def _wanted(desired: Desired, claims: Iterable[Claim]) -> dict[str, Statement]:
    """Return Sid to statement for these claims, the subjects of one key grouped."""
    grouped: dict[StatementKey, set[Named]] = {}
    for claim in claims:
        grouped.setdefault(claim.key, set()).update(claim.subjects)
    built = [build(desired.issuer, desired.role, key, subjects) for key, subjects in grouped.items()]
    return {statement["Sid"]: statement for statement in sorted(built, key=lambda s: str(s["Sid"]))}


def _recorded(current: TrustDocument, desired: Desired) -> list[Claim]:
    """Return what bindings leave and left, each as a claim: those that go now, and what stands of earlier ones."""
    retention = KEEP_ALL if desired.keeps_all else desired.retention
    return [*desired.retained, *record_of(_owned(current, desired).statements(), desired.issuer, retention)]


def _fit(
    current: TrustDocument,
    desired: Desired,
    claims: Sequence[Claim],
    record: Sequence[Claim],
    limit: int,
    barred: Collection[BindingRef],
) -> Fit:
    """Return what of the claims fits, beside foreign and retained statements.

    What a live binding takes over from a retained statement needs no second place; but while not all fits, it is not
    known who gets it, and the retained statement is counted whole.
    """
    foreign = [s for s, is_ours in _as_replaced(current, desired) if s is not None and not is_ours]
    there = _owned(current, desired)

    def fitted(taken: Sequence[Claim]) -> Fit:
        left = _as_written(current, left_behind(desired.role, desired.issuer, record, taken))
        return fit(current, there, [*foreign, *left], claims, limit, role=desired.role, barred=barred)

    found = fitted(claims)
    return fitted(()) if found.left_out and record else found


def _as_written(current: TrustDocument, wanted: Mapping[str, Statement]) -> list[Statement]:
    """Return statements as they will stand: one that means the same stays as it is written."""
    there = {str(s.get("Sid", "")): s for s in current.statements}
    return [
        there[sid] if sid in there and same_meaning(there[sid], statement) else statement
        for sid, statement in wanted.items()
    ]


def _compose(
    current: TrustDocument, desired: Desired, claims: Sequence[Claim], record: Iterable[Claim]
) -> tuple[TrustDocument, tuple[Change, ...]]:
    """Return the document with exactly these claims and what bindings leave and left, and what differs."""
    wanted = left_behind(desired.role, desired.issuer, record, claims) | _wanted(desired, claims)
    statements: list[Statement] = []
    changes: list[Change] = []
    seen: set[str] = set()
    for statement, (kept, is_ours) in zip(current.statements, _as_replaced(current, desired), strict=True):
        if not is_ours:
            if kept is not None:
                statements.append(kept)
            if kept is not statement:
                changes.append(Change(ChangeKind.ADOPTED, str(statement.get("Sid", "")), statement, kept))
            continue
        sid = str(statement["Sid"])
        after = None if sid in seen else wanted.get(sid)
        seen.add(sid)
        if after is None:
            changes.append(Change(ChangeKind.REMOVED, sid, statement, None))
        elif same_meaning(statement, after):
            statements.append(statement)
        else:
            statements.append(after)
            changes.append(Change(ChangeKind.CHANGED, sid, statement, after))
    for sid, statement in wanted.items():
        if sid not in seen:
            statements.append(statement)
            changes.append(Change(ChangeKind.ADDED, sid, None, statement))
    for statement in desired.restored:
        statements.append(statement)
        changes.append(Change(ChangeKind.RESTORED, str(statement.get("Sid", "")), None, statement))
    if not statements and current.statements:
        return _emptied(current, desired, changes)
    return current.with_statements(statements), tuple(changes)


def _as_replaced(current: TrustDocument, desired: Desired) -> list[tuple[Statement | None, bool]]:
    """Return each statement of the document, a foreign one as it is left, and whether it is ours."""
    owns = _ownership(desired)
    left = {each.index: each.after for each in desired.replaced}
    return [
        (statement, True) if owns(statement) else (left.get(index, statement), False)
        for index, statement in enumerate(current.statements)
    ]


def _emptied(
    current: TrustDocument, desired: Desired, changes: list[Change]
) -> tuple[TrustDocument, tuple[Change, ...]]:
    """Return the document that is left when nothing would be: IAM takes no policy without a statement."""
    lone = placeholder(desired.issuer, desired.role)
    sid = str(lone["Sid"])
    others = [c for c in changes if c.sid != sid]
    there = next((s for s in current.statements if s.get("Sid") == sid), None)
    if there is not None and same_meaning(there, lone):
        return current.with_statements([there]), tuple(others)
    kind = ChangeKind.ADDED if there is None else ChangeKind.CHANGED
    return current.with_statements([lone]), (*others, Change(kind, sid, there, lone))


def _block(current: TrustDocument, desired: Desired) -> Refusal | None:
    """Return why IAM would refuse any write of this document, as far as can be told before.

    IAM checks foreign statements, too, and takes the document as a whole or not. What it stores passed its rules when
    it was written, so only those count that may be broken since.
    """
    foreign = [f for f in findings(current, desired.role, rules=STORED) if not _is_own(f, current, desired)]
    if not foreign:
        return None
    first = min(foreign, key=lambda f: f.statement.index if f.statement is not None else -1)
    return Refusal(
        None,
        _STORED_REASONS.get(first.rule.name, TrustReason.FOREIGN_STATEMENT_REFUSED),
        f"{first.statement or 'the document'} of the trust policy of {desired.role} {first.message}; until then IAM "
        "refuses every write of this document",
    )


def _is_own(finding: Finding, current: TrustDocument, desired: Desired) -> bool:
    return finding.statement is not None and is_owned(current.statements[finding.statement.index], desired.issuer)


_KEPT: Final = BindingRef("", "")
"""The binding of claims that only keep what stands."""

_OWNER: Final = len(owner_prefix(Issuer("https://any")))
"""Characters of a Sid that say which cluster may own its statement."""

_STORED_REASONS: Final[Mapping[str, TrustReason]] = {"StalePrincipal": TrustReason.STALE_PRINCIPAL}
"""Reasons of their own of rules that foreign statements may break."""
