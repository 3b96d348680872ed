"""What AWS's refusals mean for a binding: one reason each, and a sentence that says what to do."""

from __future__ import annotations

from trustbind.arns import RoleArn
from trustbind.errors import (
    AccessDeniedError,
    AwsError,
    NotFoundError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.reasons import TrustReason

__all__ = ["account_failure", "role_failure"]


def role_failure(role: RoleArn, error: AwsError) -> tuple[TrustReason, str]:
    """Return reason and message for a failed read or write of ``role``."""
    match error:
        case NotFoundError():
            return TrustReason.ROLE_NOT_FOUND, f"there is no role {role}; create it, or bind another one"
        case AccessDeniedError():
            return (
                TrustReason.ACCESS_DENIED,
                f"{error}; allow iam:GetRole and iam:UpdateAssumeRolePolicy on {role} to the account's manager role",
            )
        case ThrottledError():
            return TrustReason.THROTTLED, f"{error}; it is tried again by itself"
        case PolicyRejectedError():
            return TrustReason.POLICY_REJECTED, f"IAM refused the new trust policy of {role}: {error.problem}"
        case UnreachableError():
            return TrustReason.ACCOUNT_UNREACHABLE, f"{error}; it is tried again by itself"
        case _:
            return TrustReason.AWS_FAILED, f"{error}; it is tried again by itself"


def account_failure(error: AwsError) -> tuple[TrustReason, str]:
    """Return reason and message for a failure to get into an account, or to keep its OIDC provider."""
    match error:
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
        case PolicyRejectedError() if error.code == "LimitExceeded":
            return TrustReason.AWS_FAILED, f"{error}; remove what the account does not need, or raise that quota"
        case ThrottledError():
            return TrustReason.THROTTLED, f"{error}; it is tried again by itself"
        case UnreachableError():
            return TrustReason.ACCOUNT_UNREACHABLE, f"{error}; it is tried again by itself"
        case _:
            return TrustReason.AWS_FAILED, f"{error}; it is tried again by itself"
