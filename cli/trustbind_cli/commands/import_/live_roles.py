"""The roles of AWS accounts, listed with the user's own credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.client import AccountClient
from trustbind_aws.sessions import ManagerRole
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence
from trustbind_cli.commands.import_.exports import ExportedRole

__all__ = ["list_roles"]


def list_roles(accounts: Iterable[AwsAccount], aws: AwsAccess, progress: Callable[[int], None]) -> list[ExportedRole]:
    """Return the roles of the user's own AWS account, and of each one that has a manager role.

    Args:
        accounts: how other AWS accounts are entered.
        aws: the way into the user's own AWS account.
        progress: called with the number of roles so far.

    Raises:
        AwsError: the roles of an AWS account cannot be listed; the message says what to do.
    """
    try:
        return asyncio.run(_list(list(accounts), aws, progress))
    except AwsError as error:
        raise AwsError(sentence(error)) from error
    except KeyboardInterrupt:
        output.leave_calls()
        raise


async def _list(accounts: list[AwsAccount], aws: AwsAccess, progress: Callable[[int], None]) -> list[ExportedRole]:
    sessions = aws.sessions("trustbind-import")
    own = await own_account(sessions)
    clients: list[tuple[str, AccountClient]] = [(own, await sessions.direct(CallLimiter(name=f"aws-{own}")))]
    for account in accounts:
        if account.manager_role is not None and account.account_id != own:
            limiter = CallLimiter(name=f"aws-{account.account_id}")
            manager = ManagerRole(account.manager_role, account.external_id)
            clients.append((account.account_id, await sessions.assume(manager, limiter)))
    found: list[ExportedRole] = []
    for account_id, client in clients:
        async for page in client.roles():
            found += [ExportedRole(f"AWS account {account_id}", role.arn, role.policy) for role in page]
            progress(len(found))
    return found
