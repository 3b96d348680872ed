"""A budget of calls, on a clock of its own."""

from __future__ import annotations

import threading

import pytest

from trustbind_aws.account_pool import CallWatch
from trustbind_aws.call_budget import Budget


class Time:
    """A clock that moves when somebody sleeps, and notes for how long."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.slept.append(seconds)
        self.now += seconds


def test_burst_then_rate() -> None:
    """After a quiet time some calls go at once, then they go at the rate."""
    time = Time()
    budget = Budget(2, 3, time.clock, time.sleep)

    for _ in range(6):
        budget.take()

    assert time.slept == pytest.approx([0.5, 0.5, 0.5])


def test_quiet_time_refills_to_the_burst_and_not_beyond() -> None:
    """A long pause is worth no more than the burst."""
    time = Time()
    budget = Budget(10, 2, time.clock, time.sleep)
    for _ in range(2):
        budget.take()
    time.now += 3600

    for _ in range(3):
        budget.take()

    assert time.slept == pytest.approx([0.1])


def test_those_who_wait_are_served_in_order() -> None:
    """Each caller that comes while others wait waits one more turn."""
    slept: list[float] = []
    budget = Budget(1, 1, lambda: 5.0, slept.append)

    for _ in range(4):
        budget.take()

    assert slept == [1, 2, 3]


def test_waiting_holds_up_nobody_else() -> None:
    """A thread that sleeps does not hold the lock."""
    asleep, wake = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        if seconds < 1.5:
            asleep.set()
            wake.wait(5)

    budget = Budget(1, 1, lambda: 5.0, sleep)
    budget.take()
    waiting = threading.Thread(target=budget.take)
    waiting.start()
    assert asleep.wait(5)

    budget.take()

    wake.set()
    waiting.join(5)
    assert not waiting.is_alive()


def test_watch_takes_before_and_counts_after() -> None:
    """Every call of AWS is one of the budget, and counted with its outcome."""
    counted: list[tuple[str, str]] = []
    slept: list[float] = []
    watch = CallWatch(Budget(1, 1, lambda: 5.0, slept.append), lambda *call: counted.append(call))

    for code in ("", "Throttling"):
        watch.before("iam:GetRole")
        watch.after("iam:GetRole", code)

    assert slept == [1]
    assert counted == [("iam:GetRole", ""), ("iam:GetRole", "Throttling")]
