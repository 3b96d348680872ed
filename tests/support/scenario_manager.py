"""A world with a running manager, whose events come from the cluster in memory."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import Any, Final

from support.bodies import ISSUER, ROLE
from support.scenario_world import World
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import is_owned, subjects_of
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.controllers.pace import Pace
from trustbind_operator.events.event_router import EventRouter

__all__ = ["ManagerScenario"]

_WATCH_SECONDS: Final = 0.01
"""From a change to its event."""


class ManagerScenario(World):
    """See the module. A fixture closes it.

    Attributes:
        manager: of all controllers; made by `start`.
        router: takes the events; made by `start`.
        pace: of the manager.
        jitter: of the manager.
    """

    manager: Manager
    router: EventRouter

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace()
        self.jitter = 0.5
        self._task: asyncio.Task[None] | None = None
        self.cluster.watch = self._changed

    def start(self, seconds: float = 30.0) -> int:
        """Start the operator on what the cache holds, and let time pass; return how many roles were due."""

        async def begin() -> int:
            self.manager = Manager(self.context, pace=self.pace, jitter=lambda: self.jitter)
            self.router = EventRouter(self.cache, self.manager, lambda _kind, _name, _problem: None)
            due = self.manager.begin()
            self._task = asyncio.create_task(self.manager.run())
            await asyncio.sleep(seconds)
            return due

        return self.play(begin())

    def stop(self) -> None:
        """End the operator."""

        async def end() -> None:
            if self._task is not None:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
                self._task = None

        self.play(end())

    def close(self) -> None:
        """End the operator and close the event loop."""
        self.stop()
        super().close()

    def create(self, body: dict[str, Any], seconds: float = 0.0) -> None:
        """Create an object, let its event come, and let time pass."""

        async def happen() -> None:
            self._changed(self.cluster.put(body), is_there=True)
            await asyncio.sleep(seconds)

        self.play(happen())

    def edit(self, kind: str, name: str, seconds: float = 0.0, **changes: Any) -> None:
        """Change an object as `FakeCluster.change` does, let its event come, and let time pass."""

        async def happen() -> None:
            self.cluster.change(kind, name, **changes)
            await asyncio.sleep(seconds)

        self.play(happen())

    def remove(self, kind: str, name: str, seconds: float = 0.0) -> None:
        """Request an object's deletion, let its event come, and let time pass."""

        async def happen() -> None:
            self.cluster.delete(kind, name)
            await asyncio.sleep(seconds)

        self.play(happen())

    def set_grants(self, *bodies: dict[str, Any], seconds: float = 0.0) -> None:
        """Replace all RoleGrants as events do, and let time pass."""

        async def happen() -> None:
            for name, stored in list(self.cache.grants.items()):
                self.router.grant_gone(name, stored.uid)
            for body in bodies:
                self.router.grant_seen(body)
            await asyncio.sleep(seconds)

        self.play(happen())

    def admitted(self, role: RoleArn = ROLE) -> list[str]:
        """Return the names of the service accounts that our statements in a role admit, sorted."""
        return sorted(
            Subject.parse(subject).name
            for statement in self.aws.roles[role].statements
            if is_owned(statement, ISSUER) and statement["Effect"] == "Allow"
            for subject in subjects_of(statement, ISSUER)
        )

    def forget_calls(self) -> None:
        """Forget what was written, posted, reported and asked of AWS."""
        self.cluster.writes.clear()
        self.cluster.events.clear()
        self.telemetry.commits.clear()
        self.telemetry.failures.clear()
        self.telemetry.surveys.clear()
        self.aws.forget_calls()

    def _changed(self, body: dict[str, Any], is_there: bool) -> None:
        if self._task is not None:
            asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._event, copy.deepcopy(body), is_there)

    def _event(self, body: dict[str, Any], is_there: bool) -> None:
        metadata = body["metadata"]
        if body["kind"] == "AWSAccount":
            if is_there:
                self.manager.account_seen(StoredAwsAccount.of(body))
            else:
                self.manager.account_gone(metadata["name"], metadata["uid"])
        elif is_there:
            self.manager.binding_seen(StoredBinding.of(body))
        else:
            self.manager.binding_gone(BindingRef(metadata["namespace"], metadata["name"]), metadata["uid"])
