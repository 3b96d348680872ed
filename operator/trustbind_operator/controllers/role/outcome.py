"""What came of one binding in one role: from the verdict on it and the role's commit to its outcome. Pure."""

from __future__ import annotations

from dataclasses import replace

from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import FederatedKey, is_retained
from trustbind.policy.plan import Plan, Refusal
from trustbind.reasons import TrustReason
from trustbind_aws.resources.trust_policy import Commit
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import BindingOutcome
from trustbind_operator.controllers.binding.decision import Verdict, stands_in

__all__ = ["failed_outcome", "hindered", "outcome_of", "was_there"]


def outcome_of(verdict: Verdict, done: Commit, issuer: Issuer) -> BindingOutcome:
    """Return what came of one binding, from the verdict on it and the commit of its role."""
    entry, planned = verdict.entry, done.plan
    own = next((r for r in planned.refusals if r.binding == entry.ref), None)
    stopped = done.problem or planned.blocked
    stands = _stands(verdict, planned, issuer)
    lingers = stopped is not None and stands
    if entry.deleting:
        if (problem := own or stopped) is not None and stands:
            text = f"its trust could not be revoked, so it is kept: {problem.message}"
            return BindingOutcome(None, "", problem.reason, text, verdict.subjects, may_linger=True)
        left = any(is_retained(statement) for statement in planned.document.statements)
        reason = TrustReason.RETAINED if verdict.retains and left else TrustReason.REVOKED
        return BindingOutcome(None, "", reason, f"the trust policy of {planned.role} is as it should be")
    authorized, sentence = verdict.authorized, verdict.message
    if verdict.reason is not None:
        if lingers and stopped is not None:
            text = f"{sentence}; its trust could not be revoked: {stopped.message}"
            return BindingOutcome(authorized, sentence, stopped.reason, text, verdict.subjects, may_linger=True)
        return BindingOutcome(authorized, sentence, verdict.reason, sentence, verdict.subjects)
    statement_id = planned.applied.get(entry.ref, "")
    problem = own or done.problem
    if problem is None and (not statement_id or _may_hold_more(entry, planned)):
        problem = planned.blocked
    if problem is not None:
        return BindingOutcome(
            authorized, sentence, problem.reason, problem.message, verdict.subjects, may_linger=lingers
        )
    return BindingOutcome(
        authorized=authorized,
        authorization=sentence,
        reason=None,
        message=f"{planned.role} trusts {_counted(verdict)} of this binding",
        subjects=verdict.subjects,
        statement_id=statement_id,
        size=planned.size,
        limit=planned.limit,
        near_limit=planned.is_near_limit,
        changed=done.written > 0 and not was_there(entry),
    )


def failed_outcome(verdict: Verdict, reason: TrustReason, message: str, *, gone: bool) -> BindingOutcome:
    """Return what came of one binding whose role could not be brought in order; ``gone``: there is no such role."""
    entry, sentence = verdict.entry, verdict.message
    lingers = not gone and was_there(entry)
    if entry.deleting:
        text = f"its trust could not be revoked, so it is kept: {message}"
        return BindingOutcome(None, "", reason, text, verdict.subjects, may_linger=lingers)
    if verdict.reason is None:
        return BindingOutcome(verdict.authorized, sentence, reason, message, verdict.subjects, may_linger=lingers)
    if lingers:
        text = f"{sentence}; its trust could not be revoked: {message}"
        return BindingOutcome(verdict.authorized, sentence, reason, text, verdict.subjects, may_linger=True)
    return BindingOutcome(verdict.authorized, sentence, verdict.reason, sentence, verdict.subjects)


def hindered(outcome: BindingOutcome, hindrance: Refusal) -> BindingOutcome:
    """Return the outcome of a binding for which another issuer's provider is not as it should be."""
    if outcome.reason is None and not outcome.statement_id:  # nothing of it is written
        return replace(outcome, reason=hindrance.reason, message=hindrance.message)
    return replace(outcome, hindrance=hindrance)


def was_there(entry: BindingEntry) -> bool:
    """Return whether the stored status says that the binding's statement is, or may be, in the trust policy."""
    return bool(entry.status.get("statementId"))


def _stands(verdict: Verdict, planned: Plan, issuer: Issuer) -> bool:
    """Return whether trust of the binding's stands in the document that was read.

    The document is asked, not the status alone: that may never have been written. Nor the spec alone: it may have been
    changed since, and that not been written.
    """
    entry = verdict.entry
    if stands_in(planned.current, issuer, planned.role, verdict):
        return True
    return was_there(entry) and entry.status["statementId"] in {s.get("Sid") for s in planned.current.statements}


def _may_hold_more(entry: BindingEntry, planned: Plan) -> bool:
    """Return whether the binding was changed, and what differs and cannot be written now may be what it gave up."""
    return bool(planned.pending) and entry.status.get("observedGeneration") != entry.generation


def _counted(verdict: Verdict) -> str:
    count = len(verdict.subjects)
    others = sum(len(c.subjects) for c in verdict.claims if isinstance(c.key, FederatedKey))
    parts = [f"{count} service account{'' if count == 1 else 's'}"] if count or not others else []
    parts += [f"{others} subject{'' if others == 1 else 's'} of other issuers"] if others else []
    return " and ".join(parts)
