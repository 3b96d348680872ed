"""What is done about the bindings of a RoleBindingSet, and what its status says: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final

from trustbind.api.role_binding import NamespacePattern, RoleBinding
from trustbind.api.role_binding_set import RoleBindingSet, binding_name, must_be_made_anew
from trustbind.errors import InvalidValueError
from trustbind.reasons import TrustReason
from trustbind.reconcile.stored_binding import StoredBinding, is_ready, ready_condition

__all__ = [
    "DISABLED",
    "SETTLE_SECONDS",
    "UNSEEN",
    "Guard",
    "Member",
    "PatternProblem",
    "SetOutcome",
    "SetPattern",
    "SetStep",
    "StoredSet",
    "next_step",
    "outcome_of",
    "pattern_problem",
]

SETTLE_SECONDS: Final = 10.0
"""From the first look at a set, or a change of it, until its pattern is granted: the API server follows the sets that
its policy has as parameters by a watch, which takes less than a second."""

_NAMED: Final = 5
"""Namespaces that a message names."""


@dataclass(frozen=True, slots=True)
class StoredSet:
    """One RoleBindingSet object.

    Attributes:
        name: of the object.
        uid: of the object.
        generation: of its spec.
        spec: the parsed object; None when it cannot be parsed.
        problem: why it cannot be parsed; empty when it can.
        status: as it is stored.
    """

    name: str
    uid: str
    generation: int
    spec: RoleBindingSet | None
    problem: str
    status: Mapping[str, Any]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StoredSet:
        """Return the object in ``body``; never raises for metadata of the API server, whatever the spec holds."""
        metadata: Mapping[str, Any] = body.get("metadata") or {}
        spec, problem = None, ""
        try:
            spec = RoleBindingSet.parse(body)
        except InvalidValueError as error:
            problem = str(error)
        return cls(
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            generation=int(metadata.get("generation", 0)),
            spec=spec,
            problem=problem,
            status=body.get("status") or {},
        )

    @property
    def binding_name(self) -> str:
        """The name of its bindings."""
        return binding_name(self.name)

    @property
    def was_granted(self) -> bool:
        """Whether the status says that the set's pattern was granted already, as the spec is now."""
        ready = ready_condition(self.status) or {}
        return ready.get("observedGeneration") == self.generation and ready.get("reason") in _AFTER_GRANT


_AFTER_GRANT: Final = frozenset({TrustReason.NAME_TAKEN, TrustReason.BINDINGS_NOT_READY, TrustReason.BINDINGS_READY})
"""Reasons of a set that `outcome_of` says only where nothing is wrong with its pattern."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The policy that keeps namespaces from matching a pattern without the labels, as it was seen last.

    Attributes:
        problem: why nothing keeps them from it; empty when the policy does.
        was_seen: whether that was read, and not only could not be.
    """

    problem: str = ""
    was_seen: bool = True


UNSEEN: Final = Guard("the operator has not looked for the policy yet", was_seen=False)
"""Before the first look."""


@dataclass(frozen=True, slots=True)
class PatternProblem:
    """Why nothing is granted by a pattern now.

    Attributes:
        reason: of the condition.
        message: one sentence.
        is_proven: whether trust by the pattern reaches, or may reach, a namespace that the set does not select. Only
            then ``onStray: Revoke`` revokes: a failed read proves nothing.
    """

    reason: TrustReason
    message: str
    is_proven: bool = False


@dataclass(frozen=True, slots=True)
class SetPattern:
    """The pattern of a set, and whether trust by it is safe.

    Attributes:
        wanted: the set; it has a pattern.
        problem: why nothing is granted by the pattern now; None when it may be.
        former: the pattern that was granted last, while the present one covers it and is not granted yet: what
            stands of it stays.
    """

    wanted: RoleBindingSet
    problem: PatternProblem | None = None
    former: NamespacePattern | None = None

    @property
    def text(self) -> NamespacePattern:
        """The pattern."""
        if self.wanted.pattern is None:
            raise ValueError(f"RoleBindingSet {self.wanted.name} has no pattern")
        return self.wanted.pattern

    def after(self, known: SetPattern | None) -> SetPattern:
        """Return the same, with what was granted before it.

        Args:
            known: what was known of the set until now; None for nothing.
        """
        if self.problem is None or known is None:
            return self
        former = known.text if known.problem is None else known.former
        return replace(self, former=former if former is not None and self.text.covers(former) else None)

    def problem_of(self, binding: RoleBinding) -> PatternProblem | None:
        """Return why a binding of the set is granted nothing by the pattern now; None when it may be.

        A binding that is not as the set wants it is about to be changed by the operator, or was by a user of its
        namespace, who is not to decide what all namespaces get.
        """
        namespace = binding.ref.namespace
        if not self.text.matches(namespace):
            name = self.wanted.name
            return PatternProblem(
                TrustReason.OUTSIDE_PATTERN,
                f"the pattern {self.text.text} of RoleBindingSet {name} does not match the namespace {namespace}",
            )
        if self.problem is not None:
            return self.problem
        if self.wanted.is_as_wanted(binding):
            return None
        name = self.wanted.name
        return PatternProblem(
            TrustReason.PENDING, f"it differs from what RoleBindingSet {name} says, and is about to be changed"
        )


def pattern_problem(
    wanted: RoleBindingSet, namespaces: Mapping[str, Mapping[str, str]], guard: Guard, *, is_settled: bool
) -> PatternProblem | None:
    """Return why nothing is granted by the pattern of a set now; None when it may be.

    Args:
        wanted: the set; it has a pattern.
        namespaces: name to labels of all namespaces.
        guard: what keeps namespaces from matching without the labels.
        is_settled: whether the API server has known the set for long enough to hold namespaces to it.
    """
    pattern = wanted.pattern
    if pattern is None:
        return None
    unguarded = PatternProblem(
        TrustReason.PATTERN_UNGUARDED, f"the pattern {pattern.text} is not safe: {guard.problem}", guard.was_seen
    )
    if guard.problem and guard.was_seen:
        return unguarded
    strays = sorted(name for name, labels in namespaces.items() if pattern.matches(name) and not wanted.selects(labels))
    if strays:
        labels = ", ".join(f"{key}={value}" for key, value in wanted.selector.labels)
        return PatternProblem(
            TrustReason.STRAY_NAMESPACE,
            f"the pattern {pattern.text} matches {_listed(strays)} without the labels {labels}, and trusts service "
            "accounts there; label or delete the namespace, or change the pattern",
            is_proven=True,
        )
    if guard.problem:
        return unguarded
    if not is_settled:
        return PatternProblem(
            TrustReason.PENDING, f"the pattern {pattern.text} counts in {SETTLE_SECONDS:g} s, once the policy knows it"
        )
    return None


class SetStep(Enum):
    """What is to be done about the binding of a set in one namespace."""

    NOTHING = auto()
    CREATE = auto()
    UPDATE = auto()
    DELETE = auto()


def next_step(wanted: RoleBindingSet, namespace: str, found: StoredBinding | None, *, is_selected: bool) -> SetStep:
    """Return what to do next in a namespace; after a deletion, ask again.

    Args:
        wanted: the set, which is not being deleted.
        namespace: which; it exists.
        found: the binding there that has the name of the set's; None for none.
        is_selected: whether the set selects the namespace.
    """
    if found is None:
        return SetStep.CREATE if is_selected else SetStep.NOTHING
    if found.set_uid != wanted.uid or found.deleting:
        return SetStep.NOTHING
    binding = wanted.binding_in(namespace)
    if not is_selected or found.binding is None or must_be_made_anew(found.binding, binding):
        return SetStep.DELETE
    return SetStep.NOTHING if wanted.is_as_wanted(found.binding) else SetStep.UPDATE


@dataclass(frozen=True, slots=True)
class Member:
    """A namespace that a set selects, and what it has.

    Attributes:
        namespace: its name.
        found: the binding with the name of the set's; None while there is none.
        problem: why the last write there failed; empty when none did.
    """

    namespace: str
    found: StoredBinding | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SetOutcome:
    """What the status of a set says.

    Attributes:
        namespaces: how many the set selects.
        ready: how many of its bindings are Ready.
        reason: of the condition Ready.
        message: of the condition Ready: one sentence.
    """

    namespaces: int
    ready: int
    reason: TrustReason
    message: str

    @property
    def is_ready(self) -> bool:
        """Whether every namespace has its binding, and all of them are Ready."""
        return self.reason is TrustReason.BINDINGS_READY


DISABLED: Final = SetOutcome(
    0,
    0,
    TrustReason.SETS_DISABLED,
    "the operator makes no RoleBindings for sets; set its roleBindingSets.enabled: true, or with the chart "
    "operator.settings.roleBindingSets.enabled=true",
)
"""Where the setting is off."""


def outcome_of(stored: StoredSet, members: Iterable[Member], unsafe: PatternProblem | None = None) -> SetOutcome:
    """Return what the status of a set says about the namespaces that it selects.

    Args:
        stored: the set.
        members: those namespaces, in any order.
        unsafe: see `pattern_problem`.
    """
    wanted = stored.spec
    if wanted is None:
        return SetOutcome(0, 0, TrustReason.INVALID_SPEC, stored.problem)
    taken: list[str] = []
    failed: list[str] = []
    waiting: list[str] = []
    count = ready = 0
    for member in sorted(members, key=lambda m: m.namespace):
        count += 1
        if member.found is not None and member.found.set_uid != wanted.uid:
            taken.append(member.namespace)
        elif member.problem:
            failed.append(f"{member.namespace} ({member.problem})")
        elif member.found is None or member.found.deleting or not is_ready(member.found):
            waiting.append(f"{member.namespace} ({_reason_of(member.found)})")
        else:
            ready += 1
    name = wanted.binding.ref.name
    if not count:
        labels = ", ".join(f"{key}={value}" for key, value in wanted.selector.labels)
        message = f"no namespace has the labels {labels}; label one, or correct spec.namespaceSelector"
        return SetOutcome(0, 0, TrustReason.NO_NAMESPACES, message)
    if unsafe is not None:
        return SetOutcome(count, ready, unsafe.reason, unsafe.message)
    if taken:
        message = (
            f"a RoleBinding {name} that is not this set's stands in {_listed(taken)}; delete it, or create a set with "
            "another name"
        )
        return SetOutcome(count, ready, TrustReason.NAME_TAKEN, message)
    if failed:
        message = f"the RoleBinding {name} cannot be written in {_listed(failed)}; trustbind retries automatically"
        return SetOutcome(count, ready, TrustReason.BINDINGS_NOT_READY, message)
    if waiting:
        message = (
            f"{len(waiting)} of {count} RoleBindings {name} are not Ready, in {_listed(waiting)}; see their conditions"
        )
        return SetOutcome(count, ready, TrustReason.BINDINGS_NOT_READY, message)
    return SetOutcome(
        count, ready, TrustReason.BINDINGS_READY, f"the RoleBindings {name} of all {count} namespaces are Ready"
    )


def _reason_of(found: StoredBinding | None) -> str:
    if found is None:
        return "not there yet"
    if found.deleting:
        return "being deleted"
    return str((ready_condition(found.status) or {}).get("reason") or "no status yet")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
