"""How far a chain (method AssumeRole) has come, as an immutable value.

A chain is granted from the far end: the target role trusts the source role, then the source role may assume the target
(an inline policy), then the source role trusts the service accounts. It is revoked from the near end: the service
accounts first, the target last. Each role has its own run, so each run records its own part here, and enqueues the
other role when that part changed.

After a restart nothing is known: a binding whose status names a statement is taken to stand in both roles, and so is
one that is being deleted and has our finalizer, since its status may never have been written. The next run of each
role corrects that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from trustbind.api.role_binding import RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.policy.claim import claims_on
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
        hand_written: in the source role, whom of this cluster foreign statements let in; see `foreign_subjects`.
    """

    stands: bool = False
    refusal: tuple[TrustReason, str] | None = None
    problem: tuple[TrustReason, str] | None = None
    is_underway: bool = False
    is_missing: bool = False
    is_waiting: bool = False
    hand_written: tuple[str, ...] = ()


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
        if role == binding.role and self.at(other).is_missing and not _is_via_root(binding):
            return replace(decision, claims=())  # IAM refuses the whole document for a principal that does not exist
        refusal = self.at(other).refusal
        if decision.reason is None and refusal is not None and not decision.stored.deleting:
            reason, message = refusal
            decision = replace(decision, authorized=False, reason=reason, message=message, claims=())
        if decision.retains:
            is_due = True
        elif decision.reason is not None or decision.stored.deleting:
            # The far end stays until nobody comes through the near one.
            is_due = role == binding.role and self.stands_in(other)
        else:
            is_due = role == binding.role or self.stands_in(binding.role)
        return replace(decision, claims=claims_on(role, binding, decision.subjects) if is_due else ())


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
