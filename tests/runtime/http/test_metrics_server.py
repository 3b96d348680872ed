"""Metrics and probes over plain HTTP; listening sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from trustbind_runtime.http.listener import PortError, bound
from trustbind_runtime.http.metrics_server import Probe, ScrapeServer


@contextlib.contextmanager
def serving(registry: CollectorRegistry, probes: dict[str, Probe] | None = None) -> Iterator[int]:
    """Serve and give the port."""
    with contextlib.ExitStack() as stack:
        listening = socket.create_server(("127.0.0.1", 0))
        server = ScrapeServer(registry, listening, probes)
        server.start()
        stack.callback(server.stop)
        yield listening.getsockname()[1]


def got(port: int, path: str) -> tuple[int, str, str]:
    """Return status, content type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def test_metrics() -> None:
    """As they are when they are asked for."""
    registry = CollectorRegistry()
    counter = Counter("cakes", "Cakes.", registry=registry)
    with serving(registry) as port:
        counter.inc(3)
        status, kind, body = got(port, "/metrics")
    assert (status, "cakes_total 3.0" in body) == (200, True)
    assert kind.startswith("text/plain")


def test_probes() -> None:
    """200 or 503, with a sentence, as it is when it is asked for; probes need no metrics."""
    well = True

    def ready() -> tuple[bool, str]:
        return well, "working" if well else "starting"

    with serving(CollectorRegistry(), {"/readyz": ready, "/healthz": lambda: (True, "alive")}) as port:
        assert got(port, "/readyz") == (200, "text/plain; charset=utf-8", "working\n")
        well = False
        assert got(port, "/readyz")[::2] == (503, "starting\n")
        assert got(port, "/readyz?verbose")[0] == 503
        assert got(port, "/healthz")[::2] == (200, "alive\n")


def test_stopped() -> None:
    """The port is free again."""
    with serving(CollectorRegistry()) as port:
        assert got(port, "/metrics")[0] == 200
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_bound(host: str) -> None:
    """Listens at once; an empty host means every address."""
    with contextlib.ExitStack() as outer:
        stack = contextlib.AsyncExitStack()
        listening = bound(host, 0, "port", stack)
        outer.callback(listening.close)
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_port_is_taken(host: str) -> None:
    """One sentence that names address, port and setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError) as caught:
            bound(host, port, "metricsPort", contextlib.AsyncExitStack())
    assert str(caught.value) == (
        f"cannot listen on {host or 'every address'} port {port}: Address already in use; see server.metricsPort"
    )


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_address_is_not_ours(host: str) -> None:
    """Neither a name that nobody knows nor somebody else's address."""
    with pytest.raises(PortError, match=f"cannot listen on {host} port 0: .*; see server.port"):
        bound(host, 0, "port", contextlib.AsyncExitStack())
