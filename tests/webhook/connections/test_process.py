"""The limits of the port of a whole webhook, over TLS: what one pod does to it, and what others notice."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import webhooks
from support.certs import Authority
from support.ports import answer, request
from support.processes import eventually
from support.webhooks import Webhook

REVIEW = (Path(__file__).parents[2] / "data/reviews/deployment-pod-with-sidecar.json").read_bytes()
MANIFEST = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "checkout", "namespace": "shop"}}
JSON_HEAD = b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
BODY = 3_000_000


@contextlib.contextmanager
def running(directory: Path, **server: float) -> Iterator[Webhook]:
    """Run a webhook that knows one account."""
    (directory / "manifest.json").write_text(json.dumps(MANIFEST))
    authority = Authority()
    lookup = {"source": "files", "manifests": [str(directory / "manifest.json")]}
    with webhooks.running(directory, authority, authority.issue(), lookup=lookup, **server) as webhook:
        yield webhook


def resident(webhook: Webhook) -> float:
    """Return the MiB that the process has in memory."""
    status = Path(f"/proc/{webhook.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def connect(webhook: Webhook) -> socket.socket:
    """Return a connection over TLS."""
    raw = socket.create_connection(("127.0.0.1", webhook.port), 20)
    return webhook.context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_memory_comes_back_after_a_burst(tmp_path: Path) -> None:
    """Bodies that are held back are bounded together; when they are gone, so is their memory; reviews go on."""
    with running(tmp_path, maxBodyBytes=32 * 1024 * 1024) as webhook, contextlib.ExitStack() as stack:
        assert webhook.call(REVIEW)[0] == 200
        before = resident(webhook)
        clients = [stack.enter_context(connect(webhook)) for _ in range(60)]
        for client in clients:
            with contextlib.suppress(OSError):  # refused before the whole was sent
                client.sendall(JSON_HEAD % BODY + b"x" * (BODY - 1))
        during = resident(webhook)
        assert webhook.call(REVIEW)[0] == 200
        metrics = webhook.metrics()
        held = float(metrics.partition("\ntrustbind_webhook_body_bytes ")[2].split("\n")[0])
        assert 0 < held <= 32 * 1024 * 1024
        assert 'trustbind_webhook_refused_requests_total{status="503"}' in metrics
        assert during - before < 100
        for client in clients:
            client.close()
        eventually(lambda: resident(webhook) < before + 24, "memory is back", seconds=30)
        assert webhook.call(REVIEW)[0] == 200


def test_idle_and_half_open_connections_do_not_stay(tmp_path: Path) -> None:
    """Whether they have shaken hands, sent half a head, or nothing at all; others are served meanwhile."""
    with running(tmp_path, requestSeconds=3, idleSeconds=3) as webhook, contextlib.ExitStack() as stack:
        before = resident(webhook)
        raw = [stack.enter_context(socket.create_connection(("127.0.0.1", webhook.port), 20)) for _ in range(100)]
        silent = [stack.enter_context(connect(webhook)) for _ in range(100)]
        half = [stack.enter_context(connect(webhook)) for _ in range(50)]
        for client in half:
            client.sendall(b"POST /mutate HTTP/1.1\r\nhost: x\r\nx: ")
        assert webhook.call(REVIEW)[0] == 200
        assert [answer(client)[0] for client in half] == [408] * 50
        assert [client.recv(1) for client in silent] == [b""] * 100
        for client in raw:
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
        eventually(lambda: "\ntrustbind_webhook_connections 0.0\n" in webhook.metrics(), "none is left")
        assert resident(webhook) < before + 40


@pytest.mark.parametrize("what", ["url", "value", "lines", "pipelined"])
def test_a_flood_on_one_connection_holds_up_nobody(tmp_path: Path, what: str) -> None:
    """The webhook reads no more of it than its limits, and answers others all the while."""
    begin, piece = {
        "url": (b"POST /", b"a" * 1_000_000),
        "value": (b"POST /mutate HTTP/1.1\r\nhost: x\r\nbig: ", b"a" * 1_000_000),
        "lines": (
            b"POST /mutate HTTP/1.1\r\nhost: x\r\n",
            b"".join(b"h%d: %s\r\n" % (n, b"a" * 999) for n in range(999)),
        ),
        "pipelined": (b"", request("/healthz") * 10_000),
    }[what]
    with running(tmp_path) as webhook:
        before = resident(webhook)
        cut = threading.Event()

        def flood() -> None:
            with connect(webhook) as client:
                try:
                    client.sendall(begin)
                    for _ in range(20_000):
                        client.sendall(piece)
                except OSError:
                    cut.set()

        thread = threading.Thread(target=flood)
        thread.start()
        for _ in range(20):
            assert webhook.call(REVIEW)[0] == 200
        thread.join()
        assert cut.is_set()
        assert resident(webhook) < before + 24
