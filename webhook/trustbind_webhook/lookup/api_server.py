"""Accounts and bindings of a cluster: from two watches, and for an account that they have not seen, a live read.

What only validation asks for comes from further watches, which nothing waits for: where they may not look, less is
said.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec

from trustbind.api import aws_account as aws_accounts
from trustbind.api import role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer, Subject
from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer, NoClusterError
from trustbind_runtime.kubernetes.informer import METADATA, Key, Pace, Resource, Watcher
from trustbind_runtime.logs import Logger
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.lookup.interface import LookupFailedError, LookupStartError
from trustbind_webhook.lookup.stores import Accounts, Bindings, Objects, labels_of
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import LookupSettings
from trustbind_webhook.validation.rules import Knowledge

__all__ = ["ClusterLookup"]

ACCOUNTS: Final = Resource("serviceaccounts", "/api/v1/serviceaccounts", metadata_only=True)
BINDINGS: Final = Resource("rolebindings", f"/apis/{API_VERSION}/rolebindings", optional=True)
GRANTS: Final = Resource("rolegrants", f"/apis/{API_VERSION}/rolegrants", dispensable=True)
AWS_ACCOUNTS: Final = Resource("awsaccounts", f"/apis/{API_VERSION}/awsaccounts", dispensable=True)
NAMESPACES: Final = Resource("namespaces", "/api/v1/namespaces", metadata_only=True, dispensable=True)

_FOUND_SECONDS: Final = 5.0
"""How long a live read's account is used before it is read again: a watch catches up in far less. It does not go into
the cache, where it could outlive its own deletion."""

_MISSING_SECONDS: Final = 1.0
"""How long "no such account" is believed: the account may be created at any moment, often just after its first pod."""

_MEMO_SIZE: Final = 4096
"""Live answers remembered at once; more are forgotten early."""


_DISCOVERY: Final = "/.well-known/openid-configuration"
"""Where the API server publishes its issuer (Kubernetes documentation, "Service account issuer discovery")."""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str


@dataclass(frozen=True, slots=True)
class _Memo:
    account: Account | None
    until: float


class Bucket:
    """A token bucket: so many at once, so many a second in the long run."""

    def __init__(self, rate_per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate_per_second
        self._burst = float(burst)
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def take(self) -> bool:
        """Return whether one more is allowed, and count it."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class ClusterLookup:
    """What the API server knows.

    Args:
        settings: ``lookup`` of the settings.
        annotation_prefix: which family of annotations is kept.
        issuer: of the cluster's tokens; None: asked of the API server.
        metrics: where reads and watches are counted.
        log: where they are told.
        pace: of the watches; from the settings when not given.
        clock: seconds from anywhere, never going back.
    """

    def __init__(
        self,
        settings: LookupSettings,
        annotation_prefix: str,
        *,
        issuer: Issuer | None = None,
        metrics: Metrics,
        log: Logger,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._pace = pace or Pace(page_size=settings.page_size)
        self._accounts = Accounts(annotation_prefix)
        self._bindings = Bindings(self._unreadable)
        self._grants = Objects(RoleGrant.parse, role_grant.KIND)
        self._aws_accounts = Objects(AwsAccount.parse, aws_accounts.KIND)
        self._namespaces = Objects(labels_of, "Namespace", "v1")
        self._issuer = issuer
        self._bucket = Bucket(settings.rate_per_second, settings.burst, clock)
        self._memo: dict[Key, _Memo] = {}
        self._reads: dict[Key, asyncio.Task[Account | None]] = {}
        self._watchers: list[Watcher[Any]] = []
        self._further: dict[str, Watcher[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._api: ApiServer | None = None
        metrics.show_cached(ACCOUNTS.name, self._accounts.__len__)
        metrics.show_cached(BINDINGS.name, self._bindings.__len__)
        metrics.unreadable_bindings.set_function(lambda: self._bindings.unreadable)

    @property
    def synced(self) -> bool:
        """Whether both first lists are in."""
        return bool(self._watchers) and all(watcher.synced.is_set() for watcher in self._watchers)

    async def wait_synced(self) -> None:
        """Return once both first lists are in."""
        for watcher in self._watchers:
            await watcher.synced.wait()

    async def start(self) -> None:
        """Find the API server and begin to watch.

        Raises:
            LookupStartError: there is no way to an API server.
        """
        try:
            self._api = await ApiServer.connect(self._settings.kubeconfig, "trustbind-webhook")
        except NoClusterError as error:
            raise LookupStartError(str(error)) from None

        def restarted(resource: str, cause: str) -> None:
            self._metrics.watch_restarts.labels(resource, cause).inc()

        common: dict[str, Any] = {"pace": self._pace, "restarted": restarted, "log": self._log}
        self._watchers = [
            Watcher(self._api, ACCOUNTS, self._accounts, **common),
            Watcher(self._api, BINDINGS, self._bindings, **common),
        ]
        further: dict[Resource, Objects[Any]] = {
            GRANTS: self._grants,
            AWS_ACCOUNTS: self._aws_accounts,
            NAMESPACES: self._namespaces,
        }
        for resource, store in further.items():
            self._further[resource.name] = Watcher(self._api, resource, store, **common)
            self._metrics.show_cached(resource.name, store.__len__)
            self._metrics.show_known(resource.name, self._further[resource.name].synced.is_set)
        self._tasks = [asyncio.create_task(w.run()) for w in (*self._watchers, *self._further.values())]
        if self._issuer is None:
            self._tasks.append(asyncio.create_task(self._learn_issuer(self._api)))

    async def stop(self) -> None:
        """End watches and reads, and close the connections."""
        for task in (*self._tasks, *self._reads.values()):
            task.cancel()
        for task in (*self._tasks, *self._reads.values()):
            with contextlib.suppress(asyncio.CancelledError, LookupFailedError):
                await task
        if self._api is not None:
            await self._api.close()

    def bindings(self, namespace: str, account: str) -> Sequence[RoleBinding]:
        """Return the namespace's bindings that name the account or may select it."""
        known = self._accounts.get(namespace, account)
        return self._bindings.of(namespace, account, None if known is None else known.labels)

    def knowledge(self, namespace: str) -> Knowledge:
        """Return what is known now for validating; what may not be seen is None."""
        accounts, bindings = (watcher.synced.is_set() for watcher in self._watchers)

        def known(resource: Resource) -> bool:
            return self._further[resource.name].synced.is_set()

        return Knowledge(
            issuer=self._issuer,
            bindings=self._bindings.in_namespace(namespace) if bindings else (),
            accounts=self._accounts.labels_in(namespace) if accounts else None,
            namespaces=self._namespaces.by_name() if known(NAMESPACES) else None,
            grants=self._grants.values() if known(GRANTS) else None,
            aws_accounts=self._aws_accounts.values() if known(AWS_ACCOUNTS) else None,
        )

    async def _learn_issuer(self, api: ApiServer) -> None:
        """Read the cluster's issuer; where that cannot be, try again now and then, and tell once."""
        told = ""
        while True:
            try:
                body = await api.get(_DISCOVERY, accept="application/json")
                self._issuer = Issuer.parse(msgspec.json.decode(body, type=_Discovery).issuer)
            except (ApiError, msgspec.DecodeError, InvalidValueError) as error:
                if (problem := str(error)) != told:
                    told = problem
                    self._log.warning(
                        "the cluster's issuer is not known, so conditions on its keys are not checked; "
                        "set validation.issuer",
                        problem=problem,
                    )
                await asyncio.sleep(self._pace.absent_seconds)
            else:
                self._log.info("issuer read", issuer=self._issuer.url)
                return

    async def account(self, namespace: str, name: str) -> Account | None:
        """Return the account; one that the watch has not shown is read live before it counts as missing.

        Raises:
            LookupFailedError: the read failed, took too long, or would have been one too many.
        """
        account = self._accounts.get(namespace, name)
        if account is not None:
            return account
        key = (namespace, name)
        memo = self._memo.get(key)
        if memo is not None and memo.until > self._clock():
            return memo.account
        read = self._reads.get(key)
        if read is None:
            try:
                # Admission comes before validation: the name may be anything, a path for instance.
                Subject.of(namespace, name)
            except InvalidValueError:
                return None
            if not self._bucket.take():
                self._metrics.live_lookups["limited"].inc()
                raise LookupFailedError(
                    f"the service account {namespace}/{name} is not known yet, and too many are being read at the "
                    "moment; the pod gets no role: create it again"
                )
            read = asyncio.create_task(self._read(key))
            self._reads[key] = read
            read.add_done_callback(lambda task: self._done(key, task))
        # One caller going away must not take the answer from the others.
        return await asyncio.shield(read)

    def _done(self, key: Key, task: asyncio.Task[Account | None]) -> None:
        del self._reads[key]
        if not task.cancelled():
            task.exception()  # marks it as seen: every caller may be gone

    async def _read(self, key: Key) -> Account | None:
        namespace, name = key
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(name, safe='')}"
        assert self._api is not None, "started"  # noqa: S101 - a caller's mistake, not a user's
        try:
            body = await self._api.get(path, accept=METADATA, seconds=self._settings.timeout_seconds)
            account = self._accounts.read(key, body)
        except (ApiError, msgspec.DecodeError) as error:
            if isinstance(error, ApiError) and error.status == NOT_FOUND:
                self._metrics.live_lookups["missing"].inc()
                self._remember(key, None, _MISSING_SECONDS)
                return None
            self._metrics.live_lookups["failed"].inc()
            self._log.warning("live lookup failed", namespace=namespace, account=name, problem=str(error))
            raise LookupFailedError(
                f"the service account {namespace}/{name} could not be read: {error}; "
                "the pod gets no role: create it again"
            ) from None
        self._metrics.live_lookups["found"].inc()
        self._remember(key, account, _FOUND_SECONDS)
        return account

    def _remember(self, key: Key, account: Account | None, seconds: float) -> None:
        now = self._clock()
        if len(self._memo) >= _MEMO_SIZE:
            self._memo = {k: memo for k, memo in self._memo.items() if memo.until > now}
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
        self._memo[key] = _Memo(account, now + seconds)

    def _unreadable(self, key: Key, problem: str) -> None:
        self._log.warning("binding is left out", binding=f"{key[0]}/{key[1]}", problem=problem)
