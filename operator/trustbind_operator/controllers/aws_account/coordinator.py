"""Decide what an AWSAccount is due for: a whole look, new counts alone, or a survey of its AWS account.

Events, pauses of revocation and roles that cannot be reached ask for it. `controller` then looks at one AWSAccount and
`survey` at the roles of one AWS account; what they find is passed on to the roles here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.failure_reasons import account_failure
from trustbind.reconcile.revocation import RevocationLimit
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import ConditionType
from trustbind_operator.controllers.aws_account.controller import AwsAccountController
from trustbind_operator.controllers.aws_account.revocation import RevocationBrake
from trustbind_operator.controllers.aws_account.survey import Findings, Survey, SurveyedRoles
from trustbind_operator.controllers.context import Context, Next
from trustbind_operator.controllers.pace import AccountKey, Delays, Key, Pace, SurveyKey
from trustbind_operator.controllers.workqueue import WorkQueue

__all__ = ["AccountRoles", "AwsAccountCoordinator"]

_COUNTS_WINDOW: Final = 1.0
"""Seconds for which an AWSAccount's counts may lag behind."""


class AccountRoles(SurveyedRoles, Protocol):
    """What AWSAccounts ask of the roles of their AWS accounts."""

    def enqueue_all(self, roles: Iterable[RoleArn], delay: float) -> None:
        """Let roles run after ``delay`` seconds."""

    def strays_in(self, account_id: str) -> set[RoleArn]:
        """Return the roles of an AWS account that have, or may have, statements of ours."""

    def surveyed(self, findings: Findings) -> None:
        """Take note of what a survey found, before the roles that differ run."""

    async def survey_associations(self, account_id: str) -> frozenset[RoleArn]:
        """Return the roles whose EKS Pod Identity associations may differ from what is wanted.

        Raises:
            AwsError: a call failed.
        """


class AwsAccountCoordinator:
    """See the module. One instance serves all AWSAccounts; only the event loop touches it.

    Args:
        context: the collaborators.
        pace: see `Pace`.
        limit: see `RevocationLimit`.
        clock: the event loop's time, in seconds.
        queue: runs `reconcile` and `survey` for the keys that are added here.
        delays: takes note of the pages of surveys.
        roles: see `AccountRoles`.
    """

    def __init__(
        self,
        context: Context,
        pace: Pace,
        limit: RevocationLimit,
        clock: Callable[[], float],
        queue: WorkQueue[Key],
        delays: Delays,
        roles: AccountRoles,
    ) -> None:
        self._context = context
        self._cache = context.cache
        self._pace = pace
        self._clock = clock
        self._queue = queue
        self._delays = delays
        self._roles = roles
        self.brake = RevocationBrake(limit, clock, self._pause_changed)
        self._controller = AwsAccountController(context, self.brake.handled)
        self._survey = Survey(context.pool, context.issuer, roles)
        self._surveyed: set[str] = set()
        """AWS accounts whose surveys go on."""
        self._first_survey: dict[str, float] = {}
        """By AWS account, until when its first survey waits for runs of its roles: what these have not written yet
        would look like drift, and each would run twice."""
        self._recount: set[str] = set()
        """AWSAccounts of which only the counts are to be looked at."""
        self._inspect_at: dict[str, float] = {}
        """When an AWSAccount is to be looked at whole again, at the latest."""

    # --- what makes an AWSAccount due -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look at every AWSAccount, and let the brake decide from now on."""
        for name in self._cache.aws_accounts:
            self._queue.add(AccountKey(name), 0.0)
            self._note(name)
        self.brake.begin()

    def seen(self, before: StoredAwsAccount | None, stored: StoredAwsAccount) -> None:
        """Take note of an AWSAccount that was created, or changed from ``before``; the cache has it already."""
        self._note(stored.name)
        if before is None:
            self._inspect_now(stored.name)
        elif _differs(before, stored):
            self._inspect_now(stored.name)
            if before.requested_at != stored.requested_at:
                self._queue.add(SurveyKey(stored.account_id), 0.0)
            if _differs(before, replace(stored, requested_at=before.requested_at)):
                self._enqueue_roles(stored.account_id)  # how it is reached may have changed

    def gone(self, name: str, account_id: str) -> None:
        """Take note that an AWSAccount is gone, from the cache as well; nothing waits for a pause there any more."""
        self._queue.forget(AccountKey(name))
        if self._cache.aws_account(account_id) is None:
            self._context.telemetry.account_gone(account_id)
        self._enqueue_roles(account_id)
        for other in self._cache.aws_accounts:  # one that was a duplicate may count now
            self._queue.add(AccountKey(other), 0.0)

    def suspect(self, account: AwsAccount) -> None:
        """Look at an AWSAccount that a role could not be reached through, unless it is known not to be Ready."""
        stored = self._cache.aws_accounts.get(account.name)
        if stored is not None and stored.ready_status == "True":
            self._inspect_now(account.name)

    def recount(self, stored: StoredBinding) -> None:
        """Count again the bindings and roles of each AWS account that a binding names."""
        for account_id in {role.account_id for role in stored.roles} if stored.binding is not None else ():
            self._recount_soon(account_id)

    # --- what is known of AWSAccounts -------------------------------------------------------------------------------

    def is_held_up(self, account: AwsAccount) -> bool:
        """Return whether an AWSAccount is known not to be Ready; it is retried, and its roles run when it is."""
        stored = self._cache.aws_accounts.get(account.name)
        return stored is not None and stored.ready_status == "False"

    def lists(self, role: RoleArn) -> bool:
        """Return whether surveys list a role, once it exists."""
        return self._survey.lists(role)

    async def guard(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount."""
        await self._controller.guard(account)

    # --- the work ---------------------------------------------------------------------------------------------------

    async def reconcile(self, key: AccountKey) -> Next:
        """Look at one AWSAccount; return when it is due again."""
        now = self._clock()
        if (known := self._counting(key.name)) is not None:
            paused = self.brake.condition(known.account_id)
            await self._controller.note(known.account_id, ConditionType.REVOCATION_PAUSED, paused)
        if key.name in self._recount:
            self._recount.discard(key.name)
            if now < self._inspect_at.get(key.name, now) and await self._controller.recount(key.name):
                return Next.RESYNC
        due, held_up = await self._controller.reconcile(key.name)
        stored = self._cache.aws_accounts.get(key.name)
        if stored is None:
            return due
        is_kept = stored.deleting and due is Next.RETRY  # bindings still need it
        if (due is Next.RESYNC or is_kept) and stored.account_id not in self._surveyed:
            self._surveyed.add(stored.account_id)
            self._first_survey[stored.account_id] = now + self._pace.survey
            self._queue.add(SurveyKey(stored.account_id), 0.0)
        if due is not Next.RESYNC:
            return due
        self._inspect_at[key.name] = now + self._pace.resync
        if held_up:
            self._enqueue_roles(stored.account_id)
        return due

    async def survey(self, key: SurveyKey) -> Next:
        """Survey an AWS account, and wait until each role that differs has run; return when it is due again."""
        account = self._cache.aws_account(key.account_id)
        if account is None:
            self._surveyed.discard(key.account_id)
            return Next.NEVER
        if self._clock() < self._first_survey.get(key.account_id, 0.0) and self._queue.is_busy(key.account_id):
            return Next.NOW
        self._first_survey.pop(key.account_id, None)
        try:
            findings = await self._survey.run(account)
        except AwsError as error:
            self._survey_failed(account, error)
            return Next.SURVEY
        try:
            findings.drifted |= await self._roles.survey_associations(key.account_id)
        except AwsError as error:  # what the rest of the survey found is repaired all the same
            self._survey_failed(account, error)
        await self._controller.note(key.account_id, ConditionType.SURVEYED, findings.condition)
        await self._controller.retained(key.account_id, findings.retained)
        for role, names in findings.revoked.items():
            self.brake.found(role, names)
        self._roles.surveyed(findings)
        due = findings.drifted | findings.unseen | findings.strays
        await asyncio.gather(*(self._queue.run_now(role) for role in sorted(due)))
        if self._cache.aws_account(key.account_id) is not None:  # else its numbers were dropped meanwhile, for good
            self._context.telemetry.surveyed(key.account_id, findings.pages, len(due))
        self._delays.surveyed(key.account_id, findings.pages)
        return Next.SURVEY

    def _survey_failed(self, account: AwsAccount, error: AwsError) -> None:
        self._context.pool.refused(account, error)
        self._context.telemetry.account(account.account_id, "SurveyFailed", account_failure(error)[1])

    # --- the brake --------------------------------------------------------------------------------------------------

    def _counting(self, name: str) -> StoredAwsAccount | None:
        """Return the AWSAccount of this name where it is the one that counts for its AWS account."""
        stored = self._cache.aws_accounts.get(name)
        first = self._cache.aws_account(stored.account_id) if stored is not None else None
        return stored if first is not None and first.name == name else None

    def _note(self, name: str) -> None:
        if (stored := self._counting(name)) is not None:
            self.brake.account_seen(stored)

    def _pause_changed(self, account_id: str, before: bool, now: bool) -> None:
        """A pause began, changed in its numbers, or ended: the AWSAccount shows it, and then its roles run."""
        self._context.telemetry.revocation_paused(account_id, self.brake.held(account_id), is_new=before != now)
        if before and not now:
            self._roles.enqueue_all(self.brake.take_roles(account_id), self._pace.window)
        self._recount_soon(account_id)

    # --- the queue --------------------------------------------------------------------------------------------------

    def _inspect_now(self, name: str) -> None:
        self._recount.discard(name)
        self._inspect_at.pop(name, None)
        self._queue.add(AccountKey(name), 0.0)

    def _recount_soon(self, account_id: str) -> None:
        account = self._cache.aws_account(account_id)
        if account is not None:
            self._recount.add(account.name)
            self._queue.add(AccountKey(account.name), _COUNTS_WINDOW)

    def _enqueue_roles(self, account_id: str) -> None:
        roles = {role for stored in self._cache.in_account(account_id) for role in stored.roles}
        self._roles.enqueue_all(roles | self._roles.strays_in(account_id), self._pace.window)


def _differs(before: StoredAwsAccount, after: StoredAwsAccount) -> bool:
    """Return whether more changed than what we write ourselves."""
    return (before.uid, before.generation, before.deleting, before.requested_at) != (
        after.uid,
        after.generation,
        after.deleting,
        after.requested_at,
    )
