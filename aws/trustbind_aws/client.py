"""One AWS account as one identity: each method is one AWS call, or one for each page, translated at the border.

Methods are coroutines; how a call is made is in `trustbind_aws.calls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import boto3
import botocore.exceptions
import botocore.handlers

from trustbind.api.identity_context import ContextKey, IdentityContext
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
from trustbind_aws.call_limiter import CallLimiter, Slot, shared_queue
from trustbind_aws.calls import Call, Calls, CallSettings
from trustbind_aws.permits import WritePermit, boottime

__all__ = [
    "NO_PERMISSION",
    "AccountApi",
    "AccountClient",
    "ListedRole",
]

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

    async def create_provider(
        self, issuer: Issuer, audiences: frozenset[str], permit: WritePermit, context: IdentityContext | None = None
    ) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already."""

    async def provider_context(self, provider: ProviderArn) -> IdentityContext | None:
        """Return what an OIDC provider makes of claims; None for nothing, or when there is no such provider."""

    async def write_provider_context(
        self, provider: ProviderArn, context: IdentityContext, permit: WritePermit
    ) -> None:
        """Replace what an OIDC provider makes of claims."""

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider."""

    async def client(self, service: str, region: str) -> Any:
        """Return a boto3 client for another service."""

    async def read(self, call: Call) -> Any:
        """Make a call of another service that writes nothing, with retries; return its answer."""

    async def write(self, call: Call, permit: WritePermit) -> Any:
        """Make a call of another service that writes, with a single try, and return its answer."""


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

    async def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        answer = await self.read(Call("sts:GetCallerIdentity", "", self._sts.get_caller_identity))
        return str(answer["Account"]), str(answer["Arn"])

    async def role(self, role: RoleArn, slot: Slot | None = None) -> RoleObservation:
        """Return the role; in a slot with a single try.

        Raises:
            NotFoundError: no such role, or one of that name under another path.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        call = Call("iam:GetRole", f" on {role}", self._iam.get_role, {"RoleName": role.name})
        answer, at = await self._calls.read(call, slot)
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
            AwsError: see `trustbind_aws.calls.translated`. After `UnreachableError` the write may have taken effect.
        """
        arguments = {"RoleName": role.name, "PolicyDocument": document}
        method = self._iam.update_assume_role_policy
        await self._calls.write(Call("iam:UpdateAssumeRolePolicy", f" on {role}", method, arguments), permit, slot)

    async def trust_policy_limit(self) -> int:
        """Return the AWS account's quota; AWS's default when it may not be read.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        try:
            summary = (await self.read(Call("iam:GetAccountSummary", "", self._iam.get_account_summary)))["SummaryMap"]
        except AccessDeniedError as error:
            if error.code not in NO_PERMISSION:  # expired credentials and the like say nothing about the quota
                raise
            summary = {}
        return int(summary.get("AssumeRolePolicySizeQuota", DEFAULT_LIMIT))

    async def roles(self, path_prefix: str = "/") -> AsyncIterator[list[ListedRole]]:
        """Yield the AWS account's roles below a path, page by page; one call each, of at most 1,000 roles.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arguments: dict[str, Any] = {"MaxItems": _LIST_PAGE}
        if path_prefix != "/":
            arguments["PathPrefix"] = path_prefix
        while True:
            page = await self.read(Call("iam:ListRoles", "", self._iam.list_roles, arguments))
            yield [ListedRole(raw["Arn"], raw.get("AssumeRolePolicyDocument", "")) for raw in page["Roles"]]
            if not page.get("IsTruncated"):
                return
            arguments["Marker"] = page["Marker"]

    async def role_tags(self, role: RoleArn) -> Mapping[str, str]:
        """Return the role's tags.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        tags: dict[str, str] = {}
        arguments: dict[str, Any] = {"RoleName": role.name}
        while True:
            page = await self.read(Call("iam:ListRoleTags", f" on {role}", self._iam.list_role_tags, arguments))
            tags |= {tag["Key"]: tag["Value"] for tag in page["Tags"]}
            if not page.get("IsTruncated"):
                return tags
            arguments["Marker"] = page["Marker"]

    async def role_policy(self, role: RoleArn, name: str, slot: Slot | None = None) -> tuple[str | None, float]:
        """Return the text of an inline policy of a role, None when there is none, and when the answer arrived.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arguments = {"RoleName": role.name, "PolicyName": name}
        call = Call("iam:GetRolePolicy", f" on {role}", self._iam.get_role_policy, arguments, or_none=True)
        answer, at = await self._calls.read(call, slot)
        return (None if answer is None else str(answer["PolicyDocument"])), at

    async def write_role_policy(
        self, role: RoleArn, name: str, document: str | None, permit: WritePermit, slot: Slot
    ) -> None:
        """Replace an inline policy of a role, or with None, delete it.

        Only `resources.source_policy` and `resources.session_revocation` call this, each for a policy of its own name.

        Deleting one that is not there succeeds.

        Raises:
            NotLeadingError: the permit is over.
            StaleReadError: the read is too old.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        about, arguments = f" on {role}", {"RoleName": role.name, "PolicyName": name}
        if document is not None:
            arguments["PolicyDocument"] = document
            call = Call("iam:PutRolePolicy", about, self._iam.put_role_policy, arguments)
        else:
            call = Call("iam:DeleteRolePolicy", about, self._iam.delete_role_policy, arguments, or_none=True)
        await self._calls.write(call, permit, slot)

    async def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when the AWS account has no such provider.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        raw = await self._provider(provider)
        return None if raw is None else frozenset(raw.get("ClientIDList", ()))

    async def provider_context(self, provider: ProviderArn) -> IdentityContext | None:
        """Return what an OIDC provider makes of claims; None for nothing, or when there is no such provider.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        found = (await self._provider(provider) or {}).get("ContextProvider")
        if not found:
            return None
        keys = (ContextKey(k["SourceKey"], k.get("TargetKey", "")) for k in found.get("KeyDefinitionList") or ())
        return IdentityContext(
            found["SubjectSourceKey"],
            found.get("SubjectTypeValue", ""),
            found.get("SubjectTypeSourceKey", ""),
            tuple(sorted(keys)),
        )

    async def write_provider_context(
        self, provider: ProviderArn, context: IdentityContext, permit: WritePermit
    ) -> None:
        """Replace what an OIDC provider makes of claims.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arguments = {"OpenIDConnectProviderArn": str(provider), "ContextProvider": _context_provider(context)}
        method = self._iam.update_open_id_connect_provider
        await self.write(Call("iam:UpdateOpenIDConnectProvider", f" on {provider}", method, arguments), permit)

    async def _provider(self, provider: ProviderArn) -> Any:
        arguments = {"OpenIDConnectProviderArn": str(provider)}
        method = self._iam.get_open_id_connect_provider
        return await self.read(Call("iam:GetOpenIDConnectProvider", f" on {provider}", method, arguments, or_none=True))

    async def create_provider(
        self, issuer: Issuer, audiences: frozenset[str], permit: WritePermit, context: IdentityContext | None = None
    ) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arguments: dict[str, Any] = {"Url": issuer.url, "ClientIDList": sorted(audiences)}
        if context is not None:
            arguments["ContextProvider"] = _context_provider(context)
        method = self._iam.create_open_id_connect_provider
        try:
            await self.write(Call("iam:CreateOpenIDConnectProvider", f" for {issuer}", method, arguments), permit)
        except AwsError as error:
            if error.code != "EntityAlreadyExists":
                raise
            return False
        return True

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider; adding one that is there changes nothing.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        arguments = {"OpenIDConnectProviderArn": str(provider), "ClientID": audience}
        method = self._iam.add_client_id_to_open_id_connect_provider
        await self.write(Call("iam:AddClientIDToOpenIDConnectProvider", f" on {provider}", method, arguments), permit)

    async def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of this identity for another service, made once for each region."""
        with shared_queue():
            async with self._making:  # boto3's sessions are not thread-safe
                made = self._clients.get((service, region))
                if made is None:
                    async with self.limiter.slot(0):
                        made = await self.limiter.in_thread(
                            lambda: self._session.client(service, region_name=region, config=self._boto)
                        )
                    self._clients[service, region] = made
        return made

    async def read(self, call: Call) -> Any:
        """Make a call of another service that writes nothing, with retries; return its answer.

        Raises:
            AwsError: see `trustbind_aws.calls.translated`.
        """
        return (await self._calls.read(call))[0]

    async def write(self, call: Call, permit: WritePermit) -> Any:
        """Make a call of another service that writes, with a single try, and return its answer.

        Raises:
            NotLeadingError: the permit is over.
            AwsError: see `trustbind_aws.calls.translated`.
        """
        return await self._calls.write(call, permit)


def _context_provider(context: IdentityContext) -> dict[str, Any]:
    """Return the parameter that says what a provider makes of claims (IAM API reference, ContextProvider)."""
    keys = [{"SourceKey": key.source, **({"TargetKey": key.target} if key.target else {})} for key in context.keys]
    texts = (
        ("SubjectSourceKey", context.subject),
        ("SubjectTypeValue", context.type_value),
        ("SubjectTypeSourceKey", context.type_source),
    )
    return {**{name: text for name, text in texts if text}, **({"KeyDefinitionList": keys} if keys else {})}
