"""AWS accounts in memory, for tests of everything above the HTTP calls.

`FakeAccount` is a `trustbind_aws.client.AccountApi` over dictionaries, and `FakeSessions` a
`trustbind_aws.account_pool.SessionSource` that gives access to such accounts::

    account = FakeAccount("444455556666")
    account.roles[ROLE] = TrustDocument((OPS,))  # or the policy's text
    pool = AccountPool(FakeSessions(account), clock)

    account.errors["UpdateAssumeRolePolicy"] = [ThrottledError("slow")]  # the next call fails
    account.always["GetRole"] = DENIED  # every call fails
    account.unanswered["UpdateAssumeRolePolicy"] = [True]  # the next call takes effect and gets no answer
    account.before["UpdateAssumeRolePolicy"] = [foreign_write]  # between our read and our write
    account.stale_reads = 2  # two reads after a write show the document from before it

    assert account.log == [("GetRole", str(ROLE)), ("UpdateAssumeRolePolicy", str(ROLE)), ("GetRole", str(ROLE))]
    assert account.calls["GetRole"] == 2
    assert account.roles[ROLE].statements == (OPS,)

Operations have AWS's names. Calls spend the budget of the real `CallLimiter`, and a write checks its permit right
before its effect, as in the thread that sends it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from trustbind.api.identity_context import IdentityContext
from trustbind.backoff import Backoff
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, PolicyRejectedError, UnreachableError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind.policy.source_policy import policy_name, targets_of
from trustbind.policy.trust_document import TrustDocument, document_size
from trustbind.reconcile.observation import RoleObservation
from trustbind_aws.call_limiter import CallLimiter, Slot
from trustbind_aws.calls import Call, retrying
from trustbind_aws.client import NO_PERMISSION, ListedRole
from trustbind_aws.permits import WritePermit, boottime
from trustbind_aws.sessions import ManagerRole

__all__ = ["FakeAccount", "FakeSessions", "Hook", "Roles"]

T = TypeVar("T")

Hook = Callable[[], object]
"""Called between two steps of a call; an awaitable that it returns is awaited."""

_ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")


ListRoles = Callable[[str], AsyncIterator[list[ListedRole]]]


class Roles(MutableMapping[RoleArn, TrustDocument]):
    """Trust policies by role. Takes a document or its text, and returns the document that the text is parsed to.

    Called, it is the method `AccountApi.roles`.

    Attributes:
        texts: what IAM stores, character by character.
    """

    def __init__(self, pages: ListRoles) -> None:
        self.texts: dict[RoleArn, str] = {}
        self._pages = pages

    def __call__(self, path_prefix: str = "/") -> AsyncIterator[list[ListedRole]]:
        """Yield the roles below a path, page by page."""
        return self._pages(path_prefix)

    def __getitem__(self, role: RoleArn) -> TrustDocument:
        return TrustDocument.parse(self.texts[role], stored=True)

    def __setitem__(self, role: RoleArn, document: TrustDocument | str) -> None:
        self.texts[role] = document if isinstance(document, str) else document.to_json()

    def __delitem__(self, role: RoleArn) -> None:
        del self.texts[role]

    def __iter__(self) -> Iterator[RoleArn]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


class FakeAccount:
    """One AWS account; see the module.

    Attributes:
        account_id: where the credentials lead.
        partition: of the caller's ARN.
        roles: see `Roles`.
        policies: the text of inline policies, by role and name.
        tags: of every role.
        max_session_seconds: of every role.
        provider: the client ids of the OIDC provider of ``issuer``; None: there is none.
        context: what the OIDC provider of ``issuer`` makes of claims.
        others: the client ids of other issuers' providers, by the issuer's host and path.
        limit: characters that a trust policy may have; reported, and not enforced.
        inline_limit: characters that the inline policies of one role may have together; enforced.
        errors: by operation, what its next calls raise, in order.
        always: by operation, what all its calls raise.
        unanswered: by operation, its next calls get no answer; whether each takes effect.
        before: by operation, what happens right before its next calls take effect, in order, one for each call. A write
            checks its permit after it.
        after: by operation, what happens after the effect of its next calls and before their answer.
        latency: by operation, seconds from sending to the answer.
        stale_reads: how many reads of a role after a write show the document from before it.
        page_size: roles in a page of ListRoles.
        log: each call as operation and subject, in the order in which they were sent.
        sent_at: when each call of the log was sent, by ``clock``.
        calls: how often each operation was called.
        clients: by service and region, what `client` returns.
        clock: see `trustbind_aws.permits.boottime`.
        limiter: the budget; `FakeSessions` sets it.
        reads: the pauses between tries of a call that writes nothing; by default there is one try.
    """

    def __init__(self, account_id: str = "444455556666", issuer: Issuer = _ISSUER) -> None:
        self.account_id = account_id
        self.partition = "aws"
        self.roles = Roles(self._role_pages)
        self.policies: dict[tuple[RoleArn, str], str] = {}
        self.tags: dict[str, str] = {}
        self.max_session_seconds = 3600
        self.provider: set[str] | None = None
        self.context: IdentityContext | None = None
        self.others: dict[str, set[str]] = {}
        self.limit = DEFAULT_LIMIT
        self.inline_limit = 10_240
        self.errors: dict[str, list[AwsError]] = {}
        self.always: dict[str, AwsError] = {}
        self.unanswered: dict[str, list[bool]] = {}
        self.before: dict[str, list[Hook]] = {}
        self.after: dict[str, list[Hook]] = {}
        self.latency: dict[str, float] = {}
        self.stale_reads = 0
        self.page_size = 1000
        self.log: list[tuple[str, str]] = []
        self.sent_at: list[float] = []
        self.calls: Counter[str] = Counter()
        self.clients: dict[tuple[str, str], Any] = {}
        self.clock: Callable[[], float] = boottime
        self.limiter = CallLimiter()
        self.reads = Backoff(0.0, 0.0, tries=1)
        self._issuer = issuer
        self._stale: dict[RoleArn, tuple[str, int]] = {}

    @property
    def operations(self) -> list[str]:
        """The operations of the log, in order."""
        return [operation for operation, _ in self.log]

    def forget_calls(self) -> None:
        """Empty the log and the counts."""
        self.log.clear()
        self.sent_at.clear()
        self.calls.clear()

    def targets(self, role: RoleArn) -> frozenset[str] | None:
        """Return the roles that our inline policy of a source role allows; see `targets_of`."""
        text = self.policies.get((role, policy_name(self._issuer)))
        return targets_of(None if text is None else json.loads(text))

    def add_statement(self, role: RoleArn, statement: Mapping[str, Any]) -> None:
        """Add a statement to a trust policy as another writer would: read, and written back at once."""
        document = self.roles[role]
        self.roles[role] = document.with_statements((*document.statements, statement))

    async def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is."""

        def answer() -> tuple[str, str]:
            return self.account_id, f"arn:{self.partition}:sts::{self.account_id}:assumed-role/manager/test"

        return await self._read("sts:GetCallerIdentity", "", answer)

    async def role(self, role: RoleArn, slot: Slot | None = None) -> RoleObservation:
        """Return the role."""

        def answer() -> TrustDocument:
            text = self._shown(role)
            if text is None:
                raise NotFoundError("no such role", code="NoSuchEntity", operation=f"iam:GetRole on {role}")
            return TrustDocument.parse(text, stored=True)

        document = await self._read("iam:GetRole", str(role), answer, slot)
        return RoleObservation(document, self.max_session_seconds, dict(self.tags), self.clock())

    async def write_trust_policy(self, role: RoleArn, document: str, permit: WritePermit, slot: Slot) -> None:
        """Replace the role's trust policy."""

        def effect() -> None:
            operation = f"iam:UpdateAssumeRolePolicy on {role}"
            if role not in self.roles:
                raise NotFoundError("no such role", code="NoSuchEntity", operation=operation)
            if not TrustDocument.parse(document, stored=True).statements:
                raise PolicyRejectedError("no statement", code="MalformedPolicyDocument", operation=operation)
            self._stale[role] = (self.roles.texts[role], self.stale_reads)
            self.roles[role] = document

        await self._call("iam:UpdateAssumeRolePolicy", str(role), effect, slot, permit)

    async def trust_policy_limit(self) -> int:
        """Return the quota; AWS's default when it may not be read."""
        try:
            return await self._read("iam:GetAccountSummary", "", lambda: self.limit)
        except AccessDeniedError as error:
            if error.code not in NO_PERMISSION:
                raise
            return DEFAULT_LIMIT

    async def role_tags(self, role: RoleArn) -> Mapping[str, str]:
        """Return the role's tags."""

        def answer() -> Mapping[str, str]:
            if role not in self.roles:
                raise NotFoundError("no such role", code="NoSuchEntity", operation=f"iam:ListRoleTags on {role}")
            return dict(self.tags)

        return await self._read("iam:ListRoleTags", str(role), answer)

    async def role_policy(self, role: RoleArn, name: str, slot: Slot | None = None) -> tuple[str | None, float]:
        """Return the text of an inline policy, None when there is none, and when the answer arrived."""
        try:
            text = await self._read("iam:GetRolePolicy", str(role), lambda: self.policies.get((role, name)), slot)
        except NotFoundError:
            text = None
        return text, self.clock()

    async def write_role_policy(
        self, role: RoleArn, name: str, document: str | None, permit: WritePermit, slot: Slot
    ) -> None:
        """Replace an inline policy, or with None, delete it."""
        operation = "iam:DeleteRolePolicy" if document is None else "iam:PutRolePolicy"

        def effect() -> None:
            if document is None:
                self.policies.pop((role, name), None)
                return
            if role not in self.roles:
                raise NotFoundError("no such role", code="NoSuchEntity", operation=f"{operation} on {role}")
            others = [text for (r, n), text in self.policies.items() if r == role and n != name]
            if sum(document_size(json.loads(text)) for text in (document, *others)) > self.inline_limit:
                raise PolicyRejectedError(
                    "Maximum policy size exceeded", code="LimitExceeded", operation=f"{operation} on {role}"
                )
            self.policies[role, name] = document

        await self._call(operation, str(role), effect, slot, permit)

    async def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when there is no such provider."""

        def answer() -> frozenset[str] | None:
            listed = self._client_ids(provider.host_path)
            return None if listed is None else frozenset(listed)

        try:
            return await self._read("iam:GetOpenIDConnectProvider", str(provider), answer)
        except NotFoundError:
            return None

    async def provider_context(self, provider: ProviderArn) -> IdentityContext | None:
        """Return what the provider makes of claims."""
        return await self._read("iam:GetOpenIDConnectProvider", str(provider), lambda: self.context)

    async def write_provider_context(
        self, provider: ProviderArn, context: IdentityContext, permit: WritePermit
    ) -> None:
        """Replace what the provider makes of claims."""

        def effect() -> None:
            self.context = context

        await self._call("iam:UpdateOpenIDConnectProvider", str(provider), effect, None, permit)

    async def create_provider(
        self, issuer: Issuer, audiences: frozenset[str], permit: WritePermit, context: IdentityContext | None = None
    ) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already."""

        def effect() -> bool:
            if self._client_ids(issuer.host_path) is not None:
                return False
            if issuer.host_path == self._issuer.host_path:
                self.provider, self.context = set(audiences), context
            else:
                self.others[issuer.host_path] = set(audiences)
            return True

        try:
            return await self._call("iam:CreateOpenIDConnectProvider", str(issuer), effect, None, permit)
        except AwsError as error:
            if error.code != "EntityAlreadyExists":
                raise
            return False

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider."""
        operation = "iam:AddClientIDToOpenIDConnectProvider"

        def effect() -> None:
            listed = self._client_ids(provider.host_path)
            if listed is None:
                raise NotFoundError("no such provider", code="NoSuchEntity", operation=f"{operation} on {provider}")
            listed.add(audience)

        await self._call(operation, str(provider), effect, None, permit)

    async def client(self, service: str, region: str) -> Any:
        """Return what `clients` has."""
        return self.clients[service, region]

    async def read(self, call: Call) -> Any:
        """Make a call of another service that writes nothing, with retries; return its answer."""
        return await self._read(call.operation, call.subject.strip(), lambda: call.method(**call.arguments))

    async def write(self, call: Call, permit: WritePermit) -> Any:
        """Make a call of another service that writes, with a single try; return its answer."""
        return await self._call(
            call.operation, call.subject.strip(), lambda: call.method(**call.arguments), None, permit
        )

    async def _role_pages(self, path_prefix: str) -> AsyncIterator[list[ListedRole]]:
        listed = sorted(str(role) for role in self.roles if role.path.startswith(path_prefix))
        pages = [listed[at : at + self.page_size] for at in range(0, len(listed), self.page_size)] or [[]]
        for page in pages:

            def answer(page: list[str] = page) -> list[ListedRole]:
                found = [(arn, self.roles.texts.get(RoleArn.parse(arn))) for arn in page]
                return [ListedRole(arn, quote(text)) for arn, text in found if text is not None]

            yield await self._read("iam:ListRoles", path_prefix, answer)

    async def _read(self, operation: str, subject: str, answer: Callable[[], T], slot: Slot | None = None) -> T:
        if slot is not None:
            return await self._call(operation, subject, answer, slot, None)
        result: T = await retrying(lambda: self._call(operation, subject, answer, None, None), self.reads)
        return result

    async def _call(
        self,
        operation: str,
        subject: str,
        effect: Callable[[], T],
        slot: Slot | None,
        permit: WritePermit | None,
    ) -> T:
        name = operation.partition(":")[2]
        async with self.limiter.call(slot):
            await _happen(self.before, name)
            if permit is not None:
                permit.check(operation)
            self.log.append((name, subject))
            self.sent_at.append(self.clock())
            self.calls[name] += 1
            await asyncio.sleep(self.latency.get(name, 0.0) / 2)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            if name in self.always:
                raise self.always[name]
            is_answered, has_effect = True, True
            if self.unanswered.get(name):
                is_answered, has_effect = False, self.unanswered[name].pop(0)
            result = effect() if has_effect else None
            await _happen(self.after, name)
            await asyncio.sleep(self.latency.get(name, 0.0) / 2)
            if not is_answered:
                raise UnreachableError("no answer from AWS", operation=f"{operation} on {subject}")
            return result  # type: ignore[return-value] # without an effect there is no answer

    def _shown(self, role: RoleArn) -> str | None:
        old, left = self._stale.get(role, ("", 0))
        if left and role in self.roles:
            self._stale[role] = (old, left - 1)
            return old
        return self.roles.texts.get(role)

    def _client_ids(self, host_path: str) -> set[str] | None:
        return self.provider if host_path == self._issuer.host_path else self.others.get(host_path)


class RandomLatency(dict[str, float]):
    """`FakeAccount.latency` with a random value for each call."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def get(self, key: str, default: object = None) -> float:
        """Return some seconds, seldom many."""
        del key, default
        return self._chance.choice((0.0, 0.01, 0.1, 0.5, 3.0))


class FakeSessions:
    """Gives access to `FakeAccount`s.

    Attributes:
        accounts: by account id.
        closed: by account id, what assuming its manager role raises.
        assumed: manager roles that were asked for.
        forgotten: manager roles whose sessions were dropped.
        own: where the caller's own identity leads.
    """

    def __init__(self, *accounts: FakeAccount) -> None:
        self.accounts = {account.account_id: account for account in accounts}
        self.closed: dict[str, AwsError] = {}
        self.assumed: list[ManagerRole] = []
        self.forgotten: list[ManagerRole] = []
        self.own: FakeAccount | None = None
        self.caller_arn = "arn:aws:sts::999900001111:assumed-role/trustbind-operator/pod"

    async def direct(self, limiter: CallLimiter) -> FakeAccount:
        """Return access as the caller's own identity."""
        await asyncio.sleep(0)
        assert self.own is not None
        self.own.limiter = limiter
        return self.own

    async def own_caller(self, limiter: CallLimiter) -> str:  # noqa: ARG002 - no call is counted
        """Return the ARN of the caller's own identity."""
        return self.caller_arn

    async def assume(self, manager: ManagerRole, limiter: CallLimiter) -> FakeAccount:
        """Return access as a manager role."""
        self.assumed.append(manager)
        await asyncio.sleep(0)
        account_id = manager.role.account_id
        if account_id in self.closed:
            raise self.closed[account_id]
        account = self.accounts[account_id]
        account.limiter = limiter
        return account

    def forget(self, manager: ManagerRole) -> None:
        """Note it."""
        self.forgotten.append(manager)


async def _happen(hooks: Mapping[str, list[Hook]], operation: str) -> None:
    if hooks.get(operation):
        result = hooks[operation].pop(0)()
        if inspect.isawaitable(result):
            await result
