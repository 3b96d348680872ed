"""Every event about the cluster comes in here: it changes the cache, and enqueues what that may concern.

Deciding all bindings again takes time, so changes that concern many are gathered for a moment and decided once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from trustbind.api import aws_account, role_binding
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleName
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache, Labels, StoredGrant
from trustbind_operator.controllers.manager import Manager

__all__ = ["EventRouter", "Known"]

_GATHER_SECONDS: Final = 0.1

K = TypeVar("K")

Body = Mapping[str, Any]

Identity = tuple[str, str]
"""uid and resourceVersion of an object."""


@dataclass(frozen=True, slots=True)
class Known:
    """The objects that are known at one moment."""

    bindings: Mapping[BindingRef, Identity]
    aws_accounts: Mapping[str, Identity]
    grants: Mapping[str, Identity]

    def slim(self, body: Body) -> Body:
        """Return a listed object; of one that is known as it is, what identifies it alone.

        A whole list of large objects would take much memory, and of most of them only this is used.
        """
        metadata = body["metadata"]
        name = str(metadata["name"])
        match body["kind"]:
            case role_binding.KIND:
                known = self.bindings.get(BindingRef(metadata["namespace"], name))
            case aws_account.KIND:
                known = self.aws_accounts.get(name)
            case _:
                known = self.grants.get(name)
        if known is None or known != _identity(body):
            return body
        names = ("name", "namespace", "uid", "resourceVersion")
        return {"metadata": {name: metadata[name] for name in names if name in metadata}}


class EventRouter:
    """See the module.

    Args:
        cache: what is known of the cluster.
        manager: enqueues what is due.
        unreadable: called for a RoleGrant that cannot be parsed: kind, name and sentence.
        binding_gone: called for every RoleBinding that is gone.
        binding_seen: called for every RoleBinding that came or changed.
    """

    def __init__(
        self,
        cache: ClusterCache,
        manager: Manager,
        unreadable: Callable[[str, str, str], None],
        binding_gone: Callable[[BindingRef], None] = lambda _: None,
        binding_seen: Callable[[StoredBinding], None] = lambda _: None,
    ) -> None:
        self._cache = cache
        self._manager = manager
        self._unreadable = unreadable
        self._after_binding_gone = binding_gone
        self._after_binding_seen = binding_seen
        self._pending: set[str] = set()
        self._pending_all = False
        self._timer: asyncio.TimerHandle | None = None

    def binding_seen(self, body: Body) -> None:
        """A RoleBinding was created or changed."""
        stored = StoredBinding.of(body)
        self._manager.binding_seen(stored)
        self._after_binding_seen(stored)

    def binding_gone(self, ref: BindingRef, uid: str) -> None:
        """The RoleBinding of this uid is gone; there may be another one of its name by now."""
        self._manager.binding_gone(ref, uid)
        self._after_binding_gone(ref)

    def account_seen(self, body: Body) -> None:
        """An AWSAccount was created or changed."""
        self._manager.account_seen(StoredAwsAccount.of(body))

    def account_gone(self, name: str, uid: str) -> None:
        """An AWSAccount is gone."""
        self._manager.account_gone(name, uid)

    def grant_seen(self, body: Body) -> None:
        """A RoleGrant was created or changed. One that cannot be parsed grants nothing."""
        stored = StoredGrant.of(body)
        known = self._cache.grants.get(stored.name)
        if known is not None and (known.uid, known.version) == (stored.uid, stored.version):
            return
        if self._cache.grants.is_old(stored.name, stored):
            return
        self._cache.put_grant(stored)
        if stored.grant is None:
            self._unreadable("RoleGrant", stored.name, stored.problem)
        self._reconsider_soon(None)

    def grant_gone(self, name: str, uid: str) -> None:
        """A RoleGrant is gone, and with it what it allowed."""
        known = self._cache.grants.get(name)
        if known is None or known.uid != uid:
            return
        self._cache.drop_grant(name)
        if known.grant is not None:  # one that could not be parsed granted nothing
            self._reconsider_soon(None)

    def own_caller(self, arn: str) -> None:
        """AWS takes us for this identity: no binding may name its role."""
        if self._cache.put_own_role(RoleName.of_caller(arn)):
            self._reconsider_soon(None)

    def service_account(self, namespace: str, name: str, labels: Labels | None) -> None:
        """A service account was created, changed its labels, or (None) is gone; selectors may select by them."""
        if self._cache.put_service_account(namespace, name, labels):
            self._reconsider_soon(namespace)  # all: a selector can take a profile from the others

    def namespace(self, name: str, labels: Labels | None) -> None:
        """A namespace was created, changed its labels, or (None) is gone; grants may select by them."""
        if self._cache.put_namespace(name, labels) and self._cache.refs_in(name):
            self._reconsider_soon(name)

    def list_emptied(self) -> None:
        """A list of objects that was not empty comes back empty; what it takes away follows."""
        self._manager.list_emptied()

    def known(self) -> Known:
        """Return which objects are known, for `listed`."""
        cache = self._cache
        return Known(cache.bindings.identities(), cache.aws_accounts.identities(), cache.grants.identities())

    def listed(self, before: Known, found: Mapping[str, Iterable[Body]]) -> None:
        """Take complete lists: what came or went without an event, as when a watch was interrupted for long.

        Args:
            before: what was known when the lists were requested. What has changed since came by an event, which is
                newer than the list.
            found: kind to objects.
        """
        now = self.known()
        grants = {str(body["metadata"]["name"]): body for body in found["RoleGrant"]}
        accounts = {str(body["metadata"]["name"]): body for body in found["AWSAccount"]}
        bindings = {BindingRef(b["metadata"]["namespace"], b["metadata"]["name"]): b for b in found["RoleBinding"]}
        pairs = ((before.grants, grants), (before.aws_accounts, accounts), (before.bindings, bindings))
        if any(known and not listed for known, listed in pairs):
            self.list_emptied()
        seen, gone = _missed(before.grants, now.grants, grants)
        for body in seen:
            self.grant_seen(body)
        for name in gone:
            self.grant_gone(name, before.grants[name][0])
        seen, gone = _missed(before.aws_accounts, now.aws_accounts, accounts)
        for body in seen:
            self.account_seen(body)
        for name in gone:
            self.account_gone(name, before.aws_accounts[name][0])
        seen, lost = _missed(before.bindings, now.bindings, bindings)
        for body in seen:
            self.binding_seen(body)
        for ref in lost:
            self.binding_gone(ref, before.bindings[ref][0])

    def _reconsider_soon(self, namespace: str | None) -> None:
        """Let a namespace's bindings, or with None, all, be decided again in a moment."""
        if namespace is None:
            self._pending_all = True
        else:
            self._pending.add(namespace)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._reconsider)

    def _reconsider(self) -> None:
        self._timer = None
        namespaces, everything = self._pending, self._pending_all
        self._pending, self._pending_all = set(), False
        self._manager.reconsider(None if everything else namespaces)


def _missed(
    before: Mapping[K, Identity], now: Mapping[K, Identity], listed: Mapping[K, Body]
) -> tuple[list[Body], list[K]]:
    """Return what a list shows and no event did: objects that came or changed, and keys of those that went."""
    quiet = {key for key in (*before, *listed) if before.get(key) == now.get(key)}
    seen = [body for key, body in listed.items() if key in quiet and now.get(key) != _identity(body)]
    return seen, [key for key in before if key in quiet and key not in listed]


def _identity(body: Body) -> Identity:
    metadata = body["metadata"]
    return str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
