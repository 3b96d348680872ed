"""What may be removed of what trustbind wrote in a trust policy: what nothing wants any more. Nothing is added.

A foreign statement stays. So does a statement of ours that differs from what trustbind writes, and with it the rest of
the trust policy: what it means is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim, claims_on
from trustbind.policy.fitting import OwnedStatements
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    FederatedKey,
    StatementKey,
    WebIdentityKey,
    build,
    external_ids_of,
    has_any_owner_sid,
    is_owned,
    is_retained,
    key_of,
    placeholder_sid,
    retained_key,
    retained_sid,
    sid_of,
    subjects_of,
)
from trustbind.policy.plan import DEFAULT_LIMIT, Change, ChangeKind, Desired, Plan, plan, standing_claims
from trustbind.policy.retention import KEEP_NONE, Retention
from trustbind.policy.source_policy import TaggedTarget
from trustbind.policy.trust_document import Statement, TrustDocument, same_meaning, stale_principals
from trustbind.policy.trusted_names import names_of, retained_names

__all__ = [
    "Scope",
    "Sweep",
    "SweepReason",
    "Swept",
    "claims_of",
    "narrowed",
    "other_owners",
    "sweep",
    "targets_wanted",
]


class SweepReason(StrEnum):
    """Why something is removed."""

    CLUSTER_GONE = "ClusterGone"
    UNBOUND = "Unbound"
    RETAINED = "Retained"
    SERVICE_ACCOUNT_GONE = "ServiceAccountGone"
    STALE_PRINCIPAL = "StalePrincipal"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is swept.

    Attributes:
        is_gone: whether the issuer's cluster is gone, so that nothing of it is wanted.
        retained: whether what deleted bindings left is swept, too.
        service_accounts: all that the cluster has; None: not known. A subject without one is taken out of what deleted
            bindings left.
    """

    is_gone: bool = False
    retained: bool = False
    service_accounts: frozenset[Subject] | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """One statement that goes, or is shortened.

    Attributes:
        sid: of the statement.
        reason: see `SweepReason`.
        names: whom it does not trust any more, sorted: subjects, patterns, source roles or external ids.
        is_whole: whether the statement goes.
    """

    sid: str
    reason: SweepReason
    names: tuple[str, ...]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is removed from one trust policy.

    Attributes:
        plan: see `Plan`.
        swept: what goes.
        retained: whom deleted bindings left there, where that is not swept.
        notes: what stays although one may want it gone, one sentence each.
    """

    plan: Plan
    swept: tuple[Swept, ...] = ()
    retained: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def removed(self) -> frozenset[tuple[str, str]]:
        """What goes, as pairs of Sid and name; the name is empty for the statement as a whole."""
        names = {(each.sid, name) for each in self.swept for name in each.names}
        return frozenset(names | {(each.sid, "") for each in self.swept if each.is_whole})


def sweep(
    role: RoleArn, document: TrustDocument, issuer: Issuer, claims: Iterable[Claim], scope: Scope = Scope()
) -> Sweep:
    """Return what of an issuer's own statements goes.

    Args:
        role: whose trust policy.
        document: as it was read.
        issuer: whose statements.
        claims: of all bindings of the cluster; see `claims_of`.
        scope: see `Scope`.
    """
    owned = [s for s in document.statements if is_owned(s, issuer)]
    nothing = Plan(role, document, document, (), document.size, max(DEFAULT_LIMIT, document.size))
    if not owned:
        return Sweep(nothing)
    wanted = [] if scope.is_gone else _wanted(owned, issuer, claims)
    if not scope.is_gone and (unclear := _unclear(owned, issuer, role)):
        return Sweep(nothing, notes=(unclear,))
    desired = Desired(role, issuer, tuple(standing_claims(document, issuer, wanted)), retention=_retention(scope))
    planned = plan(document, desired, nothing.limit)
    if odd := next((c for c in planned.changes if not _removes(c, issuer)), None):
        note = f"statement {odd.sid} of the trust policy of {role} would have to be rewritten, so nothing is removed"
        return Sweep(nothing, notes=(note,))
    swept = tuple(_swept(c, issuer, scope) for c in planned.changes if c.before is not None)
    stays = () if scope.is_gone or scope.retained else retained_names(planned.document, issuer)
    return Sweep(planned, swept, stays, _unserved(role, wanted, scope))


def narrowed(shown: Sweep, again: Sweep) -> Sweep:
    """Return what still goes of a sweep after what is wanted was read again.

    That is ``again``, unless it removes what ``shown`` does not: nobody has seen that, so nothing goes. What a binding
    has by now goes from what deleted bindings left, for example.

    Args:
        shown: what was shown.
        again: for the same trust policy, with the claims of both readings.
    """
    if again.removed <= shown.removed:
        return again
    current = again.plan.current
    return replace(again, plan=replace(again.plan, document=current, changes=(), size=current.size), swept=())


def claims_of(role: RoleArn, bindings: Iterable[tuple[RoleBinding, Sequence[Subject]]]) -> list[Claim]:
    """Return what bindings, each with its service accounts, claim in a role, granted or not.

    Which of it is granted is the operator's decision, so a binding that is refused keeps what stands of it here.
    """
    found = (claim for binding, subjects in bindings for claim in claims_on(role, binding, subjects))
    return list(dict.fromkeys(found))  # of two readings, most bindings are there twice


def targets_wanted(role: RoleArn, bindings: Iterable[RoleBinding]) -> frozenset[str]:
    """Return what bindings want a source role to assume, as `trustbind.policy.source_policy.targets_of` has it."""
    over = [b for b in bindings if b.source is not None and b.source.role == role]
    return frozenset(str(TaggedTarget(b.role)) if b.method.uses_pod_identity_association else str(b.role) for b in over)


def other_owners(document: TrustDocument, issuer: Issuer) -> frozenset[str]:
    """Return host and path of the OIDC providers in statements that other clusters' trustbind wrote."""
    found: set[str] = set()
    for statement in document.statements:
        principal = statement.get("Principal")
        named = principal.get("Federated") if isinstance(principal, dict) else None
        if isinstance(named, str) and has_any_owner_sid(statement) and not is_owned(statement, issuer):
            found.add(named.partition(":oidc-provider/")[2])
    return frozenset(found)


def _wanted(owned: Iterable[Statement], issuer: Issuer, claims: Iterable[Claim]) -> list[Claim]:
    """Return the claims, without those of a statement whose principal was deleted.

    Writing that one again would trust the role that has the name now. External ids are EKS's, and no object has them,
    so those that stand are wanted.
    """
    intact = [s for s in owned if not stale_principals(s)]
    there = OwnedStatements(intact, issuer)
    found: list[Claim] = []
    for claim in claims:
        if isinstance(claim.key, ChainKey) and there.statement(claim.key) is None:
            continue
        is_association = isinstance(claim.key, AssociationKey)
        found.append(replace(claim, subjects=tuple(sorted(there.names(claim.key)))) if is_association else claim)
    return [c for c in found if c.subjects or isinstance(c.key, ChainKey)]


def _unclear(owned: Iterable[Statement], issuer: Issuer, role: RoleArn) -> str:
    """Return why the trust policy is left alone; empty when each owned statement is as trustbind writes it."""
    for statement in owned:
        if stale_principals(statement) or statement.get("Sid") == placeholder_sid(issuer):
            continue
        if _is_of_set(statement, issuer):
            return (
                f"statement {statement['Sid']} of the trust policy of {role} trusts service accounts by a pattern, so "
                "nothing is removed there; the operator removes it together with its RoleBindingSet"
            )
        if not _is_as_written(statement, issuer, role):
            return (
                f"statement {statement['Sid']} of the trust policy of {role} differs from what trustbind writes, so "
                "nothing is removed there; let the operator reconcile the role, or edit the statement"
            )
    return ""


def _is_of_set(statement: Statement, issuer: Issuer) -> bool:
    """Return whether a statement may be of a RoleBindingSet: a pattern over the cluster's own service accounts."""
    condition = statement.get("Condition")
    block = condition.get("StringLike") if isinstance(condition, dict) else None
    return isinstance(block, dict) and issuer.subject_key in block


def _is_as_written(statement: Statement, issuer: Issuer, role: RoleArn) -> bool:
    keeps = is_retained(statement, issuer)
    key = retained_key(statement, issuer) if keeps else key_of(statement, issuer)
    if key is None:
        return False
    try:
        built = build(issuer, role, key, _names(statement, key, issuer))
    except InvalidValueError:  # it names nobody
        return False
    sid = (retained_sid if keeps else sid_of)(issuer, key)
    return same_meaning(statement, {**built, "Sid": sid})


def _names(statement: Statement, key: StatementKey, issuer: Issuer) -> frozenset[str]:
    match key:
        case AssociationKey():
            return external_ids_of(statement)
        case FederatedKey():
            return subjects_of(statement, key.issuer, of_cluster=False)
        case WebIdentityKey():
            return subjects_of(statement, issuer)
        case ChainKey():
            return frozenset()


def _retention(scope: Scope) -> Retention:
    if scope.is_gone or scope.retained:
        return KEEP_NONE
    return _OfServiceAccounts(None, None, scope.service_accounts)


@dataclass(frozen=True, slots=True)
class _OfServiceAccounts(Retention):
    """Everything may stay but service accounts that are gone."""

    there: frozenset[Subject] | None = None

    def kept(self, claim: Claim) -> Claim | None:
        if self.there is None or not isinstance(claim.key, WebIdentityKey):
            return claim
        left = tuple(s for s in claim.subjects if s in self.there)
        return replace(claim, subjects=left) if left else None


def _removes(change: Change, issuer: Issuer) -> bool:
    """Return whether a change only removes; the placeholder comes where nothing would be left."""
    if change.sid == placeholder_sid(issuer) or change.kind is ChangeKind.REMOVED:
        return True
    if change.kind is not ChangeKind.CHANGED or change.before is None or change.after is None:
        return False
    return names_of(change.after) < names_of(change.before)


def _swept(change: Change, issuer: Issuer, scope: Scope) -> Swept:
    before = change.before or {}
    lost = names_of(before) - (names_of(change.after) if change.after is not None else set())
    if change.sid == placeholder_sid(issuer):
        lost = set()
    return Swept(change.sid, _reason(before, lost, issuer, scope), tuple(sorted(lost)), change.after is None)


def _reason(before: Statement, lost: set[str], issuer: Issuer, scope: Scope) -> SweepReason:
    if scope.is_gone:
        return SweepReason.CLUSTER_GONE
    if stale_principals(before):
        return SweepReason.STALE_PRINCIPAL
    if is_retained(before, issuer):
        if scope.retained:
            return SweepReason.RETAINED
        if lost - set(map(str, scope.service_accounts or ())) and scope.service_accounts is not None:
            return SweepReason.SERVICE_ACCOUNT_GONE
    return SweepReason.UNBOUND


_SHOWN: Final = 3


def _unserved(role: RoleArn, claims: Iterable[Claim], scope: Scope) -> tuple[str, ...]:
    """Return a sentence for each binding that names service accounts that are gone; the operator would add them."""
    if scope.service_accounts is None:
        return ()
    notes: list[str] = []
    for claim in claims:
        if not isinstance(claim.key, WebIdentityKey):
            continue
        gone = [s for s in claim.subjects if isinstance(s, Subject) and s not in scope.service_accounts]
        if gone:
            names = ", ".join(f"{s.namespace}/{s.name}" for s in gone[:_SHOWN])
            more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
            notes.append(
                f"RoleBinding {claim.binding} gives {role} to {names}{more}, which the cluster does not have; remove "
                "them from the binding"
            )
    return tuple(notes)
