"""Reads past the caches: one for any number of waiting pods, bounded in time and rate, remembered for a moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trustbind.api.role_binding import RoleBinding
from trustbind.api.strict import API_VERSION
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_runtime.kubernetes.informer import METADATA
from trustbind_runtime.kubernetes.pages import ListPage, pages
from trustbind_runtime.logs import Logger
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.lookup.interface import LookupFailedError
from trustbind_webhook.lookup.rates import NamespaceBuckets, Rate
from trustbind_webhook.lookup.stores import Accounts, Bindings
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import LookupSettings

__all__ = ["LiveReads"]

_FOUND_SECONDS: Final = 5.0
"""How long a live read's account is used before it is read again: a watch catches up in far less. It does not go into
the cache, where it could outlive its own deletion."""

_MISSING_SECONDS: Final = 1.0
"""How long "no such account" is believed: the account may be created at any moment, often just after its first pod. And
how long anything is believed while a watch is late."""

_MEMO_SIZE: Final = 4096
"""Live answers remembered at once; more are forgotten early."""

_SLICE: Final = 50
"""Bindings that are read until the event loop has its turn."""

_UNKNOWN: Final = ""
"""Stands for all namespaces that no cache knows: a caller may have made up their names."""

_What = tuple[str, str, str]
"""Kind, namespace and name of what is read."""


class _Page(ListPage, frozen=True):
    items: list[msgspec.Raw] | None = None


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_object = msgspec.json.Decoder(_Object).decode


@dataclass(frozen=True, slots=True)
class _Memo:
    value: Any
    at: float


class LiveReads:
    """What is asked of the API server while a pod waits.

    Args:
        settings: ``lookup`` of the settings.
        accounts: reads the API server's answers.
        bindings: likewise.
        is_known: whether a namespace is known to exist.
        metrics: where reads are counted.
        log: of reads that failed.
        clock: seconds from anywhere, never going back.
    """

    def __init__(
        self,
        settings: LookupSettings,
        accounts: Accounts,
        bindings: Bindings,
        is_known: Callable[[str], bool],
        *,
        metrics: Metrics,
        log: Logger,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._bindings = bindings
        self._is_known = is_known
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._buckets = NamespaceBuckets(
            Rate(settings.namespace_rate_per_second, settings.namespace_burst),
            Rate(settings.rate_per_second, settings.burst),
            clock,
        )
        self._memo: dict[_What, _Memo] = {}
        self._reads: dict[_What, asyncio.Task[Any]] = {}
        self.api: ApiServer | None = None

    async def stop(self) -> None:
        """End what is under way."""
        for task in list(self._reads.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, LookupFailedError):
                await task

    async def account(self, namespace: str, name: str, *, fresh: bool = False) -> Account | None:
        """Return the account, or None when there is none.

        Args:
            namespace: of the account.
            name: of the account, as Kubernetes allows it.
            fresh: whether an answer must not be older than a second.

        Raises:
            LookupFailedError: the read failed, took too long, or would have been one too many.
        """
        what = ("account", namespace, name)
        memo = self._memo.get(what)
        if memo is not None:
            seconds = _MISSING_SECONDS if fresh or memo.value is None else _FOUND_SECONDS
            if memo.at + seconds > self._clock():
                account: Account | None = memo.value
                return account
        found: Account | None = await self._shared(
            what, f"the service account {namespace}/{name}", lambda: self._read_account(namespace, name)
        )
        return found

    async def bindings(self, namespace: str) -> Sequence[RoleBinding]:
        """Return the namespace's bindings, not older than a second.

        Raises:
            LookupFailedError: as `account`.
        """
        what = ("bindings", namespace, "")
        memo = self._memo.get(what)
        if memo is not None and memo.at + _MISSING_SECONDS > self._clock():
            held: Sequence[RoleBinding] = memo.value
            return held
        read: Sequence[RoleBinding] = await self._shared(
            what, f"the RoleBindings of namespace {namespace}", lambda: self._read_bindings(namespace)
        )
        return read

    async def _shared(self, what: _What, described: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result of the read that is under way, or of a new one."""
        task = self._reads.get(what)
        if task is None:
            namespace = what[1]
            if not self._buckets.take(namespace if self._is_known(namespace) else _UNKNOWN):
                self._metrics.live_lookups["limited"].inc()
                raise LookupFailedError(
                    f"{described} cannot be read, since too many objects are being read at the moment"
                )
            task = asyncio.create_task(self._read(what, described, read))
            self._reads[what] = task
            task.add_done_callback(lambda done: self._done(what, done))
        # One caller going away must not take the answer from the others.
        return await asyncio.shield(task)

    def _done(self, what: _What, task: asyncio.Task[Any]) -> None:
        del self._reads[what]
        if not task.cancelled():
            task.exception()  # marks it as seen: every caller may be gone

    async def _read(self, what: _What, described: str, read: Callable[[], Awaitable[Any]]) -> Any:
        try:
            value = await read()
        except (ApiError, msgspec.DecodeError) as error:
            if not isinstance(error, ApiError) or error.status != NOT_FOUND:
                self._metrics.live_lookups["failed"].inc()
                self._log.warning("live read failed", what=what[0], namespace=what[1], name=what[2], problem=str(error))
                raise LookupFailedError(f"{described} could not be read: {error}") from None
            value = None if what[0] == "account" else ()
        self._metrics.live_lookups["missing" if value is None else "found"].inc()
        self._remember(what, value)
        return value

    async def _read_account(self, namespace: str, name: str) -> Account:
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(name, safe='')}"
        body = await self._reach().get(path, accept=METADATA, seconds=self._settings.timeout_seconds)
        return self._accounts.read((namespace, name), body)

    async def _read_bindings(self, namespace: str) -> Sequence[RoleBinding]:
        path = f"/apis/{API_VERSION}/namespaces/{quote(namespace, safe='')}/rolebindings"
        most, seconds = self._settings.page_size, self._settings.timeout_seconds
        bindings: list[RoleBinding] = []
        count = 0
        try:
            async with asyncio.timeout(seconds):
                async for page in pages(self._reach(), path, _decode_page, size=most):
                    for raw in page.items or ():
                        if (count := count + 1) > most:
                            raise ApiError(0, f"there are more than {most}")
                        if count % _SLICE == 0:
                            await asyncio.sleep(0)
                        binding = self._bindings.read((namespace, _decode_object(raw).metadata.name), raw)
                        if binding is not None:
                            bindings.append(binding)
        except TimeoutError:
            raise ApiError(0, f"the API server did not answer within {seconds:g} s") from None
        return tuple(bindings)

    def _reach(self) -> ApiServer:
        assert self.api is not None, "started"  # noqa: S101 - a caller's mistake, not a user's
        return self.api

    def _remember(self, what: _What, value: Any) -> None:
        now = self._clock()
        if len(self._memo) >= _MEMO_SIZE:
            self._memo = {w: memo for w, memo in self._memo.items() if memo.at + _FOUND_SECONDS > now}
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
        self._memo[what] = _Memo(value, now)
