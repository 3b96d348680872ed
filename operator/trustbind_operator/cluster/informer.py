"""Service accounts and namespaces from slim watches, metadata only; kopf would keep every object whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from trustbind.api.annotations import kept
from trustbind.api.label_selector import kept_labels
from trustbind.api.labels import WAITING_LABEL
from trustbind_runtime.kubernetes.informer import Key, Resource

__all__ = ["NAMESPACES", "SERVICE_ACCOUNTS", "WAITING_PODS", "Feed", "Seen"]

SERVICE_ACCOUNTS: Final = Resource("serviceaccounts", "/api/v1/serviceaccounts", metadata_only=True)
WAITING_PODS: Final = Resource("pods", "/api/v1/pods", query=(("labelSelector", f"{WAITING_LABEL}=true"),))
NAMESPACES: Final = Resource("namespaces", "/api/v1/namespaces", metadata_only=True)

_NONE: Final[Mapping[str, str]] = {}


class Seen(msgspec.Struct, frozen=True):
    """What is kept of an object: its labels, and of its annotations those that are asked for.

    Attributes:
        uid: of the object.
        labels: all of them.
        annotations: those that are kept.
    """

    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Object).decode


class Feed:
    """A store for `trustbind_runtime.kubernetes.informer.Watcher` that hands changes on.

    Args:
        changed: told of each object that came, changed or (None) went.
        keys: of the annotations that are kept.
        emptied: called before a complete list without any object takes away all that are known.
    """

    def __init__(
        self,
        changed: Callable[[Key, Seen | None], None],
        keys: tuple[str, ...] = (),
        emptied: Callable[[], None] = lambda: None,
    ) -> None:
        self._changed = changed
        self._emptied = emptied
        self._keys = keys
        self._held: dict[Key, Seen] = {}

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> Seen | None:  # noqa: ARG002 - as every store
        """Return what is kept of the object in ``raw``; an account on its way out still counts until it is gone."""
        metadata = _decode(raw).metadata
        found = kept(metadata.annotations or {}, self._keys)
        return Seen(metadata.uid, kept_labels(metadata.labels) if metadata.labels else _NONE, found or _NONE)

    def replace(self, items: Mapping[Key, Seen | None]) -> None:
        """Take in a complete list."""
        if self._held and not items:
            self._emptied()
        for key in [key for key in self._held if key not in items]:
            self.drop(key)
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: Seen | None) -> None:
        """Take in one object."""
        if item is None:
            self.drop(key)
        elif self._held.get(key) != item:
            self._held[key] = item
            self._changed(key, item)

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        if self._held.pop(key, None) is not None:
            self._changed(key, None)

    def get(self, namespace: str, name: str) -> Seen | None:
        """Return one object; None when it is not there."""
        return self._held.get((namespace, name))

    def items(self) -> list[tuple[Key, Seen]]:
        """Return all of them, as they are now, in no order."""
        return list(self._held.items())

    def __len__(self) -> int:
        return len(self._held)
