"""How many calls go into one AWS account: a budget of calls a second, and a few threads.

IAM's own limits cannot be raised, and others in the AWS account need them, too. Both are handed out by namespace, one
namespace after the other, so that no namespace's calls wait for all of another's. Everything here runs on the event
loop; a thread gets values only.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, TypeVar

from trustbind.round_robin import RoundRobin

__all__ = ["CallLimiter", "Slot", "queue_as", "shared_queue"]

T = TypeVar("T")

THREADS: Final = 8
"""Calls of one AWS account at once; the budget of calls is the tighter bound."""

_SHARED: Final = ("",)
"""The queue of calls that are made for every namespace; it has its turns beside those of namespaces."""

_queues: ContextVar[Collection[str]] = ContextVar("queues", default=_SHARED)

_ROUNDING: Final = 1e-9


def queue_as(namespaces: Collection[str]) -> None:
    """Let the calls of this task, and of the tasks that it starts, wait in the queues of ``namespaces``.

    The first turn of any of them serves a call. So what several namespaces need does not wait for the busiest of them.
    """
    _queues.set(namespaces)


@contextmanager
def shared_queue() -> Iterator[None]:
    """Let calls wait in a queue of their own: others wait for their answer, whatever namespace needs it first."""
    before = _queues.set(_SHARED)
    try:
        yield
    finally:
        _queues.reset(before)


class Slot:
    """A thread of an AWS account's pool, and calls that are paid for.

    Args:
        calls: how many.
    """

    def __init__(self, calls: int) -> None:
        self._left = calls

    def spend(self) -> bool:
        """Take one of the calls; return False when none is left."""
        self._left -= 1
        return self._left >= 0


@dataclass(slots=True)
class _Waiter:
    calls: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def is_waiting(self) -> bool:
        return not self.turn.done()


class CallLimiter:
    """See the module. One for each AWS account.

    A slot is served when a thread is free and its calls are earned, so nothing that waits holds a thread. The order is
    round robin over the namespaces that wait, and first come, first served within one. Each step takes constant time.

    Args:
        per_second: calls in the long run.
        burst: calls at once after a quiet time.
        name: of the threads.
        threads: calls at once.
    """

    def __init__(
        self, per_second: float = 1000.0, burst: int = 1000, name: str = "aws", threads: int = THREADS
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._name = name
        self._threads = threads
        self._free = threads
        self._waiting: RoundRobin[_Waiter] = RoundRobin(lambda waiter: waiter.is_waiting)
        """By namespace, those that wait for a slot."""
        self._further: deque[_Waiter] = deque()
        """Holders of a slot that wait for further calls; they come first, since they hold a thread."""
        self._timer: asyncio.TimerHandle | None = None
        self._tokens = self._burst
        self._seen: float | None = None
        self._pool: ThreadPoolExecutor | None = None

    @asynccontextmanager
    async def slot(self, calls: int) -> AsyncIterator[Slot]:
        """Wait for a thread and for ``calls`` calls of the budget; nothing in the slot waits for either again."""
        await self._turn(_Waiter(calls), _queues.get())
        try:
            yield Slot(calls)
        finally:
            self._free += 1
            self._serve()

    @asynccontextmanager
    async def call(self, slot: Slot | None) -> AsyncIterator[None]:
        """Wait until one call may be sent: at once in a slot with calls left."""
        if slot is None:
            async with self.slot(1):
                yield
            return
        if not slot.spend():
            await self._turn(_Waiter(1), None)
        yield

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads and return what it returns; for the holder of a slot."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, self._name, _leave_signals_to_the_main_thread)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def close(self) -> None:
        """End the threads, and wait for the calls that are under way: a write that was sent may still take effect."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    def abandon(self) -> None:
        """End the threads without waiting for the calls that are under way."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _turn(self, waiter: _Waiter, namespaces: Collection[str] | None) -> None:
        """Wait until a waiter is served; of no namespace, it has a thread already."""
        if namespaces is None:
            self._further.append(waiter)
        for namespace in namespaces or ():
            self._waiting.add(namespace, waiter)
        self._serve()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if not waiter.turn.cancelled():  # it was served at the same time
                self._tokens += waiter.calls
                self._free += namespaces is not None
            self._serve()
            raise

    def _serve(self) -> None:
        """Serve those that wait, as far as threads and budget go; be called again once the next call is earned."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._further and not self._further[0].is_waiting:
            self._further.popleft()
        while True:
            if self._further:
                if not self._pay(self._further[0]):
                    return
                self._further.popleft()
                continue
            following = self._waiting.first() if self._free > 0 else None
            if following is None or not self._pay(following[1]):
                return
            self._waiting.take()
            self._free -= 1

    def _pay(self, waiter: _Waiter) -> bool:
        """Serve a waiter when its calls are earned; else return False, and `_serve` is called when they are."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        earned = 0.0 if self._seen is None else max(0.0, now - self._seen) * self._per_second
        # A slot of more calls than the burst saves them up.
        self._tokens = min(max(self._burst, float(waiter.calls)), self._tokens + earned)
        self._seen = now
        missing = waiter.calls - self._tokens
        if missing > _ROUNDING:
            self._timer = loop.call_later(missing / self._per_second, self._serve)
            return False
        self._tokens -= waiter.calls
        waiter.turn.set_result(None)
        return True


def _leave_signals_to_the_main_thread() -> None:
    """Block the signals that end a process: one that arrives in this thread would not wake the event loop.

    Python runs the handler in the main thread, and that may wait for the answer of AWS (Python documentation, "signal",
    Signals and threads).
    """
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
