"""Everything that is seen of the cluster comes in here, and what it may change is judged again.

Judging all bindings takes time, so changes that concern many are gathered for a moment and judged once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from trustbind.api.role_binding import BindingRef
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind_operator.cluster.cache import Labels
from trustbind_operator.controllers.manager import Reconciler

__all__ = ["ClusterIntake", "Known"]

_GATHER_SECONDS: Final = 0.1

K = TypeVar("K")

Identity = tuple[str, str]
"""uid and resourceVersion of an object."""


@dataclass(frozen=True, slots=True)
class Known:
    """The objects that are known at one moment."""

    bindings: Mapping[BindingRef, Identity]
    accounts: Mapping[str, Identity]
    grants: Mapping[str, Identity]


class ClusterIntake:
    """See the module.

    Args:
        reconciler: does the work.
        unreadable: told of a RoleGrant that cannot be read: kind, name and sentence.
        unbound: told of every binding that is gone.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        unreadable: Callable[[str, str, str], None],
        unbound: Callable[[BindingRef], None] = lambda _: None,
    ) -> None:
        self._unbound = unbound
        self._reconciler = reconciler
        self._registry = reconciler.registry
        self._unreadable = unreadable
        self._grants: dict[str, Identity] = {}
        self._pending: set[BindingRef] = set()
        self._pending_all = False
        self._timer: asyncio.TimerHandle | None = None

    def binding_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleBinding is there, or changed."""
        self._reconciler.binding_seen(body)

    def binding_gone(self, ref: BindingRef, uid: str) -> None:
        """A RoleBinding is gone."""
        self._reconciler.binding_gone(ref, uid)
        self._unbound(ref)

    def account_seen(self, body: Mapping[str, Any]) -> None:
        """An AWSAccount is there, or changed."""
        self._reconciler.account_seen(body)

    def account_gone(self, name: str, uid: str) -> None:
        """An AWSAccount is gone."""
        self._reconciler.account_gone(name, uid)

    def grant_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleGrant is there, or changed. One that cannot be read grants nothing."""
        name = str(body["metadata"]["name"])
        identity = _identity(body)
        if self._grants.get(name) == identity:
            return
        self._grants[name] = identity
        try:
            self._registry.grants[name] = RoleGrant.parse(body)
        except InvalidValueError as error:
            self._registry.grants.pop(name, None)
            self._unreadable("RoleGrant", name, str(error))
        self._judge_soon(None)

    def grant_gone(self, name: str, uid: str) -> None:
        """A RoleGrant is gone, and with it what it allowed."""
        if name not in self._grants or self._grants[name][0] != uid:
            return
        del self._grants[name]
        if self._registry.grants.pop(name, None) is not None:
            self._judge_soon(None)

    def known(self) -> Known:
        """Return which objects are known, for `listed`."""
        registry = self._registry
        return Known(
            {ref: (entry.uid, entry.version) for ref, entry in registry.bindings.items()},
            {name: _identity(body) for name, body in registry.aws_accounts.items()},
            dict(self._grants),
        )

    def listed(self, before: Known, found: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        """Take in complete lists: what came or went without an event, as when a watch was interrupted for long.

        Args:
            before: what was known when the lists were asked for. What has changed since came by an event, which is
                newer than the list.
            found: kind to objects.
        """
        now = self.known()
        grants = {str(body["metadata"]["name"]): body for body in found["RoleGrant"]}
        accounts = {str(body["metadata"]["name"]): body for body in found["AWSAccount"]}
        bindings = {BindingRef(b["metadata"]["namespace"], b["metadata"]["name"]): b for b in found["RoleBinding"]}
        seen, gone = _missed(before.grants, now.grants, grants)
        for body in seen:
            self.grant_seen(body)
        for name in gone:
            self.grant_gone(name, before.grants[name][0])
        seen, gone = _missed(before.accounts, now.accounts, accounts)
        for body in seen:
            self.account_seen(body)
        for name in gone:
            self.account_gone(name, before.accounts[name][0])
        seen, lost = _missed(before.bindings, now.bindings, bindings)
        for body in seen:
            self.binding_seen(body)
        for ref in lost:
            self.binding_gone(ref, before.bindings[ref][0])

    def service_account(self, namespace: str, name: str, labels: Labels | None) -> None:
        """A service account came, changed its labels, or (None) went; bindings with a selector may be about it."""
        names = self._registry.service_accounts.setdefault(namespace, {})
        if names.get(name) == labels:
            return
        if labels is None:
            names.pop(name, None)
        else:
            names[name] = labels
        entries = self._registry.in_namespace(namespace)
        if any(entry.binding is not None and entry.binding.selector is not None for entry in entries):
            self._judge_soon(entry.ref for entry in entries)  # all: a selector can take a profile from the others

    def namespace(self, name: str, labels: Labels | None) -> None:
        """A namespace came, changed its labels, or (None) went; grants may select by them."""
        if self._registry.namespaces.get(name) == labels:
            return
        if labels is None:
            self._registry.namespaces.pop(name, None)
        else:
            self._registry.namespaces[name] = labels
        self._judge_soon(entry.ref for entry in self._registry.in_namespace(name))

    def _judge_soon(self, refs: Iterable[BindingRef] | None) -> None:
        if refs is None:
            self._pending_all = True
        else:
            self._pending.update(refs)
        if self._timer is None and (self._pending_all or self._pending):
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._judge)

    def _judge(self) -> None:
        self._timer = None
        refs, everything = self._pending, self._pending_all
        self._pending, self._pending_all = set(), False
        self._reconciler.reconsider(None if everything else refs)


def _identity(body: Mapping[str, Any]) -> Identity:
    metadata = body["metadata"]
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))


def _missed(
    before: Mapping[K, Identity], now: Mapping[K, Identity], listed: Mapping[K, Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[K]]:
    """Return what a list shows that nobody told of: objects that came or changed, and keys of those that went."""
    quiet = {key for key in (*before, *listed) if before.get(key) == now.get(key)}
    seen = [body for key, body in listed.items() if key in quiet and now.get(key) != _identity(body)]
    return seen, [key for key in before if key in quiet and key not in listed]
