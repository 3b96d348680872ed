"""From all bindings of one role to what this cluster should own there, and a verdict for each binding.

Pure: everything that decides comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.api.conflicts import NO_SUBJECTS, profile_conflict, unknown_account
from trustbind.api.role_binding import DeletionPolicy, RoleBinding
from trustbind.api.role_grant import CONSENT_TAG, authorize, consents
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim, claims_on
from trustbind.policy.owned_statement import is_owned, sid_of, subjects_of
from trustbind.policy.plan import Desired
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.cache import BindingEntry, Registry

__all__ = ["Verdict", "desired_of", "judge", "stands_in", "with_consent"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is made of one binding, before its role is looked at.

    Attributes:
        entry: the binding.
        authorized: whether it may have what it asks for; None when that was not asked.
        reason: why it gets nothing; None when it gets what it asks for.
        message: one sentence for its condition.
        subjects: whom it names.
        claims: what it wants in the role's trust policy; empty with a reason.
        retains: whether it is going and leaves its trust.
        cluster: where it gets associations of EKS Pod Identity; None when it gets none, or they are somebody else's.
    """

    entry: BindingEntry
    authorized: bool | None
    reason: TrustReason | None
    message: str
    subjects: tuple[Subject, ...] = ()
    claims: tuple[Claim, ...] = ()
    retains: bool = False
    cluster: EksCluster | None = None

    @property
    def is_granted(self) -> bool:
        """Whether something will be written for it in AWS, so that it needs our finalizer before."""
        return not self.entry.deleting and (bool(self.claims) or self.cluster is not None)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two verdicts that ask for the same."""
        return (self.reason, self.message, self.subjects, self.claims, self.retains, self.entry.deleting, self.cluster)


def judge(entry: BindingEntry, registry: Registry, role: RoleArn) -> Verdict:
    """Return the verdict on one binding from what is known of the cluster.

    Args:
        entry: the binding.
        registry: everything else.
        role: whose trust policy is meant: the target role's.
    """
    binding = entry.binding
    if binding is None:
        return Verdict(entry, None, TrustReason.INVALID_SPEC, entry.problem)
    accounts = registry.accounts_of(binding.ref.namespace)
    subjects = binding.subjects(accounts)
    if entry.deleting:
        retains = binding.deletion_policy is DeletionPolicy.RETAIN and _may_stand(entry)
        kept = _still_granted(binding, registry, accounts) if retains else None
        if kept is None:
            return Verdict(entry, None, None, "it is being deleted", subjects)
        claims = claims_on(role, kept, {})
        return Verdict(entry, None, None, "it is being deleted", kept.subjects({}), claims, retains=True)
    if conflict := profile_conflict(binding, registry.rivals(binding), accounts):
        return Verdict(entry, None, TrustReason.PROFILE_CONFLICT, conflict, subjects)
    answer = authorize(
        binding,
        (s.name for s in subjects),
        registry.namespaces.get(binding.ref.namespace, {}),
        registry.grants.values(),
    )
    if not answer.is_granted:
        return Verdict(
            entry, authorized=False, reason=TrustReason.NOT_GRANTED, message=answer.message, subjects=subjects
        )
    if binding.method.uses_pod_identity_association:
        account = registry.aws_account(binding.role.account_id)
        cluster = account.eks if account is not None else None
        if cluster is None or subjects:  # without a cluster, the association of account and role is somebody else's
            return Verdict(
                entry, authorized=True, reason=None, message=answer.message, subjects=subjects, cluster=cluster
            )
        return Verdict(entry, authorized=True, reason=TrustReason.NO_SUBJECTS, message=NO_SUBJECTS)
    for needed in (binding.role, *((binding.source.role,) if binding.source else ())):
        if registry.aws_account(needed.account_id) is None:
            return Verdict(
                entry,
                authorized=True,
                reason=TrustReason.ACCOUNT_UNKNOWN,
                message=unknown_account(needed),
                subjects=subjects,
            )
    if not subjects and not binding.federated:
        return Verdict(
            entry,
            authorized=True,
            reason=TrustReason.NO_SUBJECTS,
            message=NO_SUBJECTS,
        )
    return Verdict(
        entry,
        authorized=True,
        reason=None,
        message=answer.message,
        subjects=subjects,
        claims=claims_on(role, binding, accounts),
    )


def with_consent(verdicts: Iterable[Verdict], account: AwsAccount, tags: Mapping[str, str]) -> list[Verdict]:
    """Return the verdicts after the role itself was asked, where the account wants that.

    Args:
        verdicts: as `judge` gave them.
        account: the role's account.
        tags: the role's tags.
    """
    if not account.require_role_consent:
        return list(verdicts)
    return [_consented(verdict, account, tags) for verdict in verdicts]


def desired_of(role: RoleArn, issuer: Issuer, verdicts: Iterable[Verdict]) -> Desired:
    """Return what this cluster wants in the role's trust policy."""
    claims: list[Claim] = []
    retained: list[Claim] = []
    for verdict in verdicts:
        (retained if verdict.retains else claims).extend(verdict.claims)
    return Desired(role, issuer, tuple(claims), tuple(retained))


def stands_in(document: TrustDocument, issuer: Issuer, role: RoleArn, verdict: Verdict) -> bool:
    """Return whether an owned statement of ``document`` lets in somebody whom the binding names, of any issuer.

    Args:
        document: the role's trust policy, as it was read.
        issuer: the cluster's.
        role: whose trust policy it is.
        verdict: on the binding.
    """
    owned = [s for s in document.statements if is_owned(s, issuer)]
    binding = verdict.entry.binding
    if binding is not None and binding.source is not None and role == binding.role:
        sids = {sid_of(issuer, claim.key) for claim in claims_on(role, binding, {})}
        return any(s.get("Sid") in sids for s in owned)
    wanted = {str(subject) for subject in verdict.subjects}
    if any(wanted.intersection(subjects_of(statement, issuer)) for statement in owned):
        return True
    federated = binding.federated if binding is not None else ()
    return any(
        subjects_of(statement, entry.issuer, of_cluster=False).intersection(entry.subjects)
        for entry in federated
        for statement in owned
    )


def _consented(verdict: Verdict, account: AwsAccount, tags: Mapping[str, str]) -> Verdict:
    namespace = verdict.entry.ref.namespace
    if verdict.reason is not None or verdict.entry.deleting or consents(tags, namespace):
        return verdict
    message = (
        f"AWSAccount {account.name} asks for the role's consent, and the role does not carry the tag {CONSENT_TAG} "
        f"with {namespace} in its value"
    )
    return Verdict(
        verdict.entry,
        authorized=False,
        reason=TrustReason.NO_CONSENT,
        message=message,
        subjects=verdict.subjects,
    )


def _may_stand(entry: BindingEntry) -> bool:
    """Return whether the binding's statement is, or may be, in the trust policy, and nobody took back its grant.

    Not whether ``TrustApplied`` is true: after one failed call it no longer is, and the trust would not be retained.
    With EKS Pod Identity the same is asked of its associations, which our finalizer came before.
    """
    conditions: Iterable[Mapping[str, object]] = entry.status.get("conditions") or ()
    refused = any(c.get("type") == "Authorized" and c.get("status") == "False" for c in conditions)
    by_agent = entry.binding is not None and entry.binding.method.uses_pod_identity_association
    return (entry.guarded if by_agent else bool(entry.status.get("statementId"))) and not refused


def _still_granted(
    binding: RoleBinding, registry: Registry, accounts: Mapping[str, Mapping[str, str]]
) -> RoleBinding | None:
    """Return what of a going binding is granted now, account by account and pattern by pattern; None for nothing.

    What is retained belongs to nobody, and no withdrawn grant revokes it later.
    """
    labels = registry.namespaces.get(binding.ref.namespace, {})

    def is_granted(part: RoleBinding, names: tuple[str, ...] = ()) -> bool:
        return authorize(part, names, labels, registry.grants.values()).is_granted

    plain = replace(binding, federated=())
    names = tuple(s.name for s in binding.subjects(accounts) if is_granted(plain, (s.name,)))
    federated = tuple(
        replace(entry, subjects=kept)
        for entry in binding.federated
        if (
            kept := tuple(
                s for s in entry.subjects if is_granted(replace(plain, federated=(replace(entry, subjects=(s,)),)))
            )
        )
    )
    if not names and not federated:
        return None
    return replace(binding, service_account_names=names, selector=None, federated=federated)
