"""Which binding of a namespace has a profile first, and what it costs to know: work is counted, never time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trustbind.api import profile_index
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
