"""Listening sockets, bound before anything else starts, so that a port that is taken is told at once."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from trustbind.errors import TrustbindError

__all__ = ["PortError", "bound"]

_BACKLOG: Final = 1024


class PortError(TrustbindError):
    """A port cannot be listened on; ``str()`` of it is one sentence that names the setting."""


def bound(host: str, port: int, setting: str, stack: contextlib.AsyncExitStack) -> socket.socket:
    """Return a listening socket, closed with ``stack``; an empty host means every address, IPv4 and IPv6.

    Raises:
        PortError: the port is taken, or the address is not ours.
    """
    try:
        if host:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        elif socket.has_dualstack_ipv6():
            listening = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        else:
            listening = socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        where = f"{host or 'every address'} port {port}"
        reason = (error.strerror or str(error)).split(" (while", 1)[0]
        raise PortError(f"cannot listen on {where}: {reason}; see server.{setting}") from None
    stack.callback(listening.close)
    return listening
