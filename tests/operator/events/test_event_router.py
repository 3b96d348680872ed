"""What is seen of the cluster, and which bindings are decided again for it; feeds that hand changes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import pytest

from support.bodies import ISSUER, account_body, binding_body, grant_body
from support.virtual_time import run_virtually
from trustbind.api.role_binding import BindingRef
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.informer import Feed, Seen
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.events.event_router import EventRouter


class FakeManager:
    """Stands for the manager, and records what it is called with."""

    def __init__(self) -> None:
        self.cache = ClusterCache(ISSUER)
        self.reconsidered: list[set[str] | None] = []
        self.told: list[tuple[Any, ...]] = []
        self.emptied = 0

    def list_emptied(self) -> None:
        """Count it."""
        self.emptied += 1

    def reconsider(self, namespaces: Iterable[str] | None = None) -> None:
        """Record whose bindings are decided again; None for all."""
        self.reconsidered.append(None if namespaces is None else set(namespaces))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments))


Scene = Callable[[EventRouter, FakeManager], Awaitable[None]]


def play(scene: Scene) -> tuple[FakeManager, list[tuple[str, str, str]]]:
    """Let a scene happen, and return the manager and what was unreadable."""
    manager = FakeManager()
    unreadable: list[tuple[str, str, str]] = []
    for body in (
        binding_body("named"),
        binding_body("selecting", serviceAccountSelector={"matchLabels": {"a": "b"}}),
        binding_body("broken", audience="a b"),
        binding_body("elsewhere", "team-b", serviceAccountSelector={}),
    ):
        manager.cache.put_binding(StoredBinding.of(body))

    async def run() -> None:
        router = EventRouter(manager.cache, cast("Manager", manager), lambda *what: unreadable.append(what))
        await scene(router, manager)
        await asyncio.sleep(10)

    run_virtually(run())
    return manager, unreadable


def test_bindings_and_accounts_are_handed_on() -> None:
    """The manager decides about them."""
    binding, account, ref = binding_body(), account_body(), BindingRef("team-a", "b")

    async def scene(router: EventRouter, _: FakeManager) -> None:
        router.binding_seen(binding)
        router.account_seen(account)
        router.binding_gone(ref, "uid-1")
        router.account_gone("prod", "uid-2")

    manager, _ = play(scene)
    assert manager.told == [
        ("binding_seen", StoredBinding.of(binding)),
        ("account_seen", StoredAwsAccount.of(account)),
        ("binding_gone", ref, "uid-1"),
        ("account_gone", "prod", "uid-2"),
    ]
    assert manager.reconsidered == []


def test_somebody_is_told_of_every_binding_that_is_gone() -> None:
    """An annotated account may want its binding back."""
    gone: list[BindingRef] = []
    manager = FakeManager()
    router = EventRouter(manager.cache, cast("Manager", manager), lambda *_: None, gone.append)

    router.binding_gone(BindingRef("team-a", "b"), "uid-1")

    assert gone == [BindingRef("team-a", "b")]


def test_grant_concerns_everybody() -> None:
    """It is known at once, and all bindings are decided again a moment later."""

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        router.grant_seen(grant_body())
        assert list(manager.cache.grants) == ["all"]
        assert manager.reconsidered == []

    manager, _ = play(scene)
    assert manager.reconsidered == [None]


def test_grant_that_goes_takes_along_what_it_allowed() -> None:
    """All are decided again; another object of that name, which came since, stays."""

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        router.grant_seen(grant_body())
        await asyncio.sleep(1)
        router.grant_gone("all", "another")
        router.grant_gone("unknown", "")
        await asyncio.sleep(1)
        assert list(manager.cache.grants) == ["all"]
        router.grant_gone("all", "uid-all")
        assert manager.cache.grants == {}

    assert play(scene)[0].reconsidered == [None, None]


def test_grant_that_granted_nothing_goes_unnoticed() -> None:
    """An unreadable one."""

    async def scene(router: EventRouter, _: FakeManager) -> None:
        router.grant_seen(grant_body(roleArns=["*"]))
        await asyncio.sleep(1)
        router.grant_gone("all", "uid-all")

    assert play(scene)[0].reconsidered == [None]


Change = Callable[[EventRouter, FakeManager], None]


def _nothing(router: EventRouter, manager: FakeManager) -> None:
    del router, manager


def _put(name: str, version: str) -> Change:
    def change(_: EventRouter, manager: FakeManager) -> None:
        manager.cache.put_binding(StoredBinding.of(binding_body(name, metadata={"resourceVersion": version})))

    return change


def _drop(name: str) -> Change:
    def change(_: EventRouter, manager: FakeManager) -> None:
        manager.cache.drop_binding(BindingRef("team-a", name))

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

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        manager.cache.drop_binding(BindingRef("team-b", "elsewhere"))
        before = router.known()
        meanwhile(router, manager)
        bodies = [binding_body(name, metadata={"resourceVersion": version}) for name, version in listed.items()]
        router.listed(before, {"RoleBinding": bodies, "AWSAccount": [], "RoleGrant": []})

    found = []
    for what, about, *_ in play(scene)[0].told:
        found.append((what, about.name if isinstance(about, BindingRef) else about.ref.name))
    assert found == told


def test_list_of_accounts_and_grants() -> None:
    """They are found in the same way."""

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        manager.cache.bindings.clear()
        manager.cache.put_aws_account(StoredAwsAccount.of(account_body("lost")))
        router.grant_seen(grant_body("lost"))
        router.grant_seen(grant_body("kept"))
        found = {"RoleBinding": [], "AWSAccount": [account_body()], "RoleGrant": [grant_body("kept"), grant_body()]}
        router.listed(router.known(), found)
        assert sorted(manager.cache.grants) == ["all", "kept"]

    told = play(scene)[0].told
    assert [(what, about) for what, about, *_ in told] == [
        ("account_seen", StoredAwsAccount.of(account_body())),
        ("account_gone", "lost"),
    ]


@pytest.mark.parametrize("kind", ["RoleBinding", "AWSAccount", "RoleGrant"])
def test_list_that_comes_back_empty(kind: str) -> None:
    """The manager is called before the objects go, so that the brake on mass revocation knows it."""
    order: list[str] = []

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        manager.cache.put_aws_account(StoredAwsAccount.of(account_body()))
        router.grant_seen(grant_body())
        bodies = {"RoleBinding": [binding_body("named")], "AWSAccount": [account_body()], "RoleGrant": [grant_body()]}
        router.listed(router.known(), bodies)
        assert manager.emptied == 0
        manager.told.clear()
        manager.list_emptied = lambda: order.append(f"{len(manager.told)} {len(manager.cache.grants)}")  # type: ignore[method-assign] # a spy
        router.listed(router.known(), {**bodies, kind: []})
        router.listed(router.known(), {**bodies, kind: []})

    play(scene)
    assert order[:1] == ["0 1"]


def test_same_version_is_no_news() -> None:
    """Every object is shown again after a restart of its watch."""

    async def scene(router: EventRouter, _: FakeManager) -> None:
        for version in ("1", "1", "2"):
            router.grant_seen(grant_body(version=version))
            await asyncio.sleep(1)

    assert play(scene)[0].reconsidered == [None, None]


def test_unreadable_grant_grants_nothing() -> None:
    """Also when it was readable before; somebody is told which and why."""

    async def scene(router: EventRouter, _: FakeManager) -> None:
        router.grant_seen(grant_body())
        router.grant_seen(grant_body(version="2", roleArns=["*"]))

    manager, unreadable = play(scene)
    assert [stored.grant for stored in manager.cache.grants.values()] == [None]
    assert manager.cache.around.grants == ()
    ((kind, name, problem),) = unreadable
    assert (kind, name) == ("RoleGrant", "all")
    assert "spec.roleArns[0]" in problem


def test_gathering() -> None:
    """Changes within a moment are decided once: all when one concerns all, else those that any concerns."""

    async def scene(router: EventRouter, _: FakeManager) -> None:
        router.service_account("team-a", "x", {"a": "b"})
        router.namespace("team-b", {"a": "b"})
        await asyncio.sleep(1)
        router.service_account("team-a", "y", {"a": "b"})
        router.grant_seen(grant_body())

    assert play(scene)[0].reconsidered == [{"team-a", "team-b"}, None]


def test_service_account_concerns_bindings_where_a_selector_notices() -> None:
    """Coming, changing labels and going. A selector can take a profile from the namespace's other bindings."""
    steps: list[Mapping[str, str] | None] = [{}, {"a": "b"}, {"a": "b", "c": "d"}, {"a": "x"}, {"a": "b"}, None, None]

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        for labels in steps:
            router.service_account("team-a", "x", labels)
            assert manager.cache.service_accounts["team-a"].get("x") == labels
            await asyncio.sleep(1)

    assert play(scene)[0].reconsidered == [{"team-a"}] * 4


def test_service_account_concerns_nobody_where_none_selects() -> None:
    """Bindings by name do not ask whether the account exists."""

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        manager.cache.drop_binding(BindingRef("team-a", "selecting"))
        router.service_account("team-a", "app", {})

    assert play(scene)[0].reconsidered == []


def test_nobody_is_concerned() -> None:
    """Then nothing is decided."""

    async def scene(router: EventRouter, _: FakeManager) -> None:
        router.service_account("team-c", "x", {})
        router.namespace("team-c", {})
        router.namespace("team-c", None)

    assert play(scene)[0].reconsidered == []


def test_namespace_concerns_its_bindings() -> None:
    """Grants may select by its labels."""

    async def scene(router: EventRouter, manager: FakeManager) -> None:
        for labels in ({"a": "b"}, {"a": "b"}, {"a": "c"}, None, None):
            router.namespace("team-a", labels)
            assert manager.cache.namespaces.get("team-a") == labels
            await asyncio.sleep(1)

    manager, _ = play(scene)
    assert manager.reconsidered == [{"team-a"}] * 3


def raw(**metadata: Any) -> bytes:
    """Return an object as the API server sends its metadata."""
    return json.dumps({"metadata": {"uid": "u", **metadata}, "kind": "X"}).encode()


class Changes:
    """Notes what a feed hands on."""

    def __init__(self, *keys: str) -> None:
        self.told: list[tuple[str, Seen | None]] = []
        self.feed = Feed(lambda key, seen: self.told.append((key[1], seen)), keys)

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
    assert Changes("eks.amazonaws.com/role-arn", "trustbind.dev/inject").seen(**metadata) == seen


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


def test_feed_that_is_emptied() -> None:
    """It says so before it takes away what it has, and not for a list that was empty before."""
    told: list[str] = []
    feed = Feed(lambda key, seen: told.append(f"{key[1]} {seen is not None}"), emptied=lambda: told.append("emptied"))
    feed.replace({})
    feed.replace({("n", "x"): Seen("u", {}, {})})
    feed.replace({})
    feed.replace({})
    assert told == ["x True", "emptied", "x False"]


def test_feed_takes_a_whole_list() -> None:
    """What is not in it is gone; what is the same is no news."""
    changes = Changes()
    one, other = Seen("u", {}, {}), Seen("v", {}, {})
    changes.feed.replace({("n", "stays"): one, ("n", "goes"): one, ("n", "changes"): one})
    changes.told.clear()

    changes.feed.replace({("n", "stays"): one, ("n", "changes"): other, ("n", "comes"): one, ("n", "hidden"): None})

    assert changes.told == [("goes", None), ("changes", other), ("comes", one)]
    assert len(changes.feed) == 3
