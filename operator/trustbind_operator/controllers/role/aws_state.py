"""What this process knows of roles in AWS: decides whether a role has to be read.

A role concerns AWS where something is granted in it, or where something of ours may be left in it. It is in memory
only; after a restart, statuses and surveys say what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from trustbind.identity.arns import RoleArn
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.role_plan import RolePlan, RoleWork
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.controllers.role.progress import Progress

__all__ = ["AwsState"]


class AwsState:
    """See the module. Only the event loop touches it.

    Args:
        progress: knows in which roles something may be left.
        is_surveyed: returns whether surveys list a role, once it exists, and find what of ours is left in it.
    """

    def __init__(self, progress: Progress, is_surveyed: Callable[[RoleArn], bool]) -> None:
        self._progress = progress
        self._is_surveyed = is_surveyed
        self._claimants: set[str] = set()
        """uids of bindings for which this process may have written something in AWS."""
        self._inherited: set[RoleArn] = set()
        """Source roles in which an earlier process may have left a permission, which surveys do not list."""
        self._missing: set[RoleArn] = set()
        self._lacking: set[RoleArn] = set()
        """Roles for which an OIDC provider is missing or incomplete."""
        self._drifted: set[RoleArn] = set()
        """Roles of which a survey knows that they are not as they are wanted."""
        self._fill: dict[RoleArn, float] = {}
        """Share of the limit that a role's trust policy takes, as it was planned last."""

    def is_missing(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that there is none."""
        return role in self._missing

    def lacks_provider(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that an OIDC provider is missing or incomplete."""
        return role in self._lacking

    def is_drifted(self, role: RoleArn) -> bool:
        """Return whether a survey found that a role is not as it is wanted, and no run has mended it since."""
        return role in self._drifted

    def may_have_left(self, stored: StoredBinding) -> bool:
        """Return whether something of a binding may stand in AWS, as far as this process and the object tell.

        A user can put our finalizer on a binding, so a finalizer alone counts only where no survey would find what was
        left. A status is written by us alone.
        """
        return (
            stored.uid in self._claimants
            or bool(stored.statement_id)
            or (stored.guarded and not all(map(self._is_surveyed, stored.roles)))
        )

    def concerns_aws(self, work: RoleWork, by_association: Iterable[BindingDecision]) -> bool:
        """Return whether the role has to be read: something is granted there, or may stand there."""
        return (
            self._progress.is_left(work.role)
            or work.role in self._inherited
            or any(d.claims or self.may_have_left(d.stored) for d in work.decisions)
            or any(d.cluster is not None or self.may_have_left(d.stored) for d in by_association)
            # The role refused a chain before; only its tags say whether it still does.
            or any(d.reason is None and d.rollout.at(work.role).refusal is not None for d in work.decisions)
        )

    def fill(self) -> dict[RoleArn, float]:
        """Return by role the share of the limit that its trust policy takes, 0 to 1; of roles that were planned."""
        return dict(self._fill)

    def drifted_roles(self) -> frozenset[RoleArn]:
        """Return the roles that a survey found not as they are wanted, and that no run has mended since."""
        return frozenset(self._drifted)

    # --- what is noted ----------------------------------------------------------------------------------------------

    def begin(self, bindings: Iterable[StoredBinding]) -> None:
        """Take note of the bindings that there are when this process begins to lead.

        A chain's permission is written before its statements, so a chain with our finalizer may have one that no status
        names. Each such source role is read once.
        """
        for stored in bindings:
            source = stored.binding.source if stored.binding is not None and stored.guarded else None
            if source is not None and source.manage_permission:
                self._inherited.add(source.role)

    def decided(self, decision: BindingDecision) -> None:
        """Take note of a decision: what it claims may be written from now on."""
        if decision.claims or decision.cluster is not None:
            self._claimants.add(decision.stored.uid)

    def forget(self, uid: str) -> None:
        """Forget a binding that is gone."""
        self._claimants.discard(uid)

    def drifted(self, roles: Iterable[RoleArn]) -> None:
        """Take note that roles are not as they are wanted, so that a failed run of theirs is not Ready."""
        self._drifted.update(roles)

    def filled(self, shares: Mapping[RoleArn, float]) -> None:
        """Take note of which share of the limit trust policies take."""
        self._fill.update(shares)

    def mended(self, role: RoleArn) -> None:
        """Take note that a run brought a role to what is wanted, as far as that is possible."""
        self._drifted.discard(role)

    def narrowed(self, role: RoleArn) -> None:
        """Take note that a run left no permission of ours in a role that is not wanted."""
        self._inherited.discard(role)

    def unread(self, role: RoleArn) -> None:
        """Take note that a role concerns AWS no more."""
        self._missing.discard(role)
        self._lacking.discard(role)
        self._drifted.discard(role)
        self._fill.pop(role, None)

    def missing(self, role: RoleArn) -> None:
        """Take note that there is no such role."""
        self._missing.add(role)
        self._inherited.discard(role)
        self._fill.pop(role, None)

    def planned(self, role: RoleArn, planned: RolePlan) -> None:
        """Take note of a plan that was made of a role: it exists, and lacks an OIDC provider or does not."""
        self._missing.discard(role)
        self.filled({role: planned.trust.fill})
        if planned.lacking is not None or planned.hindrances:
            self._lacking.add(role)
        else:
            self._lacking.discard(role)
