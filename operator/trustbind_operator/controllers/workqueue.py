"""Keys that are due: each once, after a short window in which more may come, never twice at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

__all__ = ["WorkQueue"]

K = TypeVar("K", bound=Hashable)

_LEAVE_SECONDS: Final = 5.0
"""What is under way may take so long when the process ends. What is cut off is found by whoever leads next."""


class WorkQueue(Generic[K]):
    """Runs a worker for each key when it is due.

    A key that is added while its worker runs is run again afterwards. A key that is added while it waits is run
    once, at the earlier of the two times. That is the group commit: whatever changes within the window is one run.

    Args:
        work: the worker; it must not raise.
        workers: how many keys at once.
        clock: the event loop's time, in seconds.
    """

    def __init__(self, work: Callable[[K], Awaitable[None]], workers: int, clock: Callable[[], float]) -> None:
        self._work = work
        self._clock = clock
        self._slots = asyncio.Semaphore(workers)
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0
        self._running: set[K] = set()
        self._again: dict[K, float] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[K, list[asyncio.Future[None]]] = {}
        """Who waits for the next run of a key."""
        self._has_ended = False

    def add(self, key: K, delay: float) -> None:
        """Enqueue ``key`` for ``delay`` seconds from now; where it is due earlier, that stays."""
        due = self._clock() + delay
        if key in self._running:
            self._again[key] = min(due, self._again.get(key, due))
            return
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._serial += 1
        heapq.heappush(self._heap, (due, self._serial, key))
        self._wake.set()

    async def run_now(self, key: K) -> None:
        """Enqueue ``key`` and return once a run that began after this call has ended.

        Raises:
            asyncio.CancelledError: the queue ends.
        """
        if self._has_ended:
            raise asyncio.CancelledError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(done)
        self.add(key, 0.0)
        await done

    def forget(self, key: K) -> None:
        """Drop ``key``, unless it is added again."""
        self._due.pop(key, None)
        self._again.pop(key, None)
        for done in self._waiting.pop(key, []):
            if not done.done():
                done.set_result(None)

    @property
    def backlog(self) -> int:
        """How many keys are due now or running."""
        now = self._clock()
        return len(self._running) + sum(1 for due in self._due.values() if due <= now)

    async def run(self) -> None:
        """Run workers until cancelled; then wait a little for those that are under way, and cancel the rest."""
        try:
            while True:
                key = await self._next()
                self._running.add(key)  # from here on an addition means "once more afterwards"
                await self._slots.acquire()
                task = asyncio.create_task(self._one(key))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            self._has_ended = True  # no run begins any more
            for done in [done for waiting in self._waiting.values() for done in waiting]:
                done.cancel()
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=_LEAVE_SECONDS)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _one(self, key: K) -> None:
        waiting = self._waiting.pop(key, [])
        try:
            await self._work(key)
        finally:
            for done in waiting:
                if not done.done():
                    done.set_result(None)
            self._running.discard(key)
            self._slots.release()
            due = self._again.pop(key, None)
            if due is not None:
                self.add(key, max(0.0, due - self._clock()))

    async def _next(self) -> K:
        while True:
            self._wake.clear()
            now = self._clock()
            while self._heap and self._heap[0][0] <= now:
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:  # else it was forgotten, or is due earlier by another entry
                    del self._due[key]
                    return key
            timeout = self._heap[0][0] - now if self._heap else None
            # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
