"""uvicorn's server with the limits of the admission port."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import uvicorn

from trustbind_runtime.logs import Logger
from trustbind_webhook.connections import memory
from trustbind_webhook.connections.acceptor import Acceptor
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.connections.protocol import Connection
from trustbind_webhook.connections.register import Register
from trustbind_webhook.metrics import Metrics

__all__ = ["PortServer"]

_TICKS: Final = 5
"""Ticks of uvicorn's main loop, which makes ten a second, between two sweeps of the connections."""


class PortServer(uvicorn.Server):
    """uvicorn's server behind a port with limits.

    Args:
        config: uvicorn's.
        limits: of the port.
        metrics: where connections are shown and counted.
        log: of limits that are met.
    """

    def __init__(self, config: uvicorn.Config, limits: PortLimits, *, metrics: Metrics, log: Logger) -> None:
        super().__init__(config)
        self._limits = limits
        self._log = log
        self.register: Final[Register[Connection]] = Register(
            limits, metrics=metrics, log=log, clock=asyncio.get_running_loop().time, trim=memory.trim
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept on ``sockets``, which are bound."""
        await super().startup(sockets=[])
        for listening in sockets or ():
            acceptor = Acceptor(
                listening,
                self.config.ssl,
                self._connection,
                self.register,
                handshake_seconds=self._limits.request_seconds,
                log=self._log,
            )
            # uvicorn closes it, and waits for that; it asks for no more of a Server.
            self.servers.append(acceptor)  # type: ignore[arg-type]
            acceptor.start()

    async def on_tick(self, counter: int) -> bool:
        """Look at every connection's deadline, twice a second."""
        if counter % _TICKS == 0:
            self.register.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def _connection(self, address: str) -> Connection:
        return Connection(
            self.config,
            self.server_state,
            address=address,
            register=self.register,
            limits=self._limits,
            loop=asyncio.get_running_loop(),
        )
