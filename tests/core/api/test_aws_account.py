"""AWSAccount objects as values; what is refused stands in data/manifests/awsaccount.json (see test_bindings)."""

from __future__ import annotations

import pytest

from trustbind.api.aws_account import AwsAccount, DriftPolicy, EksCluster
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn


def test_full() -> None:
    """Everything that an account can say is read."""
    account = AwsAccount.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "AWSAccount",
            "metadata": {"name": "prod", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "accountId": "000000000001",
                "managerRoleArn": "arn:aws:iam::000000000001:role/trustbind/manager",
                "externalId": "ab",
                "oidcProvider": {"manage": False},
                "trustPolicyLimit": 4096,
                "driftPolicy": "Observe",
                "requireRoleConsent": True,
                "rolePathPrefix": "/team-a/apps/",
                "eks": {"clusterName": "blue_1", "region": "us-gov-east-1"},
            },
            "status": {"conditions": []},
        }
    )

    assert account == AwsAccount(
        name="prod",
        account_id="000000000001",
        manager_role=RoleArn("aws", "000000000001", "/trustbind/", "manager"),
        external_id="ab",
        manage_provider=False,
        trust_policy_limit=4096,
        drift_policy=DriftPolicy.OBSERVE,
        require_role_consent=True,
        role_path_prefix="/team-a/apps/",
        eks=EksCluster("blue_1", "us-gov-east-1"),
        generation=2,
        created="2026-01-01T00:00:00Z",
    )


def test_least() -> None:
    """An account that says no more than its id is reached with the operator's own identity, and repaired."""
    account = AwsAccount.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "AWSAccount",
            "metadata": {"name": "prod"},
            "spec": {"accountId": "444455556666", "oidcProvider": {}},
        }
    )

    assert account == AwsAccount("prod", "444455556666")
    assert (account.manage_provider, account.drift_policy) == (True, DriftPolicy.REPAIR)
    assert account.role_path_prefix == "/"
    assert (account.manager_role, account.trust_policy_limit, account.require_role_consent) == (None, None, False)


@pytest.mark.parametrize("prefix", ["/", "/a/", "/team-a/", f"/{'x' * 510}/"])
def test_path_of_roles(prefix: str) -> None:
    """As IAM has it: it begins and ends with a slash, and has at most 512 characters."""
    assert parsed(prefix).role_path_prefix == prefix


@pytest.mark.parametrize("prefix", ["", "a", "/a", "a/", "/a b/", "/ä/", f"/{'x' * 511}/"])
def test_no_path_of_roles(prefix: str) -> None:
    """Everything else is refused with the field."""
    with pytest.raises(InvalidValueError) as caught:
        parsed(prefix)
    assert caught.value.field == "spec.rolePathPrefix"


def parsed(prefix: str) -> AwsAccount:
    """Return an account whose roles are listed below a path."""
    return AwsAccount.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "AWSAccount",
            "metadata": {"name": "prod"},
            "spec": {"accountId": "444455556666", "rolePathPrefix": prefix},
        }
    )


def test_arn_of_a_cluster() -> None:
    """As policies name it."""
    arn = EksCluster("blue", "cn-north-1").arn("aws-cn", "444455556666")
    assert arn == "arn:aws-cn:eks:cn-north-1:444455556666:cluster/blue"
