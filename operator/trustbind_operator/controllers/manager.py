"""What is due and when: events enqueue roles and AWSAccounts, and the queue runs their controllers.

The unit is the role. Nothing here branches on an event: what a role has to be is computed from all its live bindings
each time, and all that changes within a short window shares one run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.policy.retention import Retention
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide, retention
from trustbind.reconcile.revocation import RevocationLimit
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.call_limiter import queue_as
from trustbind_operator.controllers.aws_account.coordinator import AwsAccountCoordinator
from trustbind_operator.controllers.aws_account.survey import Findings
from trustbind_operator.controllers.binding.status_writer import StatusWriter
from trustbind_operator.controllers.context import Context, Next
from trustbind_operator.controllers.decision_queue import DecisionQueue
from trustbind_operator.controllers.pace import AccountKey, Delays, Key, Pace, SurveyKey
from trustbind_operator.controllers.pod_identity.controller import PodIdentityController
from trustbind_operator.controllers.role.controller import RoleController
from trustbind_operator.controllers.workqueue import Place, WorkQueue

__all__ = ["Manager"]

_WORKERS: Final = 1024
"""Tasks at once for each AWS account; they are cheap, and what they wait for has bounds of its own (threads)."""

_LEFT: Final = ("no namespace",)
"""The queue of roles that no binding names any more; no namespace has a name with a space."""


class Manager:
    """See the module; `controllers.role.controller.Neighbours` and `controllers.aws_account.coordinator.AccountRoles`.

    Args:
        context: the collaborators.
        pace: see `Pace`.
        limit: see `RevocationLimit`.
        jitter: gives 0 to 1.

    Attributes:
        aws_state: what is known of roles in AWS.
    """

    def __init__(
        self,
        context: Context,
        *,
        pace: Pace,
        limit: RevocationLimit = RevocationLimit(),  # noqa: B008 - a frozen value
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._context = context
        self._cache = context.cache
        self._pace = pace
        self._jitter = jitter
        self._delays = Delays(pace, jitter)
        now = asyncio.get_running_loop().time
        self._queue: WorkQueue[Key] = WorkQueue(
            self._work, _WORKERS, now, self._place, lambda place: queue_as(place.names)
        )
        self._aws_accounts = AwsAccountCoordinator(context, pace, limit, now, self._queue, self._delays, self)
        self._brake = self._aws_accounts.brake
        self._writer = StatusWriter(context, self._brake.restated)
        self._pod_identity = PodIdentityController(
            self._writer, self._pod_identity_decisions, context.pool, context.issuer, context.telemetry, self.suspect
        )
        self._roles = RoleController(context, self._writer, self._pod_identity, self)
        self.aws_state = self._roles.aws_state
        self._decisions = DecisionQueue(self._cache.bound_namespaces, self._cache.refs_in, self._reconsider)
        self._begun = False

    # --- events -----------------------------------------------------------------------------------------------------

    def binding_seen(self, stored: StoredBinding) -> None:
        """A RoleBinding was created or changed, as the API server has it."""
        if self._cache.bindings.is_old(stored.ref, stored):
            return
        before = self._cache.bindings.get(stored.ref)
        stored = self._cache.bindings.with_own_status(stored.ref, stored)
        roles = self._cache.put_binding(stored)
        if before is not None and self.aws_state.may_have_left(before):
            for former in before.roles - stored.roles:
                self._roles.progress.left(former)
        differs = before is None or _differs(before, stored)
        status = None if before is None else before.status
        if self._begun and (differs or status != stored.status):  # else what we wrote comes back
            self._roles.look_at(stored)
        # A former leader may have overwritten a status after a pause, since a patch of it names no version.
        if before is None or differs or not self._writer.is_own(before, stored):
            is_requested = before is not None and before.requested_at != stored.requested_at
            self.enqueue_all(roles, 0.0 if is_requested else self._pace.window)
            self._recount(stored)
            if others := self._cache.sharing(stored).union(() if before is None else self._cache.sharing(before)):
                self.reconsider(others)
        if before is not None and stored.deleting and not before.deleting:
            self._room_made(stored.ref.namespace)

    def binding_gone(self, ref: BindingRef, uid: str) -> None:
        """A RoleBinding is gone; its role runs, unless we released the binding.

        Another object of that name, which was created since, stays.
        """
        stored = self._cache.bindings.get(ref)
        was_released = self._writer.was_released(uid)
        if stored is None or stored.uid != uid:
            return
        may_have_left = not was_released and self.aws_state.may_have_left(stored)
        self._roles.forget(stored)
        self._writer.forget(uid)
        roles = self._cache.drop_binding(ref)
        self._brake.gone(stored, stored.roles if may_have_left else ())
        if may_have_left:
            for role in stored.roles:
                self._roles.progress.left(role)
        self.enqueue_all(roles - stored.roles if was_released else roles, self._pace.window)
        self._recount(stored)
        self.reconsider(self._cache.sharing(stored))
        self._room_made(ref.namespace)

    def account_seen(self, stored: StoredAwsAccount) -> None:
        """An AWSAccount was created or changed."""
        if self._cache.aws_accounts.is_old(stored.name, stored):
            return
        before = self._cache.aws_accounts.get(stored.name)
        stored = self._cache.aws_accounts.with_own_status(stored.name, stored)
        self._cache.put_aws_account(stored)
        self._aws_accounts.seen(before, stored)
        if before is None:
            self.reconsider()

    def account_gone(self, name: str, uid: str) -> None:
        """An AWSAccount is gone."""
        known = self._cache.aws_accounts.get(name)
        if known is None or known.uid != uid:
            return
        self._cache.drop_aws_account(name)
        self._aws_accounts.gone(name, known.account_id)
        self.reconsider()

    def list_emptied(self) -> None:
        """A list of objects that was not empty came back empty; what it takes away follows."""
        self._brake.list_emptied()

    def reconsider(self, namespaces: Iterable[str] | None = None) -> None:
        """Decide bindings again after something around them changed, and enqueue the roles of those that differ.

        Args:
            namespaces: whose bindings; None for all.
        """
        if self._begun:
            self._decisions.add(namespaces)

    def _reconsider(self, ref: BindingRef) -> None:
        stored = self._cache.bindings.get(ref)
        try:
            if stored is not None and self._roles.is_changed(stored):
                self.enqueue_all(stored.roles, self._pace.window)
        except Exception:  # noqa: BLE001 - the other bindings go on, and the log has the trace
            self._context.telemetry.crashed(str(ref))

    # --- what controllers ask for -----------------------------------------------------------------------------------

    def enqueue(self, role: RoleArn) -> None:
        """Let a role run now."""
        self.enqueue_all((role,), 0.0)

    def enqueue_all(self, roles: Iterable[RoleArn], delay: float) -> None:
        """Let roles run after ``delay`` seconds; before `begin`, which looks at all, none does."""
        if self._begun:
            for role in roles:
                self._queue.add(role, delay)

    def suspect(self, account: AwsAccount) -> None:
        """Look at an AWSAccount that a role could not be reached through, unless it is known not to be Ready."""
        self._aws_accounts.suspect(account)

    def is_held_up(self, account: AwsAccount) -> bool:
        """Return whether an AWSAccount is known not to be Ready; it is retried, and its roles run when it is."""
        return self._aws_accounts.is_held_up(account)

    def decided(self, decision: BindingDecision) -> None:
        """Take note of a decision: what it revokes is counted."""
        self._brake.decided(decision)

    def cleared(self, role: RoleArn) -> None:
        """Take note that nothing is left in a role that no binding accounts for."""
        self._brake.cleared(role)

    def pause(self, account_id: str, waiting: RoleArn | None = None) -> str:
        """Return why nothing may be revoked in an AWS account now; see `Neighbours.pause`."""
        return self._brake.pause(account_id, waiting)

    async def guard_account(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount."""
        await self._aws_accounts.guard(account)

    def roles_in(self, account_id: str) -> list[RoleArn]:
        """Return the roles that bindings name in an AWS account."""
        return [role for role in self._cache.roles() if role.account_id == account_id]

    def decisions_for(self, role: RoleArn) -> tuple[BindingDecision, ...]:
        """Return the decisions for a role's bindings."""
        return decide(self._cache.snapshot(role, self._roles.progress.rollouts))

    def retention(self, role: RoleArn) -> Retention:
        """Return which of what deleted bindings left in a role may stay."""
        return retention(role, self._cache.around, self._cache.namespaces)

    def naming_as_target(self, role: RoleArn) -> frozenset[RoleArn]:
        """Return the roles whose associations still name ``role`` as their target; see `Progress`."""
        return self._roles.progress.naming_as_target(role)

    def is_missing(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that there is none."""
        return self.aws_state.is_missing(role)

    def lacks_provider(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that an OIDC provider is missing or incomplete."""
        return self.aws_state.lacks_provider(role)

    def is_surveyed(self, role: RoleArn) -> bool:
        """Return whether surveys list a role, once it exists."""
        return self._aws_accounts.lists(role)

    def strays_in(self, account_id: str) -> set[RoleArn]:
        """Return the roles of an AWS account that have, or may have, statements of ours."""
        return self._roles.progress.strays_in(account_id)

    def surveyed(self, findings: Findings) -> None:
        """Take note of what a survey found, before the roles that differ run."""
        for role in findings.ours | findings.strays:
            self._roles.progress.found_statements(role)
        self.aws_state.drifted(findings.drifted)
        self.aws_state.filled(findings.fill)

    async def survey_associations(self, account_id: str) -> frozenset[RoleArn]:
        """Return the roles whose EKS Pod Identity associations may differ from what is wanted.

        Raises:
            AwsError: a call failed.
        """
        return await self._pod_identity.survey(account_id)

    def _pod_identity_decisions(self, account_id: str) -> tuple[AwsAccount | None, Iterable[BindingDecision]]:
        """Return an AWSAccount, and the decisions for its bindings by EKS Pod Identity."""
        cache = self._cache
        return cache.aws_account(account_id), (
            decision
            for stored in cache.in_account(account_id)
            if stored.binding is not None
            and stored.is_pod_identity
            and stored.binding.association_role.account_id == account_id
            for decision in decide(cache.snapshot_of(stored, stored.binding.association_role, {}))
        )

    # --- the work ---------------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """Enqueue what is not in step; return how many roles that are.

        After a restart most roles are as their bindings' statuses say; the first survey compares them with AWS.
        """
        self._begun = True
        self.aws_state.begin(self._cache.bindings.values())
        self._roles.progress.begin(self._cache.bindings.values())
        due = 0
        for role in self._cache.roles():
            in_step = self._roles.is_in_step(role)
            self._queue.add(role, self._pace.resync * (0.2 + 0.8 * self._jitter()) if in_step else 0.0)
            due += not in_step
        self._aws_accounts.begin()
        return due

    @property
    def backlog(self) -> int:
        """How many keys are due or under way."""
        return self._queue.backlog

    async def run(self) -> None:
        """Work until cancelled."""
        deciding = asyncio.create_task(self._decisions.run())
        try:
            await self._queue.run()
        finally:
            deciding.cancel()

    def _place(self, key: Key) -> Place:
        """Return the place of a key: roles wait by AWS account and namespace, everything else for nobody."""
        if isinstance(key, AccountKey | SurveyKey):
            return Place(key)
        return Place(key.account_id, self._cache.namespaces_of(key) or _LEFT)

    async def _work(self, key: Key) -> None:
        try:
            match key:
                case AccountKey():
                    due = await self._aws_accounts.reconcile(key)
                case SurveyKey():
                    due = await self._aws_accounts.survey(key)
                case _:
                    due = await self._roles.reconcile(key)
        except Exception:  # noqa: BLE001 - the other keys go on, this one is tried again, and the log has the trace
            self._context.telemetry.crashed(str(key))
            due = Next.RETRY
        delay = self._delays.until(key, due)
        if delay is not None:
            self._queue.add(key, delay)

    def _room_made(self, namespace: str) -> None:
        """Decide again about bindings of a namespace that had too many."""
        if self._cache.readiness.counts["False", TrustReason.TOO_MANY]:
            self.reconsider([namespace])

    def _recount(self, stored: StoredBinding) -> None:
        if self._begun:
            self._aws_accounts.recount(stored)


def _differs(before: StoredBinding, after: StoredBinding) -> bool:
    """Return whether more changed than what we write ourselves."""
    return (before.uid, before.generation, before.deleting, before.requested_at, before.set_uid) != (
        after.uid,
        after.generation,
        after.deleting,
        after.requested_at,
        after.set_uid,
    ) or (before.guarded and not after.guarded and not after.deleting)
