"""The decision: the document, its statements, and how they combine.

Sources: IAM User Guide, "Policy evaluation logic" (an explicit deny wins over an allow; without either the answer is
no) and "IAM JSON policy element reference".

Only the role's own trust policy is looked at. Trust in a whole account also needs the caller's own policies to allow
the call, which is remarked; service control policies and session policies are outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trustbind.evaluation.actions import check_action
from trustbind.evaluation.conditions import check_condition
from trustbind.evaluation.model import (
    Answer,
    Decision,
    Dependence,
    Failure,
    PrincipalKind,
    Request,
    StatementRef,
)
from trustbind.evaluation.principals import check_principal
from trustbind.evaluation.request_context import RequestContext
from trustbind.evaluation.three_valued import Check, Truth, listed, quoted

_VARIABLES_SINCE: Final = "2012-10-17"
_VERSIONS: Final = frozenset({_VARIABLES_SINCE, "2008-10-17"})
_DOCUMENT_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"}
)
_COMPLETE: Final = Check(Truth.YES)
_PRINCIPAL: Final = 1
_CONDITION: Final = 2
"""Positions among the checks of a statement."""


def evaluate(document: Mapping[str, Any], request: Request) -> Decision:
    """Return what a role's trust policy says to one action of a caller.

    An action of a call is one of several where the call has session tags or a source identity: see `evaluate_call`.

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
        return Decision(Answer.DENY, None, None, (), reason=problem, unknown=(problem,))
    problems = _document_problems(document)
    context = RequestContext.of(request.context)
    if context.refusal:
        failure = Failure("Token", message=context.refusal)
        return Decision(Answer.DENY, None, None, (failure,), reason=f"{_capitalised(context.refusal)}.", unknown=())
    variables = document.get("Version") == _VARIABLES_SINCE
    raw = _statements(document)
    statements = [
        _examine(index, statement, request, context, variables=variables) for index, statement in enumerate(raw)
    ]
    notes = [f"{_capitalised(problem)}." for problem in problems]
    for statement in statements:
        notes += [f"{_capitalised(str(statement.ref))}: {note}." for note in statement.unknown]
    told = tuple(dict.fromkeys(notes))
    decision = _decide(statements, problems, request, told)
    if decision is None:
        allows = [
            _examine(each.ref.index, raw[each.ref.index], request, context, variables=variables, explain=True)
            for each in statements
            if each.effect != "Deny"
        ]
        decision = _denied(allows, problems, request, told)
    return decision


@dataclass(frozen=True, slots=True)
class _Examined:
    """A statement, held against the request."""

    ref: StatementRef
    effect: str
    """``Allow``, ``Deny``, or empty where it is neither."""
    truth: Truth
    rank: tuple[int, int]
    """How near the statement came: elements passed in their order, then failed conditions, negative."""
    failures: tuple[Failure, ...]
    unknown: tuple[str, ...]
    depends: tuple[Dependence, ...] = ()
    level: str = ""
    """By what the caller is named, as in ``principals``."""


def _decide(
    statements: list[_Examined], problems: list[str], request: Request, notes: tuple[str, ...]
) -> Decision | None:
    """Return the decision where a statement denies or allows, or may; None for an implicit deny."""
    denies = [each for each in statements if each.effect == "Deny" and each.truth is not Truth.NO]
    certain = [each for each in denies if each.truth is not Truth.DEPENDS]
    if certain:
        denial = max(certain, key=lambda each: each.truth)
        what = f"{request.action} by {request.caller.identifier}"
        reason = f"{_capitalised(str(denial.ref))} denies {what} explicitly."
        if denial.truth is Truth.UNKNOWN:
            reason += " It has a part that is not understood, which in a Deny counts as matching."
        return Decision(Answer.DENY, denial.ref, None, (), reason=reason, unknown=notes)
    allows = [each for each in statements if each.effect == "Allow" and each.truth >= Truth.DEPENDS]
    if not allows or problems:
        return None
    allow = max(allows, key=lambda each: (each.truth, -len(each.depends)))
    return _allowed(allow, denies, request, notes)


def _denied(allows: list[_Examined], problems: list[str], request: Request, notes: tuple[str, ...]) -> Decision:
    """Return an implicit deny, with the statement that came nearest to allowing."""
    nearest = max(allows, key=lambda each: each.rank, default=None)
    failures = nearest.failures if nearest else ()
    if problems and (not failures or not nearest):
        failures = (Failure("Statement", message=problems[0]),)
    reason = f"No statement allows {request.action} by {request.caller.identifier}."
    if failures and nearest:
        reason += f" {_capitalised(str(nearest.ref))} comes nearest: {failures[0].message}."
    elif failures:
        reason += f" {_capitalised(failures[0].message)}."
    return Decision(Answer.DENY, None, nearest.ref if nearest else None, failures, reason=reason, unknown=notes)


def _allowed(allow: _Examined, denies: list[_Examined], request: Request, notes: tuple[str, ...]) -> Decision:
    """Return the decision where one statement allows the request, or may, and others may deny it."""
    what = f"{request.action} by {request.caller.identifier}"
    depends = (*allow.depends, *(each for deny in denies for each in deny.depends))
    remarks = tuple(_remarks(allow, request))
    if not depends:
        reason = f"{_capitalised(str(allow.ref))} allows {what}."
        return Decision(Answer.ALLOW, allow.ref, None, (), reason=reason, unknown=notes, remarks=remarks)
    keys = listed(list(dict.fromkeys(each.key for each in depends)), "and", quote=False)
    verb = "may allow" if allow.depends else "allows"
    reason = f"{_capitalised(str(allow.ref))} {verb} {what}"
    if denies:
        reason += f", and {' and '.join(str(deny.ref) for deny in denies)} may deny it explicitly"
    reason += f"; the answer depends on {keys}."
    return Decision(Answer.DEPENDS, allow.ref, None, (), reason=reason, unknown=notes, depends=depends, remarks=remarks)


def _remarks(allow: _Examined, request: Request) -> Iterator[str]:
    """Yield what the caller's own side has to allow besides the trust policy.

    Source: IAM User Guide, "AWS JSON policy elements: Principal", AWS account principals, and "Cross-account policy
    evaluation logic".
    """
    caller, role = request.caller, request.role
    if caller.kind is not PrincipalKind.AWS:
        return
    # The ARN of the root stands for the AWS account: the root user itself cannot assume a role.
    account = caller.identifier.split(":")[4] if ":" in caller.identifier else caller.identifier
    if allow.level == "account":
        why = f"the statement trusts AWS account {account} as a whole"
    elif role is not None and role.account_id != account:
        why = f"the role is in AWS account {role.account_id}, and the caller in {account}"
    else:
        return
    yield f"{why}, so the caller needs an identity policy that allows {request.action} on the role, too"


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
    index: int, statement: object, request: Request, context: RequestContext, *, variables: bool, explain: bool = False
) -> _Examined:
    """Hold a statement against the request.

    Args:
        index: its position in the document.
        statement: the statement.
        request: who calls, and what for.
        context: the request's keys.
        variables: whether policy variables are replaced.
        explain: whether to go on after an element that does not match, and to look for the nearest difference.
    """
    if not isinstance(statement, Mapping):
        problem = "the statement is not an object"
        return _Examined(
            StatementRef(index), "", Truth.UNKNOWN, (-1, 0), (Failure("Statement", message=problem),), (problem,)
        )
    sid = statement.get("Sid", "")
    ref = StatementRef(index, sid if isinstance(sid, str) else "")
    effect, effect_problem = _effect(statement)
    checks: list[Check] = []
    for check in _checks(statement, request, context, variables=variables, deny=effect == "Deny", explain=explain):
        checks.append(check)
        if check.truth is Truth.NO and not explain:  # nothing behind it can matter
            break
    passed = next((at for at, check in enumerate(checks) if check.truth < Truth.DEPENDS), len(checks))
    failures = checks[passed].failures if passed < len(checks) else ()
    condition = checks[_CONDITION] if len(checks) > _CONDITION else _COMPLETE
    rank = (passed, -len(condition.failures))
    if not effect:
        rank, failures = (-1, 0), (Failure("Effect", message=effect_problem),)
    unknown = [effect_problem] if effect_problem else []
    unknown += [note for check in checks for note in check.unknown]
    truth = min(check.truth for check in checks)
    level = checks[_PRINCIPAL].level if len(checks) > _PRINCIPAL else ""
    return _Examined(ref, effect, truth, rank, failures, tuple(unknown), condition.depends, level)


def _checks(
    statement: Mapping[str, Any],
    request: Request,
    context: RequestContext,
    *,
    variables: bool,
    deny: bool,
    explain: bool,
) -> Iterator[Check]:
    """Yield the outcome of each element, in the order of `_PRINCIPAL` and `_CONDITION`."""
    yield _one_of(statement, "Action", lambda element, value: check_action(element, value, request.action))
    yield _one_of(
        statement,
        "Principal",
        lambda element, value: check_principal(element, value, request.caller, context, deny=deny, explain=explain),
    )
    block = statement.get("Condition", _COMPLETE)
    yield block if block is _COMPLETE else check_condition(block, context, variables=variables, explain=explain)
    yield _check_rest(statement)


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
