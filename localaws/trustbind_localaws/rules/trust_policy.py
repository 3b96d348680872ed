"""What IAM accepts as a role's trust policy, and the form in which it gives it back. Pure.

What it refuses is in `trustbind.policy.document_rules`. Codes are AWS's; messages are AWS's where they are known.
Source of the rest: IAM API reference, CreateRole and UpdateAssumeRolePolicy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import RULES, Severity, findings
from trustbind.policy.trust_document import TrustDocument
from trustbind_localaws.protocol.query import AwsFailure

__all__ = ["PrincipalExists", "check", "replace_principal", "statements_of", "trusts_service"]

PrincipalExists = Callable[[str], bool]
"""Tells whether the role, user or session with this ARN exists."""

_REFUSED: Final = tuple(rule for rule in RULES if rule.severity is Severity.REFUSED)

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:amazonaws\.com(?:\.cn)?|amazon\.com|aws\.internal)", re.ASCII)


def check(text: str, *, role: RoleArn, quota: int, exists: PrincipalExists) -> str:
    """Return the document as IAM stores it: without white space, account ids as root ARNs, condition keys sorted.

    IAM gives documents back changed in form but not in meaning: among others the order of condition keys changes
    (aws-controllers-k8s/community issue 2142). Which order IAM takes is not documented; sorting stands for it.

    Args:
        text: JSON, as sent.
        role: whose trust policy it will be.
        quota: characters allowed, white space apart.
        exists: tells whether a role, user or session exists.

    Raises:
        AwsFailure: IAM would refuse it.
    """
    document = _parsed(text)
    try:
        trust = TrustDocument.parse(document)
    except InvalidValueError:
        raise _malformed("Syntax errors in policy.") from None

    def exists_by_kind(kind: str, name: str) -> bool:
        return _SERVICE.fullmatch(name) is not None if kind == "Service" else ":federated-user/" in name or exists(name)

    found = findings(trust, role, quota, exists=exists_by_kind, rules=_REFUSED)
    if found:
        raise AwsFailure(found[0].aws_code, found[0].aws_message or f"{found[0]}.")
    return json.dumps(_as_stored(document, role.partition), separators=(",", ":"), ensure_ascii=False)


def replace_principal(text: str, arn: str, unique_id: str) -> str:
    """Return a stored document with ``unique_id`` wherever ``arn`` is a principal.

    This is what IAM shows once the principal is deleted (IAM User Guide, "AWS JSON policy elements: Principal").
    """
    document = json.loads(text)
    for statement in statements_of(document):
        for element in ("Principal", "NotPrincipal"):
            principal = statement.get(element)
            if isinstance(principal, dict) and "AWS" in principal:
                named = principal["AWS"]
                if isinstance(named, list):
                    principal["AWS"] = [unique_id if name == arn else name for name in named]
                elif named == arn:
                    principal["AWS"] = unique_id
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def statements_of(document: Mapping[str, Any]) -> list[Any]:
    """Return the statements of a document, whose ``Statement`` may be one or a list.

    Raises:
        AwsFailure: it is neither.
    """
    raw = document.get("Statement", [])
    listed = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(statement, dict) for statement in listed):
        raise _malformed("Syntax errors in policy.")
    return listed


def trusts_service(text: str, service: str) -> bool:
    """Return whether a statement of a stored trust policy lets a service in, whatever its actions and conditions."""
    for statement in statements_of(json.loads(text)):
        principal = statement.get("Principal")
        named = principal.get("Service", []) if isinstance(principal, dict) else []
        if statement.get("Effect") == "Allow" and service in (named if isinstance(named, list) else [named]):
            return True
    return False


def _malformed(message: str) -> AwsFailure:
    return AwsFailure("MalformedPolicyDocument", message)


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except (json.JSONDecodeError, RecursionError):
        raise _malformed("This policy contains invalid Json") from None
    if not isinstance(document, dict):
        raise _malformed("Syntax errors in policy.")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _malformed("Syntax errors in policy.")
    return result


def _as_stored(document: dict[str, Any], partition: str) -> dict[str, Any]:
    for statement in statements_of(document):
        for element in ("Principal", "NotPrincipal"):
            principal = statement.get(element)
            if isinstance(principal, dict) and "AWS" in principal:
                named = principal["AWS"]
                principal["AWS"] = (
                    [_as_arn(name, partition) for name in named]
                    if isinstance(named, list)
                    else _as_arn(named, partition)
                )
        condition = statement.get("Condition")
        if isinstance(condition, dict):
            statement["Condition"] = {op: dict(sorted(keys.items())) for op, keys in condition.items()}
    return document


def _as_arn(name: str, partition: str) -> str:
    return f"arn:{partition}:iam::{name}:root" if _ACCOUNT.fullmatch(name) else name
