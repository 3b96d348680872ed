"""What a failed call of AWS means to a user of the command line, and what to do.

The operator's sentences are in `trustbind.reconcile.failure_reasons`: it retries automatically, and its credentials are
those of a pod.
"""

from __future__ import annotations

from typing import Final

import botocore.exceptions as boto

from trustbind.errors import (
    AccessDeniedError,
    AccountMismatchError,
    AwsError,
    ThrottledError,
    TrustbindError,
    UnreachableError,
)
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.sessions import AwsSessions

__all__ = ["is_of_the_caller", "own_account", "sentence"]

_WHO: Final = "sts:GetCallerIdentity"
_SETTING_UP: Final = "reading the AWS configuration"
"""As `trustbind_aws.client` calls it, too."""
_REFUSED_IDENTITY: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch"}
)
"""AWS refuses who asks, not what was asked (IAM API reference, "Common Errors"). Sessions of manager roles are
fresh, so these are the caller's own credentials."""


async def own_account(sessions: AwsSessions) -> str:
    """Return the id of the caller's own AWS account.

    What keeps a client from being made shows here, before anything else is asked: half a pair of keys, a file that
    does not exist, an invalid endpoint.

    Raises:
        AwsError: see `is_of_the_caller`.
    """
    limiter = CallLimiter(name="aws-caller")
    try:
        return (await (await sessions.direct(limiter)).caller())[0]
    except TrustbindError:
        raise
    except (boto.BotoCoreError, OSError, ValueError) as error:
        raise UnreachableError(str(error), operation=_SETTING_UP) from error


def is_of_the_caller(error: AwsError) -> bool:
    """Return whether the caller's own credentials, configuration or network do not work, whatever role is meant."""
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
    if isinstance(error, AccountMismatchError):
        return "your credentials are for another AWS account; set spec.managerRoleArn of the AWSAccount"
    if isinstance(error, AccessDeniedError) and error.operation.startswith("sts:AssumeRole"):
        return (
            f"{error}; check the manager role's trust policy, spec.externalId of the AWSAccount, and your own "
            "permission to assume the role"
        )
    return f"{error}; try again in a while" if isinstance(error, ThrottledError) else str(error)
