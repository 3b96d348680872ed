"""Keys that are due: each once, after a short window in which more may come, never twice at the same time.

Keys are placed: those of one AWS account share workers that no other's keys take, and within it namespaces take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from trustbind.round_robin import RoundRobin

__all__ = ["Place", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

_LEAVE_SECONDS: Final = 5.0
"""What is under way may take so long when the process ends. What is cut off is found by whoever leads next."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key waits once it is due.

    Attributes:
        group: whose workers run it; groups do not wait for each other.
        names: the queues of the group that it is in, at least one, whose turns alternate. The first turn of any of them
            runs the key.
    """

    group: Hashable = ""
    names: Collection[str] = ("",)


_ONE: Final = Place()


@dataclass(slots=True)
class _Group(Generic[K]):
    name: Hashable
    ready: RoundRobin[tuple[int, K, Place]]
    running: int = 0


class WorkQueue(Generic[K]):
    """Runs a worker for each key when it is due.

    A key that is added while its worker runs is run again afterwards. A key that is added while it waits is run
    once, at the earlier of the two times. That is the group commit: whatever changes within the window is one run.

    Args:
        work: the worker; it must not raise.
        workers: how many keys of a group at once.
        clock: the event loop's time, in seconds.
        place: returns where a key waits; asked when the key is due.
        begin: called in the task of a worker, with the place of its key.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[None]],
        workers: int,
        clock: Callable[[], float],
        place: Callable[[K], Place] = lambda _: _ONE,
        begin: Callable[[Place], None] = lambda _: None,
    ) -> None:
        self._work = work
        self._workers = workers
        self._clock = clock
        self._place = place
        self._begin = begin
        self._groups: dict[Hashable, _Group[K]] = {}
        """Those in which a key waits for a worker, or runs."""
        self._ready: dict[K, int] = {}
        """Keys that wait for a worker, with the number under which they are in the queues of their group."""
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
        self._ready.pop(key, None)
        self._again.pop(key, None)
        for done in self._waiting.pop(key, []):
            if not done.done():
                done.set_result(None)

    def is_busy(self, group: Hashable) -> bool:
        """Return whether a key of a group is due now and waits for a worker, or runs."""
        return group in self._groups

    @property
    def backlog(self) -> int:
        """How many keys are due now or running."""
        now = self._clock()
        return len(self._running) + sum(1 for due in self._due.values() if due <= now)

    async def run(self) -> None:
        """Run workers until cancelled; then wait a little for those that are under way, and cancel the rest."""
        try:
            while True:
                self._wake.clear()
                self._take_due()
                timeout = self._heap[0][0] - self._clock() if self._heap else None
                # Not asyncio.wait_for: before Python 3.12 it loses a cancellation that comes with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._wake.wait()
        finally:
            self._has_ended = True  # no run begins any more
            for done in [done for waiting in self._waiting.values() for done in waiting]:
                done.cancel()
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=_LEAVE_SECONDS)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _one(self, key: K, group: _Group[K], place: Place) -> None:
        waiting = self._waiting.pop(key, [])
        try:
            self._begin(place)
            await self._work(key)
        finally:
            for done in waiting:
                if not done.done():
                    done.set_result(None)
            self._running.discard(key)
            due = self._again.pop(key, None)
            if due is not None:
                self.add(key, max(0.0, due - self._clock()))
            group.running -= 1
            self._start(group)

    def _take_due(self) -> None:
        """Let each key that is due wait for a worker of its group."""
        now = self._clock()
        concerned: dict[Hashable, _Group[K]] = {}
        while self._heap and self._heap[0][0] <= now:
            due, serial, key = heapq.heappop(self._heap)
            if self._due.get(key) != due or key in self._ready:
                continue  # it was forgotten, or is due earlier by another entry
            place = self._place(key)
            if (group := self._groups.get(place.group)) is None:
                group = self._groups[place.group] = _Group(place.group, RoundRobin(self._is_ready))
            self._ready[key] = serial
            for name in place.names:
                group.ready.add(name, (serial, key, place))
            concerned[place.group] = group
        for group in concerned.values():
            self._start(group)

    def _is_ready(self, entry: tuple[int, K, Place]) -> bool:
        serial, key, _ = entry
        return self._ready.get(key) == serial

    def _start(self, group: _Group[K]) -> None:
        """Start workers of a group, while it has some left and a key waits."""
        while not self._has_ended and group.running < self._workers and (following := group.ready.first()) is not None:
            _, (_, key, place) = following
            group.ready.take()
            del self._ready[key], self._due[key]
            self._running.add(key)  # from here on an addition means "once more afterwards"
            group.running += 1
            task = asyncio.create_task(self._one(key, group, place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if group.running == 0:
            self._groups.pop(group.name, None)
