"""The plan of every role: read from AWS, and carried out role by role.

The decision, the plan and the write of one role are the operator's (`trustbind.reconcile`, `trustbind_aws`). Here are
the order of roles, and the rollouts of chains between them: after each role, the other role of its chains is planned
again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trustbind.api.aws_account import DriftPolicy
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, InvalidValueError, NotFoundError, TrustbindError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.plan import Refusal
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide, stands_in
from trustbind.reconcile.failure_reasons import account_failure
from trustbind.reconcile.observation import Facts, RoleObservation
from trustbind.reconcile.outcome import progress_of
from trustbind.reconcile.role_plan import RolePlan, RoleWork, plan_role
from trustbind.reconcile.rollout import NOT_STARTED, RoleProgress, Rollout, other_role
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.role_pipeline import observe_role, reconcile_role
from trustbind_aws.sessions import AwsSessions
from trustbind_cli.aws_errors import is_of_the_caller, own_account
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.missing import missing_objects
from trustbind_cli.files.snapshot import FileSnapshot
from trustbind_cli.refusals import adopting, named, refusals_of

__all__ = ["Apply", "PlannedRole", "RoleReport", "UnplannedRole", "in_order", "to_do"]

Rollouts = Mapping[BindingRef, Rollout]


@dataclass(frozen=True, slots=True)
class PlannedRole:
    """What is to be done for one role.

    Attributes:
        work: what is wanted.
        facts: what is known of its AWS account.
        seen: the role as it was read.
        plan: see `RolePlan`.
        foreseen: the same if the AWS account's driftPolicy let it be written; for display.
    """

    work: RoleWork
    facts: Facts
    seen: RoleObservation
    plan: RolePlan
    foreseen: RolePlan

    @classmethod
    def of(cls, work: RoleWork, facts: Facts, seen: RoleObservation) -> PlannedRole:
        """Return the role with its plan."""
        plan = plan_role(work, facts, seen)
        return cls(work, facts, seen, plan, plan if work.may_write else plan_role(_writable(work), facts, seen))

    @property
    def role(self) -> RoleArn:
        """The role."""
        return self.work.role

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is not written, for a binding or for the whole role."""
        return _refusals(self.plan)

    @property
    def hindrances(self) -> tuple[Refusal, ...]:
        """The bindings that another issuer's OIDC provider makes useless; what could not be read is a failure."""
        told = self.plan.hindrances.values()
        return tuple(named(hindrance) for hindrance in told if hindrance.reason is TrustReason.PROVIDER_MISSING)

    @property
    def failures(self) -> tuple[AwsError, ...]:
        """Why OIDC providers could not be read; the bindings that need them wait."""
        return tuple(self.facts.failures.values())

    @property
    def permission_differs(self) -> bool:
        """Whether the inline policy that lets the role assume others has to be written."""
        targets = self.foreseen.targets
        there = self.facts.account.source_targets.get(self.role, frozenset())
        return targets is not None and there != frozenset(map(str, targets))


@dataclass(frozen=True, slots=True)
class UnplannedRole:
    """A role that is not written: the files tell too little about it, or it cannot be read.

    Attributes:
        role: which.
        refusals: what the files alone refuse, or lack.
        problem: why the role could not be read; None when nobody tried.
    """

    role: RoleArn
    refusals: tuple[Refusal, ...] = ()
    problem: TrustbindError | None = None


Prepared = PlannedRole | UnplannedRole


@dataclass(frozen=True, slots=True)
class RoleReport:
    """What was done for one role.

    Attributes:
        role: which.
        written: how often its trust policy was written.
        problems: what went wrong, or was found only while writing.
        waiting: the chains that wait for their other role although the plan foresaw them, each with that role.
    """

    role: RoleArn
    written: int = 0
    problems: tuple[TrustbindError | Refusal, ...] = ()
    waiting: Mapping[BindingRef, RoleArn] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether everything that was planned for the role is done."""
        return not self.problems and not self.waiting


class Apply:
    """One run of the command. For one event loop.

    Args:
        objects: of the files.
        issuer: the cluster's.
        also: roles that are brought in line though no binding may name them.
        sessions: the caller's way into AWS.
    """

    def __init__(self, objects: Objects, issuer: Issuer, also: Iterable[RoleArn], sessions: AwsSessions) -> None:
        also = tuple(also)
        self._objects = objects
        self._sessions = sessions
        self._pool = AccountPool(sessions, time.monotonic)
        self._snapshot = FileSnapshot.of(objects, issuer, also)
        self._order = in_order(self._snapshot, also)
        self._missing = missing_objects(objects)
        self._own = ""

    async def prepare(self) -> list[Prepared]:
        """Read every role and return what has to be done for it; nothing is written.

        A role that cannot be read does not stop the others, but the chains that need it wait. Where the caller's own
        credentials do not work, AWS is asked once.
        """
        roles: dict[RoleArn, Prepared] = {}
        for_all: AwsError | None = None
        for role in self._order:
            decisions = decide(self._snapshot.role(role, {}))
            refused = refusals_of(decisions)
            # What stands in such a role stays: the operator may have taken it over already.
            if missing := (*self._missing.get(role, ()), *adopting(decisions)):
                asked = {refusal.binding for refusal in missing}
                roles[role] = UnplannedRole(role, (*(r for r in refused if r.binding not in asked), *missing))
                continue
            if for_all is not None:
                roles[role] = UnplannedRole(role, refused, for_all)
                continue
            try:
                roles[role] = await self._read(role)
            except (AwsError, InvalidValueError) as error:
                for_all = error if isinstance(error, AwsError) and is_of_the_caller(error) else None
                roles[role] = UnplannedRole(role, refused, error)
        return self._foreseen(roles)

    async def carry_out(self, prepared: Iterable[Prepared]) -> list[RoleReport]:
        """Carry out the plans, in their order, and return a report for each role that had something to write."""
        shown = {p.role: p for p in prepared if isinstance(p, PlannedRole)}
        reports = {planned.role: RoleReport(planned.role) for planned in to_do(shown.values())}
        rollouts = _before(shown.values(), reports)
        failed: set[RoleArn] = set()
        queue = deque(reports)
        while queue:
            role = queue.popleft()
            work = self._work(role, rollouts)
            before = reports[role]
            try:
                result = await reconcile_role(self._pool, work)
            except AwsError as error:
                reports[role] = replace(before, problems=(error,))
                failed.add(role)
                continue
            planned = result.planned
            reports[role] = RoleReport(
                role,
                before.written + result.written,
                _problems(planned, result.problem, shown[role]),
                {ref: other for ref, other in planned.waiting.items() if ref not in shown[role].plan.waiting},
            )
            for other in _advance(rollouts, work, planned, result.problem):
                if other in reports and other not in queue and other not in failed:
                    queue.append(other)
        return list(reports.values())

    def close(self) -> None:
        """Let the threads end; calls under way are not waited for."""
        self._pool.abandon()

    async def _read(self, role: RoleArn) -> PlannedRole:
        """Return the role with the plan for the case that every chain is open at its target role."""
        self._own = self._own or await own_account(self._sessions)
        if role.account_id not in self._objects.aws_accounts and role.account_id != self._own:
            raise InvalidValueError(
                f"account {role.account_id} is not the one you are in ({self._own}), and the files hold no "
                "AWSAccount for it; add one with spec.accountId and spec.managerRoleArn"
            )
        work = self._work(role, self._snapshot.opened())
        _, facts, seen = await observe_role(self._pool, _writable(work))
        return PlannedRole.of(work, facts, seen)

    def _foreseen(self, roles: Mapping[RoleArn, Prepared]) -> list[Prepared]:
        """Return the roles with the plans that carrying out all of them comes to."""
        planned = {role: each for role, each in roles.items() if isinstance(each, PlannedRole)}
        rollouts = _before(planned.values(), planned)
        queue = deque(planned)
        while queue:
            role = queue.popleft()
            work = self._work(role, rollouts)
            planned[role] = PlannedRole.of(work, planned[role].facts, planned[role].seen)
            concerned = _advance(rollouts, work, planned[role].plan, None)
            queue.extend(other for other in concerned if other in planned and other not in queue)
        return [planned.get(role, each) for role, each in roles.items()]

    def _work(self, role: RoleArn, rollouts: Rollouts) -> RoleWork:
        snapshot = self._snapshot.role(role, rollouts)
        return RoleWork(role, snapshot.issuer, snapshot.around.aws_accounts[role.account_id], decide(snapshot))


def to_do(prepared: Iterable[Prepared]) -> list[PlannedRole]:
    """Return the roles for which something has to be written."""
    return [each for each in prepared if isinstance(each, PlannedRole) and each.plan.steps]


def in_order(snapshot: FileSnapshot, also: Iterable[RoleArn]) -> list[RoleArn]:
    """Return the roles, targets before the source roles of their chains.

    Chains in a circle have no far end; there the order is by name.
    """
    targets: dict[RoleArn, set[RoleArn]] = {role: set() for role in also}
    for stored in snapshot.bindings:
        for role in stored.roles:
            targets.setdefault(role, set())
        if stored.binding is not None and stored.binding.source is not None:
            targets[stored.binding.source.role].add(stored.binding.role)
    ordered: list[RoleArn] = []
    left = sorted(targets)
    while left:
        ready = [role for role in left if not targets[role].intersection(left)] or left[:1]
        ordered += ready
        left = [role for role in left if role not in ready]
    return ordered


def _before(roles: Iterable[PlannedRole], written: Iterable[RoleArn]) -> dict[BindingRef, Rollout]:
    """Return how far each chain has come before anything is written.

    Args:
        roles: as they were read and planned.
        written: those that are going to be planned again. The others stay as their plan says: what a chain has there
            in common with another binding is no part of it.
    """
    due = frozenset(written)
    rollouts: dict[BindingRef, Rollout] = {}
    for planned in roles:
        for asked, agreed in _chains(planned.work, planned.plan):
            progress = progress_of(asked, agreed, planned.plan, None, planned.work.issuer)
            if planned.role in due:
                there = stands_in(planned.seen.document, planned.work.issuer, planned.role, asked)
                progress = RoleProgress(there, progress.refusal)
            rollout = rollouts.get(asked.stored.ref, NOT_STARTED)
            rollouts[asked.stored.ref] = rollout.with_progress(planned.role, progress)
    return rollouts


def _advance(
    rollouts: dict[BindingRef, Rollout], work: RoleWork, plan: RolePlan, problem: Refusal | None
) -> list[RoleArn]:
    """Put what a role reached into the rollouts, and return the roles that have to be planned again."""
    concerned: list[RoleArn] = []
    for asked, agreed in _chains(work, plan):
        binding = asked.stored.binding
        rollout = rollouts.get(asked.stored.ref, NOT_STARTED)
        progress = progress_of(asked, agreed, plan, problem, work.issuer)
        if binding is not None and progress != rollout.at(work.role):
            rollouts[asked.stored.ref] = rollout.with_progress(work.role, progress)
            concerned.append(other_role(binding, work.role))
    return list(dict.fromkeys(concerned))


def _chains(work: RoleWork, plan: RolePlan) -> list[tuple[BindingDecision, BindingDecision]]:
    """Return the decision for each chain, as it was asked and as the role agreed to it."""
    agreed = {decision.stored.ref: decision for decision in plan.decisions}
    return [(asked, agreed[asked.stored.ref]) for asked in work.decisions if asked.stored.is_chain]


def _refusals(plan: RolePlan) -> tuple[Refusal, ...]:
    """Return what is not written, the missing OIDC provider of the cluster included."""
    lacking: list[Refusal] = []
    if isinstance(plan.lacking, NotFoundError):
        reason, message = account_failure(plan.lacking)
        lacking = [named(Refusal(decision.stored.ref, reason, message)) for decision in plan.held]
    return (*refusals_of(plan.decisions), *lacking, *map(named, plan.trust.refusals))


def _problems(plan: RolePlan, problem: Refusal | None, shown: PlannedRole) -> tuple[TrustbindError | Refusal, ...]:
    """Return what kept a role from being written as it was shown."""
    known = {(refusal.binding, refusal.reason) for refusal in shown.refusals}
    found: list[TrustbindError | Refusal] = [r for r in _refusals(plan) if (r.binding, r.reason) not in known]
    if plan.lacking is not None and not isinstance(plan.lacking, NotFoundError) and not shown.failures:
        found.append(plan.lacking)
    if problem is not None:
        found.append(problem)
    return tuple(found)


def _writable(work: RoleWork) -> RoleWork:
    return replace(work, aws_account=replace(work.aws_account, drift_policy=DriftPolicy.REPAIR))
