"""Queues that take turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trustbind.round_robin import RoundRobin


def drained(queues: RoundRobin[str]) -> list[str]:
    """Take everything; return it in order."""
    found: list[str] = []
    while (following := queues.first()) is not None:
        queues.take()
        found.append(following[1])
    return found


def test_one_of_each_in_turn() -> None:
    """And first come, first served within a queue; one that comes late has its turn after those that wait."""
    queues: RoundRobin[str] = RoundRobin(lambda _: True)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queues.add(item[0], item)
    assert queues.first() == ("a", "a1")
    queues.take()
    queues.add("d", "d1")
    assert drained(queues) == ["b1", "c1", "a2", "d1", "c2", "a3"]


def test_what_waits_no_more_has_no_turn() -> None:
    """It leaves its queue, and an empty queue keeps no place."""
    over = {"a1", "b1"}
    queues: RoundRobin[str] = RoundRobin(lambda item: item not in over)
    for item in ("a1", "b1", "c1", "a2"):
        queues.add(item[0], item)
    assert drained(queues) == ["a2", "c1"]
    queues.add("b", "b1")
    assert queues.first() is None


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_nothing_is_lost_and_no_queue_waits_longer_than_a_round(names: list[str]) -> None:
    """Between two items of one queue each other queue that waits has exactly one."""
    queues: RoundRobin[str] = RoundRobin(lambda _: True)
    for number, name in enumerate(names):
        queues.add(name, f"{name}{number}")
    taken = [item[0] for item in drained(queues)]
    assert sorted(taken) == sorted(names)
    for place, name in enumerate(taken):
        rest = taken[place + 1 :]
        if name in rest:
            between = rest[: rest.index(name)]
            assert sorted(between) == sorted({other for other in rest if other != name and other in between})
