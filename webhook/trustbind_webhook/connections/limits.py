"""The limits of the admission port as one value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PortLimits"]


@dataclass(frozen=True, slots=True)
class PortLimits:
    """What one connection, one address and all of them together may take.

    Attributes:
        head_bytes: of a request besides its body: request line, headers, chunk sizes and trailers.
        request_line_bytes: of the URL, which is nearly all of the request line.
        request_seconds: from the first byte of a request to its last one; also for a TLS handshake, and for a client
            to read an answer that does not fit into the socket's buffer.
        idle_seconds: between two requests, and before the first one.
        connections: of all addresses.
        connections_per_address: of one address.
        body_bytes: of all bodies that have arrived, in part or whole, and are not answered yet.
    """

    head_bytes: int = 16 * 1024
    request_line_bytes: int = 2 * 1024
    request_seconds: float = 10.0
    idle_seconds: float = 120.0
    connections: int = 2048
    connections_per_address: int = 1024
    body_bytes: int = 64 * 1024 * 1024
