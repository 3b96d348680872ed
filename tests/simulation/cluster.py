"""A simulated API server: objects, their events, one Lease, and the writes of operators.

Objects are never changed in place: each change makes another `Item`, so no copy of a body is needed.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Transition
from trustbind_runtime.kubernetes.client import ApiError

if TYPE_CHECKING:
    from simulation.operators import Operator
    from simulation.world import World

__all__ = [
    "ACCOUNT",
    "BINDING",
    "GRANT",
    "NAMESPACE",
    "SERVICE_ACCOUNT",
    "Cluster",
    "Item",
    "Key",
    "LeaseClient",
    "Writer",
]

T = TypeVar("T")

Json = dict[str, Any]

BINDING: Final = "RoleBinding"
GRANT: Final = "RoleGrant"
ACCOUNT: Final = "AWSAccount"
SERVICE_ACCOUNT: Final = "ServiceAccount"
NAMESPACE: Final = "Namespace"

Key = tuple[str, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class Item:
    """One state of an object."""

    key: Key
    body: Mapping[str, Any]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata."""
        metadata: Mapping[str, Any] = self.body["metadata"]
        return metadata

    @property
    def uid(self) -> str:
        """Its uid."""
        return str(self.metadata["uid"])

    @property
    def version(self) -> int:
        """Its resourceVersion."""
        return int(self.metadata["resourceVersion"])

    @property
    def is_deleting(self) -> bool:
        """Whether its deletion was requested."""
        return "deletionTimestamp" in self.metadata

    @property
    def finalizers(self) -> tuple[str, ...]:
        """Its finalizers."""
        return tuple(self.metadata.get("finalizers", ()))

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        labels: Mapping[str, str] = self.metadata.get("labels", {})
        return labels

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status."""
        status: Mapping[str, Any] = self.body.get("status") or {}
        return status

    @cached_property
    def binding(self) -> RoleBinding:
        """The RoleBinding."""
        return RoleBinding.parse(self.body)

    @cached_property
    def grant(self) -> RoleGrant:
        """The RoleGrant."""
        return RoleGrant.parse(self.body)

    @cached_property
    def account(self) -> AwsAccount:
        """The AWSAccount."""
        return AwsAccount.parse(self.body)

    @property
    def ref(self) -> BindingRef:
        """Namespace and name."""
        return BindingRef(self.key[1], self.key[2])


class Cluster:
    """One Kubernetes cluster.

    Args:
        world: where it is.
        name: for the schedule.
        issuer: of its tokens.
    """

    def __init__(self, world: World, name: str, issuer: Issuer) -> None:
        self._world = world
        self.name = name
        self.issuer = issuer
        self.items: dict[Key, Item] = {}
        self.watchers: list[Operator] = []
        self.lease: Json | None = None
        self._version = 100
        self._uids = 0

    # --- users ------------------------------------------------------------------------------------------------------

    def of_kind(self, kind: str) -> list[Item]:
        """Return the objects of a kind, sorted."""
        return [self.items[key] for key in sorted(self.items) if key[0] == kind]

    def create(self, key: Key, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> None:
        """Create an object."""
        self._uids += 1
        second = int(self._world.now())
        metadata = {
            "name": key[2],
            "namespace": key[1],
            "uid": f"{self.name}-{self._uids}",
            "generation": 1,
            "creationTimestamp": f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}Z",
            "labels": dict(labels or {}),
        }
        self._store(key, {"apiVersion": API_VERSION, "kind": key[0], "metadata": metadata, "spec": dict(spec)})

    def change(self, key: Key, spec: Mapping[str, Any] | None = None, labels: Mapping[str, str] | None = None) -> None:
        """Change an object's spec or labels; a change of the spec is another generation."""
        item = self.items.get(key)
        if item is None:
            return
        metadata, body = dict(item.metadata), dict(item.body)
        if labels is not None:
            metadata["labels"] = dict(labels)
        if spec is not None and dict(spec) != item.body["spec"]:
            metadata["generation"] += 1
            body["spec"] = dict(spec)
        self._store(key, {**body, "metadata": metadata})

    def annotate(self, key: Key, name: str, value: str) -> None:
        """Set an annotation."""
        item = self.items.get(key)
        if item is not None:
            annotations = {**(item.metadata.get("annotations") or {}), name: value}
            self._store(key, {**item.body, "metadata": {**item.metadata, "annotations": annotations}})

    def delete(self, key: Key) -> None:
        """Request the deletion of an object; without finalizers it is gone."""
        item = self.items.get(key)
        if item is None or item.is_deleting:
            return
        if not item.finalizers:
            self._remove(item)
            return
        metadata = {
            **item.metadata,
            "deletionTimestamp": "2026-01-02T00:00:00Z",
            "generation": item.metadata["generation"] + 1,  # apiserver, markAsDeleting
        }
        self._store(key, {**item.body, "metadata": metadata})

    # --- operators --------------------------------------------------------------------------------------------------

    def set_finalizer(self, key: Key, uid: str, finalizer: str, *, on: bool) -> Item | None:
        """Add or remove a finalizer; return the object then, None when it is gone, was replaced, or is deleted."""
        item = self.items.get(key)
        if item is None or item.uid != uid or (on and item.is_deleting):
            return None
        if (finalizer in item.finalizers) is on:
            return item
        finalizers = [f for f in item.finalizers if f != finalizer] + ([finalizer] if on else [])
        if item.is_deleting and not finalizers:
            self._remove(item)
            return item
        return self._store(key, {**item.body, "metadata": {**item.metadata, "finalizers": finalizers}})

    def set_status(self, key: Key, uid: str, known: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
        """Replace a status as a merge patch does; return the resourceVersion then."""
        item = self.items.get(key)
        if item is None or item.uid != uid:
            return None
        kept = {k: v for k, v in item.status.items() if k not in known or k in status}
        merged = {**kept, **status}
        if merged == item.status:
            return str(item.version)
        return str(self._store(key, {**item.body, "status": merged}).version)

    def _store(self, key: Key, body: Json) -> Item:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        item = self.items[key] = Item(key, body)
        for watcher in list(self.watchers):
            watcher.receive(item, is_gone=False)
        return item

    def _remove(self, item: Item) -> None:
        self._version += 1
        del self.items[item.key]
        for watcher in list(self.watchers):
            watcher.receive(item, is_gone=True)

    # --- the Lease --------------------------------------------------------------------------------------------------

    @property
    def holder(self) -> str:
        """Who holds the Lease; empty for nobody."""
        return (self.lease or {}).get("spec", {}).get("holderIdentity") or ""

    def write_lease(self, method: str, body: Mapping[str, Any]) -> None:
        """Write the Lease as the API server would.

        Raises:
            ApiError: it exists, or does not, or has another version.
        """
        if method == "POST":
            if self.lease is not None:
                raise ApiError(409, "already exists")
            spec = body["spec"]
        else:
            if self.lease is None:
                raise ApiError(404, "not found")
            if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                raise ApiError(409, "the object has been modified")
            spec = body["spec"] if method == "PUT" else {**self.lease["spec"], **body["spec"]}
        self._version += 1
        spec = {k: v for k, v in spec.items() if v is not None}
        self.lease = {"metadata": {"resourceVersion": str(self._version)}, "spec": spec}


class Travelling:
    """A call of an operator to its API server: it leaves, takes effect, and is answered.

    Args:
        operator: whose.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._world = operator.world

    async def made(self, what: str, evaluate: Callable[[], T]) -> T:
        """Make a call; it may fail before or after its effect.

        Raises:
            ApiError: it failed.
        """
        world = self._world
        if world.is_over:
            raise ApiError(0, "simulated: the world is over")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        fails = world.rng.random() < world.faults.kubernetes
        has_effect = not fails or world.rng.random() < 0.5
        there, back = world.leg() / 2, world.leg() / 2

        def arrive() -> None:
            result: T | None = None
            error: ApiError | None = ApiError(500, f"simulated: {what}") if fails else None
            if has_effect:
                try:
                    result = evaluate()
                except ApiError as problem:
                    error = problem
            world.loop.call_later(back, respond, result, error)

        def respond(result: T | None, error: ApiError | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type] # without an error there is a result

        contextvars.Context().run(world.loop.call_later, there, arrive)
        return await answer


class LeaseClient(Travelling):
    """The two methods of `trustbind_runtime.kubernetes.client.ApiServer` that an election calls."""

    async def get(self, path: str, *, accept: str, seconds: float) -> bytes:
        """Return the Lease."""
        del path, accept, seconds
        return await self.made("GET lease", self._answer)

    async def send(
        self, method: str, path: str, body: Mapping[str, Any], *, content_type: str, seconds: float
    ) -> bytes:
        """Write the Lease."""
        del path, content_type, seconds
        sent = self._operator.clock()

        def write() -> bytes:
            cluster = self._operator.cluster
            before = cluster.holder
            cluster.write_lease(method, body)
            if method != "PATCH":
                self._operator.renewed(sent)
            if cluster.holder != before:
                self._world.schedule.add("lease", f"{cluster.name} is held by {cluster.holder or 'nobody'}")
            return self._answer()

        return await self.made(f"{method} lease", write)

    def _answer(self) -> bytes:
        lease = self._operator.cluster.lease
        if lease is None:
            raise ApiError(404, "not found")
        return json.dumps(lease).encode()


class Writer(Travelling):
    """`trustbind_operator.controllers.context.Writer` of one operator."""

    async def add_finalizer(self, stored: StoredBinding) -> StoredBinding | None:
        """Add our finalizer to a RoleBinding; return the object then."""
        item = await self._finalizer(_key(stored), stored.uid, BINDING_FINALIZER, on=True)
        if item is None:
            return None
        self._operator.known.answered(item)
        return StoredBinding.of(item.body)

    async def remove_finalizer(self, stored: StoredBinding) -> None:
        """Remove our finalizer from a RoleBinding."""
        self._world.rules.releasing(self._operator, stored)
        self._world.schedule.add(self._operator.name, f"release {stored.ref}")
        await self._finalizer(_key(stored), stored.uid, BINDING_FINALIZER, on=False)

    async def patch_status(self, stored: StoredBinding, status: Mapping[str, Any]) -> str | None:
        """Store a RoleBinding's status; return the object's resourceVersion then."""
        ready: Mapping[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
        text = f"status of {stored.ref}: Ready {ready.get('status')} {ready.get('reason')}"
        self._world.schedule.add(self._operator.name, text)
        return await self._status(_key(stored), stored.uid, stored.status, status)

    async def add_account_finalizer(self, stored: StoredAwsAccount) -> StoredAwsAccount | None:
        """Add our finalizer to an AWSAccount; return the object then."""
        item = await self._finalizer((ACCOUNT, "", stored.name), stored.uid, ACCOUNT_FINALIZER, on=True)
        if item is None:
            return None
        self._operator.known.answered(item)
        return StoredAwsAccount.of(item.body)

    async def remove_account_finalizer(self, stored: StoredAwsAccount) -> None:
        """Remove our finalizer from an AWSAccount."""
        await self._finalizer((ACCOUNT, "", stored.name), stored.uid, ACCOUNT_FINALIZER, on=False)

    async def patch_account_status(self, stored: StoredAwsAccount, status: Mapping[str, Any]) -> str | None:
        """Store an AWSAccount's status; return the object's resourceVersion then."""
        return await self._status((ACCOUNT, "", stored.name), stored.uid, stored.status, status)

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Post an Event about an object; nothing depends on one."""
        del kind, metadata, transition
        await asyncio.sleep(0)

    async def _finalizer(self, key: Key, uid: str, finalizer: str, *, on: bool) -> Item | None:
        cluster = self._operator.cluster
        return await self.made(f"finalizer {key}", lambda: cluster.set_finalizer(key, uid, finalizer, on=on))

    async def _status(self, key: Key, uid: str, known: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
        cluster = self._operator.cluster
        return await self.made(f"status {key}", lambda: cluster.set_status(key, uid, known, status))


def bodies(items: Iterable[Item]) -> list[Mapping[str, Any]]:
    """Return the bodies of objects."""
    return [item.body for item in items]


def _key(stored: StoredBinding) -> Key:
    return (BINDING, stored.ref.namespace, stored.ref.name)
