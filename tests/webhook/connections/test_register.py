"""Who has to go when there is no room: decided without a network."""

from __future__ import annotations

import ctypes
import io
import resource

import pytest

from support.lookups import Clock
from trustbind_runtime.logs import logger
from trustbind_runtime.settings import Log
from trustbind_webhook.connections import memory
from trustbind_webhook.connections.limits import PortLimits
from trustbind_webhook.connections.register import Register
from trustbind_webhook.metrics import Metrics


class Peer:
    """A connection that notes what is done to it."""

    def __init__(self, register: Register[Peer], address: str, since: float = 0.0) -> None:
        self.register = register
        self.address = address
        self.since = since
        self.deadline = 1e9
        self.answering = False
        self.held = 0
        self.done: list[str] = []

    def end(self, cause: str) -> None:
        """Note it."""
        self.done.append(f"end {cause}".strip())

    def expire(self, now: float) -> None:  # noqa: ARG002 - as every connection
        """Note it."""
        self.done.append("expire")
        self.deadline = 1e9

    def overloaded(self) -> None:
        """Note it."""
        self.done.append("overloaded")


class Scene:
    """A register with a clock that is moved by hand."""

    def __init__(self, **limits: int) -> None:
        self.clock = Clock()
        self.trims = 0
        self.log = io.StringIO()
        self.register: Register[Peer] = Register(
            PortLimits(**limits),
            metrics=Metrics(),
            log=logger(Log(), self.log),
            clock=self.clock,
            trim=self.trim,
        )

    def trim(self) -> None:
        """Count it."""
        self.trims += 1

    def peer(self, address: str = "a", since: float = 0.0) -> Peer:
        """Return a connection that was admitted."""
        peer = Peer(self.register, address, since)
        assert self.register.admit(peer)
        return peer

    def sweep(self, seconds: float = 0.5) -> None:
        """Let time pass and sweep."""
        self.clock.now += seconds
        self.register.sweep(self.clock.now)


def test_after_a_stall_what_has_arrived_is_read_before_anybody_is_closed() -> None:
    """One sweep is passed over; where stalls go on, the next one is not."""
    scene = Scene()
    peer = scene.peer()
    peer.deadline = scene.clock.now + 1
    scene.sweep(30)
    assert not peer.done
    scene.sweep(30)
    assert peer.done == ["expire"]


def test_a_newcomer_of_the_largest_address_displaces_one_of_its_own() -> None:
    """Never one of a smaller address."""
    scene = Scene(connections=3, connections_per_address=3)
    small, first, second = scene.peer("small", 1), scene.peer("large", 2), scene.peer("large", 3)
    scene.peer("large", 4)
    assert (small.done, first.done, second.done) == ([], ["end"], [])
    scene.peer("new", 5)
    assert (small.done, second.done) == ([], ["end"])
    assert scene.register.count == 3


def test_of_those_that_came_at_once_the_first_one_goes() -> None:
    """The loop's clock may not tell them apart."""
    scene = Scene(connections_per_address=50)
    peers = [scene.peer() for _ in range(50)]
    for _ in range(5):
        scene.peer()
    assert [peer.done for peer in peers] == [["end"]] * 5 + [[]] * 45


def test_a_whole_request_is_never_refused_for_its_bytes() -> None:
    """Those that are not whole go first, however small; where there is none, there is nobody to refuse."""
    scene = Scene(body_bytes=100)
    whole, half = scene.peer("a"), scene.peer("b")
    scene.register.hold(whole, 90)
    whole.answering = True
    scene.register.hold(half, 11)
    assert (whole.done, half.done, scene.register.held) == ([], ["overloaded"], 90)
    other = scene.peer("b")
    scene.register.hold(other, 10)
    assert not other.done
    other.answering = True
    scene.register.hold(other, 10)
    assert scene.register.held == 110
    for peer in (whole, half, other, other):
        scene.register.drop(peer)
    assert (scene.register.held, scene.register.count) == (0, 0)


@pytest.mark.parametrize("what", ["bytes", "connections"])
@pytest.mark.parametrize("usual", [0, 300])
def test_memory_is_given_back_once_after_a_burst(what: str, usual: int) -> None:
    """Not while it lasts, not without one, and however many connections there are on a usual day."""
    scene = Scene()
    for number in range(usual):
        scene.peer(f"usual-{number}")
    scene.sweep()
    peers = [scene.peer() for _ in range(600 if what == "connections" else 1)]
    if what == "bytes":
        scene.register.hold(peers[0], 8 * 1024 * 1024)
    scene.sweep()
    assert scene.trims == 0
    for peer in peers:
        scene.register.drop(peer)
    scene.sweep()
    scene.sweep()
    assert scene.trims == 1


def test_a_limit_is_logged_once_a_minute() -> None:
    """A flood of the port is none of the log."""
    scene = Scene(connections=1, connections_per_address=1)
    for _ in range(50):
        scene.peer()
    assert scene.log.getvalue().count("displaced") == 1
    scene.clock.now += 60
    scene.peer()
    assert scene.log.getvalue().count("displaced") == 2


def test_words_to_the_system_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the C library is glibc or not; and fewer open files mean fewer connections."""
    memory.keep_returning()
    memory.trim()
    limits = {"now": (512, 1024)}
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, new: limits.update(now=new))
    assert memory.raise_file_limit(500) == 500
    assert limits["now"] == (756, 1024)
    assert memory.raise_file_limit(2048) == 768
    assert limits["now"] == (1024, 1024)
    assert memory.raise_file_limit(100) == 100
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: None)
    memory.keep_returning()
    memory.trim()
