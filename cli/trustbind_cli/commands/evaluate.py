"""``trustbind evaluate``: would this principal get in?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, Decision, Request
from trustbind.policy.trust_document import TrustDocument

__all__ = ["as_json", "context_of", "explain", "notes", "request_of"]

_ARN_KEY: Final = "aws:PrincipalArn"


def request_of(principal: str, action: str, context: Mapping[str, list[str]]) -> Request:
    """Return the request to evaluate: with the keys that AWS fills from the caller, where ``context`` has none.

    Raises:
        InvalidValueError: the principal or the action is not one.
    """
    try:
        caller = Caller.parse(principal)
    except ValueError as error:
        raise InvalidValueError(str(error), field="--principal") from None
    service, colon, name = action.partition(":")
    if not (service and colon and name) or any(c.isspace() for c in action):
        raise InvalidValueError(f"{action!r} is not an action, such as sts:AssumeRoleWithWebIdentity", field="--action")
    lowered = {key.lower() for key in context}
    of_caller = {key: values for key, values in caller.keys().items() if key.lower() not in lowered}
    return Request(caller, action, of_caller | dict(context))


def context_of(pairs: Iterable[str], claims: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Return the request's context from ``KEY=VALUE`` pairs and a token's claims.

    A key that stands several times is a multi-valued key. What is given beats what the token says.

    Raises:
        InvalidValueError: a pair without ``=`` or with an empty key, or a token without an issuer.
    """
    given: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidValueError(f"{pair!r} is not KEY=VALUE", field="--context")
        given.setdefault(key.strip(), []).append(value)
    context = _from_token(claims) if claims is not None else {}
    lowered = {key.lower() for key in given}
    return {key: values for key, values in context.items() if key.lower() not in lowered} | given


def notes(policy: TrustDocument, request: Request, decision: Decision, context: Mapping[str, list[str]]) -> list[str]:
    """Return what should be said about the keys of the request: none given, or one that could not be known.

    Args:
        policy: what was evaluated.
        request: with the caller's own keys.
        decision: the answer.
        context: the keys that were given, by hand or by a token.
    """
    said: list[str] = []
    if not context and _is_by_condition(policy, decision):
        without = "but the caller's" if request.context else "at all"
        said.append(
            f"note: the request was evaluated with no condition keys {without}; give --token, or --context KEY=VALUE"
        )
    given = {key.lower() for key in request.context}
    if request.caller.is_session and _ARN_KEY.lower() not in given and _ARN_KEY.lower() in policy.to_json().lower():
        said.append(
            f"note: {_ARN_KEY} is the ARN of the session's role with its path, which {request.caller.identifier} does "
            f"not tell; give --context {_ARN_KEY}=ARN"
        )
    return said


def _is_by_condition(policy: TrustDocument, decision: Decision) -> bool:
    """Return whether a condition kept the caller out: one that failed, or the one of a statement that denies."""
    if decision.allowed:
        return False
    if decision.statement is not None:
        return "Condition" in policy.statements[decision.statement.index]
    return decision.failure is not None and decision.failure.element == "Condition"


def explain(decision: Decision) -> str:
    """Return the answer for a person: ``Allow`` or ``Deny`` first, then why."""
    lines = ["Allow" if decision.allowed else "Deny", decision.reason]
    lines += [f"not understood: {text}" for text in decision.unknown]
    return "\n".join(line for line in lines if line)


def as_json(decision: Decision) -> dict[str, Any]:
    """Return the answer as data."""
    result: dict[str, Any] = {"decision": "Allow" if decision.allowed else "Deny", "reason": decision.reason}
    for name, reference in (("statement", decision.statement), ("nearest", decision.nearest)):
        if reference is not None:
            result[name] = {"index": reference.index, "sid": reference.sid}
    if decision.failure is not None:
        failure = decision.failure
        result["failure"] = {
            "element": failure.element,
            "operator": failure.operator,
            "key": failure.key,
            "message": failure.message,
        }
    if decision.unknown:
        result["notUnderstood"] = list(decision.unknown)
    return result


def _from_token(claims: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the condition keys that STS makes of a token (IAM User Guide, "AWS STS condition context keys")."""
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        raise InvalidValueError("the token has no issuer (claim iss)", field="--token")
    prefix = issuer.removeprefix("https://")
    context: dict[str, list[str]] = {}
    for claim in ("aud", "sub", "amr"):
        value = claims.get(claim)
        if isinstance(value, str):
            context[f"{prefix}:{claim}"] = [value]
        elif isinstance(value, list) and value:
            context[f"{prefix}:{claim}"] = [str(v) for v in value]
    return context
