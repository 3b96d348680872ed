"""One active operator: it holds a Lease, and ends when it cannot renew it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from trustbind.errors import TrustbindError
from trustbind_operator.settings import Lease
from trustbind_runtime.kubernetes.client import ApiError, ApiServer

__all__ = ["LeaseLostError", "identity", "namespace_of", "while_leading"]

_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod finds its own namespace (Kubernetes documentation, "Accessing the Kubernetes API from a Pod")."""


_MERGE: Final = "application/merge-patch+json"

_CALL_SECONDS: Final = 5.0
"""For one call about the Lease; well below the time in which a renewal must succeed."""


class LeaseLostError(TrustbindError):
    """The Lease could not be renewed in time; another operator may be working now."""


def identity() -> str:
    """Return a name for this process that no other has, also not after a restart of the pod."""
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


async def while_leading(api: ApiServer, settings: Lease, who: str, work: Callable[[], Awaitable[None]]) -> None:
    """Wait for the Lease, then run ``work`` while it is held.

    Args:
        api: the API server.
        settings: see `Lease`.
        who: this process.
        work: ends only when the process ends; cancelled when the Lease is lost.

    Raises:
        LeaseLostError: it could not be renewed in time.
        Exception: whatever ``work`` raises.
    """
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    working: list[asyncio.Task[Any]] = []

    async def lead() -> None:
        working.extend(task for task in [asyncio.current_task()] if task is not None)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - it is raised below, out of the election's task
            if not outcome.done():
                outcome.set_exception(error)
            return
        if not outcome.done():
            outcome.set_result(None)

    async def lost() -> None:
        if not outcome.done():
            outcome.set_exception(
                LeaseLostError(
                    f"the Lease {settings.name} could not be renewed within {settings.renew_deadline_seconds} s"
                )
            )

    namespace = namespace_of(settings)
    lock = _LeaseLock(api, namespace, settings.name, who)
    election = LeaderElection(
        Config(
            lock,
            lease_duration=settings.duration_seconds,
            renew_deadline=settings.renew_deadline_seconds,
            retry_period=settings.retry_seconds,
            onstarted_leading=lead,
            onstopped_leading=lost,
        )
    )
    running = asyncio.create_task(election.run())
    try:
        await asyncio.wait({running, outcome}, return_when=asyncio.FIRST_COMPLETED)
        if outcome.done():
            outcome.result()
        else:
            running.result()
    finally:
        # First the work, while the Lease is still renewed (the election leaves it running); then nobody else waits.
        await _ended(*working)
        await _ended(running)
        await lock.give_up()


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        if not task.cancelling():  # the election has asked the work already when the Lease is lost; twice cuts it short
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _LeaseLock(BaseLock):
    """The Lease as the client's election wants it, over raw JSON.

    The client's own lock cannot create a Lease (37.0: it passes a boolean where its model wants a text), and lets a
    broken connection end the election; here it is one more failed try.
    """

    def __init__(self, api: ApiServer, namespace: str, name: str, who: str) -> None:
        super().__init__(name, namespace, who)
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._lease: dict[str, Any] = {}
        self._held = False

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:  # noqa: ARG002 - the signature is the client's
        """Return whether there is a Lease, and its record or the error."""
        try:
            body = await self._api.get(f"{self._collection}/{name}", accept="application/json", seconds=_CALL_SECONDS)
        except ApiError as error:
            failure = ApiException(status=error.status, reason=error.problem)
            failure.body = msgspec.json.encode({"code": error.status}).decode()
            return False, failure
        self._lease = msgspec.json.decode(body)
        spec: Mapping[str, Any] = self._lease.get("spec") or {}
        self._held = spec.get("holderIdentity") == self.identity
        if not spec.get("holderIdentity"):
            return True, None
        seconds = spec.get("leaseDurationSeconds")
        return True, LeaderElectionRecord(
            spec.get("holderIdentity"),
            None if seconds is None else str(seconds),
            _from_micro(spec.get("acquireTime")),
            _from_micro(spec.get("renewTime")),
        )

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Create the Lease, held by us."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": _spec(election_record),
        }
        return await self._write("POST", self._collection, body)

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:  # noqa: ARG002 - as above
        """Take or renew the Lease; the version that was read is sent along, so that only one can win."""
        return await self._write("PUT", f"{self._collection}/{name}", {**self._lease, "spec": _spec(updated_record)})

    async def give_up(self) -> None:
        """Leave the Lease without a holder, if we hold it, so that a standby need not wait for its end."""
        if not self._held:
            return
        version = self._lease["metadata"]["resourceVersion"]  # it is not ours to free when somebody has taken it since
        change = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": None}}
        with contextlib.suppress(ApiError):
            path = f"{self._collection}/{self.name}"
            await self._api.send("PATCH", path, change, content_type=_MERGE, seconds=_CALL_SECONDS)

    async def _write(self, method: str, path: str, body: Mapping[str, Any]) -> bool:
        try:
            self._lease = msgspec.json.decode(await self._api.send(method, path, body, seconds=_CALL_SECONDS))
        except ApiError:
            self._held = False
        else:
            self._held = True
        return self._held


def _spec(record: Any) -> dict[str, Any]:
    return {
        "holderIdentity": record.holder_identity,
        "leaseDurationSeconds": int(float(record.lease_duration)),
        "acquireTime": _to_micro(record.acquire_time),
        "renewTime": _to_micro(record.renew_time),
    }


def _to_micro(text: str) -> str:
    """Return the election's time, local and without a zone, as the API has it (MicroTime)."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _from_micro(text: str | None) -> str | None:
    if text is None:
        return None
    return str(dt.datetime.fromisoformat(text).astimezone().replace(tzinfo=None))
