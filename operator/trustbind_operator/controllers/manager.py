"""What is due and when: events enqueue roles and AWSAccounts, and the queue runs their controllers.

The unit is the role. Nothing here branches on an event: what a role has to be is computed from all its live bindings
each time, and all that changes within a short window shares one run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.backoff import Backoff
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide
from trustbind.reconcile.failure_reasons import account_failure
from trustbind.reconcile.revocation import RevocationLimit
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.call_limiter import queue_as
from trustbind_operator.cluster.conditions import ConditionType
from trustbind_operator.controllers.aws_account.controller import AwsAccountController
from trustbind_operator.controllers.aws_account.revocation import RevocationBrake
from trustbind_operator.controllers.aws_account.survey import Survey
from trustbind_operator.controllers.binding.status_writer import StatusWriter
from trustbind_operator.controllers.context import Context, Next
from trustbind_operator.controllers.decision_queue import DecisionQueue
from trustbind_operator.controllers.pod_identity.controller import PodIdentityController
from trustbind_operator.controllers.role.controller import RoleController
from trustbind_operator.controllers.workqueue import Place, WorkQueue

__all__ = ["Manager", "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how often; in seconds.

    Attributes:
        window: how long an enqueued role waits for more changes, which then share its run.
        resync: between two runs of a role that nothing happened to; up to a fifth more or less.
        survey: between two surveys of an AWS account; up to a tenth more or less, and at least 10 for each page.
        retry: the pauses after failed runs.
    """

    window: float = 0.2
    resync: float = 600.0
    survey: float = 60.0
    retry: Backoff = field(default=Backoff(2.0, 300.0))


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An AWSAccount object that is due."""

    name: str


@dataclass(frozen=True, slots=True)
class SurveyKey:
    """An AWS account that is due for a survey."""

    account_id: str


Key = RoleArn | AccountKey | SurveyKey

_WORKERS: Final = 1024
"""Tasks at once for each AWS account; they are cheap, and what they wait for has bounds of its own (threads)."""

_LEFT: Final = ("no namespace",)
"""The queue of roles that no binding names any more; no namespace has a name with a space."""

_ACCOUNT_WINDOW: Final = 1.0
"""Seconds for which an AWSAccount's counts may lag behind."""

_SECONDS_A_PAGE: Final = 10.0
"""Many clusters may share the IAM of an AWS account, so a survey of many pages comes less often."""


class Manager:
    """See the module; `controllers.role.controller.Neighbours` and `controllers.aws_account.survey.SurveyedRoles`.

    Args:
        context: the collaborators.
        pace: see `Pace`.
        limit: see `RevocationLimit`.
        jitter: gives 0 to 1.
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
        self._delays = _Delays(pace, jitter)
        self._now = asyncio.get_running_loop().time
        self._brake = RevocationBrake(limit, self._now, self._pause_changed)
        self._writer = StatusWriter(context, self._brake.restated)
        self._accounts = AwsAccountController(context, self._brake.handled)
        self._pod_identity = PodIdentityController(
            self._writer, self._pod_identity_decisions, context.pool, context.issuer, context.telemetry, self.suspect
        )
        self._roles = RoleController(context, self._writer, self._pod_identity, self)
        self._survey = Survey(context.pool, context.issuer, self)
        self._decisions = DecisionQueue(self._cache.bound_namespaces, self._cache.refs_in, self._reconsider)
        self._begun = False
        self._surveyed: set[str] = set()
        """AWS accounts whose surveys go on."""
        self._recount: set[str] = set()
        """AWSAccounts of which only the counts are to be looked at."""
        self._inspect_at: dict[str, float] = {}
        """When an AWSAccount is to be looked at whole again, at the latest."""
        self._queue: WorkQueue[Key] = WorkQueue(
            self._work, _WORKERS, self._now, self._place, lambda place: queue_as(place.names)
        )

    # --- events -----------------------------------------------------------------------------------------------------

    def binding_seen(self, stored: StoredBinding) -> None:
        """A RoleBinding was created or changed, as the API server has it."""
        if self._cache.bindings.is_old(stored.ref, stored):
            return
        before = self._cache.bindings.get(stored.ref)
        stored = self._cache.bindings.with_own_status(stored.ref, stored)
        roles = self._cache.put_binding(stored)
        if before is not None and self._roles.may_have_left(before):
            for former in before.roles - stored.roles:
                self._roles.progress.left(former)
        if self._begun:
            self._roles.look_at(stored)
        # A former leader may have overwritten a status after a pause, since a patch of it names no version.
        if before is None or _differs(before, stored) or not self._writer.is_own(before, stored):
            is_requested = before is not None and before.requested_at != stored.requested_at
            self.enqueue_all(roles, 0.0 if is_requested else self._pace.window)
            self._recount_accounts_of(stored)
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
        may_have_left = not was_released and self._roles.may_have_left(stored)
        self._roles.forget(stored)
        self._writer.forget(uid)
        roles = self._cache.drop_binding(ref)
        self._brake.gone(stored, stored.roles if may_have_left else ())
        if may_have_left:
            for role in stored.roles:
                self._roles.progress.left(role)
        self.enqueue_all(roles - stored.roles if was_released else roles, self._pace.window)
        self._recount_accounts_of(stored)
        self._room_made(ref.namespace)

    def account_seen(self, stored: StoredAwsAccount) -> None:
        """An AWSAccount was created or changed."""
        if self._cache.aws_accounts.is_old(stored.name, stored):
            return
        before = self._cache.aws_accounts.get(stored.name)
        stored = self._cache.aws_accounts.with_own_status(stored.name, stored)
        self._cache.put_aws_account(stored)
        self._note_account(stored.name)
        if before is None or _account_differs(before, stored):
            self._inspect_now(stored.name)
            if before is None:
                self.reconsider()
                return
            if before.requested_at != stored.requested_at:
                self._queue.add(SurveyKey(stored.account_id), 0.0)
            if _account_differs(before, replace(stored, requested_at=before.requested_at)):
                self._enqueue_account_roles(stored.account_id)  # how it is reached may have changed

    def account_gone(self, name: str, uid: str) -> None:
        """An AWSAccount is gone."""
        known = self._cache.aws_accounts.get(name)
        if known is None or known.uid != uid:
            return
        self._cache.drop_aws_account(name)
        self._queue.forget(AccountKey(name))
        for other in self._cache.aws_accounts:  # one that was a duplicate may count now
            self._queue.add(AccountKey(other), 0.0)
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
        stored = self._cache.aws_accounts.get(account.name)
        if stored is not None and stored.ready_status == "True":
            self._inspect_now(account.name)

    def is_held_up(self, account: AwsAccount) -> bool:
        """Return whether an AWSAccount is known not to be Ready; it is retried, and its roles run when it is."""
        stored = self._cache.aws_accounts.get(account.name)
        return stored is not None and stored.ready_status == "False"

    def decided(self, decision: BindingDecision) -> None:
        """Take note of a decision: what it revokes is counted."""
        self._brake.decided(decision)

    def cleared(self, role: RoleArn) -> None:
        """Take note that nothing is left in a role that no binding accounts for."""
        self._brake.cleared(role)

    def pause(self, account_id: str) -> str:
        """Return why nothing may be revoked in an AWS account now; empty when it may."""
        return self._brake.pause(account_id)

    async def guard_account(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount."""
        await self._accounts.guard(account)

    def roles_in(self, account_id: str) -> list[RoleArn]:
        """Return the roles that bindings name in an AWS account."""
        return [role for role in self._cache.roles() if role.account_id == account_id]

    def decisions_for(self, role: RoleArn) -> tuple[BindingDecision, ...]:
        """Return the decisions for a role's bindings."""
        return decide(self._cache.snapshot(role, self._roles.progress.rollouts))

    def is_missing(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that there is none."""
        return self._roles.is_missing(role)

    def lacks_provider(self, role: RoleArn) -> bool:
        """Return whether the last run of a role found that an OIDC provider is missing or incomplete."""
        return self._roles.lacks_provider(role)

    def is_surveyed(self, role: RoleArn) -> bool:
        """Return whether surveys list a role, once it exists."""
        return self._survey.lists(role)

    def _pod_identity_decisions(self, account_id: str) -> tuple[AwsAccount | None, Iterable[BindingDecision]]:
        """Return an AWSAccount, and the decisions for its bindings by EKS Pod Identity."""
        cache = self._cache
        return cache.aws_account(account_id), (
            decision
            for stored in cache.in_account(account_id)
            if stored.binding is not None and stored.is_pod_identity
            for decision in decide(cache.snapshot_of(stored, stored.binding.role, {}))
        )

    # --- the work ---------------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """Enqueue what is not in step; return how many roles that are.

        After a restart most roles are as their bindings' statuses say; the first survey compares them with AWS.
        """
        self._begun = True
        due = 0
        for role in self._cache.roles():
            in_step = self._roles.is_in_step(role)
            self._queue.add(role, self._pace.resync * (0.2 + 0.8 * self._jitter()) if in_step else 0.0)
            due += not in_step
        for name in self._cache.aws_accounts:
            self._queue.add(AccountKey(name), 0.0)
            self._note_account(name)
        self._brake.begin()
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
                    due = await self._account(key)
                case SurveyKey():
                    due = await self._run_survey(key)
                case _:
                    due = await self._roles.reconcile(key)
        except Exception:  # noqa: BLE001 - the other keys go on, this one is tried again, and the log has the trace
            self._context.telemetry.crashed(str(key))
            due = Next.RETRY
        delay = self._delays.until(key, due)
        if delay is not None:
            self._queue.add(key, delay)

    async def _account(self, key: AccountKey) -> Next:
        now = self._now()
        if (known := self._counting(key.name)) is not None:
            paused = self._brake.condition(known.account_id)
            await self._accounts.note(known.account_id, ConditionType.REVOCATION_PAUSED, paused)
        if key.name in self._recount:
            self._recount.discard(key.name)
            if now < self._inspect_at.get(key.name, now) and await self._accounts.recount(key.name):
                return Next.RESYNC
        due, held_up = await self._accounts.reconcile(key.name)
        stored = self._cache.aws_accounts.get(key.name)
        if stored is None:
            return due
        is_kept = stored.deleting and due is Next.RETRY  # bindings still need it
        if (due is Next.RESYNC or is_kept) and stored.account_id not in self._surveyed:
            self._surveyed.add(stored.account_id)
            self._queue.add(SurveyKey(stored.account_id), 0.0)
        if due is not Next.RESYNC:
            return due
        self._inspect_at[key.name] = now + self._pace.resync
        if held_up:
            self._enqueue_account_roles(stored.account_id)
        return due

    async def _run_survey(self, key: SurveyKey) -> Next:
        """Survey an AWS account, and wait until each role that differs has run."""
        account = self._cache.aws_account(key.account_id)
        if account is None:
            self._surveyed.discard(key.account_id)
            return Next.NEVER
        try:
            findings = await self._survey.run(account)
        except AwsError as error:
            self._survey_failed(account, error)
            return Next.SURVEY
        try:
            findings.drifted |= await self._pod_identity.survey(key.account_id)
        except AwsError as error:  # what the rest of the survey found is repaired all the same
            self._survey_failed(account, error)
        await self._accounts.note(key.account_id, ConditionType.SURVEYED, findings.condition)
        for role, names in findings.revoked.items():
            self._brake.found(role, names)
        for role in findings.ours | findings.strays:
            self._roles.progress.found_statements(role)
        due = findings.drifted | findings.unseen | findings.strays
        self._roles.drifted(findings.drifted)
        await asyncio.gather(*(self._queue.run_now(role) for role in sorted(due)))
        self._context.telemetry.surveyed(key.account_id, findings.pages, len(due))
        self._delays.surveyed(key.account_id, findings.pages)
        return Next.SURVEY

    def _counting(self, name: str) -> StoredAwsAccount | None:
        """Return the AWSAccount of this name where it is the one that counts for its AWS account."""
        stored = self._cache.aws_accounts.get(name)
        first = self._cache.aws_account(stored.account_id) if stored is not None else None
        return stored if first is not None and first.name == name else None

    def _note_account(self, name: str) -> None:
        if (stored := self._counting(name)) is not None:
            self._brake.account_seen(stored)

    def _pause_changed(self, account_id: str, before: bool, now: bool) -> None:
        """A pause began, changed in its numbers, or ended: the AWSAccount shows it, and then its roles run."""
        self._context.telemetry.revocation_paused(account_id, self._brake.held(account_id), is_new=before != now)
        if before and not now:
            self.enqueue_all(self._brake.take_roles(account_id), self._pace.window)
        account = self._cache.aws_account(account_id)
        if account is not None:
            self._recount.add(account.name)
            self._queue.add(AccountKey(account.name), _ACCOUNT_WINDOW)

    def _survey_failed(self, account: AwsAccount, error: AwsError) -> None:
        self._context.pool.refused(account, error)
        self._context.telemetry.account(account.account_id, "SurveyFailed", account_failure(error)[1])

    def _room_made(self, namespace: str) -> None:
        """Decide again about bindings of a namespace that had too many."""
        if self._cache.readiness["False", TrustReason.TOO_MANY]:
            self.reconsider([namespace])

    def _inspect_now(self, name: str) -> None:
        self._recount.discard(name)
        self._inspect_at.pop(name, None)
        self._queue.add(AccountKey(name), 0.0)

    def _enqueue_account_roles(self, account_id: str) -> None:
        roles = {role for stored in self._cache.in_account(account_id) for role in stored.roles}
        self.enqueue_all(roles | self._roles.progress.strays_in(account_id), self._pace.window)

    def _recount_accounts_of(self, stored: StoredBinding) -> None:
        if stored.binding is None or not self._begun:
            return
        for account_id in {role.account_id for role in stored.roles}:
            account = self._cache.aws_account(account_id)
            if account is not None:
                self._recount.add(account.name)
                self._queue.add(AccountKey(account.name), _ACCOUNT_WINDOW)


class _Delays:
    """When a key is due again after its work.

    Args:
        pace: see `Pace`.
        jitter: gives 0 to 1.
    """

    def __init__(self, pace: Pace, jitter: Callable[[], float]) -> None:
        self._pace = pace
        self._jitter = jitter
        self._failures: dict[Key, int] = {}
        self._pages: dict[str, int] = {}
        """By AWS account id, the pages of its last survey."""

    def surveyed(self, account_id: str, pages: int) -> None:
        """Take note of how many pages a survey had."""
        self._pages[account_id] = pages

    def until(self, key: Key, due: Next) -> float | None:
        """Return the seconds until ``key`` is due again; None for never."""
        if due is Next.RETRY:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            return self._pace.retry.pause(failures, self._jitter())
        self._failures.pop(key, None)
        match due:
            case Next.NEVER:
                return None
            case Next.NOW:
                return self._pace.window
            case Next.SURVEY:
                pages = 0 if isinstance(key, AccountKey) else self._pages.get(key.account_id, 0)
                return max(self._pace.survey, pages * _SECONDS_A_PAGE) * (0.9 + 0.2 * self._jitter())
            case _:
                return self._pace.resync * (0.8 + 0.4 * self._jitter())


def _differs(before: StoredBinding, after: StoredBinding) -> bool:
    """Return whether more changed than what we write ourselves."""
    return (before.uid, before.generation, before.deleting, before.requested_at) != (
        after.uid,
        after.generation,
        after.deleting,
        after.requested_at,
    ) or (before.guarded and not after.guarded and not after.deleting)


def _account_differs(before: StoredAwsAccount, after: StoredAwsAccount) -> bool:
    return (before.uid, before.generation, before.deleting, before.requested_at) != (
        after.uid,
        after.generation,
        after.deleting,
        after.requested_at,
    )
