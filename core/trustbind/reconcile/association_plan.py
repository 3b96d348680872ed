"""What one run of a role wants of EKS Pod Identity associations, and what it reached. Pure.

Everything is by namespace: a service account has one association, and a binding names service accounts of its own
namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from trustbind.api.aws_account import AwsAccount, DriftPolicy, EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity_association import Association, AssociationPlan, Wish, plan_associations
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.stored_binding import SHOWN_SUBJECTS, StoredBinding

__all__ = [
    "AssociationWork",
    "NamespaceResult",
    "NamespaceWork",
    "association_work",
    "known_after",
    "may_have_more",
    "named_subjects",
    "plan_namespace",
    "shown_subjects",
    "wish_of",
]


@dataclass(frozen=True, slots=True)
class NamespaceWork:
    """What a run is to reach in one namespace.

    Attributes:
        namespace: which.
        concerned: the service accounts that have, may have, or should have an association of ours with the role.
        wanted: of these, those that should have one, each with what it is to be.
        retained: of these, those whose association stays and loses our tags.
        named: of these, those that a binding names, or its status.
        kept: of these, those whose association stays as it is for now.
    """

    namespace: str
    concerned: frozenset[Subject]
    wanted: Mapping[Subject, Wish] = field(default_factory=dict)
    retained: frozenset[Subject] = frozenset()
    named: frozenset[Subject] = frozenset()
    kept: frozenset[Subject] = frozenset()


@dataclass(frozen=True, slots=True)
class AssociationWork:
    """What one run of a role is to reach.

    Attributes:
        role: which.
        issuer: the cluster's.
        aws_account: the role's AWS account.
        cluster: the EKS cluster there.
        namespaces: every namespace with a service account that is concerned.
    """

    role: RoleArn
    issuer: Issuer
    aws_account: AwsAccount
    cluster: EksCluster
    namespaces: Mapping[str, NamespaceWork]

    @property
    def may_write(self) -> bool:
        """Whether anything may be written in the AWS account."""
        return self.aws_account.drift_policy is DriftPolicy.REPAIR


@dataclass(frozen=True, slots=True)
class NamespaceResult:
    """What a run reached in one namespace.

    Attributes:
        planned: the last plan that was made.
        present: the associations of the service accounts that are concerned, as they were seen or written last; None
            when they could not be read.
        undone: service accounts whose association differs from what is wanted, or was not read.
        overruled: of these, those that another role claims now.
        written: how many steps were carried out.
        error: what stopped the rest; None and something undone: nothing may be written.
        is_unseen: whether associations of ours may be there that no run knows of.
    """

    planned: AssociationPlan = field(default_factory=AssociationPlan)
    present: tuple[Association, ...] | None = None
    undone: frozenset[Subject] = frozenset()
    overruled: frozenset[Subject] = frozenset()
    written: int = 0
    error: AwsError | None = None
    is_unseen: bool = False


def association_work(
    role: RoleArn,
    issuer: Issuer,
    aws_account: AwsAccount,
    cluster: EksCluster,
    decisions: Iterable[BindingDecision],
    known: Collection[Subject],
    *,
    kept: Collection[BindingRef] = (),
    creates: bool = True,
    deletes: bool = True,
) -> AssociationWork:
    """Return what a run is to reach.

    Args:
        role: which.
        issuer: the cluster's.
        aws_account: the role's AWS account.
        cluster: the EKS cluster there.
        decisions: for the role's bindings by EKS Pod Identity, oldest first.
        known: service accounts that have, or may have, an association of ours with the role.
        kept: bindings whose associations stay as they are for now.
        creates: False leaves what is wanted as it is, and only deletes the rest.
        deletes: False leaves what is not wanted as it is.
    """
    wanted: dict[Subject, Wish] = {}
    retained: set[Subject] = set()
    named: set[Subject] = set()
    held: set[Subject] = set()
    for decision in decisions:
        if decision.stored.ref in kept:
            held.update(named_subjects(decision))
        elif decision.cluster is not None:
            wish = wish_of(decision)
            for subject in decision.subjects:
                wanted.setdefault(subject, wish)
        if decision.retains:
            retained.update(decision.subjects)
        if decision.stored.guarded:
            named.update(named_subjects(decision))
    concerned = {*known, *named, *wanted} if creates else {*known, *named} - wanted.keys()
    if not deletes:
        concerned = concerned & wanted.keys()
    groups: defaultdict[str, set[Subject]] = defaultdict(set)
    for subject in concerned:
        groups[subject.namespace].add(subject)
    namespaces = {
        namespace: NamespaceWork(
            namespace,
            frozenset(group),
            {s: wanted[s] for s in group & wanted.keys()},
            frozenset(group & retained),
            frozenset(group & named),
            frozenset(group & held - wanted.keys()),
        )
        for namespace, group in groups.items()
    }
    return AssociationWork(role, issuer, aws_account, cluster, namespaces)


def wish_of(decision: BindingDecision) -> Wish:
    """Return what the associations of a granted binding are to be."""
    stored, binding = decision.stored, decision.stored.binding
    if binding is None:
        return Wish(stored.ref)
    return Wish(
        stored.ref,
        str(binding.role) if binding.source is not None else "",
        binding.disable_session_tags,
        binding.session_policy,
        decision.rollout.at(binding.role).trusted or frozenset(),
    )


def plan_namespace(work: AssociationWork, here: NamespaceWork, present: Iterable[Association]) -> AssociationPlan:
    """Return the plan for one namespace from the associations that its concerned service accounts have."""
    return plan_associations(str(work.role), work.issuer, here.wanted, present, here.retained, here.kept)


def known_after(
    known: Iterable[Subject], work: AssociationWork, results: Mapping[str, NamespaceResult]
) -> frozenset[Subject]:
    """Return the service accounts that have, or may have, an association of ours with the role after a run."""
    after = set(known)
    for namespace, here in work.namespaces.items():
        result = results[namespace]
        after -= here.concerned
        after |= here.kept | result.undone | (here.wanted.keys() - result.planned.taken.keys() - result.planned.shared)
    return frozenset(after)


def may_have_more(decision: BindingDecision) -> bool:
    """Return whether a binding may have associations that neither its spec nor its status names."""
    stored = decision.stored
    listed = len(stored.status.get("subjects") or ())
    return stored.guarded and (
        stored.deleting or decision.reason is not None or listed >= SHOWN_SUBJECTS or stored.is_respecified
    )


def named_subjects(decision: BindingDecision) -> tuple[Subject, ...]:
    """Return the service accounts that a binding names, and those of its namespace that its status lists, sorted."""
    return tuple(sorted({*decision.subjects, *shown_subjects(decision.stored)}))


def shown_subjects(stored: StoredBinding) -> frozenset[Subject]:
    """Return the service accounts that a binding's status lists.

    A status is untrusted input, so subjects of other namespaces are ignored.
    """
    shown: set[Subject] = set()
    for text in stored.status.get("subjects") or ():
        try:
            subject = Subject.parse(str(text))
        except InvalidValueError:
            continue
        if subject.namespace == stored.ref.namespace:
            shown.add(subject)
    return frozenset(shown)
