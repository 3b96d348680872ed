"""One run of ``trustbind revoke-sessions``: look, show, and revoke where that was asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.session_revocation import POLICY_NAME, revocation_policy
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.client import AccountApi
from trustbind_aws.resources import session_revocation
from trustbind_cli import output
from trustbind_cli.aws_access import AwsAccess
from trustbind_cli.aws_errors import own_account, sentence
from trustbind_cli.exit_codes import DONE, FAILED
from trustbind_cli.options import OutputFormat
from trustbind_cli.terminal import note

__all__ = ["run"]

_SERVICE_LINKED = "/aws-service-role/"
"""Path of roles that only AWS's services may change (IAM User Guide, "Create a service-linked role")."""


@dataclass(frozen=True, slots=True)
class _Revoked:
    """One role.

    Attributes:
        role: which.
        before: before when its sessions were revoked already; None: never.
        is_written: whether the policy was written.
        problem: why it could not be read or written.
    """

    role: RoleArn
    before: datetime | None = None
    is_written: bool = False
    problem: str = ""


def run(
    roles: Sequence[RoleArn],
    aws_accounts: Mapping[str, AwsAccount],
    aws: AwsAccess,
    *,
    writes: bool,
    form: OutputFormat,
) -> int:
    """Return the exit code: 1 where a role could not be read or written.

    Args:
        roles: whose sessions.
        aws_accounts: account id to how the AWS account is entered.
        aws: the way into the user's own AWS account.
        writes: whether the sessions are revoked.
        form: text for people, or data.

    Raises:
        InvalidValueError: a role is service-linked, or in an AWS account to which there is no way.
    """
    for role in roles:
        if role.path.startswith(_SERVICE_LINKED):
            raise InvalidValueError(f"{role} is a service-linked role, whose sessions cannot be revoked", field="ROLE")
    moment = datetime.now(UTC)
    try:
        done = asyncio.run(_all(roles, aws_accounts, aws, moment, writes=writes))
    except KeyboardInterrupt:
        output.leave_calls()
        raise
    if form is OutputFormat.TEXT:
        _show(done, moment, writes=writes)
    else:
        print(output.to_data(_as_data(done, moment), form))
    for each in done:
        if each.problem:
            note(f"trustbind: {each.role}: {each.problem}")
    note(f"trustbind: {_summary(done, writes=writes)}")
    return FAILED if any(each.problem for each in done) else DONE


async def _all(
    roles: Sequence[RoleArn],
    aws_accounts: Mapping[str, AwsAccount],
    aws: AwsAccess,
    moment: datetime,
    *,
    writes: bool,
) -> list[_Revoked]:
    sessions = aws.sessions("trustbind-revoke-sessions")
    try:
        own = await own_account(sessions)
    except AwsError as error:
        raise AwsError(sentence(error)) from error
    for role in roles:
        if role.account_id not in aws_accounts and role.account_id != own:
            raise InvalidValueError(
                f"{role} is not of the AWS account that you are in ({own}), and the files hold no AWSAccount for it; "
                "use credentials of that AWS account, or add an AWSAccount with -f",
                field="ROLE",
            )
    pool = AccountPool(sessions, time.monotonic)
    try:
        found: list[_Revoked] = []
        for role in roles:
            account = aws_accounts.get(role.account_id) or AwsAccount(role.account_id, role.account_id)
            found.append(await _one(pool, account, _Revoked(role), moment, writes=writes))
        return found
    finally:
        pool.abandon()


async def _one(pool: AccountPool, account: AwsAccount, each: _Revoked, moment: datetime, *, writes: bool) -> _Revoked:
    try:
        api: AccountApi = (await pool.enter(account)).api
        each = replace(each, before=await session_revocation.observe(api, each.role))
        if writes:
            each = replace(each, is_written=await session_revocation.apply(api, each.role, moment))
    except AwsError as error:
        return replace(each, problem=sentence(error))
    return each


def _show(done: Sequence[_Revoked], moment: datetime, *, writes: bool) -> None:
    for each in done:
        if each.problem:
            continue
        verb = "revoked" if each.is_written else "would revoke" if not writes else "are revoked already:"
        earlier = f" (until now: before {_text(each.before)})" if each.before is not None else ""
        output.out.print(f"{each.role}\n  {verb} all sessions that began before {_text(moment)}{earlier}")
    if not writes:
        output.out.print(f"inline policy {POLICY_NAME}:\n{output.to_json(revocation_policy(moment))}")


def _as_data(done: Sequence[_Revoked], moment: datetime) -> dict[str, Any]:
    return {
        "policyName": POLICY_NAME,
        "policy": revocation_policy(moment),
        "roles": [
            {
                "roleArn": str(each.role),
                "revokedBefore": None if each.before is None else _text(each.before),
                "written": each.is_written,
                "problem": each.problem or None,
            }
            for each in done
        ],
    }


def _summary(done: Sequence[_Revoked], *, writes: bool) -> str:
    seen = [each for each in done if not each.problem]
    if not seen:
        return "no role could be read or written, so no sessions were revoked"
    if not writes:
        return f"{_count(len(seen), len(done))} read; nothing was written, add --yes to revoke the sessions"
    written = sum(each.is_written for each in seen)
    if not written:
        return f"sessions of {_count(len(seen), len(done))} were revoked already; nothing was written"
    return (
        f"sessions of {_count(written, len(done))} revoked; create pods anew that still need a role, since SDKs keep "
        "refused credentials until they expire"
    )


def _count(number: int, of: int) -> str:
    if number == of:
        return f"{of} role{'' if of == 1 else 's'}"
    return f"{number} of {of} roles"


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
