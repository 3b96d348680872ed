"""Keeps a RoleBinding in each namespace that a RoleBindingSet selects, and says in the set how they are.

Nothing is ever deleted because a set is not there: Kubernetes deletes what a set owned, once it knows that the set is
gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from trustbind.api.role_binding import BindingRef
from trustbind.api.role_binding_set import KIND, RoleBindingSet
from trustbind.api.strict import API_VERSION
from trustbind.reconcile.binding_set import (
    DISABLED,
    Member,
    SetOutcome,
    SetStep,
    StoredSet,
    next_step,
    outcome_of,
)
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache, Labels
from trustbind_operator.cluster.conditions import Transition, set_status, stamp, transitions
from trustbind_operator.controllers.binding_set.patterns import PatternKeeper, PolicyReader
from trustbind_operator.metrics import Telemetry
from trustbind_runtime.kubernetes.client import FORBIDDEN, ApiError
from trustbind_runtime.kubernetes.informer import Key, Resource
from trustbind_runtime.logs import Logger

__all__ = ["BINDING_SETS", "BindingSets", "SetWriter"]

BINDING_SETS: Final = Resource("rolebindingsets", f"/apis/{API_VERSION}/rolebindingsets", optional=True)

_GATHER_SECONDS: Final = 0.5
"""From the first event of a set until it is looked at: a set of a thousand bindings has several thousand events."""

_RETRY_SECONDS: Final = 5.0

_SLICE: Final = 50
"""Namespaces that are looked at until the event loop has its turn."""

_TERMINATING: Final = "being terminated"
"""In the API server's message about a namespace in which nothing can be created any more."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SetWriter(PolicyReader, Protocol):
    """Writes to Kubernetes; see `trustbind_operator.cluster.writer.KubernetesWriter`."""

    async def create_binding(self, manifest: Mapping[str, Any]) -> None:
        """Create a RoleBinding, unless one of that name is there."""

    async def change_binding(self, stored: StoredBinding, spec: Mapping[str, Any]) -> None:
        """Give a RoleBinding another spec."""

    async def delete_binding(self, stored: StoredBinding) -> None:
        """Delete a RoleBinding."""

    async def patch_set_status(self, stored: StoredSet, status: Mapping[str, Any]) -> None:
        """Store the status of a RoleBindingSet."""

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Post an Event about an object; never fails."""


class BindingSets:
    """See the module; also the store of the watch of RoleBindingSets.

    Args:
        writer: writes to Kubernetes.
        cache: the cluster's bindings and namespaces.
        telemetry: told of defects.
        log: what was made and removed.
        now: the time, aware.
        reconsider: decides the bindings of namespaces again.
        policy_name: of the ValidatingAdmissionPolicy that patterns need.
        enabled: whether bindings are made; else sets only say that none are.
    """

    def __init__(
        self,
        writer: SetWriter,
        cache: ClusterCache,
        telemetry: Telemetry,
        log: Logger,
        now: Callable[[], datetime],
        reconsider: Callable[[Iterable[str]], None] = lambda _: None,
        *,
        policy_name: str,
        enabled: bool,
    ) -> None:
        self._writer = writer
        self._cache = cache
        self._telemetry = telemetry
        self._log = log
        self._now = now
        self._enabled = enabled
        self._sets: dict[str, StoredSet] = {}
        self._members: dict[str, frozenset[str]] = {}
        """Name of a set to the namespaces that it had at the last look."""
        self._by_binding: dict[str, str] = {}
        """Name of the bindings of a set to its name."""
        self._problems: dict[BindingRef, str] = {}
        """Why the last write of a binding failed."""
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self.patterns = PatternKeeper(
            writer, cache, reconsider, self._set_due, self._sets, policy_name=policy_name, enabled=enabled
        )

    # --- events -----------------------------------------------------------------------------------------------------

    def read(self, key: Key, raw: bytes | msgspec.Raw) -> StoredSet:  # noqa: ARG002 - as every store
        """Return the object in ``raw``."""
        # A list's items may come without the two fields that the list itself has.
        return StoredSet.of({"apiVersion": API_VERSION, "kind": KIND, **_decode(raw)})

    def replace(self, items: Mapping[Key, StoredSet | None]) -> None:
        """Take in a complete list."""
        for name in [name for name in self._sets if ("", name) not in items]:
            self.drop(("", name))
        for key, item in items.items():
            self.put(key, item)

    def put(self, key: Key, item: StoredSet | None) -> None:
        """Take note of a set that came or changed; after an answer to our own status patch, nothing is to be done."""
        if item is None:
            return
        known = self._sets.get(key[1])
        if known is not None and known.uid != item.uid:  # deleted and created anew while nobody watched
            self.drop(key)
            known = None
        self._sets[key[1]] = item
        self._by_binding[item.binding_name] = key[1]
        if known is None or (known.spec, known.generation) != (item.spec, item.generation):
            self.patterns.settle(item)
            self.patterns.update(item)
            self._set_due({key[1]})

    def drop(self, key: Key) -> None:
        """Forget a set that is gone."""
        gone = self._sets.pop(key[1], None)
        if gone is not None:
            self.patterns.forget(gone)
            self._members.pop(gone.name, None)
            del self._by_binding[gone.binding_name]
            self._problems = {ref: p for ref, p in self._problems.items() if ref.name != gone.binding_name}

    def binding_seen(self, ref: BindingRef) -> None:
        """Take note that a binding came, changed or went."""
        name = self._by_binding.get(ref.name)
        if name is not None:
            self._set_due({name})

    def namespace_seen(self, namespace: str, labels: Labels | None) -> None:
        """Take note that a namespace came, changed its labels or (None) went."""
        for stored in self._sets.values():
            if labels is not None and _is_stray(stored.spec, namespace, labels):
                self.patterns.update(stored)  # at once: nothing may be granted by the pattern any more
        self._set_due({stored.name for stored in self._sets.values() if self._concerns(stored, namespace, labels)})

    def _concerns(self, stored: StoredSet, namespace: str, labels: Labels | None) -> bool:
        """Return whether a set has to be looked at since a namespace changed."""
        if namespace in self._members.get(stored.name, ()):
            return True
        if BindingRef(namespace, stored.binding_name) in self._cache.bindings:
            return True
        spec = stored.spec
        if spec is None:
            return False
        matches = spec.pattern is not None and spec.pattern.matches(namespace)
        return matches or (labels is not None and spec.selects(labels))

    def _set_due(self, names: set[str]) -> None:
        if names:
            self._due |= names
            self._wake.set()

    # --- the work ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep bindings until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            due, self._due = self._due, set()
            again: set[str] = set()
            for name in sorted(due):
                try:
                    if not await self._keep(name):
                        again.add(name)
                except ApiError as error:
                    self._log.warning("RoleBindingSet not reconciled", set=name, problem=str(error))
                    again.add(name)
                except Exception:  # noqa: BLE001 - the other sets go on, this one is tried again, and the log has the trace
                    self._telemetry.crashed(f"RoleBindingSet {name}")
                    again.add(name)
            if again:
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._set_due, again)

    async def _keep(self, name: str) -> bool:
        """Do the next step in every namespace of a set, and write its status; return whether nothing failed."""
        stored = self._sets.get(name)
        if stored is None:
            return True
        wanted = stored.spec
        if wanted is not None and wanted.is_deleting:
            return True
        self.patterns.update(stored)
        if not self._enabled:
            await self._show(stored, DISABLED)
            return True
        members: list[Member] = []
        for number, namespace in enumerate(sorted(self._cache.namespaces)):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if wanted is not None and await self._keep_in(wanted, namespace):
                ref = wanted.ref_in(namespace)
                members.append(Member(namespace, self._cache.bindings.get(ref), self._problems.get(ref, "")))
        self._members[name] = frozenset(member.namespace for member in members)
        await self._show(stored, outcome_of(stored, members, self.patterns.problem_of(stored)))
        return not any(member.problem for member in members)

    async def _keep_in(self, wanted: RoleBindingSet, namespace: str) -> bool:
        """Do the next step in a namespace; return whether the set selects it."""
        labels = self._cache.namespaces.get(namespace)
        if labels is None:
            return False
        is_selected = wanted.selects(labels)
        ref = wanted.ref_in(namespace)
        found = self._cache.bindings.get(ref)
        step = next_step(wanted, namespace, found, is_selected=is_selected)
        self._problems.pop(ref, None)
        if step is SetStep.NOTHING:
            return is_selected
        try:
            await self._take(step, wanted, namespace, found)
        except ApiError as error:
            if error.status == FORBIDDEN and _TERMINATING in error.problem:
                return False  # nothing can be created there, and nothing has to be
            self._problems[ref] = str(error)
            self._log.warning("binding of a set not written", binding=str(ref), problem=str(error))
        return is_selected

    async def _take(self, step: SetStep, wanted: RoleBindingSet, namespace: str, found: StoredBinding | None) -> None:
        if found is None:
            await self._writer.create_binding(wanted.manifest_in(namespace))
            self._log.info("bound by a set", set=wanted.name, namespace=namespace)
        elif step is SetStep.UPDATE:
            await self._writer.change_binding(found, wanted.manifest_in(namespace)["spec"])
        else:
            await self._writer.delete_binding(found)
            self._log.info("unbound by a set", set=wanted.name, namespace=namespace)

    async def _show(self, stored: StoredSet, outcome: SetOutcome) -> None:
        latest = self._sets.get(stored.name)
        if latest is None or (latest.uid, latest.generation) != (stored.uid, stored.generation):
            return  # it is due again
        status = set_status(latest, outcome, stamp(self._now()))
        if status == latest.status:
            return
        await self._writer.patch_set_status(latest, status)
        if self._sets.get(stored.name) is latest:
            self._sets[stored.name] = replace(latest, status=status)  # until its event comes
        for transition in transitions(latest.status, status):
            await self._writer.event(KIND, {"name": stored.name, "uid": stored.uid}, transition)


def _is_stray(spec: RoleBindingSet | None, namespace: str, labels: Labels) -> bool:
    return (
        spec is not None and spec.pattern is not None and spec.pattern.matches(namespace) and not spec.selects(labels)
    )
