"""Simulated AWS accounts: the truth, and the access that one process has to it.

A call leaves its process, takes effect some time later, and is answered some time after that. The process may be
paused or killed meanwhile; the effect comes all the same. A call may be throttled, fail after its effect, or get no
answer, and then it takes effect before its time-out or never. A read may show a state from some seconds ago (IAM User
Guide, "Changes that I make are not always immediately visible").
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from trustbind.api.identity_context import IdentityContext
from trustbind.backoff import Backoff
from trustbind.errors import AwsError, NotFoundError, PolicyRejectedError, ThrottledError, UnreachableError
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.pod_identity import OWNER_TAG
from trustbind.policy.trust_document import TrustDocument, statement_text
from trustbind.reconcile.observation import RoleObservation
from trustbind_aws.call_limiter import CallLimiter, Slot
from trustbind_aws.calls import Call, retrying
from trustbind_aws.client import ListedRole
from trustbind_aws.permits import WritePermit
from trustbind_aws.sessions import ManagerRole

if TYPE_CHECKING:
    from simulation.operators import Operator
    from simulation.world import World

__all__ = [
    "CALL_SECONDS",
    "Access",
    "Answer",
    "Association",
    "CloudAccount",
    "CloudRole",
    "Faults",
    "Sessions",
    "parsed",
]

T = TypeVar("T")

CALL_SECONDS: Final = 20.0
"""Time-out of a call: 5 s for the connection and 15 s for the answer, the defaults."""

_INLINE_LIMIT: Final = 10_240


@dataclass(slots=True)
class Faults:
    """How often what goes wrong; all of it is off after the active part of a world.

    Attributes:
        throttled: share of calls that are throttled.
        failed: share of calls that fail on the server's side, some after their effect.
        silent: share of calls that get no answer.
        stale: share of reads that show a former state.
        stale_seconds: how old that may be.
        latency: the longest usual time of one leg of a call.
        paused_in_send: share of calls before which the whole process stops.
        kubernetes: share of writes to Kubernetes that fail.
        watch: share of deletions of which a watch has no event.
    """

    throttled: float = 0.0
    failed: float = 0.0
    silent: float = 0.0
    stale: float = 0.0
    stale_seconds: float = 4.0
    latency: float = 0.05
    paused_in_send: float = 0.0
    kubernetes: float = 0.0
    watch: float = 0.0


@lru_cache(maxsize=4096)
def parsed(text: str) -> TrustDocument:
    """Return the document of a stored text."""
    return TrustDocument.parse(text, stored=True)


@dataclass(frozen=True, slots=True)
class Version:
    """A trust policy from one moment on."""

    since: float
    text: str


@dataclass(slots=True)
class CloudRole:
    """A role.

    Attributes:
        arn: its ARN.
        versions: of its trust policy, the present one last.
        tags: its tags.
        inline: its inline policies.
        since: text of each statement of the present trust policy to the time since when it is there.
        removed: text of a statement that was removed to the time of that.
        unique_id: IAM's id of the role, which another role of the same name does not have.
        created: when it was created.
    """

    arn: RoleArn
    unique_id: str
    created: float
    versions: list[Version] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    inline: dict[str, str] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    removed: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The present trust policy."""
        return self.versions[-1].text

    @property
    def document(self) -> TrustDocument:
        """The present trust policy."""
        return parsed(self.text)

    def put(self, text: str, now: float) -> None:
        """Replace the trust policy."""
        texts = [statement_text(s) for s in parsed(text).statements]
        self.removed |= {t: now for t in self.since if t not in texts}
        self.since = {t: self.since.get(t, now) for t in texts}
        self.versions.append(Version(now, text))
        del self.versions[:-40]

    def shown(self, at: float) -> str:
        """Return the trust policy at a time."""
        return next((v.text for v in reversed(self.versions) if v.since <= at), self.versions[0].text)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to GetRole.

    Attributes:
        document: the trust policy as it was shown; None: there is no such role.
        tags: of the role.
        at: when IAM looked, in the loop's time.
        truth: the present trust policy then.
        answered_at: the same for the process, by its clock.
    """

    document: TrustDocument | None
    tags: Mapping[str, str]
    at: float
    truth: str
    answered_at: float

    @property
    def is_stale(self) -> bool:
        """Whether it showed a former state."""
        return self.document is not None and self.document.text != self.truth


@dataclass(frozen=True, slots=True)
class Association:
    """An EKS Pod Identity association."""

    id: str
    namespace: str
    service_account: str
    role: str
    tags: Mapping[str, str]


class CloudAccount:
    """One AWS account.

    Args:
        world: where it is.
        account_id: its id.
        limit: characters that a trust policy may have.
    """

    def __init__(self, world: World, account_id: str, limit: int) -> None:
        self._world = world
        self.account_id = account_id
        self.limit = limit
        self.roles: dict[str, CloudRole] = {}
        self.providers: dict[str, set[str]] = {}
        self.accepted_since: dict[tuple[str, str], float] = {}
        """By host and path of a provider and audience, when the provider began to accept it."""
        self.associations: dict[tuple[str, str], Association] = {}
        self.deleted: dict[tuple[str, str], str] = {}
        """By namespace and service account, the owner of the association that was deleted last."""
        self._ids = 0

    def create_role(self, arn: RoleArn, text: str, tags: Mapping[str, str]) -> None:
        """Create a role."""
        self._ids += 1
        role = CloudRole(arn, f"AROA{self.account_id}{self._ids:08d}", self._world.now(), tags=dict(tags))
        role.put(text, self._world.now())
        self.roles[arn.name] = role

    def role(self, arn: RoleArn, operation: str) -> CloudRole:
        """Return a role.

        Raises:
            NotFoundError: there is none.
        """
        role = self.roles.get(arn.name)
        if role is None:
            raise NotFoundError("no such role", code="NoSuchEntity", operation=f"{operation} on {arn}")
        return role

    def put(self, role: CloudRole, text: str, operation: str) -> None:
        """Replace a trust policy as IAM does.

        Raises:
            PolicyRejectedError: it has no statement, is too long, or names a role that does not exist.
        """
        document = parsed(text)
        if not document.statements:
            raise PolicyRejectedError("no statement", code="MalformedPolicyDocument", operation=operation)
        if document.size > self.limit:
            raise PolicyRejectedError("too long", code="LimitExceeded", operation=operation)
        for statement in document.statements:
            named = statement.get("Principal", {}).get("AWS", "")
            if named.startswith("AROA") or (":role/" in named and not self._world.exists(RoleArn.parse(named))):
                raise PolicyRejectedError(
                    "invalid principal in policy", code="MalformedPolicyDocument", operation=operation
                )
        role.put(text, self._world.now())

    def now(self) -> float:
        """Return the virtual time."""
        return self._world.now()

    def next_id(self) -> str:
        """Return the id of another association."""
        self._ids += 1
        return f"a-{self._ids:06d}"


class SimulatedLimiter(CallLimiter):
    """A `CallLimiter` whose threads are tasks that outlive the cancellation of their caller, as threads do."""

    def __init__(self, per_second: float, burst: int, threads: int) -> None:
        super().__init__(per_second, burst, threads=threads)
        self._sending: set[asyncio.Task[Any]] = set()

    async def thread(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` as a thread would."""
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        if self._sending:
            await asyncio.wait(self._sending)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone


class Access:
    """`trustbind_aws.client.AccountApi` of one operator in one simulated AWS account."""

    def __init__(self, operator: Operator, account: CloudAccount, limiter: CallLimiter) -> None:
        assert isinstance(limiter, SimulatedLimiter)
        self.limiter: CallLimiter = limiter
        self._threads = limiter
        self.reads = Backoff(0.2, 5.0, tries=3)
        self._operator = operator
        self._account = account
        self._world = operator.world
        self._rng: Random = operator.world.rng

    async def caller(self) -> tuple[str, str]:
        """Return account id and ARN of the identity that this is."""
        account_id = self._account.account_id
        answer: tuple[str, str] = await self._read(
            "sts:GetCallerIdentity", "", lambda: (account_id, f"arn:aws:sts::{account_id}:assumed-role/manager/x")
        )
        return answer

    async def role(self, role: RoleArn, slot: Slot | None = None) -> RoleObservation:
        """Return the role."""

        def look() -> Answer:
            now, found = self._world.now(), self._account.roles.get(role.name)
            if found is None or found.arn != role:  # IAM answers by name; the client compares the ARN
                return Answer(None, {}, now, "", 0.0)
            at = now - self._lag()
            return Answer(parsed(found.shown(at)), dict(found.tags), now, found.text, 0.0)

        if slot is not None:
            answer, at = await self._timed("iam:GetRole", f" on {role}", look, slot, None)
        else:
            answer, at = await retrying(
                lambda: self._timed("iam:GetRole", f" on {role}", look, None, None), self.reads, self._rng.random
            )
        answer = replace(answer, answered_at=at)
        self._world.rules.read(self._operator, role, answer)
        if answer.document is None:
            raise NotFoundError("no such role", code="NoSuchEntity", operation=f"iam:GetRole on {role}")
        return RoleObservation(answer.document, 3600, answer.tags, at)

    async def write_trust_policy(self, role: RoleArn, document: str, permit: WritePermit, slot: Slot) -> None:
        """Replace the role's trust policy."""
        world, operator = self._world, self._operator
        base = world.rules.handed_over(operator, role, document, permit)
        operation = f"iam:UpdateAssumeRolePolicy on {role}"

        def effect() -> None:
            found = self._account.role(role, operation)
            before, since = found.document, dict(found.since)
            self._account.put(found, document, operation)
            world.rules.took_effect(operator, found, before, since, document, base)

        def sent() -> None:
            world.rules.sent_trust(operator, role, base)

        await self._timed("iam:UpdateAssumeRolePolicy", f" on {role}", effect, slot, permit, sent)

    async def trust_policy_limit(self) -> int:
        """Return how many characters a trust policy may have."""
        limit: int = await self._read("iam:GetAccountSummary", "", lambda: self._account.limit)
        return limit

    async def roles(self, path_prefix: str = "/") -> AsyncIterator[list[ListedRole]]:
        """Yield the AWS account's roles, page by page."""

        def look() -> list[ListedRole]:
            at = self._world.now() - self._lag()
            return [
                ListedRole(str(role.arn), quote(role.shown(at)))
                for role in self._account.roles.values()
                if role.arn.path.startswith(path_prefix)
            ]

        yield await self._read("iam:ListRoles", "", look)

    async def role_tags(self, role: RoleArn) -> Mapping[str, str]:
        """Return the role's tags."""
        operation = "iam:ListRoleTags"
        tags: Mapping[str, str] = await self._read(
            operation, f" on {role}", lambda: dict(self._account.role(role, operation).tags)
        )
        return tags

    async def role_policy(self, role: RoleArn, name: str, slot: Slot | None = None) -> tuple[str | None, float]:
        """Return the text of an inline policy, None when there is none, and when the answer arrived."""
        operation, about = "iam:GetRolePolicy", f" on {role}"

        def look() -> str | None:
            return self._account.role(role, operation).inline.get(name)

        try:
            if slot is not None:
                text, at = await self._timed(operation, about, look, slot, None)
            else:
                text, at = await retrying(
                    lambda: self._timed(operation, about, look, None, None), self.reads, self._rng.random
                )
        except NotFoundError:
            text, at = None, self._operator.clock()
        self._world.rules.read_inline(self._operator, role, text, at)
        return text, at

    async def write_role_policy(
        self, role: RoleArn, name: str, document: str | None, permit: WritePermit, slot: Slot
    ) -> None:
        """Replace an inline policy, or with None, delete it."""
        operation = "iam:DeleteRolePolicy" if document is None else "iam:PutRolePolicy"
        self._world.rules.inline_handed_over(self._operator, role, document, permit)

        def effect() -> None:
            found = self._account.role(role, operation)
            if document is None:
                found.inline.pop(name, None)
                return
            if len(document) + sum(len(t) for n, t in found.inline.items() if n != name) > _INLINE_LIMIT:
                raise PolicyRejectedError("too long", code="LimitExceeded", operation=f"{operation} on {role}")
            found.inline[name] = document

        await self._timed(operation, f" on {role}", effect, slot, permit)

    async def provider_audiences(self, provider: ProviderArn) -> frozenset[str] | None:
        """Return the client ids of an OIDC provider; None when there is no such provider."""

        def look() -> frozenset[str] | None:
            listed = self._account.providers.get(provider.host_path)
            return None if listed is None else frozenset(listed)

        answer: frozenset[str] | None = await self._read("iam:GetOpenIDConnectProvider", f" on {provider}", look)
        return answer

    async def provider_context(self, provider: ProviderArn) -> IdentityContext | None:
        """Return what the provider makes of claims; no AWSAccount of a world asks for it."""
        raise NotImplementedError

    async def write_provider_context(
        self, provider: ProviderArn, context: IdentityContext, permit: WritePermit
    ) -> None:
        """Replace what the provider makes of claims; no AWSAccount of a world asks for it."""
        raise NotImplementedError

    async def create_provider(
        self,
        issuer: Issuer,
        audiences: frozenset[str],
        permit: WritePermit,
        context: IdentityContext | None = None,  # noqa: ARG002 - see `provider_context`
    ) -> bool:
        """Create the issuer's OIDC provider; return False when there is one already."""

        def effect() -> bool:
            if issuer.host_path in self._account.providers:
                return False
            self._account.providers[issuer.host_path] = set(audiences)
            self._account.accepted_since |= {(issuer.host_path, each): self._account.now() for each in audiences}
            return True

        answer, _ = await self._timed("iam:CreateOpenIDConnectProvider", f" for {issuer}", effect, None, permit)
        return answer

    async def add_audience(self, provider: ProviderArn, audience: str, permit: WritePermit) -> None:
        """Add a client id to an OIDC provider."""
        operation = "iam:AddClientIDToOpenIDConnectProvider"

        def effect() -> None:
            listed = self._account.providers.get(provider.host_path)
            if listed is None:
                raise NotFoundError("no such provider", code="NoSuchEntity", operation=f"{operation} on {provider}")
            if audience not in listed:
                self._account.accepted_since[provider.host_path, audience] = self._account.now()
            listed.add(audience)

        await self._timed(operation, f" on {provider}", effect, None, permit)

    async def client(self, service: str, region: str) -> Any:
        """Return a client of EKS."""
        assert (service, region) == ("eks", "eu-central-1")
        await asyncio.sleep(0)
        return _Eks(self._operator, self._account)

    async def read(self, call: Call) -> Any:
        """Make a call of EKS that writes nothing, with retries; return its answer."""
        return await self._read(call.operation, call.subject, lambda: call.method(**call.arguments))

    async def write(self, call: Call, permit: WritePermit) -> Any:
        """Make a call of EKS that writes, with a single try; return its answer."""
        arguments = call.arguments
        if call.operation == "eks:CreatePodIdentityAssociation":
            self._world.rules.association_handed_over(
                self._operator, arguments["namespace"], arguments["serviceAccount"], arguments["roleArn"]
            )
        answer, _ = await self._timed(call.operation, call.subject, lambda: call.method(**arguments), None, permit)
        return answer

    def _lag(self) -> float:
        faults = self._world.faults
        return self._rng.random() * faults.stale_seconds if self._rng.random() < faults.stale else 0.0

    async def _read(self, operation: str, about: str, look: Callable[[], T]) -> T:
        """Make a call that writes nothing, with retries."""
        answer, _ = await retrying(
            lambda: self._timed(operation, about, look, None, None), self.reads, self._rng.random
        )
        result: T = answer
        return result

    async def _timed(
        self,
        operation: str,
        about: str,
        evaluate: Callable[[], T],
        slot: Slot | None,
        permit: WritePermit | None,
        sent: Callable[[], None] = lambda: None,
    ) -> tuple[T, float]:
        """Make one call; return its answer and when that arrived."""
        async with self.limiter.call(slot):
            return await self._threads.thread(self._send(operation, about, evaluate, permit, sent))

    async def _send(
        self,
        operation: str,
        about: str,
        evaluate: Callable[[], T],
        permit: WritePermit | None,
        sent: Callable[[], None],
    ) -> tuple[T, float]:
        world, operator, rng = self._world, self._operator, self._rng
        if world.is_over:
            raise UnreachableError("the world is over", operation=operation)
        await asyncio.sleep(rng.random() * 0.004)  # until a thread takes it up
        if rng.random() < world.faults.paused_in_send:
            await operator.pause_here(rng.choice((0.3, 1.0, 3.0, 12.0, 40.0)))
        if permit is not None:
            # Two kinds of writes make their permits with the default clock, which is the process's own; so is this.
            replace(permit, clock=operator.clock).check(operation)
            world.rules.sent(operator, operation + about)
            sent()
        answer = asyncio.get_running_loop().create_future()
        contextvars.Context().run(self._travel, operation + about, evaluate, permit is not None, answer)
        return await answer, operator.clock()

    def _travel(self, operation: str, evaluate: Callable[[], T], is_write: bool, answer: asyncio.Future[T]) -> None:
        """Let a call be on its way; nothing of it waits for the process."""
        world, rng, faults = self._world, self._rng, self._world.faults
        there, back = (world.leg(), world.leg())
        chance = rng.random()
        error: AwsError | None = None
        has_effect = True
        if chance < faults.throttled:
            error, has_effect = ThrottledError("slow down", code="Throttling", operation=operation), False
        elif chance < faults.throttled + faults.failed:
            error = ThrottledError("failure", code="ServiceFailure", operation=operation)
            has_effect = rng.random() < 0.5
        elif chance < faults.throttled + faults.failed + faults.silent:
            error = UnreachableError("no answer from AWS", operation=operation)
            has_effect = rng.random() < 0.6
            there = rng.random() * (CALL_SECONDS - 0.1) if has_effect else 0.0
            back = CALL_SECONDS - there
        what = f"{'write' if is_write else 'read'} {operation}" + (f" ({error.code or 'no answer'})" if error else "")
        world.schedule.add(self._operator.name, what)
        world.loop.call_later(there, self._arrive, operation, evaluate, has_effect, is_write, back, error, answer)

    def _arrive(
        self,
        operation: str,
        evaluate: Callable[[], T],
        has_effect: bool,
        is_write: bool,
        back: float,
        error: AwsError | None,
        answer: asyncio.Future[T],
    ) -> None:
        result: T | None = None
        if has_effect:
            try:
                if is_write:
                    self._world.rules.arrived(self._operator, operation)
                    self._world.schedule.add("aws", f"effect of {self._operator.name}: {operation}")
                result = evaluate()
            except AwsError as problem:
                error = error or problem

        def arrive() -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type] # without an error there is a result

        self._world.loop.call_later(back, arrive)


class _Eks:
    """The methods of boto3's EKS client that are called, evaluated at the moment of their effect."""

    def __init__(self, operator: Operator, account: CloudAccount) -> None:
        self._operator = operator
        self._account = account

    def list_pod_identity_associations(self, *, namespace: str = "", **_: Any) -> Any:
        """List."""
        return {
            "associations": [
                _whole(each)["association"]
                for each in self._account.associations.values()
                if namespace in ("", each.namespace)
            ]
        }

    def describe_pod_identity_association(self, *, associationId: str, **_: Any) -> Any:  # noqa: N803 - as in boto3
        """Describe."""
        return _whole(self._found(associationId))

    def create_pod_identity_association(
        self,
        *,
        namespace: str,
        serviceAccount: str,  # noqa: N803 - as in boto3
        roleArn: str,  # noqa: N803 - as in boto3
        tags: Mapping[str, str],
        **_: Any,
    ) -> Any:
        """Create."""
        key = (namespace, serviceAccount)
        if key in self._account.associations:
            raise AwsError("in use", code="ResourceInUseException", operation="eks:CreatePodIdentityAssociation")
        made = Association(self._account.next_id(), namespace, serviceAccount, roleArn, dict(tags))
        self._account.associations[key] = made
        return _whole(made)

    def update_pod_identity_association(self, *, associationId: str, roleArn: str, **_: Any) -> Any:  # noqa: N803
        """Change the role."""
        return self._put(replace(self._found(associationId), role=roleArn))

    def delete_pod_identity_association(self, *, associationId: str, **_: Any) -> Any:  # noqa: N803
        """Delete."""
        each = self._found(associationId)
        del self._account.associations[each.namespace, each.service_account]
        self._account.deleted[each.namespace, each.service_account] = each.tags.get(OWNER_TAG, "")
        return {}

    def tag_resource(self, *, resourceArn: str, tags: Mapping[str, str], **_: Any) -> Any:  # noqa: N803
        """Add tags."""
        each = self._found(resourceArn.removeprefix("arn:"))
        return self._put(replace(each, tags={**each.tags, **tags}))

    def untag_resource(self, *, resourceArn: str, tagKeys: list[str], **_: Any) -> Any:  # noqa: N803
        """Take tags away."""
        each = self._found(resourceArn.removeprefix("arn:"))
        return self._put(replace(each, tags={k: v for k, v in each.tags.items() if k not in tagKeys}))

    def _put(self, association: Association) -> Any:
        self._account.associations[association.namespace, association.service_account] = association
        return _whole(association)

    def _found(self, association_id: str) -> Association:
        for each in self._account.associations.values():
            if each.id == association_id:
                return each
        raise NotFoundError("no such association", code="ResourceNotFoundException", operation="eks:Describe")


def _whole(each: Association) -> dict[str, dict[str, Any]]:
    return {
        "association": {
            "associationId": each.id,
            "associationArn": f"arn:{each.id}",
            "namespace": each.namespace,
            "serviceAccount": each.service_account,
            "roleArn": each.role,
            "tags": dict(each.tags),
        }
    }


class Sessions:
    """`trustbind_aws.account_pool.SessionSource` of one operator."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._made: dict[str, Access] = {}

    async def direct(self, limiter: CallLimiter) -> Access:
        """Return access as the operator's own identity; no AWSAccount of a world asks for it."""
        raise NotImplementedError

    async def own_caller(self, limiter: CallLimiter) -> str:  # noqa: ARG002 - no call is counted
        """Return the ARN of the operator's own identity."""
        return "arn:aws:sts::999900001111:assumed-role/trustbind-operator/pod"

    async def assume(self, manager: ManagerRole, limiter: CallLimiter) -> Access:
        """Return access as a manager role."""
        world = self._operator.world
        await asyncio.sleep(world.leg())
        if world.rng.random() < world.faults.throttled / 2:
            raise ThrottledError("slow down", code="Throttling", operation="sts:AssumeRole")
        account_id = manager.role.account_id
        access = self._made.get(account_id)
        if access is None or access.limiter is not limiter:
            access = self._made[account_id] = Access(self._operator, world.accounts[account_id], limiter)
        return access

    def forget(self, manager: ManagerRole) -> None:
        """Drop a cached session."""
        self._made.pop(manager.role.account_id, None)


_PRINCIPAL = re.compile(r'"AWS":"(arn:aws:iam::\d{12}:role/[^"]+)"')


def with_stale_principal(text: str, arn: RoleArn, unique_id: str) -> str:
    """Return a trust policy as IAM shows it after a role that it names was deleted."""
    was, now = json.dumps(str(arn)), json.dumps(unique_id)
    return _PRINCIPAL.sub(lambda found: found.group().replace(was, now), text)


def limiter_of(per_second: float, burst: int) -> SimulatedLimiter:
    """Return the limiter of one AWS account of one operator."""
    return SimulatedLimiter(per_second, burst, threads=8)
