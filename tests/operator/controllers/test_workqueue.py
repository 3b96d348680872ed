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
from trustbind_operator.controllers.workqueue import Place, WorkQueue


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
) -> AsyncIterator[tuple[WorkQueue[str], asyncio.Task[None]]]:
    """Run a queue for as long as the block lasts."""
    queue: WorkQueue[str] = WorkQueue(work, workers, asyncio.get_running_loop().time)
    task = asyncio.create_task(queue.run())
    try:
        yield queue, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(scene: Callable[[WorkQueue[str]], Awaitable[Any]], runs: Runs, workers: int = 10) -> list[tuple[float, str]]:
    """Play a scene, wait a long time, and return what ran when."""

    async def play() -> None:
        async with running(runs.work, workers) as (queue, _):
            await scene(queue)
            await asyncio.sleep(1000)

    run_virtually(play())
    return runs.log


def test_many_additions_are_one_run() -> None:
    """That is the group commit: what comes within the window waits for the first one's time."""

    async def scene(queue: WorkQueue[str]) -> None:
        for _ in range(5):
            queue.add("a", 0.2)
            await asyncio.sleep(0.01)

    assert run(scene, Runs()) == [(0.2, "a")]


def test_earlier_of_two_times() -> None:
    """An addition with less delay counts; one with more does not."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("a", 10)
        queue.add("a", 1)
        queue.add("a", 5)

    assert run(scene, Runs()) == [(1, "a")]


def test_keys_run_in_the_order_of_their_times() -> None:
    """And beside each other; of equal times the first added first."""

    async def scene(queue: WorkQueue[str]) -> None:
        for key, delay in (("late", 3.0), ("early", 1.0), ("same", 1.0), ("now", 0.0)):
            queue.add(key, delay)

    assert run(scene, Runs(5)) == [(0, "now"), (1, "early"), (1, "same"), (3, "late")]


def test_key_added_while_running_runs_again() -> None:
    """Afterwards, at its time, and once."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("a", 0)
        await asyncio.sleep(1)
        queue.add("a", 8)
        queue.add("a", 0.5)

    runs = Runs(5)
    assert run(scene, runs) == [(0, "a"), (5, "a")]
    assert runs.overlaps == 0


def test_key_added_while_running_keeps_its_delay() -> None:
    """A later time is kept."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("a", 0)
        await asyncio.sleep(1)
        queue.add("a", 30)

    assert run(scene, Runs(5)) == [(0, "a"), (31, "a")]


def test_key_added_by_its_own_worker() -> None:
    """As one does that asks to be called again."""
    log: list[float] = []

    async def play() -> None:
        async def work(key: str) -> None:
            log.append(asyncio.get_running_loop().time())
            if len(log) < 3:
                queue.add(key, 60)

        async with running(work) as (queue, _):
            queue.add("a", 0)
            await asyncio.sleep(1000)

    run_virtually(play())
    assert log == [0, 60, 120]


def test_forgotten() -> None:
    """What waits, or would run again, does not; what is added afterwards does."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("waits", 1)
        queue.add("runs", 0)
        await asyncio.sleep(0.5)
        queue.add("runs", 0)
        queue.forget("waits")
        queue.forget("runs")
        queue.forget("unknown")
        await asyncio.sleep(50)
        queue.add("waits", 0)

    assert run(scene, Runs(5)) == [(0, "runs"), (50.5, "waits")]


def test_slots_are_a_bound() -> None:
    """Never more workers than that."""

    async def scene(queue: WorkQueue[str]) -> None:
        for key in "abcde":
            queue.add(key, 0)

    runs = Runs(1)
    assert run(scene, runs, workers=2) == [(0, "a"), (0, "b"), (1, "c"), (1, "d"), (2, "e")]
    assert runs.most == 2


def test_never_twice_at_once_with_few_slots() -> None:
    """Not even a key that becomes due again while it waits for its slot."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("x", 0)
        queue.add("y", 0)
        await asyncio.sleep(0.1)
        queue.add("a", 0)
        await asyncio.sleep(0.1)
        queue.add("a", 0)

    runs = Runs(5)
    run(scene, runs, workers=2)
    assert runs.overlaps == 0


def test_backlog() -> None:
    """What is due or running; not what will be due later."""

    async def play() -> None:
        runs = Runs(5)
        async with running(runs.work, workers=1) as (queue, _):
            queue.add("a", 0)
            queue.add("b", 0)
            queue.add("later", 100)
            assert queue.backlog == 2
            await asyncio.sleep(1)
            assert queue.backlog == 2
            await asyncio.sleep(20)
            assert queue.backlog == 0
            await asyncio.sleep(80)
            assert queue.backlog == 1

    run_virtually(play())


def test_run_now_returns_after_a_run_that_began_later() -> None:
    """Not after the one that is under way."""
    ended: list[float] = []

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("a", 0)
        await asyncio.sleep(1)
        await asyncio.gather(queue.run_now("a"), queue.run_now("a"), queue.run_now("b"))
        ended.append(asyncio.get_running_loop().time())

    runs = Runs(5)
    assert run(scene, runs) == [(0, "a"), (1, "b"), (5, "a")]
    assert ended == [10]


def test_run_now_returns_when_the_key_is_forgotten() -> None:
    """Nobody waits for a run that does not come."""

    async def scene(queue: WorkQueue[str]) -> None:
        queue.add("a", 0)
        await asyncio.sleep(1)
        waiting = asyncio.create_task(queue.run_now("a"))
        await asyncio.sleep(1)
        queue.forget("a")
        await waiting
        assert asyncio.get_running_loop().time() == 2

    assert run(scene, Runs(5)) == [(0, "a")]


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_end_while_a_worker_waits_for_another_key(seconds: float) -> None:
    """It is ended at once, whether it waits already or begins to; the queue would never run the other key."""

    async def play() -> None:
        async def work(key: str) -> None:
            if key == "outer":
                await asyncio.sleep(1)
                queue.add("busy", 0)
                await queue.run_now("inner")
            await asyncio.sleep(3)

        async with running(work, workers=2) as (queue, task):
            queue.add("outer", 0)
            await asyncio.sleep(0.1)
            queue.add("busy", 0)
            await asyncio.sleep(seconds - 0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert asyncio.get_running_loop().time() <= 4

    run_virtually(play())


def test_end_waits_for_what_is_under_way() -> None:
    """And starts nothing more."""

    async def play() -> None:
        runs = Runs(5)
        async with running(runs.work) as (queue, task):
            queue.add("a", 0)
            queue.add("b", 2)
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.get_running_loop().time() == 5
            assert runs.log == [(0, "a")]

    run_virtually(play())


def test_end_that_comes_with_an_addition() -> None:
    """An addition at the same moment does not keep the queue running."""

    async def play() -> None:
        async with running(Runs().work) as (queue, task):
            queue.add("later", 100)
            await asyncio.sleep(1)
            queue.add("a", 50)
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
            queue.add("a", 0)
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert asyncio.get_running_loop().time() < 60

    run_virtually(play())


additions = st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.0, 0.3, 1.0, 4.0]))


@given(st.lists(additions, max_size=15), st.integers(1, 3))
def test_every_addition_is_followed_by_a_run(steps: list[tuple[str, float, float]], workers: int) -> None:
    """Whatever is added when: its worker begins after that, never beside itself, never beyond the slots."""
    added: dict[str, float] = {}

    async def scene(queue: WorkQueue[str]) -> None:
        for key, delay, pause in steps:
            queue.add(key, delay)
            added[key] = round(asyncio.get_running_loop().time(), 6)
            await asyncio.sleep(pause)

    runs = Runs(1)
    log = run(scene, runs, workers)

    assert (runs.overlaps, runs.most <= workers) == (0, True)
    for key, when in added.items():
        assert max(began for began, k in log if k == key) >= when
    assert len(log) <= len(steps)


def placed(key: str) -> Place:
    """Return the place of a key such as ``1:blue+green/role``: a group, and the names of queues."""
    group, _, rest = key.partition(":")
    return Place(group, tuple(rest.partition("/")[0].split("+")))


def run_placed(keys: list[str], workers: int = 1) -> list[tuple[float, str]]:
    """Add keys at once, and return what ran when; each run takes a second."""
    runs = Runs(1)

    async def play() -> None:
        queue = WorkQueue(runs.work, workers, asyncio.get_running_loop().time, placed)
        task = asyncio.create_task(queue.run())
        for key in keys:
            queue.add(key, 0)
        await asyncio.sleep(10_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(play())
    assert runs.overlaps == 0
    return runs.log


def test_queues_of_a_group_take_turns() -> None:
    """A thousand keys of one name delay another one's by one run."""
    log = run_placed([*(f"1:blue/{n}" for n in range(1000)), "1:green/a", "1:green/b"])
    assert [key for _, key in log[:5]] == ["1:blue/0", "1:green/a", "1:blue/1", "1:green/b", "1:blue/2"]
    assert len(log) == 1002


def test_groups_do_not_wait_for_each_other() -> None:
    """Each has workers of its own."""
    log = run_placed([*(f"1:blue/{n}" for n in range(100)), "2:blue/a"])
    assert log[:2] == [(0, "1:blue/0"), (0, "2:blue/a")]


def test_key_of_several_queues_runs_once() -> None:
    """At the first turn of any of them."""
    log = run_placed([*(f"1:blue/{n}" for n in range(10)), "1:blue+green/shared", "1:green/a"])
    assert [key for _, key in log[:4]] == ["1:blue/0", "1:blue+green/shared", "1:blue/1", "1:green/a"]
    assert len(log) == 12


def test_worker_begins_with_its_place() -> None:
    """In its own task, so that what it sets there is its own."""
    begun: list[Place] = []

    async def play() -> None:
        async def work(key: str) -> None:
            assert begun[-1] == placed(key)

        queue = WorkQueue(work, 1, asyncio.get_running_loop().time, placed, begun.append)
        task = asyncio.create_task(queue.run())
        queue.add("1:blue/x", 0)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtually(play())
    assert len(begun) == 1
