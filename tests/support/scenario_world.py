"""A cluster and its AWS accounts in memory, with everything that the operator's controllers share.

A world has one event loop whose time is virtual, so tests are synchronous and take no time::

    world = World()
    world.has_account()
    world.has_binding()
    world.play(controller.reconcile(ROLE))
    assert world.ready() == ("True", "TrustApplied", ...)
    world.close()
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from support.bodies import ACCOUNT, ISSUER, OPS, ROLE, account_body, binding_body, grant_body
from support.fake_cluster import FakeCluster
from support.fake_iam import FakeAccount, FakeSessions
from support.fake_telemetry import FakeTelemetry
from support.virtual_time import VirtualLoop
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.backoff import Backoff
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.policy.trust_document import TrustDocument
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding, ready_condition
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_operator.cluster.cache import ClusterCache, StoredGrant
from trustbind_operator.controllers.context import Context

__all__ = ["World"]

T = TypeVar("T")


class World:
    """A cluster with a grant over everything, and an AWS account that has one role and the cluster's OIDC provider.

    Attributes:
        cache: what the operator knows of the cluster.
        cluster: the API server.
        aws: the AWS account.
        sessions: lead into AWS accounts.
        telemetry: records what the controllers report.
        pool: of AWS accounts.
        context: all of these.
        leads_until: see `Context`.
        today: the time.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.today = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.leads_until = math.inf
        self.cache = ClusterCache(ISSUER)
        self.cluster = FakeCluster()
        self.aws = FakeAccount()
        self.aws.clock = self.seconds
        self.aws.provider = {"sts.amazonaws.com"}
        self.aws.roles[ROLE] = TrustDocument((OPS,))
        self.sessions = FakeSessions(self.aws)
        self.telemetry = FakeTelemetry()
        self.pool = AccountPool(self.sessions, self.seconds, lambda _: CallLimiter(100_000.0, 100_000), self.learned)
        self.context = Context(
            cache=self.cache,
            writer=self.cluster,
            pool=self.pool,
            telemetry=self.telemetry,
            leads_until=lambda: self.leads_until,
            pace=WritePace(
                retries=Backoff(0.2, 5.0, tries=1),
                visible=(0.2,),
                redo=(0.5,),
                jitter=lambda: 1.0,
                clock=self.seconds,
            ),
            now=lambda: self.today,
        )
        self.has_grants(grant_body())
        for name in ("team-a", "team-b"):
            self.cache.put_namespace(name, {})

    def learned(self, arn: str) -> None:
        """Keep the operator's own identity, as AWS tells it."""
        self.cache.put_own_role(RoleName.of_caller(arn))

    def seconds(self) -> float:
        """Return the seconds of the event loop's virtual clock; the machine has run for some time before."""
        return 1000.0 + self._runner.get_loop().time()

    def play(self, steps: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns."""
        return self._runner.run(steps)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.play(asyncio.sleep(seconds))

    def close(self) -> None:
        """Close the event loop."""
        self._runner.close()

    # --- the cluster ------------------------------------------------------------------------------------------------

    def has_account(self, body: dict[str, Any] | None = None) -> StoredAwsAccount:
        """Store an AWSAccount, and let the operator know it."""
        stored = StoredAwsAccount.of(self.cluster.put(body or account_body()))
        self.cache.put_aws_account(stored)
        return stored

    def has_binding(self, body: dict[str, Any] | None = None) -> StoredBinding:
        """Store a RoleBinding, and let the operator know it."""
        stored = StoredBinding.of(self.cluster.put(body or binding_body()))
        self.cache.put_binding(stored)
        return stored

    def has_grants(self, *bodies: dict[str, Any]) -> None:
        """Have these RoleGrants and no others."""
        for name in list(self.cache.grants):
            self.cache.drop_grant(name)
        for body in bodies:
            self.cache.put_grant(StoredGrant.of(body))

    def has_service_accounts(self, namespace: str, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Have these service accounts, by name with their labels, and no others of the namespace."""
        for name in list(self.cache.service_accounts.get(namespace, {})):
            self.cache.put_service_account(namespace, name, None)
        for name, each in labels.items():
            self.cache.put_service_account(namespace, name, each)

    def change(self, name: str = "b", namespace: str = "team-a", **spec: Any) -> StoredBinding:
        """Change a RoleBinding's spec, and let the operator know it; None removes a field."""
        return self._seen(self.cluster.change("RoleBinding", f"{namespace}/{name}", spec=spec))

    def delete(self, name: str = "b", namespace: str = "team-a") -> StoredBinding:
        """Request a RoleBinding's deletion, and let the operator know it."""
        body = self._body(name, namespace)
        self.cluster.delete("RoleBinding", f"{namespace}/{name}")
        self.cluster.objects[("RoleBinding", f"{namespace}/{name}")] = body  # another finalizer keeps it
        return self._seen(body)

    def stored(self, name: str = "b", namespace: str = "team-a") -> Mapping[str, Any]:
        """Return a RoleBinding's stored status."""
        status: Mapping[str, Any] = self._body(name, namespace).get("status", {})
        return status

    def ready(self, name: str = "b", namespace: str = "team-a") -> tuple[str, str, str]:
        """Return status, reason and message of a RoleBinding's ``Ready`` condition; empty texts without one."""
        return _ready(self.stored(name, namespace))

    def exists(self, name: str = "b", namespace: str = "team-a") -> bool:
        """Return whether a RoleBinding is still stored."""
        return self.cluster.get("RoleBinding", f"{namespace}/{name}") is not None

    def known(self, name: str = "b", namespace: str = "team-a") -> StoredBinding:
        """Return a RoleBinding as the operator knows it."""
        return self.cache.bindings[BindingRef(namespace, name)]

    def account_status(self, name: str = "prod") -> dict[str, Any]:
        """Return an AWSAccount's stored status."""
        status: dict[str, Any] = self.cluster.objects[("AWSAccount", name)].get("status", {})
        return status

    def account_ready(self, name: str = "prod") -> tuple[str, str, str]:
        """Return status, reason and message of an AWSAccount's ``Ready`` condition; empty texts without one."""
        return _ready(self.account_status(name))

    def aws_account(self) -> AwsAccount:
        """Return the AWSAccount as the operator knows it."""
        found = self.cache.aws_account(ACCOUNT)
        assert found is not None
        return found

    def sids(self, role: RoleArn = ROLE) -> list[str]:
        """Return the Sids of a role's trust policy."""
        return [str(s.get("Sid")) for s in self.aws.roles[role].statements]

    def _body(self, name: str, namespace: str) -> dict[str, Any]:
        return self.cluster.objects[("RoleBinding", f"{namespace}/{name}")]

    def _seen(self, body: dict[str, Any]) -> StoredBinding:
        stored = StoredBinding.of(copy.deepcopy(body))
        self.cache.put_binding(stored)
        return stored


def _ready(status: Mapping[str, Any]) -> tuple[str, str, str]:
    found: Mapping[str, Any] = ready_condition(status) or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")
