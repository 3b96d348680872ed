"""Ways into the accounts that AWSAccount objects describe, with what is known of each: provider, limit, last failure.

Everything here blocks, and is called in threads: each account has a few of its own, so that one account that does not
answer holds up nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.call_budget import Budget
from trustbind_aws.client import AccountAccess, AwsAccess, ManagerRole
from trustbind_aws.resources.oidc_provider import apply_provider, lacking_for, plan_provider

__all__ = ["AccountFacts", "Accounts", "CallWatch", "MismatchError", "ProviderAbsentError"]

T = TypeVar("T")

THREADS_PER_ACCOUNT: Final = 8
"""Roles of one account that are worked on at once; the budget of calls is the tighter bound."""

REMEMBER_FAILURE_SECONDS: Final = 15.0
"""For how long an account that could not be entered is not tried again by each of its roles."""


class MismatchError(AwsError):
    """The credentials lead into another account than the AWSAccount says."""


class ProviderAbsentError(NotFoundError):
    """The account has no OIDC provider for an issuer, and it is not ours to make."""


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What was found in an account.

    Attributes:
        caller_arn: whom AWS takes the operator for there.
        provider_arn: the cluster's OIDC provider.
        limit: characters of a trust policy.
    """

    caller_arn: str
    provider_arn: str
    limit: int


@dataclass(slots=True)
class _Known:
    """What is remembered of one account, for one spec of its AWSAccount."""

    spec: AwsAccount
    caller: tuple[AccountAccess, str] | None = None
    audiences: set[str] = field(default_factory=set)
    provider: threading.Lock = field(default_factory=threading.Lock)
    """One look at the OIDC provider at a time: the second finds what the first has made."""
    others: dict[ProviderArn, frozenset[str]] = field(default_factory=dict)
    """Client ids that other issuers' providers were seen to list."""
    failure: tuple[float, AwsError] | None = None


class Accounts:
    """See the module.

    Args:
        aws: the way in.
        issuer: the cluster's.
        clock: monotonic seconds.
    """

    def __init__(self, aws: AwsAccess, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._aws = aws
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}

    async def within(self, account_id: str, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the account's threads and return what it returns."""
        pool = self._pools.get(account_id)
        if pool is None:
            pool = ThreadPoolExecutor(THREADS_PER_ACCOUNT, thread_name_prefix=f"account-{account_id}")
            self._pools[account_id] = pool
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def enter(self, account: AwsAccount) -> AccountAccess:
        """Return access to the account, having made sure that it is that account.

        Raises:
            AwsError: it cannot be entered; for some seconds after a failure the same one, without asking AWS.
        """
        known = self._of(account)
        if known.failure is not None and self._clock() - known.failure[0] < REMEMBER_FAILURE_SECONDS:
            raise known.failure[1]
        try:
            access = self._access(account)
            if known.caller is None or known.caller[0] is not access:
                known.caller = (access, self._checked_caller(account, access))
        except AwsError as error:
            known.failure = (self._clock(), error)
            raise
        known.failure = None
        return access

    def see_to_provider(
        self, account: AwsAccount, access: AccountAccess, role: RoleArn, audiences: Iterable[str]
    ) -> bool:
        """See that the account's OIDC provider lists the audiences; asked of AWS only for those not seen there yet.

        Returns:
            Whether AWS was asked.

        Raises:
            NotFoundError: something is lacking and is not ours to manage.
            AwsError: a call failed.
        """
        known = self._of(account)
        manage = account.manage_provider and account.drift_policy is DriftPolicy.REPAIR
        with known.provider:
            missing = set(audiences) - known.audiences
            if not missing:
                return False
            arn = self._issuer.provider_for(role)
            present = access.provider_audiences(arn)
            planned = plan_provider(arn, present, missing)
            known.audiences |= missing & (present or frozenset())
            apply_provider(access, planned, self._issuer, manage=manage)
            known.audiences |= missing
        return True

    def lacks_for(
        self, account: AwsAccount, access: AccountAccess, provider: ProviderArn, audience: str
    ) -> AwsError | None:
        """Return what another issuer's provider lacks for ``audience``, or why that cannot be told; None for nothing.

        AWS is asked only for what was not seen there yet.
        """
        known = self._of(account)
        if audience in known.others.get(provider, ()):
            return None
        try:
            present = access.provider_audiences(provider)
        except AwsError as error:
            return error
        if present is not None:
            known.others[provider] = present
        problem = lacking_for(provider, present, audience)
        if not problem:
            return None
        kind = ProviderAbsentError if present is None else NotFoundError
        return kind(problem, operation="iam:GetOpenIDConnectProvider")

    def is_seen(self, account: AwsAccount, provider: ProviderArn, audience: str) -> bool:
        """Return whether another issuer's provider was seen to list the audience; then `lacks_for` asks nobody."""
        return audience in self._of(account).others.get(provider, ())

    def audiences_seen(self, account: AwsAccount) -> frozenset[str]:
        """Return the audiences that the account's OIDC provider was seen to list, or made to."""
        return frozenset(self._of(account).audiences)

    def inspect(self, account: AwsAccount, audiences: frozenset[str]) -> AccountFacts:
        """Look at the account anew and return what is found; brings its provider in order.

        Raises:
            AwsError: it cannot be entered, or the provider cannot be brought in order.
        """
        known = self._of(account)
        known.failure = None
        known.caller = None
        known.audiences = set()
        known.others = {}
        access = self.enter(account)
        entered = self._of(account).caller
        caller_arn = entered[1] if entered is not None else access.caller()[1]
        partition = caller_arn.split(":")[1]
        somebody = RoleArn(partition, account.account_id, "/", "any")
        if audiences:
            self.see_to_provider(account, access, somebody, audiences)
        return AccountFacts(
            caller_arn=caller_arn,
            provider_arn=str(self._issuer.provider_for(somebody)),
            limit=account.trust_policy_limit or access.trust_policy_limit(anew=True),
        )

    def refused(self, account: AwsAccount, error: AwsError) -> None:
        """Take note that credentials were refused: the next entry assumes the manager role anew."""
        if error.code in {
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
        }:
            if account.manager_role is not None:
                self._aws.forget(ManagerRole(account.manager_role, account.external_id))
            self._of(account).caller = None

    def close(self) -> None:
        """Let the threads end; calls under way are not waited for."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _of(self, account: AwsAccount) -> _Known:
        with self._lock:
            known = self._known.get(account.account_id)
            if known is None or known.spec != account:
                known = _Known(account)
                self._known[account.account_id] = known
            return known

    def _access(self, account: AwsAccount) -> AccountAccess:
        if account.manager_role is None:
            return self._aws.direct()
        return self._aws.assume(ManagerRole(account.manager_role, account.external_id))

    def _checked_caller(self, account: AwsAccount, access: AccountAccess) -> str:
        account_id, arn = access.caller()
        if account_id != account.account_id:
            raise MismatchError(
                f"the operator's credentials lead into account {account_id}, not {account.account_id}; set "
                "spec.managerRoleArn",
                operation="sts:GetCallerIdentity",
            )
        return arn


class CallWatch:
    """Stands beside an account's calls: within its budget, and counted.

    Args:
        budget: of the account.
        count: takes operation and outcome; an empty outcome is a success.
        over: says whether this process works no more. A thread cannot be ended, and one that wakes late must not
            write what another operator may have revoked since.
    """

    def __init__(
        self, budget: Budget, count: Callable[[str, str], None], over: Callable[[], bool] = lambda: False
    ) -> None:
        self._budget = budget
        self._count = count
        self._over = over

    def before(self, operation: str) -> None:
        """Wait for the budget.

        Raises:
            AwsError: the process works no more.
        """
        self._budget.take()
        if self._over():
            raise AwsError("the operator is ending", operation=operation)

    def after(self, operation: str, code: str) -> None:
        """Count the call."""
        self._count(operation, code)
