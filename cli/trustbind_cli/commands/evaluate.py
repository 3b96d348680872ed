"""``trustbind evaluate``: would this principal be allowed?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from trustbind.errors import InvalidValueError
from trustbind.evaluation import Answer, Caller, Decision, Request, request_context
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN

__all__ = ["as_json", "exit_code", "explain", "given_by", "notes", "request_of"]

_CODES = {Answer.ALLOW: DONE, Answer.DENY: FAILED, Answer.DEPENDS: UNKNOWN}
_CLOCK = ("aws:currenttime", "aws:epochtime")


def exit_code(decision: Decision) -> int:
    """Return the exit code of an answer."""
    return _CODES[decision.answer]


def request_of(
    principal: str,
    action: str,
    *,
    claims: Mapping[str, Any] | None = None,
    known: Mapping[str, list[str]] | None = None,
    now: datetime | None = None,
) -> Request:
    """Return the request to evaluate.

    Args:
        principal: who calls.
        action: what is called.
        claims: of the token, where one is given.
        known: the keys that are given by hand; they win.
        now: the time.

    Raises:
        InvalidValueError: the principal or the action is not one, or the token has no issuer.
    """
    try:
        caller = Caller.parse(principal)
    except ValueError as error:
        raise InvalidValueError(str(error), field="--principal") from None
    service, colon, name = action.partition(":")
    if not (service and colon and name) or any(c.isspace() for c in action):
        raise InvalidValueError(f"{action!r} is not an action, such as sts:AssumeRoleWithWebIdentity", field="--action")
    if claims is not None and not (isinstance(claims.get("iss"), str) and claims["iss"]):
        raise InvalidValueError("the token has no issuer (claim iss)", field="--token")
    return Request(caller, action, request_context(caller, claims=claims, known=known, now=now))


def given_by(pairs: Iterable[str]) -> dict[str, list[str]]:
    """Return the condition keys of ``KEY=VALUE`` pairs. A key that stands several times is a multi-valued key.

    Raises:
        InvalidValueError: a pair without ``=`` or with an empty key.
    """
    given: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidValueError(f"{pair!r} is not KEY=VALUE", field="--context")
        given.setdefault(key.strip(), []).append(value)
    return given


def notes(policy: TrustDocument, known: Mapping[str, list[str]]) -> list[str]:
    """Return what should be said about the keys of the request.

    Args:
        policy: what was evaluated.
        known: the keys that were given by hand.
    """
    text, given = policy.to_json().lower(), {key.lower() for key in known}
    if any(key in text and key not in given for key in _CLOCK):
        return ["note: aws:CurrentTime is this machine's clock; give --context aws:CurrentTime=TIME for another time"]
    return []


def explain(decision: Decision) -> str:
    """Return the answer for a person: ``Allow``, ``Deny`` or ``Depends`` first, then why."""
    lines = [decision.answer.value, decision.reason]
    lines += [f"depends on {each.key}: {each.message}" for each in decision.depends]
    lines += [f"remark: {text}" for text in decision.remarks]
    lines += [f"not understood: {text}" for text in decision.unknown]
    return "\n".join(line for line in lines if line)


def as_json(decision: Decision) -> dict[str, Any]:
    """Return the answer as data."""
    result: dict[str, Any] = {"decision": decision.answer.value, "reason": decision.reason}
    for name, reference in (("statement", decision.statement), ("nearest", decision.nearest)):
        if reference is not None:
            result[name] = {"index": reference.index, "sid": reference.sid}
    failures = [
        {
            "element": failure.element,
            "operator": failure.operator,
            "key": failure.key,
            "message": failure.message,
        }
        for failure in decision.failures
    ]
    if failures:
        result |= {"failure": failures[0], "failures": failures}
    if decision.depends:
        result["dependsOn"] = [
            {"key": each.key, "operator": each.operator, "message": each.message} for each in decision.depends
        ]
    if decision.remarks:
        result["remarks"] = list(decision.remarks)
    if decision.unknown:
        result["notUnderstood"] = list(decision.unknown)
    return result
