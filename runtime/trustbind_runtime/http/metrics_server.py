"""The small plain-HTTP server for Prometheus and for probes, in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

__all__ = ["Probe", "ScrapeServer"]

Probe = Callable[[], tuple[bool, str]]
"""Says whether all is well, and one sentence."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Silent(WSGIRequestHandler):
    """Scrapes are not worth a line of log each."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the overridden method's name for it
        """Write nothing."""


class ScrapeServer:
    """Serves a registry, and probes, over plain HTTP from a thread of its own, on a socket that is bound already.

    Args:
        registry: shown under every path that is not a probe's.
        bound: a listening socket; closed by `stop`.
        probes: path to a function that says whether all is well, and one sentence; answered with 200 or 503.
    """

    def __init__(
        self, registry: CollectorRegistry, bound: socket.socket, probes: Mapping[str, Probe] | None = None
    ) -> None:
        self._server = ThreadingWSGIServer(bound.getsockname()[:2], _Silent, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = bound
        self._server.server_name, self._server.server_port = bound.getsockname()[:2]
        WSGIServer.setup_environ(self._server)
        self._server.set_app(_application(make_wsgi_app(registry), probes or {}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _application(metrics: Any, probes: Mapping[str, Probe]) -> Application:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        probe = probes.get(environ.get("PATH_INFO", ""))
        if probe is None:
            shown: Iterable[bytes] = metrics(environ, start_response)
            return shown
        well, sentence = probe()
        start_response("200 OK" if well else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{sentence}\n".encode()]

    return application
