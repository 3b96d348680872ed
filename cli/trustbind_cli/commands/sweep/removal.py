"""What was found is removed from AWS, role by role: what is wanted is read again first, and so is what is written.

A trust policy is written only while it still is what was shown. What a later reading wants is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from trustbind.errors import AwsError
from trustbind.policy.pod_identity_association import is_ours
from trustbind.policy.sweep import claims_of, narrowed, targets_wanted
from trustbind.reconcile.observation import RoleObservation
from trustbind.reconcile.role_plan import RolePlan, RoleWork, WriteTrustPolicy
from trustbind_aws.account_pool import AccountPool, Entered
from trustbind_aws.eks import EksAssociations
from trustbind_aws.permits import ALWAYS, DecisionChangedError
from trustbind_aws.resources import source_policy, trust_policy
from trustbind_aws.resources.trust_policy import DEFAULT_PACE, Attempt, is_worth_a_retry
from trustbind_cli.commands.sweep.found import AssociationSweep, Found, RoleSweep
from trustbind_cli.commands.sweep.readings import Readings, UnreadError
from trustbind_cli.commands.sweep.wanted import Wanted

__all__ = ["Removal"]

T = TypeVar("T")


class Removal:
    """The writes of one run of the command. For one event loop.

    Args:
        first: what was wanted when the plan was made.
        readings: see `Readings`.
        pool: the caller's way into AWS.
        retained: whether what deleted bindings left is swept, too.
    """

    def __init__(self, first: Wanted, readings: Readings, pool: AccountPool, *, retained: bool) -> None:
        self._first = first
        self._readings = readings
        self._pool = pool
        self._retained = retained

    async def carry_out(self, found: Found) -> Found:
        """Remove what was found, and return it with the results.

        Associations go first, then roles that service accounts assume, then those at the far end of chains. Once what
        is wanted cannot be read again, nothing more is removed.
        """
        done = replace(found, associations=list(found.associations), roles=list(found.roles))
        try:
            for index, association in enumerate(done.associations):
                if association.refusal is None:
                    done.associations[index] = await self._delete(association, await self._readings.wanted())
            for index, role in enumerate(done.roles):
                if role.is_due and role.refusal is None:
                    done.roles[index] = await self._write(role, await self._readings.wanted())
        except UnreadError as error:
            done.unseen = [*found.unseen, str(error)]
        return done

    async def _delete(self, each: AssociationSweep, wanted: Wanted) -> AssociationSweep:
        """Delete an association, unless a binding wants it, or it has another owner by now."""
        listed = each.association.listed
        if each.association.subject in wanted.associated:
            name = f"{listed.namespace}/{listed.service_account}"
            return replace(each, kept=f"a RoleBinding wants an association of {name} by now")
        each = replace(each, aws_account=wanted.aws_accounts.get(each.aws_account.account_id, each.aws_account))
        if each.refusal is not None or each.aws_account.eks is None:
            return each
        try:
            entered = await self._pool.enter(each.aws_account)
            store = EksAssociations(entered.api, each.aws_account.eks)
            now = await store.described(listed)
            if now is not None and not is_ours(now, wanted.issuer):
                return replace(each, problem=_changed(f"the association {listed.arn}"))
            if now is not None:
                await store.delete(now, ALWAYS)
        except AwsError as error:
            return replace(each, problem=error)
        return replace(each, is_written=True)

    async def _write(self, shown: RoleSweep, wanted: Wanted) -> RoleSweep:
        each = self._narrowed(replace(shown, aws_account=wanted.account(shown.role)), wanted)
        if not each.is_due or each.refusal is not None:
            return each
        try:
            entered = await self._pool.enter(each.aws_account)
            if not each.trust.plan.is_empty:
                attempt = await _trying(lambda: self._apply(entered, shown, wanted))
                _, theirs = await trust_policy.confirm(entered.api, attempt.planned.trust)
                if theirs is not None:
                    return replace(each, problem=_changed(f"the trust policy of {each.role}"))
            if each.targets:
                work = RoleWork(each.role, wanted.issuer, each.aws_account, ())
                pace = DEFAULT_PACE
                await _trying(
                    lambda: source_policy.withdraw(entered, work, each.targets, ALWAYS, pace.max_read_age, pace)
                )
        except AwsError as error:
            return replace(each, problem=error)
        return replace(each, is_written=True)

    def _narrowed(self, shown: RoleSweep, wanted: Wanted) -> RoleSweep:
        """Return what still goes of a role, and what is kept."""
        again = narrowed(shown.trust, wanted.swept(shown.role, shown.document, retained=self._retained))
        targets = shown.targets - targets_wanted(shown.role, (binding for binding, _ in wanted.bindings))
        stays = shown.trust.removed - again.removed
        kept = sorted({name for _, name in stays if name} | (shown.targets - targets)) or sorted(
            sid for sid, _ in stays
        )
        if not kept:
            return replace(shown, trust=again, targets=targets)
        known = claims_of(shown.role, self._first.bindings)
        refs = sorted({str(c.binding) for c in claims_of(shown.role, wanted.bindings) if c not in known})
        who = f"RoleBinding {', '.join(refs)} has come" if refs else "what is wanted has changed"
        return replace(
            shown, trust=again, targets=targets, kept=(f"{who} since it was read, so {', '.join(kept)} stays",)
        )

    async def _apply(self, entered: Entered, each: RoleSweep, wanted: Wanted) -> Attempt:
        """Read the role, and write at once where it is what the plan was shown for.

        Raises:
            DecisionChangedError: it is not.
            AwsError: see `trust_policy.apply`.
        """

        def plan(seen: RoleObservation) -> RolePlan:
            if seen.document.meaning() != each.document.meaning():
                raise _changed(f"the trust policy of {each.role}")
            again = wanted.swept(each.role, seen.document, retained=self._retained)
            return RolePlan((), narrowed(each.trust, again).plan, (WriteTrustPolicy(),))

        return await trust_policy.apply(entered.api, each.role, plan, ALWAYS, DEFAULT_PACE.most_read_age)


async def _trying(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an attempt returns, made again while AWS is busy or the read was too old.

    Raises:
        AwsError: of the last one.
    """
    for pause in DEFAULT_PACE.retries.pauses(random.random):
        try:
            return await attempt()
        except AwsError as error:
            if not is_worth_a_retry(error):
                raise
        await asyncio.sleep(pause)
    return await attempt()


def _changed(what: str) -> DecisionChangedError:
    return DecisionChangedError(
        f"{what} has changed since it was read for this plan, so it is left alone; run sweep again"
    )
