"""One run of a role: observe, plan, apply, until nothing is left to do.

`trustbind.reconcile.role_plan` says which step is next; each kind of step is carried out by its module in `resources`,
and its outcome is in the facts that the next plan is made on. The operator and ``trustbind apply`` run this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, UnreachableError
from trustbind.reconcile.observation import Facts, RoleObservation
from trustbind.reconcile.result import RoleResult
from trustbind.reconcile.role_plan import (
    EnsureProvider,
    NarrowSourcePolicy,
    RolePlan,
    RoleWork,
    Step,
    WidenSourcePolicy,
    WriteTrustPolicy,
    plan_role,
)
from trustbind_aws.account_pool import AccountPool, Entered
from trustbind_aws.permits import ALWAYS, StaleReadError, WriteGuard
from trustbind_aws.resources import oidc_provider, source_policy, trust_policy
from trustbind_aws.resources.trust_policy import DEFAULT_PACE, Status, WritePace, is_worth_a_retry

__all__ = ["observe_role", "reconcile_role"]


async def observe_role(pool: AccountPool, work: RoleWork) -> tuple[Entered, Facts, RoleObservation]:
    """Read everything that a plan of the role needs, the source role's policy included, and write nothing.

    Raises:
        AwsError: the AWS account cannot be entered, or the role or its policy cannot be read.
    """
    entered = await pool.enter(work.aws_account)
    facts = await _observe(entered, work)
    seen = await entered.api.role(work.role)
    targets = plan_role(work, facts, seen).targets
    if targets is not None:
        facts = await source_policy.observe(entered, work, targets, facts)
    return entered, facts, seen


async def reconcile_role(
    pool: AccountPool, work: RoleWork, guard: WriteGuard = ALWAYS, pace: WritePace = DEFAULT_PACE
) -> RoleResult:
    """Bring one role to what is wanted.

    Args:
        pool: the AWS accounts.
        work: what is wanted, decided.
        guard: asked right before each write.
        pace: see `WritePace`.

    Returns:
        With `RoleResult.problem` set when another writer overwrote ours too often.

    Raises:
        NotLeadingError: nothing may be written any more.
        DecisionChangedError: what was decided does not hold any more.
        AwsError: a call failed for good.
    """
    entered = await pool.enter(work.aws_account)
    return await _Run(entered, work, guard, pace).run(await _observe(entered, work))


async def _observe(entered: Entered, work: RoleWork) -> Facts:
    if work.aws_account.trust_policy_limit is None and entered.facts.limit is None:
        await entered.read_limit()
    return await oidc_provider.observe(entered, work, Facts(entered.facts))


@dataclass(slots=True)
class _Run:
    """The loop of one run; it belongs to one task, and nothing of it enters a thread."""

    entered: Entered
    work: RoleWork
    guard: WriteGuard
    pace: WritePace
    written: int = 0
    failures: int = 0
    stale_reads: int = 0
    redone: int = 0
    unrestored: Mapping[BindingRef, str] = field(default_factory=dict)
    """See `RoleResult`; told by the plan that was written, since afterwards nothing of the binding's stands."""

    async def run(self, facts: Facts) -> RoleResult:
        """Carry out one step after the other until none is left."""
        while True:
            try:
                done, facts = await self._once(facts)
            except AwsError as error:
                await self._pause_or_raise(error)
                continue
            if done is not None:
                return done

    async def _once(self, facts: Facts) -> tuple[RoleResult | None, Facts]:
        """Read the role, carry out the next step; return the result once there is none."""
        role, pace = self.work.role, self.pace
        plan = partial(self._plan, facts)
        max_age = pace.read_age(self.stale_reads)
        attempt = await trust_policy.apply(self.entered.api, role, plan, self.guard, max_age, pace)
        seen, planned = attempt.seen, attempt.planned
        if attempt.status is Status.WRITTEN or not self.written:
            self.unrestored = planned.restoration.refused
        if attempt.status is Status.WRITTEN:
            self.written += 1
            seen, theirs = await trust_policy.confirm(self.entered.api, planned.trust, pace)
            planned = plan(seen) if theirs is None else planned
            if planned.steps and isinstance(planned.steps[0], WriteTrustPolicy):
                return await self._redo(planned, seen), facts
        if not planned.steps:
            return RoleResult(planned, seen, self.written, unrestored=self.unrestored), facts
        facts = await self._apply(planned.steps[0], facts)
        if isinstance(planned.steps[0], NarrowSourcePolicy):
            return RoleResult(planned, seen, self.written, unrestored=self.unrestored), facts
        return None, facts

    def _plan(self, facts: Facts, seen: RoleObservation) -> RolePlan:
        """Plan with the providers as they are known now: another role's run may have added a client id meanwhile."""
        account = replace(facts.account, providers=self.entered.facts.providers)
        return plan_role(self.work, replace(facts, account=account), seen)

    async def _apply(self, step: Step, facts: Facts) -> Facts:
        max_age = self.pace.read_age(self.stale_reads)
        match step:
            case EnsureProvider():
                return await oidc_provider.apply(self.entered, step, self.work.issuer, facts, self.guard)
            case WidenSourcePolicy():
                return await source_policy.widen(self.entered, self.work, step, facts, self.guard, max_age, self.pace)
            case NarrowSourcePolicy():
                return await source_policy.narrow(self.entered, self.work, step, facts, self.guard, max_age, self.pace)
            case WriteTrustPolicy():
                raise AssertionError("trust_policy.apply carries this step out")

    async def _redo(self, planned: RolePlan, seen: RoleObservation) -> RoleResult | None:
        """Wait before an overwritten statement is written again; return the result once that was often enough."""
        if self.redone == len(self.pace.redo):
            problem = trust_policy.contended(self.work.role, self.written)
            return RoleResult(planned, seen, self.written, problem, self.unrestored)
        pause = self.pace.redo[self.redone]
        self.redone += 1
        await asyncio.sleep(pause * self.pace.jitter())
        return None

    async def _pause_or_raise(self, error: AwsError) -> None:
        """Wait before the role is read again; raise where there is no further try.

        Raises:
            AwsError: ``error``.
        """
        if isinstance(error, StaleReadError):
            self.stale_reads += 1
        else:
            self.failures += 1
        tries = self.pace.retries.tries
        is_last = self.failures >= tries or self.stale_reads >= tries * self.pace.stale_reads
        # A connection that AWS closed while it was idle fails once, and then there is a new one.
        was_idle = isinstance(error, UnreachableError) and self.failures == 1
        if is_last or not (is_worth_a_retry(error) or was_idle):
            raise error
        await asyncio.sleep(self.pace.retries.pause(max(self.failures, 1), self.pace.jitter()))
