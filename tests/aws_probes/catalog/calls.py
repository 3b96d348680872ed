"""Calls that many probes make, and the names in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aws_probes.lab import PATH, PREFIX
from aws_probes.model import Call

__all__ = [
    "ACCOUNT_ROOT",
    "DENIED",
    "allow",
    "assume",
    "create_role",
    "document",
    "get_role",
    "name_of",
    "permit_assume_role",
    "role_arn",
    "update_trust",
]

ACCOUNT_ROOT: Final = "arn:aws:iam::@{account}:root"

DENIED: Final = "AccessDenied"


def name_of(short: str) -> str:
    """Return the name of something of the run."""
    return f"{PREFIX}-@{{run}}-{short}"


def role_arn(short: str, path: str = PATH) -> str:
    """Return the ARN of a role of the run."""
    return f"arn:aws:iam::@{{account}}:role{path}{name_of(short)}"


def document(*statements: Mapping[str, Any], version: str = "2012-10-17") -> dict[str, Any]:
    """Return a policy."""
    return {"Version": version, "Statement": list(statements)}


def allow(
    principal: Mapping[str, Any], action: str | list[str] = "sts:AssumeRole", **condition: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a statement that allows; conditions by operator, with ``_`` for ``:``."""
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": dict(principal), "Action": action}
    if condition:
        statement["Condition"] = {operator.replace("_", ":"): dict(keys) for operator, keys in condition.items()}
    return statement


def create_role(short: str, policy: Any, *, label: str = "", path: str = PATH, **settings: Any) -> Call:
    """Return a call that creates a role of the run; ``settings`` are further parameters, or members of `Call`."""
    return Call(
        label or f"create {short}",
        "iam:CreateRole",
        {"RoleName": name_of(short), "Path": path, "AssumeRolePolicyDocument": policy, **settings.pop("more", {})},
        settles=settings.pop("settles", True),
        **settings,
    )


def update_trust(short: str, policy: Any, label: str, **members: Any) -> Call:
    """Return a call that replaces a role's trust policy."""
    parameters = {"RoleName": name_of(short), "PolicyDocument": policy}
    return Call(label, "iam:UpdateAssumeRolePolicy", parameters, **members)


def get_role(short: str, label: str, shows: Mapping[str, Any], **members: Any) -> Call:
    """Return a call that reads a role."""
    return Call(label, "iam:GetRole", {"RoleName": name_of(short)}, shows=shows, **members)


def permit_assume_role(short: str) -> Call:
    """Return a call that lets a role assume every role of the run."""
    policy = document({"Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": role_arn("*")})
    parameters = {"RoleName": name_of(short), "PolicyName": "assume", "PolicyDocument": policy}
    return Call(f"permit {short}", "iam:PutRolePolicy", parameters)


def assume(short: str, label: str, *, session: str = "probe", **members: Any) -> Call:
    """Return a call of AssumeRole for a role of the run."""
    more = members.pop("more", {})
    parameters = {"RoleArn": members.pop("arn", role_arn(short)), "RoleSessionName": session, **more}
    return Call(label, "sts:AssumeRole", parameters, **members)
