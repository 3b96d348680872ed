"""The API server's objects in memory, as the operator's controllers write them."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Any

from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Transition

__all__ = ["FakeCluster"]


class FakeCluster:
    """`trustbind_operator.controllers.context.Writer` over dictionaries.

    Attributes:
        objects: RoleBindings and AWSAccounts by kind and name; a RoleBinding's name is ``namespace/name``.
        writes: what was written, as (method, name).
        events: what was posted, as (kind, name, transition).
        before_finalizer: what happens right before the next finalizers are put on RoleBindings, in order.
        latency: returns the seconds that a write takes.
        watch: called with each object as it is after a change, and whether it is still there.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.events: list[tuple[str, str, Transition]] = []
        self.before_finalizer: list[Callable[[], object]] = []
        self.latency: Callable[[], float] = lambda: 0.0
        self.watch: Callable[[dict[str, Any], bool], None] = lambda _body, _is_there: None

    def put(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store an object, and return it as a watch would show it."""
        self.objects[_key(body)] = body
        return copy.deepcopy(body)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object."""
        return self.objects.get((kind, name))

    def change(
        self,
        kind: str,
        name: str,
        *,
        spec: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Change an object as a user does; return it as a watch would show it.

        Args:
            kind: of the object.
            name: of the object.
            spec: fields of the spec; None removes one.
            metadata: fields of the metadata.
        """
        body = self.objects[(kind, name)]
        if spec is not None:
            body["spec"] = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
            body["metadata"]["generation"] += 1
        body["metadata"] |= metadata or {}
        return self._changed(body)

    def delete(self, kind: str, name: str) -> dict[str, Any]:
        """Request an object's deletion; without a finalizer it is gone at once."""
        body = self.objects[(kind, name)]
        body["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
        body["metadata"]["generation"] = body["metadata"].get("generation", 0) + 1
        if not body["metadata"].get("finalizers"):
            del self.objects[(kind, name)]
        return self._changed(body)

    async def add_finalizer(self, stored: StoredBinding) -> StoredBinding | None:
        """Add our finalizer to a RoleBinding."""
        if self.before_finalizer:
            self.before_finalizer.pop(0)()
        body = await self._finalizer("RoleBinding", str(stored.ref), stored.uid, BINDING_FINALIZER, on=True)
        return None if body is None else StoredBinding.of(body)

    async def remove_finalizer(self, stored: StoredBinding) -> None:
        """Remove our finalizer from a RoleBinding; one that is being deleted is gone then."""
        await self._finalizer("RoleBinding", str(stored.ref), stored.uid, BINDING_FINALIZER, on=False)

    async def patch_status(self, stored: StoredBinding, status: Mapping[str, Any]) -> str | None:
        """Store a RoleBinding's status."""
        return await self._status("RoleBinding", str(stored.ref), stored.uid, status)

    async def add_account_finalizer(self, stored: StoredAwsAccount) -> StoredAwsAccount | None:
        """Add our finalizer to an AWSAccount."""
        body = await self._finalizer("AWSAccount", stored.name, stored.uid, ACCOUNT_FINALIZER, on=True)
        return None if body is None else StoredAwsAccount.of(body)

    async def remove_account_finalizer(self, stored: StoredAwsAccount) -> None:
        """Remove our finalizer from an AWSAccount."""
        await self._finalizer("AWSAccount", stored.name, stored.uid, ACCOUNT_FINALIZER, on=False)

    async def patch_account_status(self, stored: StoredAwsAccount, status: Mapping[str, Any]) -> str | None:
        """Store an AWSAccount's status."""
        return await self._status("AWSAccount", stored.name, stored.uid, status)

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Record an Event."""
        self.events.append((kind, str(metadata["name"]), transition))

    async def _finalizer(self, kind: str, name: str, uid: str, finalizer: str, *, on: bool) -> dict[str, Any] | None:
        await asyncio.sleep(self.latency())
        body = self.objects.get((kind, name))
        if body is None or body["metadata"]["uid"] != uid or (on and body["metadata"].get("deletionTimestamp")):
            return None
        self.writes.append(("add_finalizer" if on else "remove_finalizer", name))
        listed = [f for f in body["metadata"].get("finalizers", ()) if f != finalizer]
        body["metadata"]["finalizers"] = [*listed, *([finalizer] if on else [])]
        if body["metadata"].get("deletionTimestamp") and not body["metadata"]["finalizers"]:
            del self.objects[(kind, name)]
        return self._changed(body)

    async def _status(self, kind: str, name: str, uid: str, status: Mapping[str, Any]) -> str | None:
        await asyncio.sleep(self.latency())
        body = self.objects.get((kind, name))
        if body is None or body["metadata"]["uid"] != uid:
            return None
        self.writes.append(("patch_status", name))
        body["status"] = copy.deepcopy(dict(status))
        return str(self._changed(body)["metadata"]["resourceVersion"])

    def _changed(self, body: dict[str, Any]) -> dict[str, Any]:
        body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        self.watch(copy.deepcopy(body), _key(body) in self.objects)
        return copy.deepcopy(body)


def _key(body: Mapping[str, Any]) -> tuple[str, str]:
    metadata = body["metadata"]
    name = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
    return str(body["kind"]), name
