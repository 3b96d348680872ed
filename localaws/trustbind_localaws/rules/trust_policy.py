"""What IAM accepts as a role's trust policy, and the form in which it gives it back. Pure.

Sources: IAM API reference, CreateRole and UpdateAssumeRolePolicy; IAM User Guide, "IAM JSON policy elements
reference" and "AWS JSON policy elements: Principal"; IAM User Guide, "IAM and AWS STS quotas". Codes are AWS's;
messages are AWS's where they are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from trustbind.policy.condition_operators import OperatorName, UnknownOperatorError
from trustbind.policy.trust_document import document_size
from trustbind_localaws.protocol.query import AwsFailure

__all__ = ["PrincipalExists", "check", "replace_principal", "statements_of", "trusts_service"]

PrincipalExists = Callable[[str], bool]
"""Tells whether the role or user with this ARN exists."""

_VERSIONS: Final = ("2008-10-17", "2012-10-17")
_TOP: Final = frozenset({"Version", "Id", "Statement"})
_ELEMENTS: Final = frozenset({"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"})
_KINDS: Final = frozenset({"AWS", "Federated", "Service"})
_HOSTS: Final = frozenset(
    {"accounts.google.com", "cognito-identity.amazonaws.com", "graph.facebook.com", "www.amazon.com"}
)
"""Identity providers built into IAM (IAM User Guide, "AWS JSON policy elements: Principal")."""

_SID = re.compile(r"[A-Za-z0-9]*", re.ASCII)
_STS_ACTION = re.compile(r"sts:[A-Za-z*?]+", re.ASCII | re.IGNORECASE)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_ROOT = re.compile(r"arn:aws[a-z0-9-]*:iam::[0-9]{12}:root", re.ASCII)
_ENTITY = re.compile(r"arn:aws[a-z0-9-]*:iam::[0-9]{12}:(?:role|user)/[!-)+-~]+", re.ASCII)
_SESSION = re.compile(
    r"arn:(aws[a-z0-9-]*):sts::([0-9]{12}):(?:assumed-role/([\w+=,.@-]{1,64})/[\w+=,.@-]{2,64}|federated-user/[\w+=,.@-]+)",
    re.ASCII,
)
_PROVIDER = re.compile(
    r"arn:aws[a-z0-9-]*:iam::[0-9]{12}:(?:oidc-provider/[A-Za-z0-9][^\s*?]*|saml-provider/[\w.-]+)", re.ASCII
)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:amazonaws\.com(?:\.cn)?|amazon\.com|aws\.internal)", re.ASCII)


def check(text: str, *, quota: int, partition: str, exists: PrincipalExists) -> str:
    """Return the document as IAM stores it: without white space, account ids as root ARNs, condition keys sorted.

    IAM gives documents back changed in form but not in meaning: among others the order of condition keys changes
    (aws-controllers-k8s/community issue 2142). Which order IAM takes is not documented; sorting stands for it.

    Args:
        text: JSON, as sent.
        quota: characters allowed, white space apart.
        partition: of the role, such as ``aws``.
        exists: tells whether a role or user exists.

    Raises:
        AwsFailure: IAM would refuse it.
    """
    document = _parsed(text)
    if set(document) - _TOP:
        raise _malformed("Syntax errors in policy.")
    if "Version" in document and document["Version"] not in _VERSIONS:
        raise _malformed("The policy must contain a valid version string")
    statements = statements_of(document)
    if not statements:
        raise _malformed("Could not parse the policy: Statement is empty!")
    sids: set[str] = set()
    for statement in statements:
        _check_statement(statement, sids, partition, exists)
    size = document_size(document)
    if size > quota:
        raise AwsFailure("LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {quota}")
    return json.dumps(_as_stored(document, partition), separators=(",", ":"), ensure_ascii=False)


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


def _check_statement(statement: Mapping[str, Any], sids: set[str], partition: str, exists: PrincipalExists) -> None:
    for prohibited in ("Resource", "NotResource"):
        if prohibited in statement:
            raise _malformed(f"Has prohibited field {prohibited}")
    if set(statement) - _ELEMENTS:
        raise _malformed("Syntax errors in policy.")
    sid = statement.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise _malformed("Statement IDs (SIDs) can contain only the characters [A-Z], [a-z] and [0-9].")
    if sid and sid in sids:
        raise _malformed("Statement IDs (SID) in a single policy must be unique.")
    sids.add(sid)
    if "Effect" not in statement:
        raise _malformed("Missing required field Effect")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise _malformed(f"Invalid effect: {statement['Effect']}")
    _check_actions(statement)
    _check_principals(statement, partition, exists)
    _check_conditions(statement.get("Condition", {}))


def _check_actions(statement: Mapping[str, Any]) -> None:
    names = [name for name in ("Action", "NotAction") if name in statement]
    if not names:
        raise _malformed("Missing required field Action")
    if len(names) > 1:
        raise _malformed("Syntax errors in policy.")
    actions = _texts(statement[names[0]])
    if not actions:
        raise _malformed(f"Missing required field {names[0]} cannot be empty!")
    if not all(_STS_ACTION.fullmatch(action) for action in actions):
        raise _malformed("AssumeRole policy may only specify STS AssumeRole actions.")


def _check_principals(statement: Mapping[str, Any], partition: str, exists: PrincipalExists) -> None:
    names = [name for name in ("Principal", "NotPrincipal") if name in statement]
    if not names:
        raise _malformed("Missing required field Principal")
    if len(names) > 1:
        raise _malformed("Syntax errors in policy.")
    principal = statement[names[0]]
    if principal == "*":
        raise _malformed('AssumeRolepolicy contained an invalid principal: "STAR":"*".')
    if not isinstance(principal, Mapping):
        raise _malformed("Syntax errors in policy.")
    if not principal:
        raise _malformed("Missing required field Principal cannot be empty!")
    for kind, value in principal.items():
        entries = _texts(value)
        if not entries:
            raise _malformed("Missing required field Principal cannot be empty!")
        for entry in entries:
            if kind not in _KINDS or not _is_principal(kind, entry, partition, exists):
                raise _malformed(f'Invalid principal in policy: "{kind.upper()}":"{entry}"')


def _is_principal(kind: str, text: str, partition: str, exists: PrincipalExists) -> bool:
    if kind == "Federated":
        return text in _HOSTS or _PROVIDER.fullmatch(text) is not None
    if kind == "Service":
        return _SERVICE.fullmatch(text) is not None
    if text == "*" or _ACCOUNT.fullmatch(text):
        return True
    if not text.startswith(f"arn:{partition}:"):  # also the unique ids of deleted principals
        return False
    if _ROOT.fullmatch(text):
        return True
    if match := _SESSION.fullmatch(text):
        return match[3] is None or exists(text)
    return _ENTITY.fullmatch(text) is not None and exists(text)


def _check_conditions(condition: Any) -> None:
    if not isinstance(condition, Mapping):
        raise _malformed("Syntax errors in policy.")
    for operator, keys in condition.items():
        try:
            OperatorName.parse(operator)
        except UnknownOperatorError:
            raise _malformed(f"Invalid Condition type : {operator}.") from None
        if not isinstance(keys, Mapping):
            raise _malformed("Syntax errors in policy.")
        for values in keys.values():
            listed = values if isinstance(values, list) else [values]
            if not all(isinstance(value, str | bool | int | float) for value in listed):
                raise _malformed("Syntax errors in policy.")


def _texts(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in listed):
        raise _malformed("Syntax errors in policy.")
    return listed


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
