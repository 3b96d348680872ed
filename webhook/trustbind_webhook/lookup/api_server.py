"""Accounts and bindings of a cluster: from two watches, and past them where those have not seen it or are late.

What only validation asks for comes from further watches, which nothing waits for: where they may not look, less is
said.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from trustbind.api import aws_account as aws_accounts
from trustbind.api import role_grant
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer, Subject
from trustbind_runtime.kubernetes.client import ApiError, ApiServer, NoClusterError
from trustbind_runtime.kubernetes.discovery import read_issuer
from trustbind_runtime.kubernetes.informer import Key, Pace, Resource, Watcher
from trustbind_runtime.logs import Logger
from trustbind_webhook.injection.decision import Account
from trustbind_webhook.lookup.interface import Live, LookupFailedError, LookupStartError
from trustbind_webhook.lookup.live_reads import LiveReads
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
        self._pace = pace or Pace(page_size=settings.page_size)
        self._accounts = Accounts(annotation_prefix)
        self._bindings = Bindings(self._unreadable)
        self._grants = Objects(RoleGrant.parse, role_grant.KIND)
        self._aws_accounts = Objects(AwsAccount.parse, aws_accounts.KIND)
        self._namespaces = Objects(labels_of, "Namespace", "v1")
        self._issuer = issuer
        self._live = LiveReads(
            settings, self._accounts, self._bindings, self._is_known, metrics=metrics, log=log, clock=clock
        )
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
        self._live.api = self._api

        def restarted(resource: str, cause: str) -> None:
            self._metrics.watch_restarts.labels(resource, cause).inc()

        common: dict[str, Any] = {"pace": self._pace, "restarted": restarted, "log": self._log}
        self._watchers = [
            Watcher(self._api, ACCOUNTS, self._accounts, **common),
            Watcher(self._api, BINDINGS, self._bindings, **common),
        ]
        for resource, watcher in zip((ACCOUNTS, BINDINGS), self._watchers, strict=True):
            self._metrics.show_behind(resource.name, watcher.behind)
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
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._live.stop()
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
                self._issuer = Issuer.parse(await read_issuer(api))
            except (ApiError, InvalidValueError) as error:
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
        if account is not None or not _is_possible(namespace, name):
            return account
        return await self._live.account(namespace, name)

    @property
    def behind(self) -> str:
        """Which watch is late; empty: none."""
        for resource, watcher in zip((ACCOUNTS, BINDINGS), self._watchers, strict=False):
            if not watcher.synced.is_set():
                return f"the first list of {resource.name} is not in yet"
            if (seconds := watcher.behind()) > self._settings.late_seconds:
                return f"the watch of {resource.name} has been broken or silent for {seconds:.0f} s"
        return ""

    async def live(self, namespace: str, name: str) -> Live:
        """Return what the API server says of the account now, or what the caches say and why it is not more."""
        if not _is_possible(namespace, name):
            return Live(None, ())
        try:
            account, bindings = await asyncio.gather(
                self._live.account(namespace, name, fresh=True), self._live.bindings(namespace)
            )
        except LookupFailedError as error:
            return Live(self._accounts.get(namespace, name), self._bindings.of(namespace, name), str(error))
        return Live(account, bindings)

    def _is_known(self, namespace: str) -> bool:
        """Return whether a namespace is there; before the first list of accounts, any may be."""
        accounts = self._watchers[0] if self._watchers else None
        return accounts is None or not accounts.synced.is_set() or self._accounts.has(namespace)

    def _unreadable(self, key: Key, problem: str) -> None:
        self._log.warning("binding is left out", binding=f"{key[0]}/{key[1]}", problem=problem)


def _is_possible(namespace: str, name: str) -> bool:
    """Return whether there can be such an account: admission comes before validation, and it may be a path."""
    try:
        Subject.of(namespace, name)
    except InvalidValueError:
        return False
    return True
