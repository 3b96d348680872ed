"""What a session's identity policies let it do in IAM."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]
PROVIDER = f"arn:aws:iam::{A}:oidc-provider/issuer.example"


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.fixture
def as_manager(client: Client, make_role: Any, session_of: Any) -> Callable[..., Any]:
    """Return IAM as a session of a role with these identity policies, beside a role to act on."""
    make_role(A, "target", Path="/app/")

    def give(*statements: dict[str, Any]) -> Any:
        arn = make_role(A, "manager", allow=_policy(*statements) if statements else "")
        return client("iam", session_of(arn, "operator"))

    return give


def test_session_without_a_policy_may_nothing(as_manager: Any, refused: Any) -> None:
    """AccessDenied in AWS's words: who, which action, which resource, and why."""
    with refused(
        "AccessDenied",
        f"User: arn:aws:sts::{A}:assumed-role/manager/operator is not authorized to perform: "
        "iam:UpdateAssumeRolePolicy on resource: role target because no identity-based policy allows the "
        "iam:UpdateAssumeRolePolicy action",
        403,
    ):
        as_manager().update_assume_role_policy(RoleName="target", PolicyDocument="{}")


ROLE = f"arn:aws:iam::{A}:role/app/target"


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([_allow("iam:GetRole", ROLE)], True),
        ([_allow(["iam:List*", "IAM:getrole"], [f"arn:aws:iam::{A}:role/app/*"])], True),
        ([_allow("*")], True),
        ([_allow("iam:GetRole", f"arn:aws:iam::{A}:role/target")], False),
        ([_allow("iam:GetRole", f"arn:aws:iam::{B}:role/*")], False),
        ([_allow("iam:GetRolePolicy")], False),
        ([{"Effect": "Allow", "NotAction": "iam:Delete*", "Resource": "*"}], True),
        ([{"Effect": "Allow", "NotAction": "iam:Get*", "Resource": "*"}], False),
        ([{"Effect": "Allow", "Action": "iam:*", "NotResource": ROLE}], False),
        ([_allow("iam:*"), {"Effect": "Deny", "Action": "iam:GetRole", "Resource": ROLE}], False),
        ([_allow("iam:*", Condition={"Bool": {"aws:SecureTransport": "true"}})], False),
    ],
)
def test_action_and_resource_decide(as_manager: Any, refused: Any, statements: Any, allowed: bool) -> None:
    """Globs in action and resource, an explicit deny wins, a statement with a condition does not match."""
    manager = as_manager(*statements)
    if allowed:
        assert manager.get_role(RoleName="target")["Role"]["Arn"] == ROLE
    else:
        with refused("AccessDenied", "iam:GetRole on resource: role target", 403):
            manager.get_role(RoleName="target")


def test_explicit_deny_is_named(as_manager: Any, refused: Any) -> None:
    """The message of an explicit deny says so."""
    manager = as_manager(_allow("iam:*"), {"Effect": "Deny", "Action": "iam:Get*", "Resource": "*"})
    with refused("AccessDenied", "with an explicit deny in an identity-based policy"):
        manager.get_role(RoleName="target")


def test_permission_comes_before_existence(as_manager: Any, refused: Any) -> None:
    """Who may not read a role does not learn whether it is there; who may, does."""
    with refused("AccessDenied"):
        as_manager().get_role(RoleName="nobody")


def test_missing_role_is_told_to_the_entitled(as_manager: Any, refused: Any) -> None:
    """NoSuchEntity where the name would be allowed."""
    with refused("NoSuchEntity"):
        as_manager(_allow("iam:GetRole", f"arn:aws:iam::{A}:role/*")).get_role(RoleName="nobody")


def test_providers_are_resources(as_manager: Any, refused: Any) -> None:
    """Operations on OIDC providers are judged by the provider's ARN, also its creation."""
    manager = as_manager(_allow("iam:*OpenIDConnectProvider*", PROVIDER))
    manager.create_open_id_connect_provider(Url="https://issuer.example")
    manager.get_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)
    with refused("AccessDenied", "oidc-provider/other.example"):
        manager.create_open_id_connect_provider(Url="https://other.example")


def test_managed_policies_count(client: Client, as_manager: Any) -> None:
    """An attached customer managed policy grants what it says."""
    manager = as_manager()
    arn = client("iam", A).create_policy(PolicyName="read", PolicyDocument=json.dumps(_policy(_allow("iam:GetRole"))))[
        "Policy"
    ]["Arn"]
    client("iam", A).attach_role_policy(RoleName="manager", PolicyArn=arn)
    manager.get_role(RoleName="target")


def test_session_sees_only_its_own_account(client: Client, make_role: Any, session_of: Any, refused: Any) -> None:
    """A role name is looked up in the session's account, whatever the policy says of others."""
    make_role(B, "elsewhere")
    session = client("iam", session_of(make_role(A, "manager", allow="iam:*")))
    with refused("NoSuchEntity"):
        session.get_role(RoleName="elsewhere")


def test_users_have_policies_too(client: Client, refused: Any) -> None:
    """A user's key may do what the user's policies allow."""
    root = client("iam", A)
    root.create_user(UserName="ann")
    user = client("iam", root.create_access_key(UserName="ann")["AccessKey"])
    with refused("AccessDenied", f"User: arn:aws:iam::{A}:user/ann is not authorized"):
        user.list_roles()
    root.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=json.dumps(_policy(_allow("iam:ListRoles"))))
    assert user.list_roles()["Roles"] == []
