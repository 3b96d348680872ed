"""The inline policy on a source role that allows it to assume target roles.

One for each cluster, with all targets in it. Its name derives from the issuer, so that clusters keep apart. EKS Pod
Identity tags the session in the target role, so that its source roles need ``sts:TagSession`` there, too (EKS User
Guide, "Access AWS Resources using EKS Pod Identity Target IAM Roles").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import PREFIX, owner_prefix
from trustbind.policy.trust_document import VERSION

__all__ = ["TaggedTarget", "Target", "policy_name", "source_policy", "targets_of"]

_ACTION: Final = "sts:AssumeRole"
_TAGGED: Final = ("sts:AssumeRole", "sts:TagSession")
_MARK: Final = "sts:TagSession "


@dataclass(frozen=True, slots=True, order=True)
class TaggedTarget:
    """A target role that the source role may also give session tags."""

    role: RoleArn

    def __str__(self) -> str:
        return f"{_MARK}{self.role}"


Target = RoleArn | TaggedTarget
"""What a source role is allowed to assume; as a text it is the ARN, with a mark before it where tags are allowed."""


def policy_name(issuer: Issuer) -> str:
    """Return the name of the cluster's inline policy, such as ``trustbind-0123456789abcdef``."""
    return f"trustbind-{owner_prefix(issuer).removeprefix(PREFIX)}"


def source_policy(targets: Iterable[Target | str]) -> dict[str, Any] | None:
    """Return the policy that allows exactly these targets; None for none, since IAM takes no empty policy."""
    listed = sorted({str(target) for target in targets})
    plain = [target for target in listed if not target.startswith(_MARK)]
    tagged = [target.removeprefix(_MARK) for target in listed if target.startswith(_MARK)]
    statements: list[dict[str, Any]] = []
    if plain:
        statements.append({"Effect": "Allow", "Action": _ACTION, "Resource": plain})
    if tagged:
        statements.append({"Effect": "Allow", "Action": list(_TAGGED), "Resource": tagged})
    return {"Version": VERSION, "Statement": statements} if statements else None


def targets_of(policy: Mapping[str, Any] | None) -> frozenset[str] | None:
    """Return the targets that a policy of ours allows; None when it is not one that `source_policy` would make.

    Somebody may have edited it; then it is written anew.
    """
    if policy is None:
        return frozenset()
    statements = policy.get("Statement")
    if not isinstance(statements, list) or not statements:
        return None
    found: set[str] = set()
    for statement in statements:
        listed = _listed(statement) if isinstance(statement, Mapping) else None
        if listed is None:
            return None
        found |= listed
    return frozenset(found)


def _listed(statement: Mapping[str, Any]) -> set[str] | None:
    """Return the targets of one statement; None for one that `source_policy` would not make."""
    resources, actions = statement.get("Resource"), statement.get("Action")
    listed = [resources] if isinstance(resources, str) else resources
    is_tagged = isinstance(actions, list) and len(actions) == len(_TAGGED) and set(map(str, actions)) == set(_TAGGED)
    if (
        statement.keys() - {"Effect", "Action", "Resource", "Sid"}
        or statement.get("Effect") != "Allow"
        or not (is_tagged or actions in (_ACTION, [_ACTION]))
        or not isinstance(listed, list)
        or not all(isinstance(r, str) for r in listed)
    ):
        return None
    return {f"{_MARK}{r}" if is_tagged else r for r in listed}
