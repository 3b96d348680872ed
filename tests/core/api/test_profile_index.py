"""Which binding of a namespace has a profile first, and what it costs to know: work is counted, never time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api import profile_index
from trustbind.api.annotated_binding import binding_name
from trustbind.api.conflicts import profile_conflict
from trustbind.api.label_selector import (
    MAX_LABEL_CHARACTERS,
    NOT_THERE,
    LabelSelector,
    SelectorRequirement,
    kept_labels,
)
from trustbind.api.profile_index import ProfileIndex
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.identity.arns import RoleArn

ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/reader")


def binding(number: int, **values: Any) -> RoleBinding:
    """Return a binding; the higher the number, the younger."""
    created = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return RoleBinding(BindingRef("team-a", f"b{number:05}"), ROLE, created=created, **values)


def selecting(number: int, *values: str, **more: Any) -> RoleBinding:
    """Return a binding of the service accounts whose label ``app`` has one of these values; of all with no value."""
    requirements = (SelectorRequirement("app", "In", values),) if values else ()
    return binding(number, selector=LabelSelector((), requirements), **more)


class Work:
    """Counts what an index does: how often a selector is matched, and two bindings are compared."""

    matches = 0
    comparisons = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Count from here on."""
    work = Work()
    match, shared = LabelSelector.matches, profile_index._shared

    def matches(self: LabelSelector, labels: Any) -> bool:
        work.matches += 1
        return match(self, labels)

    def compared(one: int, other: int) -> int:
        work.comparisons += 1
        return shared(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(LabelSelector, "matches", matches)
        patch.setattr(profile_index, "_shared", compared)
        yield work


def namespace_of(accounts: int) -> ProfileIndex:
    """Return a namespace of service accounts with a label each."""
    index = ProfileIndex("team-a")
    for number in range(accounts):
        index.put_service_account(f"a{number:04}", {"app": f"v{number}"})
    return index


@pytest.mark.parametrize("overlapping", [True, False])
def test_many_selectors_over_many_service_accounts(monkeypatch: pytest.MonkeyPatch, overlapping: bool) -> None:
    """Each is matched once with each, and few comparisons decide them all, whether they select the same or not."""
    index = namespace_of(1000)
    with counted(monkeypatch) as work:
        for number in range(300):
            index.put(selecting(number) if overlapping else selecting(number, f"v{number}"))
        for number in range(300):
            ref = BindingRef("team-a", f"b{number:05}")
            rival = index.rival(ref)
            assert (rival is not None) == (overlapping and number > 0)

    assert work.matches <= 300 * 1000
    assert work.comparisons <= 300 * 12


def test_change_of_one_service_account_is_matched_once_with_each_selector(monkeypatch: pytest.MonkeyPatch) -> None:
    """And selectors that several bindings have are matched once for all of them."""
    index = namespace_of(1000)
    for number in range(300):
        index.put(selecting(number, f"v{number % 100}"))
    with counted(monkeypatch) as work:
        assert index.put_service_account("a0500", {"app": "v1"})
        assert not index.put_service_account("a0501", {"app": "nothing"})

    assert work.matches == 2 * 100
    assert "a0500" in [subject.name for subject in index.subjects(selecting(1, "v1"))]


def test_edit_of_a_binding_compares_it_with_each_younger_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of 1,000 is compared with all, and decided for those alone that it shares service accounts with."""
    index = namespace_of(100)
    for number in range(1000):
        index.put(binding(number, service_account_names=(f"n{number}",)))
    with counted(monkeypatch) as work:
        assert index.put(binding(0, service_account_names=("n500", "n501"))) == {
            BindingRef("team-a", "b00500"),
            BindingRef("team-a", "b00501"),
        }

    assert work.comparisons <= 2 * 999 + 4 * 12


def test_edit_that_changes_no_service_account_concerns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared for it."""
    index = ProfileIndex("team-a")
    for number in range(100):
        index.put(binding(number, service_account_names=("app",)))
    with counted(monkeypatch) as work:
        assert index.put(binding(0, service_account_names=("app",), session_name="other")) == frozenset()

    assert work.comparisons == 0
    found = index.rival(BindingRef("team-a", "b00001"))
    assert found is not None
    assert found.binding.session_name == "other"


def test_bits_of_service_accounts_that_are_gone_are_used_again() -> None:
    """However many come and go, the integers stay short, and what bindings have stays the same."""
    index = ProfileIndex("team-a")
    index.put(selecting(0, "v"))
    index.put(binding(1, service_account_names=("stays", "unborn")))
    index.put_service_account("stays", {"app": "v"})
    for number in range(5000):
        index.put_service_account(f"passing{number}", {"app": "v"})
        index.put_service_account(f"passing{number}", None)

    assert len(index._positions) < 2000
    assert [s.name for s in index.subjects(selecting(0, "v"))] == ["stays"]
    rival = index.rival(BindingRef("team-a", "b00001"))
    assert rival is not None
    assert (rival.binding.ref.name, rival.service_account) == ("b00000", "stays")


def test_bindings_of_a_service_account() -> None:
    """Those that name it, and those that select it; none for one that nobody has heard of."""
    index = namespace_of(3)
    for each in (selecting(0), selecting(1, "v1"), binding(2, service_account_names=("a0001", "x"))):
        index.put(each)

    assert sorted(ref.name for ref in index.of("a0001")) == ["b00000", "b00001", "b00002"]
    assert [ref.name for ref in index.of("x")] == ["b00002"]
    assert index.of("unheard") == []


def test_service_account_with_too_many_labels_is_selected_by_none() -> None:
    """Not even by an empty selector or by one that excludes; it can still be named."""
    few, many = {"app": "x" * 60}, {f"label-{n}": "x" * 60 for n in range(100)}

    assert sum(map(len, many)) + 60 * len(many) > MAX_LABEL_CHARACTERS
    assert (kept_labels(few), kept_labels(many)) == (few, NOT_THERE)
    for selector in (LabelSelector(), LabelSelector((), (SelectorRequirement("app", "DoesNotExist"),))):
        assert not selector.matches(kept_labels(many))
    assert LabelSelector().matches({})


def test_one_binding_is_compared_with_a_bounded_number_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook, which decides about one binding at a time, compares some thousand times at most."""
    there = {f"a{number:05}": {"app": f"v{number}"} for number in range(1000)}
    others = [selecting(number, f"x{number}") for number in range(1000)]
    with counted(monkeypatch) as work:
        assert not profile_conflict(selecting(5000), sorted(there), others, there)
        assert not profile_conflict(selecting(5000), sorted(there)[:10], others, there)

    assert work.matches <= 2000
    assert "b00007" in profile_conflict(selecting(5000, "x7"), ["a"], others, {"a": {"app": "x7"}})


OTHER_ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/other")


def generated(number: int, name: str, role: RoleArn = ROLE) -> RoleBinding:
    """Return the binding that the operator made of a service account's annotation."""
    made = binding(number, service_account_names=(name,), is_marked=True)
    return replace(made, ref=BindingRef("team-a", binding_name(name)), role=role)


def test_generated_binding_is_no_rival_of_the_one_that_takes_over() -> None:
    """Whichever is older; for another role it is one, and an older one for another role is its own."""
    index = namespace_of(3)
    index.put(generated(1, "a0001"))
    index.put(selecting(2))
    index.put(replace(selecting(3), role=OTHER_ROLE))

    assert index.rival(BindingRef("team-a", "annotated-a0001")) is None
    assert index.rival(BindingRef("team-a", "b00002")) is None
    third = index.rival(BindingRef("team-a", "b00003"))
    assert third is not None
    assert str(third.binding.ref) == "team-a/annotated-a0001"

    assert index.put(generated(9, "a0001")) == {BindingRef("team-a", "b00003")}
    assert index.rival(BindingRef("team-a", "annotated-a0001")) is None
    third = index.rival(BindingRef("team-a", "b00003"))
    assert third is not None
    assert str(third.binding.ref) == "team-a/b00002"

    index.put(generated(9, "a0001", OTHER_ROLE))
    ninth = index.rival(BindingRef("team-a", "annotated-a0001"))
    assert ninth is not None
    assert str(ninth.binding.ref) == "team-a/b00002"


@st.composite
def namespaces(draw: st.DrawFn) -> tuple[list[RoleBinding], dict[str, dict[str, str]]]:
    """Return bindings of a namespace, generated ones among them, and its service accounts."""
    there = {f"a{number}": {"app": f"v{number}"} for number in range(4)}
    roles, profiles = st.sampled_from([ROLE, OTHER_ROLE]), st.sampled_from(["default", "default", "second"])
    found: dict[BindingRef, RoleBinding] = {}
    for number in draw(st.lists(st.integers(0, 30), max_size=7, unique=True)):
        if draw(st.booleans()):
            made = generated(number, draw(st.sampled_from(sorted(there))), draw(roles))
        else:
            names = draw(st.lists(st.sampled_from(sorted(there)), min_size=1, max_size=3, unique=True))
            by_label = [there[name]["app"] for name in names]
            named = {"service_account_names": tuple(names)}
            made = binding(number, **named) if draw(st.booleans()) else selecting(number, *by_label)
            made = replace(made, role=draw(roles), profile=draw(profiles), is_deleting=draw(st.integers(0, 5)) == 0)
        found[made.ref] = made
    return list(found.values()), there


@given(namespaces())
def test_index_agrees_with_one_by_one(made: tuple[list[RoleBinding], dict[str, dict[str, str]]]) -> None:
    """Whether a binding has a rival is the same as where it is compared with each other one."""
    bindings, there = made
    index = ProfileIndex("team-a")
    for name, labels in there.items():
        index.put_service_account(name, labels)
    for each in bindings:
        index.put(each)

    for each in bindings:
        rival = index.rival(each.ref)
        names = sorted(subject.name for subject in each.subjects(there))
        sentence = "" if each.is_deleting else profile_conflict(each, names, bindings, there)
        assert (rival is None) == (sentence == ""), (each, sentence)
        assert rival is None or str(rival.binding.ref) in sentence


@given(namespaces(), st.data())
def test_changes_are_told(made: tuple[list[RoleBinding], dict[str, dict[str, str]]], data: st.DataObject) -> None:
    """What comes or goes tells of every other binding whose rival changes by it."""
    bindings, there = made
    index = ProfileIndex("team-a")
    for name, labels in there.items():
        index.put_service_account(name, labels)
    known: dict[BindingRef, RoleBinding] = {}
    for each in [*bindings, *data.draw(st.lists(st.sampled_from(bindings or [binding(0)]), max_size=3))]:
        before = {ref: _shown(index, ref) for ref in known}
        if each.ref in known:
            told = index.drop(each.ref)
            del known[each.ref]
        else:
            told = index.put(each)
            known[each.ref] = each
        assert {r for r in before if r != each.ref and before[r] != _shown(index, r)} <= told


def _shown(index: ProfileIndex, ref: BindingRef) -> tuple[BindingRef, str] | None:
    rival = index.rival(ref)
    return None if rival is None else (rival.binding.ref, rival.service_account)
