"""The RoleBindings of RoleBindingSets: made, changed and removed, and what the set says of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from support.bodies import ISSUER, OTHER_ROLE, binding_body, policy_objects, set_body
from support.virtual_time import run_virtually
from trustbind.api.role_binding import BindingRef
from trustbind.reconcile.binding_set import StoredSet
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.controllers.binding_set.controller import BindingSets
from trustbind_operator.metrics import Telemetry
from trustbind_runtime.kubernetes.client import ApiError
from trustbind_runtime.logs import Logger

SELECTED = {"profile": "true"}
POLICY = policy_objects("policy")
NAME = "set-profiles"
READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "TrustApplied"}]}


class Silent:
    """Takes everything that is logged; a crash fails the test."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name != "crashed"
        return lambda *_, **__: None


class Scene:
    """An API server with RoleBindings, the cache, and the controller that follows both.

    Attributes:
        objects: the bindings, by namespace and name.
        writes: what was written: a verb, and the namespace.
        status: of the set.
        events: of the set, as reasons.
        refusals: by namespace, with what its next writes are refused.
        reconsidered: namespaces whose bindings were decided again.
        policy: the ValidatingAdmissionPolicy and its binding.
        policy_error: what reading them fails with; None: nothing.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.objects: dict[BindingRef, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.status: dict[str, Any] = {}
        self.status_writes = 0
        self.events: list[str] = []
        self.refusals: dict[str, list[ApiError]] = {}
        self.reconsidered: set[str] = set()
        self.policy: tuple[dict[str, Any] | None, dict[str, Any] | None] = POLICY
        self.policy_error: ApiError | None = None
        self.cache = ClusterCache(ISSUER)
        self.sets = BindingSets(
            self,
            self.cache,
            cast("Telemetry", Silent()),
            cast("Logger", Silent()),
            lambda: datetime(2026, 1, 1, tzinfo=UTC),
            self.reconsidered.update,
            policy_name="policy",
            enabled=enabled,
        )

    # --- what the controller writes ---------------------------------------------------------------------------------

    async def create_binding(self, manifest: Mapping[str, Any]) -> None:
        """Create a binding, as the API server stores it."""
        namespace = manifest["metadata"]["namespace"]
        self._write("create", namespace)
        metadata = {**manifest["metadata"], "uid": f"uid-{len(self.writes)}", "generation": 1}
        self.put({**manifest, "metadata": metadata})

    async def change_binding(self, stored: StoredBinding, spec: Mapping[str, Any]) -> None:
        """Change a binding's spec."""
        self._write("change", stored.ref.namespace)
        self.put({**self.objects[stored.ref], "spec": dict(spec)})

    async def delete_binding(self, stored: StoredBinding) -> None:
        """Delete a binding."""
        self._write("delete", stored.ref.namespace)
        self.drop(stored.ref)

    async def patch_set_status(self, stored: StoredSet, status: Mapping[str, Any]) -> None:
        """Store the set's status."""
        assert stored.status != status
        self.status_writes += 1
        self.status = dict(status)

    async def namespace_policy(self, name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Return the policy."""
        assert name == "policy"
        if self.policy_error is not None:
            raise self.policy_error
        return self.policy

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Record an Event."""
        assert (kind, metadata["name"]) == ("RoleBindingSet", "profiles")
        self.events.append(transition.reason)

    def _write(self, verb: str, namespace: str) -> None:
        if refused := self.refusals.get(namespace):
            raise refused.pop(0)
        self.writes.append((verb, namespace))

    # --- what happens in the cluster --------------------------------------------------------------------------------

    def put(self, body: dict[str, Any]) -> None:
        """Let a binding come or change."""
        stored = StoredBinding.of(body)
        self.objects[stored.ref] = body
        self.cache.put_binding(stored)
        self.sets.binding_seen(stored.ref)

    def drop(self, ref: BindingRef) -> None:
        """Let a binding go."""
        del self.objects[ref]
        self.cache.drop_binding(ref)
        self.sets.binding_seen(ref)

    def namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Let a namespace come, change its labels, or with None, go."""
        self.cache.put_namespace(name, labels)
        self.sets.namespace_seen(name, labels)

    def set(self, **template: Any) -> None:
        """Let the set come, or change its template."""
        body = set_body(**template) | {"status": self.status}
        self.sets.put(("", "profiles"), self.sets.read(("", "profiles"), json.dumps(body).encode()))

    def state(self, namespace: str, status: Mapping[str, Any]) -> None:
        """Let the operator say of a binding how it is."""
        self.put({**self.objects[BindingRef(namespace, NAME)], "status": status})

    @property
    def ready(self) -> tuple[str, str]:
        """Status and reason of the set's condition."""
        (condition,) = self.status["conditions"]
        return condition["status"], condition["reason"]


def play(*steps: Callable[[Scene], None], enabled: bool = True) -> Scene:
    """Return a scene after these steps, each followed by a while in which the controller works."""
    scene = Scene(enabled=enabled)

    async def run() -> None:
        works = asyncio.gather(scene.sets.run(), scene.sets.patterns.watch(15.0))
        for step in steps:
            step(scene)
            await asyncio.sleep(30)
        works.cancel()

    run_virtually(run())
    return scene


def two_namespaces(scene: Scene) -> None:
    """Let two namespaces come that the set selects, and one that it does not."""
    scene.namespace("a", SELECTED)
    scene.namespace("b", SELECTED | {"more": "labels"})
    scene.namespace("c", {"profile": "false"})


def test_each_selected_namespace_gets_one() -> None:
    """Once, whichever comes first, the set or the namespace; nothing further changes it."""
    for steps in ((two_namespaces, Scene.set), (Scene.set, two_namespaces)):
        scene = play(*steps, Scene.set, two_namespaces)

        assert sorted(scene.writes) == [("create", "a"), ("create", "b")]
        assert scene.ready == ("False", "BindingsNotReady")
        assert (scene.status["namespaces"], scene.status["readyBindings"]) == (2, 0)


def test_ready() -> None:
    """The set is Ready when all of its bindings are; it says so once."""
    scene = play(two_namespaces, Scene.set, lambda s: s.state("a", READY), lambda s: s.state("b", READY), Scene.set)

    assert scene.ready == ("True", "BindingsReady")
    assert scene.status["summary"] == "2/2"
    assert scene.events == ["BindingsNotReady", "BindingsReady"]
    writes = scene.status_writes
    assert writes == 3  # 0/2, 1/2, 2/2
    scene.sets.binding_seen(BindingRef("a", NAME))


def test_labels_change() -> None:
    """A namespace that gets the labels gets a binding, and one that loses them loses it."""
    scene = play(
        two_namespaces,
        Scene.set,
        lambda s: s.namespace("c", SELECTED),
        lambda s: s.namespace("a", {}),
        lambda s: s.namespace("b", None),
    )

    assert scene.writes[2:] == [("create", "c"), ("delete", "a")]
    assert scene.status["namespaces"] == 1


def test_template_changes() -> None:
    """All bindings follow."""
    scene = play(two_namespaces, Scene.set, lambda s: s.set(audience="vault"))

    assert scene.writes[2:] == [("change", "a"), ("change", "b")]
    assert {body["spec"]["audience"] for body in scene.objects.values()} == {"vault"}


def test_binding_that_a_team_changes_or_deletes() -> None:
    """It is put right; for another role it is made anew."""

    def change(**spec: Any) -> Callable[[Scene], None]:
        def step(scene: Scene) -> None:
            body = scene.objects[BindingRef("a", NAME)]
            scene.put({**body, "spec": {**body["spec"], **spec}})

        return step

    changed = play(two_namespaces, Scene.set, change(region="eu-central-1"))
    rebound = play(two_namespaces, Scene.set, change(roleArn=str(OTHER_ROLE)))
    deleted = play(two_namespaces, Scene.set, lambda s: s.drop(BindingRef("a", NAME)))

    assert changed.writes[2:] == [("change", "a")]
    assert rebound.writes[2:] == [("delete", "a"), ("create", "a")]
    assert deleted.writes[2:] == [("create", "a")]


def test_binding_of_a_team_with_that_name() -> None:
    """It is left alone, the set says where, and when it goes the set takes its place."""
    scene = play(lambda s: s.put(binding_body(NAME, "a")), two_namespaces, Scene.set)

    assert scene.writes == [("create", "b")]
    assert scene.ready == ("False", "NameTaken")

    gone = play(
        lambda s: s.put(binding_body(NAME, "a")),
        two_namespaces,
        Scene.set,
        lambda s: s.drop(BindingRef("a", NAME)),
    )
    assert gone.writes == [("create", "b"), ("create", "a")]


def test_binding_that_is_being_deleted() -> None:
    """The next one is made when it is gone."""

    def going(scene: Scene) -> None:
        body = scene.objects[BindingRef("a", NAME)]
        scene.put({**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})

    scene = play(two_namespaces, Scene.set, going, lambda s: s.drop(BindingRef("a", NAME)))

    assert scene.writes[2:] == [("create", "a")]


def test_set_that_goes() -> None:
    """Its bindings are left to Kubernetes, also where a list of sets comes back empty."""
    for step in (
        lambda s: s.sets.drop(("", "profiles")),
        lambda s: s.sets.replace({}),
        lambda s: s.set(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}),
    ):
        scene = play(two_namespaces, Scene.set, step, lambda s: s.namespace("a", {}))

        assert [verb for verb, _ in scene.writes] == ["create", "create"]


def test_list_of_namespaces_that_comes_back_empty() -> None:
    """No binding is deleted for it: the bindings of a namespace that is gone go with it."""

    def emptied(scene: Scene) -> None:
        for name in ("a", "b", "c"):
            scene.namespace(name, None)

    scene = play(two_namespaces, Scene.set, emptied)

    assert [verb for verb, _ in scene.writes] == ["create", "create"]
    assert scene.ready == ("False", "NoNamespaces")


def test_write_that_fails() -> None:
    """It is tried again, the set says so meanwhile, and the other namespaces do not wait."""
    scene = Scene()
    said: list[str] = []

    async def run() -> None:
        work = asyncio.create_task(scene.sets.run())
        scene.refusals["a"] = [ApiError(500, "broken"), ApiError(500, "broken")]
        two_namespaces(scene)
        scene.set()
        await asyncio.sleep(2)
        said.append(scene.status["conditions"][0]["message"])
        assert scene.writes == [("create", "b")]
        await asyncio.sleep(30)
        work.cancel()

    run_virtually(run())
    assert said == [
        "the RoleBinding set-profiles cannot be written in a (broken (HTTP 500)); trustbind retries automatically"
    ]
    assert scene.writes == [("create", "b"), ("create", "a")]
    assert "cannot be written" not in scene.status["conditions"][0]["message"]


def test_namespace_that_is_being_deleted() -> None:
    """Nothing can be created there, which is no failure, and it does not count."""
    refusal = ApiError(403, "unable to create new content in namespace a because it is being terminated")

    scene = play(
        lambda s: s.refusals.update(a=[refusal] * 10), two_namespaces, Scene.set, lambda s: s.state("b", READY)
    )

    assert scene.writes == [("create", "b")]
    assert scene.ready == ("True", "BindingsReady")


def test_switched_off() -> None:
    """Nothing is made or removed, and the set says why."""
    scene = play(two_namespaces, Scene.set, lambda s: s.namespace("a", {}), enabled=False)

    assert scene.writes == []
    assert scene.ready == ("False", "SetsDisabled")


def test_many_namespaces() -> None:
    """All events of a moment share one look, and the set's status is written once for it."""

    def many(scene: Scene) -> None:
        for number in range(1000):
            scene.namespace(f"n-{number}", SELECTED)

    scene = play(many, Scene.set)

    assert len(scene.writes) == 1000
    assert scene.status_writes <= 2
    assert scene.status["namespaces"] == 1000


# --- patterns ---------------------------------------------------------------------------------------------------------


def safe(scene: Scene) -> str:
    """Return why nothing is granted by the set's pattern now; empty when it may be."""
    pattern = scene.cache.patterns.get("uid-profiles")
    assert pattern is not None
    return "" if pattern.problem is None else str(pattern.problem.reason)


def by_pattern(scene: Scene, **changes: Any) -> None:
    """Let the set come with a pattern."""
    scene.set(**({"pattern": "profile-*"} | changes))


def profiles(scene: Scene) -> None:
    """Let two namespaces come that the set selects."""
    scene.namespace("profile-a", SELECTED)
    scene.namespace("profile-b", SELECTED)


def test_pattern_makes_the_same_bindings() -> None:
    """Injection, grants and statuses are those of RoleBindings; the pattern counts once the API server knows it."""
    scene = play(profiles, by_pattern)

    assert sorted(scene.writes) == [("create", "profile-a"), ("create", "profile-b")]
    assert safe(scene) == ""
    assert scene.reconsidered == {"profile-a", "profile-b"}


def test_pattern_settles() -> None:
    """A new pattern, and a changed one, wait until the API server's policy knows it; after a restart it does."""
    scene = Scene()
    said: list[str] = []

    async def run() -> None:
        works = asyncio.gather(scene.sets.run(), scene.sets.patterns.watch(15.0))
        profiles(scene)
        by_pattern(scene)
        await asyncio.sleep(5)
        said.append(safe(scene))
        assert scene.ready == ("False", "Pending")
        await asyncio.sleep(20)
        said.append(safe(scene))
        by_pattern(scene, pattern="prof*", metadata={"generation": 2})
        await asyncio.sleep(5)
        said.append(safe(scene))
        await asyncio.sleep(20)
        said.append(safe(scene))
        works.cancel()

    run_virtually(run())
    assert said == ["Pending", "", "Pending", ""]
    assert after_restart(scene.status) == ""
    (pending,) = scene.status["conditions"]
    assert after_restart(scene.status | {"conditions": [pending | {"reason": "Pending"}]}) == "Pending"
    assert after_restart(scene.status | {"conditions": [pending | {"observedGeneration": 1}]}) == "Pending"


def after_restart(status: dict[str, Any]) -> str:
    """Return what another operator says at its start of the set with this status, which `test_pattern_settles` left."""
    again = Scene()
    again.status = status

    async def restart() -> None:
        profiles(again)
        by_pattern(again, pattern="prof*", metadata={"generation": 2})
        await again.sets.patterns.begin()

    run_virtually(restart())
    return safe(again)


def test_change_that_needs_no_settling() -> None:
    """Nothing of the pattern changed, or it matches less: the policy holds namespaces to the wider one already."""
    said: list[str] = []

    def changed(generation: int, **changes: Any) -> Callable[[Scene], None]:
        def step(scene: Scene) -> None:
            by_pattern(scene, **changes, metadata={"generation": generation})
            said.append(safe(scene))

        return step

    steps = (changed(2, audience="other"), changed(3, pattern="profile-a*"), changed(4, pattern="profile-*"))
    play(profiles, by_pattern, *steps)
    assert said == ["", "", "Pending"]


@pytest.mark.parametrize("labels", [{}, {"profile": "false"}, {"other": "true"}])
def test_stray_namespace(labels: dict[str, str]) -> None:
    """One that matches without the labels ends new grants at once, and the set names it; so does one that was there."""
    scene = Scene()

    async def run() -> None:
        works = asyncio.gather(scene.sets.run(), scene.sets.patterns.watch(15.0))
        profiles(scene)
        by_pattern(scene)
        await asyncio.sleep(30)
        assert safe(scene) == ""
        scene.namespace("profile-x", labels)
        assert safe(scene) == "StrayNamespace"
        await asyncio.sleep(2)
        assert scene.ready == ("False", "StrayNamespace")
        assert "matches profile-x without the labels profile=true" in scene.status["conditions"][0]["message"]
        scene.namespace("profile-x", None)
        await asyncio.sleep(2)
        assert safe(scene) == ""
        works.cancel()

    run_virtually(run())
    assert sorted(scene.writes) == [("create", "profile-a"), ("create", "profile-b")]
    assert safe(play(lambda s: s.namespace("profile-x", labels), profiles, by_pattern)) == "StrayNamespace"


def test_namespaces_that_are_no_strays() -> None:
    """Other names may have any labels; one that is selected and does not match gets its binding."""
    scene = play(
        profiles, by_pattern, lambda s: s.namespace("team-a", {}), lambda s: s.namespace("my-profile-a", SELECTED)
    )

    assert safe(scene) == ""
    assert ("create", "my-profile-a") in scene.writes


@pytest.mark.parametrize(
    "change",
    [
        (None, POLICY[1]),
        (POLICY[0], None),
        ({"spec": POLICY[0]["spec"] | {"failurePolicy": "Ignore"}}, POLICY[1]),
        (POLICY[0], {"spec": POLICY[1]["spec"] | {"validationActions": ["Audit"]}}),
    ],
)
def test_policy_that_is_missing_or_another(change: tuple[dict[str, Any] | None, dict[str, Any] | None]) -> None:
    """Without it nothing is granted by the pattern, also when it goes later; when it comes, it needs its moment."""

    def goes(scene: Scene) -> None:
        scene.policy = change

    without = play(goes, profiles, by_pattern)
    assert safe(without) == "PatternUnguarded"
    assert without.ready == ("False", "PatternUnguarded")
    assert safe(play(profiles, by_pattern, goes)) == "PatternUnguarded"
    assert safe(play(goes, profiles, by_pattern, lambda s: setattr(s, "policy", POLICY))) == ""


def test_policy_that_cannot_be_read() -> None:
    """What cannot be seen counts as missing."""
    scene = play(lambda s: setattr(s, "policy_error", ApiError(403, "cannot get policy")), profiles, by_pattern)

    assert safe(scene) == "PatternUnguarded"
    assert "cannot be read: cannot get policy (HTTP 403)" in scene.status["conditions"][0]["message"]


def test_failed_read_proves_nothing() -> None:
    """Nothing new is granted, and it is not said that strays may be there."""
    scene = play(profiles, by_pattern, lambda s: setattr(s, "policy_error", ApiError(500, "no answer")))

    pattern = scene.cache.patterns.get("uid-profiles")
    assert pattern is not None
    assert pattern.problem is not None
    assert (safe(scene), pattern.problem.is_proven) == ("PatternUnguarded", False)


def test_set_that_cannot_be_read_any_more() -> None:
    """What stands of its pattern stays, and nothing new is granted."""
    scene = play(profiles, by_pattern, lambda s: by_pattern(s, pattern="*", metadata={"generation": 2}))

    assert safe(scene) == "InvalidSpec"
    assert scene.reconsidered == {"profile-a", "profile-b"}


def test_set_that_was_created_anew() -> None:
    """Of the former set nothing new is granted, and the new one has to settle."""
    scene = play(profiles, by_pattern, lambda s: by_pattern(s, metadata={"uid": "uid-anew"}))

    assert safe(scene) == "Pending"
    anew = scene.cache.patterns.get("uid-anew")
    assert anew is not None
    assert anew.problem is None


def test_patterns_while_sets_are_disabled() -> None:
    """Nothing is granted by them, and what stands stays."""
    assert safe(play(profiles, by_pattern, enabled=False)) == "SetsDisabled"


def test_pattern_of_a_set_that_goes() -> None:
    """It is known until its bindings are gone, and grants nothing new."""
    scene = play(profiles, by_pattern, lambda s: s.sets.drop(("", "profiles")))

    assert safe(scene) == "Pending"


def test_from_pattern_to_exact() -> None:
    """The bindings have their own subjects again."""
    scene = play(profiles, by_pattern, lambda s: s.set(metadata={"generation": 2}))

    assert scene.cache.patterns.get("uid-profiles") is None
