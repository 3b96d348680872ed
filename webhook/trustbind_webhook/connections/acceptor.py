"""Takes connections in one by one, so that each is counted by its address before its TLS handshake costs anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from trustbind_runtime.logs import Logger
from trustbind_webhook.connections.protocol import Connection
from trustbind_webhook.connections.register import Register

__all__ = ["Acceptor"]

_AT_ONCE: Final = 64
"""Connections taken in before the loop does something else."""

_PAUSE_SECONDS: Final = 1.0
"""After the kernel had no room for another connection, such as no file descriptor; as asyncio does it."""

_SHUTDOWN_SECONDS: Final = 0.5
"""For a client to answer our goodbye on a TLS connection, while what it sends is read and dropped; uvloop's own default
is 30."""


class Acceptor:
    """A listening socket's connections; what uvicorn has in place of it is asyncio's ``Server``.

    Args:
        listening: the socket.
        context: of TLS; None: none.
        make: returns the protocol of a new connection from the address of its client.
        register: decides whether there is room.
        handshake_seconds: for a TLS handshake.
        log: of a kernel that has no room.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        make: Callable[[str], Connection],
        register: Register[Connection],
        *,
        handshake_seconds: float,
        log: Logger,
    ) -> None:
        self._listening = listening
        self._context = context
        self._make = make
        self._register = register
        self._handshake_seconds = handshake_seconds
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._open = False
        self._handshakes: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to take connections in."""
        self._listening.settimeout(0)
        self._open = True
        self._loop.add_reader(self._listening, self._ready)

    def close(self) -> None:
        """Take no more in; handshakes go on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Give up the handshakes that are still under way."""
        for task in list(self._handshakes):
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._log.warning("cannot accept connections; trying again", problem=error.strerror or str(error))
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_PAUSE_SECONDS, self._again)
                return
            accepted.settimeout(0)
            self._take(accepted, str(address[0]))

    def _again(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._ready)

    def _take(self, accepted: socket.socket, address: str) -> None:
        connection = self._make(address)
        if not self._register.admit(connection):
            accepted.close()
            return
        task = self._loop.create_task(self._connect(connection, accepted))
        connection.handshake = task
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        """Shake hands; from then on the connection looks after itself."""
        timeouts = (
            {"ssl_handshake_timeout": self._handshake_seconds, "ssl_shutdown_timeout": _SHUTDOWN_SECONDS}
            if self._context
            else {}
        )
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._context, **timeouts)
        except (OSError, asyncio.CancelledError) as error:  # an SSLError is an OSError
            self._register.drop(connection)
            with contextlib.suppress(OSError):
                accepted.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            self._register.ended("handshake")
        finally:
            connection.handshake = None
