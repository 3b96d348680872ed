"""Ways into accounts over HTTP: the own identity, and manager roles assumed from it and kept."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from support.target_account import MANAGER, OPERATOR, ROLE, TARGET
from trustbind.errors import (
    AccessDeniedError,
    ThrottledError,
    UnreachableError,
)
from trustbind_aws.client import RENEW_BEFORE, AccountAccess, AwsAccess, ManagerRole, Unwatched, Watch
from trustbind_localaws import LocalAws


class Clock:
    """The time, which moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


def test_own_identity(aws: LocalAws) -> None:
    """One access for all."""
    ways = AwsAccess("who")
    assert ways.direct() is ways.direct()
    assert ways.direct().caller() == (OPERATOR, f"arn:aws:iam::{OPERATOR}:root")
    assert aws.calls(OPERATOR, "AssumeRole") == []


@pytest.mark.usefixtures("aws")
def test_manager_role() -> None:
    """CloudTrail in the target account shows who came; what does not fit into a session's name is cut."""
    watches: list[str] = []

    def watch(account: str) -> Watch:
        watches.append(account)
        return Unwatched()

    account, arn = AwsAccess("trustbind-operator.blue", watch=watch).assume(MANAGER).caller()

    assert (account, arn) == (TARGET, f"arn:aws:sts::{TARGET}:assumed-role/manager/trustbind-operator.blue")
    assert watches == [TARGET]
    assert len(AwsAccess("x" * 100).assume(MANAGER).caller()[1].rpartition("/")[2]) == 64


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("external_id", ["", "green"])
def test_wrong_external_id(external_id: str) -> None:
    """AWS does not say that this is what is wrong."""
    with pytest.raises(AccessDeniedError) as caught:
        AwsAccess("who").assume(ManagerRole(MANAGER.role, external_id))
    assert caught.value.operation == f"sts:AssumeRole on {MANAGER.role}"


def test_session_is_kept_until_shortly_before_its_end(aws: LocalAws) -> None:
    """One AssumeRole an hour for each manager role; a session never gets so old that a call could meet its end."""
    clock = Clock()
    ways = AwsAccess("who", clock)
    first = ways.assume(MANAGER)

    def wait(time: timedelta) -> None:
        clock.now += time
        aws.advance(time.total_seconds())

    wait(timedelta(hours=1) - RENEW_BEFORE - timedelta(seconds=5))
    assert ways.assume(MANAGER) is first
    wait(timedelta(seconds=10))

    renewed = ways.assume(MANAGER)

    assert renewed is not first
    assert ways.assume(MANAGER) is renewed
    assert len(aws.calls(operation="AssumeRole")) == 2


def test_expired_session(aws: LocalAws) -> None:
    """Refused credentials are dropped, and the role is assumed anew."""
    ways = AwsAccess("who")
    session = ways.assume(MANAGER)
    aws.advance(3700)
    with pytest.raises(AccessDeniedError) as caught:
        session.read(ROLE)
    assert caught.value.code == "ExpiredToken"

    ways.forget(MANAGER)
    ways.forget(MANAGER)

    assert ways.assume(MANAGER) is not session
    ways.assume(MANAGER).read(ROLE)


def test_failed_assumption_is_not_kept(aws: LocalAws) -> None:
    """The next try asks again."""
    ways = AwsAccess("who")
    aws.throttle(TARGET, ["AssumeRole"], count=1)
    with pytest.raises(ThrottledError):
        ways.assume(MANAGER)
    ways.assume(MANAGER)


def test_many_threads_assume_once(aws: LocalAws) -> None:
    """Those that come at once wait for one session."""
    ways = AwsAccess("who")
    start = threading.Barrier(8)
    found: list[AccountAccess] = []

    def come() -> None:
        start.wait(5)
        found.append(ways.assume(MANAGER))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(set(map(id, found))) == 1
    assert len(found) == 8
    assert len(aws.calls(operation="AssumeRole")) == 1


def test_broken_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist is told in one sentence, for either way in."""
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    for enter in (AwsAccess("who").direct, lambda: AwsAccess("who").assume(MANAGER)):
        with pytest.raises(UnreachableError, match="nowhere"):
            enter()
