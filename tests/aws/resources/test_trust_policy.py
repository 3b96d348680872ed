"""The trust policy of a role, beside other writers, late reads and lost writes; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from trustbind.errors import AwsError, NotFoundError, PolicyRejectedError, ThrottledError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer
from trustbind.policy.owned_statement import is_owned
from trustbind.policy.plan import plan
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import desired_of
from trustbind.reconcile.observation import AccountFacts, Facts, RoleObservation
from trustbind.reconcile.result import RoleResult
from trustbind.reconcile.role_plan import EnsureProvider, RoleWork, plan_role
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.permits import ALWAYS, StaleReadError, WriteGuard
from trustbind_aws.resources.trust_policy import (
    DEFAULT_PACE,
    Attempt,
    Status,
    WritePace,
    apply,
    confirm,
    is_worth_a_retry,
)
from trustbind_aws.role_pipeline import observe_role, reconcile_role

READ, WRITE = "GetRole", "UpdateAssumeRolePolicy"
LOOK = "GetOpenIDConnectProvider"
OTHER = Issuer.parse("https://oidc.example.com/id/2")
BURST = 2


@pytest.fixture
def scene() -> PipelineScene:
    """Return a scene."""
    return PipelineScene()


def facts(*audiences: str) -> Facts:
    """Return what is known of an AWS account whose provider lists these."""
    return Facts(AccountFacts(2048, {ISSUER.provider_for(ROLE): frozenset(audiences or (DEFAULT_AUDIENCE,))}))


def attempt(
    scene: PipelineScene, each: RoleWork, known: Facts | None = None, guard: WriteGuard = ALWAYS, max_age: float = 0.25
) -> Attempt:
    """Make one attempt."""
    plan_on = partial(plan_role, each, known or facts())
    return scene.play(apply(scene.account, ROLE, plan_on, guard, max_age, scene.pace))


def timed(scene: PipelineScene, each: RoleWork) -> tuple[RoleResult, float]:
    """Reconcile a role; return the result and how many seconds that took."""

    async def play() -> tuple[RoleResult, float]:
        result = await reconcile_role(scene.pool, each, ALWAYS, scene.pace)
        return result, asyncio.get_running_loop().time()

    return scene.play(play())


def has(scene: PipelineScene, *statements: Mapping[str, Any]) -> bool:
    """Return whether the trust policy of the role has these statements, in any order."""
    return scene.account.roles[ROLE].meaning() == document(*statements).meaning()


def replaced(scene: PipelineScene, *statements: Mapping[str, Any]) -> Any:
    """Return a writer that has read before us and writes its own document."""
    return lambda: scene.account.roles.update({ROLE: document(*statements)})


def test_attempt_that_writes(scene: PipelineScene) -> None:
    """One read and one write; the foreign statement stays."""
    done = attempt(scene, work(binding()))

    assert done.status is Status.WRITTEN
    assert done.seen.document == document(OPS)
    assert scene.account.log == [(READ, str(ROLE)), (WRITE, str(ROLE))]
    assert has(scene, OPS, owned("app"))


def test_attempt_with_nothing_to_write(scene: PipelineScene) -> None:
    """One read, and the guard is not asked."""
    scene.account.roles[ROLE] = document(OPS, owned("app"))
    guard = Refusing(NOT_LEADING[0])

    done = attempt(scene, work(binding()), guard=guard)

    assert done.status is Status.UNCHANGED
    assert (scene.account.operations, guard.asked) == ([READ], 0)


def test_attempt_before_which_another_step_comes(scene: PipelineScene) -> None:
    """Nothing is written, and the plan says which step."""
    done = attempt(scene, work(binding()), facts("other"))

    assert done.status is Status.OTHER_STEP
    assert done.planned.steps[0] == EnsureProvider(ISSUER.provider_for(ROLE), (DEFAULT_AUDIENCE,))
    assert scene.account.operations == [READ]


@pytest.mark.parametrize("error", NOT_LEADING, ids=lambda error: type(error).__name__)
def test_attempt_without_permission(scene: PipelineScene, error: AwsError) -> None:
    """The role is read, and nothing is sent."""
    with pytest.raises(type(error)):
        attempt(scene, work(binding()), guard=Refusing(error))

    assert scene.account.operations == [READ]


@pytest.mark.parametrize(("age", "sent"), [(0.0, True), (0.25, True), (0.2501, False), (60.0, False)])
def test_age_of_the_read(scene: PipelineScene, age: float, sent: bool) -> None:
    """A write is sent while its read is no older than the bound; time before the answer does not count."""
    scene.account.latency[READ] = 0.0
    scene.account.after[READ] = [lambda: scene.jump(100.0)]
    scene.account.before[WRITE] = [lambda: scene.jump(age)]

    if sent:
        assert attempt(scene, work(binding())).status is Status.WRITTEN
        return
    with pytest.raises(StaleReadError, match=rf"was read {1000 * age:.0f} ms ago, and may be 250 ms old"):
        attempt(scene, work(binding()))
    assert scene.account.operations == [READ]


def test_failed_attempt_is_one_attempt(scene: PipelineScene) -> None:
    """What was planned on a read is never sent twice."""
    scene.account.always[WRITE] = ThrottledError("slow", operation=f"iam:{WRITE}")

    with pytest.raises(ThrottledError):
        attempt(scene, work(binding()))

    assert scene.account.operations == [READ, WRITE]


@pytest.mark.parametrize("others", [0, 1, 5, 40])
def test_budget_and_thread_are_taken_before_the_read(others: int) -> None:
    """At one call a second, read and write of a role are sent at the same time, whatever number of roles waits."""
    scene = PipelineScene()
    roles = [RoleArn.parse(f"{ROLE}-{number}") for number in range(others + 1)]
    for role in roles:
        scene.account.roles[role] = document(OPS)
    pool = AccountPool(scene.sessions, scene.clock, lambda _: CallLimiter(1, BURST))

    async def play() -> None:
        one, *further = [work(binding(roleArn=str(role)), role=role) for role in roles]
        await reconcile_role(pool, one, ALWAYS, scene.pace)
        await asyncio.gather(*(reconcile_role(pool, each, ALWAYS, scene.pace) for each in further))

    scene.play(play())

    calls = list(zip(scene.account.log, scene.account.sent_at, strict=True))
    for role in roles:
        own = [(operation, at) for (operation, subject), at in calls if subject == str(role)]
        assert [operation for operation, _ in own] == [READ, WRITE, READ]
        assert own[0][1] == own[1][1], "the write waited after its read"
    assert calls[-1][1] >= 3 * (others + 1) - BURST


def test_slow_account_does_not_make_a_read_old(scene: PipelineScene) -> None:
    """Eight threads with slow answers: who waits for a thread has not read yet."""
    roles = [RoleArn.parse(f"{ROLE}-{number}") for number in range(30)]
    for role in roles:
        scene.account.roles[role] = document(OPS)
    scene.account.latency = {READ: 4.0, WRITE: 4.0}

    async def play() -> list[RoleResult]:
        each = [work(binding(roleArn=str(role)), role=role) for role in roles]
        return await asyncio.gather(*(reconcile_role(scene.pool, one, ALWAYS, scene.pace) for one in each))

    done = scene.play(play())

    assert [result.written for result in done] == [1] * 30
    assert scene.account.calls[READ] == 60


@pytest.mark.parametrize(
    ("refusals", "bound"), [(0, 0.25), (2, 0.25), (3, 0.5), (5, 0.5), (6, 1.0), (9, 2.0), (12, 2.0), (1000, 2.0)]
)
def test_bound_on_the_age_of_a_read(refusals: int, bound: float) -> None:
    """It doubles after three refusals, up to two seconds."""
    assert WritePace().read_age(refusals) == bound


@pytest.mark.parametrize(("late", "seconds"), [(1, 0.2), (2, 0.7)])
def test_late_visibility(scene: PipelineScene, late: int, seconds: float) -> None:
    """A read that still shows the document from before the write is waited for, and nothing is written again."""
    scene.account.stale_reads = late

    done, took = timed(scene, work(binding()))

    assert (done.written, done.problem) == (1, None)
    assert took == pytest.approx(seconds)


@pytest.mark.parametrize("late", [7, 8])
def test_never_visible_in_time(scene: PipelineScene, late: int) -> None:
    """A write that does not show within seconds is planned again on what is seen then."""
    scene.account.stale_reads = late

    done, took = timed(scene, work(binding()))

    assert done.problem is None
    assert has(scene, OPS, owned("app"))
    assert took == pytest.approx(sum(scene.pace.visible) + scene.pace.redo[0])
    assert done.written == late - 6


def test_lost_update(scene: PipelineScene) -> None:
    """A write that another writer undid is redone on what is there now, with that writer's change kept."""
    scene.account.after[WRITE] = [replaced(scene, OPS, TERRAFORM)]

    done, took = timed(scene, work(binding()))

    assert has(scene, OPS, TERRAFORM, owned("app"))
    assert (done.written, done.problem) == (2, None)
    assert took == pytest.approx(scene.pace.redo[0])


def test_pause_before_a_redo_is_random(scene: PipelineScene) -> None:
    """Two operators that undo each other's writes do not go on in step."""
    scene.pace = WritePace(jitter=lambda: 0.25, clock=scene.clock)
    scene.account.after[WRITE] = [replaced(scene, OPS, TERRAFORM)]

    assert timed(scene, work(binding()))[1] == pytest.approx(scene.pace.redo[0] / 4)


def test_overwritten_with_what_was_there(scene: PipelineScene) -> None:
    """A write that was undone to the document from before it is redone as well."""
    scene.account.after[WRITE] = [replaced(scene, OPS)]

    done = scene.run(work(binding()))

    assert has(scene, OPS, owned("app"))
    assert (done.written, done.problem) == (2, None)


def test_another_cluster_added_its_own(scene: PipelineScene) -> None:
    """A change of another writer that keeps ours needs no work."""
    theirs = owned("z", issuer=OTHER)
    scene.account.after[WRITE] = [lambda: scene.foreign_write(theirs)]

    done = scene.run(work(binding()))

    assert has(scene, OPS, owned("app"), theirs)
    assert done.written == 1


def test_contended(scene: PipelineScene) -> None:
    """A writer that undoes every write is reported after a bounded number of tries, with pauses in between."""
    mine = [replaced(scene, OPS, TERRAFORM), replaced(scene, OPS), replaced(scene, TERRAFORM)]
    scene.pace = WritePace(redo=(10.0, 20.0), visible=(1.0, 2.0), jitter=lambda: 1.0, clock=scene.clock)
    scene.account.after[WRITE] = mine

    done, took = timed(scene, work(binding()))

    assert done.written == 3
    assert done.problem is not None
    assert done.problem.reason is TrustReason.TRUST_CONTENDED
    assert "written 3 times" in done.problem.message
    assert took == pytest.approx(30.0)


def test_solved_by_another_writer(scene: PipelineScene) -> None:
    """When the other writer's document turns out to be what is wanted, nothing more is written."""
    scene.account.after[WRITE] = [replaced(scene, TERRAFORM)]
    scene.account.after[READ] = [
        lambda: None,
        replaced(scene, TERRAFORM, owned("app")),
    ]

    done = scene.run(work(binding()))

    assert (done.written, done.problem) == (1, None)


def test_removal_is_seen(scene: PipelineScene) -> None:
    """After a removal the statement has to be gone; a late read that still shows it is waited for."""
    scene.account.roles[ROLE] = document(OPS, owned("app"))
    scene.account.stale_reads = 1

    done, took = timed(scene, work(binding(deleting=True)))

    assert has(scene, OPS)
    assert (done.written, done.problem) == (1, None)
    assert took == pytest.approx(0.2)


def test_removal_is_undone(scene: PipelineScene) -> None:
    """A removal that another writer undid is redone."""
    scene.account.roles[ROLE] = document(OPS, owned("app"))
    scene.account.after[WRITE] = [replaced(scene, TERRAFORM, owned("app"))]

    done = scene.run(work(binding(deleting=True)))

    assert has(scene, TERRAFORM)
    assert done.written == 2


def test_last_statement(scene: PipelineScene) -> None:
    """The last statement that goes leaves the placeholder, and the next one replaces it."""
    scene.account.roles[ROLE] = document(owned("app"))

    scene.run(work(binding(deleting=True)))
    assert [s["Effect"] for s in scene.account.roles[ROLE].statements] == ["Deny"]
    assert scene.run(work(binding(deleting=True))).written == 0
    scene.run(work(binding("web")))

    assert has(scene, owned("web"))


@pytest.mark.parametrize("error", [PolicyRejectedError("no", code="LimitExceeded"), AwsError("no")])
def test_write_fails(scene: PipelineScene, error: AwsError) -> None:
    """An error of AWS goes through, and what was there stays."""
    scene.account.errors[WRITE] = [error]

    with pytest.raises(type(error)):
        scene.run(work(binding()))

    assert has(scene, OPS)


def test_no_such_role(scene: PipelineScene) -> None:
    """A role that is not there is an error, for a run as for an observation."""
    del scene.account.roles[ROLE]

    with pytest.raises(NotFoundError):
        scene.run(work(binding()))
    with pytest.raises(NotFoundError):
        scene.play(observe_role(scene.pool, work(binding())))


@pytest.mark.parametrize("given", [None, 150])
def test_limit(scene: PipelineScene, given: int | None) -> None:
    """The AWS account's limit counts unless the AWSAccount has one; what does not fit is refused, not written."""
    scene.account.limit = 160

    done = scene.run(work(binding(), trust_policy_limit=given))

    assert (done.written, scene.account.calls[WRITE]) == (0, 0)
    assert [r.reason for r in done.planned.trust.refusals] == [TrustReason.TRUST_POLICY_FULL]
    assert done.planned.trust.limit == (given or 160)
    assert scene.account.calls["GetAccountSummary"] == (0 if given else 1)


def test_observation_writes_nothing(scene: PipelineScene) -> None:
    """What a plan needs is read, and the plan is the one that a run would begin with."""
    scene.account.provider = None
    each = work(binding())

    _, known, seen = scene.play(observe_role(scene.pool, each))

    planned = plan_role(each, known, seen)
    assert planned.trust == plan(document(OPS), desired_of(ROLE, ISSUER, each.decisions))
    assert [type(step).__name__ for step in planned.steps] == ["EnsureProvider", "WriteTrustPolicy"]
    assert scene.operations() == [LOOK, READ]


def test_confirmation(scene: PipelineScene) -> None:
    """The role as it was read last, and the document of another writer where there is one."""
    planned = attempt(scene, work(binding())).planned.trust

    seen, theirs = scene.play(confirm(scene.account, planned, scene.pace))
    assert (seen.document.meaning(), theirs) == (document(OPS, owned("app")).meaning(), None)

    scene.account.roles[ROLE] = document(OPS, TERRAFORM)
    seen, theirs = scene.play(confirm(scene.account, planned, scene.pace))
    assert isinstance(seen, RoleObservation)
    assert theirs == seen.document == document(OPS, TERRAFORM)


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (ThrottledError("slow", operation=f"iam:{READ} on x"), True),
        (StaleReadError("old", operation=f"iam:{WRITE}"), True),
        (UnreachableError("no answer", operation=f"iam:{WRITE} on {ROLE}"), True),
        (UnreachableError("no answer", operation=f"iam:PutRolePolicy on {ROLE}"), True),
        (UnreachableError("no answer", operation=f"iam:DeleteRolePolicy on {ROLE}"), True),
        (UnreachableError("no answer", operation=f"iam:{READ} on {ROLE}"), False),
        (PolicyRejectedError("no"), False),
        (NotFoundError("gone"), False),
        (AwsError("no"), False),
        *((error, False) for error in NOT_LEADING),
    ],
)
def test_errors_that_go_back_to_the_read(error: AwsError, worth: bool) -> None:
    """Those after which another attempt may help."""
    assert is_worth_a_retry(error) is worth


def test_defaults_allow_for_seconds() -> None:
    """By default a write has over ten seconds to show, and is redone a few times with growing pauses."""
    assert sum(DEFAULT_PACE.visible) > 10
    assert list(DEFAULT_PACE.redo) == sorted(DEFAULT_PACE.redo)
    assert 0 <= DEFAULT_PACE.jitter() < 1


statements = st.sampled_from([OPS, TERRAFORM, owned("a"), owned("b", "c"), owned("z", issuer=OTHER)])
documents = st.lists(statements, min_size=1, max_size=4, unique_by=lambda s: str(s["Sid"])).map(
    lambda listed: document(*listed)
)
names = st.sets(st.sampled_from("abcd")).map(sorted)


def foreign(one: TrustDocument) -> list[Any]:
    """Return the statements that this cluster does not own."""
    return [s for s in one.statements if not is_owned(s, ISSUER)]


@given(documents, names, st.integers(0, 2), st.lists(documents, max_size=2), st.sets(st.integers(1, 2), max_size=1))
def test_converges(
    current: TrustDocument, accounts: Iterable[str], late: int, others: list[TrustDocument], undone: set[int]
) -> None:
    """With late reads, undone writes and two writes of others, the decisions hold and the others' statements stay."""
    scene = PipelineScene()
    scene.pace = WritePace(visible=(1.0,) * 3, redo=(1.0,) * 6, jitter=lambda: 1.0, clock=scene.clock)
    account = scene.account
    account.roles[ROLE], account.stale_reads = current, late
    each = work(*(binding(name) for name in accounts))
    before: list[TrustDocument] = []
    left = list(others)

    def remember() -> None:
        before.append(account.roles[ROLE])

    def undo_or_overwrite() -> None:
        if len(before) in undone:
            account.roles[ROLE] = before[-1]
        if left:
            account.roles[ROLE] = left.pop(0)

    account.before[WRITE], account.after[WRITE] = [remember] * 9, [undo_or_overwrite] * 9

    done = scene.run(each)

    assert done.problem is None
    assert plan(account.roles[ROLE], desired_of(ROLE, ISSUER, each.decisions)).is_empty
    last = others[min(len(before), len(others)) - 1] if others and before else current
    assert foreign(account.roles[ROLE]) == foreign(last)
