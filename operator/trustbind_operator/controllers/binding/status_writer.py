"""A binding's status, Events and finalizer: written where they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from trustbind.api.role_binding import BindingRef
from trustbind.identity.arns import RoleArn
from trustbind.reasons import TrustReason
from trustbind.reconcile.adoption import AdoptedStatement
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.conditions import Transition, binding_status, stamp, transitions
from trustbind_operator.controllers.context import Context

__all__ = ["StatusWriter"]


class StatusWriter:
    """See the module.

    Args:
        context: the collaborators.
        stored: called with each binding whose status was stored, as it is then.
    """

    def __init__(self, context: Context, stored: Callable[[StoredBinding], None] = lambda _: None) -> None:
        self._context = context
        self._stored = stored
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By uid; the statuses of a binding are stored in the order in which its roles' runs ended."""
        self._sent: dict[str, Mapping[str, Any]] = {}
        """By uid, the status that we sent last: its event may outrun the answer."""
        self._released: set[str] = set()
        """uids of bindings whose finalizer we removed; their DELETED events need no work."""

    async def store(self, stored: StoredBinding, role: RoleArn, outcome: BindingOutcome) -> None:
        """Write a binding's status, and an Event, where something changed.

        Args:
            stored: as it was decided on.
            role: whose run this was; its AWS account is named for a binding that cannot be parsed.
            outcome: what was reached.
        """
        async with self._locks.setdefault(stored.uid, asyncio.Lock()):
            await self._store(stored, role, outcome)

    async def record(
        self, bindings: Iterable[StoredBinding], to_record: Mapping[BindingRef, Iterable[AdoptedStatement]]
    ) -> bool:
        """Write what is about to be adopted into the statuses of bindings; return whether all of it is there now."""
        known = {stored.ref: stored for stored in bindings}
        records = (self._record(known[ref], statements) for ref, statements in to_record.items())
        return all(await asyncio.gather(*records))

    async def _record(self, stored: StoredBinding, statements: Iterable[AdoptedStatement]) -> bool:
        async with self._locks.setdefault(stored.uid, asyncio.Lock()):
            latest = self._context.cache.bindings.get(stored.ref, stored)
            if latest.uid != stored.uid or latest.generation != stored.generation:
                return False
            return await self._patch(latest, {**latest.status, "adopted": [each.as_status() for each in statements]})

    async def release(self, stored: StoredBinding, reason: TrustReason, message: str) -> None:
        """Remove the finalizer of a binding of which nothing is left in AWS."""
        if not stored.guarded:
            return
        self._released.add(stored.uid)
        await self._context.writer.remove_finalizer(stored)
        metadata = {"namespace": stored.ref.namespace, "name": stored.ref.name, "uid": stored.uid}
        status = "False" if reason is TrustReason.ACCOUNT_UNKNOWN else "True"
        await self._context.writer.event("RoleBinding", metadata, Transition("Ready", status, reason, message))

    def is_own(self, before: StoredBinding, stored: StoredBinding) -> bool:
        """Return whether a binding has the status that was known, or the one that we sent last."""
        return stored.status == before.status or stored.status == self._sent.get(stored.uid)

    def forget(self, uid: str) -> None:
        """Forget a binding that is gone."""
        self._sent.pop(uid, None)

    def was_released(self, uid: str) -> bool:
        """Return, once, whether the binding of this uid went because we released it."""
        if uid not in self._released:
            return False
        self._released.discard(uid)
        return True

    async def _store(self, stored: StoredBinding, role: RoleArn, outcome: BindingOutcome) -> None:
        context = self._context
        latest = context.cache.bindings.get(stored.ref, stored)
        if latest.uid != stored.uid or latest.generation != stored.generation:
            return  # the roles of the present spec run, or have run
        account_id = stored.binding.role.account_id if stored.binding is not None else role.account_id
        now = stamp(context.now())
        outcome = replace(outcome, out_of_scope=self._out_of_scope(stored))
        status = binding_status(latest.status, stored.generation, account_id, context.issuer, outcome, now)
        if status == latest.status:
            return
        if not await self._patch(latest, status):
            return
        metadata = {"namespace": stored.ref.namespace, "name": stored.ref.name, "uid": stored.uid}
        for transition in transitions(latest.status, status):
            await context.writer.event("RoleBinding", metadata, transition)

    def _out_of_scope(self, stored: StoredBinding) -> str:
        """Return why the webhook is not called for pods of a binding's service accounts; empty when it is."""
        binding, namespace = stored.binding, stored.ref.namespace
        labels = self._context.cache.namespaces.get(namespace)
        has_pods = binding is not None and (binding.service_account_names or binding.selector is not None)
        return self._context.scope.left_out(namespace, labels) if has_pods and not stored.deleting else ""

    async def _patch(self, latest: StoredBinding, status: Mapping[str, Any]) -> bool:
        """Store a status; return whether the object was there."""
        self._sent[latest.uid] = status
        version = await self._context.writer.patch_status(latest, status)
        if version is None:
            return False
        self._context.cache.restate(latest, status, version)
        self._stored(latest.with_status(status))
        return True
