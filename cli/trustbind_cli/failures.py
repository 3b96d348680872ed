"""What a failed call of AWS means to somebody at a command line: what they can do about it.

The operator has sentences of its own, in `trustbind_operator.failures`: it tries again by itself, and its credentials
are a pod's.
"""

from __future__ import annotations

from typing import Final

import botocore.exceptions as boto

from trustbind.errors import AccessDeniedError, AwsError, ThrottledError

__all__ = ["is_of_the_caller", "sentence"]

_CONFIGURATION: Final = (
    boto.ProfileNotFound,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.InvalidConfigError,
    boto.PartialCredentialsError,
)
_CREDENTIALS: Final = (
    boto.CredentialRetrievalError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.MetadataRetrievalError,
    boto.LoginError,
)
_REFUSED_IDENTITY: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"}
)
"""AWS refuses who asks, not what was asked (IAM API reference, "Common Errors"). Sessions of manager roles are
fresh, so these are the caller's own credentials."""


def is_of_the_caller(error: Exception) -> bool:
    """Return whether it is the caller's own credentials or configuration that is no good, whatever role is meant."""
    if isinstance(error.__cause__, (boto.NoCredentialsError, boto.NoRegionError, *_CONFIGURATION, *_CREDENTIALS)):
        return True
    return _is_refused_identity(error)


def sentence(error: AwsError) -> str:
    """Return what went wrong, and what to do about it."""
    cause = error.__cause__
    match cause:
        case boto.NoCredentialsError():
            return "there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables"
        case boto.ProfileNotFound():
            return f"the AWS configuration cannot be used: {cause}; correct AWS_PROFILE, or add that profile"
        case _ if isinstance(cause, _CONFIGURATION):
            return f"the AWS configuration cannot be used: {cause}"
        case _ if isinstance(cause, _CREDENTIALS):
            return f"there are no AWS credentials to be had: {cause}; sign in again"
    if _is_refused_identity(error):
        return f"AWS does not take your credentials: {error}; sign in again"
    if isinstance(error, AccessDeniedError) and error.operation.startswith("sts:AssumeRole"):
        return (
            f"{error}; check the manager role's trust policy, spec.externalId of the AWSAccount, and your own "
            "permission to assume the role"
        )
    return f"{error}; try again in a while" if isinstance(error, ThrottledError) else str(error)


def _is_refused_identity(error: Exception) -> bool:
    return isinstance(error, AwsError) and error.code in _REFUSED_IDENTITY
