"""What AWS's refusals mean for a binding: one reason each, and a sentence that says what to do."""

from __future__ import annotations

from typing import Final

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.errors import (
    AccessDeniedError,
    AccountMismatchError,
    AwsError,
    NotFoundError,
    ObservedError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.identity.arns import RoleArn
from trustbind.reasons import TrustReason

__all__ = [
    "BELIEVED_FAILURES",
    "OF_THE_ACCOUNT",
    "TRANSIENT",
    "account_failure",
    "association_failure",
    "role_failure",
]

TRANSIENT: Final = frozenset({TrustReason.THROTTLED, TrustReason.ACCOUNT_UNREACHABLE, TrustReason.AWS_FAILED})
"""Reasons that say nothing about whether the trust stands."""

OF_THE_ACCOUNT: Final = frozenset(
    {
        TrustReason.ACCOUNT_DENIED,
        TrustReason.ACCOUNT_MISMATCH,
        TrustReason.ACCOUNT_UNREACHABLE,
        TrustReason.PROVIDER_MISSING,
    }
)
"""Reasons for which the account itself is to be looked at."""

BELIEVED_FAILURES: Final = 3
"""A binding that was in order keeps its status until its role could not be looked at this often in a row."""

_OF_THE_CLUSTER: Final = ("eks:ListPodIdentityAssociations", "eks:CreatePodIdentityAssociation")
"""Calls that name no association, so that it is the cluster which is not found."""

_INLINE: Final = ("iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy")
"""Calls about the inline policy of a chain's source role."""


def role_failure(role: RoleArn, error: AwsError) -> tuple[TrustReason, str]:
    """Return reason and message for a failed run of ``role``, its AWS account and providers included."""
    if (
        isinstance(error, AccountMismatchError)
        or error.operation.startswith("sts:")
        or "OpenIDConnect" in error.operation
    ):
        return account_failure(error)
    is_inline = error.operation.partition(" ")[0] in _INLINE
    match error:
        case NotFoundError():
            return TrustReason.ROLE_NOT_FOUND, f"there is no role {role}; create it, or bind another one"
        case AccessDeniedError() if is_inline:
            return (
                TrustReason.ACCESS_DENIED,
                (
                    f"{error}; allow {', '.join(_INLINE[:-1])} and {_INLINE[-1]} on {role} to the account's manager "
                    "role, or with method AssumeRole set spec.source.managePermission: false"
                ),
            )
        case AccessDeniedError():
            return (
                TrustReason.ACCESS_DENIED,
                f"{error}; allow iam:GetRole and iam:UpdateAssumeRolePolicy on {role} to the account's manager role",
            )
        case ThrottledError():
            return TrustReason.THROTTLED, f"{error}; trustbind retries automatically"
        case PolicyRejectedError():
            document = "inline policy" if is_inline else "new trust policy"
            return TrustReason.POLICY_REJECTED, f"IAM refused the {document} of {role}: {error.problem}"
        case UnreachableError():
            return TrustReason.ACCOUNT_UNREACHABLE, f"{error}; trustbind retries automatically"
        case _:
            return TrustReason.AWS_FAILED, f"{error}; trustbind retries automatically"


def account_failure(error: AwsError) -> tuple[TrustReason, str]:
    """Return reason and message for a failure to get into an account, or to keep its OIDC provider."""
    match error:
        case AccountMismatchError():
            return TrustReason.ACCOUNT_MISMATCH, error.problem
        case AccessDeniedError() if error.operation.startswith("sts:"):
            return (
                TrustReason.ACCOUNT_DENIED,
                (
                    f"{error}; check the manager role's trust policy, spec.externalId, and the operator's own "
                    "permission to assume the role"
                ),
            )
        case AccessDeniedError():
            action = error.operation.partition(" ")[0]
            return TrustReason.ACCESS_DENIED, f"{error}; allow {action} to the account's manager role"
        case NotFoundError():
            return TrustReason.PROVIDER_MISSING, error.problem
        case ObservedError():
            return TrustReason.OBSERVED, error.problem
        case PolicyRejectedError() if error.code == "LimitExceeded":
            return TrustReason.AWS_FAILED, f"{error}; remove what the account does not need, or raise that quota"
        case ThrottledError():
            return TrustReason.THROTTLED, f"{error}; trustbind retries automatically"
        case UnreachableError():
            return TrustReason.ACCOUNT_UNREACHABLE, f"{error}; trustbind retries automatically"
        case _:
            return TrustReason.AWS_FAILED, f"{error}; trustbind retries automatically"


def association_failure(
    account: AwsAccount, cluster: EksCluster, role: RoleArn, error: AwsError
) -> tuple[TrustReason, str]:
    """Return reason and message for a failed call about the cluster's associations with ``role``."""
    if isinstance(error, AccountMismatchError) or error.operation.startswith("sts:"):
        return account_failure(error)
    action = error.operation.partition(" ")[0]
    match error:
        case NotFoundError() if action in _OF_THE_CLUSTER:
            return (
                TrustReason.CLUSTER_NOT_FOUND,
                (
                    f"there is no EKS cluster {cluster.name} in {cluster.region} of account {account.account_id}; "
                    f"correct spec.eks of AWSAccount {account.name}"
                ),
            )
        case NotFoundError():  # the association went while it was worked on
            return TrustReason.AWS_FAILED, f"{error}; trustbind retries automatically"
        case AccessDeniedError():
            return (
                TrustReason.ACCESS_DENIED,
                (
                    f"{error}; give the account's manager role what is said of EKS associations in "
                    f"manager-role-eks-policy.json: {action}, and to associate {role} also iam:GetRole and iam:PassRole"
                ),
            )
        case AwsError(code="ResourceLimitExceededException"):
            return TrustReason.AWS_FAILED, f"{error}; remove associations that nobody needs, or raise that quota"
        case _:
            return role_failure(role, error)
