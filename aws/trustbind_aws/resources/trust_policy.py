"""The trust policy of a role: read, planned and written in one slot, then confirmed. Nothing else writes one.

IAM replaces the whole document and keeps no version (IAM API reference, UpdateAssumeRolePolicy), so another writer's
change is lost when it comes between our read and our write. Therefore a thread and the budget for both calls are taken
first, the role is read, the document that was read is planned on, and the write is sent at once, with a single try. A
refused, throttled or unanswered write goes back to the read.

A read may be older than a write by seconds. So after a write the document is read until it shows our statements. What
it shows meanwhile tells the cases apart: the document from before the write is only old; anything else that lacks our
statements came from a writer who had read before us, and is answered with a new plan from what is there now.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from trustbind.backoff import Backoff
from trustbind.errors import AwsError, ThrottledError, UnreachableError
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Plan, Refusal
from trustbind.policy.trust_document import TrustDocument, same_meaning
from trustbind.reasons import TrustReason
from trustbind.reconcile.observation import RoleObservation
from trustbind.reconcile.role_plan import RolePlan, WriteTrustPolicy
from trustbind_aws.client import AccountApi
from trustbind_aws.permits import StaleReadError, WriteGuard, WritePermit, boottime

__all__ = ["DEFAULT_PACE", "Attempt", "Status", "WritePace", "apply", "confirm", "contended", "is_worth_a_retry"]


_RETRIES: Final = Backoff(0.2, 5.0, tries=4)


@dataclass(frozen=True, slots=True)
class WritePace:
    """How fast writes are sent, confirmed and tried again; in seconds.

    Attributes:
        max_read_age: how old a read may be when the write that is based on it is sent. An answer and the next request
            are about 10 ms apart on a quiet machine; 250 ms leaves room for a busy one, and keeps the time in which
            another writer's change can be lost short.
        most_read_age: the bound doubles after `stale_reads` refusals, up to this, so that a process whose CPU is
            throttled makes progress.
        stale_reads: see `most_read_age`.
        retries: the pauses after a refused, throttled or unanswered write.
        visible: the pauses between the reads that wait for a write to show; their sum is how long IAM's eventual
            consistency is allowed for.
        redo: upper bounds of the random pauses before a lost update is redone; their number is how often.
        jitter: gives 0 to 1.
        clock: see `boottime`.
    """

    max_read_age: float = 0.25
    most_read_age: float = 2.0
    stale_reads: int = 3
    retries: Backoff = field(default=_RETRIES)
    visible: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
    redo: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    jitter: Callable[[], float] = field(default=random.random)
    clock: Callable[[], float] = boottime

    def read_age(self, refusals: int) -> float:
        """Return the bound after so many writes that were refused because their read was too old."""
        return min(self.most_read_age, self.max_read_age * 2.0 ** (refusals // self.stale_reads))


DEFAULT_PACE: Final = WritePace()


class Status(Enum):
    """What an attempt came to."""

    UNCHANGED = auto()
    """There is nothing to write."""
    OTHER_STEP = auto()
    """Another step comes first; nothing was written."""
    WRITTEN = auto()
    """The document was sent, and IAM took it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One read, with the plan that was made on it, and perhaps one write.

    Attributes:
        seen: the role as it was read.
        planned: what was planned on it.
        status: see `Status`.
    """

    seen: RoleObservation
    planned: RolePlan
    status: Status


async def apply(
    api: AccountApi,
    role: RoleArn,
    plan: Callable[[RoleObservation], RolePlan],
    guard: WriteGuard,
    max_age: float,
    pace: WritePace = DEFAULT_PACE,
) -> Attempt:
    """Read the role, plan, and write at once where writing is the next step.

    Args:
        api: the role's AWS account.
        role: which.
        plan: pure; called with what was just read.
        guard: asked right before the write.
        max_age: see `WritePace.read_age`.
        pace: see `WritePace`.

    Raises:
        NotLeadingError: nothing may be written.
        DecisionChangedError: what was decided does not hold any more.
        StaleReadError: too much time passed since the read.
        AwsError: a call failed. After `UnreachableError` of the write, it may have taken effect.
    """
    async with api.limiter.slot(2) as slot:
        seen = await api.role(role, slot)
        planned = plan(seen)
        if not planned.steps or not isinstance(planned.steps[0], WriteTrustPolicy):
            return Attempt(seen, planned, Status.OTHER_STEP if planned.steps else Status.UNCHANGED)
        permit = WritePermit(guard.deadline(), seen.answered_at, max_age, pace.clock)
        await api.write_trust_policy(role, planned.trust.document.to_json(), permit, slot)
    return Attempt(seen, planned, Status.WRITTEN)


async def confirm(
    api: AccountApi, planned: Plan, pace: WritePace = DEFAULT_PACE
) -> tuple[RoleObservation, TrustDocument | None]:
    """Wait until a write shows.

    Returns:
        The role as it was read last, and None once it shows what was planned; else the document of another writer.

    Raises:
        AwsError: a read failed.
    """
    before = planned.current.meaning()
    seen = await api.role(planned.role)
    for pause in pace.visible:
        if _shows(seen.document, planned):
            return seen, None
        if seen.document.meaning() != before:
            return seen, seen.document
        await asyncio.sleep(pause)
        seen = await api.role(planned.role)
    return seen, None if _shows(seen.document, planned) else seen.document


def contended(role: RoleArn, written: int) -> Refusal:
    """Return the refusal of a role of which another writer keeps overwriting our statements."""
    return Refusal(
        None,
        TrustReason.TRUST_CONTENDED,
        f"the trust policy of {role} was written {written} times and each time another writer overwrote it; find that "
        "writer (CloudTrail: UpdateAssumeRolePolicy; often Terraform) and let it ignore the statements whose Sid "
        "begins with Trustbind",
    )


def is_worth_a_retry(error: AwsError) -> bool:
    """Return whether a failed attempt goes back to the read.

    A write that got no answer may have taken effect, so the read tells. A read that got none is no reason to stay.
    """
    if isinstance(error, UnreachableError):
        return error.operation.partition(" ")[0] in _WRITES
    return isinstance(error, ThrottledError | StaleReadError)


_WRITES: Final = frozenset({"iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"})


def _shows(seen: TrustDocument, planned: Plan) -> bool:
    """Return whether ``seen`` agrees with the plan in every statement that the plan changed."""
    there = {s.get("Sid"): s for s in seen.statements}
    for change in planned.changes:
        if change.is_foreign:
            is_gone = change.before is None or not any(same_meaning(change.before, s) for s in seen.statements)
            is_there = change.after is None or any(same_meaning(change.after, s) for s in seen.statements)
            if not (is_gone and is_there):
                return False
            continue
        found = there.get(change.sid)
        if change.after is None:
            if found is not None:
                return False
        elif found is None or not same_meaning(found, change.after):
            return False
    return True
