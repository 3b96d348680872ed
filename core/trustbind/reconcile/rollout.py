"""How far a chain has come, as an immutable value.

A chain is granted from the far end: the target role trusts the source role, then the source role may assume the target
(an inline policy), then the source role trusts the service accounts. It is revoked from the near end: the service
accounts first, the target last. Each role has its own run, so each run records its own part here, and enqueues the
other role when that part changed.

With EKS Pod Identity the source role is that of associations, and EKS makes the external id that the target role asks
for. So the association comes first, then the target role trusts its external id; revoked is in the reverse order.

After a restart nothing is known: a binding whose status names a statement is taken to stand in both roles, and so is
one that is being deleted and has our finalizer, since its status may never have been written. The next run of each
role corrects that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.claim import claims_on
from trustbind.policy.pod_identity_association import Association
from trustbind.reasons import TrustReason
from trustbind.reconcile.stored_binding import StoredBinding

if TYPE_CHECKING:  # decisions carry a rollout, so only the type checker may look the other way
    from trustbind.reconcile.decision import BindingDecision

__all__ = ["NOT_STARTED", "RoleProgress", "Rollout", "other_role"]


@dataclass(frozen=True, slots=True)
class RoleProgress:
    """What the last run of one of the two roles reached for a chain.

    Attributes:
        stands: whether the chain's claims stand in the role's trust policy, as far as known.
        refusal: why the role itself refused (consent), with the sentence; the other role has to obey it.
        problem: why the last run failed for this chain, with the sentence; None when it did not.
        is_underway: whether a run of the role has begun, and what it reached is not known yet.
        is_missing: whether the last run found that there is no such role.
        is_waiting: whether the last run left the chain's claims as they were, because the other role comes first. What
            stands may then be another binding's, and the permission to assume the target role may be missing.
        hand_written: in the source role, subjects of this cluster that foreign statements trust; see
            `foreign_subjects`.
        associations: in the source role of a chain by EKS Pod Identity, the binding's associations; None: not known.
        trusted: in its target role, the external ids of these that the trust policy holds; None: not known.
    """

    stands: bool = False
    refusal: tuple[TrustReason, str] | None = None
    problem: tuple[TrustReason, str] | None = None
    is_underway: bool = False
    is_missing: bool = False
    is_waiting: bool = False
    hand_written: tuple[str, ...] = ()
    associations: tuple[Association, ...] | None = None
    trusted: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """The progress of one chain in both of its roles."""

    progress: Mapping[RoleArn, RoleProgress] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: StoredBinding) -> Rollout:
        """Return what a binding's stored status says about its chain."""
        if not stored.is_chain or not (stored.statement_id or (stored.deleting and stored.guarded)):
            return NOT_STARTED
        return cls({role: RoleProgress(stands=True) for role in stored.roles})

    def at(self, role: RoleArn) -> RoleProgress:
        """Return the progress in one role."""
        return self.progress.get(role, _NONE)

    def stands_in(self, role: RoleArn) -> bool:
        """Return whether the chain's claims stand in ``role``, as far as known."""
        return self.at(role).stands

    def is_applied_in(self, role: RoleArn) -> bool:
        """Return whether the last run of ``role`` found or wrote all that the chain asks for there."""
        return self.at(role).stands and not self.at(role).is_waiting

    @property
    def standing(self) -> frozenset[RoleArn]:
        """The roles in which the chain's claims stand."""
        return frozenset(role for role, progress in self.progress.items() if progress.stands)

    @property
    def unsettled(self) -> frozenset[RoleArn]:
        """The roles in which the chain's claims stand, or may stand by the end of a run; until then it is not over."""
        return frozenset(role for role, progress in self.progress.items() if progress.stands or progress.is_underway)

    def without(self, role: RoleArn) -> Rollout:
        """Return the rollout after a role that the chain does not name any more lost its claims."""
        return Rollout({other: progress for other, progress in self.progress.items() if other != role})

    def with_progress(self, role: RoleArn, progress: RoleProgress) -> Rollout:
        """Return the rollout after a run of ``role``; what the other role reached stays."""
        return Rollout({**self.progress, role: progress})

    def step(self, decision: BindingDecision, role: RoleArn) -> BindingDecision:
        """Return the decision with the claims that are due in ``role`` now; of no chain, the same decision."""
        binding = decision.stored.binding
        if binding is None or not decision.stored.is_chain:
            return decision
        other = other_role(binding, role)
        if decision.stored.is_pod_identity and role != binding.role:
            return self._obeying(decision, other)
        if decision.stored.is_pod_identity:
            decision = replace(decision, cluster=None)
        if role == binding.role and self.at(other).is_missing and not _is_via_root(binding):
            return replace(decision, claims=())  # IAM refuses the whole document for a principal that does not exist
        decision = self._obeying(decision, other)
        if decision.stored.is_pod_identity:
            ids = self.external_ids(decision)
            is_due = bool(ids) and (decision.retains or (decision.reason is None and not decision.stored.deleting))
            return replace(decision, claims=claims_on(role, binding, decision.subjects, ids or ()) if is_due else ())
        if decision.retains:
            is_due = True
        elif decision.reason is not None or decision.stored.deleting:
            # The far end stays until nobody comes through the near one.
            is_due = role == binding.role and self.stands_in(other)
        else:
            is_due = role == binding.role or self.stands_in(binding.role)
        return replace(decision, claims=claims_on(role, binding, decision.subjects) if is_due else ())

    def external_ids(self, decision: BindingDecision) -> frozenset[str] | None:
        """Return the external ids of a binding's EKS Pod Identity associations; None when they are not known."""
        binding = decision.stored.binding
        found = self.at(binding.association_role).associations if binding is not None else ()
        if found is None:
            return None
        return frozenset(a.external_id for a in found if a.external_id and a.subject in decision.subjects)

    def is_whole(self, decision: BindingDecision) -> bool:
        """Return whether each service account of a chain by EKS Pod Identity has its association and is trusted."""
        binding = decision.stored.binding
        found = self.at(binding.association_role).associations if binding is not None else None
        if binding is None or found is None:
            return False
        trusted = self.at(binding.role).trusted or frozenset()
        there = {a.subject for a in found if a.target == str(binding.role) and a.external_id in trusted}
        return bool(decision.subjects) and there.issuperset(decision.subjects)

    def named_targets(self, stored: StoredBinding) -> frozenset[RoleArn]:
        """Return the roles that a binding's EKS Pod Identity associations name as their target.

        Until they were read, the stored status tells. It is untrusted input, so nothing is granted by it.
        """
        binding = stored.binding
        found = self.at(binding.association_role).associations if binding is not None else ()
        if found is not None:
            texts = [association.target for association in found]
        else:
            texts = [str(each.get("targetRoleArn", "")) for each in stored.associations]
        targets: set[RoleArn] = set()
        for text in texts:
            with contextlib.suppress(InvalidValueError):
                targets.add(RoleArn.parse(text))
        return frozenset(targets)

    def waits_for_target(self, decision: BindingDecision) -> bool:
        """Return whether the associations of a revoked binding stay until the target role's trust is gone.

        A failure in the target role is not waited for, so that pods lose their role at one end at least.
        """
        binding = decision.stored.binding
        if binding is None or not (decision.stored.is_pod_identity and decision.stored.is_chain):
            return False
        is_revoked = decision.stored.deleting or decision.reason is not None
        target = self.at(binding.role)
        return is_revoked and target.stands and target.problem is None

    def _obeying(self, decision: BindingDecision, other: RoleArn) -> BindingDecision:
        """Return the decision after what the other role refused."""
        refusal = self.at(other).refusal
        if decision.reason is not None or refusal is None or decision.stored.deleting:
            return decision
        reason, message = refusal
        return replace(decision, authorized=False, reason=reason, message=message, claims=(), cluster=None)


def _is_via_root(binding: RoleBinding) -> bool:
    return binding.source is not None and binding.source.via_root


_NONE: Final = RoleProgress()

NOT_STARTED: Final = Rollout()
"""Nothing of the chain stands anywhere. Also the rollout of a binding that is no chain."""


def other_role(binding: RoleBinding, role: RoleArn) -> RoleArn:
    """Return the other role of a chain; of no chain, the same role."""
    if binding.source is None:
        return role
    return binding.source.role if role == binding.role else binding.role
