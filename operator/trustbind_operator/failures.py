"""What AWS's refusals mean for a binding: one reason each, and a sentence that says what to do."""

from __future__ import annotations

from typing import Final

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

_INLINE: Final = ("iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy")
"""Calls about the inline policy of a chain's source role."""


def role_failure(role: RoleArn, error: AwsError) -> tuple[TrustReason, str]:
    """Return reason and message for a failed read or write of ``role``."""
    is_inline = error.operation.partition(" ")[0] in _INLINE
    match error:
        case NotFoundError():
            return TrustReason.ROLE_NOT_FOUND, f"there is no role {role}; create it, or bind another one"
        case AccessDeniedError() if is_inline:
            return (
                TrustReason.ACCESS_DENIED,
                (
                    f"{error}; allow {', '.join(_INLINE[:-1])} and {_INLINE[-1]} on {role} to the account's manager "
                    "role, or set spec.source.managePermission: false"
                ),
            )
        case AccessDeniedError():
            return (
                TrustReason.ACCESS_DENIED,
                f"{error}; allow iam:GetRole and iam:UpdateAssumeRolePolicy on {role} to the account's manager role",
            )
        case ThrottledError():
            return TrustReason.THROTTLED, f"{error}; it is tried again by itself"
        case PolicyRejectedError():
            document = "inline policy" if is_inline else "new trust policy"
            return TrustReason.POLICY_REJECTED, f"IAM refused the {document} of {role}: {error.problem}"
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
