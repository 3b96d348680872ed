"""Reconcile one role: decide each binding, write the trust policy once, update every status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import sid_of
from trustbind.policy.retention import Retention
from trustbind.reasons import TrustReason
from trustbind.reconcile.association_outcome import Seen, is_left_in_step
from trustbind.reconcile.decision import BindingDecision, decide, retention
from trustbind.reconcile.failure_reasons import BELIEVED_FAILURES, OF_THE_ACCOUNT, role_failure
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.role_plan import RoleWork
from trustbind.reconcile.stored_binding import StoredBinding, ready_condition
from trustbind_aws.permits import DecisionChangedError, NotLeadingError
from trustbind_aws.role_pipeline import reconcile_role
from trustbind_operator.controllers.binding.status_writer import StatusWriter
from trustbind_operator.controllers.context import Context, Next, sooner
from trustbind_operator.controllers.pod_identity.controller import PodIdentityController
from trustbind_operator.controllers.role.aws_state import AwsState
from trustbind_operator.controllers.role.guard import DecisionGuard
from trustbind_operator.controllers.role.progress import Progress
from trustbind_operator.controllers.role.report import (
    BindingReport,
    of_decisions,
    of_failure,
    of_result,
    of_unknown_account,
)

__all__ = ["Neighbours", "RoleController"]

_CLAIM_ROUNDS: Final = 5
"""Bindings can come while others get their finalizers; after so many rounds the role is enqueued again."""


class Neighbours(Protocol):
    """What a run of a role asks of the rest of the operator."""

    def enqueue(self, role: RoleArn) -> None:
        """Let another role run: the next step of a chain is possible there."""

    def suspect(self, account: AwsAccount) -> None:
        """Let an AWSAccount be looked at: a role could not be reached through it."""

    async def guard_account(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount."""

    def is_surveyed(self, role: RoleArn) -> bool:
        """Return whether surveys list a role, once it exists, and find what of ours is left in it."""

    def is_held_up(self, account: AwsAccount) -> bool:
        """Return whether an AWSAccount is known not to be Ready; it is retried, and its roles run when it is."""

    def decided(self, decision: BindingDecision) -> None:
        """Take note of a decision: what it revokes is counted."""

    def cleared(self, role: RoleArn) -> None:
        """Take note that nothing is left in a role that no binding accounts for."""

    def pause(self, account_id: str, waiting: RoleArn | None = None) -> str:
        """Return why nothing may be revoked in an AWS account now; empty when it may.

        Args:
            account_id: which.
            waiting: a role that runs again when the pause ends.
        """


class RoleController:
    """See the module. One instance serves all roles; no two runs of one role overlap.

    Args:
        context: the collaborators.
        writer: of statuses and finalizers.
        pod_identity: keeps EKS Pod Identity associations.
        neighbours: see `Neighbours`.
    """

    def __init__(
        self, context: Context, writer: StatusWriter, pod_identity: PodIdentityController, neighbours: Neighbours
    ) -> None:
        self._context = context
        self._writer = writer
        self._pod_identity = pod_identity
        self._neighbours = neighbours
        self._failures: dict[RoleArn, int] = {}
        self._decided: dict[BindingRef, dict[RoleArn, tuple[object, ...]]] = {}
        """The key of each binding's last decision for each of its roles."""
        self.progress = Progress(context.cache, context.issuer, neighbours.enqueue)
        self.aws_state = AwsState(self.progress, neighbours.is_surveyed)

    # --- what others ask --------------------------------------------------------------------------------------------

    def is_changed(self, stored: StoredBinding) -> bool:
        """Return whether a binding is decided otherwise now than in the last run of one of its roles."""
        if stored.binding is None:
            return False
        decided = self._decided.get(stored.ref, {})
        for role in stored.roles:  # of a chain, one role may have run since the change and the other not
            (decision,) = decide(self._context.cache.snapshot_of(stored, role, self.progress.rollouts))
            self._neighbours.decided(decision)
            if decision.key != decided.get(role):
                return True
        return False

    def forget(self, stored: StoredBinding) -> None:
        """Forget a binding that is gone."""
        self._decided.pop(stored.ref, None)
        self.aws_state.forget(stored.uid)
        self.progress.forget(stored.uid)

    def look_at(self, stored: StoredBinding) -> None:
        """Decide one binding for what it revokes alone."""
        for role in sorted(stored.roles)[:1]:  # a binding is granted in all its roles or in none
            (decision,) = decide(self._context.cache.snapshot_of(stored, role, self.progress.rollouts))
            self._neighbours.decided(decision)

    def is_in_step(self, role: RoleArn) -> bool:
        """Return whether the statuses of a role's bindings say that its last run left nothing to do."""
        return all(_is_settled(decision, self._context.issuer) for decision in self._decisions(role))

    # --- one run ----------------------------------------------------------------------------------------------------

    async def reconcile(self, role: RoleArn) -> Next:
        """Bring one role to what the cluster wants; return when it is due again."""
        decisions = await self._claimed(role)
        if decisions is None:
            return Next.NOW
        try:
            return await self._reconcile(role, decisions)
        except DecisionChangedError:
            return Next.NOW
        except NotLeadingError:  # the new leader finds what is left to do
            return Next.RETRY

    async def _reconcile(self, role: RoleArn, decisions: list[BindingDecision]) -> Next:
        cache = self._context.cache
        account = cache.aws_account(role.account_id)
        kept = retention(role, cache.around, cache.namespaces)
        by_association = [d for d in decisions if d.stored.is_associated_with(role)]
        by_trust = [d for d in decisions if not d.stored.is_associated_with(role)]
        guard = DecisionGuard(
            decisions,
            partial(self._decide, role),
            lambda: cache.aws_account(role.account_id) == account,
            lambda: cache.revision,
            self._context.leads_until,
            lambda: not self._neighbours.pause(role.account_id, role),
        )
        self.progress.begun(role, decisions)
        has_associations = bool(by_association) or self._pod_identity.concerns(role, account)
        cleared = Next.NEVER
        if has_associations:
            self._pod_identity.claim(role, by_association)
            if not self._neighbours.pause(role.account_id, role):  # else nothing is deleted
                cleared = await self._pod_identity.clear(role, account, by_trust, by_association, guard)
        due, seen = await self._trust(role, account, by_trust, by_association, kept, guard)
        if has_associations:
            paused = self._neighbours.pause(role.account_id, role)
            next_due, chains = await self._pod_identity.run(role, account, by_association, seen, guard, paused)
            await self._finish(role, chains)
            due = sooner(due, next_due)
        return sooner(cleared, due)

    async def _claimed(self, role: RoleArn) -> list[BindingDecision] | None:
        """Decide, and put finalizers on all that is about to be written; None when the cluster keeps changing.

        A binding that could not get its finalizer is left out: an event about it is on its way. More may be granted
        while the AWSAccount gets its finalizer, so it is decided again where anything has changed since.
        """
        cache = self._context.cache
        for _ in range(_CLAIM_ROUNDS):
            revision, decisions = cache.revision, self._decisions(role)
            account = cache.aws_account(role.account_id)
            if account is None:
                return decisions
            if any(d.claims or d.needs_finalizer for d in decisions) and not cache.aws_accounts[account.name].guarded:
                await self._neighbours.guard_account(account)
            unguarded = [d.stored for d in decisions if _lacks_finalizer(d)]
            if await self._add_finalizers(unguarded):
                decisions = self._decisions(role)
                return [d for d in decisions if not _lacks_finalizer(d)]
            if not unguarded and cache.revision == revision:
                return decisions
        return None

    async def _add_finalizers(self, unguarded: list[StoredBinding]) -> bool:
        """Put our finalizer on bindings, and keep them as they are then; return whether one could not get it."""
        cache = self._context.cache
        missed = False
        for before, after in zip(
            unguarded, await asyncio.gather(*map(self._context.writer.add_finalizer, unguarded)), strict=True
        ):
            known = cache.bindings.get(before.ref)
            if after is None:
                missed = True
            elif known is not None and known.uid == after.uid and not cache.bindings.is_old(after.ref, after):
                cache.put_binding(after)
        return missed

    async def _trust(
        self,
        role: RoleArn,
        account: AwsAccount | None,
        decisions: list[BindingDecision],
        by_association: list[BindingDecision],
        kept: Retention,
        guard: DecisionGuard,
    ) -> tuple[Next, Seen]:
        """Bring the role's trust policy in order; return when that is due again, and the role as it was read."""
        context = self._context
        if account is None:
            self.progress.cleared(self.progress.take_left(role))
            await self._finish(role, of_unknown_account(role, decisions, context.issuer))
            return Next.RESYNC if decisions else Next.NEVER, Seen(None)
        work = RoleWork(
            role,
            context.issuer,
            account,
            tuple(decisions),
            tuple(by_association),
            self.progress.was_source(role),
            self._neighbours.pause(role.account_id, role),
            kept,
            self.progress.naming_as_target(role),
        )
        if not self.aws_state.concerns_aws(work, by_association):
            self.aws_state.unread(role)
            await self._finish(role, of_decisions(role, decisions))
            is_waiting = any(d.reason is None for d in decisions)  # else only an event can change anything
            return Next.RESYNC if is_waiting else Next.NEVER, Seen(None, reason=TrustReason.ROLE_NOT_FOUND)
        left = self.progress.take_left(role)
        try:
            result = await reconcile_role(context.pool, work, guard, context.pace)
        except (DecisionChangedError, NotLeadingError):
            self.progress.give_back(left)
            raise
        except AwsError as error:
            reason, message = role_failure(role, error)
            if reason is TrustReason.ROLE_NOT_FOUND:
                self.progress.cleared(left)
                self._neighbours.cleared(role)
            else:
                self.progress.give_back(left)
            return await self._failed(work, decisions, error), Seen(None, reason=reason, message=message)
        planned, stopped = result.planned, result.stopped
        self.aws_state.planned(role, planned)
        if stopped is None:
            self.progress.cleared(left)
            self._neighbours.cleared(role)
            if work.may_write and not work.paused:
                self.aws_state.narrowed(role)
        else:
            self.progress.give_back(left)
        outcome = str(stopped.reason) if stopped else ("written" if result.written else "unchanged")
        context.telemetry.committed(role, outcome, result.written, len(decisions))
        await self._finish(role, of_result(work, result))
        problem = None if stopped is None else (stopped.reason, stopped.message)
        seen = Seen(result.seen.document, result.seen.tags, problem=problem, unassociated=planned.unassociated)
        to_record = planned.adoption.to_record
        if to_record and await self._writer.record((d.stored for d in decisions), to_record):
            return Next.NOW, seen
        if planned.lacking is not None:
            return await self._failed(work, planned.held, planned.lacking), seen
        self.aws_state.mended(role)
        self._failures.pop(role, None)
        if planned.trust.refusals or planned.hindrances or result.problem is not None:
            is_seen = self._neighbours.is_surveyed(role) and not planned.unpermitted  # a list shows no inline policy
            is_seen = is_seen and all(h.reason is TrustReason.PROVIDER_MISSING for h in planned.hindrances.values())
            return Next.RESYNC if is_seen else Next.SURVEY, seen
        if to_record:
            return Next.RETRY, seen
        return Next.RESYNC if self._is_due_again(role) else Next.NEVER, seen

    async def _failed(self, work: RoleWork, decisions: Iterable[BindingDecision], error: AwsError) -> Next:
        """Report a failed run of a role."""
        context, role = self._context, work.role
        context.pool.refused(work.aws_account, error)
        reason, message = role_failure(role, error)
        failures = self._failures[role] = self._failures.get(role, 0) + 1
        context.telemetry.failed(role, reason, message)
        if reason in OF_THE_ACCOUNT:
            self._neighbours.suspect(work.aws_account)
        is_passing = not self.aws_state.is_drifted(role) and failures < BELIEVED_FAILURES
        await self._finish(role, of_failure(role, decisions, reason, message, is_passing=is_passing))
        if not self._is_due_again(role):
            return Next.NEVER
        if reason is TrustReason.ROLE_NOT_FOUND:
            self.aws_state.missing(role)
            return Next.NEVER if self._neighbours.is_surveyed(role) else Next.RETRY
        is_found = reason in OF_THE_ACCOUNT and self._neighbours.is_held_up(work.aws_account)
        if is_found or (reason is TrustReason.PROVIDER_MISSING and self._neighbours.is_surveyed(role)):
            return Next.RESYNC
        return Next.RETRY

    def _is_due_again(self, role: RoleArn) -> bool:
        """Return whether a role has to run again: a binding names it, or something of ours may be left there."""
        return self._context.cache.has_role(role) or self.progress.is_left(role)

    # --- the report -------------------------------------------------------------------------------------------------

    async def _finish(self, role: RoleArn, reports: list[BindingReport]) -> None:
        """Record the progress of chains, then write statuses, Events and finalizers."""
        finished = [(report, self.progress.record(role, report)) for report in reports]
        await asyncio.gather(*(self._conclude(role, report, outcome) for report, outcome in finished))

    async def _conclude(self, role: RoleArn, report: BindingReport, outcome: BindingOutcome) -> None:
        stored = report.decision.stored
        is_over = report.release is not None and outcome.reason == report.outcome.reason
        if is_over and stored.binding is not None and stored.is_chain and stored.binding.role != role:
            self._neighbours.enqueue(stored.binding.role)  # its run knows of associations that are left there
            return
        if is_over and (kept := self._pod_identity.blocks_release(stored)) is not None:
            await self._writer.store(stored, *kept)
        elif is_over and report.release is not None:
            await self._writer.release(stored, report.release, outcome.message)
        elif not report.is_kept:
            await self._writer.store(stored, role, outcome)

    # --- decisions --------------------------------------------------------------------------------------------------

    def _decisions(self, role: RoleArn) -> list[BindingDecision]:
        """Decide each binding of a role, and remember the decisions."""
        decisions = list(self._decide(role))
        for decision in decisions:
            self._decided.setdefault(decision.stored.ref, {})[role] = decision.key
            self._neighbours.decided(decision)
            self.aws_state.decided(decision)
        return decisions

    def _decide(self, role: RoleArn) -> tuple[BindingDecision, ...]:
        return decide(self._context.cache.snapshot(role, self.progress.rollouts))


def _is_settled(decision: BindingDecision, issuer: Issuer) -> bool:
    """Return whether a binding's status says that the last run left nothing to do for it."""
    stored = decision.stored
    if stored.deleting:
        return False
    if stored.is_pod_identity:
        return is_left_in_step(decision, issuer)
    if decision.reason is not None or not decision.claims:
        ready = ready_condition(stored.status) or {}
        said = (ready.get("reason"), ready.get("message"), stored.status.get("observedGeneration"))
        return said == (decision.reason, decision.message, stored.generation)
    return stored.guarded and stored.is_applied(issuer, decision.subjects, _main_sid(issuer, decision))


def _main_sid(issuer: Issuer, decision: BindingDecision) -> str:
    """Return the Sid that the status names: of a chain, the target role's."""
    binding = decision.stored.binding
    if binding is not None and decision.stored.is_chain:
        return sid_of(issuer, claims_on(binding.role, binding, ())[0].key)
    return sid_of(issuer, decision.claims[0].key)


def _lacks_finalizer(decision: BindingDecision) -> bool:
    return decision.needs_finalizer and not decision.stored.guarded
