"""Ways into accounts, and what is remembered of each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.operator_world import ACCOUNT, ISSUER, ROLE, FakeAws, World, account_body
from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, ThrottledError
from trustbind_aws.account_pool import REMEMBER_FAILURE_SECONDS, THREADS_PER_ACCOUNT, MismatchError

DENIED = AccessDeniedError("no", code="AccessDenied", operation="sts:AssumeRole on x")


@pytest.fixture
def world() -> Iterator[World]:
    """Return a world."""
    made = World()
    yield made
    made.accounts.close()


def account(**spec: Any) -> AwsAccount:
    """Return an account."""
    return AwsAccount.parse(account_body(**spec))


def test_entering(world: World) -> None:
    """The manager role is assumed with the external id; who that is gets asked once for each session."""
    mine = account(externalId="blue")

    first, second = world.accounts.enter(mine), world.accounts.enter(mine)

    assert first is second
    assert [(m.role.name, m.external_id) for m in world.doors.assumed] == [("manager", "blue")] * 2
    assert world.aws.calls["caller"] == 1


def test_renewed_session_is_checked(world: World) -> None:
    """Somebody may have changed where it leads."""
    world.accounts.enter(account())
    world.doors.accounts[ACCOUNT] = FakeAws()
    world.doors.accounts[ACCOUNT].account_id = "999999999999"
    with pytest.raises(MismatchError):
        world.accounts.enter(account())


def test_without_manager_role(world: World) -> None:
    """The operator's own identity is used."""
    body = account_body()
    del body["spec"]["managerRoleArn"]
    world.doors.own = FakeAws()
    entered: object = world.accounts.enter(AwsAccount.parse(body))
    assert entered is world.doors.own


def test_mismatch(world: World) -> None:
    """The sentence has both accounts."""
    world.aws.account_id = "999999999999"
    with pytest.raises(MismatchError, match=f"lead into account 999999999999, not {ACCOUNT}; set spec.managerRoleArn"):
        world.accounts.enter(account())


def test_failure_is_remembered_for_some_seconds(world: World) -> None:
    """Each role of an account would ask otherwise."""
    world.doors.closed[ACCOUNT] = DENIED
    for _ in range(3):
        with pytest.raises(AccessDeniedError):
            world.accounts.enter(account())
    assert len(world.doors.assumed) == 1

    world.doors.closed.clear()
    world.seconds += REMEMBER_FAILURE_SECONDS - 1
    with pytest.raises(AccessDeniedError):
        world.accounts.enter(account())
    world.seconds += 1
    world.accounts.enter(account())
    world.accounts.enter(account())


def test_changed_account_is_tried_at_once(world: World) -> None:
    """Whoever corrects the object does not wait."""
    world.doors.closed[ACCOUNT] = DENIED
    with pytest.raises(AccessDeniedError):
        world.accounts.enter(account())
    world.doors.closed.clear()

    world.accounts.enter(account(externalId="right"))


def test_inspection_is_tried_at_once_and_lets_roles_in(world: World) -> None:
    """It is what finds out that an account works again."""
    world.doors.closed[ACCOUNT] = DENIED
    with pytest.raises(AccessDeniedError):
        world.accounts.enter(account())
    world.doors.closed.clear()

    facts = world.accounts.inspect(account(), frozenset())

    assert (facts.caller_arn.split(":")[4], facts.limit) == (ACCOUNT, 2048)
    world.accounts.enter(account())


def test_inspection_asks_anew(world: World) -> None:
    """Caller and provider, each time."""
    for _ in range(2):
        world.accounts.inspect(account(), frozenset({"sts.amazonaws.com"}))
    assert (world.aws.calls["caller"], world.aws.calls["provider_audiences"]) == (2, 2)


def test_limit_of_the_object_comes_first(world: World) -> None:
    """Then nobody is asked."""
    assert world.accounts.inspect(account(trustPolicyLimit=4096), frozenset()).limit == 4096
    assert world.aws.calls["trust_policy_limit"] == 0


def test_provider_is_asked_once_for_an_audience(world: World) -> None:
    """By all roles of the account together."""
    access = world.accounts.enter(account())
    for audiences in (["sts.amazonaws.com"], ["sts.amazonaws.com"], [], ["sts.amazonaws.com", "new"], ["new"]):
        world.accounts.see_to_provider(account(), access, ROLE, audiences)
    assert world.aws.calls["provider_audiences"] == 2
    assert world.aws.provider == {"sts.amazonaws.com", "new"}


@pytest.mark.parametrize("spec", [{"oidcProvider": {"manage": False}}, {"driftPolicy": "Observe"}])
def test_provider_that_may_not_be_touched(world: World, spec: dict[str, Any]) -> None:
    """What is lacking is an error each time, until it is there."""
    mine = account(**spec)
    access = world.accounts.enter(mine)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            world.accounts.see_to_provider(mine, access, ROLE, ["new"])
    assert world.aws.provider == {"sts.amazonaws.com"}
    world.aws.provider = {"new"}
    world.accounts.see_to_provider(mine, access, ROLE, ["new"])


def test_provider_that_failed_is_asked_again(world: World) -> None:
    """Nothing is remembered of a failure."""
    access = world.accounts.enter(account())
    world.aws.errors["add_audience"] = [ThrottledError("slow", code="Throttling")]
    with pytest.raises(ThrottledError):
        world.accounts.see_to_provider(account(), access, ROLE, ["new"])
    world.accounts.see_to_provider(account(), access, ROLE, ["new"])
    assert world.aws.provider == {"sts.amazonaws.com", "new"}


def test_two_roles_that_need_the_provider_at_once(world: World) -> None:
    """Both audiences are in it afterwards, whoever made it."""
    world.aws.provider = None
    aws, access = world.aws, world.accounts.enter(account())
    start = threading.Barrier(2)

    def see(audience: str) -> None:
        start.wait(5)
        world.accounts.see_to_provider(account(), access, ROLE, [audience])

    threads = [threading.Thread(target=see, args=(audience,)) for audience in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert aws.provider == {"one", "two"}
    assert aws.calls["create_provider"] == 1


@pytest.mark.parametrize(
    ("code", "forgotten"),
    [
        ("ExpiredToken", True),
        ("ExpiredTokenException", True),
        ("InvalidClientTokenId", True),
        ("AccessDenied", False),
        ("", False),
    ],
)
def test_refused_credentials_are_forgotten(world: World, code: str, forgotten: bool) -> None:
    """Others are not to blame for what was refused."""
    world.accounts.enter(account())
    world.accounts.refused(account(), AwsError("no", code=code))
    assert bool(world.doors.forgotten) is forgotten
    world.accounts.enter(account())
    assert world.aws.calls["caller"] == (2 if forgotten else 1)


def test_refused_without_manager_role(world: World) -> None:
    """There is no session to forget."""
    body = account_body()
    del body["spec"]["managerRoleArn"]
    world.accounts.refused(AwsAccount.parse(body), AwsError("no", code="ExpiredToken"))
    assert world.doors.forgotten == []


def test_threads_of_one_account_do_not_hold_up_another(world: World) -> None:
    """Each has its own; what they return or raise comes out."""
    release = threading.Event()

    async def play() -> None:
        stuck = [
            asyncio.create_task(world.accounts.within("111111111111", lambda: release.wait(10)))
            for _ in range(THREADS_PER_ACCOUNT + 1)
        ]
        assert await world.accounts.within("222222222222", lambda: "done") == "done"
        with pytest.raises(ThrottledError):
            await world.accounts.within("222222222222", lambda: (_ for _ in ()).throw(ThrottledError("slow")))
        assert not any(task.done() for task in stuck)
        release.set()
        assert all(await asyncio.gather(*stuck))

    asyncio.run(play())


def test_issuer_s_provider(world: World) -> None:
    """In the partition that the caller is in."""
    world.aws.caller = lambda: (ACCOUNT, f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/m/x")  # type: ignore[method-assign] # China
    facts = world.accounts.inspect(account(), frozenset())
    assert facts.provider_arn == f"arn:aws-cn:iam::{ACCOUNT}:oidc-provider/{ISSUER.host_path}"
