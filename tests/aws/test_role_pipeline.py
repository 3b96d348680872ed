"""One role brought to what is wanted, beside other writers, throttling and lost answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from support.pipeline_scene import (
    ISSUER,
    NOT_LEADING,
    OPS,
    ROLE,
    TERRAFORM,
    PipelineScene,
    Refusing,
    binding,
    document,
    owned,
    work,
)
from trustbind.api.aws_account import DriftPolicy
from trustbind.errors import AwsError, NotFoundError, PolicyRejectedError, ThrottledError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.policy.source_policy import policy_name, source_policy
from trustbind.reasons import TrustReason
from trustbind.reconcile.rollout import RoleProgress, Rollout
from trustbind_aws.permits import StaleReadError

READ, WRITE = "GetRole", "UpdateAssumeRolePolicy"
LOOK, CREATE, ADD = "GetOpenIDConnectProvider", "CreateOpenIDConnectProvider", "AddClientIDToOpenIDConnectProvider"
THROTTLED = ThrottledError("Rate exceeded", code="Throttling", operation=f"iam:{WRITE} on {ROLE}")
SOURCE = ROLE
TARGET = RoleArn.parse("arn:aws:iam::777788889999:role/feed")


@pytest.fixture
def scene() -> PipelineScene:
    """Return a scene."""
    return PipelineScene()


@pytest.mark.parametrize(
    ("present", "made"),
    [({"sts.amazonaws.com"}, []), ({"other"}, [READ, ADD]), (None, [READ, CREATE])],
    ids=["listed", "client id missing", "absent"],
)
def test_calls_of_a_first_binding(scene: PipelineScene, present: set[str] | None, made: list[str]) -> None:
    """A new binding costs a read of the provider, a read of the role, its write, and a read that confirms it."""
    scene.account.provider = present

    done = scene.run(work(binding()))

    assert scene.operations() == [LOOK, *made, READ, WRITE, READ]
    assert scene.account.operations[:2] == ["GetCallerIdentity", "GetAccountSummary"]
    assert scene.account.roles[ROLE].meaning() == document(OPS, owned("app")).meaning()
    assert (done.written, done.problem) == (1, None)


def test_calls_of_a_further_binding(scene: PipelineScene) -> None:
    """Where the AWS account is known, a change costs a read, a write and a read."""
    scene.warm(work(binding()))

    scene.run(work(binding(), binding("web")))

    assert scene.account.operations == [READ, WRITE, READ]


def test_calls_of_a_quiet_run(scene: PipelineScene) -> None:
    """Where nothing differs, a run costs one read."""
    scene.warm(work(binding()))

    done = scene.run(work(binding()))

    assert scene.account.operations == [READ]
    assert done.written == 0


@pytest.mark.parametrize(
    "failure", ["throttled", "unanswered without effect", "unanswered after its effect"], ids=lambda name: name
)
def test_failed_write_goes_back_to_the_read(scene: PipelineScene, failure: str) -> None:
    """A statement that another writer adds before the second attempt survives it."""
    account = scene.account
    if failure == "throttled":
        account.errors[WRITE] = [THROTTLED]
        account.before[WRITE] = [scene.foreign_write]
    else:
        account.unanswered[WRITE] = ["after" in failure]
        account.after[WRITE] = [scene.foreign_write]

    done = scene.run(work(binding()))

    sids = [s["Sid"] for s in account.roles[ROLE].statements]
    assert sorted(sids) == sorted(["Ops", "Terraform", owned("app")["Sid"]])
    again = [] if "after" in failure else [WRITE, READ]
    assert scene.operations(LOOK) == [READ, WRITE, READ, *again]
    assert done.problem is None


def test_write_that_is_throttled_each_time(scene: PipelineScene) -> None:
    """After four attempts the error goes up; each attempt has read the role."""
    scene.account.always[WRITE] = THROTTLED

    with pytest.raises(ThrottledError):
        scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, WRITE] * 4


@pytest.mark.parametrize(
    "error",
    [
        PolicyRejectedError("no", code="MalformedPolicyDocument"),
        NotFoundError("gone", code="NoSuchEntity"),
        AwsError("no"),
    ],
)
def test_error_that_another_attempt_cannot_help(scene: PipelineScene, error: AwsError) -> None:
    """It goes up after one attempt, and what was there stays."""
    scene.account.always[WRITE] = error

    with pytest.raises(type(error)):
        scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, WRITE]
    assert scene.account.roles[ROLE] == document(OPS)


def test_read_without_an_answer(scene: PipelineScene) -> None:
    """It is sent once more: the connection may have been closed while it was idle."""
    scene.account.unanswered[READ] = [True]

    scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, READ, WRITE, READ]
    assert scene.account.roles[ROLE].meaning() == document(OPS, owned("app")).meaning()


def test_two_reads_without_an_answer(scene: PipelineScene) -> None:
    """The second goes up: nothing was sent that may have taken effect."""
    scene.account.unanswered[READ] = [True, True]

    with pytest.raises(UnreachableError):
        scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, READ]


def test_pause_between_read_and_write(scene: PipelineScene) -> None:
    """A write whose read is too old is not sent; what another writer added meanwhile is read and survives."""

    def pause() -> None:
        scene.jump(0.3)
        scene.foreign_write()

    scene.account.before[WRITE] = [pause]

    scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, READ, WRITE, READ]
    assert TERRAFORM["Sid"] in [s["Sid"] for s in scene.account.roles[ROLE].statements]


def test_time_on_the_event_loop_counts(scene: PipelineScene) -> None:
    """The age of a read begins with its answer, not with the plan that is made on it."""
    scene.account.after[READ] = []
    role = scene.account.role
    pauses = [0.3, 0.0]

    async def slow(*arguments: Any, **named: Any) -> Any:
        seen = await role(*arguments, **named)
        scene.jump(pauses.pop(0) if pauses else 0.0)
        return seen

    scene.account.role = slow  # type: ignore[method-assign] # a loop that is busy after the answer

    scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, READ, WRITE, READ]


def test_process_that_is_always_slow(scene: PipelineScene) -> None:
    """The bound on the age of a read doubles after three refusals, up to two seconds and never beyond."""
    pause = 2.0

    def slow(seconds: float) -> None:
        scene.account.before[WRITE] = [lambda: scene.jump(seconds)] * 20

    slow(pause)
    scene.run(work(binding()))
    assert scene.operations(LOOK) == [READ] * 9 + [READ, WRITE, READ]

    again = PipelineScene()
    again.account.before[WRITE] = [lambda: again.jump(2.01)] * 20
    with pytest.raises(StaleReadError, match="may be 2000 ms old"):
        again.run(work(binding()))
    assert again.operations(LOOK) == [READ] * 12
    assert again.account.roles[ROLE] == document(OPS)


@pytest.mark.parametrize(("pause", "reads"), [(0.2, 1), (0.4, 4), (0.9, 7), (1.9, 10)])
def test_bound_that_lets_a_slow_process_write(scene: PipelineScene, pause: float, reads: int) -> None:
    """Three refusals double the bound: 250 ms, 500 ms, 1 s, 2 s."""
    scene.account.before[WRITE] = [lambda: scene.jump(pause)] * 20

    scene.run(work(binding()))

    assert scene.operations(LOOK) == [*[READ] * reads, WRITE, READ]


@pytest.mark.parametrize("error", NOT_LEADING, ids=lambda error: type(error).__name__)
def test_nothing_is_sent_without_permission(scene: PipelineScene, error: AwsError) -> None:
    """The guard is asked once, right before the write, and its refusal ends the run."""
    guard = Refusing(error)

    with pytest.raises(type(error)):
        scene.run(work(binding()), guard=guard)

    assert scene.operations(LOOK) == [READ]
    assert guard.asked == 1


def test_guard_is_asked_before_each_attempt(scene: PipelineScene) -> None:
    """A permission for the first attempt is none for the second."""
    scene.account.always[WRITE] = THROTTLED

    with pytest.raises(type(NOT_LEADING[0])):
        scene.run(work(binding()), guard=Refusing(NOT_LEADING[0], permitted=1))

    assert scene.operations(LOOK) == [READ, WRITE, READ]


def test_lease_that_ends_before_the_write_is_sent(scene: PipelineScene) -> None:
    """The deadline is asked for on the event loop and checked where the write is sent."""

    class Lease:
        def deadline(self) -> float:
            return scene.clock() + 10.0

    scene.account.before[WRITE] = [lambda: scene.jump(10.0)]

    with pytest.raises(type(NOT_LEADING[0]), match="does not write"):
        scene.run(work(binding()), guard=Lease())

    assert scene.operations(LOOK) == [READ]


@pytest.mark.parametrize("late", [1, 2])
def test_late_visibility(scene: PipelineScene, late: int) -> None:
    """A read that still shows the document from before the write is waited for, and nothing is written again."""
    scene.account.stale_reads = late

    done = scene.run(work(binding()))

    assert scene.operations(LOOK) == [READ, WRITE, *[READ] * (late + 1)]
    assert done.written == 1


def test_overwritten_by_another_writer(scene: PipelineScene) -> None:
    """A write that another writer overwrote is redone on what is there now, with that writer's change kept."""
    scene.account.after[WRITE] = [lambda: scene.account.roles.update({ROLE: document(OPS, TERRAFORM)})]

    done = scene.run(work(binding()))

    assert scene.account.roles[ROLE].meaning() == document(OPS, TERRAFORM, owned("app")).meaning()
    assert (done.written, done.problem) == (2, None)


def test_contended(scene: PipelineScene) -> None:
    """A writer that overwrites each write is reported after a bounded number of tries."""
    writes = iter(range(100))

    def overwrite() -> None:
        scene.account.roles[ROLE] = document(OPS, {**TERRAFORM, "Sid": f"Other{next(writes)}"})

    scene.account.after[WRITE] = [overwrite] * 20

    done = scene.run(work(binding()))

    assert done.written == len(scene.pace.redo) + 1
    assert done.problem is not None
    assert done.problem.reason is TrustReason.TRUST_CONTENDED
    assert f"was written {done.written} times" in done.problem.message
    assert done.stopped == done.problem
    assert scene.operations(LOOK) == [READ, WRITE, READ] * done.written


def test_driftpolicy_observe_writes_nothing(scene: PipelineScene) -> None:
    """What differs is reported, and neither provider nor trust policy nor inline policy is written."""
    scene.account.provider = {"other"}

    done = scene.run(work(binding(), drift_policy=DriftPolicy.OBSERVE))

    assert scene.operations() == [LOOK, READ]
    assert [d.stored.ref.name for d in done.planned.held] == ["app"]

    scene.account.provider = {"sts.amazonaws.com"}
    done = scene.run(work(binding(), drift_policy=DriftPolicy.OBSERVE))
    assert done.stopped is not None
    assert done.stopped.reason is TrustReason.OBSERVED
    assert {WRITE, CREATE, ADD, "PutRolePolicy"}.isdisjoint(scene.operations())


def test_provider_that_trustbind_does_not_manage(scene: PipelineScene) -> None:
    """A binding whose audience the provider does not list waits; the others are written."""
    done = scene.run(work(binding("new", audience="new"), binding(), manage_provider=False))

    assert [d.stored.ref.name for d in done.planned.held] == ["new"]
    assert "lacks the client id new" in str(done.planned.lacking)
    assert scene.account.roles[ROLE].meaning() == document(OPS, owned("app")).meaning()
    assert scene.account.provider == {"sts.amazonaws.com"}


def test_provider_that_cannot_be_changed(scene: PipelineScene) -> None:
    """Its bindings wait with the error of AWS; the others are written, and a statement that stands stays."""
    scene.warm(work(binding()))
    scene.account.always[ADD] = ThrottledError("slow", operation=f"iam:{ADD}")

    done = scene.run(work(binding("new", audience="new"), binding(), binding("web")))

    assert [d.stored.ref.name for d in done.planned.held] == ["new"]
    assert done.planned.lacking is scene.account.always[ADD]
    assert scene.account.roles[ROLE].meaning() == document(OPS, owned("app", "web")).meaning()


def chain(name: str = "app", target: RoleArn = TARGET, *, stands: bool = True, **named: Any) -> Any:
    """Return a chain from ``SOURCE`` to a target role that trusts it already."""
    rollout = Rollout({target: RoleProgress(stands=stands)})
    source = {"roleArn": str(SOURCE)}
    return binding(name, roleArn=str(target), method="AssumeRole", source=source, rollout=rollout, **named)


def test_chain_widens_before_it_grants(scene: PipelineScene) -> None:
    """The source role may assume the target before the service accounts may assume the source role."""
    scene.run(work(chain(), role=SOURCE))

    assert scene.operations() == [LOOK, READ, "GetRolePolicy", "PutRolePolicy", READ, WRITE, READ]
    assert scene.account.targets(SOURCE) == frozenset({str(TARGET)})


def test_chain_widens_a_policy_that_is_known_to_be_absent(scene: PipelineScene) -> None:
    """What an earlier run saw does not let the grant come first."""
    scene.warm(work(chain(stands=False), role=SOURCE))

    scene.run(work(chain(), role=SOURCE))

    assert scene.operations(LOOK) == [READ, "GetRolePolicy", "PutRolePolicy", READ, WRITE, READ]


def test_chain_narrows_after_it_revoked(scene: PipelineScene) -> None:
    """The source role loses a target after the service accounts have lost the source role."""
    other = dataclasses.replace(TARGET, name="other")
    scene.warm(work(chain(), chain("web", other), role=SOURCE))
    assert scene.account.targets(SOURCE) == frozenset({str(TARGET), str(other)})

    scene.run(work(chain(), chain("web", other, deleting=True), role=SOURCE))

    assert scene.account.operations == [READ, WRITE, READ, "GetRolePolicy", "PutRolePolicy"]
    assert scene.account.targets(SOURCE) == frozenset({str(TARGET)})
    scene.account.forget_calls()
    scene.run(work(chain(deleting=True), role=SOURCE))
    assert scene.account.operations == [READ, WRITE, READ, "GetRolePolicy", "DeleteRolePolicy"]
    assert scene.account.policies == {}


def test_target_that_does_not_fit(scene: PipelineScene) -> None:
    """Its chain is refused with a reason, and the others go on."""
    other = dataclasses.replace(TARGET, name="other")
    room = len(str(source_policy([TARGET])).replace(" ", ""))
    scene.account.inline_limit = room

    done = scene.run(work(chain(), chain("web", other), role=SOURCE))

    assert scene.account.targets(SOURCE) == frozenset({str(TARGET)})
    assert [(str(r.binding), r.reason) for r in done.planned.trust.refusals] == [
        ("team-a/web", TrustReason.SOURCE_POLICY_FULL)
    ]
    assert scene.account.roles[ROLE].meaning() == document(OPS, owned("app")).meaning()


def test_inline_policy_written_on_a_fresh_read(scene: PipelineScene) -> None:
    """A throttled write of the inline policy goes back to the read, too."""
    scene.account.errors["PutRolePolicy"] = [ThrottledError("slow", operation="iam:PutRolePolicy")]

    scene.run(work(chain(), role=SOURCE))

    once = ["GetRolePolicy", "PutRolePolicy"]
    assert scene.operations(LOOK) == [READ, *once, READ, *once, READ, WRITE, READ]
    assert (SOURCE, policy_name(ISSUER)) in scene.account.policies
