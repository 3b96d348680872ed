"""What one run of a role reached."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    planned: RolePlan
    seen: RoleObservation
    written: int = 0
    problem: Refusal | None = None

    @property
    def stopped(self) -> Refusal | None:
        """What keeps the trust policy from being as it is planned; None when nothing does."""
        return self.problem or self.planned.trust.blocked
