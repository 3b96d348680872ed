"""The answer, for a person and as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from trustbind.evaluation import Answer, Caller, Decision, PrincipalKind, Request
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import RULES, Finding, Severity, findings
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli import findings as printing
from trustbind_cli.exit_codes import DONE, FAILED, UNKNOWN

__all__ = ["as_json", "clock_note", "exit_code", "explain", "findings_of"]

_CODES: Final = {Answer.ALLOW: DONE, Answer.DENY: FAILED, Answer.DEPENDS: UNKNOWN}
_CLOCK: Final = ("aws:currenttime", "aws:epochtime")
_OF_THE_ROLE: Final = frozenset({"ProviderOfOtherAccount", "ProviderWithoutArn", "InvalidPrincipal"})
"""Rules that look at the role's AWS account or partition."""
_SOME_ROLE: Final = RoleArn("aws", "000000000000", "/", "role")


def exit_code(decision: Decision) -> int:
    """Return the exit code of an answer."""
    return _CODES[decision.answer]


def findings_of(document: TrustDocument, request: Request, decision: Decision) -> tuple[Finding, ...]:
    """Return what IAM refuses of the document, and what the rules say of the statement that decided or came nearest.

    Without a role, the AWS account is that of the OIDC provider that calls, since STS looks for it there; where no such
    provider calls, the rules about the role's AWS account are left out.
    """
    role = request.role or _role_of(request.caller)
    rules = RULES if role is not None else [rule for rule in RULES if rule.name not in _OF_THE_ROLE]
    meant = decision.statement or decision.nearest
    found = findings(document, role or _SOME_ROLE, rules=rules)
    return tuple(
        each
        for each in found
        if (each.statement is None and each.severity is Severity.REFUSED)
        or (each.statement is not None and meant is not None and each.statement.index == meant.index)
    )


def clock_note(document: TrustDocument, known: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield a sentence where the answer may depend on this machine's clock.

    Args:
        document: what was evaluated.
        known: the keys that were given by hand.
    """
    text, given = document.to_json().lower(), {key.lower() for key in known}
    if any(key in text and key not in given for key in _CLOCK):
        yield "aws:CurrentTime is this machine's clock; give --context aws:CurrentTime=TIME for another time"


def explain(decision: Decision, found: Iterable[Finding] = ()) -> str:
    """Return the answer for a person: ``Allow``, ``Deny`` or ``Depends`` first, then why."""
    lines = [decision.answer.value, decision.reason]
    lines += [f"also: {failure.message}" for failure in decision.failures[1:]]
    lines += [f"depends on {each.key}: {each.message}" for each in decision.depends]
    lines += [f"remark: {text}" for text in decision.remarks]
    lines += [f"not understood: {text}" for text in decision.unknown]
    lines += [printing.sentence(finding) for finding in found]
    return "\n".join(line for line in lines if line)


def as_json(request: Request, decision: Decision, found: Iterable[Finding] = ()) -> dict[str, Any]:
    """Return the answer as data."""
    result: dict[str, Any] = {
        "decision": decision.answer.value,
        "reason": decision.reason,
        "principal": request.caller.identifier,
        "action": request.action,
    }
    if request.role is not None:
        result["role"] = str(request.role)
    for name, reference in (("statement", decision.statement), ("nearest", decision.nearest)):
        if reference is not None:
            result[name] = {"index": reference.index, "sid": reference.sid}
    failures = [
        {"element": each.element, "operator": each.operator, "key": each.key, "message": each.message}
        for each in decision.failures
    ]
    depends = [{"key": each.key, "operator": each.operator, "message": each.message} for each in decision.depends]
    further = {
        "failure": failures[0] if failures else None,
        "failures": failures,
        "dependsOn": depends,
        "remarks": list(decision.remarks),
        "notUnderstood": list(decision.unknown),
        "findings": [printing.as_data(finding) for finding in found],
    }
    return result | {name: value for name, value in further.items() if value}


def _role_of(caller: Caller) -> RoleArn | None:
    """Return a role of the AWS account in which STS finds this provider; None for any other caller."""
    parts = caller.identifier.split(":")
    if caller.kind is not PrincipalKind.FEDERATED or parts[0] != "arn" or not parts[4].isdigit():
        return None
    return RoleArn(parts[1], parts[4], "/", "role")
