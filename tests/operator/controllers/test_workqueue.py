"""Keys that are due: each once, after its window, never twice at the same time. No test takes real time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.virtual_time import run_virtually
from trustbind_operator.controllers.workqueue import DueQueue


class Runs:
    """Workers that take ``seconds`` each, and what they did."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.log: list[tuple[float, str]] = []
        self.running: Counter[str] = Counter()
        self.most = 0
        self.overlaps = 0

    async def work(self, key: str) -> None:
        """Take note, and some time."""
        self.log.append((round(asyncio.get_running_loop().time(), 6), key))
        self.running[key] += 1
        self.overlaps += self.running[key] > 1
        self.most = max(self.most, self.running.total())
        await asyncio.sleep(self.seconds)
        self.running[key] -= 1


@contextlib.asynccontextmanager
async def running(
    work: Callable[[str], Awaitable[None]], workers: int = 10
) -> AsyncIterator[tuple[DueQueue[str], asyncio.Task[None]]]:
    """Run a queue for as long as the block lasts."""
    queue: DueQueue[str] = DueQueue(work, workers, asyncio.get_running_loop().time)
    task = asyncio.create_task(queue.run())
    try:
        yield queue, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(scene: Callable[[DueQueue[str]], Awaitable[Any]], runs: Runs, workers: int = 10) -> list[tuple[float, str]]:
    """Play a scene, wait a long time, and return what ran when."""

    async def play() -> None:
        async with running(runs.work, workers) as (queue, _):
            await scene(queue)
            await asyncio.sleep(1000)

    run_virtually(play())
    return runs.log


def test_many_touches_are_one_run() -> None:
    """That is the group commit: what comes within the window waits for the first one's time."""

    async def scene(queue: DueQueue[str]) -> None:
        for _ in range(5):
            queue.touch("a", 0.2)
            await asyncio.sleep(0.01)

    assert run(scene, Runs()) == [(0.2, "a")]


def test_earlier_of_two_times() -> None:
    """A touch with less delay counts; one with more does not."""

    async def scene(queue: DueQueue[str]) -> None:
        queue.touch("a", 10)
        queue.touch("a", 1)
        queue.touch("a", 5)

    assert run(scene, Runs()) == [(1, "a")]


def test_keys_run_in_the_order_of_their_times() -> None:
    """And beside each other; of equal times the first touched first."""

    async def scene(queue: DueQueue[str]) -> None:
        for key, delay in (("late", 3.0), ("early", 1.0), ("same", 1.0), ("now", 0.0)):
            queue.touch(key, delay)

    assert run(scene, Runs(5)) == [(0, "now"), (1, "early"), (1, "same"), (3, "late")]


def test_touched_while_running_runs_again() -> None:
    """Afterwards, at its time, and once."""

    async def scene(queue: DueQueue[str]) -> None:
        queue.touch("a", 0)
        await asyncio.sleep(1)
        queue.touch("a", 8)
        queue.touch("a", 0.5)

    runs = Runs(5)
    assert run(scene, runs) == [(0, "a"), (5, "a")]
    assert runs.overlaps == 0


def test_touched_while_running_keeps_its_delay() -> None:
    """A later time is kept."""

    async def scene(queue: DueQueue[str]) -> None:
        queue.touch("a", 0)
        await asyncio.sleep(1)
        queue.touch("a", 30)

    assert run(scene, Runs(5)) == [(0, "a"), (31, "a")]


def test_touched_by_its_own_worker() -> None:
    """As one does that asks to be called again."""
    log: list[float] = []

    async def play() -> None:
        async def work(key: str) -> None:
            log.append(asyncio.get_running_loop().time())
            if len(log) < 3:
                queue.touch(key, 60)

        async with running(work) as (queue, _):
            queue.touch("a", 0)
            await asyncio.sleep(1000)

    run_virtually(play())
    assert log == [0, 60, 120]


def test_forgotten() -> None:
    """What waits, or would run again, does not; what is touched afterwards does."""

    async def scene(queue: DueQueue[str]) -> None:
        queue.touch("waits", 1)
        queue.touch("runs", 0)
        await asyncio.sleep(0.5)
        queue.touch("runs", 0)
        queue.forget("waits")
        queue.forget("runs")
        queue.forget("unknown")
        await asyncio.sleep(50)
        queue.touch("waits", 0)

    assert run(scene, Runs(5)) == [(0, "runs"), (50.5, "waits")]


def test_slots_are_a_bound() -> None:
    """Never more workers than that."""

    async def scene(queue: DueQueue[str]) -> None:
        for key in "abcde":
            queue.touch(key, 0)

    runs = Runs(1)
    assert run(scene, runs, workers=2) == [(0, "a"), (0, "b"), (1, "c"), (1, "d"), (2, "e")]
    assert runs.most == 2


def test_never_twice_at_once_with_few_slots() -> None:
    """Not even a key that becomes due again while it waits for its slot."""

    async def scene(queue: DueQueue[str]) -> None:
        queue.touch("x", 0)
        queue.touch("y", 0)
        await asyncio.sleep(0.1)
        queue.touch("a", 0)
        await asyncio.sleep(0.1)
        queue.touch("a", 0)

    runs = Runs(5)
    run(scene, runs, workers=2)
    assert runs.overlaps == 0


def test_backlog() -> None:
    """What is due or running; not what will be due later."""

    async def play() -> None:
        runs = Runs(5)
        async with running(runs.work, workers=1) as (queue, _):
            queue.touch("a", 0)
            queue.touch("b", 0)
            queue.touch("later", 100)
            assert queue.backlog == 2
            await asyncio.sleep(1)
            assert queue.backlog == 2
            await asyncio.sleep(20)
            assert queue.backlog == 0
            await asyncio.sleep(80)
            assert queue.backlog == 1

    run_virtually(play())


def test_end_waits_for_what_is_under_way() -> None:
    """And starts nothing more."""

    async def play() -> None:
        runs = Runs(5)
        async with running(runs.work) as (queue, task):
            queue.touch("a", 0)
            queue.touch("b", 2)
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.get_running_loop().time() == 5
            assert runs.log == [(0, "a")]

    run_virtually(play())


def test_end_that_comes_with_a_touch() -> None:
    """A touch at the same moment does not keep the queue running."""

    async def play() -> None:
        async with running(Runs().work) as (queue, task):
            queue.touch("later", 100)
            await asyncio.sleep(1)
            queue.touch("a", 50)
            await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=10)
            assert done == {task}

    run_virtually(play())


def test_end_does_not_wait_for_ever() -> None:
    """What takes too long then is cut off."""

    async def play() -> None:
        runs = Runs(3600)
        async with running(runs.work) as (queue, task):
            queue.touch("a", 0)
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert asyncio.get_running_loop().time() < 60

    run_virtually(play())


touches = st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.0, 0.3, 1.0, 4.0]))


@given(st.lists(touches, max_size=15), st.integers(1, 3))
def test_every_touch_is_followed_by_a_run(steps: list[tuple[str, float, float]], workers: int) -> None:
    """Whatever is touched when: its worker begins after that, never beside itself, never beyond the slots."""
    touched: dict[str, float] = {}

    async def scene(queue: DueQueue[str]) -> None:
        for key, delay, pause in steps:
            queue.touch(key, delay)
            touched[key] = round(asyncio.get_running_loop().time(), 6)
            await asyncio.sleep(pause)

    runs = Runs(1)
    log = run(scene, runs, workers)

    assert (runs.overlaps, runs.most <= workers) == (0, True)
    for key, when in touched.items():
        assert max(began for began, k in log if k == key) >= when
    assert len(log) <= len(steps)
