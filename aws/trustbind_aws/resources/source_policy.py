"""The inline policy that lets a chain's source role assume its targets, around the write of its trust policy.

It is widened before anybody new may come in through the source role, and narrowed after the others are gone. It is
written as a trust policy is: budget first, then the read, the plan on what was read, and the write at once with a
single try. Where IAM takes no longer policy, the targets that do not fit are left out, the newest first, and the others
go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from trustbind.errors import AccessDeniedError, PolicyRejectedError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.source_policy import Target, policy_name, source_policy, targets_of
from trustbind.policy.trust_document import raw_policy
from trustbind.reconcile.observation import Facts
from trustbind.reconcile.role_plan import NarrowSourcePolicy, RoleWork, WidenSourcePolicy
from trustbind_aws.account_pool import Entered
from trustbind_aws.client import NO_PERMISSION
from trustbind_aws.permits import WriteGuard, WritePermit
from trustbind_aws.resources.trust_policy import WritePace

__all__ = ["narrow", "observe", "read_targets", "widen", "withdraw"]

Targets = frozenset[str]

TOO_LONG: Final = "LimitExceeded"
"""IAM API reference, PutRolePolicy, Errors."""


async def observe(entered: Entered, work: RoleWork, targets: Collection[Target], facts: Facts) -> Facts:
    """Return the facts with the targets that our inline policy of the role allows.

    Args:
        entered: the role's AWS account.
        work: see `RoleWork`.
        targets: that are wanted. Where none is, a policy that may not be read is left alone; see `widen`.
        facts: what is known.

    Raises:
        AwsError: it cannot be read.
    """
    try:
        await read_targets(entered, work.role, work.issuer)
    except AccessDeniedError as error:
        if targets or error.code not in NO_PERMISSION:
            raise
        return replace(facts, source_unreadable=True)
    return replace(facts, account=entered.facts)


async def widen(
    entered: Entered,
    work: RoleWork,
    step: WidenSourcePolicy,
    facts: Facts,
    guard: WriteGuard,
    max_age: float,
    pace: WritePace,
) -> Facts:
    """Let the role assume all targets of the step; what it may besides stays. Return the facts then.

    Where nothing is wanted and the policy may not be read, it is left alone: who may not read it has not written it,
    and that must not keep trust from being revoked.

    Raises:
        NotLeadingError: nothing may be written.
        StaleReadError: too much time passed since the read.
        AwsError: a call failed.
    """
    ordered = [str(target) for target in step.targets]
    additions = _Additions(ordered)
    try:
        while True:
            try:
                await _write(entered, work, additions.plan, guard, max_age, pace)
                additions.succeeded()
            except PolicyRejectedError as error:
                if error.code != TOO_LONG:
                    raise
                additions.rejected()
            if additions.is_settled:
                break
    except AccessDeniedError as error:
        if ordered or error.code not in NO_PERMISSION:
            raise
        return replace(facts, source_unreadable=True)
    known = entered.facts.source_targets.get(work.role) or frozenset()
    no_room = frozenset(target for target in step.targets if str(target) not in known)
    return replace(facts, account=entered.facts, no_room=no_room)


async def narrow(
    entered: Entered,
    work: RoleWork,
    step: NarrowSourcePolicy,
    facts: Facts,
    guard: WriteGuard,
    max_age: float,
    pace: WritePace,
) -> Facts:
    """Let the role assume the targets of the step and no others. Return the facts then.

    Raises:
        NotLeadingError: nothing may be written.
        StaleReadError: too much time passed since the read.
        AwsError: a call failed.
    """
    wanted = frozenset(str(target) for target in step.targets)
    await _write(entered, work, lambda _: wanted, guard, max_age, pace)
    return replace(facts, account=entered.facts)


async def withdraw(
    entered: Entered, work: RoleWork, targets: Targets, guard: WriteGuard, max_age: float, pace: WritePace
) -> None:
    """Do not let the role assume these targets any more; the others that are there when it is read stay.

    A policy that is not as we write it is left alone.

    Raises:
        NotLeadingError: nothing may be written.
        StaleReadError: too much time passed since the read.
        AwsError: a call failed.
    """
    await _write(entered, work, lambda there: None if there is None else there - targets, guard, max_age, pace)


async def read_targets(entered: Entered, role: RoleArn, issuer: Issuer) -> Targets | None:
    """Return the targets that our inline policy of a role allows; None for a policy that is not as we write it.

    Raises:
        AwsError: it cannot be read.
    """
    text, _ = await entered.api.role_policy(role, policy_name(issuer))
    targets = targets_of(_decoded(text))
    entered.facts = entered.facts.with_source_targets(role, targets)
    return targets


async def _write(
    entered: Entered,
    work: RoleWork,
    plan: Callable[[Targets | None], Targets | None],
    guard: WriteGuard,
    max_age: float,
    pace: WritePace,
) -> None:
    """Read the policy, and write what ``plan`` makes of it where that differs; None: leave it.

    The only caller of PutRolePolicy and DeleteRolePolicy.
    """
    name = policy_name(work.issuer)
    async with entered.api.limiter.slot(2) as slot:
        text, read_at = await entered.api.role_policy(work.role, name, slot)
        there = targets_of(_decoded(text))
        entered.facts = entered.facts.with_source_targets(work.role, there)
        wanted = plan(there)
        if wanted is None or there == wanted:
            return
        policy = source_policy(wanted)
        document = None if policy is None else json.dumps(policy, separators=(",", ":"))
        permit = WritePermit(guard.deadline(), read_at, max_age, pace.clock)
        await entered.api.write_role_policy(work.role, name, document, permit, slot)
        entered.facts = entered.facts.with_source_targets(work.role, wanted)


class _Additions:
    """Finds by binary search how many targets IAM takes, in their order, beside those that are allowed already.

    IAM counts all inline policies of the role together, and only it knows how long the others are.
    """

    def __init__(self, ordered: Sequence[str]) -> None:
        self._ordered = ordered
        self._new: list[str] | None = None
        self._fits = 0
        self._too_many = 0
        self._tried = 0

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to try."""
        return self._fits + 1 >= self._too_many

    def plan(self, there: Targets | None) -> Targets | None:
        """Return the targets to write now; None when those that are tried are allowed already."""
        known = there or frozenset()
        if self._new is None:
            self._new = [target for target in self._ordered if target not in known]
            self._tried = len(self._new)
            self._too_many = self._tried + 1
        tried = self._new[: self._tried]
        return None if known.issuperset(tried) else known.union(tried)

    def succeeded(self) -> None:
        """Note that IAM took what was tried."""
        self._fits = self._tried
        self._tried = (self._fits + self._too_many) // 2

    def rejected(self) -> None:
        """Note that what was tried is too long."""
        self._too_many = self._tried
        self._tried = (self._fits + self._too_many) // 2


def _decoded(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        policy = json.loads(raw_policy(text))
    except ValueError:
        return {}
    return policy if isinstance(policy, Mapping) else {}
