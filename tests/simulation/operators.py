"""One operator process: the real election, manager, controllers, router, cache and pool, on simulated ports."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final, cast

from simulation.cloud import Sessions, limiter_of
from simulation.cluster import (
    ACCOUNT,
    BINDING,
    GRANT,
    NAMESPACE,
    SERVICE_ACCOUNT,
    Cluster,
    Item,
    Key,
    LeaseClient,
    Writer,
)
from simulation.known import Known
from simulation.processes import Process
from trustbind.identity.arns import RoleArn
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.controllers.context import Context
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.events.event_router import EventRouter
from trustbind_operator.leader_election import Leadership, while_leading
from trustbind_operator.metrics import Telemetry
from trustbind_operator.settings import Lease
from trustbind_runtime.kubernetes.client import ApiError, ApiServer

if TYPE_CHECKING:
    from simulation.world import World

__all__ = ["PAUSES", "Operator"]

PAUSES: Final = "pauses of revocation, begun and ended"
"""What is counted."""

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LEASE: Final = Lease(name="lease", namespace="system")
_RUN_SECONDS: Final = 20.0
"""A run of a role that was planned during a pause may write so long after its end."""

_FIRST_RELIST_SECONDS: Final = 30.0
_RELIST_SECONDS: Final = 60.0
"""More often than the operator's own, so that a world in which a watch loses events is over sooner."""


class Operator:
    """See the module.

    Args:
        world: where it runs.
        cluster: whose operator it is.
        name: for the schedule, and its identity in the election.
    """

    def __init__(self, world: World, cluster: Cluster, name: str) -> None:
        self.world = world
        self.cluster = cluster
        self.name = name
        self.process = Process(world.loop, name)
        self.known = Known()
        self.may_write_until = -math.inf
        """By the operator's clock, from the Lease alone."""
        self._offset = world.rng.random() * 1000.0
        self._router: EventRouter | None = None
        self._last: dict[Key, float] = {}
        self._rng: Random = world.rng
        self._events_from = 0.0
        self._watches = False
        """Whether the watch of our own kinds has begun."""
        self.running: asyncio.Task[None] | None = None
        self.pauses: dict[str, float] = {}
        """By AWS account id, until when revocation was paused there, or may be so in a plan that was made before."""

    def is_paused(self, account_id: str) -> bool:
        """Return whether revocation is paused in an AWS account, or was so when a run began that is under way."""
        return self.world.now() < self.pauses.get(account_id, -math.inf)

    def clock(self) -> float:
        """Return the seconds of its own clock."""
        return self.world.now() + self._offset

    def renewed(self, sent: float) -> None:
        """Take note that the Lease was written by a request that was sent then."""
        self.may_write_until = sent + _LEASE.renew_deadline_seconds

    async def pause_here(self, seconds: float) -> None:
        """Stop the whole process for some seconds, in the middle of what it does."""
        self.world.schedule.add(self.name, f"is paused for {seconds} s before it sends")
        self.world.schedule.count("pauses in a thread")
        self.process.pause(seconds)
        await asyncio.sleep(0)

    def start(self) -> None:
        """Start the process."""
        self.running = self.process.start(self._main())

    async def _main(self) -> None:
        api = cast("ApiServer", LeaseClient(self))
        await while_leading(api, _LEASE, self.name, self._lead, clock=self.clock, chance=self._rng.random)

    async def _lead(self, leadership: Leadership) -> None:
        """Do what `trustbind_operator.app` does while it leads."""
        world = self.world
        world.schedule.add(self.name, "leads")
        world.schedule.count("terms of leadership")
        cache = ClusterCache(self.cluster.issuer)
        pool = AccountPool(Sessions(self), world.loop.time, lambda _: limiter_of(*world.budget))
        context = Context(
            cache,
            Writer(self),
            pool,
            _QuietTelemetry(self),
            lambda: leadership.deadline,
            WritePace(jitter=self._rng.random, clock=self.clock),
            lambda: _START + timedelta(seconds=world.now()),
        )
        manager = Manager(context, pace=world.pace, jitter=self._rng.random)
        router = self._router = EventRouter(cache, manager, lambda *_: None)
        try:
            await self._follow_metadata()
            for kind in (GRANT, ACCOUNT, BINDING):
                listed = await self._listed(kind)
                for item in listed:
                    self._deliver(item, is_gone=False)
            manager.begin()
            works = [asyncio.create_task(work) for work in (manager.run(), self._watch(), self._relist(router))]
            try:
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for work in works:
                    if work.done():
                        work.result()
            finally:
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)
        finally:
            if self in self.cluster.watchers:
                self.cluster.watchers.remove(self)
            await pool.close()

    # --- what it hears ----------------------------------------------------------------------------------------------

    def receive(self, item: Item, *, is_gone: bool) -> None:
        """Let an event be on its way: late, out of order with other objects', perhaps twice."""
        faults, rng = self.world.faults, self._rng
        kind = item.key[0]
        if kind in (BINDING, GRANT, ACCOUNT):
            if not self._watches:
                return
            if is_gone and rng.random() < faults.watch:
                self.world.schedule.add(self.name, f"has no event for the end of {item.key}")
                return
        delay = self.world.leg()
        if not self.world.is_calm and rng.random() < 0.08:
            delay += rng.random() * 8.0
        times = 2 if not self.world.is_calm and rng.random() < 0.1 else 1
        for _ in range(times):
            when = max(self.world.now() + delay, self._last.get(item.key, 0.0) + 1e-6, self._events_from)
            self._last[item.key] = when
            self.process.at(when, self._deliver_event, item, is_gone)
            delay += rng.random() * 2.0

    def _deliver_event(self, item: Item, is_gone: bool) -> None:
        self._deliver(item, is_gone=is_gone)

    def _deliver(self, item: Item, *, is_gone: bool) -> None:
        router = self._router
        if router is None:
            return
        self.known.take(item, is_gone=is_gone, now=self.world.now())
        kind, namespace, name = item.key
        match kind, is_gone:
            case ("RoleBinding", False):
                router.binding_seen(item.body)
            case ("RoleBinding", True):
                router.binding_gone(item.ref, item.uid)
            case ("RoleGrant", False):
                router.grant_seen(item.body)
            case ("RoleGrant", True):
                router.grant_gone(name, item.uid)
            case ("AWSAccount", False):
                router.account_seen(item.body)
            case ("AWSAccount", True):
                router.account_gone(name, item.uid)
            case ("ServiceAccount", _):
                router.service_account(namespace, name, None if is_gone else item.labels)
            case _:
                router.namespace(name, None if is_gone else item.labels)

    async def _follow_metadata(self) -> None:
        """Read service accounts and namespaces, and follow them from then on."""

        def look() -> list[Item]:
            self.cluster.watchers.append(self)
            self._events_from = self.world.now() + 3.0  # no event comes before the list's answer
            return self.cluster.of_kind(SERVICE_ACCOUNT) + self.cluster.of_kind(NAMESPACE)

        found = await self._travelling(look)
        for item in found:
            self._deliver(item, is_gone=False)

    async def _watch(self) -> None:
        """Follow our own kinds from a list of the watch's own, as kopf does."""
        await asyncio.sleep(self.world.leg())
        for item in [*self.cluster.of_kind(GRANT), *self.cluster.of_kind(ACCOUNT), *self.cluster.of_kind(BINDING)]:
            when = max(self.world.now() + self.world.leg(), self._last.get(item.key, 0.0) + 1e-6)
            self._last[item.key] = when
            self.process.at(when, self._deliver_event, item, False)  # noqa: FBT003 - a callback's argument
        self._watches = True
        await asyncio.Event().wait()

    async def _relist(self, router: EventRouter) -> None:
        """List everything again now and then, as `trustbind_operator.events.lister` does."""
        await asyncio.sleep(_FIRST_RELIST_SECONDS)
        while True:
            before = router.known()
            known = self.known.identities()
            with contextlib.suppress(ApiError):
                found = {kind: await self._listed(kind) for kind in (GRANT, ACCOUNT, BINDING)}
                self.known.listed(known, [item for items in found.values() for item in items], self.world.now())
                router.listed(before, {kind: [item.body for item in items] for kind, items in found.items()})
            await asyncio.sleep(_RELIST_SECONDS)

    async def _listed(self, kind: str) -> list[Item]:
        return await self._travelling(lambda: self.cluster.of_kind(kind))

    async def _travelling(self, look: Callable[[], list[Item]]) -> list[Item]:
        """Look at the API server some time after the request, and have the answer some time later."""
        found: asyncio.Future[list[Item]] = asyncio.get_running_loop().create_future()
        loop, back = self.world.loop, self.world.leg()

        def arrive() -> None:
            items = look()
            loop.call_later(back, answer, items)

        def answer(items: list[Item]) -> None:
            if not found.done():
                found.set_result(items)

        loop.call_later(self.world.leg(), arrive, context=contextvars.Context())
        return await found


class _QuietTelemetry(Telemetry):
    """Logs nothing and counts nothing; an exception that no controller expects breaks a rule."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """A role was reconciled."""
        del bindings
        if written or outcome != "unchanged":
            self._operator.world.schedule.add(self._operator.name, f"{role.name}: {outcome}, {written} writes")

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """Associations were reconciled."""

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """A role's run failed."""
        self._operator.world.schedule.add(self._operator.name, f"{role.name} failed: {reason} {message[:60]}")

    def account(self, account_id: str, reason: str, message: str) -> None:
        """An AWSAccount was reconciled."""
        if message:
            self._operator.world.schedule.add(self._operator.name, f"{account_id}: {reason} {message[:100]}")

    def surveyed(self, account_id: str, pages: int, reconciled: int) -> None:
        """A survey ended."""
        del pages
        if reconciled:
            self._operator.world.schedule.add(self._operator.name, f"survey of {account_id}: {reconciled} roles")

    def account_gone(self, account_id: str) -> None:
        """No AWSAccount describes an AWS account any more."""

    def revocation_paused(self, account_id: str, held: int, *, is_new: bool) -> None:
        """Revocation is paused in an AWS account."""
        operator = self._operator
        operator.pauses[account_id] = math.inf if held else operator.world.now() + _RUN_SECONDS
        if is_new:
            self._operator.world.schedule.count(PAUSES)
            self._operator.world.schedule.add(self._operator.name, f"{account_id}: {held} revocations wait")

    def called(self, account_id: str, operation: str, code: str) -> None:
        """A call of AWS ended."""

    def crashed(self, key: str) -> None:
        """An unexpected exception is being handled."""
        self._operator.world.crashed(self._operator, key, cast("Exception", sys.exc_info()[1]))
