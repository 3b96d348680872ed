"""Decisions are made in slices, and namespaces take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from support.virtual_time import run_virtually
from trustbind.api.role_binding import BindingRef
from trustbind_operator.controllers.decision_queue import SLICE, DecisionQueue

Scene = Callable[[DecisionQueue, list[str]], Awaitable[None]]


def play(sizes: dict[str, int], scene: Scene) -> list[str]:
    """Let a scene happen; return whose bindings were decided, in order."""
    log: list[str] = []

    def bindings(namespace: str) -> Iterable[BindingRef]:
        return [BindingRef(namespace, f"b{number:04}") for number in range(sizes.get(namespace, 0))]

    async def run() -> None:
        queue = DecisionQueue(lambda: sizes, bindings, lambda ref: log.append(ref.namespace))
        deciding = asyncio.create_task(queue.run())
        await scene(queue, log)
        deciding.cancel()

    run_virtually(run())
    return log


async def _begun(log: list[str]) -> None:
    for _ in range(10):
        if log:
            return
        await asyncio.sleep(0)


def test_namespace_of_many_does_not_delay_another() -> None:
    """A namespace that asks while another one's 1,000 bindings are decided waits for a slice; so does the loop."""
    steps: list[int] = []

    async def scene(queue: DecisionQueue, log: list[str]) -> None:
        queue.add(["many"])
        await _begun(log)
        queue.add(["few"])
        while len(log) < 1002:
            before = len(log)
            await asyncio.sleep(0)
            steps.append(len(log) - before)

    log = play({"many": 1000, "few": 2}, scene)
    assert log.index("few") <= 2 * SLICE
    assert max(steps) <= SLICE


def test_all_namespaces_take_turns() -> None:
    """Each gets a slice before one gets a second."""

    async def scene(queue: DecisionQueue, _: list[str]) -> None:
        queue.add()
        await asyncio.sleep(1)

    log = play({"a": 25, "b": 15, "c": 5}, scene)
    assert log == ["a"] * 10 + ["b"] * 10 + ["c"] * 5 + ["a"] * 10 + ["b"] * 5 + ["a"] * 5


def test_changes_during_a_round_are_decided_once_after_it() -> None:
    """After a rest, which is the longer the more was decided, however many changes there were."""

    async def scene(queue: DecisionQueue, log: list[str]) -> None:
        queue.add(["a"])
        await _begun(log)
        for _ in range(5):
            queue.add(["a"])
        await asyncio.sleep(0.02)
        queue.add(["a"])
        assert len(log) == 30
        await asyncio.sleep(1)
        assert len(log) == 60
        queue.add(["a"])
        await asyncio.sleep(1)
        assert len(log) == 90

    play({"a": 30}, scene)


def test_nothing_to_decide() -> None:
    """A namespace without bindings costs nothing."""

    async def scene(queue: DecisionQueue, log: list[str]) -> None:
        queue.add(["empty"])
        queue.add()
        await asyncio.sleep(1)
        assert log == []

    play({}, scene)
