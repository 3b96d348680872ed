"""The process: wait for the Lease, read the cluster once whole, then follow it with kopf until the end.

Nothing is decided before everything is known: what a role should be is computed from all bindings, so half of them
would look like the other half having been deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar, cast

import kopf
import msgspec

from trustbind import __version__
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import INJECT
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError, TrustbindError
from trustbind.identity.subjects import Issuer
from trustbind_aws.account_pool import Accounts, CallWatch
from trustbind_aws.call_budget import Budget
from trustbind_aws.client import AwsAccess
from trustbind_operator.cluster.cache import Registry
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.cluster.informer import NAMESPACES, SERVICE_ACCOUNTS, WAITING_PODS, Feed, Seen
from trustbind_operator.cluster.writer import KubeCluster
from trustbind_operator.controllers.manager import Reconciler
from trustbind_operator.controllers.pod.controller import GateKeeper, MissedPods
from trustbind_operator.controllers.service_account.controller import Annotator
from trustbind_operator.events.event_router import ClusterIntake
from trustbind_operator.events.kopf_handlers import KINDS, registry_of
from trustbind_operator.events.kopf_storages import NoDiffBase, NoProgress
from trustbind_operator.leader_election import Leadership, LeaseLostError, identity, while_leading, without_lease
from trustbind_operator.metrics import Metrics, Telemetry
from trustbind_operator.settings import Settings
from trustbind_runtime.http.listener import PortError, bound
from trustbind_runtime.http.metrics_server import ScrapeServer
from trustbind_runtime.kubernetes.client import ApiError, ApiServer, NoClusterError
from trustbind_runtime.kubernetes.informer import Pace as WatchPace
from trustbind_runtime.kubernetes.informer import Resource, Store, Watcher
from trustbind_runtime.logs import Logger
from trustbind_runtime.run import run_process

__all__ = ["EXIT_FAILED", "EXIT_OK", "run"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

T = TypeVar("T")

_HEARTBEAT_SECONDS: Final = 1.0
_STALLED_SECONDS: Final = 30.0
"""When the event loop has not come round for so long, the process is not alive: something blocks it."""

_KOPF_IDENTITY: Final = cast("Any", "trustbind-operator")  # kopf has a type of its own for this text, not exported

_KOPF_IDLE_SECONDS: Final = 0.1
"""How long kopf keeps a worker and the last body of an object that is quiet; its default of 5 s costs memory."""

_KOPF_LEAVES_SECONDS: Final = 5.0
"""For kopf's watches to end; it has nothing of ours to finish."""

_FIRST_RELIST_SECONDS: Final = 30.0
"""From the start until everything is listed once more: what went between our list and kopf's own is found then."""

_RELIST_SECONDS: Final = 600.0
"""Between two complete lists: kopf tells nothing of objects that went while its watch was interrupted for long."""


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
        self._state = "reading the cluster"
        self._metrics.leading.set(1)
        settings = self._settings
        issuer = await self._issuer(api)
        registry = Registry()
        accounts = Accounts(self._aws(lambda: not leadership.is_held()), issuer, time.monotonic)
        cluster = KubeCluster(api, self._log)
        reconciler = Reconciler(
            registry,
            cluster,
            accounts,
            issuer,
            Telemetry(self._metrics, self._log),
            pace=settings.reconciler_pace(),
        )
        self._metrics.show(registry, lambda: reconciler.backlog)
        annotator = self._annotator(api)
        unbound = annotator.unbound if annotator is not None else lambda _: None
        intake = ClusterIntake(reconciler, self._unreadable, unbound)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(accounts.close)
            service_accounts = await self._follow_metadata(api, intake, annotator, stack)
            await self._read_whole(api, intake)
            due = reconciler.begin()
            if annotator is not None:
                await stack.enter_async_context(_in_background(annotator.run(lambda: registry.bindings)))
            self._state = "working"
            self._log.info(
                "working", issuer=issuer.url, bindings=len(registry.bindings), roles=len(registry.roles()), due=due
            )
            await _first_to_end(
                reconciler.run(),
                self._kopf(api, intake),
                self._relist(api, intake),
                *self._pods(api, registry, cluster, service_accounts),
            )

    async def _issuer(self, api: ApiServer) -> Issuer:
        """Return the cluster's issuer, as set or as the API server publishes it.

        Raises:
            StartError: it cannot be read, or IAM would not take it.
        """
        if self._settings.identity.issuer:
            return Issuer.parse(self._settings.identity.issuer)
        try:
            body = await api.get("/.well-known/openid-configuration", accept="application/json")
            return Issuer.parse(str(msgspec.json.decode(body)["issuer"]))
        except (ApiError, KeyError, msgspec.DecodeError) as error:
            raise StartError(
                f"the cluster's issuer cannot be read from the API server ({error}); set identity.issuer"
            ) from None
        except InvalidValueError as error:
            raise StartError(f"the cluster's issuer cannot be used: {error.problem}") from None

    def _aws(self, over: Callable[[], bool]) -> AwsAccess:
        settings = self._settings.aws

        def watch(account_id: str) -> CallWatch:
            def count(operation: str, code: str) -> None:
                self._metrics.aws_calls.labels(account_id, operation, code).inc()

            return CallWatch(Budget(settings.calls_per_second, settings.burst), count, over)

        cluster = self._settings.identity.cluster
        return AwsAccess(f"trustbind-operator.{cluster}" if cluster else "trustbind-operator", watch=watch)

    def _annotator(self, api: ApiServer) -> Annotator | None:
        settings = self._settings.bind_annotated
        if not settings.enabled:
            return None
        return Annotator(api, self._keys, self._log)

    async def _follow_metadata(
        self, api: ApiServer, intake: ClusterIntake, annotator: Annotator | None, stack: contextlib.AsyncExitStack
    ) -> Feed:
        """Start to follow service accounts and namespaces; return the accounts once both are known whole."""

        def account_changed(key: tuple[str, str], seen: Seen | None) -> None:
            intake.service_account(*key, seen.labels if seen is not None else None)
            if annotator is not None:
                annotator.seen(*key, seen)

        families = () if annotator is None else annotator.families
        if self._settings.pods.find_missed:
            families = (*families, self._keys.role_arn, INJECT)
        service_accounts = Feed(account_changed, families)
        watchers = [
            self._watcher(api, SERVICE_ACCOUNTS, service_accounts),
            self._watcher(
                api, NAMESPACES, Feed(lambda key, seen: intake.namespace(key[1], seen.labels if seen else None))
            ),
        ]
        for watcher in watchers:
            await stack.enter_async_context(_in_background(watcher.run()))
        await asyncio.gather(*(watcher.synced.wait() for watcher in watchers))
        return service_accounts

    def _pods(
        self, api: ApiServer, registry: Registry, cluster: KubeCluster, service_accounts: Feed
    ) -> list[Coroutine[Any, Any, None]]:
        """Return the work on pods."""
        settings = self._settings.pods

        async def event(metadata: Mapping[str, Any], transition: Transition) -> None:
            await cluster.event("Pod", metadata, transition)

        keeper = GateKeeper(
            api,
            registry,
            event,
            self._log,
            limit_seconds=settings.max_wait_seconds,
            release_late=settings.release_late,
        )
        self._metrics.waiting_pods.set_function(keeper.__len__)
        works = [keeper.run(), self._watcher(api, WAITING_PODS, keeper).run()]
        if settings.find_missed:
            missed = MissedPods(
                api,
                registry,
                service_accounts.get,
                event,
                self._log,
                keys=self._keys,
                excluded=frozenset(settings.excluded_namespaces),
                evict=settings.evict_missed,
                page_size=self._settings.kubernetes.page_size,
            )
            self._metrics.missed_pods.set_function(lambda: missed.count)
            works.append(missed.run(settings.missed_interval_seconds))
        return works

    @property
    def _keys(self) -> AnnotationKeys:
        return AnnotationKeys.under(self._settings.bind_annotated.annotation_prefix)

    def _watcher(self, api: ApiServer, resource: Resource, store: Store[T]) -> Watcher[T]:
        def restarted(name: str, cause: str) -> None:
            self._metrics.watch_restarts.labels(name, cause).inc()

        pace = WatchPace(page_size=self._settings.kubernetes.page_size)
        return Watcher(api, resource, store, pace=pace, restarted=restarted, log=self._log)

    async def _read_whole(self, api: ApiServer, intake: ClusterIntake) -> None:
        """Read all objects of ours once, grants and accounts before the bindings that need them."""
        for plural, seen in (
            ("rolegrants", intake.grant_seen),
            ("awsaccounts", intake.account_seen),
            ("rolebindings", intake.binding_seen),
        ):
            async for page in self._listed(api, plural):
                for body in page:
                    seen(body)

    async def _relist(self, api: ApiServer, intake: ClusterIntake) -> None:
        await asyncio.sleep(_FIRST_RELIST_SECONDS)
        while True:
            before = intake.known()
            try:
                found: dict[str, list[Mapping[str, Any]]] = {}
                for kind, plural in KINDS.items():
                    found[kind] = [body async for page in self._listed(api, plural) for body in page]
                intake.listed(before, found)
            except ApiError as error:
                self._log.warning("objects not listed", problem=str(error))
            await asyncio.sleep(_RELIST_SECONDS)

    async def _listed(self, api: ApiServer, plural: str) -> AsyncIterator[list[Mapping[str, Any]]]:
        """Return all objects of one of our resources, page by page, without ``managedFields``: much of their size.

        Raises:
            StartError: the resource does not exist: the CRDs are not installed.
            ApiError: the API server refused.
        """
        kind = next(kind for kind, name in KINDS.items() if name == plural)
        token = ""
        while True:
            query = [("limit", str(self._settings.kubernetes.page_size))]
            if token:
                query.append(("continue", token))
            try:
                body = await api.get(f"/apis/{API_VERSION}/{plural}", query, accept="application/json")
            except ApiError as error:
                if error.status == 404:  # noqa: PLR2004 - HTTP's own number
                    raise StartError(f"the API server has no {plural}.trustbind.dev; install the CRDs first") from None
                raise
            page: dict[str, Any] = msgspec.json.decode(body)
            for item in page["items"]:
                item["metadata"].pop("managedFields", None)
            # A list's items may come without the two fields that the list itself has.
            yield [{"apiVersion": API_VERSION, "kind": kind, **item} for item in page["items"]]
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def _kopf(self, api: ApiServer, intake: ClusterIntake) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False  # Events are ours, on transitions only
        settings.scanning.disabled = True  # our resources do not come and go; saves watching all CRDs
        settings.watching.server_timeout = 300
        settings.networking.request_timeout = 60
        settings.process.ultimate_exiting_timeout = None  # the kubelet sees to that
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.persistence.progress_storage = NoProgress()
        settings.queueing.idle_timeout = _KOPF_IDLE_SECONDS
        configuration = api.configuration

        async def login(**_: Any) -> kopf.ConnectionInfo:
            # Also renews a pod's token, as the kubelet does.
            bearer: object = await configuration.get_api_key_with_prefix("BearerToken")
            scheme, _space, secret = str(bearer or "").rpartition(" ")
            return kopf.ConnectionInfo(
                server=configuration.host,
                ca_path=configuration.ssl_ca_cert,
                insecure=not configuration.verify_ssl,
                certificate_path=configuration.cert_file,
                private_key_path=configuration.key_file,
                scheme=scheme or None,
                token=secret or None,
            )

        tasks = await kopf.spawn_tasks(
            registry=registry_of(intake, login),
            settings=settings,
            standalone=True,
            clusterwide=True,
            # Unused without peering; left out, kopf asks for the user's name, which a container's user may not have.
            identity=_KOPF_IDENTITY,
        )
        self._obey_signals()  # kopf has put its own handlers in place of ours
        # Not kopf.run_tasks: it takes every task of the event loop for its own, and in the end waits for them and
        # cancels them in an order of its own.
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_KOPF_LEAVES_SECONDS)

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
