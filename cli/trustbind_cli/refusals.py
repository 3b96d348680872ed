"""Decisions as refusals, which name their binding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from trustbind.policy.plan import Refusal
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision

__all__ = ["adopting", "as_data", "named", "refusals_of"]


def named(refusal: Refusal) -> Refusal:
    """Return the refusal with its binding's name in front of the message, or in it already."""
    ref = refusal.binding
    if ref is None or refusal.message.startswith((f"{ref}: ", f"RoleBinding {ref} ")):
        return refusal
    return replace(refusal, message=f"{ref}: {refusal.message}")


def adopting(decisions: Iterable[BindingDecision]) -> tuple[Refusal, ...]:
    """Return a refusal for each binding that replaces hand-written statements, since no status would record them."""
    what = (
        "spec.adopt replaces hand-written statements, and only the operator records them first; give the manifest to "
        "the cluster (kubectl apply), or remove spec.adopt"
    )
    reason = TrustReason.ADOPTION_NEEDS_OPERATOR
    return tuple(named(Refusal(d.stored.ref, reason, what)) for d in decisions if d.adopts)


def refusals_of(decisions: Iterable[BindingDecision]) -> tuple[Refusal, ...]:
    """Return a refusal for each binding that gets nothing."""
    return tuple(named(Refusal(d.stored.ref, d.reason, d.message)) for d in decisions if d.reason is not None)


def as_data(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:
    """Return refusals as JSON has them."""
    return [
        {"binding": str(r.binding) if r.binding else None, "reason": r.reason.value, "message": r.message}
        for r in refusals
    ]
