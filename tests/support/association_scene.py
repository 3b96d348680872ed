"""Bindings by EKS Pod Identity over associations in memory, from stored bodies to stored statuses.

The scene decides and reports as a role's run does, without its trust policy: bindings by other methods are taken to be
trusted, or revoked, at once.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar, cast

from support.bodies import ACCOUNT, ISSUER, OPS, ROLE, account_body, binding_body, grant_body
from support.fake_eks import FakeEks
from support.fake_telemetry import FakeTelemetry
from support.virtual_time import VirtualLoop
from trustbind.api.aws_account import AwsAccount
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.api.profile_index import ProfileIndex
from trustbind.api.role_binding import Method
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import AwsError, NotFoundError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.association_outcome import Seen, is_left_in_step
from trustbind.reconcile.decision import BindingDecision, decide
from trustbind.reconcile.failure_reasons import role_failure
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.client import AccountApi
from trustbind_aws.permits import ALWAYS, WriteGuard
from trustbind_aws.sessions import ManagerRole
from trustbind_operator.cluster.conditions import Transition, binding_status, transitions
from trustbind_operator.controllers.context import Next, sooner
from trustbind_operator.controllers.pod_identity.controller import PodIdentityController

__all__ = ["APP", "EKS", "AssociationScene", "pod_identity_body"]

T = TypeVar("T")

EKS: Final = {"clusterName": "blue", "region": "eu-central-1"}
APP: Final = Subject("team-a", "app")
_NOW: Final = "2026-01-01T12:00:00Z"


def pod_identity_body(name: str = "b", namespace: str = "team-a", **more: Any) -> dict[str, Any]:
    """Return a RoleBinding by EKS Pod Identity."""
    return binding_body(name, namespace, **{"method": "PodIdentity", **more})


class Sessions:
    """`trustbind_aws.account_pool.SessionSource`.

    Attributes:
        account_id: where the credentials lead.
        closed: raised in place of access.
    """

    account_id: str = ACCOUNT
    closed: AwsError | None = None

    async def direct(self, limiter: CallLimiter) -> AccountApi:
        """Not used: the AWSAccount has a manager role."""
        raise AssertionError(limiter)

    async def assume(self, manager: ManagerRole, limiter: CallLimiter) -> AccountApi:  # noqa: ARG002 - one account
        """Return access, of which only the caller's identity is asked."""
        if self.closed is not None:
            raise self.closed
        return cast("AccountApi", self)

    async def own_caller(self, limiter: CallLimiter) -> str:  # noqa: ARG002 - no call is counted
        """Return the ARN of the caller's own identity."""
        return "arn:aws:sts::999900001111:assumed-role/trustbind-operator/pod"

    def forget(self, manager: ManagerRole) -> None:
        """Nothing is cached."""

    async def caller(self) -> tuple[str, str]:
        """Return the identity."""
        return self.account_id, f"arn:aws:sts::{self.account_id}:assumed-role/manager/test"


class AssociationScene:
    """See the module. Used as a fixture, which closes it.

    Attributes:
        bodies: RoleBindings by ``namespace/name``.
        roles: trust document by role.
        tags: of every role.
        read_errors: raised by the next reads of a role, in order.
        unreadable: raised by every read of a role.
        writes: what was written to Kubernetes, as (what, ``namespace/name``).
        events: what Events would say, as (name, transition).
        doubted: AWSAccounts that have to be checked.
        before_release: called before a binding is released.
    """

    def __init__(self) -> None:
        self.eks = FakeEks()
        self.bodies: dict[str, dict[str, Any]] = {}
        self.service_accounts: dict[str, dict[str, dict[str, str]]] = {}
        self.grants = {"all": RoleGrant.parse(grant_body(methods=[m.value for m in Method]))}
        self.roles = {ROLE: TrustDocument((OPS, STATEMENT))}
        self.tags: dict[str, str] = {}
        self.read_errors: list[AwsError] = []
        self.unreadable: AwsError | None = None
        self.writes: list[tuple[str, str]] = []
        self.events: list[tuple[str, Transition]] = []
        self.doubted: set[str] = set()
        self.before_release: Callable[[StoredBinding], object] = lambda _: None
        self.notes = FakeTelemetry()
        self.sessions = Sessions()
        self.aws_account: AwsAccount | None = None
        self.has_account(account_body(eks=EKS))
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.restart()

    def restart(self) -> None:
        """Forget all that was remembered."""
        self.controller = PodIdentityController(
            self,
            lambda account_id: (self.aws_account_of(account_id), self._pod_identity_decisions()),
            AccountPool(self.sessions, lambda: 0.0),
            ISSUER,
            self.notes,
            lambda account: self.doubted.add(account.name),
            lambda _api, _cluster: self.eks,
        )

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()

    def play(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the scene's event loop."""
        return self._runner.run(work)

    # --- Kubernetes -----------------------------------------------------------------------------------------------

    def has_account(self, body: dict[str, Any] | None) -> None:
        """Have an AWSAccount, or none."""
        self.aws_account = AwsAccount.parse(body) if body is not None else None

    def aws_account_of(self, account_id: str) -> AwsAccount | None:
        """Return the AWSAccount of an account id."""
        return self.aws_account if account_id == ACCOUNT else None

    def has_binding(self, body: dict[str, Any]) -> None:
        """Store a RoleBinding."""
        self.bodies[f"{body['metadata']['namespace']}/{body['metadata']['name']}"] = body

    def change(self, name: str = "b", namespace: str = "team-a", **spec: Any) -> None:
        """Change a binding's spec."""
        body = self.bodies[f"{namespace}/{name}"]
        body["spec"] |= spec
        body["metadata"]["generation"] += 1

    def delete(self, name: str = "b", namespace: str = "team-a") -> None:
        """Ask for a binding's deletion."""
        body = self.bodies[f"{namespace}/{name}"]
        body["metadata"]["deletionTimestamp"] = _NOW
        body["metadata"]["generation"] += 1

    def exists(self, name: str = "b", namespace: str = "team-a") -> bool:
        """Return whether a binding is still stored."""
        return f"{namespace}/{name}" in self.bodies

    def stored(self, name: str = "b", namespace: str = "team-a") -> dict[str, Any]:
        """Return a binding's stored status."""
        return dict(self.bodies[f"{namespace}/{name}"].get("status", {}))

    def ready(self, name: str = "b", namespace: str = "team-a") -> tuple[str, str, str]:
        """Return status, reason and message of a binding's stored ``Ready`` condition; empty texts without one."""
        conditions = self.stored(name, namespace).get("conditions", ())
        found: dict[str, str] = next((c for c in conditions if c["type"] == "Ready"), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    async def store(self, stored: StoredBinding, role: RoleArn, outcome: BindingOutcome) -> None:
        """Store a status, as the role controller does."""
        await asyncio.sleep(0)
        body = self.bodies.get(str(stored.ref))
        status = binding_status(stored.status, stored.generation, role.account_id, ISSUER, outcome, _NOW)
        if body is None or body["metadata"]["uid"] != stored.uid or status == stored.status:
            return
        self.writes.append(("status", str(stored.ref)))
        self.events += [(stored.ref.name, each) for each in transitions(stored.status, status)]
        body["status"] = copy.deepcopy(status)

    async def release(self, stored: StoredBinding, reason: TrustReason, message: str) -> None:
        """Remove our finalizer, as the role controller does."""
        await asyncio.sleep(0)
        if not stored.guarded:
            return
        if (blocking := self.controller.blocks_release(stored)) is not None:
            await self.store(stored, *blocking)
            return
        body = self.bodies.get(str(stored.ref))
        if body is not None and body["metadata"]["uid"] == stored.uid:
            self.before_release(stored)
            self.writes.append(("release", str(stored.ref)))
            status = "False" if reason is TrustReason.ACCOUNT_UNKNOWN else "True"
            self.events.append((stored.ref.name, Transition("Ready", status, reason, message)))
            del self.bodies[str(stored.ref)]

    # --- runs -----------------------------------------------------------------------------------------------------

    def decide(self, role: RoleArn) -> tuple[BindingDecision, ...]:
        """Return the decisions for a role's bindings."""
        stored = sorted((StoredBinding.of(copy.deepcopy(b)) for b in self.bodies.values()), key=lambda s: s.age_key)
        accounts = {ACCOUNT: self.aws_account} if self.aws_account is not None else {}
        around = Surroundings(ISSUER, tuple(self.grants.values()), accounts)
        mine = tuple(self._snapshot(each, stored) for each in stored if role in each.roles)
        return decide(RoleSnapshot(role, around, mine))

    def run(self, role: RoleArn = ROLE, guard: WriteGuard = ALWAYS) -> Next:
        """Reconcile a role."""
        return self.play(self.reconcile(role, guard))

    async def reconcile(self, role: RoleArn, guard: WriteGuard = ALWAYS) -> Next:
        """Reconcile a role: decide, claim, add finalizers, clear, run."""
        for decision in self.decide(role):
            if decision.needs_finalizer and not decision.stored.guarded:
                self.bodies[str(decision.stored.ref)]["metadata"]["finalizers"] = [BINDING_FINALIZER]
        decisions = self.decide(role)
        aws_account = self.aws_account
        own = [d for d in decisions if d.stored.is_pod_identity]
        others = [d for d in decisions if not d.stored.is_pod_identity]
        self.controller.claim(role, own)
        cleared = await self.controller.clear(role, aws_account, others, own, guard)
        seen = self._seen(role) if aws_account is not None else Seen(None)
        for decision in others:
            await self._trust(decision, role)
        due, _ = await self.controller.run(role, aws_account, own, seen, guard)
        return sooner(cleared, due)

    def survey(self, account_id: str = ACCOUNT) -> frozenset[RoleArn]:
        """Search for associations that no binding wants."""
        return self.play(self.controller.survey(account_id))

    def is_in_step(self, role: RoleArn = ROLE) -> bool:
        """Return whether every status says that its binding's decision was carried out."""
        return all(d.stored.is_pod_identity and is_left_in_step(d, ISSUER) for d in self.decide(role))

    def settled(self, body: dict[str, Any] | None = None) -> None:
        """Have a binding that is in order, and forget how it came about."""
        self.has_binding(body or pod_identity_body())
        self.run()
        self.writes.clear()
        self.events.clear()
        self.eks.calls.clear()
        self.notes.associations.clear()

    def _pod_identity_decisions(self) -> list[BindingDecision]:
        roles = {role for body in self.bodies.values() for role in StoredBinding.of(body).roles}
        return [d for role in sorted(roles) for d in self.decide(role) if d.stored.is_pod_identity]

    def _snapshot(self, stored: StoredBinding, others: Iterable[StoredBinding]) -> BindingSnapshot:
        binding = stored.binding
        if binding is None:
            return BindingSnapshot(stored)
        namespace = stored.ref.namespace
        index = ProfileIndex(namespace)
        for name, labels in self.service_accounts.get(namespace, {}).items():
            index.put_service_account(name, labels)
        for other in others:
            if other.ref.namespace == namespace and other.binding is not None:
                index.put(other.binding)
        return BindingSnapshot(stored, index.subjects(binding), index.rival(stored.ref))

    def _seen(self, role: RoleArn) -> Seen:
        error = self.read_errors.pop(0) if self.read_errors else self.unreadable
        if error is None and role not in self.roles:
            error = NotFoundError("no such role", code="NoSuchEntity", operation=f"iam:GetRole on {role}")
        if error is not None:
            return Seen(None, {}, *role_failure(role, error))
        return Seen(self.roles[role], self.tags)

    async def _trust(self, decision: BindingDecision, role: RoleArn) -> None:
        """Report a binding by another method as its trust path would if nothing failed."""
        if decision.stored.deleting:
            await self.release(decision.stored, TrustReason.REVOKED, "the statement was removed")
        else:
            sid = "" if decision.reason is not None else "TrustbindTest"
            await self.store(
                decision.stored,
                role,
                BindingOutcome(
                    decision.authorized, decision.message, decision.reason, "trusted", decision.subjects, sid
                ),
            )
