"""The ``Condition`` element: operators ANDed, keys ANDed, values ORed (for negated operators: none may match).

Sources: IAM User Guide, "IAM JSON policy elements: Condition operators", "Conditions with multiple context keys or
values", "Single-valued vs. multivalued context keys", and "IAM policy elements: Variables and tags".

Where these leave room, the choice is the one that lets nobody in (see ``truth``):

- A key with several values under an operator without ``ForAnyValue:`` or ``ForAllValues:`` is not understood; the
  guide says that multivalued keys require a set operator, and not what happens without one.
- ``ForAnyValue:`` with ``IfExists`` on an absent key is not understood: the guide gives one rule that makes it false
  and one that makes it true.
- A variable without a value matches nothing; under a negated operator the outcome is not understood ("might cause the
  entire statement to be invalid"). On an absent key with ``IfExists`` it plays no part, as the guide advises.
- A request value of the wrong form (an address that is none) is not understood, whatever the operator.
- An empty list of values is not understood. An operator without keys has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.evaluation.model import Failure
from trustbind.evaluation.operators import OPERATORS, Operator
from trustbind.evaluation.three_valued import Check, Truth, as_texts, listed, quoted
from trustbind.evaluation.variables import Operand, VariableAbsentError, resolve
from trustbind.evaluation.wildcards import has_wildcard

_NULL: Final = "Null"
_IF_EXISTS: Final = "IfExists"
_SETS: Final = {"ForAnyValue": max, "ForAllValues": min}
_SET_WORDINGS: Final = {"ForAnyValue": "some value to be ", "ForAllValues": "every value to be "}
_LOWER_NAMES: Final = {name.lower(): name for name in (*OPERATORS, _NULL)}


def by_lower_name(context: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return a request's context with lower-case names and without keys that have no values.

    Names that differ only in case are one key, so their values come together.
    """
    keys: dict[str, tuple[str, ...]] = {}
    for name, values in context.items():
        texts = (values,) if isinstance(values, str) else tuple(values)
        if texts:
            keys[name.lower()] = keys.get(name.lower(), ()) + texts
    return keys


def check_condition(block: object, context: Mapping[str, Sequence[str]], *, variables: bool) -> Check:
    """Return whether a ``Condition`` element holds for the request.

    Args:
        block: The element's value, as decoded from JSON.
        context: The request's values by lower-case key (see ``by_lower_name``).
        variables: Whether policy variables are replaced, which is so in version 2012-10-17 only.
    """
    if not isinstance(block, Mapping):
        message = "the Condition is not an object"
        return Check(Truth.UNKNOWN, (Failure("Condition", message=message),), (message,))
    truth = Truth.YES
    failures: list[Failure] = []
    unknown: list[str] = []
    for written, entries in block.items():
        name = _Name.parse(str(written))
        problem = name.problem or ("" if isinstance(entries, Mapping) else f"{written} does not hold an object of keys")
        if problem:
            truth = min(truth, Truth.UNKNOWN)
            failures.append(Failure("Condition", str(written), message=problem))
            unknown.append(problem)
            continue
        for key, values in entries.items():
            outcome = _Entry(name, str(key), context, variables).check(values)
            truth = min(truth, outcome.truth)
            failures += outcome.failures
            unknown += outcome.unknown
    return Check(truth, tuple(failures), tuple(unknown))


@dataclass(frozen=True, slots=True)
class _Name:
    """An operator name, taken apart."""

    written: str
    base: str = ""
    set_prefix: str = ""
    if_exists: bool = False
    problem: str = ""

    @classmethod
    def parse(cls, written: str) -> _Name:
        prefix, colon, rest = written.rpartition(":")
        base = rest.removesuffix(_IF_EXISTS)
        if_exists = base != rest
        if colon and prefix not in _SETS:
            return cls(written, problem=f"the condition operator {quoted(written)} has an unknown prefix")
        if base == _NULL and (colon or if_exists):
            return cls(written, problem=f"the condition operator {quoted(written)} is not one: Null stands alone")
        if base not in OPERATORS and base != _NULL:
            problem = f"the condition operator {quoted(written)} is not known"
            meant = _LOWER_NAMES.get(base.lower().removesuffix("ifexists"))
            if meant:
                problem += f"; names of operators are case-sensitive, IAM has {meant}"
            return cls(written, problem=problem)
        return cls(written, base, prefix, if_exists)


class _NotUnderstoodError(ValueError):
    """A value of the policy or of the request has the wrong form."""


@dataclass(slots=True)
class _Wanted:
    """The values of the policy for one key, read."""

    values: list[Any] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)
    """What became of the values that hold policy variables."""
    absent: str = ""
    """Why a value is left out: its variable has no value in the request."""
    problem: str = ""
    """Why a value is left out: it has the wrong form."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One operator on one key."""

    name: _Name
    key: str
    context: Mapping[str, Sequence[str]]
    variables: bool

    def check(self, value: object) -> Check:
        texts = as_texts(value)
        if texts is None:
            return self._outcome(
                Truth.UNKNOWN, note=f"{self.name.written} {self.key} has no text or list of texts as its value"
            )
        given = self.context.get(self.key.lower(), ())
        if self.name.base == _NULL:
            return self._check_null(texts, present=bool(given))
        operator = OPERATORS[self.name.base]
        wanted = self._read(operator, texts)
        if not given:
            return self._check_absent(operator, wanted, texts)
        if len(given) > 1 and not self.name.set_prefix:
            note = (
                f"{self.name.written} {self.key} meets {len(given)} values in the request, which needs ForAnyValue: "
                "or ForAllValues: before the operator"
            )
            return self._outcome(Truth.UNKNOWN, note=note)
        note = wanted.problem
        truths = []
        for text in given:
            try:
                truths.append(_compare(operator, text, wanted))
            except _NotUnderstoodError as error:
                note = note or f"{self.name.written} {self.key} meets a value it cannot read: {error}"
                truths.append(Truth.UNKNOWN)
        truth = _SETS.get(self.name.set_prefix, min)(truths)
        if truth is Truth.YES:
            return Check(truth, unknown=(note,) if note else ())
        if truth is Truth.UNKNOWN and wanted.absent:
            note = note or wanted.absent
        if truth is Truth.UNKNOWN and note:
            return self._outcome(truth, note=note)
        message = f"{self._expects(operator, texts)} but the request has {listed(list(given), 'and')}"
        message += "".join(f"; {text} is {quoted(value)} here" for text, value in wanted.replaced.items())
        message += wanted.absent and f"; {wanted.absent}"
        message += _hint(self.name, operator, texts, given, variables=self.variables)
        return self._outcome(truth, message, note)

    def _read(self, operator: Operator, texts: list[str]) -> _Wanted:
        wanted = _Wanted()
        for text in texts:
            try:
                operand = self._resolved(operator, text)
                wanted.values.append(operator.read_wanted(operand))
                if operand.text != text:
                    wanted.replaced[text] = operand.text
            except VariableAbsentError as error:
                wanted.absent = wanted.absent or str(error)
            except ValueError as error:
                problem = f"{self.name.written} {self.key} has a value that is not understood: {error}"
                wanted.problem = wanted.problem or problem
        return wanted

    def _resolved(self, operator: Operator, text: str) -> Operand:
        if not self.variables or "${" not in text:
            return Operand(text)
        if not operator.variables:
            raise _NotUnderstoodError(f"{self.name.base} takes no policy variables, as in {quoted(text)}")
        return resolve(text, self.context)

    def _check_null(self, texts: list[str], *, present: bool) -> Check:
        wanted = {text.lower() for text in texts}
        note = ""
        if wanted - {"true", "false"}:
            note = f"Null {self.key} expects true or false, not {listed(texts)}"
        if ("false" if present else "true") in wanted:
            return Check(Truth.YES, unknown=(note,) if note else ())
        if note:
            return self._outcome(Truth.UNKNOWN, note=note)
        if present:
            return self._outcome(Truth.NO, f"Null {self.key} expects that the key is absent but the request has it")
        return self._outcome(
            Truth.NO, f"Null {self.key} expects that the key is present but the request has no such key"
        )

    def _check_absent(self, operator: Operator, wanted: _Wanted, texts: list[str]) -> Check:
        if self.name.set_prefix == "ForAnyValue":
            if self.name.if_exists:
                note = (
                    f"{self.name.written} {self.key} on an absent key is not understood, because ForAnyValue makes it "
                    "false and IfExists makes it true"
                )
                return self._outcome(Truth.UNKNOWN, note=note)
        elif self.name.if_exists or self.name.set_prefix or operator.negated:
            if wanted.problem:
                return self._outcome(Truth.UNKNOWN, note=wanted.problem)
            if wanted.absent and not self.name.if_exists:
                return self._outcome(Truth.UNKNOWN, note=wanted.absent)
            return Check(Truth.YES)
        message = f"{self._expects(operator, texts)} but the request has no such key"
        suffix = self.key.lower().rpartition(":")[2]
        alike = [key for key in self.context if key.rpartition(":")[2] == suffix]
        if alike:
            message += f"; it has {listed(alike, 'and')}"
        return self._outcome(Truth.NO, message, wanted.problem)

    def _expects(self, operator: Operator, texts: list[str]) -> str:
        wording = _SET_WORDINGS.get(self.name.set_prefix, "")
        wording += f"{operator.wording} " if operator.wording else ""
        return f"{self.name.written} {self.key} expects {wording}{listed(texts)}"

    def _outcome(self, truth: Truth, message: str = "", note: str = "") -> Check:
        failure = Failure("Condition", self.name.written, self.key, message or note)
        return Check(truth, (failure,), (note,) if note else ())


def _compare(operator: Operator, text: str, wanted: _Wanted) -> Truth:
    """Return whether one value of the request matches the policy's values."""
    try:
        given = operator.read_given(text)
    except ValueError as error:
        raise _NotUnderstoodError(str(error)) from None
    if any(operator.test(given, value) for value in wanted.values):
        truth = Truth.YES
    elif wanted.problem or (wanted.absent and operator.negated):
        truth = Truth.UNKNOWN
    else:
        truth = Truth.NO
    return truth.negated() if operator.negated else truth


def _hint(name: _Name, operator: Operator, texts: list[str], given: Sequence[str], *, variables: bool) -> str:
    """Return what a person most likely overlooked, as the end of a sentence."""
    if operator.negated:
        return ""
    if not variables and any("${" in text for text in texts):
        return '; policy variables are replaced only where the document says "Version": "2012-10-17"'
    if name.base == "StringEquals" and any(has_wildcard(text) for text in texts):
        return "; StringEquals takes * and ? literally, use StringLike for a pattern"
    if not name.base.startswith("String"):
        return ""
    for text in texts:
        for value in given:
            if text.lower() == value.lower() and text != value:
                return "; they differ only in letter case"
            if "".join(text.split()) == "".join(value.split()) and text != value:
                return "; they differ only in white space"
    return ""
