"""One AWS account as one identity: each method is one AWS call, or one for each page, translated at the border.

Methods are coroutines; how a call is made is in `trustbind_aws.calls`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import boto3
import botocore.exceptions
import botocore.handlers

from trustbind.backoff import Backoff
from trustbind.errors import (
    AccessDeniedError,
    AwsError,
    InvalidValueError,
    NotFoundError,
)
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind.policy.trust_document import TrustDocument
from trustbind.reconcile.observation import RoleObservation
from trustbind_aws.call_limiter import CallLimiter, Slot
from trustbind_aws.calls import Calls, CallSettings, retrying
from trustbind_aws.permits import WritePermit, boottime

__all__ = [
    "NO_PERMISSION",
    "AccountApi",
    "AccountClient",
    "ListedRole",
]

T = TypeVar("T")

NO_PERMISSION: Final = frozenset({"AccessDenied", "AccessDeniedException"})
"""AWS's codes for a missing permission; other codes of `AccessDeniedError` are about the credentials themselves."""

_LIST_PAGE: Final = 1000  # IAM API reference, ListRoles, MaxItems


@dataclass(frozen=True, slots=True)
class ListedRole:
    """A role as a list shows it.

    Attributes:
        arn: its ARN.
        policy: its trust policy, as IAM returned it: URL-encoded and not decoded.
    """

    arn: str
    policy: str


class AccountApi(Protocol):
    """What the pipeline needs of one AWS account. Every method may raise AwsError; see `AccountClient`."""

    @property
    def limiter(self) -> CallLimiter:
        """Its budget and threads."""

    @property
    def reads(self) -> Backoff:
        """The pauses between tries of a call that writes nothing."""

    async def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is."""

    async def role(self, role: RoleArn, slot: Slot | None = None) -> RoleObservation:
        """Return the role."""

    async def write_trust_policy(self, role: RoleArn, document: str, permit: WritePermit, slot: Slot) -> None:
        """Replace the role's trust policy."""

    async def trust_policy_limit(self) -> int:
        """Return how many characters a trust policy may have."""

    def roles(self, path_prefix: str = "/") -> AsyncIterator[list[ListedRole]]:
        """Yield the AWS account's roles, page by page."""

    async def role_tags(self, role: RoleArn) -> Mapping[str, str]:
        """Return the role's tags."""

    async def role_policy(self, role: RoleArn, name: str, slot: Slot | None = None) -> tuple[str | None, float]:
        """Return the text of an inline policy, None when there is none, and when the answer arrived."""

    async def write_role_policy(
        self, role: RoleArn, name: str, document: str | None, permit: WritePermit, slot: Slot
    ) -> None:
        """Replace an inline policy, or with None, delete it."""

    async def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when there is no such provider."""

    async def create_provider(self, issuer: Issuer, audiences: frozenset[str], permit: WritePermit) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already."""

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider."""

    async def client(self, service: str, region: str) -> Any:
        """Return a boto3 client for another service."""

    async def call(
        self,
        operation: str,
        about: str,
        method: Callable[..., Any],
        *,
        slot: Slot | None = None,
        permit: WritePermit | None = None,
        **arguments: Any,
    ) -> Any:
        """Make one call and return its answer."""


class AccountClient:
    """`AccountApi` through boto3.

    Args:
        session: the identity.
        limiter: of the AWS account.
        settings: see `CallSettings`.
        count: takes operation and error code of each call, empty for a success; called on the event loop.
        clock: see `boottime`.
    """

    def __init__(
        self,
        session: boto3.Session,
        limiter: CallLimiter,
        settings: CallSettings,
        count: Callable[[str, str], None] = lambda _operation, _code: None,
        clock: Callable[[], float] = boottime,
    ) -> None:
        # The region only picks the partition's IAM endpoint; IAM is global in each.
        region = session.region_name or "us-east-1"
        self._boto = settings.boto()
        self._iam: Any = session.client("iam", region_name=region, config=self._boto)
        # Policies are compared and kept as the text that IAM sent; botocore would decode and lose it.
        self._iam.meta.events.unregister("after-call.iam", botocore.handlers.json_decode_policies)
        self._sts: Any = session.client("sts", region_name=region, config=self._boto)
        self._calls = Calls(limiter, settings.reads, count, clock)
        self._session = session
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = asyncio.Lock()
        self.limiter = limiter
        self.reads = settings.reads

    async def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is.

        Raises:
            AwsError: see `translated`.
        """
        answer = await self._calls.read("sts:GetCallerIdentity", "", self._sts.get_caller_identity)
        return str(answer["Account"]), str(answer["Arn"])

    async def role(self, role: RoleArn, slot: Slot | None = None) -> RoleObservation:
        """Return the role; in a slot with a single try.

        Raises:
            NotFoundError: no such role, or one of that name under another path.
            AwsError: see `translated`.
        """
        arguments = {"RoleName": role.name}
        if slot is not None:
            answer, at = await self._calls.timed(
                "iam:GetRole", f" on {role}", self._iam.get_role, slot, None, arguments
            )
        else:
            answer, at = await retrying(
                lambda: self._calls.timed("iam:GetRole", f" on {role}", self._iam.get_role, None, None, arguments),
                self.reads,
            )
        raw: Mapping[str, Any] = answer["Role"]
        if raw.get("Arn") != str(role):
            raise NotFoundError(
                f"there is no role {role}; the role named {role.name} is {raw.get('Arn')}",
                code="NoSuchEntity",
                operation="iam:GetRole",
            )
        try:
            document = TrustDocument.parse(raw["AssumeRolePolicyDocument"], stored=True)
        except InvalidValueError as error:
            raise AwsError(f"the trust policy of {role} cannot be read: {error}", operation="iam:GetRole") from error
        tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}
        return RoleObservation(document, int(raw.get("MaxSessionDuration", 3600)), tags, at)

    async def write_trust_policy(self, role: RoleArn, document: str, permit: WritePermit, slot: Slot) -> None:
        """Replace the role's trust policy, with a single try; only `resources.trust_policy` calls this.

        Raises:
            NotLeadingError: the permit is over.
            StaleReadError: the read is too old.
            AwsError: see `translated`. After `UnreachableError` the write may have taken effect.
        """
        await self._calls.once(
            "iam:UpdateAssumeRolePolicy",
            f" on {role}",
            self._iam.update_assume_role_policy,
            slot=slot,
            permit=permit,
            RoleName=role.name,
            PolicyDocument=document,
        )

    async def trust_policy_limit(self) -> int:
        """Return the AWS account's quota; AWS's default when it may not be read.

        Raises:
            AwsError: see `translated`.
        """
        try:
            summary = (await self._calls.read("iam:GetAccountSummary", "", self._iam.get_account_summary))["SummaryMap"]
        except AccessDeniedError as error:
            if error.code not in NO_PERMISSION:  # expired credentials and the like say nothing about the quota
                raise
            summary = {}
        return int(summary.get("AssumeRolePolicySizeQuota", DEFAULT_LIMIT))

    async def roles(self, path_prefix: str = "/") -> AsyncIterator[list[ListedRole]]:
        """Yield the AWS account's roles below a path, page by page; one call each, of at most 1,000 roles.

        Raises:
            AwsError: see `translated`.
        """
        arguments: dict[str, Any] = {"MaxItems": _LIST_PAGE}
        if path_prefix != "/":
            arguments["PathPrefix"] = path_prefix
        while True:
            page = await self._calls.read("iam:ListRoles", "", self._iam.list_roles, **arguments)
            yield [ListedRole(raw["Arn"], raw.get("AssumeRolePolicyDocument", "")) for raw in page["Roles"]]
            if not page.get("IsTruncated"):
                return
            arguments["Marker"] = page["Marker"]

    async def role_tags(self, role: RoleArn) -> Mapping[str, str]:
        """Return the role's tags.

        Raises:
            AwsError: see `translated`.
        """
        tags: dict[str, str] = {}
        arguments: dict[str, Any] = {"RoleName": role.name}
        while True:
            page = await self._calls.read("iam:ListRoleTags", f" on {role}", self._iam.list_role_tags, **arguments)
            tags |= {tag["Key"]: tag["Value"] for tag in page["Tags"]}
            if not page.get("IsTruncated"):
                return tags
            arguments["Marker"] = page["Marker"]

    async def role_policy(self, role: RoleArn, name: str, slot: Slot | None = None) -> tuple[str | None, float]:
        """Return the text of an inline policy of a role, None when there is none, and when the answer arrived.

        Raises:
            AwsError: see `translated`.
        """
        arguments = {"RoleName": role.name, "PolicyName": name}
        operation, about, method = "iam:GetRolePolicy", f" on {role}", self._iam.get_role_policy
        if slot is not None:
            answer, at = await self._calls.sent(operation, about, method, slot, None, arguments)
        else:
            answer, at = await retrying(
                lambda: self._calls.sent(operation, about, method, None, None, arguments), self.reads
            )
        return (None if isinstance(answer, NotFoundError) else str(answer["PolicyDocument"])), at

    async def write_role_policy(
        self, role: RoleArn, name: str, document: str | None, permit: WritePermit, slot: Slot
    ) -> None:
        """Replace an inline policy of a role, or with None, delete it; only `resources.source_policy` calls this.

        Deleting one that is not there succeeds.

        Raises:
            NotLeadingError: the permit is over.
            StaleReadError: the read is too old.
            AwsError: see `translated`.
        """
        if document is not None:
            await self._calls.once(
                "iam:PutRolePolicy",
                f" on {role}",
                self._iam.put_role_policy,
                slot=slot,
                permit=permit,
                RoleName=role.name,
                PolicyName=name,
                PolicyDocument=document,
            )
            return
        with contextlib.suppress(NotFoundError):
            await self._calls.once(
                "iam:DeleteRolePolicy",
                f" on {role}",
                self._iam.delete_role_policy,
                slot=slot,
                permit=permit,
                RoleName=role.name,
                PolicyName=name,
            )

    async def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when the AWS account has no such provider.

        Raises:
            AwsError: see `translated`.
        """
        try:
            raw = await self._calls.read(
                "iam:GetOpenIDConnectProvider",
                f" on {provider}",
                self._iam.get_open_id_connect_provider,
                OpenIDConnectProviderArn=str(provider),
            )
        except NotFoundError:
            return None
        return frozenset(raw.get("ClientIDList", ()))

    async def create_provider(self, issuer: Issuer, audiences: frozenset[str], permit: WritePermit) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `translated`.
        """
        try:
            await self._calls.once(
                "iam:CreateOpenIDConnectProvider",
                f" for {issuer}",
                self._iam.create_open_id_connect_provider,
                permit=permit,
                Url=issuer.url,
                ClientIDList=sorted(audiences),
            )
        except AwsError as error:
            if error.code != "EntityAlreadyExists":
                raise
            return False
        return True

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider; adding one that is there changes nothing.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `translated`.
        """
        await self._calls.once(
            "iam:AddClientIDToOpenIDConnectProvider",
            f" on {provider}",
            self._iam.add_client_id_to_open_id_connect_provider,
            permit=permit,
            OpenIDConnectProviderArn=str(provider),
            ClientID=audience,
        )

    async def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of this identity for another service, made once for each region."""
        async with self._making:  # boto3's sessions are not thread-safe
            made = self._clients.get((service, region))
            if made is None:
                async with self.limiter.slot(0):
                    made = await self.limiter.in_thread(
                        lambda: self._session.client(service, region_name=region, config=self._boto)
                    )
                self._clients[service, region] = made
        return made

    async def call(
        self,
        operation: str,
        about: str,
        method: Callable[..., Any],
        *,
        slot: Slot | None = None,
        permit: WritePermit | None = None,
        **arguments: Any,
    ) -> Any:
        """Make one call of another service's client; see `Calls.once`."""
        return await self._calls.once(operation, about, method, slot=slot, permit=permit, **arguments)
