"""Leader election over a Lease, and the deadline until which the leader may write.

The rules are those of client-go (k8s.io/client-go/tools/leaderelection). One is added: permission to write is a
deadline on a clock, which only a successful renewal moves. A process that was paused cannot set a flag in time, but the
first line that it runs afterwards can read the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import os
import random
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from trustbind.errors import TrustbindError
from trustbind_aws.permits import boottime
from trustbind_operator.settings import Lease
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger

__all__ = [
    "Clock",
    "Leadership",
    "LeaseLostError",
    "identity",
    "namespace_of",
    "while_leading",
    "without_lease",
]

Clock = Callable[[], float]
"""Seconds since a fixed but unknown start; never set back."""

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds its own namespace (Kubernetes documentation, "Accessing the Kubernetes API from a Pod")."""

_MERGE: Final = "application/merge-patch+json"
_CONFLICT: Final = 409

_CALL_SECONDS: Final = 5.0
"""Time-out of one call to the API server. Default 5 s: half of renewDeadlineSeconds, so that a second call fits."""

_JITTER: Final = 1.2
"""A standby waits between 1 and 1 + 1.2 times retrySeconds (client-go's JitterFactor), so that several standbys do not
call at the same time."""


class LeaseLostError(TrustbindError):
    """This process no longer leads; another operator may write now."""


class Leadership:
    """Permission to write to AWS: a deadline on a clock. Any thread may read it.

    Args:
        clock: usually `boottime`.
        deadline: in the clock's seconds; ``math.inf`` where there is no Lease.
    """

    __slots__ = ("_clock", "_deadline")

    def __init__(self, clock: Clock = boottime, deadline: float = -math.inf) -> None:
        self._clock = clock
        self._deadline = deadline

    @property
    def deadline(self) -> float:
        """The clock's seconds from which on this process must not send a write; -inf when it does not lead."""
        return self._deadline

    def is_held(self) -> bool:
        """Return whether this process may send a write now."""
        return self._clock() < self._deadline

    def extend(self, deadline: float) -> None:
        """Move the deadline after a successful renewal."""
        self._deadline = deadline

    def end(self) -> None:
        """Refuse every write from now on."""
        self._deadline = -math.inf


Work = Callable[[Leadership], Awaitable[None]]


def identity() -> str:
    """Return a name for this process that no other process has, also not after a restart of the pod."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def namespace_of(settings: Lease) -> str:
    """Return the Lease's namespace.

    Raises:
        TrustbindError: it is not set, and this is not a pod.
    """
    if settings.namespace:
        return settings.namespace
    try:
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        raise TrustbindError("outside of a pod the Lease needs a namespace; set lease.namespace") from None


async def while_leading(
    api: ApiServer,
    settings: Lease,
    who: str,
    work: Work,
    *,
    clock: Clock = boottime,
    chance: Callable[[], float] = random.random,
    log: Logger | None = None,
) -> None:
    """Acquire the Lease, then run ``work`` and renew the Lease until one of both ends.

    At the end ``work`` is cancelled first, while the Lease is still renewed; then the Lease is released.

    Args:
        api: the API server.
        settings: see `Lease`.
        who: the identity of this process.
        work: ends only when the process ends; cancelled when the Lease is lost. It must not return while one of its
            writes is under way: another operator may acquire the Lease as soon as it is released.
        clock: for the deadline, and for how long another holder's record has been unchanged.
        chance: a random number from 0 to 1, for the pauses of a standby.
        log: for failed attempts.

    Raises:
        LeaseLostError: the Lease was not renewed before the deadline, or another process took it.
        Exception: whatever ``work`` raises.
    """
    election = _Election(api, settings, who, clock, chance, log)

    async def lead() -> None:
        await work(election.leadership)

    try:
        await election.acquire()
        working, renewing = asyncio.create_task(lead()), asyncio.create_task(election.renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            (working if working.done() else renewing).result()
        finally:
            await _cancelled(working)
            await _cancelled(renewing)
    finally:
        await election.release()


async def without_lease(work: Work, *, clock: Clock = boottime) -> None:
    """Run ``work`` with a leadership that has no deadline, for lease.enabled=false."""
    leadership = Leadership(clock, math.inf)
    try:
        await work(leadership)
    finally:
        leadership.end()


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Election:
    """One candidate. It reads and writes raw JSON; every write sends the resourceVersion that was read last."""

    def __init__(
        self,
        api: ApiServer,
        settings: Lease,
        who: str,
        clock: Clock,
        chance: Callable[[], float],
        log: Logger | None,
    ) -> None:
        self.leadership = Leadership(clock)
        self._api = api
        self._settings = settings
        self._who = who
        self._clock = clock
        self._chance = chance
        self._log = log
        self._namespace = namespace_of(settings)
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        self._path = f"{self._collection}/{settings.name}"
        self._lease: dict[str, Any] | None = None
        """The Lease as it was read or written last; None when it does not exist."""
        self._spec: Mapping[str, Any] | None = None
        """The last spec that was seen, also after the Lease was deleted."""
        self._observed_version: str | None = None
        self._expires = -math.inf
        """When another holder's Lease expires, on our clock."""
        self._problem = ""

    async def acquire(self) -> None:
        """Return once this process leads."""
        while True:
            if await self._try_acquire():
                return
            await asyncio.sleep(self._settings.retry_seconds * (1 + _JITTER * self._chance()))

    async def renew(self) -> NoReturn:
        """Renew the Lease every retrySeconds.

        An attempt that fails is repeated as long as the next one begins before the deadline. Past the deadline there is
        one attempt, and only when it was due before: then this process was paused. It succeeds if no other process has
        written the Lease since.

        Raises:
            LeaseLostError: see `while_leading`.
        """
        due = self._clock() + self._settings.retry_seconds
        while True:
            await asyncio.sleep(max(0.0, due - self._clock()))
            attempted = self._clock()
            late = attempted >= self.leadership.deadline
            try:
                await self._renew_once(attempted + _CALL_SECONDS if late else self.leadership.deadline, late=late)
            except ApiError as error:
                self._report("lease not renewed", error)
                due = max(self._clock(), attempted + self._settings.retry_seconds)
                if late or due >= self.leadership.deadline:
                    await asyncio.sleep(max(0.0, self.leadership.deadline - self._clock()))
                    raise LeaseLostError(
                        f"the Lease {self._settings.name} could not be renewed within "
                        f"{self._settings.renew_deadline_seconds} s: {error}"
                    ) from None
            else:
                self._problem = ""
                due = attempted + self._settings.retry_seconds

    async def release(self) -> None:
        """Clear the Lease's holder, so that a standby need not wait until the Lease expires.

        After the deadline the Lease is left to expire: a write that was sent before it may still be under way.
        """
        held = self.leadership.is_held()
        self.leadership.end()
        if not held:
            return
        until = self._clock() + _CALL_SECONDS
        with contextlib.suppress(ApiError):
            try:
                await self._clear_holder(until)
            except ApiError as error:
                if error.status != _CONFLICT or await self._read(until) != self._who:
                    raise
                await self._clear_holder(until)

    async def _try_acquire(self) -> bool:
        try:
            holder = await self._read()
            version = self._version
            if version is not None and version != self._observed_version:
                seconds = (self._spec or {}).get("leaseDurationSeconds") or 0
                self._observed_version = version
                # Only our own clock counts: the holder's renewTime comes from another machine.
                self._expires = -math.inf if holder in {"", self._who} else self._clock() + seconds
            # A Lease that was deleted by hand has not expired: its holder creates it again.
            if self._clock() < self._expires:
                self._problem = ""
                return False
            await self._write()
        except ApiError as error:
            if error.status != _CONFLICT:  # another standby was faster
                self._report("lease not acquired", error)
            return False
        self._problem = ""
        return True

    async def _renew_once(self, until: float, *, late: bool) -> None:
        """Renew the Lease until the clock reads ``until``.

        Raises:
            ApiError: the API server refused or did not answer.
            LeaseLostError: another process took the Lease, or may have had it while this one was late.
        """
        if self._lease is not None:
            try:
                await self._write(until)
            except ApiError as error:
                if error.status not in {_CONFLICT, NOT_FOUND}:
                    raise
            else:
                return
        holder = await self._read(until)
        if holder == self._who or not (holder or late):
            await self._write(until)
            return
        self.leadership.end()
        taken = f"was taken by {holder}" if holder else "was released or deleted while this process was paused"
        raise LeaseLostError(f"the Lease {self._settings.name} {taken}")

    async def _read(self, until: float = math.inf) -> str:
        """Read the Lease and return its holder; empty when there is none."""
        try:
            self._lease = await self._call("GET", self._path, until)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._lease = None
            return ""
        self._spec = self._lease.get("spec") or {}
        return self._spec.get("holderIdentity") or ""

    async def _write(self, until: float = math.inf) -> None:
        """Write the Lease with this process as its holder, and move the deadline."""
        spec = self._next_spec()
        if self._lease is None:
            method, path = "POST", self._collection
            body: dict[str, Any] = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._settings.name, "namespace": self._namespace},
                "spec": spec,
            }
        else:
            method, path, body = "PUT", self._path, {**self._lease, "spec": spec}
        sent = self._clock()
        self._lease = await self._call(method, path, until, body)
        self._spec = spec
        # From before the call: a standby counts the Lease's duration from an observation that is later than this.
        self.leadership.extend(sent + self._settings.renew_deadline_seconds)

    async def _clear_holder(self, until: float) -> None:
        change = {"metadata": {"resourceVersion": self._version}, "spec": {"holderIdentity": None}}
        await self._call("PATCH", self._path, until, change)

    def _next_spec(self) -> dict[str, Any]:
        """Return the spec of the next write (Kubernetes API reference, LeaseSpec)."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # MicroTime; for people alone
        last = self._spec if self._spec is not None else {}
        renewed = last.get("holderIdentity") == self._who
        changes = 0 if renewed or self._spec is None else 1
        return {
            **last,
            "holderIdentity": self._who,
            "leaseDurationSeconds": self._settings.duration_seconds,
            "acquireTime": (last.get("acquireTime") if renewed else None) or now,
            "renewTime": now,
            "leaseTransitions": (last.get("leaseTransitions") or 0) + changes,
        }

    @property
    def _version(self) -> str | None:
        if self._lease is None:
            return None
        version: str | None = (self._lease.get("metadata") or {}).get("resourceVersion")
        return version

    async def _call(
        self, method: str, path: str, until: float, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the answer of one call, which ends when the clock reads ``until`` at the latest.

        Raises:
            ApiError: the API server refused, or did not answer in time with a JSON object.
        """
        seconds = min(_CALL_SECONDS, until - self._clock())
        if seconds <= 0:
            raise ApiError(0, "no time is left before the deadline")
        try:
            async with asyncio.timeout(seconds):
                if body is None:
                    answer = await self._api.get(path, accept="application/json", seconds=seconds)
                else:
                    kind = _MERGE if method == "PATCH" else "application/json"
                    answer = await self._api.send(method, path, body, content_type=kind, seconds=seconds)
            return msgspec.json.decode(answer, type=dict[str, Any])
        except TimeoutError:
            raise ApiError(0, f"the API server did not answer within {seconds:.1f} s") from None
        except msgspec.DecodeError:
            raise ApiError(0, "the API server's answer is not a JSON object") from None

    def _report(self, event: str, error: ApiError) -> None:
        """Log a failed attempt, unless the one before it failed in the same way."""
        if self._log is not None and str(error) != self._problem:
            self._log.warning(event, lease=self._settings.name, problem=str(error))
        self._problem = str(error)
