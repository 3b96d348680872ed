"""Keeps the RoleBindings that annotated service accounts ask for; see `trustbind.api.annotated_binding`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trustbind.api.annotated_binding import (
    AnnotatedScope,
    Step,
    binding_name,
    may_take_over,
    next_step,
    takes_over,
    wanted_binding,
)
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import INJECT, MANAGED_LABEL
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.stored_binding import StoredBinding, is_ready
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.cluster.writer import CONFLICT, MERGE, binding_path
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger

__all__ = ["Annotator", "kept_annotations"]

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_SECONDS: Final = 5.0


class Annotator:
    """See the module.

    Args:
        api: the API server.
        cache: the cluster's bindings and namespaces.
        keys: of the annotations.
        scope: which service accounts get a binding.
        log: what was made and removed.
    """

    def __init__(
        self, api: ApiServer, cache: ClusterCache, keys: AnnotationKeys, scope: AnnotatedScope, log: Logger
    ) -> None:
        self._api = api
        self._cache = cache
        self._keys = keys
        self._scope = scope
        self._log = log
        self._accounts: dict[Key, Seen] = {}
        self._annotated: dict[str, dict[str, set[str]]] = {}
        """Namespace to the text of a role to the names of the service accounts that are annotated with it."""
        self._by_binding: dict[Key, Key] = {}
        """Namespace and name of a binding of ours to the service account that it is for."""
        self._due: set[Key] = set()
        self._wake = asyncio.Event()

    def seen(self, namespace: str, name: str, account: Seen | None) -> None:
        """Take note of a service account; one that is gone takes its binding along (Kubernetes' garbage collection)."""
        key = (namespace, name)
        self._forget_annotation(key)
        if account is None:
            self._accounts.pop(key, None)
            self._by_binding.pop((namespace, binding_name(name)), None)
            self._due.discard(key)
            return
        self._accounts[key] = account
        if account.annotations:
            self._by_binding[namespace, binding_name(name)] = key
        if role := self._role_of(account):
            self._annotated.setdefault(namespace, {}).setdefault(role, set()).add(name)
        self._set_due({key})

    def namespace_seen(self, namespace: str) -> None:
        """Take note that a namespace came or changed its labels: the scope may cover it now."""
        self._set_due({(namespace, n) for names in self._annotated.get(namespace, {}).values() for n in names})

    def binding_seen(self, stored: StoredBinding) -> None:
        """Take note of a binding that came or changed: it may stand in for generated ones, or no longer."""
        binding = stored.binding
        if binding is None or not may_take_over(binding):
            return
        namespace = stored.ref.namespace
        names = self._annotated.get(namespace, {}).get(str(binding.role), ())
        named = (n for n in names if binding.names(n, self._accounts[namespace, n].labels))
        self._set_due({(namespace, name) for name in named})

    def unbound(self, ref: BindingRef) -> None:
        """Take note that a binding is gone: what an annotation still asks for is made again."""
        key = self._by_binding.get((ref.namespace, ref.name))
        if key is not None and key in self._accounts:
            self._set_due({key})
        else:
            self.namespace_seen(ref.namespace)  # a user's own, which may have stood in for several

    async def run(self) -> None:
        """Keep bindings until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, set()
            failed: set[Key] = set()
            for key in sorted(due):
                try:
                    await self._keep(key)
                except ApiError as error:
                    self._log.warning(
                        "binding of annotated account not kept", account="/".join(key), problem=str(error)
                    )
                    failed.add(key)
                await asyncio.sleep(0)  # what costs no call must not hold up the event loop
            if failed:
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._set_due, failed)

    async def _keep(self, key: Key) -> None:
        """Do the next step for one service account; one that has no binding of ours, and gets none, costs no call."""
        account = self._accounts.get(key)
        if account is None:
            return
        namespace, name = key
        wanted = wanted_binding(namespace, name, account.uid, account.annotations, self._keys)
        role = None if wanted is None else RoleArn.parse(wanted["spec"]["roleArn"])
        ref = BindingRef(namespace, binding_name(name))
        in_scope = self._scope.covers(namespace, self._cache.namespaces.get(namespace, {}), account.labels)
        if ref not in self._cache.bindings and (wanted is None or not in_scope):
            return
        path = binding_path(namespace, ref.name)
        found = await self._read(path)
        if found is not None and (found["metadata"].get("labels") or {}).get(MANAGED_LABEL) != "true":
            self._log.warning("a binding of that name is not ours and is left alone", binding=ref.name)
            return
        is_going = found is not None and bool(found["metadata"].get("deletionTimestamp"))
        step = next_step(
            role,
            None if found is None or is_going else RoleArn.parse(found["spec"]["roleArn"]),
            in_scope=in_scope,
            successors=[] if role is None else self._successors(key, role, account),
        )
        if is_going and step is Step.CREATE:
            raise ApiError(CONFLICT, "the former binding is still being deleted")
        await self._take(step, path, wanted, found)

    async def _take(
        self, step: Step, path: str, wanted: Mapping[str, Any] | None, found: Mapping[str, Any] | None
    ) -> None:
        if step is Step.DELETE and found is not None:
            await self._delete(path, found)
            if wanted is not None and found["spec"]["roleArn"] != wanted["spec"]["roleArn"]:
                raise ApiError(CONFLICT, "the account has another role now; the former binding is being deleted")
        elif step is Step.CREATE and wanted is not None:
            metadata, role = wanted["metadata"], wanted["spec"]["roleArn"]
            await self._api.send("POST", path.rpartition("/")[0], wanted)
            (account,) = wanted["spec"]["serviceAccountNames"]
            self._log.info("bound annotated account", namespace=metadata["namespace"], account=account, role=role)
        elif step is Step.UPDATE and wanted is not None and found is not None:
            change = _difference(found["spec"], wanted["spec"])
            if change:
                await self._api.send("PATCH", path, {"spec": change}, content_type=MERGE)

    def _successors(self, key: Key, role: RoleArn, account: Seen) -> list[bool]:
        """Return of each binding that stands in for the generated one, whether it is Ready."""
        return [
            is_ready(stored)
            for stored in self._cache.naming(*key)
            if stored.binding is not None and takes_over(stored.binding, role, key[1], account.labels)
        ]

    def _set_due(self, keys: set[Key]) -> None:
        if keys:
            self._due |= keys
            self._wake.set()

    def _role_of(self, account: Seen) -> str:
        return account.annotations.get(self._keys.role_arn, "").strip()

    def _forget_annotation(self, key: Key) -> None:
        known = self._accounts.get(key)
        role = "" if known is None else self._role_of(known)
        roles = self._annotated.get(key[0])
        if not role or roles is None:
            return
        roles[role].discard(key[1])
        if not roles[role]:
            del roles[role]
        if not roles:
            del self._annotated[key[0]]

    async def _read(self, path: str) -> Mapping[str, Any] | None:
        try:
            body: Mapping[str, Any] = msgspec.json.decode(await self._api.get(path, accept="application/json"))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return body

    async def _delete(self, path: str, found: Mapping[str, Any]) -> None:
        options = {"preconditions": {"uid": found["metadata"]["uid"]}}
        await self._api.send("DELETE", path, options)
        self._log.info("unbound account", binding=found["metadata"]["name"], namespace=found["metadata"]["namespace"])


def kept_annotations(keys: AnnotationKeys) -> tuple[str, ...]:
    """Return which annotations of service accounts decide about their bindings."""
    return (keys.role_arn, keys.audience, keys.token_expiration, INJECT)


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a merge patch for what an annotation decides; what it does not is left as it is."""
    change = {key: value for key, value in wanted.items() if found.get(key) != value}
    if "token" in found and "token" not in wanted:
        change["token"] = None
    return change
