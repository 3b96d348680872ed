"""The way into AWS: IAM and STS through boto3, with foreign exceptions translated at the border.

`trustbind_aws.eks` is the same for EKS, by way of `AccountAccess.call`; nothing else talks to AWS.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import boto3
import botocore.exceptions
from botocore.config import Config

from trustbind import __version__
from trustbind.errors import (
    AWS_CODES,
    AccessDeniedError,
    AwsError,
    InvalidValueError,
    NotFoundError,
    UnreachableError,
)
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.session_names import fit
from trustbind.identity.subjects import Issuer
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind.policy.trust_document import TrustDocument

__all__ = [
    "NO_PERMISSION",
    "AccountAccess",
    "AwsAccess",
    "ManagerRole",
    "RoleState",
    "TrustStore",
    "Unwatched",
    "Watch",
    "translated",
]


CONNECT_TIMEOUT_SECONDS: Final = 5
READ_TIMEOUT_SECONDS: Final = 15
RENEW_BEFORE: Final = timedelta(minutes=5)
"""A manager session is renewed this long before it ends, so that no call meets an expired one."""

MANAGER_SESSION_SECONDS: Final = 3600
"""What role chaining allows at most (IAM User Guide, "Role chaining"); the operator's own identity is a role too."""

_LIST_PAGE: Final = 1000  # IAM API reference, ListRoles, MaxItems

NO_PERMISSION: Final = frozenset({"AccessDenied", "AccessDeniedException"})
"""AWS's codes for a permission that lacks, and not for credentials that are no good."""

_BOTO_CONFIG: Final = Config(
    connect_timeout=CONNECT_TIMEOUT_SECONDS,
    read_timeout=READ_TIMEOUT_SECONDS,
    # Three attempts with back-off, unless AWS_MAX_ATTEMPTS says otherwise. More would keep threads busy; the operator
    # has a budget of calls per account, and tries whole roles again.
    retries={"mode": "standard"},
    user_agent_extra=f"trustbind/{__version__}",
    max_pool_connections=25,
)

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class RoleState:
    """A role as IAM has it.

    Attributes:
        document: its trust policy.
        max_session_seconds: its MaxSessionDuration.
        tags: its tags.
    """

    document: TrustDocument
    max_session_seconds: int
    tags: Mapping[str, str]


class TrustStore(Protocol):
    """What reconciliation needs of one account."""

    def read(self, role: RoleArn) -> RoleState:
        """Return the role; raises NotFoundError when there is none."""

    def write(self, role: RoleArn, document: TrustDocument) -> None:
        """Replace the role's trust policy."""

    def trust_policy_limit(self) -> int:
        """Return how long a trust policy may be in this account, in characters without white space."""


@dataclass(frozen=True, slots=True)
class ManagerRole:
    """How to get into an account: the role to assume, and what to say then."""

    role: RoleArn
    external_id: str = ""


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn boto's exceptions into the tree of `trustbind.errors`.

    Args:
        operation: said in the message, such as ``iam:GetRole on arn:...``.
    """
    try:
        yield
    except botocore.exceptions.ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code", ""))
        raise AWS_CODES.get(code, AwsError)(
            str(details.get("Message", "")) or code or "AWS gave no reason", code=code, operation=operation
        ) from error
    except botocore.exceptions.NoCredentialsError as error:
        raise UnreachableError(
            "there are no AWS credentials: set AWS_PROFILE or the AWS_* variables, or give the pod a role",
            operation=operation,
        ) from error
    except botocore.exceptions.NoRegionError as error:
        raise UnreachableError("no AWS region is set: set AWS_REGION", operation=operation) from error
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError) as error:
        raise UnreachableError(f"no answer from AWS: {error}", operation=operation) from error


class Watch(Protocol):
    """Stands beside every call of AWS: the operator counts them and keeps them within a budget."""

    def before(self, operation: str) -> None:
        """Return when the call may be made."""

    def after(self, operation: str, code: str) -> None:
        """Take note of the outcome; ``code`` is empty for a success."""


class Unwatched:
    """For those who make few calls."""

    def before(self, operation: str) -> None:
        """Return at once."""

    def after(self, operation: str, code: str) -> None:
        """Take no note."""


class AccountAccess:
    """One account's IAM, as one identity. Thread-safe, since boto3 clients are."""

    def __init__(self, session: boto3.Session, watch: Watch | None = None) -> None:
        # The region only picks the partition's IAM endpoint; IAM is global in each.
        region = session.region_name or "us-east-1"
        self._iam: Any = session.client("iam", region_name=region, config=_BOTO_CONFIG)
        self._sts: Any = session.client("sts", region_name=region, config=_BOTO_CONFIG)
        self._watch: Watch = watch or Unwatched()
        self._limit: int | None = None
        self._session = session
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}

    def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is.

        Raises:
            AwsError: see `translated`.
        """
        answer = self.call("sts:GetCallerIdentity", "", self._sts.get_caller_identity)
        return str(answer["Account"]), str(answer["Arn"])

    def read(self, role: RoleArn) -> RoleState:
        """Return the role.

        Raises:
            NotFoundError: no such role, or one of that name under another path.
            AwsError: see `translated`.
        """
        raw: Mapping[str, Any] = self.call("iam:GetRole", f" on {role}", self._iam.get_role, RoleName=role.name)["Role"]
        if raw.get("Arn") != str(role):
            raise NotFoundError(
                f"there is no role {role}; the role named {role.name} is {raw.get('Arn')}",
                code="NoSuchEntity",
                operation="iam:GetRole",
            )
        try:
            document = TrustDocument.parse(raw["AssumeRolePolicyDocument"])
        except InvalidValueError as error:
            raise AwsError(f"the trust policy of {role} cannot be read: {error}", operation="iam:GetRole") from error
        tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", ())}
        return RoleState(document, int(raw.get("MaxSessionDuration", MANAGER_SESSION_SECONDS)), tags)

    def write(self, role: RoleArn, document: TrustDocument) -> None:
        """Replace the role's trust policy.

        Raises:
            AwsError: see `translated`.
        """
        self.call(
            "iam:UpdateAssumeRolePolicy",
            f" on {role}",
            self._iam.update_assume_role_policy,
            RoleName=role.name,
            PolicyDocument=document.to_json(),
        )

    def trust_policy_limit(self, *, anew: bool = False) -> int:
        """Return the account's quota, asked once, or ``anew``; AWS's default when it may not be asked.

        Raises:
            AwsError: see `translated`.
        """
        if anew or self._limit is None:
            try:
                summary = self.call("iam:GetAccountSummary", "", self._iam.get_account_summary)["SummaryMap"]
            except AccessDeniedError as error:
                if error.code not in NO_PERMISSION:  # expired credentials and the like say nothing about the quota
                    raise
                summary = {}
            limit = self._limit = int(summary.get("AssumeRolePolicySizeQuota", DEFAULT_LIMIT))
            return limit
        return self._limit

    def roles_with(self, sid_prefix: str) -> list[RoleArn]:
        """Return the account's roles whose trust policy has a statement with such a Sid.

        A listing shows each role's document, so this takes one call for up to 1,000 roles.

        Raises:
            AwsError: see `translated`.
        """
        found: list[RoleArn] = []
        marker: dict[str, str] = {}
        while True:
            page = self.call("iam:ListRoles", "", self._iam.list_roles, MaxItems=_LIST_PAGE, **marker)
            found += [RoleArn.parse(raw["Arn"]) for raw in page["Roles"] if _has_sid(raw, sid_prefix)]
            if not page.get("IsTruncated"):
                return sorted(found)
            marker = {"Marker": page["Marker"]}

    def role_policy(self, role: RoleArn, name: str) -> Mapping[str, Any] | None:
        """Return an inline policy of a role; None when there is none of that name.

        Raises:
            AwsError: see `translated`.
        """
        try:
            raw = self.call(
                "iam:GetRolePolicy", f" on {role}", self._iam.get_role_policy, RoleName=role.name, PolicyName=name
            )
        except NotFoundError:
            return None
        policy = raw["PolicyDocument"]
        return policy if isinstance(policy, Mapping) else {}

    def write_role_policy(self, role: RoleArn, name: str, policy: Mapping[str, Any] | None) -> None:
        """Replace an inline policy of a role, or with None, remove it; one that is not there is as good as removed.

        Raises:
            AwsError: see `translated`.
        """
        if policy is not None:
            self.call(
                "iam:PutRolePolicy",
                f" on {role}",
                self._iam.put_role_policy,
                RoleName=role.name,
                PolicyName=name,
                PolicyDocument=json.dumps(policy, separators=(",", ":")),
            )
            return
        with contextlib.suppress(NotFoundError):
            self.call(
                "iam:DeleteRolePolicy", f" on {role}", self._iam.delete_role_policy, RoleName=role.name, PolicyName=name
            )

    def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when the account has no such provider.

        Raises:
            AwsError: see `translated`.
        """
        try:
            raw = self.call(
                "iam:GetOpenIDConnectProvider",
                f" on {provider}",
                self._iam.get_open_id_connect_provider,
                OpenIDConnectProviderArn=str(provider),
            )
        except NotFoundError:
            return None
        return frozenset(raw.get("ClientIDList", ()))

    def create_provider(self, issuer: Issuer, audiences: frozenset[str]) -> None:
        """Create the issuer's OIDC provider. One that somebody created meanwhile is as good.

        Raises:
            AwsError: see `translated`.
        """
        try:
            self.call(
                "iam:CreateOpenIDConnectProvider",
                f" for {issuer}",
                self._iam.create_open_id_connect_provider,
                Url=issuer.url,
                ClientIDList=sorted(audiences),
            )
        except AwsError as error:
            if error.code != "EntityAlreadyExists":
                raise

    def add_audience(self, provider: ProviderArn, audience: str) -> None:
        """Add a client id to an OIDC provider; adding one that is there changes nothing.

        Raises:
            AwsError: see `translated`.
        """
        self.call(
            "iam:AddClientIDToOpenIDConnectProvider",
            f" on {provider}",
            self._iam.add_client_id_to_open_id_connect_provider,
            OpenIDConnectProviderArn=str(provider),
            ClientID=audience,
        )

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of this identity for another service, made once for each region."""
        with self._lock:  # boto3's sessions are not thread-safe, as its clients are
            made = self._clients.get((service, region))
            if made is None:
                made = self._session.client(service, region_name=region, config=_BOTO_CONFIG)
                self._clients[service, region] = made
            return made

    def call(self, operation: str, about: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Return what ``method`` returns, called within the account's budget, and counted.

        Args:
            operation: such as ``iam:GetRole``.
            about: what follows it in messages, such as `` on arn:...``.
            method: of a boto3 client.
            arguments: for it.

        Raises:
            AwsError: see `translated`.
        """
        self._watch.before(operation)
        try:
            with translated(operation + about):
                answer = method(**arguments)
        except AwsError as error:
            self._watch.after(operation, error.code or type(error).__name__)
            raise
        self._watch.after(operation, "")
        return answer


def _has_sid(raw: Mapping[str, Any], prefix: str) -> bool:
    try:
        statements = TrustDocument.parse(raw["AssumeRolePolicyDocument"]).statements
    except InvalidValueError:
        return False
    return any(str(statement.get("Sid", "")).startswith(prefix) for statement in statements)


class AwsAccess:
    """Ways into accounts: the caller's own identity, and manager roles assumed from it and cached.

    Args:
        who: goes into the session's name, so that CloudTrail in the target account says who came and why.
        clock: the time, aware.
        watch: returns what stands beside the calls into an account, by the account's id; empty for the caller's own.
    """

    def __init__(
        self,
        who: str,
        clock: Clock = lambda: datetime.now(UTC),
        watch: Callable[[str], Watch] = lambda _: Unwatched(),
    ) -> None:
        self._who = fit(who)
        self._clock = clock
        self._watch = watch
        self._lock = threading.Lock()
        self._own: boto3.Session | None = None
        self._direct: AccountAccess | None = None
        self._assumed: dict[ManagerRole, tuple[datetime, AccountAccess]] = {}
        self._pending: dict[ManagerRole, threading.Lock] = {}

    def direct(self) -> AccountAccess:
        """Return access as the caller's own identity."""
        with self._lock:
            if self._direct is None:
                self._direct = AccountAccess(self._session(), self._watch(""))
            return self._direct

    def assume(self, manager: ManagerRole) -> AccountAccess:
        """Return access as the manager role.

        Raises:
            AccessDeniedError: the role may not be assumed, or the external id is wrong; AWS tells no difference.
            AwsError: see `translated`.
        """
        with self._lock:
            gate = self._pending.setdefault(manager, threading.Lock())
        with gate:  # one AssumeRole at a time for each manager role; other accounts go on
            cached = self._assumed.get(manager)
            if cached is not None and cached[0] - RENEW_BEFORE > self._clock():
                return cached[1]
            with self._lock:
                session = self._session()
            arguments = {"ExternalId": manager.external_id} if manager.external_id else {}
            sts = session.client("sts", region_name=session.region_name or "us-east-1", config=_BOTO_CONFIG)
            with translated(f"sts:AssumeRole on {manager.role}"):
                answer = sts.assume_role(
                    RoleArn=str(manager.role),
                    RoleSessionName=self._who,
                    DurationSeconds=MANAGER_SESSION_SECONDS,
                    **arguments,
                )
            credentials = answer["Credentials"]
            access = AccountAccess(
                boto3.Session(
                    aws_access_key_id=credentials["AccessKeyId"],
                    aws_secret_access_key=credentials["SecretAccessKey"],
                    aws_session_token=credentials["SessionToken"],
                    region_name=session.region_name,
                ),
                self._watch(manager.role.account_id),
            )
            self._assumed[manager] = (credentials["Expiration"], access)
            return access

    def forget(self, manager: ManagerRole) -> None:
        """Drop a cached session: its credentials were refused."""
        self._assumed.pop(manager, None)

    def _session(self) -> boto3.Session:
        if self._own is None:
            with translated("reading the AWS configuration"):
                self._own = boto3.Session()
        return self._own
