"""Access to AWS accounts over HTTP: the own identity, and manager roles assumed from it and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from support.target_account import MANAGER, ONE_TRY, OPERATOR, ROLE, TARGET
from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AccessDeniedError, ThrottledError, UnreachableError
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.client import AccountClient
from trustbind_aws.permits import boottime
from trustbind_aws.sessions import RENEW_BEFORE, AwsSessions, ManagerRole
from trustbind_localaws import LocalAws

T = TypeVar("T")


class Clock:
    """The time, which a test moves on."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


def sessions(clock: Callable[[], datetime] = lambda: datetime.now(UTC), who: str = "who") -> AwsSessions:
    """Return sessions without retries."""
    return AwsSessions(who, clock, ONE_TRY)


def play(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine."""
    return asyncio.run(steps)


def assume(source: AwsSessions, manager: ManagerRole = MANAGER) -> AccountClient:
    """Assume a manager role."""
    return play(source.assume(manager, CallLimiter()))


def test_own_identity(aws: LocalAws) -> None:
    """One access for all."""
    source = sessions()

    async def steps() -> tuple[str, str]:
        first, second = await asyncio.gather(source.direct(CallLimiter()), source.direct(CallLimiter()))
        assert first is second
        return await first.caller()

    assert play(steps()) == (OPERATOR, f"arn:aws:iam::{OPERATOR}:root")
    assert aws.calls(OPERATOR, "AssumeRole") == []


@pytest.mark.usefixtures("aws")
def test_manager_role() -> None:
    """CloudTrail in the target account shows who came; what does not fit into a session's name is cut."""
    counted: list[tuple[str, str, str]] = []
    source = AwsSessions("trustbind-operator.blue", settings=ONE_TRY, count=lambda *call: counted.append(call))

    account, arn = play(assume(source).caller())

    assert (account, arn) == (TARGET, f"arn:aws:sts::{TARGET}:assumed-role/manager/trustbind-operator.blue")
    assert counted == [(TARGET, "sts:GetCallerIdentity", "")]
    assert len(play(assume(sessions(who="x" * 100)).caller())[1].rpartition("/")[2]) == 64


def test_who_assumes(aws: LocalAws) -> None:
    """The identity behind the manager roles is asked for once."""
    source = sessions()
    aws.reset_calls()

    async def steps() -> list[str]:
        return [await source.own_caller(CallLimiter()) for _ in range(2)]

    assert play(steps()) == [f"arn:aws:iam::{OPERATOR}:root"] * 2
    assert len(aws.calls(OPERATOR, "GetCallerIdentity")) == 1


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("external_id", ["", "green"])
def test_wrong_external_id(external_id: str) -> None:
    """AWS does not say that this is what is wrong."""
    with pytest.raises(AccessDeniedError) as caught:
        assume(sessions(), ManagerRole(MANAGER.role, external_id))
    assert caught.value.operation == f"sts:AssumeRole on {MANAGER.role}"


def test_session_is_kept_until_shortly_before_its_end(aws: LocalAws) -> None:
    """One AssumeRole an hour for each manager role; a session never gets so old that a call could meet its end."""
    clock = Clock()
    source = sessions(clock)
    first = assume(source)

    def wait(time: timedelta) -> None:
        clock.now += time
        aws.advance(time.total_seconds())

    wait(timedelta(hours=1) - RENEW_BEFORE - timedelta(seconds=30))
    assert assume(source) is first
    wait(timedelta(seconds=60))

    renewed = assume(source)

    assert renewed is not first
    assert assume(source) is renewed
    assert len(aws.calls(operation="AssumeRole")) == 2


def test_expired_session(aws: LocalAws) -> None:
    """Refused credentials are dropped, and the role is assumed again."""
    source = sessions()
    session = assume(source)
    aws.advance(3700)
    with pytest.raises(AccessDeniedError) as caught:
        play(session.role(ROLE))
    assert caught.value.code == "ExpiredToken"

    source.forget(MANAGER)
    source.forget(MANAGER)

    assert assume(source) is not session
    play(assume(source).role(ROLE))


def test_failed_assumption_is_not_kept(aws: LocalAws) -> None:
    """The next try asks again."""
    source = sessions()
    aws.throttle(TARGET, ["AssumeRole"], count=1)
    with pytest.raises(ThrottledError):
        assume(source)
    assume(source)


def test_throttled_assumption_is_tried_again(aws: LocalAws) -> None:
    """It writes nothing."""
    aws.throttle(TARGET, ["AssumeRole"], count=2)
    play(AwsSessions("who").assume(MANAGER, CallLimiter()))
    assert len(aws.calls(operation="AssumeRole")) == 3


def test_many_runs_assume_once(aws: LocalAws) -> None:
    """Those that come at once wait for one session."""
    source = sessions()
    limiter = CallLimiter()

    async def steps() -> set[int]:
        found = await asyncio.gather(*(source.assume(MANAGER, limiter) for _ in range(30)))
        return set(map(id, found))

    assert len(play(steps())) == 1
    assert len(aws.calls(operation="AssumeRole")) == 1


def test_many_runs_enter_once(aws: LocalAws) -> None:
    """A pool assumes the manager role once, asks once who that is, and enters again when the session was refused."""
    account = AwsAccount("prod", TARGET, MANAGER.role, MANAGER.external_id)

    async def steps() -> None:
        pool = AccountPool(sessions(), boottime)
        entered = await asyncio.gather(*(pool.enter(account) for _ in range(30)))
        assert len(set(map(id, entered))) == 1
        assert len(aws.calls(operation="AssumeRole")) == 1
        assert [call.account for call in aws.calls(operation="GetCallerIdentity")] == [TARGET, OPERATOR]
        aws.advance(3700)
        with pytest.raises(AccessDeniedError) as caught:
            await entered[0].api.role(ROLE)
        pool.refused(account, caught.value)
        again = await pool.enter(account)
        await again.api.role(ROLE)
        pool.abandon()

    play(steps())

    assert len(aws.calls(operation="AssumeRole")) == 2


def test_broken_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist is reported in one sentence, for either access."""
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: sessions().direct(CallLimiter()),
        lambda: sessions().assume(MANAGER, CallLimiter()),
    ]

    async def enter(way: Callable[[], Awaitable[object]]) -> None:
        await way()

    for way in ways:
        with pytest.raises(UnreachableError, match="nowhere"):
            play(enter(way))
