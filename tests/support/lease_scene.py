"""Leader election on a virtual event loop: the candidates, and a stand-in for the API server's Leases.

The stand-in has versions, conflicts, failures and delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, cast

import pytest

from trustbind_operator.leader_election import Leadership, LeaseLostError, while_leading
from trustbind_operator.settings import Lease
from trustbind_runtime.kubernetes.client import ApiError, ApiServer

__all__ = ["SETTINGS", "Candidate", "LeaseApi", "PausableClock", "leading"]

Json = dict[str, Any]

SETTINGS: Final = Lease(
    name="lease", namespace="system", duration_seconds=30, renew_deadline_seconds=10, retry_seconds=2
)


class PausableClock:
    """The event loop's time, and what a pause of the whole process adds to it."""

    def __init__(self) -> None:
        self._paused = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return asyncio.get_running_loop().time() + self._paused

    def pause(self, seconds: float) -> None:
        """Let time pass in which no code of the process runs."""
        self._paused += seconds


class LeaseApi:
    """Holds one Lease; it has the two methods of the API server that an election calls.

    Attributes:
        lease: the Lease, or None.
        calls: method of every call, with its status.
        problem: what every call raises, or None.
        hang: whether calls are not answered.
        lose_answers: whether writes are done and not answered.
        during: runs inside the next call, before it is done.
    """

    def __init__(self, **spec: Any) -> None:
        self._version = 100
        self.lease: Json | None = None
        self.calls: list[str] = []
        self.problem: ApiError | None = None
        self.hang = False
        self.lose_answers = False
        self.during: Callable[[], None] | None = None
        if spec:
            self.change(**spec)

    @property
    def spec(self) -> Json:
        """The Lease's spec."""
        assert self.lease is not None
        spec: Json = self.lease["spec"]
        return spec

    def change(self, **spec: Any) -> None:
        """Change the Lease behind the election's back; create it where there is none."""
        metadata = {"name": "lease", "namespace": "system"}
        self._store(self.lease or {"metadata": metadata, "spec": {}}, {**(self.lease or {}).get("spec", {}), **spec})

    async def get(self, path: str, *, accept: str, seconds: float) -> bytes:
        """Return the Lease."""
        del path, accept, seconds
        return await self._answer("GET", lambda: None)

    async def send(
        self, method: str, path: str, body: Mapping[str, Any], *, content_type: str, seconds: float
    ) -> bytes:
        """Write the Lease as the API server would."""
        del seconds
        collection = "/apis/coordination.k8s.io/v1/namespaces/system/leases"
        assert path == (collection if method == "POST" else f"{collection}/lease")
        assert content_type == ("application/merge-patch+json" if method == "PATCH" else "application/json")

        def write() -> None:
            if method == "POST":
                if self.lease is not None:
                    raise ApiError(409, "already exists")
                self._store({"metadata": dict(body["metadata"])}, body["spec"])
                return
            if self.lease is None:
                raise ApiError(404, "not found")
            if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                raise ApiError(409, "the object has been modified")
            self._store(self.lease, body["spec"] if method == "PUT" else {**self.lease["spec"], **body["spec"]})

        return await self._answer(method, write)

    async def _answer(self, method: str, write: Callable[[], None]) -> bytes:
        self.calls.append(method)
        during, self.during = self.during, None
        if during is not None:
            during()
        if self.hang:
            await asyncio.sleep(3600)
        if self.problem is not None:
            raise self.problem
        write()
        if self.lose_answers and method != "GET":
            await asyncio.sleep(3600)
        if self.lease is None:
            raise ApiError(404, "not found")
        return json.dumps(self.lease).encode()

    def _store(self, lease: Json, spec: Mapping[str, Any]) -> None:
        self._version += 1
        kept = {name: value for name, value in spec.items() if value is not None}
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self._version)}, "spec": kept}


class Candidate:
    """One operator that takes part in the election.

    Args:
        api: where the Lease is.
        who: its identity.
        clock: its clock.
        ending_seconds: how long its work takes to end after it was cancelled.
    """

    def __init__(
        self, api: LeaseApi, who: str = "one", clock: PausableClock | None = None, ending_seconds: float = 0.0
    ) -> None:
        self.clock = clock or PausableClock()
        self.leadership: Leadership | None = None
        self.began = math.nan
        self.cancelled = math.nan
        self._ending_seconds = ending_seconds
        server = cast("ApiServer", api)
        self.running = asyncio.create_task(
            while_leading(server, SETTINGS, who, self._work, clock=self.clock, chance=lambda: 0.5)
        )

    @property
    def may_write(self) -> bool:
        """Whether it may write now."""
        return self.leadership is not None and self.leadership.is_held()

    async def _work(self, leadership: Leadership) -> None:
        self.leadership = leadership
        self.began = self.clock()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = self.clock()
            await asyncio.sleep(self._ending_seconds)

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running

    async def lost(self) -> str:
        """Wait until it has lost the Lease and return the sentence."""
        with pytest.raises(LeaseLostError) as caught:
            await self.running
        return str(caught.value)


@contextlib.asynccontextmanager
async def leading(api: LeaseApi, **options: Any) -> AsyncIterator[Candidate]:
    """Give a candidate that leads."""
    candidate = Candidate(api, **options)
    await asyncio.sleep(0.1)
    assert candidate.may_write
    try:
        yield candidate
    finally:
        if not candidate.running.done():
            await candidate.stop()
