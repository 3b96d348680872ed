"""Which bindings may share the source role of chains."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import ACCOUNT, binding_body, grant_body
from support.scenario_world import World
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import decide
from trustbind.reconcile.shared_source import source_conflicts

SHARED = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/shared")
ONE, TWO = (RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/{name}") for name in ("one", "two"))


def chain(name: str, namespace: str, target: RoleArn, second: int = 0) -> dict[str, Any]:
    """Return a chain over the shared role."""
    return binding_body(
        name,
        namespace,
        created=f"2026-01-01T00:00:{second:02}Z",
        roleArn=str(target),
        method="AssumeRole",
        source={"roleArn": str(SHARED)},
        profile=name,
    )


def itself(name: str, namespace: str, second: int = 0, method: str = "WebIdentity") -> dict[str, Any]:
    """Return a binding of the shared role itself."""
    created = f"2026-01-01T00:00:{second:02}Z"
    return binding_body(name, namespace, created=created, roleArn=str(SHARED), profile=name, method=method)


def grant(namespace: str, *roles: RoleArn, **spec: Any) -> dict[str, Any]:
    """Return a grant of these roles for one namespace."""
    spec |= {"namespaces": {"names": [namespace]}, "roleArns": [*map(str, roles)]}
    return grant_body(f"{namespace}-{len(roles)}", **spec)


def conflicts(world: World) -> dict[BindingRef, str]:
    """Return what may not share the role."""
    members = [world.cache.binding_snapshot(stored, {}) for stored in world.cache.of_role(SHARED)]
    return source_conflicts(SHARED, members, world.cache.around)


def reason(world: World, name: str, namespace: str) -> tuple[bool | None, TrustReason | None]:
    """Return how a binding is decided in its target role."""
    stored = world.cache.bindings[BindingRef(namespace, name)]
    assert stored.binding is not None
    (decision,) = decide(world.cache.snapshot_of(stored, stored.binding.role, {}))
    return decision.authorized, decision.reason


def two_teams() -> World:
    """Return a world in which two teams are granted the shared source role, and a target each."""
    world = World()
    world.has_account()
    world.has_grants(grant("team-a", SHARED, ONE), grant("team-b", SHARED, TWO))
    return world


def test_each_would_get_the_other_ones_target() -> None:
    """The younger chain is refused in both of its roles, and the message says what would come of it."""
    world = two_teams()
    world.has_binding(chain("a", "team-a", ONE, 1))
    world.has_binding(chain("b", "team-b", TWO, 2))
    assert reason(world, "a", "team-a") == (True, None)
    assert reason(world, "b", "team-b") == (False, TrustReason.SHARED_SOURCE)
    problem = world.cache.binding_snapshot(world.cache.bindings[BindingRef("team-b", "b")], {}).source_conflict
    assert f"RoleBinding team-a/a has it as the source role of a chain to {ONE}" in problem
    assert f"namespace team-b would get {ONE}" in problem


def test_every_target_is_granted_to_every_namespace() -> None:
    """Then they may share the role."""
    world = two_teams()
    world.has_grants(grant("team-a", SHARED, ONE, TWO), grant("team-b", SHARED, ONE, TWO))
    world.has_binding(chain("a", "team-a", ONE, 1))
    world.has_binding(chain("b", "team-b", TWO, 2))
    assert reason(world, "a", "team-a") == reason(world, "b", "team-b") == (True, None)


def test_a_newcomer_brings_a_target() -> None:
    """It is refused for what the namespace that was there first would get."""
    world = two_teams()
    world.has_grants(grant("team-a", SHARED, ONE), grant("team-b", SHARED, ONE, TWO))
    world.has_binding(chain("a", "team-a", ONE, 1))
    world.has_binding(chain("same", "team-b", ONE, 2))
    world.has_binding(chain("more", "team-b", TWO, 3))
    assert reason(world, "same", "team-b") == (True, None)
    assert reason(world, "more", "team-b") == (False, TrustReason.SHARED_SOURCE)
    assert f"namespace team-a would get {TWO}" in conflicts(world)[BindingRef("team-b", "more")]


@pytest.mark.parametrize("method", ["WebIdentity", "PodIdentity"])
def test_a_binding_of_the_source_role_itself(method: str) -> None:
    """Its pods get the source role, and so its targets, by whatever method; the older of the two stays."""
    methods = ["WebIdentity", "AssumeRole", "PodIdentity"]
    for second, is_first in ((2, False), (0, True)):
        world = two_teams()
        world.has_grants(grant("team-a", SHARED, ONE), grant("team-b", SHARED, methods=methods))
        world.has_binding(chain("a", "team-a", ONE, 1))
        world.has_binding(itself("b", "team-b", second, method))
        refused, stays = (("a", "team-a"), ("b", "team-b")) if is_first else (("b", "team-b"), ("a", "team-a"))
        assert reason(world, *refused) == (False, TrustReason.SHARED_SOURCE)
        assert reason(world, *stays) == (True, None)


def test_what_does_not_count() -> None:
    """A grant of another method, a chain that is not granted, one that goes, and a role that is the source of none."""
    world = two_teams()
    world.has_grants(
        grant("team-a", SHARED, ONE),
        grant("team-b", SHARED, TWO),
        grant("team-b", ONE, TWO, SHARED, methods=["WebIdentity"]),
    )
    world.has_binding(chain("ungranted", "team-c", TWO, 0))
    world.has_binding(chain("a", "team-a", ONE, 1))
    world.has_binding(chain("b", "team-b", TWO, 2))
    assert set(conflicts(world)) == {BindingRef("team-b", "b")}
    world.delete("a", "team-a")
    assert conflicts(world) == {}
    assert reason(world, "b", "team-b") == (True, None)

    plain = two_teams()
    for namespace in ("team-a", "team-b"):
        plain.has_binding(binding_body("plain", namespace, roleArn=str(SHARED)))
    assert reason(plain, "plain", "team-a") == reason(plain, "plain", "team-b") == (True, None)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([None, ONE, TWO])), max_size=6),
    st.sets(st.tuples(st.sampled_from("abc"), st.sampled_from([ONE, TWO]))),
)
def test_nobody_gets_a_target_that_is_not_granted(
    bindings: list[tuple[str, RoleArn | None]], granted: set[tuple[str, RoleArn]]
) -> None:
    """Of those that are not refused, each namespace is granted every target; and a refused one would break that."""
    world = World()
    world.has_account()
    world.has_grants(
        *(grant_body(f"{n}-{t.name}", namespaces={"names": [n]}, roleArns=[str(SHARED), str(t)]) for n, t in granted),
        grant_body("source", roleArns=[str(SHARED)]),
    )
    accepted: list[tuple[str, RoleArn | None]] = []
    expected: set[BindingRef] = set()
    for number, (namespace, target) in enumerate(bindings):
        name = f"b{number}"
        body = chain(name, namespace, target, number) if target is not None else itself(name, namespace, number)
        world.has_binding(body)
        if target is not None and (namespace, target) not in granted:
            continue  # not granted at all
        together = [*accepted, (namespace, target)]
        namespaces, targets = {n for n, _ in together}, {t for _, t in together if t is not None}
        if all((n, t) in granted for n in namespaces for t in targets):
            accepted = together
        else:
            expected.add(BindingRef(namespace, name))
    assert set(conflicts(world)) == expected
