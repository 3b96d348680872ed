"""What each binding of a role may have, decided from a snapshot alone, before the role is read.

Claims are made here, once, and nothing below asks the cache again: what was granted is what is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.api.condition_places import check_own_keys
from trustbind.api.conflicts import NO_SUBJECTS, conflict_with, manager_role, unknown_account
from trustbind.api.role_binding import DeletionPolicy, NamespacePattern, RoleBinding
from trustbind.api.role_grant import CONSENT_TAG, PROTECTED_TAG, Authorization, authorize, consents
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim, claims_on
from trustbind.policy.owned_statement import is_owned, is_retained, sid_of, subjects_of
from trustbind.policy.plan import Desired
from trustbind.policy.retention import KEEP_ALL, KEEP_NONE, Retention, retention_of
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.rollout import NOT_STARTED, Rollout
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding

__all__ = [
    "BindingDecision",
    "consent_refusal",
    "decide",
    "decide_binding",
    "desired_of",
    "retention",
    "stands_in",
    "with_consent",
]


@dataclass(frozen=True, slots=True)
class BindingDecision:
    """What one binding may have in one role.

    Attributes:
        stored: the binding.
        authorized: whether it may have what it asks for; None when nobody asked.
        reason: why it gets nothing; None when it gets what it asks for.
        message: one sentence for its condition.
        subjects: the service accounts that it names or selects.
        claims: what it claims in the role's trust policy; empty with a reason.
        retains: whether it is being deleted and leaves its trust.
        restorable: what of a binding that is being deleted with ``Restore`` is granted now; nothing else is written
            back.
        cluster: where it gets EKS Pod Identity associations; None when it gets none, or another owner keeps them.
        rollout: how far a chain has come; see `Rollout`.
        keeps_standing: whether it gets nothing new, and what of its claims stands in the role stays.
    """

    stored: StoredBinding
    authorized: bool | None
    reason: TrustReason | None
    message: str
    subjects: tuple[Subject, ...] = ()
    claims: tuple[Claim, ...] = ()
    retains: bool = False
    restorable: tuple[Claim, ...] = ()
    cluster: EksCluster | None = None
    rollout: Rollout = NOT_STARTED
    keeps_standing: bool = False

    @property
    def needs_finalizer(self) -> bool:
        """Whether something will be written for it in AWS, so that it needs our finalizer first."""
        return not self.stored.deleting and (bool(self.claims) or self.cluster is not None)

    @property
    def adopts(self) -> bool:
        """Whether its statement replaces hand-written ones that give the same answers."""
        binding = self.stored.binding
        return binding is not None and binding.adopts and bool(self.claims) and not self.stored.deleting

    @property
    def only_keeps(self) -> bool:
        """Whether its claims are kept for now where they stand, and never written anew.

        The target role of a chain that is revoked trusts the source role until nobody comes through that.
        """
        return not self.retains and (self.stored.deleting or self.reason is not None)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two decisions that ask for the same."""
        return (
            self.reason,
            self.message,
            self.subjects,
            () if self.stored.is_chain else self.claims,  # of a chain they follow its rollout
            self.retains,
            self.restorable,
            self.adopts,
            self.stored.deleting,
            self.cluster,
            self.keeps_standing,
        )


def decide(snapshot: RoleSnapshot) -> tuple[BindingDecision, ...]:
    """Return the decision for each binding of the snapshot, in its order, with the claims that are due now.

    A chain claims only what its `Rollout` allows in this role now.
    """
    return tuple(
        b.rollout.step(
            replace(decide_binding(b, snapshot.around, snapshot.role), rollout=b.rollout),
            snapshot.role,
        )
        for b in snapshot.bindings
    )


def decide_binding(snapshot: BindingSnapshot, around: Surroundings, role: RoleArn) -> BindingDecision:
    """Return the decision for one binding, of a chain for both roles as a whole.

    Args:
        snapshot: the binding.
        around: see `Surroundings`.
        role: whose trust policy its claims are for.
    """
    stored = snapshot.stored
    binding = stored.binding
    subjects = snapshot.subjects
    if binding is None:
        return BindingDecision(stored, None, TrustReason.INVALID_SPEC, stored.problem)
    if stored.deleting:
        return _deleting(snapshot, binding, around, role)
    if snapshot.rival is not None:
        conflict = conflict_with(binding, snapshot.rival)
        return BindingDecision(stored, None, TrustReason.PROFILE_CONFLICT, conflict, subjects)
    answer = _authorization(binding, subjects, snapshot.namespace_labels, around)
    if not answer.is_granted:
        return BindingDecision(
            stored, authorized=False, reason=TrustReason.NOT_GRANTED, message=answer.message, subjects=subjects
        )
    if protected := _protected(binding, around):
        return BindingDecision(
            stored, authorized=False, reason=TrustReason.PROTECTED_ROLE, message=protected, subjects=subjects
        )
    if snapshot.source_conflict:
        return BindingDecision(
            stored,
            authorized=False,
            reason=TrustReason.SHARED_SOURCE,
            message=snapshot.source_conflict,
            subjects=subjects,
        )
    refused = _too_many(snapshot, answer) or _refused(binding, subjects, around)
    if refused is not None:
        reason, message = refused
        return BindingDecision(stored, authorized=True, reason=reason, message=message, subjects=subjects)
    if snapshot.unsafe is not None:
        reason, message = snapshot.unsafe
        kept = not snapshot.revokes_unsafe
        return BindingDecision(
            stored,
            authorized=True,
            reason=reason,
            message=message,
            subjects=subjects,
            claims=_standing_claims(role, binding, subjects, snapshot.former_pattern) if kept else (),
            keeps_standing=kept,
        )
    if stored.is_pod_identity:
        account = around.aws_accounts.get(binding.association_role.account_id)
        cluster = account.eks if account is not None else None
        return BindingDecision(
            stored, authorized=True, reason=None, message=answer.message, subjects=subjects, cluster=cluster
        )
    return BindingDecision(
        stored,
        authorized=True,
        reason=None,
        message=answer.message,
        subjects=subjects,
        claims=claims_on(role, binding, subjects),
    )


def with_consent(
    decisions: Iterable[BindingDecision], account: AwsAccount, tags: Mapping[str, str]
) -> list[BindingDecision]:
    """Return the decisions after the role's tags were asked: it may be protected, and its consent may be required.

    Args:
        decisions: as `decide` gave them.
        account: the role's AWSAccount.
        tags: the role's tags.
    """
    if not account.require_role_consent and PROTECTED_TAG not in tags:
        return list(decisions)
    return [_consented(decision, account, tags) for decision in decisions]


def consent_refusal(
    stored: StoredBinding, account: AwsAccount, tags: Mapping[str, str]
) -> tuple[TrustReason, str] | None:
    """Return why a role itself refuses a binding, whatever else is decided about it; None when it does not."""
    namespace = stored.ref.namespace
    if PROTECTED_TAG in tags:
        return TrustReason.PROTECTED_ROLE, f"the role carries the tag {PROTECTED_TAG}, so no binding may name it"
    if not account.require_role_consent:
        return None
    if stored.binding is not None and (pattern := stored.binding.pattern) is not None:
        return (
            TrustReason.NO_CONSENT,
            (
                f"AWSAccount {account.name} asks for the role's consent, and the tag {CONSENT_TAG} cannot name the "
                f"pattern {pattern.text}; use subjects: Exact in the RoleBindingSet"
            ),
        )
    if consents(tags, namespace):
        return None
    return (
        TrustReason.NO_CONSENT,
        (
            f"AWSAccount {account.name} asks for the role's consent, and the role does not carry the tag {CONSENT_TAG} "
            f"with {namespace} in its value"
        ),
    )


def desired_of(
    role: RoleArn, issuer: Issuer, decisions: Iterable[BindingDecision], retention: Retention = KEEP_ALL
) -> Desired:
    """Return what this cluster wants in the role's trust policy."""
    claims: list[Claim] = []
    retained: list[Claim] = []
    former: list[Claim] = []
    for decision in decisions:
        (retained if decision.retains else claims).extend(decision.claims)
        if not decision.claims and decision.stored.binding is not None:
            former.extend(claims_on(role, decision.stored.binding, decision.subjects))
    return Desired(role, issuer, tuple(claims), tuple(retained), tuple(former), retention=retention)


def retention(role: RoleArn, around: Surroundings, namespaces: Mapping[str, Mapping[str, str]]) -> Retention:
    """Return which of what deleted bindings left in a role may stay.

    Args:
        role: which.
        around: see `Surroundings`.
        namespaces: name to labels of all namespaces.
    """
    if _protected_role(role, around):
        return KEEP_NONE
    if around.leaving is DeletionPolicy.RETAIN:
        return KEEP_ALL
    return retention_of(role, around.grants, namespaces)


def stands_in(document: TrustDocument, issuer: Issuer, role: RoleArn, decision: BindingDecision) -> bool:
    """Return whether an owned statement of ``document`` admits a principal that the binding names, of any issuer.

    What other bindings left there is not counted.

    Args:
        document: the role's trust policy, as it was read.
        issuer: the cluster's.
        role: whose trust policy it is.
        decision: for the binding.
    """
    owned = [s for s in document.statements if is_owned(s, issuer) and not is_retained(s, issuer)]
    binding = decision.stored.binding
    if binding is not None and binding.source is not None and role == binding.role:
        sids = {sid_of(issuer, claim.key) for claim in claims_on(role, binding, ())}
        return any(s.get("Sid") in sids for s in owned)
    wanted = {str(subject) for subject in decision.subjects}
    if binding is not None and binding.pattern is not None:
        patterns = binding.pattern.subjects(subject.name for subject in decision.subjects)
        if any(subjects_of(s, issuer, of_cluster=False).intersection(patterns) for s in owned):
            return True
    if any(wanted.intersection(subjects_of(statement, issuer)) for statement in owned):
        return True
    federated = binding.federated if binding is not None else ()
    return any(
        subjects_of(statement, entry.issuer, of_cluster=False).intersection(entry.subjects)
        for entry in federated
        for statement in owned
    )


def _standing_claims(
    role: RoleArn, binding: RoleBinding, subjects: tuple[Subject, ...], former: NamespacePattern | None
) -> tuple[Claim, ...]:
    """Return what may stand of a binding with a pattern: that, the former one, or what it had without one."""
    variants = (replace(binding, pattern=pattern) for pattern in dict.fromkeys((binding.pattern, former, None)))
    return tuple(claim for each in variants for claim in claims_on(role, each, subjects))


def _refused(
    binding: RoleBinding, subjects: tuple[Subject, ...], around: Surroundings
) -> tuple[TrustReason, str] | None:
    """Return why a granted binding gets nothing; None when nothing is in its way."""
    try:
        check_own_keys(binding.conditions, around.issuer)
    except InvalidValueError as error:
        return TrustReason.INVALID_SPEC, str(error)
    if binding.method.uses_pod_identity_association and binding.source is None:
        account = around.aws_accounts.get(binding.role.account_id)
        # Without a cluster, another owner keeps the association of service account and role.
        kept = account is not None and account.eks is not None
        return (TrustReason.NO_SUBJECTS, NO_SUBJECTS) if kept and not subjects else None
    for needed in (binding.role, *((binding.source.role,) if binding.source else ())):
        if needed.account_id not in around.aws_accounts:
            return TrustReason.ACCOUNT_UNKNOWN, unknown_account(needed)
    account = around.aws_accounts[binding.association_role.account_id]
    if binding.method.uses_pod_identity_association and account.eks is None:
        return TrustReason.CLUSTER_NOT_FOUND, (
            f"AWSAccount {account.name} names no EKS cluster, and spec.targetRoleArn needs the association that "
            f"trustbind makes there; set spec.eks of AWSAccount {account.name}"
        )
    if not subjects and not binding.federated:
        return TrustReason.NO_SUBJECTS, NO_SUBJECTS
    return None


def _protected(binding: RoleBinding, around: Surroundings) -> str:
    """Return why no binding may name one of this binding's roles; empty when it may.

    A pod with a manager role could edit every trust policy of an AWS account, and one with the operator's could assume
    every manager role.
    """
    for role in (binding.role, *((binding.source.role,) if binding.source else ())):
        if problem := _protected_role(role, around):
            return problem
    return ""


def _protected_role(role: RoleArn, around: Surroundings) -> str:
    if RoleName.of(role) == around.own_role:
        return f"{role} is the role that the operator runs as, so no binding may name it"
    # A manager role is one of the AWS account that it manages.
    return manager_role(role, around.aws_accounts.get(role.account_id))


def _too_many(snapshot: BindingSnapshot, answer: Authorization) -> tuple[TrustReason, str] | None:
    """Return why a namespace may have no more; None when it may.

    A binding that was applied keeps what it has. Others come before it only when a grant allows less than before.
    """
    if snapshot.stored.was_applied:
        return None
    rank, namespace = snapshot.rank, snapshot.stored.ref.namespace
    subjects = rank.subjects + len(snapshot.subjects)
    for count, most, what, line in (
        (rank.bindings + 1, answer.max_bindings, "RoleBindings", "maxBindings"),
        (subjects, answer.max_subjects, "service accounts in its RoleBindings", "maxSubjects"),
    ):
        if most and count > most:
            message = (
                f"with it namespace {namespace} would have {count} {what}, and its RoleGrants allow {most}; delete "
                f"some that are not needed, or ask a cluster administrator for a larger {line} in RoleGrant "
                f"{answer.grant}"
            )
            return TrustReason.TOO_MANY, message
    return None


def _deleting(snapshot: BindingSnapshot, binding: RoleBinding, around: Surroundings, role: RoleArn) -> BindingDecision:
    stored = snapshot.stored
    policy = around.leaving or binding.deletion_policy
    leaves = policy is not DeletionPolicy.REVOKE and _may_stand(stored)
    is_refused = snapshot.source_conflict or _protected(binding, around)
    kept = _still_granted(snapshot, binding, around) if leaves and not is_refused else None
    if kept is None:
        return BindingDecision(stored, None, None, "it is being deleted", snapshot.subjects)
    part, subjects = kept
    claims = claims_on(role, part, subjects)
    if policy is DeletionPolicy.RESTORE:
        return BindingDecision(stored, None, None, "it is being deleted", snapshot.subjects, restorable=claims)
    return BindingDecision(stored, None, None, "it is being deleted", subjects, claims, retains=True)


def _authorization(
    binding: RoleBinding, subjects: Iterable[Subject], labels: Mapping[str, str], around: Surroundings
) -> Authorization:
    if around.grants is None:
        return Authorization("-", "no RoleGrant is asked for")
    return authorize(binding, (s.name for s in subjects), labels, around.grants)


def _consented(decision: BindingDecision, account: AwsAccount, tags: Mapping[str, str]) -> BindingDecision:
    is_going = decision.stored.deleting and not decision.retains and not decision.restorable
    if decision.reason is not None or is_going:
        return decision
    refused = consent_refusal(decision.stored, account, tags)
    if refused is None:
        return decision
    if decision.stored.deleting:
        return replace(decision, claims=(), retains=False, restorable=())
    reason, message = refused
    return replace(decision, authorized=False, reason=reason, message=message, claims=(), cluster=None)


def _may_stand(stored: StoredBinding) -> bool:
    """Return whether the binding's statement is, or may be, in the trust policy, and its grant was not withdrawn.

    Not whether ``TrustApplied`` is true: after one failed call it is not, and the trust would not be retained. For EKS
    Pod Identity the same is asked of its associations, which our finalizer precedes.
    """
    conditions: Iterable[Mapping[str, object]] = stored.status.get("conditions") or ()
    refused = any(c.get("type") == "Authorized" and c.get("status") == "False" for c in conditions)
    return (stored.guarded if stored.is_pod_identity else bool(stored.statement_id)) and not refused


def _still_granted(
    snapshot: BindingSnapshot, binding: RoleBinding, around: Surroundings
) -> tuple[RoleBinding, tuple[Subject, ...]] | None:
    """Return what of a binding that is being deleted is granted now; None for nothing.

    Asked for each service account and each pattern alone, as for what was retained before. While trustbind is being
    uninstalled, the administrator has decided, and the grants may be gone already.
    """
    if around.leaving is not None:
        return binding, snapshot.subjects

    def is_granted(part: RoleBinding, subjects: tuple[Subject, ...] = ()) -> bool:
        return _authorization(part, subjects, snapshot.namespace_labels, around).is_granted

    plain = replace(binding, federated=())
    subjects = tuple(s for s in snapshot.subjects if is_granted(plain, (s,)))
    federated = tuple(
        replace(entry, subjects=kept)
        for entry in binding.federated
        if (
            kept := tuple(
                s for s in entry.subjects if is_granted(replace(plain, federated=(replace(entry, subjects=(s,)),)))
            )
        )
    )
    if not subjects and not federated:
        return None
    return replace(binding, federated=federated), subjects
