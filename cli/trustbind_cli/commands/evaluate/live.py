"""A role's trust policy as AWS has it now, read with the user's own credentials."""

from __future__ import annotations

import asyncio

from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.call_limiter import CallLimiter
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence

__all__ = ["read_role"]


def read_role(role: RoleArn, aws: AwsAccess) -> TrustDocument:
    """Return the trust policy of a role in the AWS account of the user's own credentials.

    Args:
        role: which.
        aws: the way into AWS.

    Raises:
        NotFoundError: there is no such role.
        AwsError: the role cannot be read; the message says what to do.
    """
    try:
        return asyncio.run(_read(role, aws))
    except NotFoundError:
        raise
    except AwsError as error:
        raise AwsError(sentence(error)) from error
    except KeyboardInterrupt:
        output.leave_calls()
        raise


async def _read(role: RoleArn, aws: AwsAccess) -> TrustDocument:
    sessions = aws.sessions("trustbind-evaluate")
    own = await own_account(sessions)
    if own != role.account_id:
        raise AwsError(
            f"your credentials are for AWS account {own}, and {role} is in {role.account_id}; set AWS_PROFILE to a "
            "profile of that AWS account"
        )
    client = await sessions.direct(CallLimiter(name=f"aws-{own}"))
    return (await client.role(role)).document
