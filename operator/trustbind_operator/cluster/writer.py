"""Effects on Kubernetes: finalizers, statuses, Events; the smallest patches that do it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakValueDictionary

import msgspec

from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.api.strict import API_VERSION
from trustbind.reconcile.binding_set import StoredSet
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Transition, stamp
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger

__all__ = ["CONFLICT", "KubernetesWriter", "account_path", "binding_path"]

CONFLICT: Final = 409
FORBIDDEN: Final = 403

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"

_COMPONENT: Final = "trustbind-operator"
_CONCURRENT: Final = 32
"""Writes at once: enough to keep an API server busy, few enough not to be throttled by its fairness queues."""

_CONCURRENT_EVENTS: Final = 8
"""Events at once, beside other writes: thousands of them, as after an install, do not hold up statuses."""

_SHARE: Final = 4
"""One namespace has a part of so many of either at most, so that thousands of its writes delay no other one's."""

_MAX_EVENT: Final = 1024
"""Characters of an Event's message (Kubernetes API reference, events.k8s.io/v1 Event, note)."""

_BASE: Final = f"/apis/{API_VERSION}"


def binding_path(namespace: str, name: str = "") -> str:
    """Return the path of a RoleBinding, or of the namespace's collection."""
    path = f"{_BASE}/namespaces/{quote(namespace)}/rolebindings"
    return f"{path}/{quote(name)}" if name else path


def account_path(name: str) -> str:
    """Return the path of an AWSAccount."""
    return f"{_BASE}/awsaccounts/{quote(name)}"


class KubernetesWriter:
    """`trustbind_operator.controllers.context.Writer` on a real API server."""

    def __init__(self, api: ApiServer, log: Logger, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._api = api
        self._log = log
        self._now = now
        self._slots = _Slots(_CONCURRENT)
        self._event_slots = _Slots(_CONCURRENT_EVENTS)

    async def add_finalizer(self, stored: StoredBinding) -> StoredBinding | None:
        """Add our finalizer to a RoleBinding; return the object then, None when it is gone or was replaced."""
        body = await self._finalizers(_binding_path(stored), _metadata(stored), BINDING_FINALIZER, on=True)
        return None if body is None else StoredBinding.of(body)

    async def remove_finalizer(self, stored: StoredBinding) -> None:
        """Remove our finalizer from a RoleBinding."""
        await self._finalizers(_binding_path(stored), _metadata(stored), BINDING_FINALIZER, on=False)

    async def patch_status(self, stored: StoredBinding, status: Mapping[str, Any]) -> str | None:
        """Store a RoleBinding's status; return the object's resourceVersion then."""
        return await self._patch_status(_binding_path(stored), stored.uid, stored.status, status)

    async def add_account_finalizer(self, stored: StoredAwsAccount) -> StoredAwsAccount | None:
        """Add our finalizer to an AWSAccount; return the object then."""
        body = await self._finalizers(account_path(stored.name), _metadata(stored), ACCOUNT_FINALIZER, on=True)
        return None if body is None else StoredAwsAccount.of(body)

    async def remove_account_finalizer(self, stored: StoredAwsAccount) -> None:
        """Remove our finalizer from an AWSAccount."""
        await self._finalizers(account_path(stored.name), _metadata(stored), ACCOUNT_FINALIZER, on=False)

    async def patch_account_status(self, stored: StoredAwsAccount, status: Mapping[str, Any]) -> str | None:
        """Store an AWSAccount's status; return the object's resourceVersion then."""
        return await self._patch_status(account_path(stored.name), stored.uid, stored.status, status)

    async def create_binding(self, manifest: Mapping[str, Any]) -> None:
        """Create a RoleBinding; where one of that name is there, do nothing.

        Raises:
            ApiError: it was refused.
        """
        with _passing(CONFLICT):
            await self._send("POST", binding_path(manifest["metadata"]["namespace"]), manifest, JSON)

    async def change_binding(self, stored: StoredBinding, spec: Mapping[str, Any]) -> None:
        """Give a RoleBinding another spec; one that is gone or was replaced is left alone.

        Raises:
            ApiError: it was refused.
        """
        path = _binding_path(stored)
        with _passing(CONFLICT, NOT_FOUND):
            body = msgspec.json.decode(await self._api.get(path, accept=JSON))
            if change := _merge_patch(body["spec"], spec):
                await self._send("PATCH", path, {"metadata": {"uid": stored.uid}, "spec": change}, MERGE)

    async def delete_binding(self, stored: StoredBinding) -> None:
        """Delete a RoleBinding; one that is gone or was replaced is left alone.

        Raises:
            ApiError: it was refused.
        """
        with _passing(CONFLICT, NOT_FOUND):
            await self._send("DELETE", _binding_path(stored), {"preconditions": {"uid": stored.uid}}, JSON)

    async def namespace_policy(self, name: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Return the ValidatingAdmissionPolicy of this name and its binding; None for what is not there.

        Raises:
            ApiError: the API server refused, or gave no answer.
        """
        found: list[Mapping[str, Any] | None] = [None, None]
        for index, plural in enumerate(("validatingadmissionpolicies", "validatingadmissionpolicybindings")):
            with _passing(NOT_FOUND):
                path = f"/apis/admissionregistration.k8s.io/v1/{plural}/{quote(name)}"
                found[index] = msgspec.json.decode(await self._api.get(path, accept=JSON))
        return found[0], found[1]

    async def patch_set_status(self, stored: StoredSet, status: Mapping[str, Any]) -> None:
        """Store the status of a RoleBindingSet; one that is gone or was replaced is left alone.

        Raises:
            ApiError: it was refused.
        """
        await self._patch_status(f"{_BASE}/rolebindingsets/{quote(stored.name)}", stored.uid, stored.status, status)

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Post an Event about an object; one that cannot be posted is only logged."""
        namespace = str(metadata.get("namespace") or "default")  # Events of cluster-scoped objects live in default
        now = stamp(self._now())
        unique = f"{metadata.get('uid')}{transition}{now}"
        stem = str(metadata["name"])[:200].rstrip("-.")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": namespace,
                "name": f"{stem}.{hashlib.sha256(unique.encode()).hexdigest()[:16]}",
            },
            "involvedObject": {
                "apiVersion": "v1" if kind == "Pod" else API_VERSION,
                "kind": kind,
                "name": metadata["name"],
                "uid": metadata.get("uid", ""),
                **({"namespace": metadata["namespace"]} if metadata.get("namespace") else {}),
            },
            "type": "Warning" if transition.is_warning else "Normal",
            "reason": transition.reason,
            "message": transition.message[:_MAX_EVENT],
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            async with self._event_slots.of(namespace):
                await self._api.send("POST", f"/api/v1/namespaces/{quote(namespace)}/events", body)
        except ApiError as error:
            # A namespace that is going away takes no Events; nothing else depends on one.
            if error.status not in {FORBIDDEN, NOT_FOUND, CONFLICT}:
                self._log.warning("event not posted", object=f"{kind} {metadata['name']}", problem=str(error))

    async def _finalizers(
        self, path: str, known: Mapping[str, Any], finalizer: str, *, on: bool
    ) -> Mapping[str, Any] | None:
        """Add or remove one finalizer, whoever else writes the object meanwhile.

        A list cannot be merged, so the version that is known is sent along, and the API server refuses the write when
        somebody was faster; then the object is read and it is tried again.
        """
        metadata, uid = known, known["uid"]
        try:
            while True:
                before = list(metadata.get("finalizers") or ())
                after = [f for f in before if f != finalizer] + ([finalizer] if on else [])
                if after != before and not (on and metadata.get("deletionTimestamp")):
                    version = metadata["resourceVersion"]
                    change = {"metadata": {"finalizers": after, "resourceVersion": version, "uid": uid}}
                    try:
                        return await self._send("PATCH", path, change, MERGE)
                    except ApiError as error:
                        if error.status != CONFLICT:
                            raise
                body = msgspec.json.decode(await self._api.get(path, accept=JSON))
                metadata = body["metadata"]
                if metadata["uid"] != uid or (on and metadata.get("deletionTimestamp")):
                    return None
                if (finalizer in (metadata.get("finalizers") or ())) is on:
                    return body  # type: ignore[no-any-return] # JSON
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def _patch_status(
        self, path: str, uid: str, stored: Mapping[str, Any], status: Mapping[str, Any]
    ) -> str | None:
        """Replace the status: in a merge patch, what is to go is null."""
        gone = {key: None for key in stored if key not in status}
        try:
            body = await self._send(
                "PATCH", f"{path}/status", {"metadata": {"uid": uid}, "status": {**status, **gone}}, MERGE
            )
        except ApiError as error:
            if error.status in {NOT_FOUND, CONFLICT}:  # it is gone, or another object has its name now
                return None
            raise
        return str(body["metadata"].get("resourceVersion", ""))

    async def _send(self, method: str, path: str, body: Mapping[str, Any], content_type: str) -> Mapping[str, Any]:
        async with self._slots.of(_namespace_of(path)):
            answer = await self._api.send(method, path, body, content_type=content_type)
        result: Mapping[str, Any] = msgspec.json.decode(answer)
        return result


class _Slots:
    """Slots for so many requests at once, of which one namespace takes a share at most."""

    def __init__(self, count: int) -> None:
        self._all = asyncio.Semaphore(count)
        self._share = count // _SHARE
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """By namespace, as long as one of its requests needs it."""

    @asynccontextmanager
    async def of(self, namespace: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it; without a namespace, among the objects of the cluster."""
        own = self._own.get(namespace)
        if own is None:
            own = self._own[namespace] = asyncio.Semaphore(self._share)
        async with own, self._all:
            yield


@contextmanager
def _passing(*statuses: int) -> Iterator[None]:
    """Let pass what the API server refuses with one of these statuses: an event says what is the case."""
    try:
        yield
    except ApiError as error:
        if error.status not in statuses:
            raise


def _merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7396) that makes one object of another; what is to go is null."""
    change: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            if inner := _merge_patch(known, value):
                change[key] = inner
        elif value != known:
            change[key] = value
    return change


def _namespace_of(path: str) -> str:
    """Return the namespace in the path of an object; empty for one of the cluster."""
    return path.partition("/namespaces/")[2].partition("/")[0]


def _binding_path(stored: StoredBinding) -> str:
    return binding_path(stored.ref.namespace, stored.ref.name)


def _metadata(stored: StoredBinding | StoredAwsAccount) -> Mapping[str, Any]:
    return {
        "uid": stored.uid,
        "resourceVersion": stored.version,
        "finalizers": stored.finalizers,
        "deletionTimestamp": stored.deleting or None,
    }
