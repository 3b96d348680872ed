"""uvicorn's protocol with limits: on the head, on time, and on what a client may send before it has its answer."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trustbind_webhook.admission.review import MAX_BODY_BYTES
from trustbind_webhook.connections.limits import PortLimits

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from trustbind_webhook.connections.register import Register

__all__ = ["Connection"]

_MAX_HEADERS: Final = 100
"""Headers of a request, trailers included. In memory a header of four bytes takes some two hundred."""

_LARGE_BYTES: Final = 32 * 1024
"""Body after which a connection is not kept: TLS keeps a buffer as large as the largest piece that it ever read."""

_GOODBYE_SECONDS: Final = 5.0
"""For a connection that we close to be gone; then it is cut."""

_encode = msgspec.json.Encoder().encode

_PIPELINED: Final = (400, "a request came before the answer to the one before it")
_BAD: Final = (400, "this is not HTTP/1.1")
_UPGRADE: Final = (400, "the protocol of this connection cannot be changed")


class _StopError(Exception):
    """Makes the parser stop; what is to be answered is in the connection."""


class Connection(HttpToolsProtocol):
    """One connection of the admission port.

    It has one deadline at any time, which the register looks at: no timer is set and cancelled for each request.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        address: of the client.
        register: where it counts.
        limits: of the port.

    Attributes:
        handshake: the task that shakes hands, while it does.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        address: str,
        register: Register[Connection],
        limits: PortLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self.address = address
        self.since = loop.time()
        self.deadline = self.since + limits.request_seconds
        self.answering = False
        self.held = 0
        self.handshake: asyncio.Task[None] | None = None
        self._register = register
        self._limits = limits
        # A request may be: not begun, coming in, whole; and its answer may come before its end.
        self._between = True
        self._under_way = False
        self._discarding = False
        self._ended = False
        self._room = limits.head_bytes
        self._thrown_away = 0
        self._refusal: tuple[int, str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self.deadline = self.since + self._limits.idle_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave nothing behind: not in the register, and no body for the garbage collector to find."""
        super().connection_lost(exc)
        self._ended = True
        self._register.drop(self)
        if self._under_way:
            self.cycle.body = bytearray()

    def data_received(self, data: bytes) -> None:
        """Read what came, as far as there is room for it."""
        if self._ended:
            return
        if self._between:
            if self._under_way:
                self._refuse(*_PIPELINED)
                return
            self._between = self._discarding = False
            self._room = self._limits.head_bytes
            self._thrown_away = 0
            self.deadline = self.loop.time() + self._limits.request_seconds
        if len(data) <= self._room:
            self._feed(data)
            return
        # The parser never gets more at once than there is room for: it would join a long header piece by piece.
        rest = memoryview(data)
        while rest and not self._ended:
            piece, rest = rest[: self._room], rest[self._room :]
            self._feed(piece)

    def on_message_begin(self) -> None:
        """Begin a request, unless it came in one piece with the end of another."""
        if self._between:
            self._stop(*_PIPELINED)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        super().on_url(url)
        if len(self.url) > self._limits.request_line_bytes:
            self._stop(414, f"the URL is longer than {self._limits.request_line_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        if len(self.headers) >= _MAX_HEADERS:
            self._stop(431, f"there are more than {_MAX_HEADERS} headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over."""
        if self.parser.should_upgrade():
            self._stop(*_UPGRADE)
        super().on_headers_complete()
        self._under_way = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; one that is not wanted any more is thrown away, within bounds."""
        size = len(body)
        self._room += size
        if self._discarding:
            self._thrown_away += size
            if self._thrown_away > MAX_BODY_BYTES:
                self.end("late")
                raise _StopError
            return
        self._register.hold(self, size)
        if self._ended:
            raise _StopError
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the answer, as long as that takes."""
        self._between = True
        if self._discarding:
            self._rest()
            return
        self.answering = True
        self.deadline = math.inf
        if self.held > _LARGE_BYTES:
            self.cycle.keep_alive = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request. In place of uvicorn's own, which would set a timer."""
        self.server_state.total_requests += 1
        self.answering = self._under_way = False
        self._discarding = not self._between
        self._register.release(self)
        if self.transport.is_closing():
            self._leave()
            return
        self.flow.resume_reading()
        if self._between:
            self._rest()

    def pause_writing(self) -> None:
        """Wait for the client to read, but not for ever."""
        super().pause_writing()
        self.deadline = self.loop.time() + self._limits.request_seconds

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self.answering:
            self.deadline = math.inf
        elif self._between:
            self._rest()

    def end(self, cause: str) -> None:
        """Close at once; with a cause, count it."""
        if cause:
            self._register.ended(cause)
        self._ended = True
        if self.handshake is not None:
            self.handshake.cancel()
        elif self.transport is not None:
            self.transport.abort()

    def expire(self, now: float) -> None:
        """Close what waited for its client in vain: politely between requests, with a sentence within one."""
        if self._ended or self.handshake is not None or self.flow.write_paused:
            self.end("late")
        elif self._between:
            self._register.ended("idle")
            self._ended = True
            self._leave()
            self.transport.close()
        elif self._discarding:
            self.end("late")
        else:
            self._refuse(408, f"the request did not arrive within {self._limits.request_seconds:g} s")
        self.deadline = max(self.deadline, now + _GOODBYE_SECONDS)

    def overloaded(self) -> None:
        """Refuse the request that is coming in."""
        self._refuse(503, "too many bytes of requests are in flight; try again")

    def _feed(self, piece: bytes | memoryview) -> None:
        self._room -= len(piece)
        try:
            self.parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(*(self._refusal or _BAD))
            return
        if self._room <= 0 and not self._between:
            self._refuse(431, f"the request has more than {self._limits.head_bytes} bytes besides its body")

    def _stop(self, status: int, sentence: str) -> None:
        self._refusal = (status, sentence)
        raise _StopError

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer what cannot become a request, and close."""
        if self._ended:
            return
        self._ended = True
        self._leave()
        self._register.refused(status)
        if self._under_way:
            cycle = self.cycle
            if self._between:  # its request is whole, and its answer comes first
                cycle.keep_alive = False
                self.flow.pause_reading()
                self.deadline = math.inf
                return
            cycle.disconnected = True
            cycle.message_event.set()
            cycle.body = bytearray()
            if cycle.response_started:
                self.transport.abort()
                return
        self._register.release(self)
        answer = _encode({"error": sentence})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(answer)
        self.transport.write(b"".join((STATUS_LINE[status], head, answer)))
        self.transport.close()

    def _rest(self) -> None:
        self.since = self.loop.time()
        if not self.flow.write_paused:  # else the client has to read its answer first
            self.deadline = self.since + self._limits.idle_seconds

    def _leave(self) -> None:
        self.deadline = self.loop.time() + _GOODBYE_SECONDS
