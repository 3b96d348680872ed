"""The inline policy on a source role that allows it to assume target roles (method AssumeRole).

One for each cluster, with all targets in it. Its name derives from the issuer, so that clusters keep apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import PREFIX, owner_prefix
from trustbind.policy.trust_document import VERSION

__all__ = ["policy_name", "source_policy", "targets_of"]

_ACTION: Final = "sts:AssumeRole"


def policy_name(issuer: Issuer) -> str:
    """Return the name of the cluster's inline policy, such as ``trustbind-0123456789abcdef``."""
    return f"trustbind-{owner_prefix(issuer).removeprefix(PREFIX)}"


def source_policy(targets: Iterable[RoleArn | str]) -> dict[str, Any] | None:
    """Return the policy that allows exactly these targets; None for none, since IAM takes no empty policy."""
    listed = sorted({str(target) for target in targets})
    if not listed:
        return None
    return {"Version": VERSION, "Statement": [{"Effect": "Allow", "Action": _ACTION, "Resource": listed}]}


def targets_of(policy: Mapping[str, Any] | None) -> frozenset[str] | None:
    """Return the targets that a policy of ours allows; None when it is not one that `source_policy` would make.

    Somebody may have edited it; then it is written anew.
    """
    if policy is None:
        return frozenset()
    statements = policy.get("Statement")
    if not isinstance(statements, list) or len(statements) != 1 or not isinstance(statements[0], Mapping):
        return None
    statement = statements[0]
    resources = statement.get("Resource")
    listed = [resources] if isinstance(resources, str) else resources
    if (
        statement.keys() - {"Effect", "Action", "Resource", "Sid"}
        or statement.get("Effect") != "Allow"
        or statement.get("Action") not in (_ACTION, [_ACTION])
        or not isinstance(listed, list)
        or not all(isinstance(r, str) for r in listed)
    ):
        return None
    return frozenset(listed)
