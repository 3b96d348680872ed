"""How far chains have come, and what bindings may have left in roles: what the runs of two roles tell each other.

It is in memory only. After a restart, each role is read before anything of a chain is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.outcome import BindingOutcome, chain_outcome
from trustbind.reconcile.rollout import RoleProgress, Rollout, other_role
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.controllers.role.report import BindingReport

__all__ = ["Left", "Progress"]


@dataclass(frozen=True, slots=True)
class Left:
    """What bindings may have left in a role.

    Attributes:
        role: which.
        is_stray: whether it may have statements of ours that no binding names.
        was_named: whether a binding named it until now.
        chains: those that named it as their source before, and wait for its run.
    """

    role: RoleArn
    is_stray: bool
    was_named: bool
    chains: frozenset[BindingRef]


class Progress:
    """See the module. Only the event loop touches it.

    Args:
        cache: what is in the cluster.
        issuer: the cluster's.
        enqueue: lets another role run, where its next step is possible.
    """

    def __init__(self, cache: ClusterCache, issuer: Issuer, enqueue: Callable[[RoleArn], None]) -> None:
        self._cache = cache
        self._issuer = issuer
        self._enqueue = enqueue
        self.rollouts: dict[str, Rollout] = {}
        """By uid, how far each chain has come."""
        self._former: dict[RoleArn, set[BindingRef]] = {}
        """Source roles that chains named before, with those chains: none is released while it may stand there."""
        self._strays: set[RoleArn] = set()
        """Roles in which there are, or may be, statements of ours, whether a binding names them or not."""
        self._named: set[RoleArn] = set()
        """Of these, roles that a binding named until now: their inline policy may be of a chain."""

    def is_left(self, role: RoleArn) -> bool:
        """Return whether something may be left in a role that no binding there accounts for."""
        return role in self._former or role in self._strays

    def found_statements(self, role: RoleArn) -> None:
        """Take note that a role has, or may have, statements of ours, whether a binding names it or not."""
        self._strays.add(role)

    def left(self, role: RoleArn) -> None:
        """Take note that a binding does not name a role any more; a statement or inline policy may be left there."""
        self._strays.add(role)
        self._named.add(role)

    def was_source(self, role: RoleArn) -> bool:
        """Return whether a role may have been the source of a chain that does not name it any more."""
        return role in self._named or role in self._former

    def strays_in(self, account_id: str) -> set[RoleArn]:
        """Return the roles of an AWS account that have, or may have, statements of ours."""
        return {role for role in self._strays if role.account_id == account_id}

    def forget(self, uid: str) -> None:
        """Forget a binding that is gone."""
        self.rollouts.pop(uid, None)

    def record(self, role: RoleArn, report: BindingReport) -> BindingOutcome:
        """Keep a chain's progress, and enqueue its other role where that changed; return the outcome of the whole."""
        stored, outcome = report.decision.stored, report.outcome
        known = self.rollouts.get(stored.uid)
        if known is not None:
            self._note_former(stored, known)
        if stored.binding is None or not stored.is_chain:
            if report.release is None or known is None or known.unsettled <= stored.roles:
                return outcome
            left = min(known.unsettled - stored.roles)
            text = f"it is being deleted; its trust is being revoked, next in the former source role {left}"
            return replace(outcome, reason=TrustReason.PENDING, message=text, may_linger=True)
        before = known or Rollout.of(stored)
        rollout = self.rollouts[stored.uid] = before.with_progress(role, report.progress)
        was, is_now = before.at(role), report.progress
        if _matters(was) != _matters(is_now):
            self._enqueue(other_role(stored.binding, role))
        return chain_outcome(report.decision, role, outcome, rollout, self._issuer)

    def begun(self, role: RoleArn, decisions: Iterable[BindingDecision]) -> None:
        """Take note of the chains of a run, so that the other role's run does not release them meanwhile."""
        for decision in decisions:
            stored = decision.stored
            if stored.is_chain:
                known = self.rollouts.get(stored.uid) or Rollout.of(stored)
                self.rollouts[stored.uid] = known.with_progress(role, replace(known.at(role), is_underway=True))

    def _note_former(self, stored: StoredBinding, rollout: Rollout) -> None:
        """Let source roles run that a chain named before, so that its release can go by what they reach."""
        for former in rollout.unsettled - stored.roles:
            waiting = self._former.setdefault(former, set())
            if stored.ref not in waiting:
                waiting.add(stored.ref)
                self._enqueue(former)

    def take_left(self, role: RoleArn) -> Left:
        """Take what bindings may have left in a role, as a run begins; what is noted during the run is for the next."""
        is_stray = role in self._strays or not self._cache.has_role(role)
        was_named = role in self._named
        self._strays.discard(role)
        self._named.discard(role)
        return Left(role, is_stray, was_named, frozenset(self._former.pop(role, ())))

    def give_back(self, left: Left) -> None:
        """Take note that a run has not cleared a role."""
        if left.is_stray:
            self._strays.add(left.role)
        if left.was_named:
            self._named.add(left.role)
        if left.chains:
            self._former.setdefault(left.role, set()).update(left.chains)

    def cleared(self, left: Left) -> None:
        """Take note that nothing of chains stands in a role that they do not name any more."""
        for ref in left.chains:
            stored = self._cache.bindings.get(ref)
            rollout = self.rollouts.get(stored.uid) if stored is not None else None
            if stored is None or rollout is None or left.role in stored.roles:
                continue
            self.rollouts[stored.uid] = rollout.without(left.role)
            for named in stored.roles:
                self._enqueue(named)


def _matters(progress: RoleProgress) -> tuple[object, ...]:
    """Return what the chain's other role goes by: that a role is missing, or refuses one that may be, among it."""
    is_rejected = progress.problem is not None and progress.problem[0] is TrustReason.POLICY_REJECTED
    return progress.stands, progress.refusal, progress.is_missing, is_rejected
