"""From the result of a role's run to an outcome for each binding, and to its progress in a chain. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import owner_prefix
from trustbind.policy.trusted_names import foreign_subjects
from trustbind.reasons import TrustReason
from trustbind.reconcile.association_outcome import RELEASED, Seen, association_progress
from trustbind.reconcile.association_plan import NamespaceResult, named_subjects
from trustbind.reconcile.decision import BindingDecision, consent_refusal
from trustbind.reconcile.failure_reasons import TRANSIENT
from trustbind.reconcile.outcome import (
    BindingOutcome,
    failed_outcome,
    has_failed,
    hindered,
    outcome_of,
    progress_of,
    restored,
)
from trustbind.reconcile.result import RoleResult
from trustbind.reconcile.role_plan import RoleWork
from trustbind.reconcile.rollout import RoleProgress

__all__ = ["BindingReport", "of_associations", "of_decisions", "of_failure", "of_result", "of_unknown_account"]


@dataclass(frozen=True, slots=True)
class BindingReport:
    """What one run of a role reached for one binding.

    Attributes:
        decision: as the role agreed to it.
        outcome: of this role alone.
        progress: for the binding's rollout.
        release: why the binding may be released once nothing of it stands in another role; None: it may not.
        is_kept: whether the stored status is left as it is: a passing failure says nothing about the trust.
    """

    decision: BindingDecision
    outcome: BindingOutcome
    progress: RoleProgress
    release: TrustReason | None = None
    is_kept: bool = False


_GONE = frozenset({TrustReason.REVOKED, TrustReason.RETAINED, TrustReason.RESTORED})


def of_result(work: RoleWork, result: RoleResult) -> list[BindingReport]:
    """Return a report for each binding that waits neither for the cluster's OIDC provider nor for a record.

    Args:
        work: what the run was to reach.
        result: of the run.
    """
    asked = {d.stored.uid: d for d in work.decisions}
    planned = result.planned
    reports: list[BindingReport] = []
    for decision in planned.decisions:
        stored = decision.stored
        if decision in planned.held or stored.ref in planned.adoption.to_record:
            continue
        outcome = outcome_of(decision, planned.trust, result.problem, result.written, work.issuer)
        if planned.trust.blocked is not None and planned.trust.blocked.reason is TrustReason.REVOCATION_PAUSED:
            # Only the status lists what the role trusts, and it has to survive a restart.
            outcome = replace(outcome, subjects=named_subjects(decision))
        outcome = restored(decision, outcome, result.unrestored.get(stored.ref, ""))
        outcome = replace(outcome, adoption=planned.adoption.states.get(stored.ref))
        if (hindrance := planned.hindrances.get(stored.ref)) is not None:
            outcome = hindered(outcome, hindrance)
        progress = progress_of(asked[stored.uid], decision, planned, result.problem, work.issuer)
        # Consent is asked apart from the decision: where the other role refused, each would wait for the other.
        refusal = consent_refusal(stored, work.aws_account, result.seen.tags)
        progress = replace(progress, refusal=refusal, problem=_problem(decision, outcome))
        release = outcome.reason if outcome.reason in _GONE else None
        # After a restart the external ids of associations are not known, and what stands is as it was.
        is_kept = progress.is_waiting and stored.is_pod_identity and stored.is_ready
        reports.append(BindingReport(decision, outcome, progress, release, is_kept))
    return reports


def of_decisions(role: RoleArn, decisions: Iterable[BindingDecision]) -> list[BindingReport]:
    """Return a report for each binding of a role that was not read: nothing is granted there, and nothing stands."""
    reports: list[BindingReport] = []
    for decision in decisions:
        progress = RoleProgress(refusal=decision.rollout.at(role).refusal)
        if decision.stored.deleting:
            outcome = BindingOutcome(None, "", TrustReason.REVOKED, f"{role} has no trust of this binding")
            reports.append(BindingReport(decision, outcome, progress, TrustReason.REVOKED))
            continue
        outcome = BindingOutcome(
            decision.authorized, decision.message, decision.reason, decision.message, decision.subjects
        )
        reports.append(BindingReport(decision, outcome, progress))
    return reports


def of_failure(
    role: RoleArn, decisions: Iterable[BindingDecision], reason: TrustReason, message: str, *, is_passing: bool
) -> list[BindingReport]:
    """Return a report for each binding of a role whose run failed.

    Args:
        role: which.
        decisions: of its bindings.
        reason: why it failed.
        message: the sentence about that.
        is_passing: whether the failure may pass before anybody has to know: few in a row, and no drift is known.
    """
    gone = reason is TrustReason.ROLE_NOT_FOUND
    reports: list[BindingReport] = []
    for decision in decisions:
        stored = decision.stored
        before = decision.rollout.at(role)
        if stored.deleting and gone:
            text = f"there is no role {role}, and so no trust"
            outcome = BindingOutcome(None, "", TrustReason.REVOKED, text)
            progress = RoleProgress(is_missing=True)
            reports.append(BindingReport(decision, outcome, progress, TrustReason.REVOKED))
            continue
        outcome = failed_outcome(decision, reason, message, gone=gone)
        problem = _problem(decision, outcome)
        # The tags by which a role refused are gone with it.
        progress = (
            RoleProgress(problem=problem, is_missing=True)
            if gone
            else RoleProgress(before.stands, before.refusal, problem)
        )
        is_kept = is_passing and reason in TRANSIENT and stored.is_ready
        if is_kept:
            progress = before
        reports.append(BindingReport(decision, outcome, progress, is_kept=is_kept))
    return reports


def of_associations(
    role: RoleArn,
    outcomes: Iterable[tuple[BindingDecision, BindingOutcome]],
    aws_account: AwsAccount | None,
    seen: Seen,
    issuer: Issuer,
    results: Mapping[str, NamespaceResult] | None = None,
    due: Collection[BindingRef] | None = None,
) -> list[BindingReport]:
    """Return a report for each chain by EKS Pod Identity, in the role of its associations.

    Args:
        role: which.
        outcomes: of that role alone, for its bindings by EKS Pod Identity.
        aws_account: the role's AWS account; None: no AWSAccount describes it.
        seen: the role as its run found it.
        issuer: the cluster's.
        results: by namespace, what the run reached for associations.
        due: the bindings whose status is written; None: all of them.
    """
    reports: list[BindingReport] = []
    hand_written = foreign_subjects(seen.document, issuer) if seen.document is not None else ()
    for decision, outcome in outcomes:
        stored, binding = decision.stored, decision.stored.binding
        if binding is None or not stored.is_chain:
            continue
        refusal = decision.rollout.at(role).refusal
        if aws_account is not None and seen.document is not None:
            refusal = consent_refusal(stored, aws_account, seen.tags)
        result = (results or {}).get(stored.ref.namespace, NamespaceResult())
        progress = association_progress(decision, outcome, result, refusal, hand_written)
        release = outcome.reason if stored.deleting and outcome.reason in RELEASED else None
        # After a restart, a status is kept until it is known whether the target role trusts the associations.
        is_unknown = outcome.reason is None and decision.rollout.at(binding.role).trusted is None
        is_kept = (stored.is_ready and is_unknown) or (due is not None and stored.ref not in due)
        reports.append(BindingReport(decision, outcome, progress, release, is_kept))
    return reports


def of_unknown_account(role: RoleArn, decisions: Iterable[BindingDecision], issuer: Issuer) -> list[BindingReport]:
    """Return a report for each binding of a role whose AWS account no AWSAccount describes."""
    reports: list[BindingReport] = []
    for decision in decisions:
        refusal = decision.rollout.at(role).refusal
        if decision.stored.deleting:
            left = (
                f"no AWSAccount has accountId {role.account_id}, so a statement of this binding may be left in the "
                f"trust policy of {role}; its Sid begins with {owner_prefix(issuer)}"
            )
            outcome = BindingOutcome(None, "", TrustReason.REVOKED, left)
            reports.append(BindingReport(decision, outcome, RoleProgress(refusal=refusal), TrustReason.ACCOUNT_UNKNOWN))
            continue
        reason = decision.reason or TrustReason.ACCOUNT_UNKNOWN
        outcome = BindingOutcome(
            decision.authorized, decision.message, reason, decision.message, decision.subjects, may_linger=True
        )
        # What is left there cannot be revoked, so nothing waits for it; the role's next run finds it.
        reports.append(BindingReport(decision, outcome, RoleProgress(refusal=refusal)))
    return reports


def _problem(decision: BindingDecision, outcome: BindingOutcome) -> tuple[TrustReason, str] | None:
    if outcome.reason is None or not has_failed(decision, outcome):
        return None
    return outcome.reason, outcome.message
