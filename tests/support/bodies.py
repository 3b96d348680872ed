"""Kubernetes objects as the API server stores them, and the names that tests use in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trustbind.api.namespace_policy import OPERATIONS, RESOURCES, VALIDATION, VARIABLES
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer

__all__ = [
    "ACCOUNT",
    "ISSUER",
    "OPS",
    "OTHER_ROLE",
    "ROLE",
    "account_body",
    "binding_body",
    "grant_body",
    "policy_objects",
    "set_body",
]

ACCOUNT: Final = "444455556666"
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/app")
OTHER_ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/other")
ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
OPS: Final = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}

_API_VERSION: Final = "trustbind.dev/v1alpha1"
_CREATED: Final = "2026-01-01T00:00:00Z"


def binding_body(
    name: str = "b",
    namespace: str = "team-a",
    *,
    created: str = _CREATED,
    status: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a RoleBinding as the API server has it."""
    body = {
        "apiVersion": _API_VERSION,
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": created,
            **(metadata or {}),
        },
        "spec": {"roleArn": str(ROLE), **spec},
    }
    if "serviceAccountNames" not in spec and "serviceAccountSelector" not in spec:
        body["spec"]["serviceAccountNames"] = ["app"]  # type: ignore[index] # the dictionary above
    if status is not None:
        body["status"] = dict(status)
    return body


def account_body(
    name: str = "prod", account_id: str = ACCOUNT, *, metadata: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return an AWSAccount as the API server has it."""
    return {
        "apiVersion": _API_VERSION,
        "kind": "AWSAccount",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": _CREATED,
            **(metadata or {}),
        },
        "spec": {"accountId": account_id, "managerRoleArn": f"arn:aws:iam::{account_id}:role/manager", **spec},
    }


def grant_body(name: str = "all", version: str = "1", **spec: Any) -> dict[str, Any]:
    """Return a RoleGrant as the API server has it: by default over everything, and for the audiences of the tests."""
    spec = {
        "namespaces": {"selector": {}},
        "roleArns": ["arn:aws:iam::*:role/*"],
        "audiences": ["sts.amazonaws.com", "granted", "new", "one", "other", "other.example.com", "three", "two"],
        "allowRetain": True,
    } | spec
    return {
        "apiVersion": _API_VERSION,
        "kind": "RoleGrant",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version},
        "spec": spec,
    }


def set_body(
    name: str = "profiles",
    *,
    uid: str = "",
    metadata: Mapping[str, Any] | None = None,
    pattern: str = "",
    on_stray: str = "Keep",
    **template: Any,
) -> dict[str, Any]:
    """Return a RoleBindingSet as the API server has it, over namespaces with ``profile: "true"``.

    Args:
        name: of the set.
        uid: of the set.
        metadata: further fields of it.
        pattern: over namespaces, with subjects Pattern; empty: subjects Exact.
        on_stray: with a pattern.
        template: further fields of it.
    """
    by_pattern = {"subjects": "Pattern", "namespacePattern": pattern, "onStray": on_stray} if pattern else {}
    return {
        "apiVersion": _API_VERSION,
        "kind": "RoleBindingSet",
        "metadata": {
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": _CREATED,
            **(metadata or {}),
        },
        "spec": {
            "namespaceSelector": {"matchLabels": {"profile": "true"}},
            "serviceAccountNames": ["default-editor"],
            "template": {"roleArn": str(ROLE), **template},
            **by_pattern,
        },
    }


def policy_objects(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ValidatingAdmissionPolicy that patterns need, and its binding, as the API server has them."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": list(OPERATIONS),
        "resources": list(RESOURCES),
        "scope": "Cluster",
    }
    policy = {
        "failurePolicy": "Fail",
        "paramKind": {"apiVersion": _API_VERSION, "kind": "RoleBindingSet"},
        "matchConstraints": {
            "resourceRules": [rule],
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
        },
        "variables": [{"name": name, "expression": expression} for name, expression in VARIABLES.items()],
        "validations": [{"expression": VALIDATION, "reason": "Forbidden"}],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
    }
    return {"metadata": {"name": name}, "spec": policy}, {"metadata": {"name": name}, "spec": binding}
