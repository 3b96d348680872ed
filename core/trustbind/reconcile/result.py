"""What one run of a role reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trustbind.api.role_binding import BindingRef
from trustbind.policy.plan import Refusal
from trustbind.reconcile.observation import RoleObservation
from trustbind.reconcile.role_plan import RolePlan

__all__ = ["RoleResult"]


@dataclass(frozen=True, slots=True)
class RoleResult:
    """What one run of a role reached.

    Attributes:
        planned: the last plan that was made.
        seen: the role as it was read last.
        written: how often the trust policy was written.
        problem: set when another writer keeps overwriting what was written.
        unrestored: by binding, why a hand-written statement was not written back when the binding's own went.
    """

    planned: RolePlan
    seen: RoleObservation
    written: int = 0
    problem: Refusal | None = None
    unrestored: Mapping[BindingRef, str] = field(default_factory=dict)

    @property
    def stopped(self) -> Refusal | None:
        """What keeps the trust policy from being as it is planned; None when nothing does."""
        return self.problem or self.planned.trust.blocked
