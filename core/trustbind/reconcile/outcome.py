"""What a run reached for one binding: from its decision and the role's plan to its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trustbind.api.role_binding import DeletionPolicy, RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import external_ids_of, is_retained, other_issuer, sid_of
from trustbind.policy.plan import Plan, Refusal
from trustbind.policy.pod_identity_association import Association
from trustbind.policy.trust_document import Statement
from trustbind.policy.trusted_names import foreign_subjects
from trustbind.reasons import TrustReason
from trustbind.reconcile.adoption import AdoptedStatement, AdoptionState
from trustbind.reconcile.decision import BindingDecision, stands_in
from trustbind.reconcile.role_plan import RolePlan
from trustbind.reconcile.rollout import RoleProgress, Rollout, other_role
from trustbind.reconcile.stored_binding import StoredBinding

__all__ = [
    "SETTLED",
    "BindingOutcome",
    "chain_outcome",
    "failed_outcome",
    "has_failed",
    "hindered",
    "outcome_of",
    "progress_of",
    "restored",
]

SETTLED = frozenset({TrustReason.REVOKED, TrustReason.RETAINED, TrustReason.RESTORED, TrustReason.PENDING})
"""Reasons that are steps of the way, and no failure."""


@dataclass(frozen=True, slots=True)
class BindingOutcome:
    """What a run reached for one binding.

    Attributes:
        authorized: whether a grant covers it; None when nobody asked.
        authorization: the sentence about that.
        reason: why its trust is not applied; None when it is.
        message: the sentence about that.
        subjects: the service accounts that it names or selects.
        statement_id: the Sid of its first statement.
        size: of the role's trust policy, in characters.
        limit: characters that the AWS account allows.
        near_limit: whether the trust policy is nearly full.
        changed: whether its statement was written in this run.
        may_linger: whether its statement may stand in the trust policy although it must not, or that is unknown.
        hand_written: of a chain, whom of this cluster foreign statements let into its source role.
        hindrance: what keeps applied trust from being of use to every principal that the binding names.
        associations: of a chain by EKS Pod Identity, its associations; None: not known now.
        out_of_scope: why the webhook is not called for pods of its namespace; empty when it is.
        adoption: what it took over, and what it could not; None: not known now, and nothing for a binding that does not
            adopt.
    """

    authorized: bool | None
    authorization: str
    reason: TrustReason | None
    message: str
    subjects: tuple[Subject, ...] = ()
    statement_id: str = ""
    size: int | None = None
    limit: int | None = None
    near_limit: bool = False
    changed: bool = False
    may_linger: bool = False
    hand_written: tuple[str, ...] = ()
    hindrance: Refusal | None = None
    associations: tuple[Association, ...] | None = ()
    out_of_scope: str = ""
    adoption: AdoptionState | None = None


def outcome_of(
    decision: BindingDecision, planned: Plan, problem: Refusal | None, written: int, issuer: Issuer
) -> BindingOutcome:
    """Return what a run reached for one binding in one role.

    Args:
        decision: for the binding, as the role agreed to it.
        planned: the last plan of the role's trust policy.
        problem: what is wrong although it was written: another writer keeps undoing it.
        written: how often the trust policy was written.
        issuer: the cluster's.
    """
    stored = decision.stored
    own = next((r for r in planned.refusals if r.binding == stored.ref), None)
    stopped = problem or planned.blocked
    stands = _stands(decision, planned, issuer) or _is_pending(decision, planned, issuer)
    lingers = stopped is not None and stands
    if stored.deleting:
        if (why := own or stopped) is not None and stands:
            text = f"its trust could not be revoked, so it is kept: {why.message}"
            return BindingOutcome(None, "", why.reason, text, decision.subjects, may_linger=True)
        left = any(is_retained(statement, issuer) for statement in planned.document.statements)
        reason = TrustReason.RETAINED if decision.retains and left else TrustReason.REVOKED
        return BindingOutcome(None, "", reason, f"the statement was removed from {planned.role}")
    authorized, sentence = decision.authorized, decision.message
    if decision.reason is not None:
        if lingers and stopped is not None:
            text = f"{sentence}; its trust could not be revoked: {stopped.message}"
            return BindingOutcome(authorized, sentence, stopped.reason, text, decision.subjects, may_linger=True)
        kept = decision.keeps_standing and stands
        return BindingOutcome(authorized, sentence, decision.reason, sentence, decision.subjects, may_linger=kept)
    statement_id = planned.applied.get(stored.ref, "")
    why = own or problem
    if why is None and (not statement_id or _may_hold_more(stored, planned)):
        why = planned.blocked
    if why is not None:
        return BindingOutcome(
            authorized, sentence, why.reason, why.message, decision.subjects, may_linger=lingers or stands
        )
    return BindingOutcome(
        authorized=authorized,
        authorization=sentence,
        reason=None,
        message=f"{planned.role} trusts {_counted(decision)} of this binding",
        subjects=decision.subjects,
        statement_id=statement_id,
        size=planned.size,
        limit=planned.limit,
        near_limit=planned.is_near_limit,
        changed=written > 0 and not stored.statement_id,
    )


def failed_outcome(decision: BindingDecision, reason: TrustReason, message: str, *, gone: bool) -> BindingOutcome:
    """Return the outcome of one binding whose role's run failed; ``gone``: there is no such role."""
    stored, sentence = decision.stored, decision.message
    lingers = not gone and bool(stored.statement_id)
    if stored.deleting:
        text = f"its trust could not be revoked, so it is kept: {message}"
        return BindingOutcome(None, "", reason, text, decision.subjects, may_linger=lingers)
    if decision.reason is None:
        return BindingOutcome(decision.authorized, sentence, reason, message, decision.subjects, may_linger=lingers)
    if lingers and not decision.keeps_standing:
        text = f"{sentence}; its trust could not be revoked: {message}"
        return BindingOutcome(decision.authorized, sentence, reason, text, decision.subjects, may_linger=True)
    return BindingOutcome(
        decision.authorized, sentence, decision.reason, sentence, decision.subjects, may_linger=lingers
    )


def hindered(outcome: BindingOutcome, hindrance: Refusal) -> BindingOutcome:
    """Return the outcome of a binding for which another issuer's OIDC provider is not in order."""
    if outcome.reason is None and not outcome.statement_id:  # nothing of it is written
        return replace(outcome, reason=hindrance.reason, message=hindrance.message)
    return replace(outcome, hindrance=hindrance)


def restored(decision: BindingDecision, outcome: BindingOutcome, refused: str) -> BindingOutcome:
    """Return the outcome of a binding that is deleted, after what was written back of what it had adopted.

    Args:
        decision: for the binding.
        outcome: of its own statement.
        refused: why a statement was not written back; empty where all were.
    """
    binding = decision.stored.binding
    if outcome.reason is not TrustReason.REVOKED or binding is None:
        return outcome
    is_asked = bool(decision.restorable) or binding.deletion_policy is DeletionPolicy.RESTORE
    if not is_asked or not AdoptedStatement.of_status(decision.stored.status):
        return outcome
    if not decision.restorable:
        refused = "what the binding asks for is not granted any more, so nothing is written back"
    if refused:
        return replace(outcome, message=f"{outcome.message}; {refused}")
    text = f"the hand-written statements stand again in {binding.role}"
    return replace(outcome, reason=TrustReason.RESTORED, message=text)


def has_failed(decision: BindingDecision, outcome: BindingOutcome) -> bool:
    """Return whether a run failed for a chain in one role, other than by the decision itself."""
    return outcome.reason is not None and outcome.reason not in SETTLED and outcome.reason != decision.reason


def chain_outcome(
    decision: BindingDecision, role: RoleArn, outcome: BindingOutcome, rollout: Rollout, issuer: Issuer
) -> BindingOutcome:
    """Return what was reached for a chain as a whole; of no chain, ``outcome`` itself.

    Args:
        decision: for the binding, as ``role`` agreed to it.
        role: whose run this was.
        outcome: of that role alone.
        rollout: with the progress of this run in it.
        issuer: the cluster's.
    """
    stored = decision.stored
    binding = stored.binding
    if binding is None or not stored.is_chain:
        return outcome
    if stored.is_pod_identity:
        outcome = replace(outcome, associations=rollout.at(binding.association_role).associations)
    standing = rollout.unsettled if stored.deleting else rollout.standing
    if has_failed(decision, outcome):
        return replace(outcome, message=f"{_name(stored, role)}: {outcome.message}", may_linger=bool(standing))
    other = other_role(binding, role)
    theirs = rollout.at(other).problem
    if theirs is not None and theirs[0] != decision.reason:
        text = f"{_name(stored, other)}: {theirs[1]}"
        return replace(outcome, reason=theirs[0], message=text, may_linger=bool(standing))
    if stored.deleting or decision.reason is not None:
        if not standing:
            return outcome
        if outcome.reason is TrustReason.ACCOUNT_UNKNOWN:  # without it nothing can be revoked
            return replace(outcome, may_linger=True)
        last = binding.association_role if stored.is_pod_identity else binding.role
        left = " and ".join(_name(stored, r) for r in sorted(standing, key=lambda r: r == last))
        what = "retained" if decision.retains else "revoked"
        text = f"{decision.message}; its trust is being {what}, next in the {left}"
        return replace(outcome, reason=TrustReason.PENDING, message=text, may_linger=True)
    is_applied = rollout.is_applied_in(role) and rollout.is_applied_in(other)
    if is_applied and (not stored.is_pod_identity or rollout.is_whole(decision)):
        return _whole(decision, outcome, rollout, issuer)
    if stored.is_pod_identity:
        return replace(
            outcome, reason=TrustReason.PENDING, message=_next_of(binding, rollout), statement_id="", may_linger=True
        )
    text = f"{_name(stored, binding.role)} trusts the source role; the source role is next"
    return replace(outcome, reason=TrustReason.PENDING, message=text, statement_id="", may_linger=True)


def progress_of(
    asked: BindingDecision, agreed: BindingDecision, planned: RolePlan, problem: Refusal | None, issuer: Issuer
) -> RoleProgress:
    """Return the progress of a chain in one role.

    Args:
        asked: the decision that the run began with.
        agreed: the same as the role agreed to it; see `RolePlan.decisions`.
        planned: the last plan of the run, carried out as far as possible.
        problem: see `outcome_of`.
        issuer: the cluster's.
    """
    trust, ref = planned.trust, asked.stored.ref
    refusal = asked.rollout.at(trust.role).refusal
    if agreed.reason is None:
        refusal = None
    elif asked.reason is None:  # the role itself refused
        refusal = agreed.reason, agreed.message
    # The same principals may stand there for another binding, so the document tells only what was not written.
    is_waiting = ref in planned.waiting
    is_paused = is_waiting or any(ref == d.stored.ref for d in planned.held)
    is_stopped = (problem or trust.blocked) is not None or any(r.binding == ref for r in trust.refusals)
    stands = ref in trust.applied and problem is None
    if not stands and (is_paused or is_stopped):
        stands = stands_in(trust.current, issuer, trust.role, agreed) or _is_pending(agreed, trust, issuer)
    binding = asked.stored.binding
    is_source = binding is not None and binding.source is not None and binding.source.role == trust.role
    hand_written = foreign_subjects(trust.current, issuer) if is_source else ()
    trusted = _trusted(agreed, planned) if problem is None else None
    return RoleProgress(stands, refusal, is_waiting=is_waiting, hand_written=hand_written, trusted=trusted)


def _trusted(decision: BindingDecision, planned: RolePlan) -> frozenset[str] | None:
    """Return the external ids of a chain by EKS Pod Identity that the planned document trusts; None: not known."""
    binding = decision.stored.binding
    ids = decision.rollout.external_ids(decision)
    if binding is None or not decision.stored.is_pod_identity or ids is None:
        return None
    names = (external_ids_of(s) for s in planned.trust.document.statements if _is_of(s, binding))
    return ids.intersection(frozenset[str]().union(*names))


def _is_of(statement: Statement, binding: RoleBinding) -> bool:
    """Return whether a statement names the role of a binding's associations as its principal."""
    principal = statement.get("Principal")
    return isinstance(principal, Mapping) and principal.get("AWS") == str(binding.association_role)


def _next_of(binding: RoleBinding, rollout: Rollout) -> str:
    """Return what comes next on the way to a whole chain by EKS Pod Identity."""
    if not rollout.stands_in(binding.association_role):
        return f"the associations with {binding.association_role} are next; then {binding.role} trusts them"
    if not rollout.is_applied_in(binding.role):
        return f"the associations are made; the trust policy of the target role {binding.role} is next"
    return f"the target role {binding.role} trusts the associations; they name it next"


def _whole(decision: BindingDecision, outcome: BindingOutcome, rollout: Rollout, issuer: Issuer) -> BindingOutcome:
    binding = decision.stored.binding
    assert binding is not None  # noqa: S101 - the caller has looked; this is for the type checker
    assert binding.source is not None  # noqa: S101 - a chain has a source; this is for the type checker
    (claim,) = claims_on(binding.role, binding, ())
    count = len(decision.subjects)
    plural = "" if count == 1 else "s"
    accounts = f"{count} service account{plural} of this binding"
    if decision.stored.is_pod_identity:
        message = (
            f"{binding.role} trusts the EKS Pod Identity association{plural} of {accounts} with {binding.source.role}"
        )
    else:
        message = f"{binding.role} trusts {binding.source.role}, which trusts {accounts}"
    return replace(
        outcome,
        reason=None,
        statement_id=sid_of(issuer, claim.key),
        hand_written=rollout.at(binding.source.role).hand_written,
        message=message,
    )


def _stands(decision: BindingDecision, planned: Plan, issuer: Issuer) -> bool:
    """Return whether trust of the binding stands in the document that was read.

    The document is asked, not the status alone: that may never have been written. Nor the spec alone: it may have been
    changed since, and that not been written.
    """
    if stands_in(planned.current, issuer, planned.role, decision):
        return True
    statement_id = decision.stored.statement_id
    return bool(statement_id) and statement_id in {s.get("Sid") for s in planned.current.statements}


def _is_pending(decision: BindingDecision, planned: Plan, issuer: Issuer) -> bool:
    """Return whether a statement of a binding to revoke cannot be written now; it may name former subjects of it."""
    binding = decision.stored.binding
    if binding is None or not planned.pending or (decision.reason is None and not decision.stored.deleting):
        return False
    left = planned.pending.intersection(s.get("Sid") for s in planned.current.statements)
    return any(sid_of(issuer, c.key) in left for c in claims_on(planned.role, binding, decision.subjects))


def _may_hold_more(stored: StoredBinding, planned: Plan) -> bool:
    """Return whether the binding was changed, and what differs and cannot be written now may be what it gave up."""
    if planned.blocked is not None and planned.blocked.reason is TrustReason.REVOCATION_PAUSED:
        return False  # the AWSAccount says it; what the binding asks for now is applied
    return bool(planned.pending) and stored.status.get("observedGeneration") != stored.generation


def _counted(decision: BindingDecision) -> str:
    count = len(decision.subjects)
    others = sum(len(c.subjects) for c in decision.claims if other_issuer(c.key) is not None)
    parts = [f"{count} service account{'' if count == 1 else 's'}"] if count or not others else []
    parts += [f"{others} subject{'' if others == 1 else 's'} of other issuers"] if others else []
    return " and ".join(parts)


def _name(stored: StoredBinding, role: RoleArn) -> str:
    target = stored.binding is not None and role == stored.binding.role
    return f"{'target' if target else 'source'} role {role}"
