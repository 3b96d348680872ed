"""Ways into AWS accounts: the caller's own identity, and manager roles assumed from it and cached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3

from trustbind.identity.arns import RoleArn
from trustbind.identity.session_names import fit
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.calls import CallSettings, retrying, translated
from trustbind_aws.client import AccountClient

__all__ = ["AwsSessions", "ManagerRole"]

RENEW_BEFORE: Final = timedelta(minutes=5)
"""A manager session is renewed this long before it ends, so that no call meets an expired one."""

MANAGER_SESSION_SECONDS: Final = 3600
"""What role chaining allows at most (IAM User Guide, "Role chaining"); the operator's own identity is a role too."""

Count = Callable[[str, str, str], None]
"""Takes AWS account id, operation and error code of a call."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class ManagerRole:
    """How an AWS account is entered: the role to assume, and its external id."""

    role: RoleArn
    external_id: str = ""


@dataclass(slots=True)
class _Assumed:
    ends: datetime
    client: AccountClient


class AwsSessions:
    """See the module. For one event loop.

    Args:
        who: goes into the session's name, so that CloudTrail in the target account says who came and why.
        clock: the time, aware.
        settings: see `CallSettings`.
        count: see `Count`.
        profile: of the AWS configuration; None for the one that boto3 takes.
        region: None for that of the configuration.
    """

    def __init__(
        self,
        who: str,
        clock: Clock = lambda: datetime.now(UTC),
        settings: CallSettings = CallSettings(),  # noqa: B008 - a frozen value
        count: Count = lambda _account, _operation, _code: None,
        *,
        profile: str | None = None,
        region: str | None = None,
    ) -> None:
        self._who = fit(who)
        self._clock = clock
        self._settings = settings
        self._count = count
        self._profile = profile
        self._region = region
        self._own: boto3.Session | None = None
        self._direct: AccountClient | None = None
        self._sts: Any = None
        self._own_caller = ""
        self._assumed: dict[ManagerRole, _Assumed] = {}
        self._making: dict[ManagerRole | None, asyncio.Lock] = {}

    async def direct(self, limiter: CallLimiter) -> AccountClient:
        """Return access as the caller's own identity.

        Args:
            limiter: of the AWS account.

        Raises:
            AwsError: see `translated`.
        """
        async with self._lock(None):  # boto3's sessions are not thread-safe, as its clients are
            if self._direct is None:
                async with limiter.slot(0):
                    self._direct = await limiter.in_thread(lambda: self._client(self._session(), limiter, ""))
        return self._direct

    async def assume(self, manager: ManagerRole, limiter: CallLimiter) -> AccountClient:
        """Return access as the manager role.

        Args:
            manager: see `ManagerRole`.
            limiter: of its AWS account.

        Raises:
            AccessDeniedError: the role may not be assumed, or the external id is wrong; AWS tells no difference.
            AwsError: see `translated`.
        """
        async with self._lock(manager):  # one AssumeRole at a time for each manager role; other AWS accounts go on
            cached = self._assumed.get(manager)
            if cached is not None and cached.ends - RENEW_BEFORE > self._clock():
                return cached.client
            credentials = await retrying(lambda: self._assume(manager, limiter), self._settings.reads)
            client = await self._of(credentials, manager, limiter)
            self._assumed[manager] = _Assumed(credentials["Expiration"], client)
            return client

    def forget(self, manager: ManagerRole) -> None:
        """Drop a cached session: its credentials were refused."""
        self._assumed.pop(manager, None)

    async def own_caller(self, limiter: CallLimiter) -> str:
        """Return the ARN of the caller's own identity; asked once.

        Args:
            limiter: of the AWS account that is entered.

        Raises:
            AwsError: see `translated`.
        """
        if not self._own_caller:
            sts = await self._own_sts(limiter)

            def send() -> str:
                with translated("sts:GetCallerIdentity"):
                    return str(sts.get_caller_identity()["Arn"])

            async def ask() -> str:
                async with limiter.slot(0):
                    return await limiter.in_thread(send)

            self._own_caller = await retrying(ask, self._settings.reads)
        return self._own_caller

    async def _own_sts(self, limiter: CallLimiter) -> Any:
        async with self._lock(None):  # the session is not thread-safe; the client that it makes is
            if self._sts is None:
                async with limiter.slot(0):
                    self._sts = await limiter.in_thread(self._make_sts)
        return self._sts

    async def _assume(self, manager: ManagerRole, limiter: CallLimiter) -> Any:
        arguments = {"ExternalId": manager.external_id} if manager.external_id else {}
        sts = await self._own_sts(limiter)

        def send() -> Any:
            with translated(f"sts:AssumeRole on {manager.role}"):
                return sts.assume_role(
                    RoleArn=str(manager.role),
                    RoleSessionName=self._who,
                    DurationSeconds=MANAGER_SESSION_SECONDS,
                    **arguments,
                )["Credentials"]

        async with limiter.slot(0):
            return await limiter.in_thread(send)

    def _make_sts(self) -> Any:
        session = self._session()
        return session.client("sts", region_name=session.region_name or "us-east-1", config=self._settings.boto())

    async def _of(self, credentials: Any, manager: ManagerRole, limiter: CallLimiter) -> AccountClient:
        region = self._session().region_name

        def make() -> AccountClient:
            session = boto3.Session(
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials["SessionToken"],
                region_name=region,
            )
            return self._client(session, limiter, manager.role.account_id)

        async with limiter.slot(0):
            return await limiter.in_thread(make)

    def _client(self, session: boto3.Session, limiter: CallLimiter, account_id: str) -> AccountClient:
        return AccountClient(
            session, limiter, self._settings, lambda operation, code: self._count(account_id, operation, code)
        )

    def _session(self) -> boto3.Session:
        if self._own is None:
            with translated("reading the AWS configuration"):
                self._own = boto3.Session(profile_name=self._profile, region_name=self._region)
        return self._own

    def _lock(self, manager: ManagerRole | None) -> asyncio.Lock:
        return self._making.setdefault(manager, asyncio.Lock())
