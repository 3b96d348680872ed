"""What a run reached for each binding by EKS Pod Identity: from its decision and its namespace's result. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.plan import Refusal
from trustbind.policy.pod_identity import OWNER_TAG, owner_of, untrusted
from trustbind.policy.pod_identity_association import Association, Step
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.association_plan import AssociationWork, NamespaceResult, named_subjects
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.failure_reasons import TRANSIENT, association_failure
from trustbind.reconcile.outcome import BindingOutcome, has_failed
from trustbind.reconcile.rollout import RoleProgress
from trustbind.reconcile.stored_binding import ready_condition

__all__ = [
    "INJECTED_ONLY",
    "RELEASED",
    "NamespaceReport",
    "Seen",
    "association_outcome",
    "association_progress",
    "blocked_outcome",
    "held_bindings",
    "held_outcome",
    "is_left_in_step",
    "is_settled",
    "may_keep_status",
    "namespace_report",
    "observed",
    "unmanaged_outcome",
]

INJECTED_ONLY: Final = "pods get container credentials; the association with the role is EKS's"
"""The message of a binding whose AWSAccount names no EKS cluster."""

RELEASED: Final = frozenset({TrustReason.REVOKED, TrustReason.RETAINED, TrustReason.ACCOUNT_UNKNOWN})
"""Reasons with which a binding that is being deleted loses our finalizer."""

Problem = tuple[TrustReason, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """The role as its run found it.

    Attributes:
        document: its trust policy; None when it could not be read.
        tags: its tags.
        reason: why it could not be read.
        message: the sentence about that.
        problem: why its trust policy differs from what is wanted; None when it does not.
        unassociated: see `RolePlan.unassociated`.
    """

    document: TrustDocument | None
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: TrustReason = TrustReason.AWS_FAILED
    message: str = ""
    problem: Problem | None = None
    unassociated: Mapping[BindingRef, Refusal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamespaceReport:
    """A namespace's result, with what all its bindings need of it.

    Attributes:
        result: see `NamespaceResult`.
        problem: what stops everything that is not done there.
        has_strays: whether an association is, or may be, left that no binding names. It may have been made for any
            binding that is revoked, so none of them is released before.
    """

    result: NamespaceResult = field(default_factory=NamespaceResult)
    problem: Problem | None = None
    has_strays: bool = False


def observed(aws_account: AwsAccount, cluster: EksCluster, steps: Iterable[Step]) -> str:
    """Return why no association is written in an AWS account that is only observed."""
    return (
        f"AWSAccount {aws_account.name} has driftPolicy Observe, so no association is written in EKS cluster "
        f"{cluster.name}; it differs: {', '.join(map(str, steps))}"
    )


def namespace_report(work: AssociationWork, namespace: str, result: NamespaceResult) -> NamespaceReport:
    """Return the report on one namespace of a run."""
    problem = None
    differing = result.undone - result.overruled
    if result.error is not None:
        problem = association_failure(work.aws_account, work.cluster, work.role, result.error)
    elif differing:
        steps = sorted((step for step in result.planned.steps if step.subject in differing), key=lambda s: s.subject)
        problem = (TrustReason.OBSERVED, observed(work.aws_account, work.cluster, steps))
    here = work.namespaces.get(namespace)
    strays = here is not None and bool(result.undone - here.wanted.keys() - here.named)
    return NamespaceReport(result, problem, result.is_unseen or strays)


def association_outcome(
    decision: BindingDecision, work: AssociationWork, seen: Seen, report: NamespaceReport
) -> BindingOutcome:
    """Return what a run reached for one binding.

    Args:
        decision: for the binding.
        work: of the run.
        seen: the role.
        report: on the binding's namespace.
    """
    stored, reason, sentence = decision.stored, decision.reason, decision.message
    unfinished = _unfinished(decision, report)
    if unfinished is not None and stored.deleting:
        return blocked_outcome(decision, *unfinished)
    if unfinished is not None and reason is not None:
        return _lingering(
            decision, unfinished[0], f"{sentence}; its associations could not be deleted: {unfinished[1]}"
        )
    if (lingering := _lingering_trust(decision, seen)) is not None:
        return lingering
    if stored.deleting:
        end = TrustReason.RETAINED if decision.retains else TrustReason.REVOKED
        what = "stay in" if decision.retains else "were removed from"
        return BindingOutcome(None, "", end, f"the associations of {work.role} {what} EKS cluster {work.cluster.name}")
    if reason is not None:
        return BindingOutcome(decision.authorized, sentence, reason, sentence, decision.subjects)
    if (problem := _problem(decision, work, seen, report.result, unfinished)) is not None:
        return BindingOutcome(decision.authorized, sentence, *problem, named_subjects(decision))
    text = _applied(work.role, work.cluster, len(decision.subjects))
    if shared := sorted(s.name for s in decision.subjects if s in report.result.planned.shared):
        text += f"; another owner keeps the association of {', '.join(shared)}, and it names the same role"
    return BindingOutcome(decision.authorized, sentence, None, text, decision.subjects)


def held_bindings(decisions: Iterable[BindingDecision], seen: Seen) -> dict[BindingRef, Problem]:
    """Return the chains whose associations stay as they are for now, each with the reason."""
    held: dict[BindingRef, Problem] = {}
    for decision in decisions:
        binding = decision.stored.binding
        refusal = seen.unassociated.get(decision.stored.ref)
        if refusal is not None:
            held[decision.stored.ref] = refusal.reason, refusal.message
        elif binding is not None and decision.rollout.waits_for_target(decision):
            text = f"{decision.message}; its associations go after the trust in the target role {binding.role}"
            held[decision.stored.ref] = TrustReason.PENDING, text
    return held


def held_outcome(decision: BindingDecision, problem: Problem) -> BindingOutcome:
    """Return the outcome of a binding whose associations stay as they are for now."""
    authorized = None if decision.stored.deleting else decision.authorized
    return BindingOutcome(authorized, decision.message, *problem, named_subjects(decision), may_linger=True)


def association_progress(
    decision: BindingDecision,
    outcome: BindingOutcome,
    result: NamespaceResult,
    refusal: tuple[TrustReason, str] | None,
    hand_written: tuple[str, ...] = (),
) -> RoleProgress:
    """Return the progress of a chain by EKS Pod Identity in the role of its associations.

    Args:
        decision: for the binding.
        outcome: of that role alone.
        result: on the binding's namespace.
        refusal: why that role itself refuses the binding.
        hand_written: see `RoleProgress`.
    """
    binding = decision.stored.binding
    role = binding.association_role if binding is not None else None
    known = decision.rollout.at(role).associations if role is not None else None
    if result.present is not None:
        names = set(named_subjects(decision)) - result.planned.taken.keys()
        known = tuple(a for a in result.present if a.subject in names and a.role == str(role))
    is_revoked = decision.stored.deleting or decision.reason is not None
    if is_revoked and outcome.reason in {decision.reason, *RELEASED} and not outcome.may_linger:
        return RoleProgress(refusal=refusal, hand_written=hand_written, associations=())
    problem = (outcome.reason, outcome.message) if outcome.reason and has_failed(decision, outcome) else None
    stands = outcome.reason is None or outcome.may_linger or bool(known)
    is_missing = outcome.reason is TrustReason.ROLE_NOT_FOUND
    return RoleProgress(stands, refusal, problem, is_missing=is_missing, hand_written=hand_written, associations=known)


def blocked_outcome(decision: BindingDecision, reason: TrustReason, message: str) -> BindingOutcome:
    """Return the outcome of a binding whose release its associations block."""
    text = f"its associations could not be deleted, so it is kept: {message}"
    return BindingOutcome(None, "", reason, text, named_subjects(decision), may_linger=True)


def unmanaged_outcome(
    decision: BindingDecision, role: RoleArn, aws_account: AwsAccount | None, seen: Seen, issuer: Issuer
) -> BindingOutcome:
    """Return the outcome of a binding whose AWSAccount names no EKS cluster, or that has no AWSAccount."""
    if aws_account is not None and (lingering := _lingering_trust(decision, seen)) is not None:
        return lingering
    if decision.stored.deleting:
        return BindingOutcome(None, "", TrustReason.ACCOUNT_UNKNOWN, _left_behind(decision, role, aws_account, issuer))
    message = decision.message if decision.reason is not None else INJECTED_ONLY
    # Without an AWSAccount, a statement from another method cannot be revoked, so the status goes on to name it.
    return BindingOutcome(
        decision.authorized,
        decision.message,
        decision.reason,
        message,
        decision.subjects,
        may_linger=aws_account is None,
    )


def is_left_in_step(decision: BindingDecision, issuer: Issuer) -> bool:
    """Return whether the stored status of a binding by EKS Pod Identity says that this decision was carried out."""
    stored = decision.stored
    ready = ready_condition(stored.status) or {}
    if stored.is_chain and decision.reason is None:
        return False  # the external ids of its associations are in no status that counts
    if decision.cluster is not None and stored.binding is not None:
        return (
            stored.guarded
            and stored.is_applied(issuer, decision.subjects, "")
            and str(ready.get("message")).startswith(
                _applied(stored.binding.role, decision.cluster, len(decision.subjects))
            )
        )
    reason, message = (
        (TrustReason.APPLIED, INJECTED_ONLY) if decision.reason is None else (decision.reason, decision.message)
    )
    return (
        (ready.get("reason"), ready.get("message")) == (reason.value, message)
        and stored.status.get("observedGeneration") == stored.generation
        and not stored.statement_id
    )


def is_settled(decision: BindingDecision, outcome: BindingOutcome) -> bool:
    """Return whether a binding needs no retry: it is in order, or only its user or a grant can change its refusal."""
    return outcome.reason in {None, decision.reason, TrustReason.PENDING, *RELEASED}


def may_keep_status(decision: BindingDecision, outcome: BindingOutcome) -> bool:
    """Return whether a binding may keep its stored status for now, since AWS is busy; not when it is newly refused."""
    stored = decision.stored
    ready = ready_condition(stored.status)
    return (
        outcome.reason in TRANSIENT
        and ready is not None
        and stored.status.get("observedGeneration") == stored.generation
        and (decision.reason is None or ready.get("status") != "True")
    )


def _unfinished(decision: BindingDecision, report: NamespaceReport) -> Problem | None:
    """Return what keeps the binding's associations from being as wanted; None when they are."""
    stored = decision.stored
    is_revoked = stored.guarded and (stored.deleting or decision.reason is not None)
    concerned = named_subjects(decision) if stored.guarded or decision.cluster is not None else ()
    if not report.result.undone.isdisjoint(concerned) or (is_revoked and report.has_strays):
        return report.problem
    return None


def _lingering_trust(decision: BindingDecision, seen: Seen) -> BindingOutcome | None:
    """Return the outcome of a binding whose statement from another method may still stand; None when none does."""
    is_gone = seen.document is None and seen.reason is TrustReason.ROLE_NOT_FOUND
    problem = seen.problem if seen.document is not None else (seen.reason, seen.message)
    if problem is None or is_gone or not decision.stored.statement_id:
        return None
    if decision.stored.deleting:
        head = "its trust could not be revoked, so it is kept"
    elif decision.reason is not None:
        head = f"{decision.message}; its trust could not be revoked"
    else:
        head = "the trust that it had by another method could not be revoked"
    return _lingering(decision, problem[0], f"{head}: {problem[1]}")


def _lingering(decision: BindingDecision, reason: TrustReason, text: str) -> BindingOutcome:
    return BindingOutcome(
        decision.authorized, decision.message, reason, text, named_subjects(decision), may_linger=True
    )


def _problem(
    decision: BindingDecision, work: AssociationWork, seen: Seen, result: NamespaceResult, unfinished: Problem | None
) -> Problem | None:
    """Return why a granted binding is not in order; None when it is."""
    if seen.document is None:
        return seen.reason, seen.message
    if taken := [result.planned.taken[s] for s in decision.subjects if s in result.planned.taken]:
        return TrustReason.ASSOCIATION_TAKEN, _taken(work, taken)
    # EKS reads the trust policy, too, and its message says less.
    if unfinished is None or (result.error is not None and result.error.code == "InvalidParameterException"):
        is_tagged = decision.stored.binding is None or not decision.stored.binding.disable_session_tags
        closed = untrusted(seen.document, work.role, work.cluster, decision.subjects, is_tagged=is_tagged)
        return (TrustReason.UNTRUSTED, closed) if closed else unfinished
    return unfinished


def _taken(work: AssociationWork, taken: list[Association]) -> str:
    first, cluster = taken[0], work.cluster
    where = f"{first.subject.namespace}/{first.subject.name}"
    more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
    return (
        f"EKS cluster {cluster.name} associates service account {where}{more} with {first.gives} already, and that "
        f"association has another owner; delete it (aws eks delete-pod-identity-association --cluster-name "
        f"{cluster.name} --region {cluster.region} --association-id {first.listed.id}), or remove the service account "
        "from this binding"
    )


def _left_behind(decision: BindingDecision, role: RoleArn, aws_account: AwsAccount | None, issuer: Issuer) -> str:
    where = (
        f"no AWSAccount has accountId {role.account_id}"
        if aws_account is None
        else f"AWSAccount {aws_account.name} names no EKS cluster any more (spec.eks)"
    )
    text = (
        f"{where}, so associations of this binding may be left there; they have the tag {OWNER_TAG}={owner_of(issuer)}"
    )
    if aws_account is None and decision.stored.statement_id:
        text += f"; its statement {decision.stored.statement_id} may be left in the trust policy of {role}"
    return text


def _applied(role: RoleArn, cluster: EksCluster, count: int) -> str:
    plural = "" if count == 1 else "s"
    return (
        f"EKS cluster {cluster.name} in {cluster.region} associates {count} service account{plural} of this binding "
        f"with {role}"
    )
