"""The bindings of annotated service accounts: made, kept, and taken over by a user's own."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from support.bodies import ISSUER, OTHER_ROLE, ROLE, binding_body
from support.virtual_time import run_virtually
from trustbind.api.annotated_binding import AnnotatedScope, binding_name
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.label_selector import LabelSelector
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import BindingRef
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.informer import Seen
from trustbind_operator.controllers.service_account.controller import Annotator
from trustbind_runtime.kubernetes.client import ApiError, ApiServer
from trustbind_runtime.logs import Logger

KEYS = AnnotationKeys.under("eks.amazonaws.com")
READY = {
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "TrustApplied"}],
}


class Log:
    """Takes everything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Scene:
    """An API server with RoleBindings, and the cache and the annotator that follow it.

    Attributes:
        objects: by namespace and name.
        writes: method and name of what was written.
        reads: how often an object was read.
        broken: how many of the next writes fail.
    """

    def __init__(self, scope: AnnotatedScope | None = None) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.reads = 0
        self.broken = 0
        self.cache = ClusterCache(ISSUER)
        self.annotator = Annotator(
            cast("ApiServer", self), self.cache, KEYS, scope or AnnotatedScope(), cast("Logger", Log())
        )

    async def get(self, path: str, **_: Any) -> bytes:
        """Read an object."""
        self.reads += 1
        found = self.objects.get(_key(path))
        if found is None:
            raise ApiError(404, "not found")
        return json.dumps(found).encode()

    async def send(self, method: str, path: str, body: Mapping[str, Any], **_: Any) -> bytes:
        """Write an object, and tell of it."""
        if self.broken:
            self.broken -= 1
            raise ApiError(500, "broken")
        if method == "POST":
            name = str(body["metadata"]["name"])
            self.writes.append((method, name))
            self.put({**copy.deepcopy(dict(body)), "metadata": {**body["metadata"], "uid": f"uid-{len(self.writes)}"}})
            return b"{}"
        key = _key(path)
        self.writes.append((method, key[1]))
        if method == "DELETE":
            assert body["preconditions"]["uid"] == self.objects[key]["metadata"]["uid"]
            self.drop(*key)
        else:
            found = self.objects[key]
            spec = {k: v for k, v in {**found["spec"], **body["spec"]}.items() if v is not None}
            self.put({**found, "spec": spec})
        return b"{}"

    def put(self, body: dict[str, Any]) -> None:
        """Store a binding as a write does, and tell of it."""
        metadata = {"generation": 1, "resourceVersion": str(len(self.writes)), **body["metadata"]}
        body = {**body, "metadata": metadata}
        self.objects[metadata["namespace"], metadata["name"]] = body
        stored = StoredBinding.of(body)
        self.cache.put_binding(stored)
        self.annotator.binding_seen(stored)

    def drop(self, namespace: str, name: str) -> None:
        """Remove a binding, and tell of it."""
        del self.objects[namespace, name]
        self.cache.drop_binding(BindingRef(namespace, name))
        self.annotator.unbound(BindingRef(namespace, name))

    def account(
        self, name: str = "app", role: str = str(ROLE), labels: Mapping[str, str] | None = None, seconds: str = ""
    ) -> None:
        """Let a service account of team-a come or change."""
        annotations = {KEYS.role_arn: role, KEYS.token_expiration: seconds}
        annotations = {key: value for key, value in annotations.items() if value}
        self.cache.put_service_account("team-a", name, labels or {})
        self.annotator.seen("team-a", name, Seen(f"uid-{name}", labels or {}, annotations))

    def names(self) -> list[str]:
        """Return the names of the bindings of team-a."""
        return sorted(name for _, name in self.objects)


def _key(path: str) -> tuple[str, str]:
    parts = path.split("/")
    return parts[5], parts[7]


def play(*steps: Callable[[Scene], None], scope: AnnotatedScope | None = None) -> Scene:
    """Return a scene after these steps, each followed by a while in which the annotator works."""
    scene = Scene(scope)

    async def run() -> None:
        work = asyncio.create_task(scene.annotator.run())
        for step in steps:
            step(scene)
            await asyncio.sleep(30)
        work.cancel()

    run_virtually(run())
    return scene


def own(scene: Scene, name: str = "mine", *, status: Mapping[str, Any] | None = None, **spec: Any) -> None:
    """Let a user's own binding for the service account be there."""
    scene.put(binding_body(name, status=status, **spec))


GENERATED = binding_name("app")


def test_annotated_account_is_bound_once() -> None:
    """It gets a binding, which nothing further changes."""
    scene = play(Scene.account, Scene.account)

    assert scene.writes == [("POST", GENERATED)]
    assert scene.objects["team-a", GENERATED]["metadata"]["labels"] == {MANAGED_LABEL: "true"}


def test_annotation_that_changes() -> None:
    """The binding follows: its token is changed, and for another role it is made again."""
    scene = play(
        Scene.account,
        lambda s: s.account(seconds="3600"),
        lambda s: s.account(role=str(OTHER_ROLE)),
        lambda s: s.account(role=""),
    )

    assert scene.writes == [
        ("POST", GENERATED),
        ("PATCH", GENERATED),
        ("DELETE", GENERATED),
        ("POST", GENERATED),
        ("DELETE", GENERATED),
    ]


def test_own_binding_that_is_ready_takes_over() -> None:
    """The generated binding stays until the user's is Ready, then it goes, and is not made again."""
    kept: list[list[str]] = []

    scene = play(
        Scene.account,
        own,
        lambda s: kept.append(s.names()),
        lambda s: own(s, status=READY),
        Scene.account,
    )

    assert kept == [[GENERATED, "mine"]]
    assert scene.names() == ["mine"]
    assert scene.writes == [("POST", GENERATED), ("DELETE", GENERATED)]


def test_own_binding_by_selector() -> None:
    """It takes over from each service account that it selects, as soon as it selects it."""
    selector: dict[str, Any] = {"serviceAccountSelector": {"matchLabels": {"tier": "web"}}}

    scene = play(
        lambda s: s.account("one", labels={"tier": "web"}),
        lambda s: s.account("two"),
        lambda s: own(s, status=READY, **selector),
        lambda s: s.account("two", labels={"tier": "web"}),
    )

    assert scene.writes == [
        ("POST", "annotated-one"),
        ("POST", "annotated-two"),
        ("DELETE", "annotated-one"),
        ("DELETE", "annotated-two"),
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"roleArn": str(OTHER_ROLE)},
        {"profile": "second"},
        {"serviceAccountNames": ["other"]},
        {"method": "AssumeRole", "source": {"roleArn": str(OTHER_ROLE)}},
        {"method": "PodIdentity"},
    ],
)
def test_own_binding_that_is_something_else(spec: dict[str, Any]) -> None:
    """Another role, profile, service account or way is no reason to give way."""
    scene = play(Scene.account, lambda s: own(s, status=READY, **spec))

    assert scene.writes == [("POST", GENERATED)]


def test_own_binding_that_is_there_first() -> None:
    """No binding is made beside it, whether it is Ready or not."""
    assert play(own, Scene.account).writes == []


def test_own_binding_that_goes() -> None:
    """What the annotation asks for is made again: while the user's is being deleted, and also where that was missed."""
    going = {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["trustbind.dev/trust"]}

    deleting = play(own, Scene.account, lambda s: s.put(binding_body("mine", metadata=going)))
    gone = play(own, Scene.account, lambda s: s.drop("team-a", "mine"))

    assert deleting.writes == gone.writes == [("POST", GENERATED)]


def test_binding_of_that_name_which_is_a_users() -> None:
    """It is left alone."""
    scene = play(lambda s: own(s, GENERATED, audience="else.example.com"), Scene.account)

    assert scene.writes == []


def test_deleted_by_hand() -> None:
    """It is made again."""
    scene = play(Scene.account, lambda s: s.drop("team-a", GENERATED))

    assert scene.writes == [("POST", GENERATED), ("POST", GENERATED)]


def test_write_that_fails() -> None:
    """It is tried again, and what comes meanwhile does not wait for that."""

    def fail(scene: Scene) -> None:
        scene.broken = 1
        scene.account()

    async def run(scene: Scene) -> list[tuple[str, str]]:
        work = asyncio.create_task(scene.annotator.run())
        fail(scene)
        await asyncio.sleep(1)
        scene.account("other")
        await asyncio.sleep(1)
        soon = list(scene.writes)
        await asyncio.sleep(30)
        work.cancel()
        return soon

    scene = Scene()

    assert run_virtually(run(scene)) == [("POST", "annotated-other")]
    assert scene.writes == [("POST", "annotated-other"), ("POST", GENERATED)]


def label_namespace(value: str) -> Callable[[Scene], None]:
    """Return a step that sets a label of the namespace."""

    def step(scene: Scene) -> None:
        scene.cache.put_namespace("team-a", {"bind": value})
        scene.annotator.namespace_seen("team-a")

    return step


@pytest.mark.parametrize(
    ("scope", "is_bound"),
    [
        (AnnotatedScope(frozenset({"team-a"})), True),
        (AnnotatedScope(frozenset({"team-b"})), False),
        (AnnotatedScope(frozenset({"team-b"}), LabelSelector((("bind", "yes"),))), True),
        (AnnotatedScope(namespace_selector=LabelSelector((("bind", "no"),))), False),
        (AnnotatedScope(service_account_selector=LabelSelector((("tier", "web"),))), True),
        (AnnotatedScope(service_account_selector=LabelSelector((("tier", "batch"),))), False),
        (AnnotatedScope(frozenset({"team-a"}), None, LabelSelector((("tier", "batch"),))), False),
    ],
)
def test_scope(scope: AnnotatedScope, is_bound: bool) -> None:
    """Namespaces are named or selected, and service accounts of them selected; the others cost no call."""
    scene = play(label_namespace("yes"), lambda s: s.account(labels={"tier": "web"}), scope=scope)

    assert scene.names() == ([GENERATED] if is_bound else [])
    assert bool(scene.reads) is is_bound


def test_namespace_that_comes_into_scope() -> None:
    """Its service accounts are bound then. When it leaves the scope, bindings stay, and follow their annotations."""
    scope = AnnotatedScope(namespace_selector=LabelSelector((("bind", "yes"),)))

    scene = play(
        label_namespace("no"),
        Scene.account,
        label_namespace("yes"),
        label_namespace("no"),
        lambda s: s.account(seconds="3600"),
        lambda s: s.account(role=""),
        Scene.account,
        scope=scope,
    )

    assert scene.writes == [("POST", GENERATED), ("PATCH", GENERATED), ("DELETE", GENERATED)]


def test_event_loop_is_not_held_up() -> None:
    """Of a thousand service accounts that need nothing, one is looked at in each turn of the event loop."""
    scene = Scene(AnnotatedScope(frozenset({"elsewhere"})))
    looked_at: list[int] = []

    class Counting(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            looked_at.append(1)
            return super().get(key, default)

    scene.cache.namespaces = Counting()

    async def run() -> int:
        for number in range(1000):
            scene.account(f"a{number}")
        work = asyncio.create_task(scene.annotator.run())
        most, before = 0, 0
        while len(looked_at) < 1000:
            await asyncio.sleep(0)
            most, before = max(most, len(looked_at) - before), len(looked_at)
        work.cancel()
        return most

    assert run_virtually(run()) == 1
