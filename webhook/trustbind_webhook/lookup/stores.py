"""What the webhook remembers of the cluster: accounts and bindings, found by namespace and name in one step.

`Objects` is for everything that only validation asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

import msgspec

from trustbind.api.annotations import AnnotationKeys, kept, of_service_accounts
from trustbind.api.label_selector import kept_labels
from trustbind.api.near_misses import near_role_keys
from trustbind.api.role_binding import KIND, RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind_runtime.kubernetes.informer import Key
from trustbind_webhook.injection.decision import Account

__all__ = ["Accounts", "Bindings", "Objects", "labels_of"]

_NONE: Final[Mapping[str, str]] = {}
"""Shared by all accounts that have none: most of them."""

_CHOSEN: Final = 1000
"""Service accounts of a namespace for which it is remembered which bindings select them."""

T = TypeVar("T")


class _Metadata(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Object).decode


class Accounts:
    """Service accounts as far as they decide: of their annotations, only those that are read, or meant to be."""

    def __init__(self, annotation_prefix: str) -> None:
        keys = AnnotationKeys.under(annotation_prefix)
        self._keys = of_service_accounts(keys)
        self._role_key = keys.role_arn
        self._held: dict[str, dict[str, Account]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def get(self, namespace: str, name: str) -> Account | None:
        """Return the account, or None when it is not held."""
        names = self._held.get(namespace)
        return None if names is None else names.get(name)

    def has(self, namespace: str) -> bool:
        """Return whether an account of the namespace is held; every namespace has one from its beginning."""
        return namespace in self._held

    def labels_in(self, namespace: str) -> dict[str, Mapping[str, str]]:
        """Return name to labels of the namespace's accounts."""
        return {name: account.labels for name, account in self._held.get(namespace, {}).items()}

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> Account:  # noqa: ARG002 - as every store
        """Return the account in ``raw``, which is a ServiceAccount or its PartialObjectMetadata.

        Raises:
            msgspec.DecodeError: it is neither.
        """
        metadata = _decode(raw).metadata
        return self.account(metadata.namespace, metadata.name, metadata.annotations, metadata.labels)

    def account(
        self, namespace: str, name: str, annotated: Mapping[str, str] | None, labels: Mapping[str, str] | None
    ) -> Account:
        """Return an account that keeps only what decides."""
        found = kept(annotated, (*self._keys, *near_role_keys(annotated, self._role_key))) if annotated else _NONE
        return Account(namespace, name, found or _NONE, kept_labels(labels) if labels else _NONE)

    def replace(self, items: Mapping[Key, Account | None]) -> None:
        """Hold ``items`` and nothing else, from one moment to the next."""
        fresh: dict[str, dict[str, Account]] = {}
        for (namespace, name), item in items.items():
            if item is not None:
                fresh.setdefault(namespace, {})[name] = item
        self._held = fresh

    def put(self, key: Key, item: Account | None) -> None:
        """Add or change one."""
        if item is None:
            self.drop(key)
        else:
            self._held.setdefault(key[0], {})[key[1]] = item

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        _drop(self._held, *key)


class Bindings:
    """Role bindings, found by the account that they name; those with a selector are asked for every account.

    What no pod depends on, conditions and subjects of other issuers, is checked and not kept.

    Args:
        unreadable: told once, with key and sentence, of a binding that cannot be read.
    """

    def __init__(self, unreadable: Callable[[Key, str], None]) -> None:
        self._told = unreadable
        self._problems: dict[Key, str] = {}
        self._reset()

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    @property
    def unreadable(self) -> int:
        """How many are left out because they cannot be read."""
        return len(self._problems)

    def of(self, namespace: str, account: str, labels: Mapping[str, str] | None = None) -> Sequence[RoleBinding]:
        """Return the namespace's bindings that name ``account``, and those that select it, in no order.

        Without labels, those that may select it. With them, the answer is remembered until one of the namespace's
        selectors changes.
        """
        named = self._naming.get(namespace)
        found = list(named.get(account, ())) if named else []
        selecting = self._selecting.get(namespace)
        if not selecting:
            return found
        if labels is None:
            return [*found, *selecting.values()]
        chosen = self._chosen.setdefault(namespace, {})
        known = chosen.get(account)
        if known is None or known[0] != labels:
            if len(chosen) >= _CHOSEN:
                chosen.clear()
            selected = tuple(b for b in selecting.values() if b.selector is not None and b.selector.matches(labels))
            known = chosen[account] = labels, selected
        return [*found, *known[1]]

    def in_namespace(self, namespace: str) -> Sequence[RoleBinding]:
        """Return all bindings of the namespace, in no order."""
        return list(self._held.get(namespace, {}).values())

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> RoleBinding | None:
        """Return the binding in ``raw``; None, and a word to ``unreadable``, when it cannot be read."""
        try:
            # A list's items may come without the two fields that the list itself has.
            body: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND, **msgspec.json.decode(raw)}
            binding = RoleBinding.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        else:
            self._problems.pop(key, None)
            return replace(binding, conditions=(), federated=())
        if self._problems.get(key) != problem:
            self._problems[key] = problem
            self._told(key, problem)
        return None

    def replace(self, items: Mapping[Key, RoleBinding | None]) -> None:
        """Hold ``items`` and nothing else, from one moment to the next; those that are None cannot be read."""
        self._problems = {key: problem for key, problem in self._problems.items() if key in items}
        self._reset()
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: RoleBinding | None) -> None:
        """Add or change one; with None, hold it no longer, since it cannot be read any more."""
        namespace, name = key
        self._unlink(namespace, name)
        if item is None:
            _drop(self._held, namespace, name)
            return
        self._held.setdefault(namespace, {})[name] = item
        if item.selector is not None:
            self._selecting.setdefault(namespace, {})[name] = item
            self._chosen.pop(namespace, None)
            return
        named = self._naming.setdefault(namespace, {})
        for account in item.service_account_names:
            named[account] = (*named.get(account, ()), item)

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        self._problems.pop(key, None)
        self.put(key, None)

    def _reset(self) -> None:
        self._held: dict[str, dict[str, RoleBinding]] = {}
        self._naming: dict[str, dict[str, tuple[RoleBinding, ...]]] = {}
        self._selecting: dict[str, dict[str, RoleBinding]] = {}
        self._chosen: dict[str, dict[str, tuple[Mapping[str, str], tuple[RoleBinding, ...]]]] = {}
        """By namespace and service account, its labels and the bindings that select it."""

    def _unlink(self, namespace: str, name: str) -> None:
        old = self._held.get(namespace, {}).get(name)
        if old is None:
            return
        if old.selector is not None:
            _drop(self._selecting, namespace, name)
            self._chosen.pop(namespace, None)
            return
        named = self._naming[namespace]
        for account in old.service_account_names:
            others = tuple(b for b in named[account] if b is not old)
            if others:
                named[account] = others
            else:
                del named[account]
        if not named:
            del self._naming[namespace]


class Objects(Generic[T]):
    """Objects of any other kind, each kept as ``parse`` makes it.

    Args:
        parse: makes a value of a manifest; what it refuses with an InvalidValueError is left out.
        kind: of the objects; a list's items may come without it.
        api_version: likewise.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], T], kind: str, api_version: str = API_VERSION) -> None:
        self._parse = parse
        self._head = {"apiVersion": api_version, "kind": kind}
        self._held: dict[Key, T] = {}

    def __len__(self) -> int:
        return len(self._held)

    def values(self) -> list[T]:
        """Return all of them, in no order."""
        return list(self._held.values())

    def by_name(self) -> dict[str, T]:
        """Return all of them by name, where names are unique: objects of the cluster."""
        return {name: item for (_, name), item in self._held.items()}

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> T | None:  # noqa: ARG002 - as every store
        """Return the object in ``raw``; None when it cannot be read: one from before its schema or this check."""
        try:
            return self._parse(self._head | msgspec.json.decode(raw))
        except InvalidValueError:
            return None

    def replace(self, items: Mapping[Key, T | None]) -> None:
        """Hold ``items`` and nothing else, from one moment to the next."""
        self._held = {key: item for key, item in items.items() if item is not None}

    def put(self, key: Key, item: T | None) -> None:
        """Add or change one; with None, hold it no longer."""
        if item is None:
            self.drop(key)
        else:
            self._held[key] = item

    def drop(self, key: Key) -> None:
        """Forget one, if it is there."""
        self._held.pop(key, None)


def labels_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels of an object: all that is kept of a namespace."""
    return (manifest.get("metadata") or {}).get("labels") or _NONE


def _drop(held: dict[str, dict[str, T]], outer: str, inner: str) -> None:
    names = held.get(outer)
    if names is not None and names.pop(inner, None) is not None and not names:
        del held[outer]
