"""A slim list and watch: all objects of one resource, in all namespaces, kept up to date in a store.

The rules are those of the Kubernetes documentation, "Kubernetes API Concepts": a list in pages, a watch from the list's
resourceVersion, bookmarks that move the version on, and a new list when the version is too old (410 Gone).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from trustbind_runtime.kubernetes.client import FORBIDDEN, GONE, NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.pages import ListPage, pages
from trustbind_runtime.logs import Logger

__all__ = ["METADATA", "Key", "Pace", "Resource", "Store", "Watcher"]

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace and name."""

METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Asks for an object's metadata alone (Kubernetes documentation, "Metadata-only fetches")."""

_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON: Final = "application/json"


class Store(Protocol[T]):
    """What a watcher writes to."""

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> T | None:
        """Return the object in ``raw``; None when it is to be left out."""

    def replace(self, items: Mapping[Key, T | None]) -> None:
        """Hold ``items`` and nothing else, from one moment to the next; those that are None are left out."""

    def put(self, key: Key, item: T | None) -> None:
        """Add or change one; with None, leave it out from now on."""

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What is watched.

    Attributes:
        name: plural, for logs and metrics.
        path: of the collection over all namespaces.
        metadata_only: whether metadata is enough.
        optional: whether the resource may not exist at all, which then counts as an empty list.
        dispensable: whether it may be forbidden or not exist, which then counts as not known: `Watcher.synced` is not
            set, or no longer, and it is looked for again now and then.
        query: further parameters of list and watch, such as a selector.
    """

    name: str
    path: str
    metadata_only: bool = False
    optional: bool = False
    dispensable: bool = False
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how long.

    Attributes:
        page_size: objects in one page of a list.
        watch_seconds: how long one watch is asked to last; up to a fifth more, so that watches do not end together.
        idle_seconds: silence after which a watch counts as dead. The API server sends a bookmark about every minute.
        first_delay_seconds: before the first new try; doubled with every failure in a row, with jitter.
        last_delay_seconds: the longest time between two tries.
        absent_seconds: between two looks for a resource that does not exist, or that we may not see.
    """

    page_size: int = 500
    watch_seconds: int = 300
    idle_seconds: float = 90.0
    first_delay_seconds: float = 0.5
    last_delay_seconds: float = 30.0
    absent_seconds: float = 30.0


class _Page(ListPage, frozen=True):
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_object = msgspec.json.Decoder(_Object).decode
_decode_status = msgspec.json.Decoder(_Status).decode

_SHORT_SECONDS: Final = 5.0
"""A watch that ends before this, without a single event, counts as a failure."""

_SLICE: Final = 50
"""Objects of a list that are read until the event loop has its turn."""

_RELIST_AFTER: Final = 3
"""Failures in a row after which the version is not trusted any more, and everything is listed anew."""


class Watcher(Generic[T]):
    """Keeps one store up to date until it is cancelled.

    Args:
        api: the API server.
        resource: what is watched.
        store: where it goes.
        pace: how fast and how long.
        restarted: told, with resource and cause, whenever a watch has ended and is taken up again.
        log: where it is told.
        jitter: gives 0 to 1.

    Attributes:
        synced: set once the first list is in; cleared when a dispensable resource is not known any more.
    """

    def __init__(
        self,
        api: ApiServer,
        resource: Resource,
        store: Store[T],
        *,
        pace: Pace | None = None,
        restarted: Callable[[str, str], None],
        log: Logger,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._resource = resource
        self._store = store
        self._pace = pace or Pace()
        self._restarted = restarted
        self._log = log.bind(resource=resource.name)
        self._jitter = jitter
        self._version = ""
        self._failures = 0
        self._refused = 0
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """List and watch; never returns, and raises nothing but being cancelled."""
        while True:
            cause = await self._round()
            self._restarted(self._resource.name, cause)
            await asyncio.sleep(self._delay(cause))

    async def _round(self) -> str:
        """List if need be, watch until the watch ends, and return why it did."""
        try:
            if not self._version:
                await self._list()
            started = asyncio.get_running_loop().time()
            progress = await self._watch()
            self._refused = 0
            # A watch that ends at once, again and again, is one that fails.
            if progress or asyncio.get_running_loop().time() - started > _SHORT_SECONDS:
                self._failures = 0
            else:
                self._failures += 1
        except ApiError as error:
            if error.status == GONE:
                self._version = ""
                self._failures += 1
                self._log.info("watch is too old, listing anew")
                return "gone"
            if error.status == NOT_FOUND and self._resource.optional:
                self._absent()
                return "absent"
            if error.status in {FORBIDDEN, NOT_FOUND} and self._resource.dispensable:
                self._unknown(error)
                return "absent"
            self._failed(str(error))
            return "error"
        except Exception:  # noqa: BLE001 - whatever it is, the cache has to go on; a new list starts from firm ground
            self._log.exception("watch failed unexpectedly, listing anew")
            self._version = ""
            self._failures += 1
            return "error"
        return "ended"

    async def _list(self) -> None:
        """Fill the store from a list, page by page; what it held is served until the last page is in."""
        accept = _METADATA_LIST if self._resource.metadata_only else _JSON
        items: dict[Key, T | None] = {}
        version = ""
        path, size, query = self._resource.path, self._pace.page_size, self._resource.query
        async for page in pages(self._api, path, _decode_page, size=size, query=query, accept=accept):
            for number, raw in enumerate(page.items or ()):
                if number % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
                key = _key(_decode_object(raw).metadata)
                items[key] = self._store.read(key, raw)
            version = page.metadata.resource_version
        self._store.replace(items)
        self._version = version
        self._log.info("listed", objects=len(items))
        self.synced.set()

    async def _watch(self) -> bool:
        """Apply events until the API server ends the watch; return whether there were any."""
        seconds = int(self._pace.watch_seconds * (1 + self._jitter() / 5))
        query = [
            *self._resource.query,
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version),
            ("timeoutSeconds", str(seconds)),
        ]
        lines = self._api.lines(
            self._resource.path,
            query,
            accept=METADATA if self._resource.metadata_only else _JSON,
            seconds=seconds + self._pace.idle_seconds,
            idle_seconds=self._pace.idle_seconds,
        )
        progress = False
        async with contextlib.aclosing(lines):
            async for line in lines:
                self._apply(_decode_event(line))
                self._failures = 0
                progress = True
        return progress

    def _apply(self, event: _Event) -> None:
        if event.type == "ERROR":
            status = _decode_status(event.object)
            raise ApiError(status.code, status.message or "the API server ended the watch with an error")
        metadata = _decode_object(event.object).metadata
        key = _key(metadata)
        if event.type in {"ADDED", "MODIFIED"}:
            self._store.put(key, self._store.read(key, event.object))
        elif event.type == "DELETED":
            self._store.drop(key)
        # A BOOKMARK, or a type that there is not yet, only moves the version on.
        if metadata.resource_version:
            self._version = metadata.resource_version

    def _absent(self) -> None:
        """Take a resource that does not exist for an empty list."""
        self._store.replace({})
        self._version = ""
        if not self.synced.is_set():
            self._log.info("resource does not exist, which counts as none; is the CRD installed?")
        self.synced.set()

    def _unknown(self, error: ApiError) -> None:
        """Do without a resource that cannot be seen; told once for as long as that lasts."""
        self._store.replace({})
        self._version = ""
        if self._refused != error.status:
            self._refused = error.status
            self._log.warning("resource cannot be seen and counts as not known", problem=str(error))
        self.synced.clear()

    def _failed(self, problem: str) -> None:
        self._failures += 1
        if self._failures >= _RELIST_AFTER:
            self._version = ""
        self._log.warning("watch failed", problem=problem, failures=self._failures)

    def _delay(self, cause: str) -> float:
        """Return the seconds until the next try."""
        jitter = 0.5 + self._jitter()
        if cause == "absent":
            return self._pace.absent_seconds * jitter
        if cause == "ended" and not self._failures:
            return self._pace.first_delay_seconds * self._jitter()
        doubled = self._pace.first_delay_seconds * float(2 ** min(max(self._failures, 1) - 1, 16))
        return min(self._pace.last_delay_seconds, doubled) * jitter


def _key(metadata: _Metadata) -> Key:
    return metadata.namespace, metadata.name
