"""Until when a leader may write: renewals that fail, pauses of the process, and a Lease that others change."""

from __future__ import annotations

import asyncio
import math

import pytest

from support.lease_scene import Candidate, LeaseApi, PausableClock, leading
from support.virtual_time import run_virtually
from trustbind_runtime.kubernetes.client import ApiError

UNREACHABLE = ApiError(0, "the API server cannot be reached")


def test_the_deadline_counts_from_before_the_call() -> None:
    """A renewal that takes long is worth less."""

    async def scene() -> None:
        api = LeaseApi()
        clock = PausableClock()
        async with leading(api, clock=clock) as candidate:
            api.during = lambda: clock.pause(1)
            await asyncio.sleep(2)
            assert clock() == pytest.approx(3.1)
            assert candidate.leadership is not None
            assert candidate.leadership.deadline == 12

    run_virtually(scene())


@pytest.mark.parametrize("failure", ["hang", "unreachable", "lost answers"])
def test_renewals_that_fail_end_at_the_deadline(failure: str) -> None:
    """No attempt outlasts the deadline; then the Lease is lost, and left to expire."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            await asyncio.sleep(4)
            calls = len(api.calls)
            api.hang, api.lose_answers = failure == "hang", failure == "lost answers"
            api.problem = UNREACHABLE if failure == "unreachable" else None
            sentence = await candidate.lost()
            assert sentence.startswith("the Lease lease could not be renewed within 10 s: the API server ")
            assert candidate.clock() == candidate.cancelled == pytest.approx(4 + 10)
            assert not candidate.may_write
            assert len(api.calls) - calls >= 2
            assert "PATCH" not in api.calls
            assert api.spec["holderIdentity"] == "one"

    run_virtually(scene())


def test_a_short_failure_is_survived() -> None:
    """Attempts go on until the deadline."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            api.problem = UNREACHABLE
            await asyncio.sleep(7.5)
            api.problem = None
            await asyncio.sleep(0.5)
            assert api.calls[2:] == ["PUT"] * 4
            assert candidate.leadership is not None
            assert candidate.leadership.deadline == 18

    run_virtually(scene())


def test_a_renewal_whose_answer_was_lost() -> None:
    """The next one finds by reading that the Lease is still ours."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            api.lose_answers = True
            await asyncio.sleep(4)
            api.lose_answers = False
            await asyncio.sleep(4)
            assert candidate.may_write
            assert api.calls[2:6] == ["PUT", "PUT", "GET", "PUT"]
            assert api.spec["leaseTransitions"] == 0

    run_virtually(scene())


def test_a_pause_ends_permission_by_the_clock_alone() -> None:
    """Whatever runs first after the pause may not write, also in another thread; then a renewal gives it back."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            assert candidate.leadership is not None
            candidate.clock.pause(9.8)
            assert candidate.leadership.is_held()
            candidate.clock.pause(0.2)
            assert not candidate.leadership.is_held()
            candidate.clock.pause(600)
            assert not candidate.leadership.is_held()
            await asyncio.sleep(2)
            assert candidate.leadership.is_held()
            assert not candidate.running.done()
            assert api.calls[2:] == ["PUT"]

    run_virtually(scene())


def test_a_pause_after_which_another_one_leads() -> None:
    """It must not write, and ends with a sentence; the Lease stays with the other one."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            first.clock.pause(40)
            api.change(holderIdentity="two")
            assert not first.may_write
            assert await first.lost() == "the Lease lease was taken by two"
            assert first.leadership is not None
            assert first.leadership.deadline == -math.inf
            assert api.spec["holderIdentity"] == "two"
            assert api.calls[2:] == ["PUT", "GET"]

    run_virtually(scene())


@pytest.mark.parametrize("deleted", [True, False])
def test_a_pause_in_which_another_one_may_have_led(deleted: bool) -> None:
    """A Lease that was released or deleted since may have been another one's."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            first.clock.pause(40)
            if deleted:
                api.lease = None
            else:
                api.change(holderIdentity=None)
            assert await first.lost() == "the Lease lease was released or deleted while this process was paused"
            assert api.calls[2:] == ["PUT", "GET"]

    run_virtually(scene())


def test_a_pause_with_an_api_server_that_does_not_answer() -> None:
    """One attempt is made past the deadline."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            first.clock.pause(40)
            api.hang = True
            await first.lost()
            assert api.calls[2:] == ["PUT"]
            assert asyncio.get_running_loop().time() == pytest.approx(7)

    run_virtually(scene())


def test_a_pause_within_a_renewal() -> None:
    """A renewal that was answered counts from before it was sent, so the next one follows at once."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            assert candidate.leadership is not None
            seen = []
            leadership = candidate.leadership

            def paused() -> None:
                candidate.clock.pause(25)
                api.during = lambda: seen.append(leadership.is_held())

            api.during = paused
            await asyncio.sleep(2)
            assert seen == [False]
            assert leadership.is_held()
            assert api.calls[2:] == ["PUT", "PUT"]

    run_virtually(scene())


def test_a_lease_that_was_taken_by_hand() -> None:
    """The leader stops at its next renewal, without waiting for the deadline."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            api.change(holderIdentity="another-process")
            assert await first.lost() == "the Lease lease was taken by another-process"
            assert first.cancelled == 2
            assert api.spec["holderIdentity"] == "another-process"

    run_virtually(scene())


def test_a_lease_that_was_changed_by_hand() -> None:
    """The leader reads it again, and goes on when no other process holds it."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            api.change(renewTime="2001-01-01T00:00:00.000000Z")
            await asyncio.sleep(2)
            assert api.calls[2:] == ["PUT", "GET", "PUT"]
            assert api.spec["leaseTransitions"] == 0
            api.change(holderIdentity=None)
            await asyncio.sleep(2)
            assert api.calls[5:] == ["PUT", "GET", "PUT"]
            assert api.spec["holderIdentity"] == "one"
            assert first.may_write

    run_virtually(scene())


def test_a_lease_that_was_deleted_by_hand() -> None:
    """Its holder creates it again; a standby that has seen the holder leaves it the time to."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            standby = Candidate(api, "two")
            await asyncio.sleep(3)
            acquired = api.spec["acquireTime"]
            api.lease = None
            await asyncio.sleep(0.5)
            assert standby.leadership is None
            await asyncio.sleep(8)
            assert first.may_write
            assert (api.spec["holderIdentity"], api.spec["acquireTime"]) == ("one", acquired)
            assert standby.leadership is None
            await standby.stop()

    run_virtually(scene())


def test_a_deleted_lease_of_a_holder_that_is_gone() -> None:
    """A standby creates it once the record that it saw has expired."""

    async def scene() -> None:
        api = LeaseApi(holderIdentity="gone", leaseDurationSeconds=20)
        standby = Candidate(api, "two")
        await asyncio.sleep(1)
        api.lease = None
        await asyncio.sleep(18.5)
        assert standby.leadership is None
        await asyncio.sleep(4)
        assert standby.may_write
        await standby.stop()

    run_virtually(scene())


def test_a_leader_that_is_killed() -> None:
    """A standby begins durationSeconds after its last renewal, when its permission to write has long ended."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as first:
            standby = Candidate(api, "two")
            await asyncio.sleep(20)
            api.problem = UNREACHABLE  # of the first: its network is gone
            await first.lost()
            api.problem = None
            assert not first.may_write
            ended = first.clock()
            while not standby.may_write:
                await asyncio.sleep(0.1)
                assert not first.may_write
            assert standby.began >= ended - 10 + 30
            await standby.stop()

    run_virtually(scene())
