"""The roles of AWS accounts, listed with the user's own credentials; one that cannot be listed stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.client import AccountClient
from trustbind_aws.sessions import AwsSessions, ManagerRole
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence
from trustbind_cli.commands.import_.exports import ExportedRole
from trustbind_cli.progress import Progress

__all__ = ["list_roles"]


def list_roles(accounts: Iterable[AwsAccount], aws: AwsAccess, who: str) -> tuple[list[ExportedRole], list[str]]:
    """Return the roles of the user's own AWS account and of each AWSAccount, and what could not be listed.

    Args:
        accounts: how other AWS accounts are entered.
        aws: the way into the user's own AWS account.
        who: the command, for CloudTrail.

    Raises:
        AwsError: the user's own credentials do not work.
    """
    progress = Progress()
    try:
        return asyncio.run(_list(list(accounts), aws.sessions(who), progress))
    except AwsError as error:
        raise AwsError(sentence(error)) from error
    except KeyboardInterrupt:
        output.leave_calls()
        raise
    finally:
        progress.end()


async def _list(
    accounts: list[AwsAccount], sessions: AwsSessions, progress: Progress
) -> tuple[list[ExportedRole], list[str]]:
    own = await own_account(sessions)
    described = {account.account_id: account for account in accounts}
    found: list[ExportedRole] = []
    unseen: list[str] = []
    for account_id in dict.fromkeys((own, *described)):
        try:
            client = await _enter(sessions, described.get(account_id) or AwsAccount(account_id, account_id), own)
            async for page in client.roles():
                found += [ExportedRole(f"AWS account {account_id}", role.arn, role.policy) for role in page]
                progress.say(f"listing roles in AWS: {len(found)}")
        except AwsError as error:
            unseen.append(f"the roles of AWS account {account_id} cannot be listed: {sentence(error)}")
    return found, unseen


async def _enter(sessions: AwsSessions, account: AwsAccount, own: str) -> AccountClient:
    limiter = CallLimiter(name=f"aws-{account.account_id}")
    if account.manager_role is not None:
        return await sessions.assume(ManagerRole(account.manager_role, account.external_id), limiter)
    if account.account_id != own:
        raise AwsError(
            f"AWSAccount {account.name} has no spec.managerRoleArn, and your credentials are for AWS account {own}"
        )
    return await sessions.direct(limiter)
