"""Everything that is seen of the cluster comes in here, and what it may change is judged again.

Judging all bindings takes time, so changes that concern many are gathered for a moment and judged once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from trustbind.bindings import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.grants import RoleGrant
from trustbind_operator.reconciler import Reconciler
from trustbind_operator.registry import Labels

__all__ = ["ClusterIntake"]

_GATHER_SECONDS: Final = 0.1


class ClusterIntake:
    """See the module.

    Args:
        reconciler: does the work.
        unreadable: told of a RoleGrant that cannot be read: kind, name and sentence.
    """

    def __init__(self, reconciler: Reconciler, unreadable: Callable[[str, str, str], None]) -> None:
        self._reconciler = reconciler
        self._registry = reconciler.registry
        self._unreadable = unreadable
        self._grant_versions: dict[str, str] = {}
        self._pending: set[BindingRef] = set()
        self._pending_all = False
        self._timer: asyncio.TimerHandle | None = None

    def binding_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleBinding is there, or changed."""
        self._reconciler.binding_seen(body)

    def binding_gone(self, ref: BindingRef) -> None:
        """A RoleBinding is gone."""
        self._reconciler.binding_gone(ref)

    def account_seen(self, body: Mapping[str, Any]) -> None:
        """An AWSAccount is there, or changed."""
        self._reconciler.account_seen(body)

    def account_gone(self, name: str) -> None:
        """An AWSAccount is gone."""
        self._reconciler.account_gone(name)

    def grant_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleGrant is there, or changed. One that cannot be read grants nothing."""
        name = str(body["metadata"]["name"])
        version = str(body["metadata"].get("resourceVersion", ""))
        if version and self._grant_versions.get(name) == version:
            return
        self._grant_versions[name] = version
        try:
            self._registry.grants[name] = RoleGrant.parse(body)
        except InvalidValueError as error:
            self._registry.grants.pop(name, None)
            self._unreadable("RoleGrant", name, str(error))
        self._judge_soon(None)

    def grant_gone(self, name: str) -> None:
        """A RoleGrant is gone, and with it what it allowed."""
        self._grant_versions.pop(name, None)
        if self._registry.grants.pop(name, None) is not None:
            self._judge_soon(None)

    def service_account(self, namespace: str, name: str, labels: Labels | None) -> None:
        """A service account came, changed its labels, or (None) went; bindings with a selector may be about it."""
        names = self._registry.service_accounts.setdefault(namespace, {})
        if names.get(name) == labels:
            return
        if labels is None:
            names.pop(name, None)
        else:
            names[name] = labels
        selecting = (
            entry.ref
            for entry in self._registry.in_namespace(namespace)
            if entry.binding is not None and entry.binding.selector is not None
        )
        self._judge_soon(selecting)

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
