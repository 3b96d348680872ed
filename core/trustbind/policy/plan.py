"""From what a trust policy is and what a cluster wants there, to what will be written, and what will not and why.

Nothing here acts. A `Plan` can be printed, compared and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    ChainKey,
    FederatedKey,
    Named,
    StatementKey,
    build,
    disowned,
    is_owned,
    owner_prefix,
    placeholder,
    sid_of,
    subjects_of,
)
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning, stale_principals
from trustbind.reasons import TrustReason

__all__ = [
    "DEFAULT_LIMIT",
    "NEAR_LIMIT_SHARE",
    "Change",
    "ChangeKind",
    "Desired",
    "Plan",
    "Refusal",
    "plan",
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
        retained: of bindings that go and leave their trust; it becomes a statement that nobody owns.
    """

    role: RoleArn
    issuer: Issuer
    claims: tuple[Claim, ...] = ()
    retained: tuple[Claim, ...] = ()


class ChangeKind(StrEnum):
    """What happens to an owned statement."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One owned statement that differs: ``before`` is None when added, ``after`` when removed."""

    kind: ChangeKind
    sid: str
    before: Statement | None
    after: Statement | None


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
    def blocked(self) -> Refusal | None:
        """What stops the whole write; None when nothing does."""
        return next((r for r in self.refusals if r.binding is None), None)


def plan(current: TrustDocument, desired: Desired, limit: int = DEFAULT_LIMIT) -> Plan:
    """Return what has to be written so that ``current`` holds what ``desired`` asks for.

    Foreign statements keep their content and their order. An owned statement that means the same stays as it is
    written. Where not everything fits, what is there already stays, and of the rest the oldest bindings come first.
    """
    valid, refusals = _valid_claims(desired, desired.claims)
    desired = replace(desired, claims=tuple(valid), retained=tuple(_standing(current, desired)))
    desired, unretained = _retainable(current, desired, limit)
    refusals += unretained
    claims, taken = _without_taken_sids(desired, sorted(desired.claims, key=_by_age))
    refusals += taken
    accepted, full = _fitting(current, desired, claims, limit)
    refusals += full
    document, changes = _compose(current, desired, accepted)
    applied = _applied(desired, accepted)
    if not changes:
        document = current
    planned = Plan(desired.role, current, document, changes, document.size, limit, tuple(refusals), applied)
    if changes and (block := _block(current, desired)):
        return withheld(planned, desired, block)
    return planned


def withheld(planned: Plan, desired: Desired, refusal: Refusal) -> Plan:
    """Return the plan that writes nothing, because of ``refusal``; what is there already still counts as applied."""
    held = {
        ref: sid
        for ref, sid in planned.applied.items()
        if _holds(planned.current, desired, (*desired.claims, *desired.retained), ref)
    }
    current = planned.current
    refusals = (*planned.refusals, refusal)
    pending = frozenset(change.sid for change in planned.changes)
    return Plan(planned.role, current, current, (), current.size, planned.limit, refusals, held, pending)


def _applied(desired: Desired, accepted: Iterable[Claim]) -> dict[BindingRef, str]:
    """Return the bindings of which every claim was accepted, with the Sid of the first."""
    held = set(accepted)
    partly = {c.binding for c in desired.claims if c not in held}
    applied: dict[BindingRef, str] = {}
    for claim in desired.claims:
        if claim.binding not in partly:
            applied.setdefault(claim.binding, sid_of(desired.issuer, claim.key))
    return applied


def _retainable(current: TrustDocument, desired: Desired, limit: int) -> tuple[Desired, list[Refusal]]:
    """Keep what a going binding leaves as an ordinary claim while there is no room for a statement of its own.

    Otherwise a deletion could push a living binding out of the document.
    """
    if not desired.retained or _compose(current, desired, desired.claims)[0].size <= limit:
        return desired, []
    kept = Desired(desired.role, desired.issuer, (*desired.claims, *desired.retained))
    return kept, [
        Refusal(
            binding,
            TrustReason.TRUST_POLICY_FULL,
            f"{binding}: the trust policy of {desired.role} has no room to retain its trust in a statement of "
            "its own; make room, or set spec.deletionPolicy: Revoke",
        )
        for binding in dict.fromkeys(claim.binding for claim in desired.retained)
    ]


def _by_age(claim: Claim) -> tuple[tuple[bool, str, BindingRef], BindingRef, str, str]:
    """Sort oldest first, and of one binding other issuers last, whatever order they come in."""
    foreign = claim.key if isinstance(claim.key, FederatedKey) else None
    return (claim.age, claim.binding, foreign.issuer.url if foreign else "", foreign.audience if foreign else "")


def _valid_claims(desired: Desired, claims: Iterable[Claim]) -> tuple[list[Claim], list[Refusal]]:
    """Sort out bindings of which a statement cannot be built at all."""
    good: list[Claim] = []
    bad: dict[BindingRef, Refusal] = {}
    for claim in sorted(claims, key=_by_age):
        try:
            build(desired.issuer, desired.role, claim.key, claim.subjects)
        except InvalidValueError as error:
            refusal = Refusal(claim.binding, TrustReason.INVALID_SPEC, f"{claim.binding}: {error}")
            bad.setdefault(claim.binding, refusal)
        else:
            good.append(claim)
    return [c for c in good if c.binding not in bad], list(bad.values())


def _without_taken_sids(desired: Desired, claims: list[Claim]) -> tuple[list[Claim], list[Refusal]]:
    """Two keys of one cluster with one Sid would need 2**16 statements; refuse the younger rather than mix them."""
    by_sid: dict[str, StatementKey] = {}
    good: list[Claim] = []
    bad: list[Refusal] = []
    reserved = owner_prefix(desired.issuer) + "0" * 8
    for claim in claims:
        sid = sid_of(desired.issuer, claim.key)
        if by_sid.setdefault(sid, claim.key) != claim.key or sid == reserved:
            bad.append(
                Refusal(
                    claim.binding,
                    TrustReason.SID_TAKEN,
                    f"{claim.binding}: its statement would have the Sid {sid}, which another one has; "
                    "change its audience or conditions",
                )
            )
        else:
            good.append(claim)
    return good, bad


def _fitting(
    current: TrustDocument, desired: Desired, claims: list[Claim], limit: int
) -> tuple[list[Claim], list[Refusal]]:
    """Return the claims that fit into ``limit``, and a refusal for each that does not."""
    whole, _ = _compose(current, desired, claims)
    if whole.size <= limit:
        return claims, []
    present = _present(current, desired)
    ordered = sorted(claims, key=lambda c: (not present(c), _by_age(c)))
    accepted: list[Claim] = []
    refused: dict[BindingRef, Refusal] = {}
    todo = list(ordered)
    while todo:
        claim = todo.pop(0)
        if claim.binding in refused and not present(claim):
            continue  # of a binding that does not fit as a whole, what was not there before stays out
        size = _compose(current, desired, [*accepted, claim])[0].size
        # A document that is over the limit already loses nobody for that: only what is new has to fit.
        if size <= (max(limit, current.size) if present(claim) else limit):
            accepted.append(claim)
            continue
        refused.setdefault(claim.binding, _too_long(desired, claim, size, limit))
        if any(c.binding == claim.binding and not present(c) for c in accepted):
            accepted, todo = [], list(ordered)  # it has taken room that it gives back
    return accepted, [refused[b] for b in dict.fromkeys(c.binding for c in claims) if b in refused]  # as they came


def _too_long(desired: Desired, claim: Claim, size: int, limit: int) -> Refusal:
    foreign = claim.key.issuer if isinstance(claim.key, FederatedKey) else None
    what = f"its statement for subjects of {foreign}" if foreign else "it"
    return Refusal(
        claim.binding,
        TrustReason.TRUST_POLICY_FULL,
        f"{claim.binding}: with {what} the trust policy of {desired.role} would have {size} characters, and the "
        f"account allows {limit}; remove a binding or another statement, use a second role, or raise the quota "
        "'Role trust policy length'",
    )


def _present(current: TrustDocument, desired: Desired) -> Callable[[Claim], bool]:
    """Return a predicate: does the current document already let in everyone whom the claim names?"""
    held = _held_by(current, desired)
    return lambda claim: (names := held(claim)) is not None and names.issuperset(map(str, claim.subjects))


def _standing(current: TrustDocument, desired: Desired) -> list[Claim]:
    """Return what bindings leave that go, as far as it stands: nobody is let in by a deletion who was not before.

    A spec can be changed and the binding deleted at once, before anybody asks whether the change is granted.
    """
    held = _held_by(current, desired)
    left: list[Claim] = []
    for claim in sorted(desired.retained, key=_by_age):
        names = held(claim)
        subjects = tuple(s for s in claim.subjects if names is not None and str(s) in names)
        if names is not None and (subjects or isinstance(claim.key, ChainKey)):
            left.append(replace(claim, subjects=subjects))
    return left


def _held_by(current: TrustDocument, desired: Desired) -> Callable[[Claim], frozenset[str] | None]:
    """Return a function: whom does the claim's statement let in now? None without such a statement."""
    owned = {s["Sid"]: s for s in current.statements if is_owned(s, desired.issuer)}

    def held(claim: Claim) -> frozenset[str] | None:
        statement = owned.get(sid_of(desired.issuer, claim.key))
        if statement is None:
            return None
        foreign = claim.key.issuer if isinstance(claim.key, FederatedKey) else None
        return subjects_of(statement, foreign or desired.issuer, of_cluster=foreign is None)

    return held


def _wanted(desired: Desired, claims: Iterable[Claim]) -> dict[str, Statement]:
    """Return Sid to statement for these claims, the subjects of one key grouped."""
    grouped: dict[StatementKey, set[Named]] = {}
    for claim in claims:
        grouped.setdefault(claim.key, set()).update(claim.subjects)
    built = [build(desired.issuer, desired.role, key, subjects) for key, subjects in grouped.items()]
    return {statement["Sid"]: statement for statement in sorted(built, key=lambda s: str(s["Sid"]))}


def _retained(desired: Desired) -> list[Statement]:
    """Return the statements of bindings that leave their trust behind, sorted; each stands alone."""
    built = [disowned(build(desired.issuer, desired.role, c.key, c.subjects), c.subjects) for c in desired.retained]
    return sorted({s["Sid"]: s for s in built}.values(), key=lambda s: str(s["Sid"]))


def _compose(
    current: TrustDocument, desired: Desired, claims: Sequence[Claim]
) -> tuple[TrustDocument, tuple[Change, ...]]:
    """Return the document with exactly these claims, and what differs."""
    wanted = _wanted(desired, claims)
    statements: list[Statement] = []
    changes: list[Change] = []
    seen: set[str] = set()
    for statement in current.statements:
        if not is_owned(statement, desired.issuer):
            statements.append(statement)
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
    there = {s.get("Sid") for s in current.statements}
    for left in _retained(desired):
        if left["Sid"] not in there:
            statements.append(left)
            changes.append(Change(ChangeKind.ADDED, str(left["Sid"]), None, left))
    for sid, statement in wanted.items():
        if sid not in seen:
            statements.append(statement)
            changes.append(Change(ChangeKind.ADDED, sid, None, statement))
    if not statements and current.statements:
        return _emptied(current, desired, changes)
    return current.with_statements(statements), tuple(changes)


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


def _holds(current: TrustDocument, desired: Desired, claims: Iterable[Claim], ref: BindingRef) -> bool:
    present = _present(current, desired)
    return all(present(c) for c in claims if c.binding == ref)


def _block(current: TrustDocument, desired: Desired) -> Refusal | None:
    """Return why IAM would refuse any write of this document, as far as can be told before."""
    for number, statement in enumerate(current.statements, start=1):
        if is_owned(statement, desired.issuer):
            continue
        if stale := stale_principals(statement):
            sid = statement.get("Sid")
            name = f"statement {number}" + (f" (Sid {sid!r})" if sid else "")
            return Refusal(
                None,
                TrustReason.STALE_PRINCIPAL,
                f"{name} of the trust policy of {desired.role} names {', '.join(stale)}, a principal that was deleted; "
                "IAM refuses every write of this document until that statement is corrected or removed",
            )
    return None
