"""The budget of calls and the threads of an AWS account, in virtual time."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from support.virtual_time import run_virtually
from trustbind.errors import ThrottledError
from trustbind_aws.call_limiter import THREADS, CallLimiter, queue_as, shared_queue


def now() -> float:
    """Return the time of the event loop."""
    return asyncio.get_running_loop().time()


async def call(limiter: CallLimiter) -> float:
    """Make a call; return when it was sent."""
    async with limiter.call(None):
        return now()


def played(steps: Callable[[], Coroutine[Any, Any, list[float]]]) -> Any:
    """Return the times that ``steps`` returns, for a comparison."""
    return pytest.approx(run_virtually(steps()))


def test_burst_then_rate() -> None:
    """After a quiet time some calls are sent at once, then they are sent at the rate."""

    async def steps() -> list[float]:
        limiter = CallLimiter(2, 3)
        return [await call(limiter) for _ in range(6)]

    assert played(steps) == [0, 0, 0, 0.5, 1.0, 1.5]


def test_quiet_time_refills_to_the_burst_and_not_beyond() -> None:
    """A long pause is worth no more than the burst."""

    async def steps() -> list[float]:
        limiter = CallLimiter(10, 2)
        for _ in range(2):
            await call(limiter)
        await asyncio.sleep(3600)
        return [await call(limiter) - 3600 for _ in range(3)]

    assert played(steps) == [0, 0, 0.1]


def test_calls_that_wait_are_served_in_order() -> None:
    """Each call that comes while others wait waits one more turn."""

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1)
        return list(await asyncio.gather(*(call(limiter) for _ in range(4))))

    assert played(steps) == [0, 1, 2, 3]


def test_slot_is_paid_for_as_a_whole() -> None:
    """No call of a slot waits, whatever others wait for; a further one does."""

    async def take(limiter: CallLimiter, spent: int) -> list[float]:
        async with limiter.slot(2) as slot:
            times = []
            for _ in range(spent):
                async with limiter.call(slot):
                    times.append(now())
            return times

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 2)
        taken = await asyncio.gather(take(limiter, 2), take(limiter, 2), take(limiter, 3))
        return [time for times in taken for time in times]

    assert played(steps) == [0, 0, 2, 2, 4, 4, 5]


def test_slot_takes_a_thread() -> None:
    """As many slots are held at once as there are threads; a slot without calls costs no budget."""

    async def hold(limiter: CallLimiter, calls: int) -> float:
        async with limiter.slot(calls):
            started = now()
            await asyncio.sleep(5)
            return started

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1, threads=2)
        return sorted(await asyncio.gather(*(hold(limiter, 0) for _ in range(5))))

    assert played(steps) == [0, 0, 5, 5, 10]


def test_slot_waits_for_the_budget_only_after_its_thread() -> None:
    """Calls that wait for a thread have not paid, so they do not go all at once when it is free."""

    async def hold(limiter: CallLimiter) -> float:
        async with limiter.slot(1):
            await asyncio.sleep(5)
        return 0.0

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1, threads=1)
        return list(await asyncio.gather(hold(limiter), *(call(limiter) for _ in range(3))))

    assert played(steps) == [0, 5, 6, 7]


def test_cancelled_waiter_gives_its_thread_back() -> None:
    """A run that ends while it waits leaves the limiter in order."""

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1, threads=1)
        await call(limiter)
        waiting = asyncio.create_task(call(limiter))
        await asyncio.sleep(0.5)
        waiting.cancel()
        await asyncio.wait([waiting])
        return [await call(limiter)]

    (sent,) = run_virtually(steps())
    assert sent <= 2


async def order(limiter: CallLimiter, waiting: list[tuple[str, int]]) -> list[str]:
    """Let calls wait for one thread, as (namespace, how many); return the namespaces in the order of service."""
    served: list[str] = []

    async def take(namespace: str) -> None:
        queue_as((namespace,))
        async with limiter.slot(1):
            served.append(namespace)

    async with limiter.slot(0):
        tasks = [asyncio.create_task(take(namespace)) for namespace, count in waiting for _ in range(count)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return served


def test_namespaces_take_turns() -> None:
    """A namespace with a thousand calls delays another one's by one turn each, for threads and for the budget."""
    for limiter in (CallLimiter(1000, 1000, threads=1), CallLimiter(1, 1, threads=1)):
        served = run_virtually(order(limiter, [("team-a", 1000), ("team-b", 3), ("team-c", 1)]))
        assert served[:6] == ["team-a", "team-b", "team-c", "team-a", "team-b", "team-a"]
        assert served[6:] == ["team-b", *["team-a"] * 997]


def test_slot_of_several_calls_is_not_overtaken_for_ever() -> None:
    """While it saves up for its calls, cheaper slots of other namespaces wait."""

    async def take(limiter: CallLimiter, namespace: str, calls: int) -> float:
        queue_as((namespace,))
        async with limiter.slot(calls):
            return now()

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1)
        taken = [("a", 1), ("b", 3), ("c", 1), ("c", 1), ("a", 1)]
        return list(await asyncio.gather(*(take(limiter, namespace, calls) for namespace, calls in taken)))

    assert played(steps) == [0, 3, 4, 6, 5]


def test_call_of_several_namespaces_waits_for_the_first_turn_of_any() -> None:
    """So a namespace with many calls that also needs a role does not delay it for the others; it is served once."""

    async def steps() -> list[str]:
        limiter = CallLimiter(1, 1, threads=1)
        served: list[str] = []

        async def take(*namespaces: str) -> None:
            queue_as(namespaces)
            async with limiter.slot(1):
                served.append(" ".join(namespaces))

        async with limiter.slot(0):
            tasks = [asyncio.create_task(take("busy")) for _ in range(100)]
            tasks.append(asyncio.create_task(take("busy", "quiet")))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return served

    served = run_virtually(steps())
    assert served[:3] == ["busy", "busy quiet", "busy"]
    assert len(served) == 101


def test_what_all_wait_for_has_a_queue_of_its_own() -> None:
    """A namespace that enters an AWS account first does not make the others wait for its turn."""

    async def steps() -> list[str]:
        limiter = CallLimiter(1, 1, threads=1)
        served: list[str] = []

        async def take(namespace: str) -> None:
            queue_as((namespace,))
            async with limiter.slot(1):
                served.append(namespace)

        async def enter() -> None:
            queue_as(("team-a",))
            with shared_queue():
                async with limiter.slot(1):
                    served.append("enter")
            async with limiter.slot(1):
                served.append("team-a")

        async with limiter.slot(0):
            tasks = [asyncio.create_task(take("team-a")) for _ in range(10)]
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(enter()))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return served

    assert run_virtually(steps()) == ["team-a", "enter", *["team-a"] * 10]


def test_cancelled_waiters_leave_nothing() -> None:
    """Neither a thread nor calls of the budget are lost, and the others' turns come."""

    async def steps() -> list[float]:
        limiter = CallLimiter(1, 1, threads=1)
        await call(limiter)
        tasks = [asyncio.create_task(call(limiter)) for _ in range(4)]
        await asyncio.sleep(0.5)
        for task in tasks[:3]:
            task.cancel()
        await asyncio.wait(tasks)
        served_and_cancelled = asyncio.create_task(call(limiter))
        await asyncio.sleep(0)
        await asyncio.sleep(1)
        served_and_cancelled.cancel()
        await asyncio.wait([served_and_cancelled])
        return [tasks[3].result(), await call(limiter)]

    assert played(steps) == [1, 3]


def test_threads_of_one_account_do_not_hold_up_another() -> None:
    """Each has its own; what they return or raise comes out."""
    release = threading.Event()

    async def within(limiter: CallLimiter, what: Callable[[], object]) -> object:
        async with limiter.slot(1):
            return await limiter.in_thread(what)

    def fail() -> None:
        raise ThrottledError("slow")

    async def steps() -> None:
        one, two = CallLimiter(), CallLimiter()
        stuck = [asyncio.create_task(within(one, lambda: release.wait(30))) for _ in range(THREADS + 1)]
        assert await within(two, lambda: "done") == "done"
        with pytest.raises(ThrottledError):
            await within(two, fail)
        assert not any(task.done() for task in stuck)
        release.set()
        assert all(await asyncio.gather(*stuck))
        one.abandon()
        two.abandon()
        two.abandon()

    asyncio.run(steps())


def test_threads_have_the_account_s_name() -> None:
    """A thread dump shows which AWS account does not answer."""

    async def steps() -> str:
        limiter = CallLimiter(name="aws-444455556666")
        async with limiter.slot(0):
            name = await limiter.in_thread(lambda: threading.current_thread().name)
        limiter.abandon()
        return name

    assert asyncio.run(steps()).startswith("aws-444455556666")


def test_signals_are_left_to_the_main_thread() -> None:
    """Ctrl-C does not wait for a call: a signal that arrives in a thread would."""

    async def blocked() -> set[int]:
        limiter = CallLimiter()
        found = await limiter.in_thread(lambda: {int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())})
        limiter.abandon()
        return found

    assert asyncio.run(blocked()) >= {signal.SIGINT, signal.SIGTERM}
