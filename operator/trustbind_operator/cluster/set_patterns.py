"""The patterns of RoleBindingSets, which their bindings do not say themselves: by the set that owns a binding."""

from __future__ import annotations

from dataclasses import replace

from trustbind.identity.subjects import Issuer
from trustbind.reconcile.binding_set import SetPattern
from trustbind.reconcile.snapshot import BindingSnapshot

__all__ = ["SetPatterns"]


class SetPatterns:
    """See the module.

    Args:
        issuer: the cluster's.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._by_set: dict[str, SetPattern] = {}
        """By the uid of the set."""

    def put(self, uid: str, pattern: SetPattern | None) -> bool:
        """Keep what is known of the pattern of a set, or with None, forget it; return whether it changed."""
        known = self._by_set.get(uid)
        after = None if pattern is None else pattern.after(known)
        if known == after:
            return False
        if after is None:
            del self._by_set[uid]
        else:
            self._by_set[uid] = after
        return True

    def get(self, uid: str) -> SetPattern | None:
        """Return the pattern of a set; None where it has none."""
        return self._by_set.get(uid)

    def applied(self, snapshot: BindingSnapshot) -> BindingSnapshot:
        """Return the snapshot of a binding that a set owns, with the set's pattern and whether that is safe.

        A binding that the set does not select by the labels of its namespace is about to go, or forged.
        """
        stored, binding = snapshot.stored, snapshot.stored.binding
        pattern = self._by_set.get(stored.set_uid)
        if pattern is None or binding is None or stored.ref != pattern.wanted.ref_in(stored.ref.namespace):
            return snapshot
        if not pattern.wanted.selects(snapshot.namespace_labels):
            return snapshot
        binding = replace(binding, pattern=replace(pattern.text, issuer=self._issuer))
        problem = pattern.problem_of(binding)
        return replace(
            snapshot,
            stored=replace(stored, binding=binding),
            unsafe=None if problem is None else (problem.reason, problem.message),
            revokes_unsafe=problem is not None and problem.is_proven and pattern.wanted.revokes_strays,
            former_pattern=None if pattern.former is None else replace(pattern.former, issuer=self._issuer),
        )
