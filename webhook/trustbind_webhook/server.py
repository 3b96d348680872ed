"""The process: sockets, certificate, lookup, application, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine
from dataclasses import replace
from types import FrameType
from typing import Any, Final

import uvicorn

from trustbind import __version__
from trustbind.api.annotations import AnnotationKeys
from trustbind.errors import TrustbindError
from trustbind.identity.subjects import Issuer
from trustbind_runtime.http.listener import PortError, bound
from trustbind_runtime.http.metrics_server import ScrapeServer
from trustbind_runtime.kubernetes.client import ApiServer, NoClusterError
from trustbind_runtime.logs import Logger
from trustbind_runtime.run import run_process
from trustbind_webhook.admission.endpoints import Lifecycle
from trustbind_webhook.app import create_app
from trustbind_webhook.certificates.ca_bundle_monitor import Observer
from trustbind_webhook.certificates.metrics import CertificateMetrics
from trustbind_webhook.certificates.rotator import Keeper
from trustbind_webhook.certificates.serving import CertificateError, ServingCertificate
from trustbind_webhook.connections import memory
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.connections.port_server import PortServer
from trustbind_webhook.lookup.api_server import ClusterLookup
from trustbind_webhook.lookup.eks_webhook_overlay import CompatibleLookup
from trustbind_webhook.lookup.interface import Lookup, LookupStartError
from trustbind_webhook.lookup.manifest_files import FileLookup
from trustbind_webhook.metrics import Metrics
from trustbind_webhook.settings import Settings

__all__ = ["EXIT_FAILED", "EXIT_OK", "EXIT_USAGE", "StartError", "run"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
"""The settings cannot be used."""

_GOODBYE_SECONDS: Final = 0.5
"""For a new connection to be used, and for the other end of an idle one to agree to its end."""


class StartError(TrustbindError):
    """The server cannot start; ``str()`` of it is one sentence."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    What keeps the server from starting is written to standard error as one sentence.
    """
    problems = (StartError, PortError, LookupStartError, NoClusterError, CertificateError)
    problem = run_process("webhook", settings.log, lambda log: _Process(settings, log).serve(), problems)
    return EXIT_FAILED if problem else EXIT_OK


class _Server(PortServer):
    """With an end of our own: signals start the drain instead of the end itself."""

    def __init__(
        self, config: uvicorn.Config, limits: PortLimits, stop: _Stop, *, metrics: Metrics, log: Logger
    ) -> None:
        super().__init__(config, limits, metrics=metrics, log=log)
        self._stop = stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Begin to stop.

        uvicorn's own method would also raise the signal again after a clean end, and the exit code would be that of
        a killed process.
        """
        self._stop.signalled(signal.Signals(sig).name)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests in flight finish, and close what is idle.

        Whoever has just connected gets a moment to send its request: uvicorn would close such a connection as idle.

        uvicorn says goodbye on an idle TLS connection and waits for the answer; a client that is not reading at that
        moment would hold up the end until the grace period is over. After a moment such a connection is just cut.
        """
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GOODBYE_SECONDS)
        cutting = asyncio.create_task(self._cut_idle())
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    async def _cut_idle(self) -> None:
        while True:
            await asyncio.sleep(_GOODBYE_SECONDS)
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", None)
                if cycle is None or cycle.response_complete:
                    connection.transport.abort()


class _Stop:
    """The way from the first signal to the end."""

    def __init__(self, drain_seconds: float, lifecycle: Lifecycle, log: Logger) -> None:
        self._drain_seconds = drain_seconds
        self._lifecycle = lifecycle
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.server: uvicorn.Server | None = None
        self.failed = ""

    def signalled(self, name: str) -> None:
        """Note a signal; safe inside a signal handler."""
        self._loop.call_soon_threadsafe(self._begin, name)

    def fail(self, what: str) -> None:
        """End because a part that must never end has ended."""
        self.failed = what
        self._finish()

    def _begin(self, name: str) -> None:
        if self._lifecycle.draining:
            self._log.info("stopping now", signal=name)
            self._finish()
            return
        self._lifecycle.draining = True
        self._log.info("draining", signal=name, seconds=self._drain_seconds)
        self._loop.call_later(self._drain_seconds, self._finish)

    def _finish(self) -> None:
        self._lifecycle.draining = True
        if self.server is not None:
            self.server.should_exit = True


class _Process:
    """Everything that lives as long as the process."""

    def __init__(self, settings: Settings, log: Logger) -> None:
        self._settings = settings
        self._log = log
        self._metrics = Metrics()
        self._lifecycle = Lifecycle()

    async def serve(self) -> None:
        """Start everything, serve, and stop everything.

        Raises:
            PortError: a port is taken.
            CertificateError: the certificate cannot be used.
            LookupStartError: there is nothing to look things up in.
        """
        settings = self._settings.server
        async with contextlib.AsyncExitStack() as stack:
            keeper = await self._keeper(stack)
            if isinstance(keeper, Keeper):
                await keeper.prepare()
            certificate = ServingCertificate(
                settings.cert_file, settings.key_file, metrics=self._metrics, log=self._log
            )
            admission = bound(settings.host, settings.port, "port", stack)
            metrics = bound(settings.metrics_host, settings.metrics_port, "metricsPort", stack)
            stop = _Stop(settings.drain_seconds, self._lifecycle, self._log)
            lookup = self._lookup()
            stack.push_async_callback(lookup.stop)
            await lookup.start()
            self._metrics.show_synced(lambda: lookup.synced)
            metrics_server = ScrapeServer(self._metrics.registry, metrics)
            metrics_server.start()
            stack.callback(metrics_server.stop)
            self._background(certificate.watch(settings.reload_seconds), "certificate reload", stop, stack)
            if keeper is not None:
                self._background(keeper.run(), "certificates", stop, stack)
            self._background(self._announce(lookup, keeper), "", stop, stack)
            server = _Server(
                self._config(lookup, certificate), self._limits(), stop, metrics=self._metrics, log=self._log
            )
            stop.server = server
            self._log.info(
                "listening",
                version=__version__,
                port=admission.getsockname()[1],
                metrics_port=metrics.getsockname()[1],
                source=self._settings.lookup.source,
            )
            await server.serve(sockets=[admission])
        if stop.failed:
            raise StartError(f"{stop.failed} ended unexpectedly; the log says more")
        self._log.info("stopped")

    def _limits(self) -> PortLimits:
        """Return the port's limits, with no more connections than there can be open files."""
        limits = self._settings.server.port_limits()
        possible = memory.raise_file_limit(limits.connections)
        if possible < limits.connections:
            self._log.warning("too few open files are allowed for maxConnections", connections=possible)
        memory.keep_returning()
        return replace(
            limits,
            connections=possible,
            connections_per_address=min(possible, limits.connections_per_address),
        )

    async def _keeper(self, stack: contextlib.AsyncExitStack) -> Keeper | Observer | None:
        """Return who makes the certificate, or looks whether it is trusted, where either is to be done."""
        settings = self._settings.certificates
        if not settings.namespace:
            return None
        api = await ApiServer.connect(self._settings.lookup.kubeconfig, "trustbind-webhook")
        stack.push_async_callback(api.close)
        metrics = CertificateMetrics(self._metrics.registry)
        if settings.mode == "files":
            return Observer(api, settings, self._settings.server, metrics=metrics, log=self._log)
        self._lifecycle.waiting_for = "the webhook configurations do not trust the certificate yet"
        return Keeper(api, settings, self._settings.server, metrics=metrics, log=self._log)

    def _lookup(self) -> Lookup:
        lookup = self._plain_lookup()
        if not self._settings.compatibility.is_used:
            return lookup

        def restarted(resource: str, cause: str) -> None:
            self._metrics.watch_restarts.labels(resource, cause).inc()

        return CompatibleLookup(
            lookup,
            self._settings.compatibility,
            AnnotationKeys.under(self._settings.injection.annotation_prefix),
            restarted=restarted,
            log=self._log,
            kubeconfig=self._settings.lookup.kubeconfig,
            late_seconds=self._settings.lookup.late_seconds,
        )

    def _plain_lookup(self) -> Lookup:
        settings, prefix = self._settings.lookup, self._settings.injection.annotation_prefix
        url = self._settings.validation.issuer
        issuer = Issuer.parse(url) if url else None
        if settings.source == "files":
            return FileLookup(settings.manifests, prefix, issuer=issuer, metrics=self._metrics, log=self._log)
        return ClusterLookup(settings, prefix, issuer=issuer, metrics=self._metrics, log=self._log)

    def _config(self, lookup: Lookup, certificate: ServingCertificate) -> uvicorn.Config:
        app = create_app(
            lookup,
            self._settings.injection_settings(),
            metrics=self._metrics,
            log=self._log,
            lifecycle=self._lifecycle,
        )
        return uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=round(self._settings.server.grace_seconds),
            ssl_context_factory=lambda _config, _default: certificate.context,
        )

    async def _announce(self, lookup: Lookup, keeper: Keeper | Observer | None) -> None:
        """Log once when reviews are welcome."""
        await lookup.wait_synced()
        if isinstance(keeper, Keeper):
            await keeper.announced.wait()
            self._lifecycle.waiting_for = ""
        self._log.info("ready")

    def _background(
        self, work: Coroutine[Any, Any, None], name: str, stop: _Stop, stack: contextlib.AsyncExitStack
    ) -> None:
        """Run ``work`` until the end; one with a name must not end before."""
        task = asyncio.create_task(work)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("background work failed", work=name, exc_info=error)
                stop.fail(name or "start")

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

        task.add_done_callback(ended)
        stack.push_async_callback(end)
