"""The inline policy of a chain's source role: when it is read, written and left alone."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterable
from typing import Any, Final

import pytest

from support.pipeline_scene import ISSUER, NOT_LEADING, ROLE, PipelineScene, Refusing, work
from trustbind.errors import AccessDeniedError, AwsError, PolicyRejectedError, ThrottledError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.policy.source_policy import policy_name, source_policy
from trustbind.reconcile.observation import Facts
from trustbind.reconcile.role_plan import NarrowSourcePolicy, WidenSourcePolicy
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.permits import ALWAYS, StaleReadError, WriteGuard
from trustbind_aws.resources import source_policy as resource

READ, PUT, DELETE = "GetRolePolicy", "PutRolePolicy", "DeleteRolePolicy"
TARGET: Final = RoleArn.parse("arn:aws:iam::777788889999:role/feed")
TARGETS: Final = [RoleArn.parse(f"arn:aws:iam::777788889999:role/t{number:02}") for number in range(20)]
NAME: Final = policy_name(ISSUER)
EDITED: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@pytest.fixture
def scene() -> PipelineScene:
    """Return a scene whose role has no inline policy."""
    return PipelineScene()


def text(targets: Iterable[RoleArn | str]) -> str:
    """Return the policy that allows these targets as it is sent."""
    return json.dumps(source_policy(targets), separators=(",", ":"))


def has_room_for(scene: PipelineScene, count: int) -> None:
    """Let the inline policies of the role have room for so many of ``TARGETS`` and no more."""
    scene.account.inline_limit = len(text(TARGETS[:count])) if count else 10


def widen(scene: PipelineScene, *targets: RoleArn, guard: WriteGuard = ALWAYS) -> Facts:
    """Let our role assume these targets."""

    async def play() -> Facts:
        entered = await scene.enter()
        step = WidenSourcePolicy(targets)
        return await resource.widen(entered, work(), step, Facts(entered.facts), guard, 0.25, scene.pace)

    return scene.play(play())


def narrow(scene: PipelineScene, *targets: RoleArn, guard: WriteGuard = ALWAYS) -> Facts:
    """Let our role assume these targets and no others."""

    async def play() -> Facts:
        entered = await scene.enter()
        step = NarrowSourcePolicy(targets)
        return await resource.narrow(entered, work(), step, Facts(entered.facts), guard, 0.25, scene.pace)

    return scene.play(play())


def denied(code: str) -> AccessDeniedError:
    """Return what AWS answers to a read."""
    return AccessDeniedError("no", code=code, operation=f"iam:GetRolePolicy on {ROLE}")


def test_nothing_wanted_and_not_to_be_read(scene: PipelineScene) -> None:
    """Where nothing is wanted, a policy that may not be read is left alone: it does not keep trust from being revoked.

    The run goes on as if the role were the source of no chain.
    """
    scene.account.always[READ] = denied("AccessDenied")

    assert widen(scene).source_unreadable

    assert scene.operations() == [READ]
    scene.account.forget_calls()
    scene.run(work())
    assert scene.operations() == ["GetRole", READ, "GetRole"]


@pytest.mark.parametrize(("targets", "code"), [((TARGET,), "AccessDenied"), ((), "ExpiredToken")])
def test_denied(scene: PipelineScene, targets: tuple[RoleArn, ...], code: str) -> None:
    """A denial counts where something is wanted, and so do credentials that are refused."""
    scene.account.always[READ] = denied(code)

    with pytest.raises(AccessDeniedError):
        widen(scene, *targets)


def test_written_and_removed(scene: PipelineScene) -> None:
    """What is wanted is allowed first, and what is not wanted any more is removed last."""
    facts = widen(scene, TARGET)
    assert scene.account.policies[ROLE, NAME] == text([TARGET])
    assert facts.account.source_targets[ROLE] == frozenset({str(TARGET)})
    widen(scene)
    assert scene.account.policies[ROLE, NAME] == text([TARGET])

    facts = narrow(scene)

    assert scene.account.policies == {}
    assert facts.account.source_targets[ROLE] == frozenset()
    assert scene.operations() == [READ, PUT, READ, READ, DELETE]


def test_nothing_to_write(scene: PipelineScene) -> None:
    """A policy that is as it has to be is read, and not written."""
    scene.account.policies[ROLE, NAME] = text([TARGET])

    widen(scene, TARGET)
    narrow(scene, TARGET)

    assert scene.operations() == [READ, READ]


@pytest.mark.parametrize("room", range(21))
def test_as_many_as_there_is_room_for(scene: PipelineScene, room: int) -> None:
    """The first targets are allowed, as many as IAM takes; the rest is reported, after few tries."""
    has_room_for(scene, room)

    facts = widen(scene, *TARGETS)
    narrow(scene, *TARGETS[:room])

    assert facts.no_room == set(TARGETS[room:])
    assert scene.account.policies.get((ROLE, NAME)) == (text(TARGETS[:room]) if room else None)
    assert scene.account.calls[PUT] <= 6


def test_each_try_is_made_on_a_read_of_its_own(scene: PipelineScene) -> None:
    """What another writer of the policy removes between two tries is not written back."""
    has_room_for(scene, 2)

    widen(scene, *TARGETS[:4])

    assert scene.operations() == [READ, PUT] * (len(scene.operations()) // 2)


def test_what_is_allowed_stays(scene: PipelineScene) -> None:
    """A policy that is full goes on to allow what it allows, and loses only what is not wanted any more."""
    has_room_for(scene, 3)
    widen(scene, *TARGETS[:3])

    assert widen(scene, *TARGETS[1:5]).no_room == {TARGETS[3], TARGETS[4]}
    assert scene.account.policies[ROLE, NAME] == text(TARGETS[:3])
    narrow(scene, *TARGETS[1:3])
    assert scene.account.policies[ROLE, NAME] == text(TARGETS[1:3])
    assert widen(scene, *TARGETS[1:5]).no_room == {TARGETS[4]}


def test_refused_for_another_reason(scene: PipelineScene) -> None:
    """Only a policy that is too long is made shorter."""
    scene.account.always[PUT] = PolicyRejectedError("broken", code="MalformedPolicyDocument")

    with pytest.raises(PolicyRejectedError):
        widen(scene, *TARGETS)

    assert scene.operations() == [READ, PUT]


@pytest.mark.parametrize(
    "found", [json.dumps(EDITED), '{"Statement":"x"}', "[]", "not JSON"], ids=["edited", "odd", "list", "text"]
)
def test_edited_policy(scene: PipelineScene, found: str) -> None:
    """A policy that is not as we write it is left alone until it is narrowed; then it is written anew."""
    scene.account.policies[ROLE, NAME] = found

    facts = widen(scene)

    assert scene.account.policies[ROLE, NAME] == found
    assert facts.account.source_targets[ROLE] is None
    narrow(scene, TARGET)
    assert scene.account.policies[ROLE, NAME] == text([TARGET])


def test_edited_policy_with_a_new_target(scene: PipelineScene) -> None:
    """Nobody can tell what an edited policy allows, so a target that is wanted is written before it is used."""
    scene.account.policies[ROLE, NAME] = json.dumps(EDITED)

    widen(scene, TARGET)

    assert scene.account.policies[ROLE, NAME] == text([TARGET])


def test_resource_that_is_no_role(scene: PipelineScene) -> None:
    """A pattern that another writer has put among the targets stays until the policy is narrowed."""
    scene.account.policies[ROLE, NAME] = text(["*"])

    widen(scene, TARGET)
    assert scene.account.targets(ROLE) == frozenset({"*", str(TARGET)})
    narrow(scene, TARGET)
    assert scene.account.targets(ROLE) == frozenset({str(TARGET)})


@pytest.mark.parametrize("written", [PUT, DELETE])
@pytest.mark.parametrize("error", [*NOT_LEADING, ThrottledError("slow"), StaleReadError("old")], ids=str)
def test_write_is_one_attempt(scene: PipelineScene, written: str, error: AwsError) -> None:
    """What was planned on a read is sent at most once, and with permission; what stops it goes up."""
    if written == DELETE:
        scene.account.policies[ROLE, NAME] = text([TARGET])
    guard: Any = ALWAYS
    if isinstance(error, ThrottledError):
        scene.account.always[written] = error
    elif isinstance(error, StaleReadError):
        scene.account.before[written] = [lambda: scene.jump(0.3)]
    else:
        guard = Refusing(error)

    with pytest.raises(type(error)):
        narrow(scene, *([TARGET] if written == PUT else []), guard=guard)

    sent = [written] if isinstance(error, ThrottledError) else []
    assert scene.operations() == [READ, *sent]


@pytest.mark.parametrize("effect", [True, False])
def test_unanswered_write(scene: PipelineScene, effect: bool) -> None:
    """It is not sent again here: the run reads the role again first."""
    scene.account.unanswered[PUT] = [effect]

    with pytest.raises(UnreachableError):
        widen(scene, TARGET)

    assert scene.operations() == [READ, PUT]


def test_budget_is_taken_before_the_read(scene: PipelineScene) -> None:
    """Read and write are sent at the same time, whatever number of roles waits for the budget."""
    pool = AccountPool(scene.sessions, scene.clock, lambda _: CallLimiter(1, 2))
    roles = [dataclasses.replace(ROLE, name=f"source-{number}") for number in range(10)]
    for role in roles:
        scene.account.roles[role] = scene.account.roles[ROLE]

    async def play() -> None:
        entered = await pool.enter(work().aws_account)
        await asyncio.gather(
            *(
                resource.narrow(
                    entered,
                    work(role=role),
                    NarrowSourcePolicy((TARGET,)),
                    Facts(entered.facts),
                    ALWAYS,
                    0.25,
                    scene.pace,
                )
                for role in roles
            )
        )

    scene.play(play())

    calls = list(zip(scene.account.log, scene.account.sent_at, strict=True))
    for role in roles:
        own = [(operation, at) for (operation, subject), at in calls if subject == str(role)]
        assert [operation for operation, _ in own] == [READ, PUT]
        assert own[0][1] == own[1][1]


def test_targets_are_read(scene: PipelineScene) -> None:
    """For a periodic check; what was seen is known afterwards."""
    scene.account.policies[ROLE, NAME] = text([TARGET])

    async def play() -> tuple[Any, Any]:
        entered = await scene.enter()
        found = await resource.read_targets(entered, ROLE, ISSUER)
        return found, entered.facts.source_targets[ROLE]

    assert scene.play(play()) == (frozenset({str(TARGET)}),) * 2
