"""The AWS accounts that AWSAccount objects describe: how each is entered, and what is known of it.

Everything here runs on the event loop. What is known of an AWS account is an immutable value (`AccountFacts`) that is
replaced as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AccountMismatchError, AwsError
from trustbind.reconcile.observation import AccountFacts
from trustbind_aws.call_limiter import CallLimiter, shared_queue
from trustbind_aws.client import AccountApi
from trustbind_aws.sessions import ManagerRole

__all__ = ["AccountPool", "Entered", "SessionSource"]

REMEMBER_FAILURE_SECONDS: Final = 15.0
"""For how long an AWS account that could not be entered is not tried again by each of its roles."""

_EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}
)
"""AWS's codes for credentials that have to be renewed (IAM API reference, "Common Errors")."""


class SessionSource(Protocol):
    """Gives access to AWS accounts; `trustbind_aws.sessions.AwsSessions` does it through boto3."""

    async def direct(self, limiter: CallLimiter) -> AccountApi:
        """Return access as the caller's own identity."""

    async def assume(self, manager: ManagerRole, limiter: CallLimiter) -> AccountApi:
        """Return access as a manager role."""

    async def own_caller(self, limiter: CallLimiter) -> str:
        """Return the ARN of the caller's own identity."""

    def forget(self, manager: ManagerRole) -> None:
        """Drop a cached session."""


@dataclass(slots=True)
class Entered:
    """An AWS account that was entered, with what is known of it.

    Attributes:
        api: its calls.
        caller_arn: the identity that AWS takes us for there.
        facts: see `AccountFacts`; replaced as a whole.
        provider_lock: one look at an OIDC provider and its change at a time: the second finds what the first made.
    """

    api: AccountApi
    caller_arn: str
    facts: AccountFacts = field(default_factory=AccountFacts)
    provider_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read_limit(self) -> int:
        """Read how many characters a trust policy may have, and keep it.

        Raises:
            AwsError: it cannot be read.
        """
        with shared_queue():
            limit = await self.api.trust_policy_limit()
        self.facts = replace(self.facts, limit=limit)
        return limit


@dataclass(slots=True)
class _Known:
    spec: AwsAccount
    entered: Entered | None = None
    failure: tuple[float, AwsError] | None = None
    entering: asyncio.Lock = field(default_factory=asyncio.Lock)


class AccountPool:
    """See the module.

    Args:
        sessions: see `SessionSource`.
        clock: monotonic seconds.
        make_limiter: returns the limiter of an AWS account.
        learned: called with the ARN of the caller's own identity, before an AWS account is given out.
    """

    def __init__(
        self,
        sessions: SessionSource,
        clock: Callable[[], float],
        make_limiter: Callable[[str], CallLimiter] = lambda account_id: CallLimiter(name=f"aws-{account_id}"),
        learned: Callable[[str], None] = lambda _arn: None,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._make_limiter = make_limiter
        self._learned = learned
        self._limiters: dict[str, CallLimiter] = {}
        self._known: dict[str, _Known] = {}

    async def enter(self, account: AwsAccount) -> Entered:
        """Return access to the AWS account, having made sure that it is that one.

        Raises:
            AwsError: it cannot be entered; for some seconds after a failure the same one, without asking AWS.
        """
        known = self._known.get(account.account_id)
        if known is None or known.spec != account:
            known = self._known[account.account_id] = _Known(account)
        with shared_queue():
            async with known.entering:
                if known.failure is not None and self._clock() - known.failure[0] < REMEMBER_FAILURE_SECONDS:
                    # Each raise of one exception would add to its traceback.
                    raise known.failure[1].with_traceback(None)
                try:
                    api = await self._session(account)
                    if known.entered is None or known.entered.api is not api:
                        caller_arn = await self._checked_caller(account, api)
                        facts = known.entered.facts if known.entered is not None else AccountFacts()
                        known.entered = Entered(api, caller_arn, facts)
                except AwsError as error:
                    known.failure = (self._clock(), error)
                    self.refused(account, error)
                    raise
                known.failure = None
                return known.entered

    def forget(self, account: AwsAccount) -> None:
        """Forget all that is known of the AWS account, a remembered failure included."""
        self._known.pop(account.account_id, None)

    def refused(self, account: AwsAccount, error: AwsError) -> None:
        """Let the next entry assume the manager role again, where credentials were refused."""
        if error.code not in _EXPIRED:
            return
        if account.manager_role is not None:
            self._sessions.forget(ManagerRole(account.manager_role, account.external_id))
        known = self._known.get(account.account_id)
        if known is not None and known.spec == account:
            known.entered = None

    async def close(self) -> None:
        """End the threads, and wait for the calls that are under way, at most their time-outs."""
        await asyncio.gather(*(limiter.close() for limiter in self._limiters.values()))

    def abandon(self) -> None:
        """End the threads without waiting; for a process that ends."""
        for limiter in self._limiters.values():
            limiter.abandon()

    async def _session(self, account: AwsAccount) -> AccountApi:
        limiter = self._limiters.get(account.account_id)
        if limiter is None:
            limiter = self._limiters[account.account_id] = self._make_limiter(account.account_id)
        if account.manager_role is None:
            return await self._sessions.direct(limiter)
        return await self._sessions.assume(ManagerRole(account.manager_role, account.external_id), limiter)

    async def _checked_caller(self, account: AwsAccount, api: AccountApi) -> str:
        account_id, arn = await api.caller()
        if account_id != account.account_id:
            raise AccountMismatchError(
                f"the operator's credentials lead into account {account_id}, not {account.account_id}; set "
                "spec.managerRoleArn",
                operation="sts:GetCallerIdentity",
            )
        own = arn if account.manager_role is None else await self._sessions.own_caller(self._limiters[account_id])
        self._learned(own)
        return arn
