"""Reconcile one AWSAccount: can the operator enter the AWS account, and is its OIDC provider in order?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.conflicts import duplicate_account
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import PatternKey, WebIdentityKey
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import decide
from trustbind.reconcile.failure_reasons import BELIEVED_FAILURES, account_failure
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.permits import NotLeadingError
from trustbind_aws.resources import oidc_provider
from trustbind_operator.cluster.conditions import Condition, ConditionType, merged, stamp, transitions
from trustbind_operator.controllers.context import Context, Next

__all__ = ["AwsAccountController"]

Status = Mapping[str, Any]


_SLICE: Final = 20
"""Bindings that are decided until the event loop has its turn."""


_SHOWN_RETAINED: Final = 50
"""Retained subjects that a status lists; it counts all."""

_RETAINED_FIELDS: Final = ("retainedSubjects", "retained")


class AwsAccountController:
    """See the module. No two runs for one object overlap.

    Args:
        context: the collaborators.
        handled: returns, for an account id, the annotation's value that allows no revocation any more.
    """

    def __init__(self, context: Context, handled: Callable[[str], str] = lambda _: "") -> None:
        self._context = context
        self._handled = handled
        self._failures: dict[str, int] = {}
        self._guarding: dict[str, asyncio.Lock] = {}
        self._notes: dict[str, dict[ConditionType, Condition]] = {}
        """By AWS account id, conditions beside Ready: of its survey, and of the brake on mass revocation."""

    async def reconcile(self, name: str) -> tuple[Next, bool]:
        """Look at one AWSAccount.

        Returns:
            When it is due again, and whether its roles have to run now since it was not Ready before.
        """
        context = self._context
        stored = context.cache.aws_accounts.get(name)
        if stored is None:
            return Next.NEVER, False
        if stored.account is None:
            if stored.deleting:  # no binding is reconciled through it, so none needs it
                await context.writer.remove_account_finalizer(stored)
            else:
                await self._store(stored, _not_ready(TrustReason.INVALID_SPEC, stored.problem), {})
            return Next.NEVER, False
        if stored.deleting:
            return await self._deleting(stored, stored.account), False
        first = context.cache.aws_account(stored.account.account_id)
        if first is not None and first.name != stored.name:
            await self._store(stored, _not_ready(TrustReason.ACCOUNT_DUPLICATE, duplicate_account(first)), {})
            return Next.RESYNC, False
        return await self._inspect(stored, stored.account)

    async def recount(self, name: str) -> bool:
        """Bring the counts of an AWSAccount up to date, without asking AWS.

        Returns:
            Whether that is enough; it is not for one that is not Ready or was not looked at yet.
        """
        stored = self._context.cache.aws_accounts.get(name)
        if (
            stored is None
            or stored.deleting
            or stored.ready_status != "True"
            or stored.status.get("observedGeneration") != stored.generation
        ):
            return False
        await self._write(stored, {**stored.status, **self._counts(stored.account_id)})
        return True

    async def guard(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount, before anything is written in its AWS account.

        Of roles that start together, the first one does it for all.
        """
        cache = self._context.cache
        async with self._guarding.setdefault(account.name, asyncio.Lock()):
            stored = cache.aws_accounts.get(account.name)
            if stored is None or stored.deleting or stored.guarded:
                return
            changed = await self._context.writer.add_account_finalizer(stored)
            if changed is not None and account.name in cache.aws_accounts:
                cache.put_aws_account(changed)

    async def note(self, account_id: str, kind: ConditionType, condition: Condition | None) -> None:
        """Show a condition of this type on the AWSAccount, or none."""
        notes = self._notes.setdefault(account_id, {})
        if condition is None:
            notes.pop(kind, None)
        else:
            notes[kind] = condition
        account = self._context.cache.aws_account(account_id)
        stored = self._context.cache.aws_accounts.get(account.name) if account is not None else None
        if stored is None or not stored.status.get("conditions"):
            return  # its first look at the AWS account shows it
        kept = [c for c in stored.status["conditions"] if c.get("type") != kind]
        noted = [] if condition is None else [condition]
        now = stamp(self._context.now())
        shown = merged(stored.status["conditions"], noted, stored.generation, now)
        if [c for c in stored.status["conditions"] if c.get("type") == kind] != shown:
            await self._write(stored, {**stored.status, "conditions": [*kept, *shown]})

    async def retained(self, account_id: str, found: Mapping[RoleArn, Iterable[str]]) -> None:
        """Show what deleted bindings left in the roles of an AWS account, as a survey found it.

        Args:
            account_id: which.
            found: by role, whom it trusts for bindings that are gone.
        """
        account = self._context.cache.aws_account(account_id)
        stored = self._context.cache.aws_accounts.get(account.name) if account is not None else None
        if stored is None or not stored.status.get("conditions"):
            return  # the next survey shows it
        pairs = sorted((str(role), name) for role, names in found.items() for name in names)
        shown = (
            {}
            if not pairs
            else {
                "retainedSubjects": len(pairs),
                "retained": [{"roleArn": role, "subject": name} for role, name in pairs[:_SHOWN_RETAINED]],
            }
        )
        await self._write(stored, {k: v for k, v in stored.status.items() if k not in _RETAINED_FIELDS} | shown)

    async def _inspect(self, stored: StoredAwsAccount, account: AwsAccount) -> tuple[Next, bool]:
        context = self._context
        context.pool.forget(account)
        counts = self._counts(account.account_id)
        try:
            facts = await self._look(account)
        except NotLeadingError:
            return Next.RETRY, False
        except AwsError as error:
            context.pool.refused(account, error)
            reason, message = account_failure(error)
            context.telemetry.account(account.account_id, reason, message)
            failures = self._failures[account.name] = self._failures.get(account.name, 0) + 1
            is_believed = reason is TrustReason.THROTTLED and failures < BELIEVED_FAILURES
            if not (is_believed and stored.ready_status == "True"):
                await self._store(stored, _not_ready(reason, message), counts)
            return Next.RETRY, False
        self._failures.pop(account.name, None)
        context.telemetry.account(account.account_id, TrustReason.ACCOUNT_READY, "")
        message = f"the operator works there as {facts['callerArn']}"
        ready = Condition(ConditionType.READY, status=True, reason=TrustReason.ACCOUNT_READY, message=message)
        await self._store(stored, ready, facts | counts)
        return Next.RESYNC, stored.ready_status == "False"

    async def _look(self, account: AwsAccount) -> dict[str, Any]:
        """Enter the AWS account and bring its OIDC provider in order; return what is found.

        Raises:
            AwsError: it cannot be entered, or the provider is not in order.
        """
        context = self._context
        entered = await context.pool.enter(account)
        partition = entered.caller_arn.split(":")[1]
        provider = context.issuer.provider_for(RoleArn(partition, account.account_id, "/", "any"))
        if audiences := await self._granted_audiences(account.account_id):
            manage = account.manage_provider and account.drift_policy is DriftPolicy.REPAIR
            until = context.leads_until
            await oidc_provider.ensure(
                entered,
                provider,
                context.issuer,
                audiences,
                context=account.identity_context,
                manage=manage,
                deadline=until,
            )
        limit = account.trust_policy_limit or await entered.read_limit()
        return {"callerArn": entered.caller_arn, "providerArn": str(provider), "trustPolicyLimit": limit}

    async def _granted_audiences(self, account_id: str) -> frozenset[str]:
        """Return the audiences that the cluster's OIDC provider needs there: of granted bindings alone.

        A client id takes one of a hundred places for good, and opens statements without a condition on the audience.
        """
        cache = self._context.cache
        audiences: set[str] = set()
        for number, listed in enumerate(cache.in_account(account_id)):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            stored = cache.bindings.get(listed.ref)
            if stored is None or stored.deleting:
                continue
            audiences |= {
                claim.key.audience
                for role in stored.roles
                if role.account_id == account_id
                for decision in decide(cache.snapshot_of(stored, role, {}))
                for claim in decision.claims
                if isinstance(claim.key, WebIdentityKey | PatternKey)
            }
        return frozenset(audiences)

    async def _deleting(self, stored: StoredAwsAccount, account: AwsAccount) -> Next:
        """Release an AWSAccount once no binding needs it for revoking."""
        held = [b for b in self._context.cache.in_account(account.account_id) if b.guarded]
        counts = self._context.cache.aws_account(account.account_id)
        if not held or (counts is not None and counts.name != stored.name):
            await self._context.writer.remove_account_finalizer(stored)
            return Next.NEVER
        await self._store(stored, _not_ready(TrustReason.PENDING, _kept_for(held)), {})
        return Next.RETRY

    async def _store(self, stored: StoredAwsAccount, ready: Condition, facts: Status) -> None:
        """Write the status where it differs."""
        notes = self._notes.get(stored.account_id, {})
        wanted = [ready, *(notes[kind] for kind in sorted(notes))]
        now = stamp(self._context.now())
        conditions = merged(stored.status.get("conditions") or (), wanted, stored.generation, now)
        status = {"observedGeneration": stored.generation, "conditions": conditions, **facts}
        kept = ("revocationAllowedAt", *_RETAINED_FIELDS)
        status.update({name: stored.status[name] for name in kept if name in stored.status})
        await self._write(stored, status)

    async def _write(self, stored: StoredAwsAccount, status: Status) -> None:
        context = self._context
        handled = self._handled(stored.account_id)
        if handled and (ConditionType.REVOCATION_PAUSED in self._notes.get(stored.account_id, {})):
            status = {**status, "revocationAllowedAt": handled}
        if status == stored.status:
            return
        version = await context.writer.patch_account_status(stored, status)
        if version is None:
            return
        context.cache.aws_accounts.patched(stored.name, stored.uid, status, version)
        metadata = {"name": stored.name, "uid": stored.uid}
        for transition in transitions(stored.status, status):
            await context.writer.event("AWSAccount", metadata, transition)

    def _counts(self, account_id: str) -> dict[str, int]:
        bindings = self._context.cache.in_account(account_id)
        roles = {role for b in bindings for role in b.roles if role.account_id == account_id}
        return {"bindings": len(bindings), "roles": len(roles)}


def _kept_for(held: list[StoredBinding]) -> str:
    count = len(held)
    return (
        f"it is being deleted, and kept until its {count} binding{'' if count == 1 else 's'} (such as "
        f"{held[0].ref}) {'is' if count == 1 else 'are'} deleted, since trust cannot be revoked without it"
    )


def _not_ready(reason: TrustReason, message: str) -> Condition:
    return Condition(ConditionType.READY, status=False, reason=reason, message=message)
