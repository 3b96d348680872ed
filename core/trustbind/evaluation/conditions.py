"""The ``Condition`` element: operators ANDed, keys ANDed, values ORed (for negated operators: none may match).

Sources: IAM User Guide, "IAM JSON policy elements: Condition operators", "Conditions with multiple context keys or
values", "Single-valued vs. multivalued context keys", and "IAM policy elements: Variables and tags".

Where these leave room, the choice is the one that allows less (see ``three_valued``):

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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.evaluation import hints
from trustbind.evaluation.model import Dependence, Failure
from trustbind.evaluation.operators import comparison_of
from trustbind.evaluation.request_context import KeyState, RequestContext, ValueForm
from trustbind.evaluation.three_valued import Check, Truth, as_texts, listed, quoted
from trustbind.evaluation.variables import Operand, VariableAbsentError, VariableOpenError, resolve
from trustbind.evaluation.wildcards import glob_covers, glob_matches, globs_meet, has_wildcard
from trustbind.policy.condition_operators import (
    ConditionOperator,
    OperatorKind,
    OperatorName,
    Relation,
    SetQualifier,
    UnknownOperatorError,
)

_SETS: Final = {None: min, SetQualifier.FOR_ANY_VALUE: max, SetQualifier.FOR_ALL_VALUES: min}
_SET_WORDINGS: Final = {
    None: "",
    SetQualifier.FOR_ANY_VALUE: "some value to be ",
    SetQualifier.FOR_ALL_VALUES: "every value to be ",
}


def check_condition(block: object, context: RequestContext, *, variables: bool, explain: bool = True) -> Check:
    """Return whether a ``Condition`` element holds for the request.

    Args:
        block: The element's value, as decoded from JSON.
        context: The request's keys.
        variables: Whether policy variables are replaced, which is so in version 2012-10-17 only.
        explain: Whether messages end with a hint at the nearest difference, which takes time.
    """
    if not isinstance(block, Mapping):
        message = "the Condition is not an object"
        return Check(Truth.UNKNOWN, (Failure("Condition", message=message),), (message,))
    truth = Truth.YES
    failures: list[Failure] = []
    unknown: list[str] = []
    depends: list[Dependence] = []
    issuers: frozenset[str] | None = None
    if explain:
        issuers = hints.issuers_in(str(key) for keys in block.values() if isinstance(keys, Mapping) for key in keys)
    for written, entries in block.items():
        for outcome in _check_operator(str(written), entries, context, issuers, variables=variables):
            truth = min(truth, outcome.truth)
            failures += outcome.failures
            unknown += outcome.unknown
            depends += outcome.depends
    return Check(truth, tuple(failures), tuple(unknown), tuple(depends))


def _check_operator(
    written: str, entries: object, context: RequestContext, issuers: frozenset[str] | None, *, variables: bool
) -> Iterator[Check]:
    """Yield the outcome for each key of one operator, or one that says why the operator is not understood."""
    try:
        name = OperatorName.parse(written)
    except UnknownOperatorError as error:
        yield _not_understood(written, f"the condition operator {quoted(written)} {error}")
        return
    if not isinstance(entries, Mapping):
        yield _not_understood(written, f"{written} does not hold an object of keys")
        return
    for key, values in entries.items():
        yield _Entry(written, name, str(key), context, variables, issuers).check(values)


def _not_understood(written: str, problem: str) -> Check:
    return Check(Truth.UNKNOWN, (Failure("Condition", written, message=problem),), (problem,))


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
    open: str = ""
    """The key of a value that is left out because the variable's value is not known."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One operator on one key."""

    written: str
    name: OperatorName
    key: str
    context: RequestContext
    variables: bool
    issuers: frozenset[str] | None
    """Whose claims the statement's conditions are about, for hints; None where no hints are wanted."""

    def check(self, value: object) -> Check:
        texts = as_texts(value)
        if texts is None:
            return self._outcome(
                Truth.UNKNOWN, note=f"{self.written} {self.key} has no text or list of texts as its value"
            )
        match self.context.state(self.key):
            case KeyState.GIVEN:
                return self._check_given(texts)
            case KeyState.FILLED:
                return self._check_filled(texts, "AWS fills that key with a value that is not known here")
            case KeyState.POSSIBLE:
                return self._check_possible(texts)
            case KeyState.ABSENT:
                return self._check_absent(texts)

    def _check_given(self, texts: list[str]) -> Check:
        if self.name.operator.kind is OperatorKind.NULL:
            return self._check_null(texts, present=True)
        wanted = self._read(texts)
        given = self.context.get(self.key)
        if len(given) > 1 and not self.name.qualifier:
            note = (
                f"{self.written} {self.key} meets {len(given)} values in the request, which needs ForAnyValue: "
                "or ForAllValues: before the operator"
            )
            return self._outcome(Truth.UNKNOWN, note=note)
        note = wanted.problem
        truths = []
        for text in given:
            try:
                truths.append(_compare(self.name.operator, text, wanted))
            except _NotUnderstoodError as error:
                note = note or f"{self.written} {self.key} meets a value it cannot read: {error}"
                truths.append(Truth.UNKNOWN)
        truth = _SETS[self.name.qualifier](truths)
        if truth is Truth.YES:
            return Check(truth, unknown=(note,) if note else ())
        if truth is Truth.UNKNOWN and wanted.absent:
            note = note or wanted.absent
        if truth is Truth.UNKNOWN and note:
            return self._outcome(truth, note=note)
        message = f"{self._expects(texts)} but the request has {listed(list(given), 'and')}"
        message += "".join(f"; {text} is {quoted(value)} here" for text, value in wanted.replaced.items())
        message += wanted.absent and f"; {wanted.absent}"
        if truth is Truth.DEPENDS:
            return self._dependence(wanted.open, f"{message}, and the value of {wanted.open} is not known here", note)
        if self.issuers is not None:
            message += hints.for_value(self.name.operator, texts, given, variables=self.variables)
        return self._outcome(truth, message, note)

    def _check_filled(self, texts: list[str], because: str) -> Check:
        """Check a key that the request has, with a value that is not known."""
        if self.name.operator.kind is OperatorKind.NULL:
            return self._check_null(texts, present=True)
        wanted = self._read(texts)
        negated = self.name.operator.is_negated
        form = self.context.forms.get(self.key.lower())
        if form is not None and not (wanted.open or wanted.problem or wanted.absent):
            match = _compare_form(self.name.operator, texts, form, variables=self.variables)
            match = match.negated() if negated else match
            if match is Truth.NO:
                return self._outcome(match, f"{self._expects(texts)} but the request has {form.shown}")
            if match is Truth.YES:
                return Check(match)
            because = f"the request has {form.shown}"
        if self.name.operator.relation is Relation.LIKE and any(_is_any(value) for value in wanted.values):
            return self._outcome(Truth.NO, f"{self._expects(texts)}, which is none") if negated else Check(Truth.YES)
        if not wanted.values and not wanted.open:
            note = wanted.problem or wanted.absent
            if negated or wanted.problem:
                return self._outcome(Truth.UNKNOWN, note=note)
            return self._outcome(Truth.NO, f"{self._expects(texts)}; {note}")
        return self._dependence(self.key, f"{self._expects(texts)}, and {because}", wanted.problem)

    def _check_possible(self, texts: list[str]) -> Check:
        """Check a key that the request may have."""
        because = "whether the request has that key is not known here"
        absent, present = self._check_absent(texts), self._check_filled(texts, because)
        if absent.truth is present.truth:
            return present
        if Truth.UNKNOWN in {absent.truth, present.truth}:
            return min(absent, present, key=lambda check: check.truth is not Truth.UNKNOWN)
        if present.truth is Truth.DEPENDS:
            return present
        return self._dependence(self.key, f"{self._expects(texts)}, and {because}")

    def _read(self, texts: list[str]) -> _Wanted:
        wanted = _Wanted()
        comparison = comparison_of(self.name.operator)
        for text in texts:
            try:
                operand = self._resolved(text)
                wanted.values.append(comparison.read_wanted(operand))
                if operand.text != text:
                    wanted.replaced[text] = operand.text
            except VariableAbsentError as error:
                wanted.absent = wanted.absent or str(error)
            except VariableOpenError as error:
                wanted.open = wanted.open or error.key
            except ValueError as error:
                problem = f"{self.written} {self.key} has a value that is not understood: {error}"
                wanted.problem = wanted.problem or problem
        return wanted

    def _resolved(self, text: str) -> Operand:
        if not self.variables or "${" not in text:
            return Operand(text)
        if not self.name.operator.replaces_variables:
            raise _NotUnderstoodError(f"{self.name.operator.name} takes no policy variables, as in {quoted(text)}")
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

    def _check_absent(self, texts: list[str]) -> Check:
        if self.name.operator.kind is OperatorKind.NULL:
            return self._check_null(texts, present=False)
        wanted = self._read(texts)
        if self.name.qualifier is SetQualifier.FOR_ANY_VALUE:
            if self.name.if_exists:
                note = (
                    f"{self.written} {self.key} on an absent key is not understood, because ForAnyValue makes it "
                    "false and IfExists makes it true"
                )
                return self._outcome(Truth.UNKNOWN, note=note)
        elif self.name.if_exists or self.name.qualifier or self.name.operator.is_negated:
            if wanted.problem:
                return self._outcome(Truth.UNKNOWN, note=wanted.problem)
            if wanted.absent and not self.name.if_exists:
                return self._outcome(Truth.UNKNOWN, note=wanted.absent)
            if wanted.open and not self.name.if_exists:
                message = f"{self._expects(texts)}, and the value of {wanted.open} is not known here"
                return self._dependence(wanted.open, message)
            return Check(Truth.YES)
        message = f"{self._expects(texts)} but the request has no such key"
        if self.issuers is not None:
            message += hints.for_absent_key(self.key, self.context, self.issuers)
        return self._outcome(Truth.NO, message, wanted.problem)

    def _expects(self, texts: list[str]) -> str:
        if self.name.operator.kind is OperatorKind.NULL:
            return f"{self.written} {self.key} expects {listed(texts)}"
        wording = _SET_WORDINGS[self.name.qualifier]
        wording += "anything but " if self.name.operator.is_negated else ""
        compared = comparison_of(self.name.operator).wording
        wording += f"{compared} " if compared else ""
        return f"{self.written} {self.key} expects {wording}{listed(texts)}"

    def _dependence(self, key: str, message: str, note: str = "") -> Check:
        return Check(Truth.DEPENDS, unknown=(note,) if note else (), depends=(Dependence(key, self.written, message),))

    def _outcome(self, truth: Truth, message: str = "", note: str = "") -> Check:
        failure = Failure("Condition", self.written, self.key, message or note)
        return Check(truth, (failure,), (note,) if note else ())


def _compare_form(operator: ConditionOperator, texts: list[str], form: ValueForm, *, variables: bool) -> Truth:
    """Return whether values of that form match one of the policy's values: each, none, or some of them."""
    if operator.kind is not OperatorKind.STRING and not (operator.kind is OperatorKind.ARN and form.is_arn):
        return Truth.DEPENDS
    if variables and any("${" in text for text in texts):
        return Truth.DEPENDS
    if operator.relation is Relation.EQUALS_IGNORE_CASE and not all(text.isascii() for text in texts):
        return Truth.DEPENDS
    meets = _MEETS[operator.relation]
    if not any(any(all(meets(each, text) for each in patterns) for text in texts) for patterns in form.any_of):
        return Truth.NO
    covers = _COVERS.get((operator.kind, operator.relation))
    if covers is not None and all(
        any(covers(each, text) for each in patterns for text in texts) for patterns in form.any_of
    ):
        return Truth.YES
    return Truth.DEPENDS


_MEETS: Final[Mapping[Relation, Callable[[str, str], bool]]] = {
    Relation.EQUALS: glob_matches,
    Relation.EQUALS_IGNORE_CASE: lambda form, text: glob_matches(form.lower(), text.lower()),
    Relation.LIKE: globs_meet,
}
"""Whether a value of the form can match a value of the policy, by relation."""

_COVERS: Final[Mapping[tuple[OperatorKind, Relation], Callable[[str, str], bool]]] = {
    (OperatorKind.STRING, Relation.EQUALS): lambda form, text: form == text and not has_wildcard(form),
    (OperatorKind.STRING, Relation.LIKE): lambda form, text: glob_covers(text, form),
}
"""Whether every value of the form matches a value of the policy. Parts of an ARN are not looked at for this."""


def _is_any(wanted: object) -> bool:
    """Return whether a pattern matches every text."""
    return isinstance(wanted, Operand) and not wanted.literal and set(wanted.text) == {"*"}


def _compare(operator: ConditionOperator, text: str, wanted: _Wanted) -> Truth:
    """Return whether one value of the request matches the policy's values."""
    comparison = comparison_of(operator)
    try:
        given = comparison.read_given(text)
    except ValueError as error:
        raise _NotUnderstoodError(str(error)) from None
    if any(comparison.test(given, value) for value in wanted.values):
        truth = Truth.YES
    elif wanted.problem or (wanted.absent and operator.is_negated):
        truth = Truth.UNKNOWN
    elif wanted.open:
        truth = Truth.DEPENDS
    else:
        truth = Truth.NO
    return truth.negated() if operator.is_negated else truth
