"""What comes in, and what is due: handlers record what they see and touch roles; the queue runs the work.

The unit is the role. Nothing here branches on an event: what a role should be is computed from all its live bindings
each time, and all that changes within a short window shares one commit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.account_pool import Accounts
from trustbind_aws.resources.trust_policy import DEFAULT_PATIENCE, Patience
from trustbind_operator.cluster.cache import BindingEntry, Registry, is_older
from trustbind_operator.cluster.conditions import ready_condition
from trustbind_operator.controllers.aws_account.controller import AccountWork
from trustbind_operator.controllers.binding.decision import judge
from trustbind_operator.controllers.context import Cluster, Context, Next, Observer, is_deleting
from trustbind_operator.controllers.role.controller import RoleWork
from trustbind_operator.controllers.workqueue import DueQueue

__all__ = ["Pace", "Reconciler"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how often; all in seconds.

    Attributes:
        window: how long a touched role waits for company: the group commit.
        resync: between two looks at a role that nothing happened to; up to a fifth more or less.
        sweep: between two searches for statements and associations of ours that no binding wants.
        retry: before the first new try; doubled with every failure in a row.
        max_retry: the longest time between two tries.
    """

    window: float = 0.2
    resync: float = 600.0
    sweep: float = 3600.0
    retry: float = 2.0
    max_retry: float = 300.0


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An AWSAccount object that is due."""

    name: str


@dataclass(frozen=True, slots=True)
class SweepKey:
    """An account that is due for a search for orphans: statements and associations."""

    account_id: str


Key = RoleArn | AccountKey | SweepKey

_WORKERS: Final = 4096
"""Tasks at once; they are cheap, and what they wait for has bounds of its own (threads per account, connections)."""

_ACCOUNT_WINDOW: Final = 1.0
"""Seconds for which an account's counts may lag behind."""

_FIRST_SWEEP: Final = 60.0
"""Seconds after the start within which a first search is made: a finalizer may have been removed meanwhile."""


class Reconciler:
    """See the module.

    Args:
        registry: what is known of the cluster.
        cluster: effects on Kubernetes.
        accounts: ways into AWS.
        issuer: the cluster's.
        observer: logs and metrics.
        pace: see `Pace`.
        patience: how long to believe in a write.
        now: the time, aware.
        jitter: gives 0 to 1.
    """

    def __init__(
        self,
        registry: Registry,
        cluster: Cluster,
        accounts: Accounts,
        issuer: Issuer,
        observer: Observer,
        *,
        pace: Pace,
        patience: Patience = DEFAULT_PATIENCE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        context = Context(registry, cluster, accounts, issuer, observer, patience, now)
        self.registry = registry
        self._observer = observer
        self._pace = pace
        self._jitter = jitter
        self._roles = RoleWork(context)
        self._accounts = AccountWork(context)
        self._failures: dict[Key, int] = {}
        self._begun = False
        self._swept: set[str] = set()
        self._recount: set[str] = set()
        """AWSAccounts of which only the counts are to be looked at."""
        self._inspect_at: dict[str, float] = {}
        """When an AWSAccount is to be looked at whole again, at the latest."""
        self._now = asyncio.get_running_loop().time
        self._queue: DueQueue[Key] = DueQueue(self._work, _WORKERS, self._now)

    # --- what comes in --------------------------------------------------------------------------------------------

    def binding_seen(self, body: Mapping[str, Any]) -> None:
        """Take note of a binding as the API server has it."""
        entry = BindingEntry.of(body)
        if self.registry.is_old(entry):
            return
        before = self.registry.bindings.get(entry.ref)
        roles = self.registry.put_binding(entry)
        if before is None or _differs(before, entry):
            self.touch(roles)
            self._touch_account_of(entry)

    def binding_gone(self, ref: BindingRef, uid: str) -> None:
        """Take note that a binding is gone; its role is looked at, unless the binding went as it should.

        Another object of that name, which was created since, stays.
        """
        entry = self.registry.bindings.get(ref)
        if entry is None or entry.uid != uid:
            self._roles.released.discard(uid)
            return
        self._roles.judged.pop(ref, None)
        self._roles.chains.forget(uid)
        roles = self.registry.drop_binding(ref)
        if entry.uid in self._roles.released:
            self._roles.released.discard(entry.uid)
            roles -= entry.roles
        self.touch(roles)
        self._touch_account_of(entry)

    def account_seen(self, body: Mapping[str, Any]) -> None:
        """Take note of an AWSAccount."""
        name = str(body["metadata"]["name"])
        before = self.registry.aws_accounts.get(name)
        if before is not None and _is_old(body, before):
            return
        self.registry.put_aws_account(body)
        if before is None or _account_differs(before, body):
            self._recount.discard(name)
            self._inspect_at.pop(name, None)
            self._queue.touch(AccountKey(name), 0.0)
            if before is None:
                self.reconsider()
            else:  # how it is worked in may have changed
                account_id = str(body["spec"]["accountId"])
                self.touch({role for e in self._accounts.entries_of(account_id) for role in e.roles})

    def account_gone(self, name: str, uid: str) -> None:
        """Take note that an AWSAccount is gone."""
        known = self.registry.aws_accounts.get(name)
        if known is None or known["metadata"]["uid"] != uid:
            return
        self.registry.drop_aws_account(name)
        self._queue.forget(AccountKey(name))
        for other in self.registry.aws_accounts:  # one that was a duplicate may count now
            self._queue.touch(AccountKey(other), 0.0)
        self.reconsider()

    def reconsider(self, refs: Iterable[BindingRef] | None = None) -> None:
        """Judge bindings again after something around them changed, and touch the roles of those that fare otherwise.

        Args:
            refs: which; None for all.
        """
        for ref in list(self.registry.bindings) if refs is None else list(refs):
            entry = self.registry.bindings.get(ref)
            if entry is None or entry.binding is None:
                continue
            if judge(entry, self.registry, entry.binding.role).key != self._roles.judged.get(ref):
                self.touch(entry.roles)

    def touch(self, roles: Iterable[RoleArn]) -> None:
        """Let roles be looked at after the window; before `begin`, which looks at all, nothing is."""
        if self._begun:
            for role in roles:
                self._queue.touch(role, self._pace.window)

    def begin(self) -> int:
        """Touch what is not in step; return how many roles that are.

        After a restart most roles are as their bindings' statuses say. They are left for the resync, spread over its
        interval, so that a restart of a large cluster does not ask AWS about every role at once.
        """
        self._begun = True
        due = 0
        for role in self.registry.roles():
            in_step = self._roles.is_in_step(role)
            self._queue.touch(role, self._pace.resync * self._jitter() if in_step else 0.0)
            due += not in_step
        for name in self.registry.aws_accounts:
            self._queue.touch(AccountKey(name), 0.0)
        return due

    @property
    def backlog(self) -> int:
        """How many keys are due or under way."""
        return self._queue.backlog

    async def run(self) -> None:
        """Work until cancelled."""
        await self._queue.run()

    # --- what is due ----------------------------------------------------------------------------------------------

    async def _work(self, key: Key) -> None:
        try:
            match key:
                case AccountKey():
                    due = await self._account(key)
                case SweepKey():
                    due = await self._sweep(key)
                case _:
                    due = await self._roles.run(key, self._accounts.guard)
                    self._look_at_doubted()
                    self._wake_chains()
        except Exception:  # noqa: BLE001 - the other roles go on, this one is tried again, and the observer tells
            self._observer.crashed(str(key))
            due = Next.RETRY
        delay = self._delay(key, due)
        if delay is not None:
            self._queue.touch(key, delay)

    async def _account(self, key: AccountKey) -> Next:
        now = self._now()
        if key.name in self._recount:
            self._recount.discard(key.name)
            if now < self._inspect_at.get(key.name, now) and await self._accounts.recount(key.name):
                return Next.RESYNC
        due, held_up = await self._accounts.run(key.name)
        if due is Next.RESYNC:
            self._inspect_at[key.name] = now + self._pace.resync
        body = self.registry.aws_accounts.get(key.name)
        if body is None or due is not Next.RESYNC:
            return due
        account_id = str(body["spec"]["accountId"])
        if held_up:
            entries = self._accounts.entries_of(account_id)
            self.touch({role for entry in entries for role in entry.roles})
        if account_id not in self._swept:
            self._swept.add(account_id)
            self._queue.touch(SweepKey(account_id), min(_FIRST_SWEEP, self._pace.sweep) * self._jitter())
        return due

    async def _sweep(self, key: SweepKey) -> Next:
        due = Next.RESYNC
        for search in (self._accounts.orphans, self._roles.associations.orphans):
            try:
                self.touch(await search(key.account_id))
            except AwsError as error:
                self._observer.account(key.account_id, "SweepFailed", str(error))
                due = Next.RETRY
        return due

    def _delay(self, key: Key, due: Next) -> float | None:
        """Return the seconds until ``key`` is due again; None for never."""
        if due is Next.RETRY:
            failures = self._failures.get(key, 0) + 1
            self._failures[key] = failures
            doubled = self._pace.retry * 2.0 ** min(failures - 1, 16)
            return min(self._pace.max_retry, doubled) * (0.5 + 0.5 * self._jitter())
        self._failures.pop(key, None)
        if due is Next.NEVER:
            return None
        interval = self._pace.sweep if isinstance(key, SweepKey) else self._pace.resync
        return interval * (0.8 + 0.4 * self._jitter())

    def _touch_account_of(self, entry: BindingEntry) -> None:
        if entry.binding is None or not self._begun:
            return
        for account_id in {role.account_id for role in entry.roles}:
            account = self.registry.aws_account(account_id)
            if account is not None:
                self._recount.add(account.name)
                self._queue.touch(AccountKey(account.name), _ACCOUNT_WINDOW)

    def _wake_chains(self) -> None:
        """Let the roles be looked at of which the next step has become possible."""
        wake, self._roles.chains.wake = self._roles.chains.wake, set()
        for role in wake:
            self._queue.touch(role, 0.0)

    def _look_at_doubted(self) -> None:
        """Look at accounts that a role had trouble with, unless they are known to be out of order already."""
        doubted = [name for name in self._roles.doubted if name in self.registry.aws_accounts]
        self._roles.doubted.clear()
        for name in doubted:
            ready = ready_condition(self.registry.aws_accounts[name].get("status") or {}) or {}
            if ready.get("status") == "True":
                self._recount.discard(name)
                self._inspect_at.pop(name, None)
                self._queue.touch(AccountKey(name), 0.0)


def _differs(before: BindingEntry, after: BindingEntry) -> bool:
    """Return whether more changed than what we write ourselves."""
    return (before.uid, before.generation, before.deleting) != (after.uid, after.generation, after.deleting) or (
        before.guarded and not after.guarded and not after.deleting
    )


def _is_old(body: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    one, other = body["metadata"], known["metadata"]
    versions = str(one.get("resourceVersion", "")), str(other.get("resourceVersion", ""))
    return one.get("uid") == other.get("uid") and is_older(*versions)


def _account_differs(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return (
        before["metadata"].get("uid") != after["metadata"].get("uid")
        or before["metadata"].get("generation") != after["metadata"].get("generation")
        or is_deleting(before) != is_deleting(after)
    )
