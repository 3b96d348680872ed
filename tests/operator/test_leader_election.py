"""Leader election: which candidate acquires the Lease and when, and how it releases it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, cast

import pytest

from support.lease_scene import SETTINGS, Candidate, LeaseApi, PausableClock, leading
from support.virtual_time import run_virtually
from trustbind_aws.permits import boottime
from trustbind_operator.leader_election import Leadership, identity, while_leading, without_lease
from trustbind_runtime.kubernetes.client import ApiError, ApiServer


def test_the_first_candidate_creates_the_lease_and_renews_it() -> None:
    """Once every retrySeconds, in one call; acquireTime and the number of transitions stay."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            assert api.calls == ["GET", "POST"]
            first = dict(api.spec)
            assert (first["holderIdentity"], first["leaseDurationSeconds"]) == ("one", 30)
            assert first["leaseTransitions"] == 0
            await asyncio.sleep(6)
            assert api.calls[2:] == ["PUT", "PUT", "PUT"]
            assert api.spec["renewTime"] > first["renewTime"]
            assert api.spec == {**first, "renewTime": api.spec["renewTime"]}
            assert candidate.leadership is not None
            assert candidate.leadership.deadline == 6 + 10, "from before the last renewal was sent"

    run_virtually(scene())


def test_a_stop_releases_the_lease() -> None:
    """Only after the work has ended, and renewed until then; the next one need not wait and counts a transition."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api, ending_seconds=21.0) as first:
            acquired = api.spec["acquireTime"]
            second = Candidate(api, "two")
            stopping = asyncio.create_task(first.stop())
            await asyncio.sleep(20.9)
            assert (api.spec["holderIdentity"], first.may_write, second.may_write) == ("one", True, False)
            await stopping
            assert not first.may_write
            assert first.leadership is not None
            assert first.leadership.deadline == -math.inf
            assert "holderIdentity" not in api.spec
            await asyncio.sleep(3.3)
            assert second.may_write
            assert (api.spec["holderIdentity"], api.spec["leaseTransitions"]) == ("two", 1)
            assert api.spec["acquireTime"] > acquired
            await second.stop()

    run_virtually(scene())


def test_a_release_after_a_foreign_change() -> None:
    """A label that was added since the last renewal does not keep the Lease from being released."""

    async def scene() -> None:
        api = LeaseApi()
        async with leading(api) as candidate:
            api.change()
            await candidate.stop()
        assert api.calls[-3:] == ["PATCH", "GET", "PATCH"]
        assert "holderIdentity" not in api.spec

    run_virtually(scene())


@pytest.mark.parametrize("renewed", ["2001-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_a_standby_counts_on_its_own_clock(renewed: str) -> None:
    """It waits for the record's own duration from when it first saw the record, whatever the record says of time."""

    async def scene() -> None:
        api = LeaseApi(holderIdentity="gone", leaseDurationSeconds=20, renewTime=renewed, leaseTransitions=4)
        await asyncio.sleep(100)
        standby = Candidate(api, "two")
        await asyncio.sleep(15)
        api.change(renewTime="2020-01-01T00:00:00.000000Z")
        seen = 100 + 5 * 3.2  # when the standby reads next
        await asyncio.sleep(seen + 20 - 115 - 0.5)
        assert not standby.may_write
        await asyncio.sleep(3.7)
        assert standby.began == pytest.approx(seen + 7 * 3.2)
        assert api.spec["leaseTransitions"] == 5
        await standby.stop()

    run_virtually(scene())


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "", "leaseDurationSeconds": 600},
        {"holderIdentity": None, "leaseDurationSeconds": 600, "renewTime": "2999-01-01T00:00:00.000000Z"},
        {"holderIdentity": "gone"},
        {"holderIdentity": "gone", "leaseDurationSeconds": None, "leaseTransitions": None, "acquireTime": None},
    ],
)
def test_a_record_without_holder_or_duration(spec: dict[str, Any]) -> None:
    """It is taken at once, as client-go does; fields that we do not know stay."""

    async def scene() -> None:
        api = LeaseApi(**spec, strategy="OldestEmulationVersion")
        async with leading(api):
            assert (api.spec["holderIdentity"], api.spec["leaseDurationSeconds"]) == ("one", 30)
            assert (api.spec["leaseTransitions"], api.spec["strategy"]) == (1, "OldestEmulationVersion")

    run_virtually(scene())


def test_a_lease_without_spec() -> None:
    """It is taken at once."""

    async def scene() -> None:
        api = LeaseApi()
        api.change()
        assert api.lease is not None
        del api.lease["spec"]
        async with leading(api):
            assert api.spec["leaseTransitions"] == 1

    run_virtually(scene())


def test_two_candidates_for_one_expired_lease() -> None:
    """The version decides; the other one waits."""

    async def scene() -> None:
        api = LeaseApi(holderIdentity="gone", leaseDurationSeconds=20)
        one, two = Candidate(api, "one"), Candidate(api, "two")
        await asyncio.sleep(30)
        assert sorted([one.may_write, two.may_write]) == [False, True]
        await asyncio.sleep(300)
        assert sorted([one.may_write, two.may_write]) == [False, True]
        await one.stop()
        await two.stop()

    run_virtually(scene())


def test_a_standby_waits_for_the_api_server() -> None:
    """Failures and answers that are no JSON objects are retried; a Lease that was written unnoticed is ours."""

    async def scene() -> None:
        api = LeaseApi()
        api.problem = ApiError(403, "forbidden")
        candidate = Candidate(api)
        await asyncio.sleep(60)
        api.problem = None
        api.lose_answers = True
        await asyncio.sleep(5)
        api.lose_answers = False
        assert api.spec["holderIdentity"] == "one"
        assert candidate.leadership is None
        await asyncio.sleep(6.5)
        assert candidate.may_write
        assert api.spec["leaseTransitions"] == 0
        await candidate.stop()

    run_virtually(scene())


def test_what_the_work_raises() -> None:
    """It comes out of the election, and the Lease is released."""

    async def scene() -> None:
        api = LeaseApi()
        kept: list[Leadership] = []

        async def work(leadership: Leadership) -> None:
            kept.append(leadership)
            assert leadership.is_held()
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await while_leading(cast("ApiServer", api), SETTINGS, "one", work, clock=PausableClock())
        assert not kept[0].is_held()
        assert "holderIdentity" not in api.spec

    run_virtually(scene())


def test_without_a_lease() -> None:
    """There is no deadline until the work ends."""

    async def scene() -> None:
        kept: list[Leadership] = []

        async def work(leadership: Leadership) -> None:
            kept.append(leadership)
            assert leadership.deadline == math.inf
            assert leadership.is_held()

        await without_lease(work)
        assert not kept[0].is_held()

    run_virtually(scene())


def test_a_leadership_that_was_never_acquired() -> None:
    """It permits nothing."""
    assert Leadership().deadline == -math.inf
    assert not Leadership().is_held()


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts suspended time where the system has such a clock, and is never set back."""
    before = boottime()
    assert boottime() >= before >= time.monotonic() - 1
    monkeypatch.setattr("trustbind_aws.permits._CLOCK", time.CLOCK_MONOTONIC)
    assert boottime() == pytest.approx(time.monotonic(), abs=1)


def test_identities_differ() -> None:
    """Also within one process."""
    assert identity() != identity()
