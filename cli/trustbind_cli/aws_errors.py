"""What a failed call of AWS means to somebody at a command line: what they can do about it.

The operator has sentences of its own (`trustbind_operator.controllers.binding.failure_reasons`): it retries
automatically, and its credentials are those of a pod.
"""

from __future__ import annotations

from typing import Final

import botocore.exceptions as boto

from trustbind.errors import AccessDeniedError, AwsError, ThrottledError, TrustbindError, UnreachableError
from trustbind_aws.client import AwsAccess

__all__ = ["is_of_the_caller", "own_account", "sentence"]

_WHO: Final = "sts:GetCallerIdentity"
_SETTING_UP: Final = "reading the AWS configuration"
"""As `trustbind_aws.client` calls it, too."""
_REFUSED_IDENTITY: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"}
)
"""AWS refuses who asks, not what was asked (IAM API reference, "Common Errors"). Sessions of manager roles are
fresh, so these are the caller's own credentials."""


def own_account(aws: AwsAccess) -> str:
    """Return the id of the caller's own account.

    What keeps a client from being made at all shows here, before anything else is asked: half a pair of keys, a file
    that is not there, an endpoint that is none.

    Raises:
        AwsError: see `is_of_the_caller`.
    """
    try:
        return aws.direct().caller()[0]
    except TrustbindError:
        raise
    except (boto.BotoCoreError, OSError, ValueError) as error:
        raise UnreachableError(str(error), operation=_SETTING_UP) from error


def is_of_the_caller(error: AwsError) -> bool:
    """Return whether it is the caller's own credentials or configuration that is no good, whatever role is meant.

    So is a network without STS.
    """
    if error.code in _REFUSED_IDENTITY:
        return True
    return isinstance(error, UnreachableError) and error.operation in {_WHO, _SETTING_UP}


def sentence(error: AwsError) -> str:
    """Return what went wrong, and what to do about it."""
    cause = error.__cause__
    match cause:
        case boto.NoCredentialsError():
            return "there are no AWS credentials: sign in, or set AWS_PROFILE or the AWS_* variables"
        case boto.ProfileNotFound():
            return f"the AWS configuration cannot be used: {cause}; correct AWS_PROFILE, or add that profile"
        case boto.CredentialRetrievalError() | boto.SSOError() | boto.TokenRetrievalError() | boto.LoginError():
            return f"there are no AWS credentials to be had: {cause}; sign in again"
        case (
            boto.ConfigNotFound() | boto.ConfigParseError() | boto.InvalidConfigError() | boto.PartialCredentialsError()
        ):
            return f"the AWS configuration cannot be used: {cause}"
        case OSError() | ValueError():
            return f"the AWS configuration cannot be used: {cause}"
    if error.code in _REFUSED_IDENTITY:
        return f"AWS does not take your credentials: {error}; sign in again"
    if isinstance(error, AccessDeniedError) and error.operation.startswith("sts:AssumeRole"):
        return (
            f"{error}; check the manager role's trust policy, spec.externalId of the AWSAccount, and your own "
            "permission to assume the role"
        )
    return f"{error}; try again in a while" if isinstance(error, ThrottledError) else str(error)
