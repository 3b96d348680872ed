"""Whether a role's own policies let it assume another role."""

from __future__ import annotations

from typing import Any

import pytest

from support.trust import ROLE, SOURCE
from trustbind.evaluation.three_valued import Truth
from trustbind.policy.role_permissions import RolePermissions, may_assume
from trustbind.policy.source_policy import source_policy


def policy(effect: str = "Allow", **members: Any) -> dict[str, Any]:
    """Return a policy of one statement."""
    statement = {"Effect": effect, "Action": "sts:AssumeRole", "Resource": str(ROLE)} | members
    return {"Version": "2012-10-17", "Statement": [{k: v for k, v in statement.items() if v is not None}]}


CONDITION = {"StringEquals": {"aws:PrincipalTag/team": "a"}}


@pytest.mark.parametrize(
    ("permissions", "truth"),
    [
        (RolePermissions({"a": policy()}), Truth.YES),
        (RolePermissions({"a": policy(Action="sts:*", Resource="arn:aws:iam::*:role/*")}), Truth.YES),
        (RolePermissions({"a": policy(Action=None, NotAction="iam:*", Resource=None, NotResource="x")}), Truth.YES),
        (RolePermissions({"a": policy(Resource=None, NotResource=str(ROLE))}), Truth.NO),
        (RolePermissions({"a": policy(Resource=str(SOURCE))}), Truth.NO),
        (RolePermissions({"a": policy(Action="sts:TagSession")}), Truth.NO),
        (RolePermissions({"a": policy(Condition=CONDITION)}), Truth.DEPENDS),
        (RolePermissions({"a": policy(Resource="arn:aws:iam::${aws:PrincipalAccount}:role/app")}), Truth.DEPENDS),
        (RolePermissions({"a": policy(), "d": policy("Deny")}), Truth.NO),
        (RolePermissions({"a": policy(), "d": policy("Deny", Condition=CONDITION)}), Truth.DEPENDS),
        (RolePermissions({}), Truth.NO),
        (RolePermissions({}, missing=("arn:aws:iam::aws:policy/AdministratorAccess",)), Truth.DEPENDS),
        (RolePermissions({"a": policy()}, missing=("m",)), Truth.DEPENDS),
        (RolePermissions({"d": policy("Deny")}, missing=("m",)), Truth.NO),
        (RolePermissions({"a": policy()}, has_boundary=True), Truth.DEPENDS),
        (RolePermissions({"a": policy()}, has_boundary=True, boundary=policy(Action="s3:*")), Truth.NO),
        (RolePermissions({"a": policy()}, has_boundary=True, boundary=policy(Action="*", Resource="*")), Truth.YES),
        (RolePermissions({"a": {"Statement": "nothing"}}), Truth.NO),
        (RolePermissions({"a": source_policy([ROLE]) or {}}), Truth.YES),
        (None, Truth.DEPENDS),
    ],
)
def test_may_assume(permissions: RolePermissions | None, truth: Truth) -> None:
    """Allow and Deny as in IAM; what is not known makes the answer depend on it, and is named."""
    found = may_assume(SOURCE, permissions, ROLE)

    assert found.truth is truth, found.message
    assert bool(found.message) is (truth is not Truth.YES)
