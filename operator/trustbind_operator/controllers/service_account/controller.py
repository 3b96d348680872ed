"""Keeps the RoleBindings that annotated service accounts ask for; see `trustbind.api.annotated_binding`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from trustbind.api.annotated_binding import binding_name, wanted_binding
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import INJECT, MANAGED_LABEL
from trustbind.api.role_binding import BindingRef
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.cluster.writer import CONFLICT, MERGE, binding_path
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.logs import Logger

__all__ = ["Annotator"]

_RETRY_SECONDS: Final = 5.0


class Annotator:
    """See the module.

    Args:
        api: the API server.
        keys: of the annotations.
        log: what was made and removed.
    """

    def __init__(self, api: ApiServer, keys: AnnotationKeys, log: Logger) -> None:
        self._api = api
        self._keys = keys
        self._log = log
        self._accounts: dict[tuple[str, str], Seen] = {}
        self._by_binding: dict[tuple[str, str], tuple[str, str]] = {}
        """Namespace and name of a binding of ours to the account that it is for."""
        self._due: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()

    @property
    def annotations(self) -> tuple[str, ...]:
        """Which annotations have to be kept."""
        return (self._keys.role_arn, self._keys.audience, self._keys.token_expiration, INJECT)

    def seen(self, namespace: str, name: str, account: Seen | None) -> None:
        """Take note of an account; one that is gone takes its binding along (Kubernetes' garbage collection)."""
        key = (namespace, name)
        if account is None:
            self._accounts.pop(key, None)
            self._by_binding.pop((namespace, binding_name(name)), None)
            self._due.discard(key)
            return
        self._accounts[key] = account
        if account.annotations:
            self._by_binding[namespace, binding_name(name)] = key
        self._due.add(key)
        self._wake.set()

    def unbound(self, ref: BindingRef) -> None:
        """Take note that a binding is gone: one that an account's annotation still asks for is made again."""
        key = self._by_binding.get((ref.namespace, ref.name))
        if key is not None and key in self._accounts:
            self._due.add(key)
            self._wake.set()

    async def run(self, bindings: Callable[[], Mapping[Any, Any]]) -> None:
        """Keep bindings until cancelled.

        Args:
            bindings: returns what the operator knows of bindings, by reference: an account without an annotation and
                without a binding of ours costs no call.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, set()
            known = {(ref.namespace, ref.name) for ref in bindings()}
            for key in sorted(due):
                try:
                    await self._keep(key, known)
                except ApiError as error:
                    self._log.warning(
                        "binding of annotated account not kept", account="/".join(key), problem=str(error)
                    )
                    self._due.add(key)
            if self._due:
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _keep(self, key: tuple[str, str], known: set[tuple[str, str]]) -> None:
        account = self._accounts.get(key)
        if account is None:
            return
        namespace, name = key
        wanted = wanted_binding(namespace, name, account.uid, account.annotations, self._keys)
        path = binding_path(namespace, binding_name(name))
        if wanted is None and (namespace, binding_name(name)) not in known:
            return
        found = await self._read(path)
        if found is not None and (found["metadata"].get("labels") or {}).get(MANAGED_LABEL) != "true":
            self._log.warning("a binding of that name is not ours and is left alone", binding=binding_name(name))
            return
        if wanted is None:
            if found is not None:
                await self._delete(path, found)
            return
        if found is not None and found["metadata"].get("deletionTimestamp"):
            raise ApiError(CONFLICT, "the former binding is still being deleted")
        if found is not None and found["spec"]["roleArn"] != wanted["spec"]["roleArn"]:
            await self._delete(path, found)  # a binding's role is immutable
            raise ApiError(CONFLICT, "the account has another role now; the former binding is being deleted")
        if found is None:
            await self._api.send("POST", binding_path(namespace), wanted)
            self._log.info("bound annotated account", namespace=namespace, account=name, role=wanted["spec"]["roleArn"])
        elif change := _difference(found["spec"], wanted["spec"]):
            await self._api.send("PATCH", path, {"spec": change}, content_type=MERGE)

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


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return a merge patch for what an annotation decides; what it does not is left as it is."""
    change = {key: value for key, value in wanted.items() if found.get(key) != value}
    if "token" in found and "token" not in wanted:
        change["token"] = None
    return change
