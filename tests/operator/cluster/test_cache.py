"""What the operator knows of the cluster, and which roles a change may concern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.operator_world import ACCOUNT, OTHER_ROLE, ROLE, account_body, binding_body
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind_operator.cluster.cache import BindingEntry, Registry, is_older

SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def entry(name: str = "b", **content: Any) -> BindingEntry:
    """Return an entry."""
    return BindingEntry.of(binding_body(name, **content))


def of_role(role: RoleArn, name: str = "b", **content: Any) -> BindingEntry:
    """Return an entry for a role."""
    return entry(name, roleArn=str(role), **content)


def test_entry_of_a_whole_object() -> None:
    """What counts of the object is taken over."""
    body = binding_body(
        status={"statementId": "x"},
        metadata={"finalizers": ["other", BINDING_FINALIZER], "deletionTimestamp": OLD, "generation": 7},
        method="AssumeRole",
        source={"roleArn": str(SOURCE)},
    )

    known = BindingEntry.of(body)

    assert known.binding is not None
    assert (known.ref, known.uid, known.version, known.generation) == (
        BindingRef("team-a", "b"),
        "uid-team-a-b",
        "1",
        7,
    )
    assert (known.deleting, known.guarded, known.problem) == (True, True, "")
    assert known.roles == {ROLE, SOURCE}
    assert known.status == {"statementId": "x"}


@pytest.mark.parametrize(
    ("spec", "roles", "problem"),
    [
        ({"audience": "a b"}, {ROLE}, "spec.audience"),
        ({"roleArn": "nonsense"}, set(), "spec.roleArn"),
        ({"source": {"roleArn": "nonsense"}}, {ROLE}, "spec.source"),
        ({"new": 1}, {ROLE}, "new"),
    ],
)
def test_entry_of_an_unreadable_object(spec: dict[str, Any], roles: set[RoleArn], problem: str) -> None:
    """An object that cannot be parsed is known all the same, with the reason and the roles that can be told."""
    known = BindingEntry.of(binding_body(**spec))

    assert known.binding is None
    assert problem in known.problem
    assert known.roles == roles


def test_entry_of_next_to_nothing() -> None:
    """What the schema would refuse is an entry with a problem, never an exception."""
    known = BindingEntry.of({"metadata": {"name": "b", "namespace": "n"}})

    assert known.binding is None
    assert known.problem
    assert not known.deleting


def test_new_binding_touches_its_roles() -> None:
    """Target and source role."""
    registry = Registry()

    touched = registry.put_binding(entry(method="AssumeRole", source={"roleArn": str(SOURCE)}))

    assert touched == {ROLE, SOURCE}
    assert registry.roles() == sorted([ROLE, SOURCE])
    assert registry.of_role(SOURCE) == registry.of_role(ROLE) == registry.in_namespace("team-a")


def test_changed_binding_touches_old_and_new_roles() -> None:
    """A binding that is about another role now (it was replaced) concerns both; the old one has none left."""
    registry = Registry()
    registry.put_binding(of_role(ROLE))

    assert registry.put_binding(of_role(OTHER_ROLE)) == {ROLE, OTHER_ROLE}
    assert registry.roles() == [OTHER_ROLE]
    assert registry.of_role(ROLE) == []


def test_dropped_binding_touches_its_role() -> None:
    """And leaves nothing behind; a second time there is nothing to touch."""
    registry = Registry()
    registry.put_binding(entry())

    assert registry.drop_binding(BindingRef("team-a", "b")) == {ROLE}
    assert (registry.roles(), registry.in_namespace("team-a")) == ([], [])
    assert registry.drop_binding(BindingRef("team-a", "b")) == frozenset()


@pytest.mark.parametrize(
    ("mine", "theirs", "rivals"),
    [
        ({}, {}, True),
        ({}, {"profile": "x"}, False),
        ({"profile": "x"}, {"profile": "x"}, True),
        ({}, {"serviceAccountNames": ["other"]}, False),
        ({}, {"serviceAccountNames": ["other", "app"]}, True),
        ({}, {"serviceAccountSelector": {}}, True),
        ({"serviceAccountSelector": {}}, {"serviceAccountSelector": {}}, True),
        ({"serviceAccountSelector": {}}, {"profile": "x"}, False),
        ({}, {"namespace": "team-b"}, False),
        ({"method": "PodIdentity", "profile": "x"}, {"method": "PodIdentity"}, True),
        ({"method": "PodIdentity", "profile": "x"}, {"method": "PodIdentity", "serviceAccountSelector": {}}, True),
        ({"method": "PodIdentity", "serviceAccountSelector": {}, "profile": "x"}, {"method": "PodIdentity"}, True),
        ({"method": "PodIdentity"}, {}, False),
        ({"method": "PodIdentity", "profile": "x"}, {}, False),
    ],
)
def test_rivals_touch_each_other(mine: dict[str, Any], theirs: dict[str, Any], rivals: bool) -> None:
    """A binding that comes, changes or goes concerns the roles of those that claim the same profile."""
    registry = Registry()
    registry.put_binding(of_role(OTHER_ROLE, "theirs", created=OLD, **theirs))
    binding = of_role(ROLE, "mine", created=YOUNG, **mine)
    expected = {ROLE, OTHER_ROLE} if rivals else {ROLE}

    assert registry.put_binding(binding) == expected
    assert binding.binding is not None
    assert [r.ref.name for r in registry.rivals(binding.binding)] == (["theirs"] if rivals else [])
    assert registry.put_binding(of_role(ROLE, "mine", created=YOUNG, profile="elsewhere")) == expected
    registry.put_binding(binding)
    assert registry.drop_binding(binding.ref) == expected


def test_only_older_live_bindings_are_rivals() -> None:
    """Oldest first; neither itself, nor younger ones, nor those that are going, nor unreadable ones."""
    registry = Registry()
    for body in (
        binding_body("second", created="2026-01-01T00:00:02Z"),
        binding_body("first", created="2026-01-01T00:00:01Z"),
        binding_body("going", created=OLD, metadata={"deletionTimestamp": YOUNG}),
        binding_body("unreadable", created=OLD, audience="a b"),
        binding_body("young", created="2026-01-03T00:00:00Z"),
        binding_body("mine", created=YOUNG),
    ):
        registry.put_binding(BindingEntry.of(body))
    mine = registry.bindings[BindingRef("team-a", "mine")].binding
    assert mine is not None

    assert [r.ref.name for r in registry.rivals(mine)] == ["first", "second"]


def test_oldest_first_and_unreadable_last() -> None:
    """Whatever order they came in; of the same age the name decides."""
    registry = Registry()
    for name, created, audience in (("c", YOUNG, "a"), ("x", OLD, "a b"), ("b", OLD, "a"), ("a", YOUNG, "a")):
        registry.put_binding(entry(name, created=created, audience=audience, profile=name))

    assert [e.ref.name for e in registry.of_role(ROLE)] == ["b", "a", "c", "x"]


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [("9", "10", True), ("10", "9", False), ("9", "9", False), ("", "9", False), ("a", "9", False), ("9", "", False)],
)
def test_versions_are_compared_as_numbers(version: str, other: str, older: bool) -> None:
    """What is no number is never older."""
    assert is_older(version, other) is older


def test_old_states_are_told_from_new_ones() -> None:
    """Of one object; another object of the same name has versions of its own."""
    registry = Registry()
    registry.put_binding(entry(metadata={"resourceVersion": "10"}))

    assert registry.is_old(entry(metadata={"resourceVersion": "9"}))
    assert not registry.is_old(entry(metadata={"resourceVersion": "10"}))
    assert not registry.is_old(entry(metadata={"resourceVersion": "9", "uid": "other"}))
    assert not registry.is_old(entry("unknown"))


def test_own_status_is_restated() -> None:
    """Our own patch changes status and version, and of another object of that name nothing."""
    registry = Registry()
    known = entry()
    registry.put_binding(known)

    registry.restate(known, {"statementId": "x"}, "2")
    registry.restate(entry(metadata={"uid": "other"}), {}, "3")
    registry.restate(entry("gone"), {}, "3")

    (stored,) = registry.bindings.values()
    assert (stored.status, stored.version, stored.binding) == ({"statementId": "x"}, "2", known.binding)


def test_accounts_by_id() -> None:
    """The older object counts; a broken one, and one that is going while another stays, does not."""
    registry = Registry()
    registry.put_aws_account(account_body("young", metadata={"creationTimestamp": YOUNG}))
    assert registry.aws_account(ACCOUNT) is not None
    registry.put_aws_account(account_body("old", metadata={"creationTimestamp": OLD}))
    registry.put_aws_account(account_body("broken", metadata={"creationTimestamp": "2025-01-01T00:00:00Z"}, new=1))

    def counts() -> str:
        found = registry.aws_account(ACCOUNT)
        return found.name if found else ""

    assert counts() == "old"
    registry.put_aws_account(account_body("old", metadata={"creationTimestamp": OLD, "deletionTimestamp": YOUNG}))
    assert counts() == "young"
    registry.drop_aws_account("young")
    assert counts() == "old"
    registry.drop_aws_account("old")
    registry.drop_aws_account("unknown")
    assert counts() == ""


def test_service_accounts_of_an_unknown_namespace() -> None:
    """There are none."""
    assert Registry().accounts_of("nowhere") == {}


def _body(
    name: str, namespace: str, role: RoleArn, names: set[str], profile: str, created: str, going: bool, broken: bool
) -> dict[str, Any]:
    subjects: dict[str, Any] = {"serviceAccountNames": sorted(names)} if names else {"serviceAccountSelector": {}}
    return binding_body(
        name,
        namespace,
        created=created,
        metadata={"deletionTimestamp": YOUNG} if going else {},
        roleArn=str(role),
        profile=profile,
        audience="a b" if broken else "a",
        **subjects,
    )


bodies = st.builds(
    _body,
    st.sampled_from("abcd"),
    st.sampled_from(["x", "y"]),
    st.sampled_from([ROLE, OTHER_ROLE, SOURCE]),
    st.sets(st.sampled_from(["app", "job"])),
    st.sampled_from(["default", "p"]),
    st.sampled_from([OLD, YOUNG]),
    st.booleans(),
    st.booleans(),
)
refs = st.builds(BindingRef, st.sampled_from(["x", "y"]), st.sampled_from("abcd"))


@given(st.lists(st.one_of(bodies, refs), max_size=12))
def test_indexes_are_those_of_a_rebuild(changes: list[dict[str, Any] | BindingRef]) -> None:
    """After any sequence of changes, everything is as if only what is left had ever come."""
    registry = Registry()
    for change in changes:
        if isinstance(change, BindingRef):
            registry.drop_binding(change)
        else:
            registry.put_binding(BindingEntry.of(change))
    rebuilt = Registry()
    for known in registry.bindings.values():
        rebuilt.put_binding(known)

    assert registry == rebuilt
    for known in registry.bindings.values():
        if known.binding is not None:
            assert registry.rivals(known.binding) == _rivals(registry, known)


@given(st.lists(bodies, max_size=6), bodies)
def test_whoever_fares_otherwise_is_touched(before: list[dict[str, Any]], change: dict[str, Any]) -> None:
    """A role whose bindings' rivals differ after a change is among the touched ones."""
    registry = Registry()
    for body in before:
        registry.put_binding(BindingEntry.of(body))
    rivals = _all_rivals(registry)

    touched = registry.put_binding(BindingEntry.of(change))

    for ref, names in _all_rivals(registry).items():
        if rivals.get(ref, names) != names:
            known = registry.bindings[ref]
            assert ref == BindingEntry.of(change).ref or known.roles <= touched


def _rivals(registry: Registry, mine: BindingEntry) -> list[Any]:
    assert mine.binding is not None
    found = []
    for other in registry.in_namespace(mine.ref.namespace):
        if other.binding is None or other.deleting or other.ref == mine.ref:
            continue
        one, two = mine.binding, other.binding
        selects = one.selector is not None or two.selector is not None
        overlap = selects or set(one.service_account_names) & set(two.service_account_names)
        if one.profile == two.profile and overlap and two.age_key < one.age_key:
            found.append(two)
    return found


def _all_rivals(registry: Registry) -> Mapping[BindingRef, list[BindingRef]]:
    return {
        ref: [r.ref for r in registry.rivals(known.binding)]
        for ref, known in registry.bindings.items()
        if known.binding is not None
    }
