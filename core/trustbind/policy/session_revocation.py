"""The inline policy that ends the sessions of a role: it denies everything to credentials that are older than a moment.

AWS's console writes the same policy under the same name (IAM User Guide, "Revoke IAM role temporary security
credentials"). It stays harmless afterwards, since later sessions are newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from trustbind.policy.trust_document import VERSION

__all__ = ["POLICY_NAME", "revocation_policy", "revoked_before"]

POLICY_NAME: Final = "AWSRevokeOlderSessions"

_KEY: Final = "aws:TokenIssueTime"
_OPERATOR: Final = "DateLessThan"


def revocation_policy(moment: datetime) -> dict[str, Any]:
    """Return the policy that denies everything to sessions that began before ``moment``, to the millisecond."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    statement = {"Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": {_OPERATOR: {_KEY: text}}}
    return {"Version": VERSION, "Statement": [statement]}


def revoked_before(policy: Mapping[str, Any]) -> datetime | None:
    """Return the moment of such a policy; None for one that says anything else."""
    statements = policy.get("Statement")
    listed = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], Mapping):
        return None
    (statement,) = listed
    condition = statement.get("Condition")
    block = condition.get(_OPERATOR) if isinstance(condition, Mapping) and len(condition) == 1 else None
    text = block.get(_KEY) if isinstance(block, Mapping) and len(block) == 1 else None
    is_all = all(statement.get(element) in ("*", ["*"]) for element in ("Action", "Resource"))
    if statement.get("Effect") != "Deny" or not is_all or statement.keys() - {*_ELEMENTS, "Sid"}:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_ELEMENTS: Final = frozenset({"Effect", "Action", "Resource", "Condition"})
