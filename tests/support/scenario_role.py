"""A world with one AWSAccount and the controller of its roles."""

from __future__ import annotations

from typing import Any

from support.bodies import ACCOUNT, ISSUER, ROLE
from support.fake_eks import FakeEks
from support.scenario_world import World
from trustbind.api.aws_account import AwsAccount
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import is_owned, subjects_of
from trustbind.reconcile.decision import BindingDecision, decide
from trustbind_operator.controllers.binding.status_writer import StatusWriter
from trustbind_operator.controllers.context import Next
from trustbind_operator.controllers.pod_identity.controller import PodIdentityController
from trustbind_operator.controllers.role.controller import RoleController

__all__ = ["FakeNeighbours", "RoleScenario"]


class FakeNeighbours:
    """`trustbind_operator.controllers.role.controller.Neighbours` that records what it is asked for.

    Attributes:
        enqueued: roles, in order.
        suspected: names of AWSAccounts, in order.
        guarded: names of AWSAccounts, in order.
        surveys: whether surveys list every role.
        paused: why nothing may be revoked.
    """

    def __init__(self) -> None:
        self.enqueued: list[RoleArn] = []
        self.suspected: list[str] = []
        self.guarded: list[str] = []
        self.surveys = False
        self.paused = ""

    def enqueue(self, role: RoleArn) -> None:
        """Record it."""
        self.enqueued.append(role)

    def suspect(self, account: AwsAccount) -> None:
        """Record it."""
        self.suspected.append(account.name)

    async def guard_account(self, account: AwsAccount) -> None:
        """Record it."""
        self.guarded.append(account.name)

    def is_surveyed(self, role: RoleArn) -> bool:
        """Return what the scene says."""
        del role
        return self.surveys

    def is_held_up(self, account: AwsAccount) -> bool:
        """Return False: no scene's AWSAccount is known not to be Ready."""
        del account
        return False

    def decided(self, decision: BindingDecision) -> None:
        """Count nothing."""

    def cleared(self, role: RoleArn) -> None:
        """Count nothing."""

    def pause(self, account_id: str, waiting: RoleArn | None = None) -> str:
        """Return what the scene says."""
        del account_id, waiting
        return self.paused


class RoleScenario(World):
    """See the module. A fixture closes it.

    Attributes:
        neighbours: see `FakeNeighbours`.
        eks: the associations of every EKS cluster that an AWSAccount names.
        controller: of roles.
        writer: of statuses and finalizers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.has_account()
        self.neighbours = FakeNeighbours()
        self.eks = FakeEks()
        self.restart()

    def restart(self) -> None:
        """Forget all that a process remembers, but not the cache."""
        self.writer = StatusWriter(self.context)
        pod_identity = PodIdentityController(
            self.writer,
            self._decisions_in,
            self.pool,
            ISSUER,
            self.telemetry,
            self.neighbours.suspect,
            lambda _api, _cluster: self.eks,
        )
        self.controller = RoleController(self.context, self.writer, pod_identity, self.neighbours)

    def run(self, role: RoleArn = ROLE) -> Next:
        """Reconcile a role; so much later than before that no failure to enter the AWS account is remembered."""
        self.wait(20.0)
        return self.play(self.controller.reconcile(role))

    def settled(self, body: dict[str, Any] | None = None) -> None:
        """Have a binding that is in order, and forget how it came about."""
        self.has_binding(body)
        self.run()
        self.forget_calls()

    def forget_calls(self) -> None:
        """Forget what was written, posted, reported and asked of AWS."""
        self.cluster.writes.clear()
        self.cluster.events.clear()
        self.telemetry.commits.clear()
        self.telemetry.failures.clear()
        self.telemetry.associations.clear()
        self.aws.forget_calls()
        self.eks.calls.clear()

    def trusted(self, role: RoleArn = ROLE) -> list[str]:
        """Return the names of the service accounts that our statement in a role admits."""
        for statement in self.aws.roles[role].statements:
            named = subjects_of(statement, ISSUER) if is_owned(statement, ISSUER) else ()
            if named and statement["Effect"] == "Allow":
                return sorted(Subject.parse(s).name for s in named)
        return []

    def _decisions_in(self, account_id: str) -> tuple[AwsAccount | None, list[BindingDecision]]:
        assert account_id == ACCOUNT
        return self.cache.aws_account(account_id), [
            decision
            for stored in self.cache.in_account(account_id)
            if stored.binding is not None and stored.is_pod_identity
            for decision in decide(self.cache.snapshot_of(stored, stored.binding.role, {}))
        ]
