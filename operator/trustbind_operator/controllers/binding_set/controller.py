"""Keeps a RoleBinding in each namespace that a RoleBindingSet selects, and says in the set how they are.

Nothing is ever deleted because a set is not there: Kubernetes deletes what a set owned, once it knows that the set is
gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from trustbind.api.namespace_policy import policy_problem
from trustbind.api.role_binding import BindingRef
from trustbind.api.role_binding_set import KIND, RoleBindingSet, binding_name
from trustbind.api.strict import API_VERSION
from trustbind.reasons import TrustReason
from trustbind.reconcile.binding_set import (
    DISABLED,
    SETTLE_SECONDS,
    Member,
    SetOutcome,
    SetPattern,
    SetStep,
    StoredSet,
    next_step,
    outcome_of,
    pattern_problem,
)
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_operator.cluster.cache import ClusterCache, Labels
from trustbind_operator.cluster.conditions import Transition, set_status, stamp, transitions
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


class SetWriter(Protocol):
    """Writes to Kubernetes; see `trustbind_operator.cluster.writer.KubernetesWriter`."""

    async def create_binding(self, manifest: Mapping[str, Any]) -> None:
        """Create a RoleBinding, unless one of that name is there."""

    async def change_binding(self, stored: StoredBinding, spec: Mapping[str, Any]) -> None:
        """Give a RoleBinding another spec."""

    async def delete_binding(self, stored: StoredBinding) -> None:
        """Delete a RoleBinding."""

    async def namespace_policy(self, name: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Return the ValidatingAdmissionPolicy of this name and its binding; None for what is not there."""

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
        self._reconsider = reconsider
        self._policy_name = policy_name
        self._enabled = enabled
        self._unguarded: str | None = None
        """Why the policy does not keep strays out; None before the first look."""
        self._look = asyncio.Event()
        self._settled_at: dict[tuple[str, int], float] = {}
        """uid and generation of a set with a pattern to when that may count."""
        self._sets: dict[str, StoredSet] = {}
        self._by_binding: dict[str, str] = {}
        """Name of the bindings of a set to its name."""
        self._problems: dict[BindingRef, str] = {}
        """Why the last write of a binding failed."""
        self._due: set[str] = set()
        self._wake = asyncio.Event()

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
        self._sets[key[1]] = item
        self._by_binding[binding_name(key[1])] = key[1]
        if known is None or (known.uid, known.spec, known.generation) != (item.uid, item.spec, item.generation):
            self._settle(item, known)
            self._update_pattern(item)
            self._set_due({key[1]})

    def drop(self, key: Key) -> None:
        """Forget a set that is gone."""
        gone = self._sets.pop(key[1], None)
        if gone is not None:
            if gone.spec is not None and gone.spec.pattern is not None:
                # Its bindings go, too. Until then they have what stands, and not each its own subject.
                why = (TrustReason.PENDING, f"its RoleBindingSet {gone.name} is gone, and it is about to go")
                self._cache.put_pattern(gone.uid, SetPattern(gone.spec, why))
            del self._by_binding[binding_name(key[1])]
            self._problems = {ref: p for ref, p in self._problems.items() if ref.name != binding_name(key[1])}

    def binding_seen(self, ref: BindingRef) -> None:
        """Take note that a binding came, changed or went."""
        name = self._by_binding.get(ref.name)
        if name is not None:
            self._set_due({name})

    def namespace_seen(self, namespace: str, labels: Labels | None) -> None:
        """Take note that a namespace came, changed its labels or (None) went."""
        for stored in self._sets.values():
            if labels is not None and _is_stray(stored.spec, namespace, labels):
                self._update_pattern(stored)  # at once: nothing may be granted by the pattern any more
        self._set_due(
            {
                name
                for name, stored in self._sets.items()
                if labels is None
                or BindingRef(namespace, binding_name(name)) in self._cache.bindings
                or (stored.spec is not None and stored.spec.selects(labels))
                or _is_stray(stored.spec, namespace, labels)
            }
        )

    def _set_due(self, names: set[str]) -> None:
        if names:
            self._due |= names
            self._wake.set()

    # --- patterns ---------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Say of all sets that are known what their patterns are, before the first binding is decided."""
        if self._has_patterns():
            self._unguarded = await self._policy_problem()
        for stored in self._sets.values():
            self._update_pattern(stored)

    async def watch_policy(self, interval: float) -> None:
        """See whether the policy is there, every ``interval`` seconds while a set has a pattern, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), interval)
            self._look.clear()
            if not self._has_patterns():
                continue
            problem = await self._policy_problem()
            if problem == self._unguarded:
                continue
            if not problem and self._unguarded is not None:  # the API server needs a moment until it evaluates a policy
                later = asyncio.get_running_loop().time() + SETTLE_SECONDS
                self._settled_at = dict.fromkeys(self._settled_at, later)
                asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._look_at_all)
            self._unguarded = problem
            self._look_at_all()

    def _look_at_all(self) -> None:
        for stored in self._sets.values():
            self._update_pattern(stored)
        self._set_due(set(self._sets))

    async def _policy_problem(self) -> str:
        try:
            return policy_problem(self._policy_name, *await self._writer.namespace_policy(self._policy_name))
        except ApiError as error:
            return f"ValidatingAdmissionPolicy {self._policy_name} cannot be read: {error}"

    def _has_patterns(self) -> bool:
        return any(stored.spec is not None and stored.spec.pattern is not None for stored in self._sets.values())

    def _settle(self, stored: StoredSet, known: StoredSet | None) -> None:
        """Take note from when on the pattern of a set counts; the operator that was here before may have waited."""
        if stored.spec is None or stored.spec.pattern is None:
            return
        self._look.set()  # what was seen some seconds ago says nothing about a pattern that is to be granted now
        loop = asyncio.get_running_loop()
        waited = known is None and stored.status.get("observedGeneration") == stored.generation
        self._settled_at[stored.uid, stored.generation] = loop.time() + (0.0 if waited else SETTLE_SECONDS)
        if not waited:
            loop.call_later(SETTLE_SECONDS + 0.1, self._set_due, {stored.name})

    def _unsafe(self, stored: StoredSet) -> tuple[TrustReason, str] | None:
        """Return why nothing is granted by the pattern of a set now; None when it may be, or it has none."""
        if stored.spec is None or stored.spec.pattern is None:
            return None
        settled_at = self._settled_at.get((stored.uid, stored.generation), math.inf)
        is_settled = asyncio.get_running_loop().time() >= settled_at
        unguarded = "the operator has not looked for the policy yet" if self._unguarded is None else self._unguarded
        return pattern_problem(stored.spec, self._cache.namespaces, unguarded, is_settled=is_settled)

    def _update_pattern(self, stored: StoredSet) -> None:
        """Say in the cache what the pattern of a set is, and decide its bindings again where that has changed."""
        spec = stored.spec
        if spec is None:
            return  # it was valid, and its bindings are as they were
        pattern = None if spec.pattern is None else SetPattern(spec, self._unsafe(stored))
        if self._cache.put_pattern(stored.uid, pattern):
            name = spec.binding.ref.name
            self._reconsider({ref.namespace for ref in self._cache.bindings if ref.name == name})

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
        self._update_pattern(stored)
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
        await self._show(stored, outcome_of(stored, members, self._unsafe(stored)))
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
