"""The decision: the document, its statements, and how they combine.

Sources: IAM User Guide, "Policy evaluation logic" (an explicit deny wins over an allow; without either the answer is
no) and "IAM JSON policy element reference".

Only the role's own trust policy is looked at. Trust in a whole account also needs the caller's own policies to allow
the call; that, service control policies and session policies are outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trustbind.evaluation.actions import check_action
from trustbind.evaluation.conditions import by_lower_name, check_condition
from trustbind.evaluation.model import Decision, Failure, Request, StatementRef
from trustbind.evaluation.principals import check_principal
from trustbind.evaluation.three_valued import Check, Truth, quoted

_VARIABLES_SINCE: Final = "2012-10-17"
_VERSIONS: Final = frozenset({_VARIABLES_SINCE, "2008-10-17"})
_DOCUMENT_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"}
)
_COMPLETE: Final = Check(Truth.YES)


def evaluate(document: Mapping[str, Any], request: Request) -> Decision:
    """Return whether a role's trust policy lets a caller take an action.

    Args:
        document: The trust policy, as decoded from JSON. Any JSON value is accepted; what is not a policy allows
            nothing.
        request: Who calls, what for, and with which condition keys.

    Returns:
        The decision with its reason. Never raises for a document decoded from JSON.
    """
    value: object = document
    if not isinstance(value, Mapping):
        problem = "The document is not an object."
        return Decision(allowed=False, statement=None, nearest=None, failure=None, reason=problem, unknown=(problem,))
    problems = _document_problems(document)
    context = by_lower_name(request.context)
    variables = document.get("Version") == _VARIABLES_SINCE
    statements = [
        _examine(index, statement, request, context, variables=variables)
        for index, statement in enumerate(_statements(document))
    ]
    notes = [f"{_capitalised(problem)}." for problem in problems]
    for statement in statements:
        notes += [f"{_capitalised(str(statement.ref))}: {note}." for note in statement.unknown]
    return _decide(statements, problems, request, tuple(dict.fromkeys(notes)))


@dataclass(frozen=True, slots=True)
class _Examined:
    """A statement, held against the request."""

    ref: StatementRef
    effect: str
    """``Allow``, ``Deny``, or empty where it is neither."""
    truth: Truth
    rank: tuple[int, int]
    """How near the statement came: elements passed in their order, then failed conditions, negative."""
    failure: Failure | None
    unknown: tuple[str, ...]


def _decide(statements: list[_Examined], problems: list[str], request: Request, notes: tuple[str, ...]) -> Decision:
    what = f"{request.action} by {request.caller.identifier}"
    denies = [each for each in statements if each.effect == "Deny" and each.truth is not Truth.NO]
    if denies:
        denial = max(denies, key=lambda each: each.truth)
        reason = f"{_capitalised(str(denial.ref))} denies {what} explicitly."
        if denial.truth is Truth.UNKNOWN:
            reason += " It has a part that is not understood, which in a Deny counts as matching."
        return Decision(allowed=False, statement=denial.ref, nearest=None, failure=None, reason=reason, unknown=notes)
    allow = next((each for each in statements if each.effect == "Allow" and each.truth is Truth.YES), None)
    if allow and not problems:
        reason = f"{_capitalised(str(allow.ref))} allows {what}."
        return Decision(allowed=True, statement=allow.ref, nearest=None, failure=None, reason=reason, unknown=notes)
    nearest = max((each for each in statements if each.effect != "Deny"), key=lambda each: each.rank, default=None)
    failure = nearest.failure if nearest else None
    if problems and (allow or not nearest):
        failure = Failure("Statement", message=problems[0])
    reason = f"No statement allows {what}."
    if failure and nearest:
        reason += f" {_capitalised(str(nearest.ref))} comes nearest: {failure.message}."
    elif failure:
        reason += f" {_capitalised(failure.message)}."
    return Decision(
        allowed=False,
        statement=None,
        nearest=nearest.ref if nearest else None,
        failure=failure,
        reason=reason,
        unknown=notes,
    )


def _document_problems(document: Mapping[str, Any]) -> list[str]:
    """Return what keeps the document as a whole from being understood; with any of it nothing is allowed."""
    problems = [
        f"the document has an element {quoted(str(name))}, which trust policies do not have"
        for name in document
        if name not in _DOCUMENT_ELEMENTS
    ]
    version = document.get("Version", "2008-10-17")
    if not isinstance(version, str) or version not in _VERSIONS:
        shown = quoted(version) if isinstance(version, str) else "no text"
        problems.append(f"the Version is {shown}, and only 2012-10-17 and 2008-10-17 are understood")
    if not isinstance(document.get("Statement"), Mapping | list | tuple):
        problems.append("the document has no Statement that is an object or a list of objects")
    return problems


def _statements(document: Mapping[str, Any]) -> Sequence[Any]:
    statements = document.get("Statement")
    if isinstance(statements, list | tuple):
        return statements
    return (statements,) if isinstance(statements, Mapping) else ()


def _examine(
    index: int, statement: object, request: Request, context: Mapping[str, Sequence[str]], *, variables: bool
) -> _Examined:
    if not isinstance(statement, Mapping):
        problem = "the statement is not an object"
        return _Examined(
            StatementRef(index), "", Truth.UNKNOWN, (-1, 0), Failure("Statement", message=problem), (problem,)
        )
    sid = statement.get("Sid", "")
    ref = StatementRef(index, sid if isinstance(sid, str) else "")
    effect, effect_problem = _effect(statement)
    deny = effect == "Deny"

    action = _one_of(statement, "Action", lambda element, value: check_action(element, value, request.action))
    principal = _one_of(
        statement,
        "Principal",
        lambda element, value: check_principal(element, value, request.caller, context, deny=deny),
    )
    condition = _COMPLETE
    if "Condition" in statement:
        condition = check_condition(statement["Condition"], context, variables=variables)
    checks = (action, principal, condition, _check_rest(statement))

    passed = next((at for at, check in enumerate(checks) if check.truth is not Truth.YES), len(checks))
    failures = checks[passed].failures if passed < len(checks) else ()
    rank = (passed, -len(condition.failures))
    failure: Failure | None = failures[0] if failures else None
    if not effect:
        rank, failure = (-1, 0), Failure("Effect", message=effect_problem)
    unknown = [effect_problem] if effect_problem else []
    for check in checks:
        unknown += check.unknown
    truth = min(check.truth for check in checks)
    return _Examined(ref, effect, truth, rank, failure, tuple(unknown))


def _effect(statement: Mapping[str, Any]) -> tuple[str, str]:
    """Return the effect and what is wrong with it.

    Values of Effect are case-sensitive. A "deny" in other letters can only have been meant as a Deny, so it denies;
    every other value is no effect at all.
    """
    effect = statement.get("Effect")
    if effect in ("Allow", "Deny"):
        return str(effect), ""
    if not isinstance(effect, str):
        return "", "the Effect is missing or no text"
    problem = f"the Effect {quoted(effect)} is neither Allow nor Deny"
    if effect.strip().lower() == "deny":
        return "Deny", f"{problem}, and counts as Deny"
    return "", problem


def _one_of(statement: Mapping[str, Any], element: str, check: Callable[[str, object], Check]) -> Check:
    """Check the element or its Not form, of which a statement must have exactly one."""
    present = [name for name in (element, f"Not{element}") if name in statement]
    if len(present) == 1:
        return check(present[0], statement[present[0]])
    message = f"the statement has {f'both {element} and Not' if present else 'no '}{element}"
    return Check(Truth.UNKNOWN, (Failure(element, message=message),), (message,))


def _check_rest(statement: Mapping[str, Any]) -> Check:
    """Return whether the statement has no more than the elements of a trust policy, and a Sid that is a text."""
    problems = [
        f"the statement has an element {quoted(str(name))}, which trust policies do not have"
        for name in statement
        if name not in _STATEMENT_ELEMENTS
    ]
    if not isinstance(statement.get("Sid", ""), str):
        problems.append("the Sid is no text")
    if not problems:
        return _COMPLETE
    failures = tuple(Failure("Statement", message=problem) for problem in problems)
    return Check(Truth.UNKNOWN, failures, tuple(problems))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
