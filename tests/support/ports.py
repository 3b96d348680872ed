"""The admission port with limits of a test's own, on an event loop of its own, over plain TCP or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
import uvloop

from support.processes import eventually
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.connections.port_server import PortServer
from trustbind_webhook.metrics import Metrics

__all__ = ["Port", "answer", "port", "request"]

_SECONDS: Final = 20.0


class Port:
    """A port that is served, and an application behind it that can be held up.

    Requests for ``/hold`` are answered when `release` is set, those for ``/large`` with ten million bytes, those for
    ``/early`` before their body is there; all others with the size of their body.
    """

    def __init__(self, limits: PortLimits, context: ssl.SSLContext | None = None) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.log = io.StringIO()
        self.bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.number: int = self.bound.getsockname()[1]
        self.release = threading.Event()
        self.begun = 0
        self.server: PortServer | None = None
        self._context = context
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Serve; return when connections are accepted."""
        self._thread.start()
        eventually(lambda: self.server is not None and self.server.started, "the port is served")

    def stop(self) -> None:
        """End it, and close what was connected."""
        for client in self._clients:
            client.close()
        self.release.set()
        if self.server is not None:
            self.server.should_exit = True
        self._thread.join()
        self.bound.close()

    def connect(self, *sent: bytes, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection from an address of this machine over which ``sent`` was sent."""
        connection = socket.create_connection(("127.0.0.1", self.number), _SECONDS, source_address=(source, 0))
        self._clients.append(connection)
        for part in sent:
            connection.sendall(part)
        return connection

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def connections(self) -> int:
        """How many there are."""
        return int(self.sample("trustbind_webhook_connections"))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        context = self._context
        config = uvicorn.Config(
            self._application,
            lifespan="off",
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
            timeout_graceful_shutdown=1,
        )
        server = PortServer(config, self.limits, metrics=self.metrics, log=logger(Log(level="debug"), self.log))
        self.server = server
        await server.serve(sockets=[self.bound])

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun += 1
        size = 0
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] != "http.request":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        while scope["path"] == "/hold" and not self.release.is_set():  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(0.005)
        body = b"x" * 10_000_000 if scope["path"] == "/large" else json.dumps({"size": size}).encode()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def port(context: ssl.SSLContext | None = None, **limits: Any) -> Iterator[Port]:
    """Serve a port with these limits until the block ends."""
    result = Port(PortLimits(**limits), context)
    result.start()
    try:
        yield result
    finally:
        result.stop()


def request(path: str = "/", body: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a request; with ``length``, its head says so whatever the body has."""
    size = len(body) if length is None else length
    return b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), size) + body


def answer(connection: socket.socket) -> tuple[int, Any, bool]:
    """Return status and JSON of the next answer, and whether it says that the connection ends.

    Status 0 and None stand for a connection that ended without an answer.
    """
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:
                return 0, None, True
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65536)
    except ConnectionError:
        return 0, None, True
    return int(lines[0].split(" ")[1]), json.loads(body), headers.get("connection") == "close"
