"""Access to AWS accounts, and what is remembered of each; in virtual time."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

import pytest

from support.fake_iam import FakeAccount, FakeSessions
from support.pipeline_scene import ACCOUNT
from support.virtual_time import run_virtually
from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AccessDeniedError, AccountMismatchError, AwsError
from trustbind.identity.arns import RoleArn
from trustbind_aws.account_pool import REMEMBER_FAILURE_SECONDS, AccountPool

T = TypeVar("T")

DENIED: Final = AccessDeniedError("no", code="AccessDenied", operation="sts:AssumeRole on x")
MANAGER: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/manager")
PROD: Final = AwsAccount("prod", ACCOUNT, MANAGER)
CALLER: Final = "GetCallerIdentity"


class Scene:
    """A pool that leads into one AWS account, on a clock of its own.

    Attributes:
        seconds: the clock.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.account = FakeAccount(ACCOUNT)
        self.sessions = FakeSessions(self.account)
        self.pool = AccountPool(self.sessions, lambda: self.seconds)

    def enter(self, account: AwsAccount = PROD) -> Any:
        """Enter the AWS account."""
        return self.play(self.pool.enter(account))

    def play(self, steps: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine."""
        return run_virtually(steps)


@pytest.fixture
def scene() -> Scene:
    """Return a scene."""
    return Scene()


def test_own_identity_is_known_before_anything_is_written(scene: Scene) -> None:
    """Each new entry reports it: for a manager role, the identity that assumes it."""
    learned: list[str] = []
    scene.pool = AccountPool(scene.sessions, lambda: scene.seconds, learned=learned.append)
    scene.enter()
    scene.enter()
    assert learned == [scene.sessions.caller_arn]
    scene.sessions.own = scene.account
    entered = scene.enter(AwsAccount("direct", ACCOUNT))
    assert learned[1:] == [entered.caller_arn]


def test_entering(scene: Scene) -> None:
    """The manager role is assumed with the external id; the caller is asked for once in each session."""
    mine = replace(PROD, external_id="blue")

    first, second = scene.enter(mine), scene.enter(mine)

    assert first is second
    assert first.api is scene.account
    assert [(m.role.name, m.external_id) for m in scene.sessions.assumed] == [("manager", "blue")] * 2
    assert scene.account.calls[CALLER] == 1


def test_many_runs_enter_at_once(scene: Scene) -> None:
    """They wait for the first, and share what it made and what is known."""

    async def play() -> set[int]:
        entered = await asyncio.gather(*(scene.pool.enter(PROD) for _ in range(50)))
        return set(map(id, entered))

    assert len(scene.play(play())) == 1
    assert scene.account.calls[CALLER] == 1


def test_many_runs_meet_one_failure(scene: Scene) -> None:
    """AWS is asked once, and each run gets the error."""
    scene.sessions.closed[ACCOUNT] = DENIED

    async def play() -> list[Any]:
        return await asyncio.gather(*(scene.pool.enter(PROD) for _ in range(50)), return_exceptions=True)

    assert scene.play(play()) == [DENIED] * 50
    assert len(scene.sessions.assumed) == 1


def test_one_account_does_not_hold_up_another(scene: Scene) -> None:
    """An AWS account that does not answer is waited for by its own roles only."""
    slow = FakeAccount("777788889999")
    slow.latency[CALLER] = 60.0
    scene.sessions.accounts["777788889999"] = slow
    other = AwsAccount("slow", "777788889999", replace(MANAGER, account_id="777788889999"))

    async def play() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(scene.pool.enter(other))
        await asyncio.sleep(1)
        await scene.pool.enter(PROD)
        fast = loop.time()
        await waiting
        return fast, loop.time()

    assert scene.play(play()) == pytest.approx((1.0, 60.0))


def test_renewed_session_is_checked(scene: Scene) -> None:
    """Another administrator may have changed where it leads. What is known of the AWS account stays."""
    first = scene.enter()
    first.facts = replace(first.facts, limit=4096)
    scene.sessions.accounts[ACCOUNT] = FakeAccount(ACCOUNT)
    renewed = scene.enter()
    assert renewed is not first
    assert renewed.facts.limit == 4096

    scene.sessions.accounts[ACCOUNT] = FakeAccount("999999999999")
    with pytest.raises(AccountMismatchError):
        scene.enter()


def test_without_manager_role(scene: Scene) -> None:
    """The operator's own identity is used."""
    scene.sessions.own = FakeAccount(ACCOUNT)

    entered = scene.enter(replace(PROD, manager_role=None))

    assert entered.api is scene.sessions.own
    assert scene.sessions.assumed == []


def test_mismatch(scene: Scene) -> None:
    """The sentence has both AWS accounts."""
    scene.account.account_id = "999999999999"
    with pytest.raises(
        AccountMismatchError, match=f"lead into account 999999999999, not {ACCOUNT}; set spec.managerRoleArn"
    ):
        scene.enter()


def test_failure_is_remembered_for_some_seconds(scene: Scene) -> None:
    """Each role of an AWS account would ask otherwise."""
    scene.sessions.closed[ACCOUNT] = DENIED
    for _ in range(3):
        with pytest.raises(AccessDeniedError):
            scene.enter()
    assert len(scene.sessions.assumed) == 1

    scene.sessions.closed.clear()
    scene.seconds += REMEMBER_FAILURE_SECONDS - 1
    with pytest.raises(AccessDeniedError):
        scene.enter()
    scene.seconds += 1
    scene.enter()
    scene.enter()


def test_remembered_failure_does_not_grow(scene: Scene) -> None:
    """Thousands of roles meet it; each raise would add to its traceback and keep what the frames hold."""
    scene.sessions.closed[ACCOUNT] = DENIED
    lengths = []
    for _ in range(5):
        with pytest.raises(AccessDeniedError) as caught:
            scene.enter()
        lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
        gc.collect()
    assert len(set(lengths[1:])) == 1


def test_changed_account_is_tried_at_once(scene: Scene) -> None:
    """A correction of the object needs no wait."""
    scene.sessions.closed[ACCOUNT] = DENIED
    with pytest.raises(AccessDeniedError):
        scene.enter()
    scene.sessions.closed.clear()

    scene.enter(replace(PROD, external_id="right"))


def test_forgotten_account_is_tried_at_once(scene: Scene) -> None:
    """The inspection of an AWSAccount finds out that it works again, and then its roles can enter."""
    scene.sessions.closed[ACCOUNT] = DENIED
    with pytest.raises(AccessDeniedError):
        scene.enter()
    scene.sessions.closed.clear()

    scene.pool.forget(PROD)

    assert scene.enter().caller_arn.split(":")[4] == ACCOUNT
    scene.enter()


def test_forgotten_account_is_asked_again(scene: Scene) -> None:
    """For the caller, and for all that was known."""
    first = scene.enter()
    first.facts = replace(first.facts, limit=4096)

    scene.pool.forget(PROD)

    assert scene.enter().facts.limit is None
    assert scene.account.calls[CALLER] == 2


@pytest.mark.parametrize(
    ("code", "forgotten"),
    [
        ("ExpiredToken", True),
        ("ExpiredTokenException", True),
        ("InvalidClientTokenId", True),
        ("UnrecognizedClientException", True),
        ("AccessDenied", False),
        ("", False),
    ],
)
def test_refused_credentials_are_forgotten(scene: Scene, code: str, forgotten: bool) -> None:
    """A missing permission says nothing about the session."""
    scene.enter()
    scene.pool.refused(PROD, AwsError("no", code=code))
    assert bool(scene.sessions.forgotten) is forgotten
    scene.enter()
    assert scene.account.calls[CALLER] == (2 if forgotten else 1)


def test_credentials_that_are_refused_at_the_entry(scene: Scene) -> None:
    """The session is dropped, so that the next try assumes the manager role again."""
    scene.account.errors[CALLER] = [AccessDeniedError("expired", code="ExpiredToken", operation="sts:x")]
    with pytest.raises(AccessDeniedError):
        scene.enter()
    assert [m.role for m in scene.sessions.forgotten] == [MANAGER]


def test_credentials_refused_for_an_older_spec(scene: Scene) -> None:
    """A run that began before the AWSAccount was changed does not undo what is known since."""
    newer = replace(PROD, external_id="right")
    entered = scene.enter(newer)

    scene.pool.refused(PROD, AwsError("no", code="ExpiredToken"))

    assert scene.enter(newer) is entered


def test_refused_without_manager_role(scene: Scene) -> None:
    """There is no session to forget."""
    scene.pool.refused(replace(PROD, manager_role=None), AwsError("no", code="ExpiredToken"))
    assert scene.sessions.forgotten == []


def test_each_account_has_its_own_budget(scene: Scene) -> None:
    """And keeps it over changes of the AWSAccount, whose quota in AWS stays the same."""
    other = FakeAccount("777788889999")
    scene.sessions.accounts["777788889999"] = other
    scene.enter()
    first = scene.account.limiter
    scene.enter(replace(PROD, external_id="new"))
    scene.enter(AwsAccount("other", "777788889999", replace(MANAGER, account_id="777788889999")))

    assert scene.account.limiter is first
    assert other.limiter is not first
    scene.pool.abandon()


def test_caller_of_another_partition(scene: Scene) -> None:
    """The ARN is AWS's own answer."""
    scene.account.partition = "aws-cn"
    assert scene.enter().caller_arn.startswith(f"arn:aws-cn:sts::{ACCOUNT}:")
