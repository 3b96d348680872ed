"""The process: wait for the Lease, read the whole cluster once, then follow it with kopf until the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from trustbind import __version__
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import INJECT
from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError, TrustbindError
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.sessions import AwsSessions
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.informer import NAMESPACES, SERVICE_ACCOUNTS, WAITING_PODS, Feed, Seen
from trustbind_operator.cluster.writer import KubernetesWriter
from trustbind_operator.controllers.binding_set.controller import BINDING_SETS, BindingSets
from trustbind_operator.controllers.context import Context
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.controllers.pod.controller import GateKeeper, MissedPods
from trustbind_operator.controllers.service_account.controller import Annotator, kept_annotations
from trustbind_operator.controllers.service_account.reporter import AnnotatedReporter, report_path
from trustbind_operator.events.event_router import EventRouter
from trustbind_operator.events.kopf_runtime import run_kopf
from trustbind_operator.events.lister import Lister
from trustbind_operator.leader_election import (
    Leadership,
    LeaseLostError,
    identity,
    namespace_of,
    while_leading,
    without_lease,
)
from trustbind_operator.metrics import Metrics, State, Telemetry
from trustbind_operator.settings import Settings
from trustbind_runtime.http.listener import PortError, bound
from trustbind_runtime.http.metrics_server import ScrapeServer
from trustbind_runtime.kubernetes.client import ApiError, ApiServer, NoClusterError
from trustbind_runtime.kubernetes.discovery import read_issuer
from trustbind_runtime.kubernetes.informer import Pace as WatchPace
from trustbind_runtime.kubernetes.informer import Resource, Store, Watcher
from trustbind_runtime.logs import Logger
from trustbind_runtime.run import run_process

__all__ = ["EXIT_FAILED", "EXIT_OK", "run"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

T = TypeVar("T")

_HEARTBEAT_SECONDS: Final = 1.0
_POLICY_SECONDS: Final = 5.0
"""Between two looks for the policy that patterns of RoleBindingSets need."""

_NOT_LEADING: Final = "nothing is changed in the cluster: the Lease may be another operator's by now"

_STALLED_SECONDS: Final = 30.0
"""When the event loop has not come round for so long, the process is not alive: something blocks it."""


class StartError(TrustbindError):
    """The operator cannot start; ``str()`` of it is one sentence."""


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; return the exit code.

    What keeps the operator from working is written to standard error as one sentence.
    """
    problems = (TrustbindError, PortError, NoClusterError, LeaseLostError)
    problem = run_process("operator", settings.log, lambda log: _Process(settings, log).serve(), problems)
    return EXIT_FAILED if problem else EXIT_OK


class _Process:
    """Everything that lives as long as the process."""

    def __init__(self, settings: Settings, log: Logger) -> None:
        self._settings = settings
        self._log = log
        self._metrics = Metrics()
        self._beat = time.monotonic()
        self._state = "starting"
        self._stop = asyncio.Event()

    async def serve(self) -> None:
        """Start everything, work, and stop everything.

        Raises:
            TrustbindError: see `run`.
        """
        settings = self._settings
        self._obey_signals()
        async with contextlib.AsyncExitStack() as stack:
            listening = bound(settings.server.host, settings.server.port, "port", stack)
            probes = {"/healthz": self._healthy, "/readyz": self._ready}
            scrapes = ScrapeServer(self._metrics.registry, listening, probes)
            scrapes.start()
            stack.callback(scrapes.stop)
            await stack.enter_async_context(_in_background(self._heartbeat()))
            api = await ApiServer.connect(settings.kubernetes.kubeconfig, "trustbind-operator")
            stack.push_async_callback(api.close)
            self._log.info("started", version=__version__, port=listening.getsockname()[1])
            work = asyncio.create_task(self._elected(api))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._state = "stopping"
            stopping.cancel()
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
            else:
                work.result()
        self._log.info("stopped")

    async def _elected(self, api: ApiServer) -> None:
        if not self._settings.lease.enabled:
            await without_lease(lambda leadership: self._lead(api, leadership))
            return
        who = identity()
        self._state = "standby"
        self._log.info("waiting for the lease", lease=self._settings.lease.name, identity=who)
        await while_leading(
            api, self._settings.lease, who, lambda leadership: self._lead(api, leadership), log=self._log
        )

    async def _lead(self, api: ApiServer, leadership: Leadership) -> None:
        """Do the work of the active operator until cancelled."""
        api = api.unless(lambda: "" if leadership.is_held() else _NOT_LEADING)
        self._state = "reading the cluster"
        self._metrics.leading.set(1)
        settings = self._settings
        cache = ClusterCache(await self._issuer(api), settings.uninstall.leaving)
        telemetry = Telemetry(self._metrics, self._log)
        writer = KubernetesWriter(api, self._log)

        def learned(arn: str) -> None:
            router.own_caller(arn)  # which is made below, before the first call

        pool = self._pool(telemetry, learned)
        context = Context(
            cache,
            writer,
            pool,
            telemetry,
            lambda: leadership.deadline,
            settings.write_pace(),
            lambda: datetime.now(UTC),
            settings.pods.scope(),
        )
        manager = Manager(context, pace=settings.manager_pace(), limit=settings.revocation_limit())
        annotator = self._annotator(api, cache)
        sets = _binding_sets(settings, writer, context, manager, self._log)
        router = EventRouter(cache, manager, self._unreadable, *_after_bindings(annotator, sets))
        lister = Lister(api, router, self._log, settings.kubernetes.page_size)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(pool.close)
            service_accounts = await self._follow_metadata(api, router, annotator, sets, stack)
            await lister.read_all()
            await sets.patterns.begin()
            due = manager.begin()
            if annotator is not None:
                await stack.enter_async_context(_in_background(annotator.run()))
            self._state = "working"
            self._log.info(
                "working", issuer=cache.issuer.url, bindings=len(cache.bindings), roles=len(cache.roles()), due=due
            )
            reporter = _reporter(settings, api, cache, service_accounts, self._keys, self._metrics, self._log)
            keeper, missed = self._pod_controllers(api, cache, writer, service_accounts)
            works = [
                manager.run(),
                run_kopf(api, router, self._obey_signals),
                lister.run(),
                keeper.run(),
                self._watcher(api, WAITING_PODS, keeper).run(),
                sets.run(),
                sets.patterns.watch(_POLICY_SECONDS),
                self._show_counts(cache, manager, keeper, missed),
            ]
            if missed is not None:
                works.append(missed.run(settings.pods.missed_interval_seconds))
            if reporter is not None:
                works.append(reporter.run(settings.bind_annotated.report_interval_seconds))
            await _first_to_end(*works)

    async def _show_counts(
        self, cache: ClusterCache, manager: Manager, keeper: GateKeeper, missed: MissedPods | None
    ) -> None:
        """Show what is counted on the event loop; a scrape runs in a thread and must not read what changes."""
        while True:
            self._metrics.show(_state(cache, manager, len(keeper), missed.count if missed is not None else 0))
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def _issuer(self, api: ApiServer) -> Issuer:
        """Return the cluster's issuer, as set or as the API server publishes it.

        Raises:
            StartError: it cannot be read, or IAM would not take it.
        """
        if self._settings.identity.issuer:
            return Issuer.parse(self._settings.identity.issuer)
        try:
            return Issuer.parse(await read_issuer(api))
        except ApiError as error:
            raise StartError(
                f"the cluster's issuer cannot be read from the API server ({error}); set identity.issuer"
            ) from None
        except InvalidValueError as error:
            raise StartError(f"the cluster's issuer cannot be used: {error.problem}") from None

    def _pool(self, telemetry: Telemetry, learned: Callable[[str], None]) -> AccountPool:
        settings = self._settings.aws
        cluster = self._settings.identity.cluster
        who = f"trustbind-operator.{cluster}" if cluster else "trustbind-operator"
        sessions = AwsSessions(who, settings=self._settings.call_settings(), count=telemetry.called)
        return AccountPool(
            sessions,
            asyncio.get_running_loop().time,
            lambda account_id: CallLimiter(settings.calls_per_second, settings.burst, f"aws-{account_id}"),
            learned,
        )

    async def _follow_metadata(
        self,
        api: ApiServer,
        router: EventRouter,
        annotator: Annotator | None,
        sets: BindingSets,
        stack: contextlib.AsyncExitStack,
    ) -> Feed:
        """Start to follow service accounts and namespaces; return the accounts once both are known whole."""

        def account_changed(key: tuple[str, str], seen: Seen | None) -> None:
            router.service_account(*key, seen.labels if seen is not None else None)
            if annotator is not None:
                annotator.seen(*key, seen)

        def namespace_changed(key: tuple[str, str], seen: Seen | None) -> None:
            router.namespace(key[1], seen.labels if seen is not None else None)
            if annotator is not None:
                annotator.namespace_seen(key[1])
            sets.namespace_seen(key[1], seen.labels if seen is not None else None)

        is_reported = self._settings.bind_annotated.mode != "Disabled"
        keys = set(kept_annotations(self._keys)) if is_reported else set()
        if self._settings.pods.find_missed:
            keys |= {self._keys.role_arn, INJECT}
        service_accounts = Feed(account_changed, tuple(sorted(keys)), router.list_emptied)
        watchers: list[Watcher[Any]] = [
            self._watcher(api, SERVICE_ACCOUNTS, service_accounts),
            self._watcher(api, BINDING_SETS, sets),
            self._watcher(
                api,
                NAMESPACES,
                Feed(namespace_changed, emptied=router.list_emptied),
            ),
        ]
        for watcher in watchers:
            await stack.enter_async_context(_in_background(watcher.run()))
        await asyncio.gather(*(watcher.synced.wait() for watcher in watchers))
        return service_accounts

    def _annotator(self, api: ApiServer, cache: ClusterCache) -> Annotator | None:
        settings = self._settings.bind_annotated
        if settings.mode != "Bind":
            return None
        return Annotator(api, cache, self._keys, settings.scope(), self._log)

    def _pod_controllers(
        self, api: ApiServer, cache: ClusterCache, writer: KubernetesWriter, service_accounts: Feed
    ) -> tuple[GateKeeper, MissedPods | None]:
        """Return what releases waiting pods, and what finds missed ones where that is wanted."""
        settings = self._settings.pods

        async def event(metadata: Mapping[str, Any], transition: Transition) -> None:
            await writer.event("Pod", metadata, transition)

        keeper = GateKeeper(
            api,
            cache,
            event,
            self._log,
            limit_seconds=settings.max_wait_seconds,
            release_late=settings.release_late,
        )
        if not settings.find_missed:
            return keeper, None
        missed = MissedPods(
            api,
            cache,
            service_accounts.get,
            event,
            self._log,
            keys=self._keys,
            scope=settings.scope(),
            evict=settings.evict_missed,
            page_size=self._settings.kubernetes.page_size,
        )
        return keeper, missed

    @property
    def _keys(self) -> AnnotationKeys:
        return AnnotationKeys.under(self._settings.bind_annotated.annotation_prefix)

    def _watcher(self, api: ApiServer, resource: Resource, store: Store[T]) -> Watcher[T]:
        def restarted(name: str, cause: str) -> None:
            self._metrics.watch_restarts.labels(name, cause).inc()

        pace = WatchPace(page_size=self._settings.kubernetes.page_size)
        return Watcher(api, resource, store, pace=pace, restarted=restarted, log=self._log)

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _unreadable(self, kind: str, name: str, problem: str) -> None:
        self._log.warning("object cannot be read and has no effect", kind=kind, name=name, problem=problem)

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    def _healthy(self) -> tuple[bool, str]:
        silent = time.monotonic() - self._beat
        if silent > _STALLED_SECONDS:
            return False, f"the event loop has been stuck for {silent:.0f} s"
        return True, "alive"

    def _ready(self) -> tuple[bool, str]:
        return self._state in {"working", "standby"}, self._state


def _binding_sets(
    settings: Settings, writer: KubernetesWriter, context: Context, manager: Manager, log: Logger
) -> BindingSets:
    """Return what keeps the bindings of RoleBindingSets."""
    own = settings.role_binding_sets
    return BindingSets(
        writer,
        context.cache,
        context.telemetry,
        log,
        context.now,
        manager.reconsider,
        policy_name=own.namespace_policy,
        enabled=own.enabled,
    )


def _after_bindings(
    annotator: Annotator | None, sets: BindingSets
) -> tuple[Callable[[BindingRef], None], Callable[[StoredBinding], None]]:
    """Return what is called for each RoleBinding that is gone, and for each that came or changed."""

    def gone(ref: BindingRef) -> None:
        if annotator is not None:
            annotator.unbound(ref)
        sets.binding_seen(ref)

    def seen(stored: StoredBinding) -> None:
        if annotator is not None:
            annotator.binding_seen(stored)
        sets.binding_seen(stored.ref)

    return gone, seen


def _state(cache: ClusterCache, manager: Manager, waiting_pods: int, missed_pods: int) -> State:
    """Return what metrics show of the cluster and of AWS."""
    state = manager.aws_state
    return State(
        cache.readiness.counts,
        cache.readiness.unready,
        {role: share for role, share in state.fill().items() if cache.has_role(role)},
        Counter(role.account_id for role in state.drifted_roles()),
        manager.backlog,
        waiting_pods,
        missed_pods,
    )


def _reporter(
    settings: Settings,
    api: ApiServer,
    cache: ClusterCache,
    accounts: Feed,
    keys: AnnotationKeys,
    metrics: Metrics,
    log: Logger,
) -> AnnotatedReporter | None:
    """Return what reports on annotated service accounts, where that is wanted."""
    own = settings.bind_annotated
    if own.mode == "Disabled":
        return None
    path = report_path(namespace_of(settings.lease), own.report_name)
    return AnnotatedReporter(api, cache, accounts, keys, own.scope(), own.mode, path, metrics.show_annotated, log)


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run all; when one ends, which none should, end the others and raise what it raised.

    They are ended together: each may take some seconds for what is under way, and the Lease is given up after the last.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise StartError("a part of the operator ended unexpectedly; the log says more")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
