"""A virtual event loop on which processes can be paused and killed.

Time stands still while anything can run, and jumps to the next timer when nothing can. Every callback that the loop
runs carries a context (PEP 567), and a process is a value of a variable in it: tasks, timers and futures that a process
starts belong to it without any help. A callback of a paused process is kept until the process goes on, in the order in
which it was due. A killed process is a process that stays paused.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

__all__ = ["PROCESS", "Process", "SimulationLoop", "StuckError"]

T = TypeVar("T")

_MOST_STEPS: Final = 3_000_000
"""Callbacks of one world; a world needs about a tenth. Beyond it something repeats without end."""


class StuckError(AssertionError):
    """The world does not come to an end."""


class Process:
    """One operating-system process.

    Args:
        loop: on which it runs.
        name: for the schedule.
    """

    def __init__(self, loop: SimulationLoop, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self.kept: deque[asyncio.Handle] = deque()
        self._loop = loop
        self._runs_at = 0.0
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def is_paused(self) -> bool:
        """Whether it does not run now."""
        return not self.is_alive or self._loop.time() < self._runs_at

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` in the process."""
        task = self._loop.create_task(work, context=self.context)
        self._tasks.append(task)
        return task

    def at(self, when: float, callback: Any, *arguments: Any) -> None:
        """Let the process run a callback."""
        self._loop.call_at(when, callback, *arguments, context=self.context)

    def pause(self, seconds: float) -> None:
        """Stop it for some seconds, from the next callback on."""
        self._runs_at = max(self._runs_at, self._loop.time() + seconds)
        self._loop.call_at(self._runs_at, self._go_on, context=contextvars.Context())

    def kill(self) -> None:
        """Stop it for good."""
        self.is_alive = False

    def revive(self) -> None:
        """Let what is left of it run, so that it can be cancelled at the end of a world."""
        self.is_alive = True
        self._runs_at = 0.0
        self._go_on()

    def _go_on(self) -> None:
        if not self.is_paused:
            self._loop.go_on(self.kept)


PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)


class SimulationLoop(asyncio.SelectorEventLoop):
    """See the module. Nothing on it may use sockets or threads."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._now = 0.0

    def time(self) -> float:
        """Return the seconds since the loop was made."""
        return self._now

    def go_on(self, kept: deque[asyncio.Handle]) -> None:
        """Run callbacks that were kept, before all others."""
        self._ready.extendleft(reversed(kept))
        kept.clear()

    def _run_once(self) -> None:
        """Run what is ready; asyncio's own method would look at sockets and at the real time."""
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined] # asyncio's own book-keeping
        if not ready:
            if not scheduled:
                raise StuckError("nothing is due, and nothing will ever happen")
            self._now = max(self._now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined] # as above
            ready.append(handle)
        for _ in range(len(ready)):
            if not ready:
                break
            each = ready.popleft()
            if each.cancelled():
                continue
            self.steps += 1
            process = each._context.get(PROCESS)  # type: ignore[attr-defined] # there is no public way
            if process is not None and process.is_paused:
                process.kept.append(each)
            else:
                each._run()
        if self.steps > _MOST_STEPS:
            raise StuckError(f"no end after {self.steps} callbacks")
