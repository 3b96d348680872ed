"""Which live bindings of a namespace are older than another one, and how many service accounts they have together."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from trustbind.api.role_binding import BindingRef
from trustbind.reconcile.snapshot import Rank
from trustbind.reconcile.stored_binding import StoredBinding

__all__ = ["Ranks"]

_Place = tuple[Any, BindingRef]


class Ranks:
    """See the module.

    Sums are kept for the oldest bindings of a namespace, as many as a namespace may have. So a namespace with many more
    of them, which come last, costs little.

    Args:
        weigh: returns how many service accounts a binding names or selects now.
    """

    def __init__(self, weigh: Callable[[BindingRef], int]) -> None:
        self._weigh = weigh
        self._places: dict[str, list[_Place]] = {}
        self._sums: dict[str, list[int]] = {}

    def replace(self, before: StoredBinding | None, stored: StoredBinding) -> None:
        """Take a binding in, in place of what it was before.

        Most events are about its status or its finalizer. They change no sum, so the sums stay: to add up a namespace
        anew at each event would be quadratic in its bindings.
        """
        if before is not None:
            if _counted_as(before) == _counted_as(stored):
                return
            self.remove(before)
        self.add(stored)

    def add(self, stored: StoredBinding) -> None:
        """Take a binding in, unless it is being deleted or cannot be parsed."""
        if not stored.deleting and stored.binding is not None:
            insort(self._places.setdefault(stored.ref.namespace, []), self._left_out(stored))

    def remove(self, stored: StoredBinding) -> None:
        """Leave a binding out again, as it was when it was taken in."""
        places = self._places.get(stored.ref.namespace, [])
        index = bisect_left(places, _place(stored))
        if index < len(places) and places[index] == self._left_out(stored):
            del places[index]
            if not places:
                del self._places[stored.ref.namespace]

    def changed(self, namespace: str) -> None:
        """Take note that selectors of a namespace may select other service accounts."""
        self._sums.pop(namespace, None)

    def of(self, stored: StoredBinding, most: int) -> Rank:
        """Return a binding's rank.

        Args:
            stored: the binding.
            most: how many bindings a namespace may have; the service accounts of older ones beyond are not counted.
        """
        namespace = stored.ref.namespace
        index = bisect_left(self._places.get(namespace, []), _place(stored))
        return self._at(namespace, index, most)

    def of_newest(self, namespace: str, most: int) -> Rank:
        """Return the rank that a binding would have which comes last; see `of`."""
        return self._at(namespace, len(self._places.get(namespace, [])), most)

    def _at(self, namespace: str, index: int, most: int) -> Rank:
        places = self._places.get(namespace, [])
        counted = min(index, most)
        sums = self._sums.get(namespace, [0])
        if len(sums) <= counted:
            weights = (self._weigh(ref) for _, ref in places[:most])
            sums = self._sums[namespace] = list(accumulate(weights, initial=0))
        return Rank(index, sums[counted])

    def _left_out(self, stored: StoredBinding) -> _Place:
        """Return a binding's place; drop the sums where it is among those that are summed up."""
        place, namespace = _place(stored), stored.ref.namespace
        if bisect_left(self._places[namespace], place) < len(self._sums.get(namespace, ())) - 1:
            del self._sums[namespace]
        return place


def _counted_as(stored: StoredBinding) -> tuple[object, ...]:
    """Return what a binding's place and weight depend on."""
    if stored.deleting or stored.binding is None:
        return ()
    return (_place(stored), stored.binding.service_account_names, stored.binding.selector)


def _place(stored: StoredBinding) -> _Place:
    return stored.age_key, stored.ref
