"""The connections of the port and the bytes that each one holds; decides which one is closed when there is no room.

Any pod of the cluster can reach the port, and callers have no credentials. A limit alone would be a way to lock the API
server out. Here a new connection is accepted as long as another one waits for its own client: the address with the most
connections loses the one that is idle longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from trustbind_runtime.logs import Logger
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.metrics import Metrics

__all__ = ["Peer", "Register"]

_WARN_SECONDS: Final = 60.0
"""Between two log lines about the same limit: a flood of the port must not flood the log."""

_STALL_SECONDS: Final = 2.0
"""A sweep that is late by more than this comes after a stall of the event loop: what has arrived meanwhile is read
before a connection is closed for silence."""

_BURST_BYTES: Final = 8 * 1024 * 1024
_BURST_CONNECTIONS: Final = 256
"""After that many, when most of them are gone, the allocator is asked to give its free pages back."""


class Peer(Protocol):
    """One connection as the register sees it.

    Attributes:
        address: of the client, without its port.
        since: when it last became idle, or was accepted; seconds on the loop's clock.
        deadline: when `expire` is due, on the same clock.
        answering: whether a whole request is there that is not answered yet; such a connection waits for us.
        held: bytes of its request's body that are in memory.
    """

    address: str
    since: float
    deadline: float
    answering: bool
    held: int

    def end(self, cause: str) -> None:
        """Close at once, without a word to the client."""

    def expire(self, now: float) -> None:
        """Do what its passed deadline asks for."""

    def overloaded(self) -> None:
        """Refuse its request, which is not whole yet, since there are too many bodies in memory."""


P = TypeVar("P", bound=Peer)


class Register(Generic[P]):
    """The connections of the port.

    Args:
        limits: of the port.
        metrics: where connections and bytes are shown, and ends are counted.
        log: of limits that are met, once a minute each.
        clock: of the loop.
        trim: gives free memory back to the operating system.
    """

    def __init__(
        self,
        limits: PortLimits,
        *,
        metrics: Metrics,
        log: Logger,
        clock: Callable[[], float],
        trim: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._trim = trim
        self._peers: dict[str, dict[P, None]] = {}
        """By address, in the order in which they were accepted: of two that are idle as long, the first one goes. The
        loop's clock may have milliseconds only."""
        self._count = 0
        self._held: dict[str, int] = {}
        self._bytes = 0
        self._logged: dict[str, float] = {}
        self._swept = clock()
        self._stalled = False
        self._most_bytes = 0
        self._most_connections = 0
        metrics.show_port(lambda: self._count, lambda: self._bytes)

    @property
    def count(self) -> int:
        """How many connections there are."""
        return self._count

    @property
    def held(self) -> int:
        """Bytes of bodies in memory."""
        return self._bytes

    def admit(self, peer: P) -> bool:
        """Return whether there is room for a new connection; another one may have been closed to make it."""
        own = self._peers.get(peer.address, {})
        crowd: dict[P, None] | None = None
        if len(own) >= self._limits.connections_per_address:
            crowd = own
        elif self._count >= self._limits.connections:
            crowd = max(self._peers.values(), key=len)
            if len(crowd) <= len(own):
                crowd = own
        if crowd is not None:
            victim = min((p for p in crowd if not p.answering), key=lambda p: p.since, default=None)
            if victim is None:
                self.ended("refused", address=peer.address, connections=self._count)
                return False
            self.ended("displaced", address=victim.address, connections=self._count)
            victim.end("")
            self.drop(victim)
        self._peers.setdefault(peer.address, {})[peer] = None
        self._count += 1
        self._most_connections = max(self._most_connections, self._count)
        return True

    def drop(self, peer: P) -> None:
        """Forget a connection and its body, if it is there."""
        self.release(peer)
        peers = self._peers.get(peer.address)
        if peers is None or peer not in peers:
            return
        del peers[peer]
        self._count -= 1
        if not peers:
            del self._peers[peer.address]

    def hold(self, peer: P, size: int) -> None:
        """Count bytes of a body; where there are too many, the address with the most of them loses a request."""
        peer.held += size
        self._held[peer.address] = self._held.get(peer.address, 0) + size
        self._bytes += size
        self._most_bytes = max(self._most_bytes, self._bytes)
        while self._bytes > self._limits.body_bytes:
            victim = max(
                (p for p in self._all() if p.held and not p.answering),
                key=lambda p: (self._held[p.address], p.held),
                default=None,
            )
            if victim is None:
                return
            self.warn("too many bytes of requests in flight", address=victim.address, bytes=self._bytes)
            victim.overloaded()
            self.release(victim)

    def release(self, peer: P) -> None:
        """Count the bytes of a connection's body no longer."""
        size, peer.held = peer.held, 0
        if not size:
            return
        self._bytes -= size
        left = self._held[peer.address] - size
        if left:
            self._held[peer.address] = left
        else:
            del self._held[peer.address]

    def sweep(self, now: float) -> None:
        """Close what has waited for its client too long, and give memory back after a burst. To be called often."""
        late = now - self._swept > _STALL_SECONDS
        self._swept = now
        if late and not self._stalled:
            self._stalled = True
            return
        self._stalled = False
        for peer in [p for p in self._all() if p.deadline <= now]:
            peer.expire(now)
        after_bytes = self._most_bytes >= max(_BURST_BYTES, 4 * self._bytes)
        if after_bytes or self._most_connections >= max(_BURST_CONNECTIONS, 2 * self._count):
            self._most_bytes, self._most_connections = self._bytes, self._count
            self._trim()

    def refused(self, status: int) -> None:
        """Count a request that was refused before it reached the application."""
        self._metrics.refused.labels(str(status)).inc()

    def ended(self, cause: str, **details: object) -> None:
        """Count a connection that we ended; with details, log that there was no room."""
        self._metrics.connections_ended[cause].inc()
        if details:
            self.warn(f"too many connections, one was {cause}", **details)

    def warn(self, event: str, **details: object) -> None:
        """Log a limit that is met, at most once a minute."""
        now = self._clock()
        if now - self._logged.get(event, -_WARN_SECONDS) >= _WARN_SECONDS:
            self._logged[event] = now
            self._log.warning(event, **details)

    def _all(self) -> Iterable[P]:
        return (peer for peers in self._peers.values() for peer in peers)
