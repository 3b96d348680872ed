"""What the operator knows of the cluster, and which roles a change may concern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import ACCOUNT, ISSUER, OTHER_ROLE, ROLE, account_body, binding_body
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import SHOWN_SUBJECTS, StoredBinding, is_older
from trustbind_operator.cluster.cache import ClusterCache

SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def entry(name: str = "b", **content: Any) -> StoredBinding:
    """Return an entry."""
    return StoredBinding.of(binding_body(name, **content))


def _account(name: str, **content: Any) -> StoredAwsAccount:
    return StoredAwsAccount.of(account_body(name, **content))


def rival(cache: ClusterCache, stored: StoredBinding) -> tuple[str, str] | None:
    """Return the name of the oldest live binding that has the binding's profile, and for which service account."""
    found = cache.binding_snapshot(stored, {}).rival
    return None if found is None else (found.binding.ref.name, found.service_account)


def of_role(role: RoleArn, name: str = "b", **content: Any) -> StoredBinding:
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

    known = StoredBinding.of(body)

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
    known = StoredBinding.of(binding_body(**spec))

    assert known.binding is None
    assert problem in known.problem
    assert known.roles == roles


def test_entry_of_next_to_nothing() -> None:
    """What the schema would refuse is an entry with a problem, never an exception."""
    known = StoredBinding.of({"metadata": {"name": "b", "namespace": "n"}})

    assert known.binding is None
    assert known.problem
    assert not known.deleting


def test_new_binding_touches_its_roles() -> None:
    """Target and source role."""
    cache = ClusterCache(ISSUER)

    touched = cache.put_binding(entry(method="AssumeRole", source={"roleArn": str(SOURCE)}))

    assert touched == {ROLE, SOURCE}
    assert cache.roles() == sorted([ROLE, SOURCE])
    assert cache.of_role(SOURCE) == cache.of_role(ROLE) == cache.in_namespace("team-a")


def test_changed_binding_touches_old_and_new_roles() -> None:
    """A binding that is about another role now (it was replaced) concerns both; the old one has none left."""
    cache = ClusterCache(ISSUER)
    cache.put_binding(of_role(ROLE))

    assert cache.put_binding(of_role(OTHER_ROLE)) == {ROLE, OTHER_ROLE}
    assert cache.roles() == [OTHER_ROLE]
    assert cache.of_role(ROLE) == []


def test_dropped_binding_touches_its_role() -> None:
    """And leaves nothing behind; a second time there is nothing to touch."""
    cache = ClusterCache(ISSUER)
    cache.put_binding(entry())

    assert cache.drop_binding(BindingRef("team-a", "b")) == {ROLE}
    assert (cache.roles(), cache.in_namespace("team-a")) == ([], [])
    assert cache.drop_binding(BindingRef("team-a", "b")) == frozenset()


@pytest.mark.parametrize(
    ("mine", "theirs", "are_rivals"),
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
def test_rivals_touch_each_other(mine: dict[str, Any], theirs: dict[str, Any], are_rivals: bool) -> None:
    """A binding that comes, changes or goes concerns the roles of younger ones that claim the same profile."""
    cache = ClusterCache(ISSUER)
    cache.put_service_account("team-a", "app", {})
    younger = of_role(OTHER_ROLE, "theirs", created=YOUNG, **theirs)
    cache.put_binding(younger)
    binding = of_role(ROLE, "mine", created=OLD, **mine)
    expected = {ROLE, OTHER_ROLE} if are_rivals else {ROLE}

    assert cache.put_binding(binding) == expected
    assert (rival(cache, younger), rival(cache, binding)) == (("mine", "app") if are_rivals else None, None)
    assert cache.put_binding(of_role(ROLE, "mine", created=OLD, profile="elsewhere")) == expected
    cache.put_binding(binding)
    assert cache.drop_binding(binding.ref) == expected


def test_younger_binding_concerns_no_older_one() -> None:
    """A binding that comes last takes nothing from those that are there, so nothing is decided again for it."""
    cache = ClusterCache(ISSUER)
    cache.put_binding(of_role(OTHER_ROLE, "theirs", created=OLD))

    assert cache.put_binding(of_role(ROLE, "mine", created=YOUNG)) == {ROLE}


def test_only_older_live_bindings_are_rivals() -> None:
    """The oldest; neither itself, nor younger ones, nor those that are going, nor unreadable ones."""
    cache = ClusterCache(ISSUER)
    for body in (
        binding_body("second", created="2026-01-01T00:00:02Z"),
        binding_body("first", created="2026-01-01T00:00:01Z"),
        binding_body("going", created=OLD, metadata={"deletionTimestamp": YOUNG}),
        binding_body("unreadable", created=OLD, audience="a b"),
        binding_body("young", created="2026-01-03T00:00:00Z"),
        binding_body("mine", created=YOUNG),
    ):
        cache.put_binding(StoredBinding.of(body))
    mine = cache.bindings[BindingRef("team-a", "mine")]

    assert rival(cache, mine) == ("first", "app")
    cache.drop_binding(BindingRef("team-a", "first"))
    assert rival(cache, mine) == ("second", "app")


def test_oldest_first_and_unreadable_last() -> None:
    """Whatever order they came in; of the same age the name decides."""
    cache = ClusterCache(ISSUER)
    for name, created, audience in (("c", YOUNG, "a"), ("x", OLD, "a b"), ("b", OLD, "a"), ("a", YOUNG, "a")):
        cache.put_binding(entry(name, created=created, audience=audience, profile=name))

    assert [e.ref.name for e in cache.of_role(ROLE)] == ["b", "a", "c", "x"]


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [("9", "10", True), ("10", "9", False), ("9", "9", False), ("", "9", False), ("a", "9", False), ("9", "", False)],
)
def test_versions_are_compared_as_numbers(version: str, other: str, older: bool) -> None:
    """What is no number is never older."""
    assert is_older(version, other) is older


def test_old_states_are_told_from_new_ones() -> None:
    """Of one object; another object of the same name has versions of its own."""
    cache = ClusterCache(ISSUER)
    cache.put_binding(entry(metadata={"resourceVersion": "10"}))

    for item, is_old in (
        (entry(metadata={"resourceVersion": "9"}), True),
        (entry(metadata={"resourceVersion": "10"}), False),
        (entry(metadata={"resourceVersion": "9", "uid": "other"}), False),
        (entry("unknown"), False),
    ):
        assert cache.bindings.is_old(item.ref, item) is is_old


def test_own_status_is_restated() -> None:
    """Our own patch changes the status alone: events from before the patch still count. Of another object, nothing."""
    cache = ClusterCache(ISSUER)
    known = entry()
    cache.put_binding(known)

    cache.restate(known, {"statementId": "x"}, "2")
    cache.restate(entry(metadata={"uid": "other"}), {}, "3")
    cache.restate(entry("gone"), {}, "3")

    (stored,) = cache.bindings.values()
    assert (stored.status, stored.version, stored.binding) == ({"statementId": "x"}, "1", known.binding)


def test_accounts_by_id() -> None:
    """The older object counts; a broken one, and one that is going while another stays, does not."""
    cache = ClusterCache(ISSUER)
    cache.put_aws_account(_account("young", metadata={"creationTimestamp": YOUNG}))
    assert cache.aws_account(ACCOUNT) is not None
    cache.put_aws_account(_account("old", metadata={"creationTimestamp": OLD}))
    cache.put_aws_account(_account("broken", metadata={"creationTimestamp": "2025-01-01T00:00:00Z"}, new=1))

    def counts() -> str:
        found = cache.aws_account(ACCOUNT)
        return found.name if found else ""

    assert counts() == "old"
    cache.put_aws_account(_account("old", metadata={"creationTimestamp": OLD, "deletionTimestamp": YOUNG}))
    assert counts() == "young"
    cache.drop_aws_account("young")
    assert counts() == "old"
    cache.drop_aws_account("old")
    cache.drop_aws_account("unknown")
    assert counts() == ""


def test_service_accounts_of_an_unknown_namespace() -> None:
    """A selector selects none there."""
    cache = ClusterCache(ISSUER)
    selecting = entry(namespace="nowhere", serviceAccountSelector={})
    cache.put_binding(selecting)

    assert cache.subjects(selecting) == ()


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


accounts: st.SearchStrategy[tuple[str, str, dict[str, str] | None]] = st.tuples(
    st.sampled_from(["x", "y"]), st.sampled_from(["app", "new"]), st.sampled_from([{}, None])
)


@given(st.lists(st.one_of(bodies, refs, accounts), max_size=12))
def test_indexes_are_those_of_a_rebuild(
    changes: list[dict[str, Any] | BindingRef | tuple[str, str, Mapping[str, str] | None]],
) -> None:
    """After any sequence of changes, everything is as if only what is left had ever come."""
    cache = ClusterCache(ISSUER)
    for change in changes:
        if isinstance(change, BindingRef):
            cache.drop_binding(change)
        elif isinstance(change, tuple):
            cache.put_service_account(*change)
        else:
            cache.put_binding(StoredBinding.of(change))
    rebuilt = ClusterCache(ISSUER)
    for namespace, names in cache.service_accounts.items():
        rebuilt.service_accounts[namespace] = dict(names)
    for known in cache.bindings.values():
        rebuilt.put_binding(known)

    rebuilt.revision = cache.revision  # counts the changes
    assert cache == rebuilt
    for known in cache.bindings.values():
        if known.binding is not None:
            assert rival(cache, known) == _rival(cache, known)


@given(st.lists(bodies, max_size=6), bodies)
def test_whoever_fares_otherwise_is_touched(before: list[dict[str, Any]], change: dict[str, Any]) -> None:
    """A role whose bindings' rival differs after a change is among the touched ones."""
    cache = ClusterCache(ISSUER)
    for namespace in ("x", "y"):
        cache.put_service_account(namespace, "app", {})
    for body in before:
        cache.put_binding(StoredBinding.of(body))
    before_rivals = _all_rivals(cache)

    touched = cache.put_binding(StoredBinding.of(change))

    for ref, found in _all_rivals(cache).items():
        if before_rivals.get(ref, found) != found:
            known = cache.bindings[ref]
            assert ref == StoredBinding.of(change).ref or known.roles <= touched


def _rival(cache: ClusterCache, mine: StoredBinding) -> tuple[str, str] | None:
    """Return the rival, computed from each pair of bindings."""
    assert mine.binding is not None
    if mine.deleting:
        return None
    there = cache.service_accounts.get(mine.ref.namespace, {})
    for other in cache.in_namespace(mine.ref.namespace):
        if other.binding is None or other.deleting or other.age_key >= mine.age_key:
            continue
        shared = set(mine.binding.subjects(there)) & set(other.binding.subjects(there))
        if mine.binding.profile == other.binding.profile and shared:
            return other.ref.name, min(shared).name
    return None


def _all_rivals(cache: ClusterCache) -> Mapping[BindingRef, tuple[str, str] | None]:
    return {ref: rival(cache, known) for ref, known in cache.bindings.items() if known.binding is not None}


def test_event_from_before_our_patch() -> None:
    """It has the older status; the patched one stays, and what else it brings counts."""
    cache = ClusterCache(ISSUER)
    known = entry()
    cache.put_binding(known)
    cache.restate(known, {"statementId": "x"}, "3")

    before = cache.bindings.with_own_status(known.ref, entry(metadata={"resourceVersion": "2"}))
    own = cache.bindings.with_own_status(
        known.ref, entry(metadata={"resourceVersion": "3"}, status={"statementId": "y"})
    )

    assert (before.status, before.version) == ({"statementId": "x"}, "2")
    assert (own.status, own.version) == ({"statementId": "y"}, "3")


def test_texts_of_statuses_are_shared_and_bounded() -> None:
    """Bindings that select the same service accounts list the same subjects; what we never write is not kept."""
    listed = [f"system:serviceaccount:team-a:a{n:04}" for n in range(500)]
    one, other = (
        StoredBinding.of(binding_body(name, status={"subjects": ["".join(list(s)) for s in listed]})) for name in "ab"
    )

    assert one.status["subjects"][:2] == listed[:2]
    assert len(one.status["subjects"]) == SHOWN_SUBJECTS + 1
    assert all(mine is theirs for mine, theirs in zip(one.status["subjects"], other.status["subjects"], strict=True))


def test_a_shared_source_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of its bindings: of one namespace with a thousand chains, each would look at every other."""
    looks: list[RoleArn] = []
    find = ClusterCache._find_shared

    def counted(cache: ClusterCache, role: RoleArn) -> Mapping[BindingRef, str]:
        looks.append(role)
        return find(cache, role)

    monkeypatch.setattr(ClusterCache, "_find_shared", counted)
    cache = ClusterCache(ISSUER)
    for number in range(20):
        cache.put_binding(entry(f"b-{number}", method="AssumeRole", source={"roleArn": str(SOURCE)}))

    assert len(cache.snapshot(SOURCE, {}).bindings) == 20
    assert looks == [SOURCE]
