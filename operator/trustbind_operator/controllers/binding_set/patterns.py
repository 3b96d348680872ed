"""Says in the cache what the patterns of RoleBindingSets are, and whether trust by them is safe now."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from trustbind.api.namespace_policy import policy_problem
from trustbind.api.role_binding import NamespacePattern
from trustbind.reasons import TrustReason
from trustbind.reconcile.binding_set import (
    DISABLED,
    SETTLE_SECONDS,
    UNSEEN,
    Guard,
    PatternProblem,
    SetPattern,
    StoredSet,
    pattern_problem,
)
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_runtime.kubernetes.client import ApiError

__all__ = ["PatternKeeper", "PolicyReader"]

_DISABLED: Final = PatternProblem(TrustReason.SETS_DISABLED, DISABLED.message)


class PolicyReader(Protocol):
    """Reads from Kubernetes; see `trustbind_operator.cluster.writer.KubernetesWriter`."""

    async def namespace_policy(self, name: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        """Return the ValidatingAdmissionPolicy of this name and its binding; None for what is not there."""


class PatternKeeper:
    """See the module.

    Args:
        reader: reads the policy.
        cache: the cluster's bindings and namespaces.
        reconsider: decides the bindings of namespaces again.
        set_due: lets sets of these names be looked at.
        sets: all sets by name, as they are at any time.
        policy_name: of the ValidatingAdmissionPolicy that patterns need.
        enabled: whether bindings are made for sets.
    """

    def __init__(
        self,
        reader: PolicyReader,
        cache: ClusterCache,
        reconsider: Callable[[Iterable[str]], None],
        set_due: Callable[[set[str]], None],
        sets: Mapping[str, StoredSet],
        *,
        policy_name: str,
        enabled: bool,
    ) -> None:
        self._reader = reader
        self._cache = cache
        self._reconsider = reconsider
        self._set_due = set_due
        self._sets = sets
        self._policy_name = policy_name
        self._enabled = enabled
        self._guard = UNSEEN
        self._look = asyncio.Event()
        self._settled_at: dict[str, tuple[NamespacePattern, float]] = {}
        """uid of a set to its pattern, and when that may count."""

    # --- the policy -------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Say of all sets that are known what their patterns are, before the first binding is decided."""
        if self._has_patterns():
            self._guard = await self._seen()
        for stored in self._sets.values():
            self.update(stored)

    async def watch(self, interval: float) -> None:
        """See whether the policy is there, every ``interval`` seconds while a set has a pattern, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), interval)
            self._look.clear()
            if not self._has_patterns():
                continue
            before, self._guard = self._guard, await self._seen()
            if before == self._guard:
                continue
            if (
                not self._guard.problem and before != UNSEEN
            ):  # the API server needs a moment until it evaluates a policy
                later = loop.time() + SETTLE_SECONDS
                self._settled_at = {uid: (pattern, later) for uid, (pattern, _) in self._settled_at.items()}
                loop.call_later(SETTLE_SECONDS + 0.1, self._look_at_all)
            self._look_at_all()

    def _look_at_all(self) -> None:
        for stored in self._sets.values():
            self.update(stored)
        self._set_due(set(self._sets))

    async def _seen(self) -> Guard:
        try:
            found = await self._reader.namespace_policy(self._policy_name)
        except ApiError as error:
            message = f"ValidatingAdmissionPolicy {self._policy_name} cannot be read: {error}"
            return Guard(message, was_seen=False)
        return Guard(policy_problem(self._policy_name, *found))

    def _has_patterns(self) -> bool:
        return any(stored.spec is not None and stored.spec.pattern is not None for stored in self._sets.values())

    # --- sets -------------------------------------------------------------------------------------------------------

    def settle(self, stored: StoredSet) -> None:
        """Take note from when on the pattern of a set counts, which is new or has another spec.

        One that was granted already is not made to wait: the operator that was here before has waited. Nor is one that
        matches less than before with the same labels, since the policy holds namespaces to the wider one.
        """
        pattern = None if stored.spec is None else stored.spec.pattern
        if pattern is None:
            self._settled_at.pop(stored.uid, None)
            return
        loop = asyncio.get_running_loop()
        known, settled_at = self._settled_at.get(stored.uid, (None, math.inf))
        if known is None or known.labels != pattern.labels or not known.covers(pattern):
            settled_at = loop.time() + (0.0 if stored.was_granted else SETTLE_SECONDS)
            self._look.set()  # what was seen some seconds ago says nothing about a pattern that is to be granted now
            loop.call_later(max(0.0, settled_at - loop.time()) + 0.1, self._set_due, {stored.name})
        self._settled_at[stored.uid] = pattern, settled_at

    def update(self, stored: StoredSet) -> None:
        """Say in the cache what the pattern of a set is, and decide its bindings again where that has changed."""
        spec = stored.spec
        if spec is not None:
            self._put(stored, None if spec.pattern is None else SetPattern(spec, self.problem_of(stored)))
        else:
            self._withhold(stored, TrustReason.INVALID_SPEC, f"RoleBindingSet {stored.name}: {stored.problem}")

    def forget(self, gone: StoredSet) -> None:
        """Take note that a set is gone. Its bindings go, too; until then they have what stands, and nothing new."""
        self._settled_at.pop(gone.uid, None)
        self._withhold(gone, TrustReason.PENDING, f"its RoleBindingSet {gone.name} is gone, and it is about to go")

    def problem_of(self, stored: StoredSet) -> PatternProblem | None:
        """Return why nothing is granted by the pattern of a set now; None when it may be, or it has none."""
        if stored.spec is None or stored.spec.pattern is None:
            return None
        if not self._enabled:
            return _DISABLED
        _, settled_at = self._settled_at.get(stored.uid, (None, math.inf))
        is_settled = asyncio.get_running_loop().time() >= settled_at
        return pattern_problem(stored.spec, self._cache.namespaces, self._guard, is_settled=is_settled)

    def _withhold(self, stored: StoredSet, reason: TrustReason, message: str) -> None:
        """Let nothing new be granted by the pattern that a set had last, if it had one; what stands stays."""
        known = self._cache.patterns.get(stored.uid)
        if known is not None:
            self._put(stored, SetPattern(known.wanted, PatternProblem(reason, message)))

    def _put(self, stored: StoredSet, pattern: SetPattern | None) -> None:
        if self._cache.put_pattern(stored.uid, pattern):
            self._reconsider({ref.namespace for ref in self._cache.bindings if ref.name == stored.binding_name})
