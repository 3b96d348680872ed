"""The work on one AWSAccount: can the operator get in, is the OIDC provider in order, is anything of ours left over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from trustbind.api.aws_account import AwsAccount
from trustbind.api.conflicts import duplicate_account
from trustbind.api.labels import ACCOUNT_FINALIZER
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import owner_prefix
from trustbind.reasons import TrustReason
from trustbind_aws.account_pool import MismatchError
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import Condition, ConditionType, merged, ready_condition, transitions
from trustbind_operator.controllers.binding.failure_reasons import account_failure
from trustbind_operator.controllers.context import Context, Next, is_deleting, stamp

__all__ = ["AccountWork"]

_BELIEVED_FAILURES: Final = 3
"""An account that was in order is not called out of order because AWS was busy, until it was so often in a row."""


class AccountWork:
    """See the module. No two runs for one object overlap."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failures: dict[str, int] = {}
        self._guarding: dict[str, asyncio.Lock] = {}

    async def run(self, name: str) -> tuple[Next, bool]:
        """Look at one account.

        Returns:
            When it is due again, and whether its roles should be looked at now since they were held up.
        """
        context = self._context
        body = context.registry.aws_accounts.get(name)
        if body is None:
            return Next.NEVER, False
        try:
            account = AwsAccount.parse(body)
        except InvalidValueError as error:
            if is_deleting(body):  # no binding is worked on through it, so none needs it
                await context.cluster.guard_account(body, on=False)
            else:
                await self._store(body, _not_ready(TrustReason.INVALID_SPEC, str(error)), {})
            return Next.NEVER, False
        entries = self.entries_of(account.account_id)
        if is_deleting(body):
            return await self._going(body, entries), False
        first = context.registry.aws_account(account.account_id)
        if first is not None and first.name != account.name:
            await self._store(body, _not_ready(TrustReason.ACCOUNT_DUPLICATE, duplicate_account(first)), {})
            return Next.RESYNC, False
        return await self._inspect(body, account, entries)

    async def recount(self, name: str) -> bool:
        """Bring the counts of an account up to date, without asking AWS.

        Returns:
            Whether that is enough; it is not for an account that is not in order or was not looked at yet.
        """
        body = self._context.registry.aws_accounts.get(name)
        if body is None or is_deleting(body):
            return False
        stored: Mapping[str, Any] = body.get("status") or {}
        ready = ready_condition(stored) or {}
        if ready.get("status") != "True" or ready.get("observedGeneration") != body["metadata"].get("generation"):
            return False
        account_id = str(body["spec"]["accountId"])
        status = {**stored, **_counts(self.entries_of(account_id), account_id)}
        await self._write(body, stored, status)
        return True

    async def guard(self, account: AwsAccount) -> None:
        """Put our finalizer on an AWSAccount, before anything is written in the account.

        Of roles that start together, the first one does it for all.
        """
        registry = self._context.registry
        async with self._guarding.setdefault(account.name, asyncio.Lock()):
            body = registry.aws_accounts.get(account.name)
            if body is None or is_deleting(body) or ACCOUNT_FINALIZER in (body["metadata"].get("finalizers") or ()):
                return
            changed = await self._context.cluster.guard_account(body, on=True)
            if changed is not None and account.name in registry.aws_accounts:
                registry.put_aws_account(changed)

    async def orphans(self, account_id: str) -> list[RoleArn]:
        """Return roles with statements of ours that no binding is about.

        Raises:
            AwsError: the account's roles cannot be listed.
        """
        context = self._context
        account = context.registry.aws_account(account_id)
        if account is None:
            return []
        prefix = owner_prefix(context.issuer)
        roles = await context.accounts.within(account_id, lambda: context.accounts.enter(account).roles_with(prefix))
        known = set(context.registry.roles())
        return [role for role in roles if role not in known]

    def entries_of(self, account_id: str) -> list[BindingEntry]:
        """Return the bindings that are about a role of the account, the unreadable ones among them."""
        return [
            entry
            for entry in self._context.registry.bindings.values()
            if any(role.account_id == account_id for role in entry.roles)
        ]

    async def _inspect(
        self, body: Mapping[str, Any], account: AwsAccount, entries: list[BindingEntry]
    ) -> tuple[Next, bool]:
        context = self._context
        live = [e.binding for e in entries if e.binding is not None and not e.deleting]
        audiences = frozenset(b.audience for b in live if _web_identity_account(b) == account.account_id)
        counts = _counts(entries, account.account_id)
        try:
            found = await context.accounts.within(
                account.account_id, lambda: context.accounts.inspect(account, audiences)
            )
        except AwsError as error:
            context.accounts.refused(account, error)
            reason, message = (
                (TrustReason.ACCOUNT_MISMATCH, error.problem)
                if isinstance(error, MismatchError)
                else account_failure(error)
            )
            context.observer.account(account.account_id, reason, message)
            failures = self._failures.get(account.name, 0) + 1
            self._failures[account.name] = failures
            stored = ready_condition(body.get("status") or {}) or {}
            believed = reason is TrustReason.THROTTLED and failures < _BELIEVED_FAILURES
            if not (believed and stored.get("status") == "True"):
                await self._store(body, _not_ready(reason, message), counts)
            return Next.RETRY, False
        self._failures.pop(account.name, None)
        context.observer.account(account.account_id, TrustReason.ACCOUNT_READY, "")
        message = f"the operator works there as {found.caller_arn}"
        ready = Condition(ConditionType.READY, status=True, reason=TrustReason.ACCOUNT_READY, message=message)
        facts = {
            "callerArn": found.caller_arn,
            "providerArn": found.provider_arn,
            "trustPolicyLimit": found.limit,
        }
        before = await self._store(body, ready, facts | counts)
        return Next.RESYNC, before == "False"

    async def _going(self, body: Mapping[str, Any], entries: list[BindingEntry]) -> Next:
        """Let an AWSAccount go once nobody needs it for revoking any more."""
        held = [e for e in entries if e.guarded]
        counts = self._context.registry.aws_account(str(body["spec"]["accountId"]))
        if not held or (counts is not None and counts.name != body["metadata"]["name"]):
            await self._context.cluster.guard_account(body, on=False)
            return Next.NEVER
        count = len(held)
        message = (
            f"it is being deleted, and kept until its {count} binding{'' if count == 1 else 's'} (such as "
            f"{held[0].ref}) {'is' if count == 1 else 'are'} deleted, since trust cannot be revoked without it"
        )
        await self._store(body, _not_ready(TrustReason.PENDING, message), {})
        return Next.RETRY

    async def _store(self, body: Mapping[str, Any], ready: Condition, facts: Mapping[str, Any]) -> str:
        """Write the status where it differs; return the status of ``Ready`` before, empty when there was none."""
        context = self._context
        stored: Mapping[str, Any] = body.get("status") or {}
        generation = int(body["metadata"].get("generation", 0))
        conditions = merged(stored.get("conditions") or (), [ready], generation, stamp(context.now()))
        status: dict[str, Any] = {"observedGeneration": generation, "conditions": conditions, **facts}
        await self._write(body, stored, status)
        return str((ready_condition(stored) or {}).get("status", ""))

    async def _write(self, body: Mapping[str, Any], stored: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        context = self._context
        if status == stored:
            return
        changed = await context.cluster.account_status(body, status)
        if changed is None:
            return
        if body["metadata"]["name"] in context.registry.aws_accounts:
            context.registry.put_aws_account(changed)
        for transition in transitions(stored, status):
            await context.cluster.event("AWSAccount", changed["metadata"], transition)


def _counts(entries: list[BindingEntry], account_id: str) -> dict[str, int]:
    return {
        "bindings": len(entries),
        "roles": len({role for e in entries for role in e.roles if role.account_id == account_id}),
    }


def _web_identity_account(binding: RoleBinding) -> str:
    """Return the account whose OIDC provider the binding needs: a chain, that of its source role; some need none."""
    if not binding.method.needs_oidc_provider or (binding.selector is None and not binding.service_account_names):
        return ""
    return binding.source.role.account_id if binding.source is not None else binding.role.account_id


def _not_ready(reason: TrustReason, message: str) -> Condition:
    return Condition(ConditionType.READY, status=False, reason=reason, message=message)
