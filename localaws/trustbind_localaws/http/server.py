"""HTTP/1.1 on the loopback address: a thread per connection, kept alive, closed on stop."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast
from urllib.parse import urlsplit

from trustbind_localaws.http.control_api import PREFIX, Admin
from trustbind_localaws.http.dispatcher import Dispatcher
from trustbind_localaws.protocol.query import Response, credential_scope
from trustbind_localaws.protocol.rest_json import REST_SERVICES
from trustbind_localaws.state.faults import DroppedError

__all__ = ["Server"]

_HOST: Final = "127.0.0.1"
_LOG = logging.getLogger(__name__)


class Server:
    """Serves a dispatcher and an admin.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, dispatcher: Dispatcher, admin: Admin) -> None:
        self._http = _Http((_HOST, port), _Handler)
        self._http.dispatcher = dispatcher
        self._http.admin = admin
        self._thread = threading.Thread(target=self._serve, name="localaws", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._http.server_address[1])

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, close every connection, and wait for the threads."""
        self._http.shutdown()
        self._thread.join()
        self._http.close_connections()
        self._http.server_close()

    def _serve(self) -> None:
        self._http.serve_forever(poll_interval=0.05)


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them, once their connections are shut
    request_queue_size = 256
    dispatcher: Dispatcher
    admin: Admin

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class passes both
        if not isinstance(sys.exception(), ConnectionError):
            _LOG.exception("request of %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per answer
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        http = cast("_Http", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith(PREFIX):
            self._send(http.admin.handle(self.command, self.path, body))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = urlsplit(self.path).query
        rest = credential_scope(headers.get("authorization", ""))[2] in REST_SERVICES
        if self.command == "GET" and "X-Amz-Credential=" in query:
            body = query.encode()  # presigned: as EKS sends on to STS what a client brings as its token
        elif self.command != "POST" and not rest:
            self._send(Response(404, b"This is a local AWS. It takes POST from AWS SDKs.\n", "text/plain"))
            return
        try:
            response = (
                http.dispatcher.handle_rest(self.command, self.path, headers, body)
                if rest
                else http.dispatcher.handle(headers, body)
            )
        except DroppedError:
            self.close_connection = True
            _shut(self.connection)
            return
        self._send(response)

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: the journal has the calls."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other end was faster
        _LOG.debug("connection was closed already")
