"""Accounts, bindings and what validation asks for from manifests: for demonstrations, local development and tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from trustbind.api import aws_account as aws_accounts
from trustbind.api import manifests, role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.manifests import Manifest
from trustbind.api.role_binding import KIND, RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError, ManifestError
from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT, Issuer, Subject
from trustbind_runtime.kubernetes.informer import Key
from trustbind_runtime.logs import Logger
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.lookup.interface import Live, LookupStartError
from trustbind_webhook.lookup.stores import Accounts, Bindings
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.validation.rules import Knowledge

__all__ = ["FileLookup"]

T = TypeVar("T")
K = TypeVar("K")

_GROUP: Final = API_VERSION.partition("/")[0] + "/"
"""Not the whole apiVersion: a binding of another version of ours is a mistake to be told; RBAC's kind is not ours."""

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_DEFAULT_NAMESPACE: Final = "default"
_POLL_SECONDS: Final = 1.0
"""Between two looks at the files: soon enough for somebody who edits them."""


@dataclass(frozen=True, slots=True)
class _Contents:
    accounts: Mapping[Key, Account]
    bindings: Mapping[Key, RoleBinding]
    grants: Mapping[str, RoleGrant]
    aws_accounts: Mapping[str, AwsAccount]
    namespaces: Mapping[str, Mapping[str, str]]


class FileLookup:
    """What manifests say.

    Args:
        paths: files, or folders whose ``*.yaml``, ``*.yml`` and ``*.json`` are read. Objects of other kinds are passed
            over, so that a whole application's manifests can be given.
        annotation_prefix: which family of annotations is kept.
        issuer: of the cluster's tokens; None: not known.
        metrics: where the size is shown.
        log: where changes and mistakes are told.
        poll_seconds: between two looks for changes.
    """

    def __init__(
        self,
        paths: Sequence[str],
        annotation_prefix: str,
        *,
        issuer: Issuer | None = None,
        metrics: Metrics,
        log: Logger,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._paths = [Path(path) for path in paths]
        self._poll_seconds = poll_seconds
        self._log = log
        self._accounts = Accounts(annotation_prefix)
        self._bindings = Bindings(lambda _key, _problem: None)
        self._issuer = issuer
        self._contents = _Contents({}, {}, {}, {}, {})
        self._stamp: tuple[object, ...] = ()
        self._task: asyncio.Task[None] | None = None
        metrics.show_cached("serviceaccounts", self._accounts.__len__)
        metrics.show_cached("rolebindings", self._bindings.__len__)

    @property
    def synced(self) -> bool:
        """Whether the files have been read."""
        return self._task is not None

    async def wait_synced(self) -> None:
        """Return at once: `start` has read the files."""

    async def start(self) -> None:
        """Read the files, and begin to look for changes.

        Raises:
            LookupStartError: a file is missing or holds something unusable; names file, document and field.
        """
        try:
            self._stamp = await asyncio.to_thread(self._look)
            self._take(await asyncio.to_thread(self._read))
        except ManifestError as error:
            raise LookupStartError(str(error)) from None
        self._task = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def bindings(self, namespace: str, account: str) -> Sequence[RoleBinding]:
        """Return the namespace's bindings that name the account or may select it."""
        return self._bindings.of(namespace, account)

    async def account(self, namespace: str, name: str) -> Account | None:
        """Return the account, or None; ``default`` exists in every namespace, as Kubernetes sees to it."""
        account = self._accounts.get(namespace, name)
        if account is None and name == DEFAULT_SERVICE_ACCOUNT:
            return Account(namespace, name)
        return account

    @property
    def behind(self) -> str:
        """Nothing: files are looked at every second, and have no watch."""
        return ""

    async def live(self, namespace: str, name: str) -> Live:
        """Return what is held."""
        return Live(self._accounts.get(namespace, name), self._bindings.of(namespace, name))

    def knowledge(self, namespace: str) -> Knowledge:
        """Return what the manifests say; where they describe no namespace, none is known."""
        contents = self._contents
        return Knowledge(
            issuer=self._issuer,
            bindings=self._bindings.in_namespace(namespace),
            accounts={DEFAULT_SERVICE_ACCOUNT: {}} | self._accounts.labels_in(namespace),
            namespaces=contents.namespaces or None,
            grants=list(contents.grants.values()),
            aws_accounts=list(contents.aws_accounts.values()),
        )

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                stamp = await asyncio.to_thread(self._look)
                if stamp == self._stamp:
                    continue
                self._stamp = stamp  # a mistake is told once, not at every look
                self._take(await asyncio.to_thread(self._read))
            except ManifestError as error:
                self._log.error("manifests cannot be used, the former ones stay", problem=str(error))

    def _take(self, contents: _Contents) -> None:
        self._accounts.replace(contents.accounts)
        self._bindings.replace(contents.bindings)
        self._contents = contents
        self._log.info("manifests read", accounts=len(contents.accounts), bindings=len(contents.bindings))

    def _files(self) -> Iterator[Path]:
        for path in self._paths:
            if path.is_dir():
                yield from sorted(child for child in path.iterdir() if child.suffix in _SUFFIXES)
            else:
                yield path

    def _look(self) -> tuple[object, ...]:
        """Return what changes when a file does."""
        stamps: list[object] = []
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                stamps.append((path, None))
            else:
                stamps.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)

    def _read(self) -> _Contents:
        accounts: dict[Key, Account] = {}
        held: dict[Key, RoleBinding] = {}
        granted: dict[str, RoleGrant] = {}
        described: dict[str, AwsAccount] = {}
        namespaces: dict[str, Mapping[str, str]] = {}
        for path in self._files():
            try:
                text = path.read_text(encoding="utf-8")
            except OSError as error:
                raise ManifestError(str(path), 0, f"it cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ManifestError(str(path), 0, "it is not UTF-8 text") from None
            for manifest in manifests.read(text, str(path)):
                if manifest.api_version.startswith(_GROUP):
                    manifests.check_metadata(manifest)
                key = (manifest.namespace or _DEFAULT_NAMESPACE, manifest.name)
                if (manifest.api_version, manifest.kind) == ("v1", "ServiceAccount"):
                    _once(accounts, key, manifest)
                    accounts[key] = self._account(key, manifest)
                elif (manifest.api_version, manifest.kind) == ("v1", "Namespace"):
                    _once(namespaces, manifest.name, manifest)
                    namespaces[manifest.name] = _namespace(manifest)
                elif not manifest.api_version.startswith(_GROUP):
                    continue
                elif manifest.kind == KIND:
                    _once(held, key, manifest)
                    held[key] = _parsed(_binding, manifest)
                elif manifest.kind == role_grant.KIND:
                    _once(granted, manifest.name, manifest)
                    granted[manifest.name] = _parsed(RoleGrant.parse, manifest)
                elif manifest.kind == aws_accounts.KIND:
                    _once(described, manifest.name, manifest)
                    described[manifest.name] = _parsed(AwsAccount.parse, manifest)
        return _Contents(accounts, held, granted, described, namespaces)

    def _account(self, key: Key, manifest: Manifest) -> Account:
        try:
            Subject.of(*key)
            metadata = manifest.body["metadata"]
            texts = {field: _texts(metadata.get(field), f"metadata.{field}") for field in ("annotations", "labels")}
        except InvalidValueError as error:
            raise manifest.error(error) from None
        return self._accounts.account(*key, texts["annotations"], texts["labels"])


def _binding(body: Mapping[str, Any]) -> RoleBinding:
    return RoleBinding.parse(body, default_namespace=_DEFAULT_NAMESPACE)


def _parsed(parse: Callable[[Mapping[str, Any]], T], manifest: Manifest) -> T:
    try:
        return parse(manifest.body)
    except InvalidValueError as error:
        raise manifest.error(error) from None


def _namespace(manifest: Manifest) -> Mapping[str, str]:
    """Return the labels, with the one that the API server gives every namespace."""
    try:
        labels = _texts((manifest.body.get("metadata") or {}).get("labels"), "metadata.labels")
    except InvalidValueError as error:
        raise manifest.error(error) from None
    return labels | {"kubernetes.io/metadata.name": manifest.name}


def _once(held: Mapping[K, object], key: K, manifest: Manifest) -> None:
    if not manifest.name:
        raise manifest.error("metadata.name: a name is required")
    if key in held:
        raise manifest.error("it stands twice in the manifests")


def _texts(value: object, field: str) -> dict[str, str]:
    """Return annotations or labels: a mapping of texts, and of nothing else, as the API server holds it."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValueError("a mapping is needed", field=field)
    for key, text in value.items():
        if not isinstance(text, str):
            raise InvalidValueError("a text is needed; write it in quotes", field=f"{field}[{key}]")
    return value
