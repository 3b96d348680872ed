"""What is seen of the cluster, and which bindings are judged again for it; feeds that hand changes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import pytest

from support.operator_world import account_body, binding_body, grant_body
from support.virtual_time import run_virtually
from trustbind.api.role_binding import BindingRef
from trustbind_operator.cluster.cache import BindingEntry, Registry
from trustbind_operator.cluster.informer import Feed, Seen
from trustbind_operator.controllers.manager import Reconciler
from trustbind_operator.events.event_router import ClusterIntake


class Judge:
    """Stands for the reconciler, and notes what it is told."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.judged: list[set[str] | None] = []
        self.told: list[tuple[Any, ...]] = []

    def reconsider(self, refs: Iterable[BindingRef] | None = None) -> None:
        """Note which bindings are judged; None for all."""
        self.judged.append(None if refs is None else {ref.name for ref in refs})

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments))


Scene = Callable[[ClusterIntake, Judge], Awaitable[None]]


def play(scene: Scene) -> tuple[Judge, list[tuple[str, str, str]]]:
    """Let a scene happen, and return the judge and what was unreadable."""
    judge = Judge()
    unreadable: list[tuple[str, str, str]] = []
    for body in (
        binding_body("named"),
        binding_body("selecting", serviceAccountSelector={}),
        binding_body("broken", audience="a b"),
        binding_body("elsewhere", "team-b", serviceAccountSelector={}),
    ):
        judge.registry.put_binding(BindingEntry.of(body))

    async def run() -> None:
        intake = ClusterIntake(cast("Reconciler", judge), lambda *what: unreadable.append(what))
        await scene(intake, judge)
        await asyncio.sleep(10)

    run_virtually(run())
    return judge, unreadable


def test_bindings_and_accounts_are_handed_on() -> None:
    """The reconciler decides about them."""
    binding, account, ref = binding_body(), account_body(), BindingRef("team-a", "b")

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        intake.binding_seen(binding)
        intake.account_seen(account)
        intake.binding_gone(ref, "uid-1")
        intake.account_gone("prod", "uid-2")

    judge, _ = play(scene)
    assert judge.told == [
        ("binding_seen", binding),
        ("account_seen", account),
        ("binding_gone", ref, "uid-1"),
        ("account_gone", "prod", "uid-2"),
    ]
    assert judge.judged == []


def test_somebody_is_told_of_every_binding_that_is_gone() -> None:
    """An annotated account may want its binding back."""
    gone: list[BindingRef] = []
    intake = ClusterIntake(cast("Reconciler", Judge()), lambda *_: None, gone.append)

    intake.binding_gone(BindingRef("team-a", "b"), "uid-1")

    assert gone == [BindingRef("team-a", "b")]


def test_grant_concerns_everybody() -> None:
    """It is known at once, and all bindings are judged a moment later."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        intake.grant_seen(grant_body())
        assert list(judge.registry.grants) == ["all"]
        assert judge.judged == []

    judge, _ = play(scene)
    assert judge.judged == [None]


def test_grant_that_goes_takes_along_what_it_allowed() -> None:
    """All are judged; another object of that name, which came since, stays."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        intake.grant_seen(grant_body())
        await asyncio.sleep(1)
        intake.grant_gone("all", "another")
        intake.grant_gone("unknown", "")
        await asyncio.sleep(1)
        assert list(judge.registry.grants) == ["all"]
        intake.grant_gone("all", "uid-all")
        assert judge.registry.grants == {}

    assert play(scene)[0].judged == [None, None]


def test_grant_that_granted_nothing_goes_unnoticed() -> None:
    """An unreadable one."""

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        intake.grant_seen(grant_body(roleArns=["*"]))
        await asyncio.sleep(1)
        intake.grant_gone("all", "uid-all")

    assert play(scene)[0].judged == [None]


Change = Callable[[ClusterIntake, Judge], None]


def _nothing(intake: ClusterIntake, judge: Judge) -> None:
    del intake, judge


def _put(name: str, version: str) -> Change:
    def change(_: ClusterIntake, judge: Judge) -> None:
        judge.registry.put_binding(BindingEntry.of(binding_body(name, metadata={"resourceVersion": version})))

    return change


def _drop(name: str) -> Change:
    def change(_: ClusterIntake, judge: Judge) -> None:
        judge.registry.drop_binding(BindingRef("team-a", name))

    return change


KNOWN = ("named", "selecting", "broken")


@pytest.mark.parametrize(
    ("meanwhile", "listed", "told"),
    [
        (_nothing, {"named": "1", "selecting": "1", "broken": "1"}, []),
        (_nothing, {"named": "2", "selecting": "1", "broken": "1"}, [("binding_seen", "named")]),
        (_nothing, {"named": "1", "selecting": "1"}, [("binding_gone", "broken")]),
        (_nothing, dict.fromkeys((*KNOWN, "new"), "1"), [("binding_seen", "new")]),
        (_put("new", "9"), dict.fromkeys(KNOWN, "1"), []),
        (_put("named", "9"), {"named": "2", "selecting": "1", "broken": "1"}, []),
        (_put("named", "9"), {"selecting": "1", "broken": "1"}, []),
        (_drop("named"), dict.fromkeys(KNOWN, "1"), []),
    ],
    ids=["same", "changed", "gone", "new", "came since", "changed since", "changed since and gone", "went since"],
)
def test_list_finds_what_no_event_told(meanwhile: Change, listed: dict[str, str], told: list[tuple[str, str]]) -> None:
    """And undoes nothing that an event has told since the list was asked for."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        judge.registry.drop_binding(BindingRef("team-b", "elsewhere"))
        before = intake.known()
        meanwhile(intake, judge)
        bodies = [binding_body(name, metadata={"resourceVersion": version}) for name, version in listed.items()]
        intake.listed(before, {"RoleBinding": bodies, "AWSAccount": [], "RoleGrant": []})

    found = []
    for what, about, *_ in play(scene)[0].told:
        found.append((what, about.name if isinstance(about, BindingRef) else about["metadata"]["name"]))
    assert found == told


def test_list_of_accounts_and_grants() -> None:
    """They are found in the same way."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        judge.registry.bindings.clear()
        judge.registry.put_aws_account(account_body("lost"))
        intake.grant_seen(grant_body("lost"))
        intake.grant_seen(grant_body("kept"))
        found = {"RoleBinding": [], "AWSAccount": [account_body()], "RoleGrant": [grant_body("kept"), grant_body()]}
        intake.listed(intake.known(), found)
        assert sorted(judge.registry.grants) == ["all", "kept"]

    told = play(scene)[0].told
    assert [(what, about) for what, about, *_ in told] == [("account_seen", account_body()), ("account_gone", "lost")]


def test_same_version_is_no_news() -> None:
    """Every object is shown again after a restart of its watch."""

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        for version in ("1", "1", "2"):
            intake.grant_seen(grant_body(version=version))
            await asyncio.sleep(1)

    assert play(scene)[0].judged == [None, None]


def test_unreadable_grant_grants_nothing() -> None:
    """Also when it was readable before; somebody is told which and why."""

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        intake.grant_seen(grant_body())
        intake.grant_seen(grant_body(version="2", roleArns=["*"]))

    judge, unreadable = play(scene)
    assert judge.registry.grants == {}
    ((kind, name, problem),) = unreadable
    assert (kind, name) == ("RoleGrant", "all")
    assert "spec.roleArns[0]" in problem


def test_gathering() -> None:
    """Changes within a moment are judged once: all when one concerns all, else those that any concerns."""

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        intake.service_account("team-a", "x", {})
        intake.namespace("team-b", {"a": "b"})
        await asyncio.sleep(1)
        intake.service_account("team-a", "y", {})
        intake.grant_seen(grant_body())

    assert play(scene)[0].judged == [{"named", "selecting", "broken", "elsewhere"}, None]


def test_service_account_concerns_bindings_where_one_selects() -> None:
    """Coming, changing labels and going; the same again is no news. A selector can take a profile from the others."""
    steps: list[Mapping[str, str] | None] = [{}, {}, {"a": "b"}, {"a": "b"}, None, None]

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        for labels in steps:
            intake.service_account("team-a", "x", labels)
            assert judge.registry.accounts_of("team-a").get("x") == labels
            await asyncio.sleep(1)

    assert play(scene)[0].judged == [{"named", "selecting", "broken"}] * 3


def test_service_account_concerns_nobody_where_none_selects() -> None:
    """Bindings by name do not ask whether the account exists."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        judge.registry.drop_binding(BindingRef("team-a", "selecting"))
        intake.service_account("team-a", "app", {})

    assert play(scene)[0].judged == []


def test_nobody_is_concerned() -> None:
    """Then nothing is judged."""

    async def scene(intake: ClusterIntake, _: Judge) -> None:
        intake.service_account("team-c", "x", {})
        intake.namespace("team-c", {})
        intake.namespace("team-c", None)

    assert play(scene)[0].judged == []


def test_namespace_concerns_its_bindings() -> None:
    """Grants may select by its labels."""

    async def scene(intake: ClusterIntake, judge: Judge) -> None:
        for labels in ({"a": "b"}, {"a": "b"}, {"a": "c"}, None, None):
            intake.namespace("team-a", labels)
            assert judge.registry.namespaces.get("team-a") == labels
            await asyncio.sleep(1)

    judge, _ = play(scene)
    assert judge.judged == [{"named", "selecting", "broken"}] * 3


def raw(**metadata: Any) -> bytes:
    """Return an object as the API server sends its metadata."""
    return json.dumps({"metadata": {"uid": "u", **metadata}, "kind": "X"}).encode()


class Changes:
    """Notes what a feed hands on."""

    def __init__(self, *families: str) -> None:
        self.told: list[tuple[str, Seen | None]] = []
        self.feed = Feed(lambda key, seen: self.told.append((key[1], seen)), families)

    def seen(self, **metadata: Any) -> Seen | None:
        """Read an object."""
        return self.feed.read(("n", "x"), raw(**metadata))


@pytest.mark.parametrize(
    ("metadata", "seen"),
    [
        ({}, Seen("u", {}, {})),
        ({"labels": None, "annotations": None}, Seen("u", {}, {})),
        ({"labels": {"a": "b"}}, Seen("u", {"a": "b"}, {})),
        (
            {"annotations": {"eks.amazonaws.com/role-arn": "r", "kubectl.kubernetes.io/last-applied": "long"}},
            Seen("u", {}, {"eks.amazonaws.com/role-arn": "r"}),
        ),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, Seen("u", {}, {})),
    ],
)
def test_what_is_kept(metadata: dict[str, Any], seen: Seen) -> None:
    """Labels, and annotations that are asked for; what is on its way out still counts."""
    assert Changes("eks.amazonaws.com/", "trustbind.dev/inject").seen(**metadata) == seen


def test_no_annotation_is_kept_unasked() -> None:
    """They can be large."""
    assert Changes().seen(annotations={"a/b": "c"}) == Seen("u", {}, {})


def test_feed_tells_of_changes_alone() -> None:
    """Coming, changing and going, each once."""
    changes = Changes()
    one, other = Seen("u", {}, {}), Seen("u", {"a": "b"}, {})
    key = ("n", "x")

    for step in (one, one, other, None, None):
        changes.feed.put(key, step)
    changes.feed.drop(key)

    assert changes.told == [("x", one), ("x", other), ("x", None)]
    assert len(changes.feed) == 0


def test_feed_takes_a_whole_list() -> None:
    """What is not in it is gone; what is the same is no news."""
    changes = Changes()
    one, other = Seen("u", {}, {}), Seen("v", {}, {})
    changes.feed.replace({("n", "stays"): one, ("n", "goes"): one, ("n", "changes"): one})
    changes.told.clear()

    changes.feed.replace({("n", "stays"): one, ("n", "changes"): other, ("n", "comes"): one, ("n", "hidden"): None})

    assert changes.told == [("goes", None), ("changes", other), ("comes", one)]
    assert len(changes.feed) == 3
