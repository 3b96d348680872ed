"""The service accounts that the bindings of one namespace name or select, and which binding has a profile first.

Every service account of the namespace has a bit, and what a binding names or selects is one integer: two bindings share
service accounts where their integers share bits. A selector is matched once for each service account, and once more for
each change of one. Whether a binding has a rival costs a binary search over the bindings of its profile, so what one
namespace holds makes no decision quadratic. Bindings that were made of annotations are searched apart, since one gives
way to a user's own binding for the same role.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from trustbind.api.annotated_binding import gives_way, is_generated, may_take_over
from trustbind.api.conflicts import Rival, profile_key
from trustbind.api.label_selector import LabelSelector
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject

__all__ = ["ProfileIndex"]

Labels = Mapping[str, str]

_SPARE: Final = 1024
"""Bits of service accounts that are gone, besides as many as there are others, until all are numbered anew."""

_MEMO: Final = 1000
"""Names that are remembered."""

_Age = tuple[bool, str, str]
_GroupKey = tuple[str, bool]
"""A profile, and whether the bindings were made of annotations."""


class _Selection:
    """Service accounts as bits; the subjects are computed on first use."""

    __slots__ = ("bits", "selector", "subjects", "users")

    def __init__(self, selector: LabelSelector | None, bits: int) -> None:
        self.selector = selector
        self.bits = bits
        self.subjects: tuple[Subject, ...] | None = None
        self.users = 0


class _Group:
    """The live bindings of one profile, oldest first, each with the union of what the older ones have."""

    __slots__ = ("ages", "by_role", "members", "roles", "taken")

    def __init__(self) -> None:
        self.members: dict[_Age, _Selection] = {}
        self.roles: dict[_Age, RoleArn] = {}
        self.by_role: dict[RoleArn, int] = {}
        """What the bindings for each role have together; as old as ``taken``."""
        self.ages: list[_Age] = []
        self.taken: list[int] | None = None
        """At i, what the first i bindings have; None: to be made anew."""

    def older_unions(self) -> list[int]:
        """Return ``taken``, which is as long as the group and one more."""
        if self.taken is None:
            self.ages = sorted(self.members)
            self.taken = [0]
            self.by_role = {}
            for age in self.ages:
                bits = self.members[age].bits
                self.taken.append(self.taken[-1] | bits)
                self.by_role[self.roles[age]] = self.by_role.get(self.roles[age], 0) | bits
        return self.taken

    def oldest(self, age: _Age, bits: int) -> _Age | None:
        """Return the oldest member that is older than ``age`` and shares one of the bits; None for none."""
        taken = self.older_unions()
        end = bisect_left(self.ages, age)
        if not _shared(taken[end], bits):
            return None
        first, last = 0, end - 1
        while first < last:  # the unions only grow: the first that shares a bit is that of the oldest rival
            middle = (first + last) // 2
            if _shared(taken[middle + 1], bits):
                last = middle
            else:
                first = middle + 1
        return self.ages[first]

    def of_role(self, role: RoleArn) -> int:
        """Return what the members for a role have together."""
        self.older_unions()
        return self.by_role.get(role, 0)


class ProfileIndex:
    """See the module.

    Args:
        namespace: whose bindings these are.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._positions: dict[str, int] = {}
        self._names: list[str] = []
        """By position."""
        self._subjects: dict[str, Subject] = {}
        """By name; shared by all bindings."""
        self._labels: dict[str, Labels] = {}
        self._bindings: dict[BindingRef, tuple[RoleBinding, _Selection]] = {}
        self._selections: dict[LabelSelector, _Selection] = {}
        self._groups: dict[_GroupKey, _Group] = {}
        self._first: dict[int, str] = {}
        """By the bits of service accounts that two bindings share, the first name: a binding is decided often."""
        self._room = _SPARE

    # --- changes --------------------------------------------------------------------------------------------------

    def put_service_account(self, name: str, labels: Labels | None) -> bool:
        """Take in a service account's labels, or with None, that it is gone; return whether a selector notices."""
        if labels is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = labels
        bit = 1 << self._position(name)
        changed = False
        for selector, selection in self._selections.items():
            is_selected = labels is not None and selector.matches(labels)
            if bool(selection.bits & bit) != is_selected:
                selection.bits ^= bit
                selection.subjects = None
                changed = True
        if changed:
            for group in self._groups.values():
                group.taken = None
        if len(self._positions) > self._room:
            self._renumber()
        return changed

    def put(self, binding: RoleBinding) -> frozenset[BindingRef]:
        """Take in a binding; return the others that gain or lose a rival by that, or share other accounts with it."""
        known = self._bindings.get(binding.ref)
        if known is not None and _standing(known[0]) == _standing(binding):
            self._bindings[binding.ref] = binding, known[1]
            return frozenset()
        selection = self._select(binding)
        selection.users += 1
        younger = {*self._younger(binding, selection), *(self._younger(*known) if known is not None else ())}
        before = {ref: self._conflict(ref) for ref in younger}
        self._remove(binding.ref)
        self._bindings[binding.ref] = binding, selection
        if not binding.is_deleting:
            group = self._groups.setdefault(_group_key(binding), _Group())
            group.members[_age(binding)] = selection
            group.roles[_age(binding)] = binding.role
            group.taken = None
        return frozenset(ref for ref in younger if self._conflict(ref) != before[ref])

    def drop(self, ref: BindingRef) -> frozenset[BindingRef]:
        """Forget a binding; return the others that gain or lose a rival by that."""
        known = self._bindings.get(ref)
        if known is None:
            return frozenset()
        before = {other: self._conflict(other) for other in self._younger(*known)}
        self._remove(ref)
        return frozenset(other for other, conflict in before.items() if self._conflict(other) != conflict)

    # --- questions ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._bindings)

    def of(self, service_account: str) -> list[BindingRef]:
        """Return the bindings that name or select a service account, in no order."""
        position = self._positions.get(service_account)
        if position is None:
            return []
        return [ref for ref, (_, selection) in self._bindings.items() if selection.bits >> position & 1]

    def subjects(self, binding: RoleBinding) -> tuple[Subject, ...]:
        """Return the service accounts that a binding names or selects, sorted."""
        known = self._bindings.get(binding.ref)
        if known is None or _standing(known[0]) != _standing(binding):
            return binding.subjects(self._labels)
        selection = known[1]
        if selection.subjects is None:
            selection.subjects = tuple(map(self._subject, sorted(self._named(selection.bits))))
        return selection.subjects

    def rival(self, ref: BindingRef) -> Rival | None:
        """Return the oldest binding that has the profile of a binding for one of its service accounts.

        None when there is none, and for a binding that is not known or is being deleted.
        """
        found = self._oldest_rival(ref)
        if found is None:
            return None
        rival, selection = found
        shared = selection.bits & self._bindings[ref][1].bits
        name = self._first.get(shared)
        if name is None:
            if len(self._first) >= _MEMO:
                self._first.clear()
            name = self._first[shared] = min(self._named(shared))
        return Rival(rival, name)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _oldest_rival(self, ref: BindingRef) -> tuple[RoleBinding, _Selection] | None:
        known = self._bindings.get(ref)
        if known is None or known[0].is_deleting:
            return None
        binding, selection = known
        found = (self._oldest_of(binding, selection.bits, generated=generated) for generated in (False, True))
        oldest = min((age for age in found if age is not None), default=None)
        return None if oldest is None else self._bindings[self._ref(oldest)]

    def _oldest_of(self, binding: RoleBinding, bits: int, *, generated: bool) -> _Age | None:
        """Return the oldest rival of a binding among those that were made of annotations, or among the others."""
        group = self._groups.get((profile_key(binding), generated))
        if group is None:
            return None
        if generated and may_take_over(binding):
            # A service account has one generated binding at most, so its bit tells which role that is for.
            bits &= ~group.of_role(binding.role)
        age = group.oldest(_age(binding), bits)
        is_yielding = age is not None and not generated and gives_way(binding, self._bindings[self._ref(age)][0])
        return None if is_yielding else age

    def _ref(self, age: _Age) -> BindingRef:
        return BindingRef(self._namespace, age[2])

    def _conflict(self, ref: BindingRef) -> tuple[BindingRef, str, int] | None:
        """Return what the sentence about a binding's rival depends on."""
        found = self._oldest_rival(ref)
        return None if found is None else (found[0].ref, found[0].profile, found[1].bits & self._bindings[ref][1].bits)

    def _younger(self, binding: RoleBinding, selection: _Selection) -> list[BindingRef]:
        """Return the younger live bindings of the same profile that share a service account."""
        found: list[BindingRef] = []
        for generated in (False, True):
            group = self._groups.get((profile_key(binding), generated))
            if group is None or binding.is_deleting:
                continue
            group.older_unions()
            younger = group.ages[bisect_right(group.ages, _age(binding)) :]
            found += [self._ref(age) for age in younger if _shared(group.members[age].bits, selection.bits)]
        return found

    def _remove(self, ref: BindingRef) -> None:
        known = self._bindings.pop(ref, None)
        if known is None:
            return
        binding, selection = known
        if not binding.is_deleting:
            key = _group_key(binding)
            group = self._groups[key]
            del group.members[_age(binding)], group.roles[_age(binding)]
            group.taken = None
            if not group.members:
                del self._groups[key]
        selection.users -= 1
        if selection.selector is not None and not selection.users:
            del self._selections[selection.selector]

    def _select(self, binding: RoleBinding) -> _Selection:
        """Return what a binding names or selects; bindings with one selector share it."""
        if binding.selector is None:
            return _Selection(None, _bits(map(self._position, binding.service_account_names)))
        selection = self._selections.get(binding.selector)
        if selection is None:
            matches = binding.selector.matches
            selected = (self._positions[name] for name, labels in self._labels.items() if matches(labels))
            selection = self._selections[binding.selector] = _Selection(binding.selector, _bits(selected))
        return selection

    def _position(self, name: str) -> int:
        position = self._positions.get(name)
        if position is None:
            position = self._positions[name] = len(self._positions)
            self._names.append(name)
        return position

    def _subject(self, name: str) -> Subject:
        subject = self._subjects.get(name)
        if subject is None:
            subject = self._subjects[name] = Subject(self._namespace, name)
        return subject

    def _named(self, bits: int) -> Iterator[str]:
        for position, digit in enumerate(reversed(f"{bits:b}")):
            if digit == "1":
                yield self._names[position]

    def _renumber(self) -> None:
        """Give away the bits of service accounts that are gone."""
        selections = {id(selection): selection for _, selection in self._bindings.values()}.values()
        named = [(selection, list(self._named(selection.bits))) for selection in selections]
        self._positions, self._names, self._subjects, self._first = {}, [], {}, {}
        for name in self._labels:
            self._position(name)
        for selection, names in named:
            selection.bits = _bits(map(self._position, names))
            selection.subjects = None
        for group in self._groups.values():
            group.taken = None
        self._room = 2 * len(self._positions) + _SPARE


def _shared(one: int, other: int) -> int:
    """Return the service accounts that are in both; a function, so that tests can count its calls."""
    return one & other


def _bits(positions: Iterable[int]) -> int:
    """Return an integer with the bits of these positions."""
    found = list(positions)
    octets = bytearray(max(found, default=0) // 8 + 1)
    for position in found:
        octets[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(octets, "little")


def _group_key(binding: RoleBinding) -> _GroupKey:
    return profile_key(binding), is_generated(binding)


def _age(binding: RoleBinding) -> _Age:
    """Return the binding's age key in its namespace; of plain values, which are compared fast."""
    return not binding.created, binding.created, binding.ref.name


def _standing(binding: RoleBinding) -> tuple[object, ...]:
    """Return what decides about a binding's service accounts and its profile."""
    return (
        binding.service_account_names,
        binding.selector,
        binding.role,
        binding.method,
        _group_key(binding),
        binding.profile,
        binding.created,
        binding.is_deleting,
    )
