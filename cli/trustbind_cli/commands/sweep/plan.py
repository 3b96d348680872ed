"""What is swept in each role, read from AWS or from files, and carried out role by role.

A write is sent right after a read, and only while the trust policy still is what the plan was made on and shown for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError, InvalidValueError, TrustbindError
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import is_owned
from trustbind.policy.pod_identity_association import Association, is_ours
from trustbind.policy.sweep import Scope, Sweep, claims_of, other_owners, sweep, targets_wanted
from trustbind.policy.trust_document import TrustDocument
from trustbind.reconcile.observation import RoleObservation
from trustbind.reconcile.role_plan import RolePlan, RoleWork, WriteTrustPolicy
from trustbind_aws.account_pool import AccountPool, Entered
from trustbind_aws.client import NO_PERMISSION
from trustbind_aws.eks import EksAssociations
from trustbind_aws.permits import ALWAYS, DecisionChangedError
from trustbind_aws.resources import pod_identity_association, source_policy, trust_policy
from trustbind_aws.resources.trust_policy import DEFAULT_PACE, Attempt, is_worth_a_retry
from trustbind_aws.sessions import AwsSessions
from trustbind_cli.commands.import_.exports import ExportedRole
from trustbind_cli.commands.sweep.wanted import Wanted

__all__ = ["AssociationSweep", "Found", "RoleSweep", "Sweeping"]


@dataclass(frozen=True, slots=True)
class RoleSweep:
    """What is swept in one role.

    Attributes:
        role: which.
        document: its trust policy, as it was read.
        trust: what goes there.
        targets: what its inline policy of trustbind does not allow any more, as texts.
        is_written: whether it was written.
        problem: why it could not be read or written; None when nothing was in the way.
    """

    role: RoleArn
    document: TrustDocument
    trust: Sweep
    targets: frozenset[str] = frozenset()
    is_written: bool = False
    problem: TrustbindError | None = None

    @property
    def is_due(self) -> bool:
        """Whether anything is to be written."""
        return not self.trust.plan.is_empty or bool(self.targets)


@dataclass(frozen=True, slots=True)
class AssociationSweep:
    """An EKS Pod Identity association of trustbind that no binding wants.

    Attributes:
        aws_account: of the EKS cluster.
        association: as it was described.
        is_written: whether it was deleted.
        problem: why not.
    """

    aws_account: AwsAccount
    association: Association
    is_written: bool = False
    problem: TrustbindError | None = None


@dataclass(slots=True)
class Found:
    """What there is to sweep, and what could not be seen.

    Attributes:
        roles: those in which something goes, is in the way, or is worth a note.
        associations: see `AssociationSweep`.
        read: number of roles that were looked at.
        others: host and path of the issuers of other clusters whose trustbind wrote statements.
        unseen: what could not be seen, one sentence each.
    """

    roles: list[RoleSweep] = field(default_factory=list)
    associations: list[AssociationSweep] = field(default_factory=list)
    read: int = 0
    others: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to remove."""
        return bool(self.associations) or any(each.is_due for each in self.roles)


T = TypeVar("T")

_NOT_ASKED: Final = (
    "permissions of source roles and EKS Pod Identity associations, since AWS is not asked "
    "where trust policies are files"
)


class Sweeping:
    """One run of the command. For one event loop.

    Args:
        wanted: see `Wanted`.
        retained: whether what deleted bindings left is swept, too.
        sessions: the caller's way into AWS.
    """

    def __init__(self, wanted: Wanted, sessions: AwsSessions, *, retained: bool) -> None:
        self._wanted = wanted
        self._scope = Scope(wanted.is_gone, retained, wanted.service_accounts)
        self._pool = AccountPool(sessions, time.monotonic)

    async def prepare(self, roles: Iterable[ExportedRole], *, asks_aws: bool) -> Found:
        """Return what there is to sweep; nothing is written.

        Args:
            roles: with their trust policies.
            asks_aws: whether inline policies and associations are read in AWS.
        """
        found = Found()
        is_concerned = False
        for exported in roles:
            found.read += 1
            try:
                role = RoleArn.parse(exported.arn)
                document = TrustDocument.parse(exported.policy, stored=True)
            except InvalidValueError as error:
                found.unseen.append(f"{exported.source}: {exported.arn}: {error}")
                continue
            if not self._wanted.is_gone:
                found.others |= other_owners(document, self._wanted.issuer)
            if not any(is_owned(s, self._wanted.issuer) for s in document.statements):
                continue
            is_concerned = True
            if (unknown := self._wanted.unknown.get(role)) is not None:
                found.unseen.append(f"{role}: {unknown}")
                continue
            each = RoleSweep(role, document, self._swept(role, document))
            if asks_aws:
                each = await self._with_targets(each)
            if each.is_due or each.problem or each.trust.notes or each.trust.retained or each.trust.plan.blocked:
                found.roles.append(each)
        if asks_aws and not self._wanted.is_gone:
            await self._associations(found)
        if is_concerned and not asks_aws:
            found.unseen.append(_NOT_ASKED)
        found.roles.sort(key=lambda each: (_is_far_end(each), each.role))
        return found

    async def carry_out(self, found: Found) -> Found:
        """Remove what was found, and return it with the results.

        Associations go first, then roles that service accounts assume, then those at the far end of chains.
        """
        associations = [await self._delete(each) for each in found.associations]
        roles = [await self._write(each) if each.is_due else each for each in found.roles]
        return replace(found, associations=associations, roles=roles)

    def close(self) -> None:
        """Let the threads end; calls under way are not waited for."""
        self._pool.abandon()

    def _swept(self, role: RoleArn, document: TrustDocument) -> Sweep:
        claims = claims_of(role, self._wanted.bindings)
        return sweep(role, document, self._wanted.issuer, claims, self._scope)

    async def _with_targets(self, each: RoleSweep) -> RoleSweep:
        """Return the role with what its inline policy allows in vain.

        A caller that may not read the policy cannot have written it, as in the pipeline of a role.
        """
        try:
            entered = await self._enter(each.role)
            there = await source_policy.read_targets(entered, each.role, self._wanted.issuer)
        except AwsError as error:
            return each if error.code in NO_PERMISSION else replace(each, problem=error)
        wanted = targets_wanted(each.role, (binding for binding, _ in self._wanted.bindings))
        return replace(each, targets=(there or frozenset()) - wanted)

    async def _associations(self, found: Found) -> None:
        for account in self._wanted.aws_accounts.values():
            if account.eks is None:
                continue
            try:
                store = EksAssociations((await self._pool.enter(account)).api, account.eks)
                there = await pod_identity_association.search(store, self._wanted.issuer)
            except AwsError as error:
                found.unseen.append(f"the associations of EKS cluster {account.eks.name}: {error}")
                continue
            unwanted = (each for each in there.ours if each.subject not in self._wanted.associated)
            found.associations += [AssociationSweep(account, each) for each in unwanted]

    async def _delete(self, each: AssociationSweep) -> AssociationSweep:
        """Delete an association, unless it has another owner by now."""
        try:
            entered = await self._pool.enter(each.aws_account)
            assert each.aws_account.eks is not None  # noqa: S101 - it was found there
            store = EksAssociations(entered.api, each.aws_account.eks)
            now = await store.described(each.association.listed)
            if now is not None and not is_ours(now, self._wanted.issuer):
                return replace(each, problem=_changed(f"the association {each.association.listed.arn}"))
            if now is not None:
                await store.delete(now, ALWAYS)
        except AwsError as error:
            return replace(each, problem=error)
        return replace(each, is_written=True)

    async def _write(self, each: RoleSweep) -> RoleSweep:
        try:
            entered = await self._enter(each.role)
            if not each.trust.plan.is_empty:
                attempt = await _trying(lambda: self._apply(entered, each))
                _, theirs = await trust_policy.confirm(entered.api, attempt.planned.trust)
                if theirs is not None:
                    return replace(each, problem=_changed(f"the trust policy of {each.role}"))
            if each.targets:
                work = RoleWork(each.role, self._wanted.issuer, self._account(each.role), ())
                pace = DEFAULT_PACE
                await _trying(
                    lambda: source_policy.withdraw(entered, work, each.targets, ALWAYS, pace.max_read_age, pace)
                )
        except AwsError as error:
            return replace(each, problem=error)
        return replace(each, is_written=True)

    async def _apply(self, entered: Entered, each: RoleSweep) -> Attempt:
        """Read the role, and write at once where it is what the plan was shown for.

        Raises:
            DecisionChangedError: it is not.
            AwsError: see `trust_policy.apply`.
        """

        def plan(seen: RoleObservation) -> RolePlan:
            if seen.document.meaning() != each.document.meaning():
                raise _changed(f"the trust policy of {each.role}")
            return RolePlan((), self._swept(each.role, seen.document).plan, (WriteTrustPolicy(),))

        return await trust_policy.apply(entered.api, each.role, plan, ALWAYS, DEFAULT_PACE.most_read_age)

    async def _enter(self, role: RoleArn) -> Entered:
        return await self._pool.enter(self._account(role))

    def _account(self, role: RoleArn) -> AwsAccount:
        return self._wanted.aws_accounts.get(role.account_id) or AwsAccount(role.account_id, role.account_id)


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


def _is_far_end(each: RoleSweep) -> bool:
    """Return whether other roles come to this one: a chain is revoked from its near end."""
    return any(name.startswith("arn:") for swept in each.trust.swept for name in swept.names)
