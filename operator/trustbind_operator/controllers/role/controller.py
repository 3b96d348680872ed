"""The work on one role: judge its bindings, commit once for all of them, tell each what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import WebIdentityKey, owner_prefix, sid_of
from trustbind.policy.plan import Refusal, plan, withheld
from trustbind.reasons import TrustReason
from trustbind_aws.account_pool import MismatchError
from trustbind_aws.resources.source_policy import SourcePermission
from trustbind_aws.resources.trust_policy import Commit, commit
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import (
    BindingOutcome,
    Transition,
    binding_status,
    is_in_step,
    ready_condition,
    transitions,
)
from trustbind_operator.controllers.binding.decision import Verdict, desired_of, judge, with_consent
from trustbind_operator.controllers.binding.failure_reasons import (
    BELIEVED_FAILURES,
    OF_THE_ACCOUNT,
    TRANSIENT,
    account_failure,
    role_failure,
)
from trustbind_operator.controllers.context import Context, Next, sooner, stamp
from trustbind_operator.controllers.pod_identity.controller import AssociationWork
from trustbind_operator.controllers.pod_identity.outcome import Seen, is_by_agent, is_left_in_step
from trustbind_operator.controllers.role.chain_rollout import ChainBook, is_chained, managed_targets, without_permission
from trustbind_operator.controllers.role.federated_providers import hindrances, without_absent
from trustbind_operator.controllers.role.outcome import failed_outcome, hindered, outcome_of, was_there

__all__ = ["RoleWork"]

AccountGuard = Callable[[AwsAccount], Awaitable[None]]

_GUARD_ROUNDS: Final = 5
"""Bindings can come while others get their finalizers; after so many rounds the rest waits for the next commit."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """What came of the blocking part.

    Attributes:
        verdicts: as the role itself agreed to them.
        commit: see `Commit`.
        held: the bindings that wait for the account's OIDC provider.
        lacking: what it lacks, or why that cannot be told; None when all is well.
        hindered: the bindings for which another issuer's provider is not as it should be.
        unpermitted: whether there are chains for whose target the source role's policy has no room.
    """

    verdicts: list[Verdict]
    commit: Commit
    held: list[Verdict]
    lacking: AwsError | None
    hindered: Mapping[BindingRef, Refusal]
    unpermitted: bool = False


class RoleWork:
    """See the module. One instance serves all roles; no two runs for one role overlap."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failures: dict[RoleArn, int] = {}
        self.judged: dict[BindingRef, tuple[object, ...]] = {}
        """The verdict's key at each binding's last commit."""
        self.released: set[str] = set()
        """uids of bindings that were let go; their end is no news."""
        self.chains = ChainBook()
        self.doubted: set[str] = set()
        """AWSAccounts that a role could not be reached through, for the owner of this object to look at."""
        self.associations = AssociationWork(context, self._store, self._release, self.doubted)

    def is_in_step(self, role: RoleArn) -> bool:
        """Return whether the statuses of a role's bindings say that it was left in order."""
        context = self._context
        for entry in context.registry.of_role(role):
            verdict = judge(entry, context.registry, role)
            if entry.deleting:
                return False
            if is_by_agent(verdict):
                if not is_left_in_step(entry, verdict, context.issuer):
                    return False
            elif verdict.reason is not None or not verdict.claims:
                ready = ready_condition(entry.status) or {}
                told = (ready.get("reason"), ready.get("message"))
                if (
                    told != (verdict.reason, verdict.message)
                    or entry.status.get("observedGeneration") != entry.generation
                ):
                    return False
            elif not entry.guarded or not is_in_step(
                entry.status,
                entry.generation,
                context.issuer,
                verdict.subjects,
                _main_sid(context.issuer, entry, verdict),
            ):
                return False
            self._judge(role, verdict)
        return True

    async def run(self, role: RoleArn, account_guard: AccountGuard) -> Next:
        """Bring one role in order.

        Args:
            role: which.
            account_guard: puts the finalizer on the role's AWSAccount.
        """
        registry = self._context.registry
        for _ in range(_GUARD_ROUNDS):
            account = registry.aws_account(role.account_id)
            verdicts = self._verdicts(role)
            if account is None:
                break
            if any(verdict.claims or verdict.is_granted for verdict in verdicts):
                await account_guard(account)
                verdicts = self._verdicts(role)
            verdicts = await self._guarded(role, verdicts)
            if registry.aws_account(role.account_id) == account:
                break
        else:  # it keeps changing under our hands
            return Next.RETRY
        by_agent = [v for v in verdicts if is_by_agent(v)]
        verdicts = [v for v in verdicts if not is_by_agent(v)]
        self.associations.claim(role, by_agent)
        cleared = await self.associations.clear(role, account, verdicts, by_agent)
        if account is None:
            due = await self.associations.run(role, account, by_agent, Seen(None))
            await self._without_account(role, verdicts)
            return sooner(sooner(cleared, due), Next.RESYNC if verdicts else Next.NEVER)
        due, seen = await self._trust(role, account, verdicts, has_others=bool(by_agent))
        return sooner(sooner(cleared, due), await self.associations.run(role, account, by_agent, seen))

    async def _trust(
        self, role: RoleArn, account: AwsAccount, verdicts: list[Verdict], *, has_others: bool
    ) -> tuple[Next, Seen]:
        """Bring the role's trust policy in order; return when that is due again, and the role as it was found."""
        context = self._context
        try:
            whole = await context.accounts.within(
                role.account_id, lambda: self._commit(role, account, verdicts, has_others=has_others)
            )
        except AwsError as error:
            return await self._failed(role, account, verdicts, error), Seen(None, {}, *_failure(role, error))
        done = whole.commit
        problem = done.problem or done.plan.blocked
        told = (problem.reason, problem.message) if problem is not None else None
        seen = Seen(done.plan.document, done.state.tags, problem=told)
        outcome = str(problem.reason) if problem else ("written" if done.written else "unchanged")
        context.observer.committed(role, outcome, done.written, len(verdicts))
        await asyncio.gather(*(self._conclude(role, v, whole) for v in whole.verdicts if v not in whole.held))
        if whole.lacking is not None:
            return await self._failed(role, account, whole.held, whole.lacking), seen
        self._failures.pop(role, None)
        if problem is not None or whole.hindered or whole.unpermitted:
            return Next.RETRY, seen
        return Next.RESYNC if context.registry.of_role(role) else Next.NEVER, seen

    def _verdicts(self, role: RoleArn) -> list[Verdict]:
        registry = self._context.registry
        verdicts = []
        for entry in registry.of_role(role):
            verdict = judge(entry, registry, role)
            self._judge(role, verdict)
            verdicts.append(self.chains.step(verdict, role, registry.accounts_of(entry.ref.namespace)))
        return verdicts

    def _judge(self, role: RoleArn, verdict: Verdict) -> None:
        """Remember the verdict as `Reconciler.reconsider` will give it: that on the target role."""
        binding = verdict.entry.binding
        if binding is None or binding.role == role:
            self.judged[verdict.entry.ref] = verdict.key

    async def _guarded(self, role: RoleArn, verdicts: list[Verdict]) -> list[Verdict]:
        """Put our finalizer on every binding whose trust is about to be written; return the verdicts then.

        A binding that could not get it (it changed or went meanwhile) is left out: an event about it is on its way.
        """
        registry = self._context.registry
        for _ in range(_GUARD_ROUNDS):
            unguarded = [v.entry for v in verdicts if _lacks_guard(v)]
            if not unguarded:
                return verdicts
            bodies = await asyncio.gather(*(self._context.cluster.guard(entry) for entry in unguarded))
            missed = False
            for entry, body in zip(unguarded, bodies, strict=True):
                if body is None:
                    missed = True
                    continue
                guarded = BindingEntry.of(body)
                known = registry.bindings.get(entry.ref)
                if known is not None and known.uid == guarded.uid and not registry.is_old(guarded):
                    registry.put_binding(guarded)
            verdicts = self._verdicts(role)
            if missed:
                break
        return [v for v in verdicts if not _lacks_guard(v)]

    def _commit(self, role: RoleArn, account: AwsAccount, verdicts: list[Verdict], *, has_others: bool) -> _Whole:
        """Do the blocking part, in a thread; ``has_others`` says whether the role has bindings by EKS Pod Identity."""
        context = self._context
        access = context.accounts.enter(account)
        state = access.read(role)
        asked = with_consent(verdicts, account, state.tags)
        for before, after in zip(verdicts, asked, strict=True):
            self.chains.asked(before, after, role)
        accounts_of = context.registry.accounts_of
        verdicts = [self.chains.step(v, role, accounts_of(v.entry.ref.namespace)) for v in asked]
        found = hindrances(verdicts, context.accounts, account, access, role)
        verdicts = without_absent(verdicts, found.absent, state.document, context.issuer)
        audiences = _audiences(verdicts)
        held, lacking = [], None
        is_asked = found.asked
        try:
            is_asked |= context.accounts.see_to_provider(account, access, role, audiences)
        except AwsError as error:  # nobody new is let in, and whoever has to go goes all the same
            is_asked, seen = True, context.accounts.audiences_seen(account)
            held, lacking = [v for v in verdicts if _lets_in(v) and not _audiences([v]) <= seen], error
        limit = account.trust_policy_limit or access.trust_policy_limit()
        if account.drift_policy is DriftPolicy.REPAIR:
            targets = managed_targets(role, verdicts) if verdicts or not has_others else None
            permission = SourcePermission(access, role, context.issuer, targets)
            left_out = permission.widen()
            if is_asked or targets is not None:
                state = access.read(role)  # time has passed, in which somebody else may have written
            going_on, refusals = without_permission(role, [v for v in verdicts if v not in held], left_out)
            verdicts = [*going_on, *held]
            desired = desired_of(role, context.issuer, [*going_on, *(v for v in held if was_there(v.entry))])
            done = commit(access, desired, limit=limit, first=state, patience=context.patience)
            if done.problem is None and done.plan.blocked is None:
                permission.narrow()
            done = replace(done, plan=replace(done.plan, refusals=(*done.plan.refusals, *refusals)))
            return _Whole(verdicts, done, held, lacking, found.told, unpermitted=bool(refusals))
        desired = desired_of(role, context.issuer, [v for v in verdicts if v not in held or was_there(v.entry)])
        planned = plan(state.document, desired, limit)
        if planned.is_empty:
            return _Whole(verdicts, Commit(planned, state), held, lacking, found.told)
        what = ", ".join(f"{change.kind} {change.sid}" for change in planned.changes)
        refusal = Refusal(
            None,
            TrustReason.OBSERVED,
            f"AWSAccount {account.name} has driftPolicy Observe, so nothing is written to the trust policy of {role}; "
            f"it differs: {what}",
        )
        return _Whole(verdicts, Commit(withheld(planned, desired, refusal), state), held, lacking, found.told)

    async def _conclude(self, role: RoleArn, verdict: Verdict, whole: _Whole) -> None:
        """Tell one binding what came of it."""
        done = whole.commit
        outcome = outcome_of(verdict, done, self._context.issuer)
        if (hindrance := whole.hindered.get(verdict.entry.ref)) is not None:
            outcome = hindered(outcome, hindrance)
        stands = bool(verdict.claims) and verdict.entry.ref in done.plan.applied and done.problem is None
        outcome = self.chains.concluded(verdict, role, outcome, stands=stands, issuer=self._context.issuer)
        if verdict.entry.deleting and outcome.reason in {TrustReason.REVOKED, TrustReason.RETAINED}:
            await self._release(verdict.entry, outcome.reason, outcome.message)
        else:
            await self._store(verdict.entry, role, outcome)

    async def _failed(self, role: RoleArn, account: AwsAccount, verdicts: list[Verdict], error: AwsError) -> Next:
        """Tell the bindings of a role why it could not be brought in order."""
        context = self._context
        context.accounts.refused(account, error)
        reason, message = _failure(role, error)
        failures = self._failures.get(role, 0) + 1
        self._failures[role] = failures
        context.observer.failed(role, reason, message)
        if reason in OF_THE_ACCOUNT:
            self.doubted.add(account.name)
        gone = reason is TrustReason.ROLE_NOT_FOUND
        believed = reason in TRANSIENT and failures < BELIEVED_FAILURES
        for verdict in verdicts:
            entry = verdict.entry
            ready = (ready_condition(entry.status) or {}).get("status") == "True"
            if entry.deleting and gone:
                text = f"there is no role {role} any more, nor any trust"
                over = BindingOutcome(None, "", TrustReason.REVOKED, text)
                over = self.chains.concluded(verdict, role, over, stands=False, issuer=context.issuer)
                if over.reason is TrustReason.REVOKED:
                    await self._release(entry, TrustReason.REVOKED, text)
                else:
                    await self._store(entry, role, over)
            elif not (believed and ready and entry.status.get("observedGeneration") == entry.generation):
                outcome = failed_outcome(verdict, reason, message, gone=gone)
                stands = not gone and self.chains.stands(verdict, role)
                outcome = self.chains.concluded(verdict, role, outcome, stands=stands, issuer=context.issuer)
                await self._store(entry, role, outcome)
        return Next.NEVER if gone and not context.registry.of_role(role) else Next.RETRY

    async def _without_account(self, role: RoleArn, verdicts: Iterable[Verdict]) -> None:
        """Deal with bindings whose account nobody describes, or describes any more."""
        for verdict in verdicts:
            if verdict.entry.deleting:
                over = BindingOutcome(None, "", TrustReason.REVOKED, "its account is not described any more")
                over = self.chains.concluded(verdict, role, over, stands=False, issuer=self._context.issuer)
                if over.reason is not TrustReason.REVOKED:  # a chain's other role comes first
                    await self._store(verdict.entry, role, over)
                    continue
                left = (
                    f"no AWSAccount describes {role.account_id} any more, so a statement of this binding may be left "
                    f"in the trust policy of {role}; its Sid begins with {owner_prefix(self._context.issuer)}"
                )
                await self._release(verdict.entry, TrustReason.ACCOUNT_UNKNOWN, left)
            else:
                reason = verdict.reason or TrustReason.ACCOUNT_UNKNOWN
                outcome = BindingOutcome(
                    verdict.authorized, verdict.message, reason, verdict.message, verdict.subjects, may_linger=True
                )
                await self._store(verdict.entry, role, outcome)

    async def _store(self, entry: BindingEntry, role: RoleArn, outcome: BindingOutcome) -> None:
        """Write a binding's status, and an Event, where something changed."""
        context = self._context
        now = stamp(context.now())
        account_id = entry.binding.role.account_id if entry.binding is not None else role.account_id
        entry = context.registry.bindings.get(entry.ref, entry) if is_chained(entry) else entry
        status = binding_status(entry.status, entry.generation, account_id, context.issuer, outcome, now)
        if status == entry.status:
            return
        body = await context.cluster.binding_status(entry, status)
        if body is None:
            return
        context.registry.restate(entry, status, str(body["metadata"].get("resourceVersion", "")))
        for transition in transitions(entry.status, status):
            await context.cluster.event("RoleBinding", body["metadata"], transition)

    async def _release(self, entry: BindingEntry, reason: TrustReason, message: str) -> None:
        """Let a binding go whose trust is as it should be."""
        if not entry.guarded:
            return
        if (kept := self.associations.kept.get(entry.ref)) is not None:
            await self._store(entry, *kept)
            return
        self.released.add(entry.uid)
        await self._context.cluster.release(entry)
        metadata = {"namespace": entry.ref.namespace, "name": entry.ref.name, "uid": entry.uid}
        status = "False" if reason is TrustReason.ACCOUNT_UNKNOWN else "True"
        await self._context.cluster.event("RoleBinding", metadata, Transition("Ready", status, reason, message))


def _audiences(verdicts: Iterable[Verdict]) -> set[str]:
    return {c.key.audience for v in verdicts for c in v.claims if isinstance(c.key, WebIdentityKey)}


def _main_sid(issuer: Issuer, entry: BindingEntry, verdict: Verdict) -> str:
    """Return the Sid that the status names: of a chain, the target role's."""
    binding = entry.binding
    if binding is not None and is_chained(entry):
        return sid_of(issuer, claims_on(binding.role, binding, {})[0].key)
    return sid_of(issuer, verdict.claims[0].key)


def _lets_in(verdict: Verdict) -> bool:
    return bool(verdict.claims) and not verdict.entry.deleting


def _lacks_guard(verdict: Verdict) -> bool:
    return verdict.is_granted and not verdict.entry.guarded


def _failure(role: RoleArn, error: AwsError) -> tuple[TrustReason, str]:
    if isinstance(error, MismatchError):
        return TrustReason.ACCOUNT_MISMATCH, error.problem
    if error.operation.startswith("sts:") or "OpenIDConnect" in error.operation:
        return account_failure(error)
    return role_failure(role, error)
