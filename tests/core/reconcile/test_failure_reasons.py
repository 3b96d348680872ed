"""What AWS's refusals mean: one reason each, and a sentence that says what to do."""

from __future__ import annotations

import pytest

from support.bodies import ACCOUNT, ROLE
from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.errors import (
    AWS_CODES,
    AccessDeniedError,
    AwsError,
    NotFoundError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.reasons import TrustReason
from trustbind.reconcile.failure_reasons import account_failure, association_failure, role_failure


@pytest.mark.parametrize(
    ("kind", "reason", "remedy"),
    [
        (NotFoundError, TrustReason.ROLE_NOT_FOUND, "create it, or bind another one"),
        (AccessDeniedError, TrustReason.ACCESS_DENIED, "allow iam:GetRole and iam:UpdateAssumeRolePolicy on "),
        (ThrottledError, TrustReason.THROTTLED, "trustbind retries automatically"),
        (PolicyRejectedError, TrustReason.POLICY_REJECTED, "IAM refused the new trust policy"),
        (UnreachableError, TrustReason.ACCOUNT_UNREACHABLE, "trustbind retries automatically"),
        (AwsError, TrustReason.AWS_FAILED, "trustbind retries automatically"),
    ],
)
def test_role(kind: type[AwsError], reason: TrustReason, remedy: str) -> None:
    """Every class of error has its reason; the sentence names the role or the call, and the remedy."""
    found, message = role_failure(ROLE, kind("what AWS said", code="Code", operation=f"iam:GetRole on {ROLE}"))

    assert found is reason
    assert remedy in message
    assert str(ROLE) in message
    assert "\n" not in message
    assert kind is NotFoundError or "what AWS said" in message


@pytest.mark.parametrize(
    ("kind", "call", "said"),
    [
        (AccessDeniedError, "Get", "iam:PutRolePolicy and iam:DeleteRolePolicy on "),
        (AccessDeniedError, "Put", "set spec.source.managePermission: false"),
        (PolicyRejectedError, "Put", "IAM refused the inline policy of "),
    ],
)
def test_source_role(kind: type[AwsError], call: str, said: str) -> None:
    """A failure about the inline policy of a chain's source role names that policy's permissions."""
    _, message = role_failure(ROLE, kind("what AWS said", code="Code", operation=f"iam:{call}RolePolicy on {ROLE}"))

    assert said in message
    assert str(ROLE) in message
    assert "what AWS said" in message
    assert "iam:UpdateAssumeRolePolicy" not in message


@pytest.mark.parametrize(
    ("kind", "operation", "reason", "remedy"),
    [
        (AccessDeniedError, "sts:AssumeRole on x", TrustReason.ACCOUNT_DENIED, "trust policy, spec.externalId"),
        (AccessDeniedError, "sts:GetCallerIdentity", TrustReason.ACCOUNT_DENIED, "permission to assume"),
        (
            AccessDeniedError,
            "iam:CreateOpenIDConnectProvider for x",
            TrustReason.ACCESS_DENIED,
            "allow iam:CreateOpenIDConnectProvider to the account's manager role",
        ),
        (NotFoundError, "iam:GetOpenIDConnectProvider", TrustReason.PROVIDER_MISSING, "what AWS said"),
        (ThrottledError, "sts:AssumeRole on x", TrustReason.THROTTLED, "trustbind retries automatically"),
        (UnreachableError, "sts:AssumeRole on x", TrustReason.ACCOUNT_UNREACHABLE, "trustbind retries automatically"),
        (
            PolicyRejectedError,
            "iam:CreateOpenIDConnectProvider",
            TrustReason.AWS_FAILED,
            "trustbind retries automatically",
        ),
        (AwsError, "iam:GetAccountSummary", TrustReason.AWS_FAILED, "trustbind retries automatically"),
    ],
)
def test_account(kind: type[AwsError], operation: str, reason: TrustReason, remedy: str) -> None:
    """Getting in, and the OIDC provider."""
    found, message = account_failure(kind("what AWS said", code="Code", operation=operation))

    assert found is reason
    assert remedy in message
    assert "what AWS said" in message


def test_quota_of_providers() -> None:
    """That does not pass by itself."""
    error = PolicyRejectedError(
        "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100",
        code="LimitExceeded",
        operation=f"iam:CreateOpenIDConnectProvider for {ROLE}",
    )

    reason, message = account_failure(error)

    assert reason is TrustReason.AWS_FAILED
    assert "OpenIdConnectProvidersPerAccount: 100" in message
    assert message.endswith("remove what the account does not need, or raise that quota")


@pytest.mark.parametrize("code", sorted(AWS_CODES))
def test_every_code_has_a_reason_of_its_own_kind(code: str) -> None:
    """No code that is known falls through to the last resort."""
    error = AWS_CODES[code]("said", code=code, operation="iam:UpdateAssumeRolePolicy")

    reason, message = role_failure(ROLE, error)

    assert reason is not TrustReason.AWS_FAILED
    assert message


@pytest.mark.parametrize(
    ("kind", "code", "operation", "reason", "remedy"),
    [
        (
            NotFoundError,
            "ResourceNotFoundException",
            "eks:ListPodIdentityAssociations of cluster blue",
            TrustReason.CLUSTER_NOT_FOUND,
            f"no EKS cluster blue in eu-central-1 of account {ACCOUNT}; correct spec.eks of AWSAccount prod",
        ),
        (
            AccessDeniedError,
            "AccessDeniedException",
            "eks:CreatePodIdentityAssociation for team-a/app",
            TrustReason.ACCESS_DENIED,
            f"manager-role-eks-policy.json: eks:CreatePodIdentityAssociation, and to associate {ROLE} also iam:GetRole",
        ),
        (
            NotFoundError,
            "ResourceNotFoundException",
            "eks:CreatePodIdentityAssociation for team-a/app in cluster blue",
            TrustReason.CLUSTER_NOT_FOUND,
            "no EKS cluster blue",
        ),
        (
            NotFoundError,
            "ResourceNotFoundException",
            "eks:UpdatePodIdentityAssociation on a",
            TrustReason.AWS_FAILED,
            "eks:UpdatePodIdentityAssociation on a: said",
        ),
        (
            NotFoundError,
            "NotFoundException",
            "eks:TagResource on a",
            TrustReason.AWS_FAILED,
            "trustbind retries automatically",
        ),
        (AccessDeniedError, "AccessDenied", "sts:AssumeRole on x", TrustReason.ACCOUNT_DENIED, "spec.externalId"),
        (AwsError, "ResourceLimitExceededException", "eks:x", TrustReason.AWS_FAILED, "raise that quota"),
        (AwsError, "InvalidParameterException", "eks:x", TrustReason.AWS_FAILED, "trustbind retries automatically"),
        (ThrottledError, "ThrottlingException", "eks:x", TrustReason.THROTTLED, "trustbind retries automatically"),
        (UnreachableError, "", "eks:x", TrustReason.ACCOUNT_UNREACHABLE, "trustbind retries automatically"),
    ],
)
def test_associations(kind: type[AwsError], code: str, operation: str, reason: TrustReason, remedy: str) -> None:
    """What EKS refuses: which cluster, which right, which quota."""
    account, cluster = AwsAccount("prod", ACCOUNT), EksCluster("blue", "eu-central-1")
    found, message = association_failure(account, cluster, ROLE, kind("said", code=code, operation=operation))
    assert found is reason
    assert remedy in message
