"""A lookup with the sources of the EKS webhook on top (`eks_webhook_sources`), kept up to date."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from trustbind.api.annotations import AnnotationKeys
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind_runtime.kubernetes.client import ApiServer, NoClusterError
from trustbind_runtime.kubernetes.informer import Key, Resource, Watcher
from trustbind_runtime.logs import Logger
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility, Entry, read_config, read_identities
from trustbind_webhook.lookup.interface import Live, Lookup, LookupStartError
from trustbind_webhook.settings import CompatibilitySettings
from trustbind_webhook.validation.rules import Knowledge

__all__ = ["CompatibleLookup", "ConfigMapStore"]

_POLL_SECONDS: Final = 2.0
"""Between two looks at the file of identities; the kubelet itself takes up to a minute to write a changed one."""


class _Data(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


class ConfigMapStore:
    """A store for the watch of the one ConfigMap.

    Args:
        name: of the ConfigMap.
        changed: told of its entries.
        log: what cannot be read; then the last that could is used.
    """

    def __init__(self, name: str, changed: Callable[[Mapping[Key, Entry]], None], log: Logger) -> None:
        self._name = name
        self._changed = changed
        self._log = log

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> Mapping[Key, Entry] | None:
        """Return the entries in ``raw``; None when they cannot be read, or it is another ConfigMap."""
        if key[1] != self._name:
            return None
        data = msgspec.json.decode(raw, type=_Data).data or {}
        if "config" not in data:
            self._log.warning("ConfigMap has no key config, so it gives no roles", name=self._name)
            return {}
        try:
            return read_config(data["config"])
        except InvalidValueError as error:
            self._log.warning(
                "ConfigMap cannot be read, what it said before stays", name=self._name, problem=str(error)
            )
            return None

    def replace(self, items: Mapping[Key, Mapping[Key, Entry] | None]) -> None:
        """Take in a complete list."""
        if not any(key[1] == self._name for key in items):
            self._changed({})
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: Mapping[Key, Entry] | None) -> None:
        """Take in one object."""
        if item is not None and key[1] == self._name:
            self._changed(item)

    def drop(self, key: Key) -> None:
        """Take note that it is gone."""
        if key[1] == self._name:
            self._changed({})


class CompatibleLookup:
    """`Lookup` with more to say about accounts.

    Args:
        lookup: the one underneath.
        settings: which sources there are.
        keys: of the annotations.
        restarted: told when the watch of the ConfigMap is taken up again.
        log: what cannot be read.
        kubeconfig: to reach the API server with.
        late_seconds: after which a broken or silent watch of the ConfigMap counts as late.
    """

    def __init__(
        self,
        lookup: Lookup,
        settings: CompatibilitySettings,
        keys: AnnotationKeys,
        *,
        restarted: Callable[[str, str], None],
        log: Logger,
        kubeconfig: str = "",
        late_seconds: float = 5.0,
    ) -> None:
        self._lookup = lookup
        self._late_seconds = late_seconds
        self._settings = settings
        self._keys = keys
        self._restarted = restarted
        self._log = log
        self._kubeconfig = kubeconfig
        self._said = Compatibility(account_id=settings.role_account_id, partition=settings.role_partition)
        self._watcher: Watcher[Mapping[Key, Entry]] | None = None
        self._api: ApiServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._file_problem = ""

    @property
    def synced(self) -> bool:
        """Whether everything that was there at the start is known, the ConfigMap with it."""
        return self._lookup.synced and (self._watcher is None or self._watcher.synced.is_set())

    async def wait_synced(self) -> None:
        """Return once it is."""
        await self._lookup.wait_synced()
        if self._watcher is not None:
            await self._watcher.synced.wait()

    async def start(self) -> None:
        """Begin to fill.

        Raises:
            LookupStartError: it never will.
        """
        await self._lookup.start()
        if self._settings.identities_file:
            self._read_file()
            self._tasks.append(asyncio.create_task(self._follow_file()))
        if self._settings.config_map_namespace:
            try:
                self._api = await ApiServer.connect(self._kubeconfig, "trustbind-webhook")
            except NoClusterError as error:
                raise LookupStartError(str(error)) from None
            path = f"/api/v1/namespaces/{self._settings.config_map_namespace}/configmaps"
            name = self._settings.config_map_name
            resource = Resource("configmaps", path, query=(("fieldSelector", f"metadata.name={name}"),))
            store = ConfigMapStore(name, self._config_changed, self._log)
            self._watcher = Watcher(self._api, resource, store, restarted=self._restarted, log=self._log)
            self._tasks.append(asyncio.create_task(self._watcher.run()))

    async def stop(self) -> None:
        """Stop and let go of every connection and task."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._api is not None:
            await self._api.close()
        await self._lookup.stop()

    async def account(self, namespace: str, name: str) -> Account | None:
        """Return the account with what the further sources say of it.

        Raises:
            LookupFailedError: see `Lookup`.
        """
        account = await self._lookup.account(namespace, name)
        return self._said.applied(namespace, name, account, self._keys)

    def bindings(self, namespace: str, account: str) -> Sequence[RoleBinding]:
        """Return the namespace's bindings that name the account or may select it."""
        return self._lookup.bindings(namespace, account)

    @property
    def behind(self) -> str:
        """What may be old underneath, or the ConfigMap."""
        if late := self._lookup.behind:
            return late
        return self._config_map_behind()

    async def live(self, namespace: str, name: str) -> Live:
        """Return account and bindings past the caches, with what the further sources say; a late ConfigMap stays so."""
        live = await self._lookup.live(namespace, name)
        return Live(
            self._said.applied(namespace, name, live.account, self._keys),
            live.bindings,
            live.problem or self._config_map_behind(),
        )

    def _config_map_behind(self) -> str:
        if self._watcher is None or (seconds := self._watcher.behind()) <= self._late_seconds:
            return ""
        return f"the watch of the ConfigMap with roles has been broken or silent for {seconds:.0f} s"

    def knowledge(self, namespace: str) -> Knowledge:
        """Return what is known now for validating."""
        return self._lookup.knowledge(namespace)

    def _config_changed(self, entries: Mapping[Key, Entry]) -> None:
        self._said = replace(self._said, entries=entries)

    async def _follow_file(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            self._read_file()

    def _read_file(self) -> None:
        """Read the file of identities; one that cannot be read leaves what it said before, and is told once."""
        path = Path(self._settings.identities_file)
        try:
            identities = read_identities(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            identities, problem = frozenset(), ""
        except (OSError, UnicodeDecodeError, InvalidValueError) as error:
            problem = str(error)
            if problem != self._file_problem:
                self._log.warning("file of identities cannot be read", file=str(path), problem=problem)
            self._file_problem = problem
            return
        self._file_problem = ""
        if identities != self._said.identities:
            self._said = replace(self._said, identities=identities)
            self._log.info("identities read", file=str(path), identities=len(identities))
