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
        self._targets: dict[str, tuple[RoleArn, frozenset[RoleArn]]] = {}
        """By uid of a chain by EKS Pod Identity, the role of its associations, and the targets that they name."""
        self._named_by: dict[RoleArn, set[str]] = {}
        """By target, the uids of these."""

    def begin(self, bindings: Iterable[StoredBinding]) -> None:
        """Take note of the bindings that there are when this process begins to lead."""
        for stored in bindings:
            if stored.is_pod_identity and stored.is_chain and stored.uid not in self.rollouts:
                self._name(stored, Rollout.of(stored).named_targets(stored))

    def naming_as_target(self, role: RoleArn) -> frozenset[RoleArn]:
        """Return the roles whose associations name ``role`` as their target, although their bindings do not any more.

        They are moved to another target once that trusts them; until then ``role`` goes on to trust them.
        """
        uids = self._named_by.get(role, ())
        named = {stored.uid for stored in self._cache.of_role(role)}
        return frozenset(self._targets[uid][0] for uid in uids if uid not in named)

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
        self._forget_targets(uid)

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
        if stored.is_associated_with(role):
            for former in self._note_targets(stored, before, rollout):
                for each in {former, role} - (stored.roles - {role}):  # no association names it any more
                    self.left(each)
                    self._enqueue(each)
        if _matters(was) != _matters(is_now):
            self._enqueue(other_role(stored.binding, role))
        return chain_outcome(report.decision, role, outcome, rollout, self._issuer)

    def begun(self, role: RoleArn, decisions: Iterable[BindingDecision]) -> None:
        """Take note of the chains of a run, so that the other role's run does not release them meanwhile."""
        for decision in decisions:
            stored = decision.stored
            if stored.uid in self._targets and not (stored.is_chain and stored.is_pod_identity):
                source, targets = self._targets[stored.uid]  # its associations name no target by the end of this run
                self._forget_targets(stored.uid)
                for former in {source, *targets}:
                    self.left(former)
                    self._enqueue(former)
            if stored.is_chain:
                known = self.rollouts.get(stored.uid) or Rollout.of(stored)
                if stored.is_associated_with(role) and decision.cluster is not None and stored.binding is not None:
                    # A run that stops may have let them name another target than is known.
                    noted = self._targets.get(stored.uid, (None, frozenset[RoleArn]()))[1]
                    self._name(stored, noted | known.named_targets(stored) | {stored.binding.role})
                self.rollouts[stored.uid] = known.with_progress(role, replace(known.at(role), is_underway=True))

    def _note_targets(self, stored: StoredBinding, before: Rollout, rollout: Rollout) -> frozenset[RoleArn]:
        """Take note of the targets that a binding's associations name; return those that they do not name any more.

        Among these are targets that they might have come to name, but for a change of the spec.
        """
        noted = self._targets.get(stored.uid, (None, frozenset[RoleArn]()))[1]
        now = rollout.named_targets(stored)
        self._name(stored, now)
        return (before.named_targets(stored) | (noted - stored.roles)) - now

    def _name(self, stored: StoredBinding, targets: frozenset[RoleArn]) -> None:
        assert stored.binding is not None  # noqa: S101 - the caller has looked; this is for the type checker
        self._forget_targets(stored.uid)
        if targets:
            self._targets[stored.uid] = stored.binding.association_role, targets
        for target in targets:
            self._named_by.setdefault(target, set()).add(stored.uid)

    def _forget_targets(self, uid: str) -> None:
        for target in self._targets.pop(uid, (None, frozenset[RoleArn]()))[1]:
            self._named_by[target].discard(uid)
            if not self._named_by[target]:
                del self._named_by[target]

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
    associations = progress.associations
    named = None if associations is None else {(a.listed.id, a.external_id, a.target) for a in associations}
    return progress.stands, progress.refusal, progress.is_missing, is_rejected, named, progress.trusted
