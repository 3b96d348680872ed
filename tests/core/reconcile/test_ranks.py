"""The older live bindings of a namespace, and how many service accounts they have together."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from support.bodies import binding_body
from trustbind.api.role_binding import BindingRef
from trustbind.reconcile.ranks import Ranks
from trustbind.reconcile.snapshot import Rank
from trustbind.reconcile.stored_binding import StoredBinding

MOST = 3


def stored(name: str, second: int, namespace: str = "team-a", **spec: Any) -> StoredBinding:
    """Return a binding that was created in that second."""
    metadata = {"creationTimestamp": f"2026-01-01T00:00:{second:02}Z"}
    if spec.pop("deleting", False):
        metadata["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    return StoredBinding.of(binding_body(name, namespace, metadata=metadata, **spec))


def test_rank() -> None:
    """Older ones of the namespace count, in whatever order they come; of the oldest few the service accounts, too."""
    weights = {"a": 5, "b": 7, "c": 1, "d": 100}
    weighed: list[str] = []

    def weigh(ref: BindingRef) -> int:
        weighed.append(ref.name)
        return weights[ref.name]

    ranks = Ranks(weigh)
    a, b, c, d = (stored(name, n) for n, name in enumerate("abcd"))
    for each in (c, a, d, b):
        ranks.add(each)
    ranks.add(stored("elsewhere", 0, "team-b"))
    assert [ranks.of(each, MOST) for each in (a, b, c, d)] == [Rank(0, 0), Rank(1, 5), Rank(2, 12), Rank(3, 13)]

    weighed.clear()
    ranks.remove(d)
    ranks.add(d)
    assert ranks.of(d, MOST) == Rank(3, 13)
    assert weighed == []  # it is beyond what may count
    ranks.remove(a)
    assert ranks.of(d, MOST) == Rank(2, 8)
    weights["b"] = 10
    ranks.changed("team-a")
    assert ranks.of(c, MOST) == Rank(1, 10)


def test_what_does_not_count() -> None:
    """A binding that is being deleted, or cannot be parsed, takes no place."""
    ranks = Ranks(lambda _: 1)
    ranks.add(stored("going", 0, deleting=True))
    ranks.add(stored("broken", 0, audience="a b"))
    ranks.remove(stored("unknown", 0))
    assert ranks.of(stored("new", 1), MOST) == Rank(0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=30))
def test_as_if_counted_anew(changes: list[tuple[str, bool]]) -> None:
    """After any additions and removals, every rank is what a plain count gives."""
    weights = {name: n + 1 for n, name in enumerate("abcdef")}
    all_of = {name: stored(name, ord(name) % 7) for name in weights}
    ranks = Ranks(lambda ref: weights[ref.name])
    there: list[str] = []
    for name, comes in changes:
        if comes and name not in there:
            there.append(name)
            ranks.add(all_of[name])
        elif not comes and name in there:
            there.remove(name)
            ranks.remove(all_of[name])
        older = sorted(there, key=lambda n: all_of[n].age_key)
        for index, each in enumerate(older):
            total = sum(weights[n] for n in older[: min(index, MOST)])
            assert ranks.of(all_of[each], MOST) == Rank(index, total)


def test_an_event_that_changes_no_place() -> None:
    """A status, a finalizer or another role changes no sum; whom a binding names, its age and its end do."""
    weighed: list[str] = []

    def weigh(ref: BindingRef) -> int:
        weighed.append(ref.name)
        return 1

    ranks = Ranks(weigh)
    a, b = stored("a", 0), stored("b", 1)
    ranks.replace(None, a)
    ranks.replace(None, b)
    assert ranks.of(b, MOST) == Rank(1, 1)
    weighed.clear()

    changed = a.with_status({"observedGeneration": 1})
    ranks.replace(a, changed)
    assert (ranks.of(b, MOST), weighed) == (Rank(1, 1), [])

    wider = stored("a", 0, serviceAccountNames=["a", "c"])
    ranks.replace(changed, wider)
    assert ranks.of(b, MOST) == Rank(1, 1)
    assert weighed == ["a", "b"]
    ranks.replace(wider, stored("a", 0, deleting=True))
    assert ranks.of(b, MOST) == Rank(0, 0)
