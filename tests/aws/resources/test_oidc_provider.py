"""The OIDC providers of an AWS account: when they are read, created, completed and left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import pytest

from support.pipeline_scene import ISSUER, NOT_LEADING, ROLE, PipelineScene, Refusing, binding, work
from trustbind.api.identity_context import IdentityContext
from trustbind.errors import AccessDeniedError, AwsError, ObservedError, ThrottledError
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer
from trustbind.reconcile.observation import AccountFacts, Facts
from trustbind.reconcile.role_plan import EnsureProvider, provider_problem
from trustbind_aws.account_pool import Entered
from trustbind_aws.permits import ALWAYS, WriteGuard
from trustbind_aws.resources import oidc_provider
from trustbind_aws.role_pipeline import reconcile_role

LOOK, CREATE, ADD = "GetOpenIDConnectProvider", "CreateOpenIDConnectProvider", "AddClientIDToOpenIDConnectProvider"
PROVIDER: Final = ISSUER.provider_for(ROLE)
GITHUB: Final = Issuer.parse("https://token.actions.githubusercontent.com")
EXISTS: Final = AwsError("there is one", code="EntityAlreadyExists", operation=f"iam:{CREATE}")


@pytest.fixture
def scene() -> PipelineScene:
    """Return a scene whose AWS account has no provider."""
    made = PipelineScene()
    made.account.provider = None
    return made


async def ensure(entered: Entered, audiences: Iterable[str], guard: WriteGuard = ALWAYS) -> Facts:
    """Read the provider as a run does, and let it list these client ids."""
    step = EnsureProvider(PROVIDER, tuple(audiences))
    return await oidc_provider.apply(entered, step, ISSUER, Facts(entered.facts), guard)


def ensured(scene: PipelineScene, *audiences: str, guard: WriteGuard = ALWAYS) -> Facts:
    """Let the provider list these client ids, as a run that has read it."""

    async def play() -> Facts:
        entered = await scene.enter()
        listed = scene.account.provider
        entered.facts = entered.facts.with_provider(PROVIDER, None if listed is None else frozenset(listed))
        return await ensure(entered, audiences, guard)

    return scene.play(play())


@pytest.mark.parametrize(
    ("present", "audiences", "made"),
    [
        (None, ("a",), [CREATE]),
        (None, ("a", "b"), [CREATE]),
        (None, (), [CREATE]),
        (set(), ("a",), [ADD]),
        ({"a"}, ("a",), []),
        ({"a", "z"}, ("a", "b"), [ADD]),
        ({"z"}, ("a", "b"), [ADD, ADD]),
        ({"a"}, (), []),
    ],
)
def test_ensured(scene: PipelineScene, present: set[str] | None, audiences: tuple[str, ...], made: list[str]) -> None:
    """Created with all client ids at once, or completed one by one; nothing is ever taken away."""
    scene.account.provider = present

    facts = ensured(scene, *audiences)

    wanted = {*(present or ()), *audiences}
    assert scene.operations() == made
    assert scene.account.provider == wanted
    assert facts.account.providers[PROVIDER] == frozenset(wanted)
    assert facts.failures == {}


def test_created_once_by_two_runs(scene: PipelineScene) -> None:
    """The run that waits finds what the other run has made, and adds what is missing."""
    scene.account.latency[CREATE] = 1.0

    async def play() -> None:
        entered = await scene.enter()
        entered.facts = entered.facts.with_provider(PROVIDER, None)
        await asyncio.gather(ensure(entered, ["one"]), ensure(entered, ["two"]), ensure(entered, ["one", "two"]))

    scene.play(play())

    assert scene.operations() == [CREATE, ADD]
    assert scene.account.provider == {"one", "two"}


def test_created_by_two_roles(scene: PipelineScene) -> None:
    """As above, from the run of each role: both client ids are listed afterwards."""
    others = [replace(ROLE, name=name) for name in ("one", "two")]
    for role in others:
        scene.account.roles[role] = scene.account.roles[ROLE]

    async def play() -> None:
        await asyncio.gather(
            *(run(scene, work(binding(r.name, audience=r.name, roleArn=str(r)), role=r)) for r in others)
        )

    scene.play(play())

    assert scene.account.provider == {"one", "two"}
    assert scene.account.calls[CREATE] == 1


async def run(scene: PipelineScene, each: Any) -> None:
    """Reconcile a role."""
    await reconcile_role(scene.pool, each, ALWAYS, scene.pace)


@pytest.mark.parametrize("answer", ["False", "error"])
def test_created_by_another_writer_meanwhile(scene: PipelineScene, answer: str) -> None:
    """What it lists is read, and the missing client id is added."""

    def create() -> None:
        scene.account.provider = {"theirs"}

    scene.account.before[CREATE] = [create]
    if answer == "error":
        scene.account.errors[CREATE] = [EXISTS]

    facts = ensured(scene, "a", "theirs")

    assert scene.operations() == [CREATE, LOOK, ADD]
    assert scene.account.provider == {"a", "theirs"}
    assert facts.account.providers[PROVIDER] == frozenset({"a", "theirs"})


@pytest.mark.parametrize("operation", [CREATE, ADD, LOOK])
def test_failure_is_in_the_facts(scene: PipelineScene, operation: str) -> None:
    """Bindings that need the provider wait for it, and others go on; the next run tries again."""
    scene.account.provider = None if operation == CREATE else {"theirs"}
    if operation == LOOK:
        scene.account.provider = None
        scene.account.errors[CREATE] = [EXISTS]
    error = AccessDeniedError("no", code="AccessDenied", operation=f"iam:{operation}")
    scene.account.errors[operation] = [*scene.account.errors.get(operation, []), error]

    facts = ensured(scene, "a")

    assert facts.failures == {PROVIDER: error}
    assert not facts.account.lists(PROVIDER, "a")
    assert ensured(scene, "a").failures == {}
    assert scene.account.provider is not None
    assert "a" in scene.account.provider


def test_client_ids_added_before_a_failure_are_known(scene: PipelineScene) -> None:
    """They are not added again."""
    scene.account.provider = {"z"}
    scene.account.before[ADD] = [
        lambda: None,
        lambda: scene.account.errors.update({ADD: [ThrottledError("slow")]}),
    ]

    facts = ensured(scene, "a", "b")

    assert facts.account.providers[PROVIDER] == frozenset({"a", "z"})
    assert list(facts.failures) == [PROVIDER]


@pytest.mark.parametrize("error", NOT_LEADING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("present", [None, {"z"}])
def test_nothing_is_sent_without_permission(scene: PipelineScene, present: set[str] | None, error: AwsError) -> None:
    """That ends the run: it is no failure of the provider."""
    scene.account.provider = present

    with pytest.raises(type(error)):
        ensured(scene, "a", guard=Refusing(error))

    assert scene.operations() == []


def test_lease_that_ends_before_the_write_is_sent(scene: PipelineScene) -> None:
    """The deadline is checked where the write is sent."""

    class Lease:
        def deadline(self) -> float:
            return scene.clock() + 10.0

    scene.account.before[CREATE] = [lambda: scene.jump(10.0)]

    with pytest.raises(type(NOT_LEADING[0])):
        ensured(scene, "a", guard=Lease())

    assert scene.operations() == []


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (None, "has no OIDC provider for https://oidc.example.com/id/1; create it with the client id a, b"),
        (frozenset({"c"}), "lacks the client id a, b; add it"),
        (frozenset({"a", "b"}), ""),
    ],
)
def test_provider_that_trustbind_does_not_manage(present: frozenset[str] | None, said: str) -> None:
    """The sentence says what to do; see `test_role_pipeline` for what happens then."""
    problem = provider_problem(PROVIDER, present, ["b", "a", "b"])

    assert said in problem
    assert bool(problem) is bool(said)


def observed(scene: PipelineScene, *works: Any) -> list[Facts]:
    """Return the facts of runs of these, one after the other."""

    async def play() -> list[Facts]:
        entered = await scene.enter()
        return [await oidc_provider.observe(entered, each, Facts(entered.facts)) for each in works]

    return scene.play(play())


def test_provider_is_read_once_for_a_client_id(scene: PipelineScene) -> None:
    """By all roles of the AWS account together; what is missing is read again."""
    scene.account.provider = {DEFAULT_AUDIENCE}

    first, *_, last = observed(scene, work(binding()), work(binding()), work(), work(binding(audience="new")))

    assert scene.operations() == [LOOK, LOOK]
    assert first.read == {PROVIDER}
    assert last.account.providers[PROVIDER] == frozenset({DEFAULT_AUDIENCE})


def test_providers_of_other_issuers_are_read_and_never_written(scene: PipelineScene) -> None:
    """They have other owners."""
    entry = {"issuer": GITHUB.url, "audience": "sts.amazonaws.com", "subjects": ["repo:acme/app:*"]}
    scene.account.provider = {DEFAULT_AUDIENCE}
    each = work(binding(federatedSubjects=[entry]))

    (facts,) = observed(scene, each)

    assert facts.account.providers == {PROVIDER: {DEFAULT_AUDIENCE}, GITHUB.provider_for(ROLE): None}
    done = scene.run(each)
    assert scene.account.others == {}
    assert scene.account.calls[CREATE] == scene.account.calls[ADD] == 0
    assert len(done.planned.hindrances) == 1


def test_provider_that_cannot_be_read(scene: PipelineScene) -> None:
    """It is a failure in the facts of this run, and read again by the next one."""
    error = ThrottledError("slow", operation=f"iam:{LOOK}")
    scene.account.provider = {DEFAULT_AUDIENCE}
    scene.account.errors[LOOK] = [error]

    first, second = observed(scene, work(binding()), work(binding()))

    assert first.failures == {PROVIDER: error}
    assert PROVIDER not in first.account.providers
    assert (second.failures, second.account.lists(PROVIDER, DEFAULT_AUDIENCE)) == ({}, True)


def test_facts_are_values() -> None:
    """A run that holds older facts does not see them change."""
    one = AccountFacts()
    two = one.with_provider(PROVIDER, frozenset({"a"}))
    assert (one.providers, two.lists(PROVIDER, "a")) == ({}, True)


CONTEXT: Final = IdentityContext("sub", "workload")
UPDATE: Final = "UpdateOpenIDConnectProvider"


def looked(scene: PipelineScene, context: IdentityContext | None, *, manage: bool = True) -> None:
    """Look at the provider as an AWSAccount's run does."""

    async def play() -> None:
        entered = await scene.enter()
        await oidc_provider.ensure(
            entered, PROVIDER, ISSUER, ["a"], context=context, manage=manage, deadline=ALWAYS.deadline
        )

    scene.play(play())


def test_identity_context_is_set_and_kept(scene: PipelineScene) -> None:
    """With the provider, or on one that is there; what differs is repaired, and what is as it is wanted is left."""
    looked(scene, CONTEXT)
    assert (scene.account.context, UPDATE in scene.operations()) == (CONTEXT, False)
    looked(scene, CONTEXT)
    assert UPDATE not in scene.operations()
    for other in (None, IdentityContext("aud")):
        scene.account.context = other
        looked(scene, CONTEXT)
        assert scene.account.context == CONTEXT
    assert scene.operations().count(UPDATE) == 2


def test_identity_context_that_nobody_asks_for(scene: PipelineScene) -> None:
    """The provider's own is not looked at."""
    scene.account.provider, scene.account.context = {"a"}, CONTEXT
    looked(scene, None)
    assert (scene.account.context, scene.account.calls[LOOK]) == (CONTEXT, 1)


def test_identity_context_that_may_not_be_written(scene: PipelineScene) -> None:
    """The problem is reported, and nothing is written."""
    scene.account.provider = {"a"}
    with pytest.raises(ObservedError, match="driftPolicy Observe"):
        looked(scene, CONTEXT, manage=False)
    assert scene.account.context is None
    scene.account.context = CONTEXT
    looked(scene, CONTEXT, manage=False)


def test_identity_context_of_a_provider_that_a_role_needs(scene: PipelineScene) -> None:
    """The run of a role creates the provider with it."""
    scene.play(run(scene, work(binding(), identity_context=CONTEXT)))
    assert scene.account.context == CONTEXT
