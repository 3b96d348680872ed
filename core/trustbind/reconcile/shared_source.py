"""Whether namespaces may share the source role of chains. Pure.

The target role of a chain trusts its source role as a whole. So every pod that gets the source role gets the targets of
all chains over it, whichever namespace they are of. That is granted only where each namespace has a grant for each
target, with the method of its chain. The external id of an EKS Pod Identity association is no secret: every
holder of the source role's credentials can send it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trustbind.api.role_binding import BindingRef, Method
from trustbind.api.role_grant import RoleGrant, arn_matches
from trustbind.identity.arns import RoleArn
from trustbind.reconcile.decision import decide_binding
from trustbind.reconcile.snapshot import BindingSnapshot, Surroundings

__all__ = ["source_conflicts"]

Labels = Mapping[str, str]
_Target = tuple[RoleArn, Method]


def source_conflicts(
    source: RoleArn, snapshots: Iterable[BindingSnapshot], around: Surroundings
) -> dict[BindingRef, str]:
    """Return the bindings that may not have ``source`` beside older ones, each with a sentence that says why.

    Every binding that names the role counts, whatever its method, once it is granted. A younger one is refused, so that
    no binding takes from an older one what it has.

    Args:
        source: a role that is the source of chains.
        snapshots: the bindings that name it, of all namespaces, oldest first.
        around: see `Surroundings`.
    """
    sharing = _Sharing(source, around.grants or ())
    refused: dict[BindingRef, str] = {}
    if around.grants is None:
        return refused
    for snapshot in snapshots:
        stored, binding = snapshot.stored, snapshot.stored.binding
        alone = replace(snapshot, source_conflict="")
        if binding is None or stored.deleting or decide_binding(alone, around, source).authorized is not True:
            continue
        is_chain = binding.source is not None and binding.source.role == source
        target = (binding.role, binding.method) if is_chain else None
        pattern = binding.pattern.text if binding.pattern is not None else ""
        if problem := sharing.add(stored.ref, snapshot.namespace_labels, target, pattern):
            refused[stored.ref] = problem
    return refused


class _Sharing:
    """The namespaces that have a source role, and the targets that they get by it."""

    def __init__(self, source: RoleArn, grants: Iterable[RoleGrant]) -> None:
        self._source = source
        self._grants = tuple(grants)
        self._namespaces: dict[str, Labels] = {}
        self._targets: dict[_Target, BindingRef] = {}
        self._by_pattern: tuple[BindingRef, str] | None = None

    def add(self, ref: BindingRef, labels: Labels, target: _Target | None, pattern: str = "") -> str:
        """Add a binding; return why it cannot be added, and then it is not.

        Args:
            ref: which.
            labels: of its namespace.
            target: that it has by the source role as a chain.
            pattern: over namespaces, by which the source role trusts it.
        """
        namespace = ref.namespace
        if problem := self._pattern_problem(target, pattern):
            return problem
        if pattern and self._by_pattern is None:
            self._by_pattern = ref, pattern
        new_target = target is not None and target not in self._targets
        new = [(namespace, labels, t) for t in self._targets] if namespace not in self._namespaces else []
        if new_target and target is not None:
            new += [(n, held, target) for n, held in self._namespaces.items() if n != namespace]
        for other, held, wanted in new:
            if not self._is_granted(other, held, wanted):
                return self._problem(namespace, other, wanted)
        self._namespaces[namespace] = labels
        if new_target and target is not None:
            self._targets[target] = ref
        return ""

    def _pattern_problem(self, target: _Target | None, pattern: str) -> str:
        """Return why a pattern and a chain cannot share the role: namespaces to come have a grant for no target."""
        if pattern and self._targets:
            role = next(iter(self._targets))[0]
            return (
                f"{self._source} cannot be bound by the pattern {pattern}: it is the source role of a chain to {role}, "
                "which every namespace that matches would get; use another role, or subjects: Exact"
            )
        if target is not None and self._by_pattern is not None:
            ref, text = self._by_pattern
            return (
                f"{self._source} cannot be the source role of a chain: RoleBinding {ref} has it by the pattern {text}, "
                f"so every namespace that matches would get {target[0]}; use another source role"
            )
        return ""

    def _is_granted(self, namespace: str, labels: Labels, target: _Target) -> bool:
        role, method = target
        return any(
            method in grant.methods
            and grant.covers_namespace(namespace, labels)
            and all(any(arn_matches(pattern, str(r)) for pattern in grant.role_arns) for r in (self._source, role))
            for grant in self._grants
        )

    def _problem(self, namespace: str, other: str, target: _Target) -> str:
        role, method = target
        because = (
            f"RoleBinding {self._targets[target]} has it as the source role of a chain to {role}"
            if other == namespace
            else f"namespace {other} has it, too"
        )
        return (
            f"{self._source} cannot be shared: {because}, so namespace {other} would get {role}, which no RoleGrant "
            f"covers for it; use a source role for each namespace, or ask a cluster administrator for a grant of both "
            f"roles with method {method}"
        )
