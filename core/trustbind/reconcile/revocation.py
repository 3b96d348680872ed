"""The brake on mass revocation: whether an AWS account's trust may be revoked now. Pure.

A pruned folder of manifests, a deleted definition or a list that comes back empty looks like thousands of wishes to
revoke. So what is to be revoked in one AWS account within a window is counted, and beyond a share of all that stands
there nothing is revoked until the objects are back or an administrator allows it. What is granted goes on.

The unit is a subject in a role: a service account, a pattern of another issuer, or the source role of a chain, each
once for each role that trusts it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trustbind.api.labels import REVOCATION_ALLOWED_AT
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.adoption import AdoptedStatement
from trustbind.reconcile.association_plan import shown_subjects
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.stored_binding import StoredBinding, ready_condition

__all__ = [
    "ALWAYS",
    "Pair",
    "RevocationLimit",
    "Revocations",
    "is_paused",
    "pause_message",
    "pause_note",
    "standing",
    "wanted",
]

ALWAYS: Final = 10
"""So many subjects may always be revoked within a window: a share of few is less than one binding."""

_ROUNDING: Final = 1e-9

_NOT_COUNTED: Final = {None, TrustReason.NO_CONSENT, TrustReason.PROTECTED_ROLE, TrustReason.STRAY_NAMESPACE}
"""Reasons by which a binding loses its trust without being counted."""

Pair = tuple[RoleArn, str]
"""A role, and a subject that it trusts."""


@dataclass(frozen=True, slots=True)
class RevocationLimit:
    """How much may be revoked in one AWS account within a window.

    Attributes:
        max_share: of the subjects that stood at its beginning, 0 to 1.
        window_seconds: of the sliding window.
    """

    max_share: float = 0.2
    window_seconds: float = 60.0

    def allowance(self, subjects: int) -> int:
        """Return how many of so many subjects may be revoked within a window."""
        return max(ALWAYS, math.floor(subjects * self.max_share + _ROUNDING))


@dataclass(frozen=True, slots=True)
class Revocations:
    """The subjects of one AWS account now.

    Attributes:
        standing: how many stand, those that are to go included.
        going: how many of these are to go; those that an administrator allowed are not counted.
        gone: how many were revoked within the window.
        has_empty_list: whether a list that was not empty came back empty within the window.
    """

    standing: int = 0
    going: int = 0
    gone: int = 0
    has_empty_list: bool = False


def is_paused(now: Revocations, limit: RevocationLimit, *, before: bool) -> bool:
    """Return whether nothing may be revoked in the AWS account.

    Args:
        now: its subjects.
        limit: see `RevocationLimit`.
        before: whether revocation was paused until now. It stays so while anything is to go: time alone ends no pause.
    """
    if not now.going:
        return False
    is_too_much = now.going + now.gone > limit.allowance(now.standing + now.gone)
    return before or is_too_much or now.has_empty_list


def pause_message(name: str, now: Revocations, limit: RevocationLimit) -> str:
    """Return the sentence about a pause, for the AWSAccount of this name."""
    of = now.standing + now.gone
    gone = f", {now.gone} more were revoked within the last {limit.window_seconds:g} s" if now.gone else ""
    return (
        f"revocation is paused: {now.going} of {of} subjects of this AWS account are to be revoked{gone}, and "
        f"{limit.allowance(of)} are allowed within {limit.window_seconds:g} s (revocation.maxShare), none after an "
        "empty list; restore what was deleted, or allow it: "
        f'kubectl annotate awsaccount {name} --overwrite {REVOCATION_ALLOWED_AT}="$(date -u +%FT%TZ)"'
    )


def pause_note(account_id: str, name: str) -> str:
    """Return why nothing may be revoked in an AWS account now, for the bindings there; ``name``: of its AWSAccount."""
    return f"revocation is paused in AWS account {account_id}; see AWSAccount {name}, condition RevocationPaused"


def standing(stored: StoredBinding) -> frozenset[Pair]:
    """Return what of a binding stands in AWS, as its status says; a status shows at most 100 service accounts."""
    if not _stands(stored):
        return frozenset()
    return _pairs(stored, shown_subjects(stored))


def wanted(decision: BindingDecision) -> frozenset[Pair]:
    """Return what a binding is to have; of one that leaves its trust when it is deleted, what it leaves.

    With ``Restore`` that is who stands in a recorded statement. What a role itself refuses by its tags is not counted:
    that is done in AWS, role by role, and of a chain only one role's decision may know it. Nor is what a stray
    namespace takes away with ``onStray: Revoke``: a brake would leave the stray what it is not to have.
    """
    stored = decision.stored
    is_refused = decision.reason not in _NOT_COUNTED
    if is_refused and not decision.keeps_standing:
        return frozenset()
    if not stored.deleting or decision.retains:
        return _pairs(stored, decision.subjects)
    if not decision.restorable:
        return frozenset()
    records = [each.text for each in AdoptedStatement.of_status(stored.status)]
    pairs = _pairs(stored, decision.subjects)
    return frozenset((role, name) for role, name in pairs if any(json.dumps(name) in text for text in records))


def _stands(stored: StoredBinding) -> bool:
    if stored.statement_id:
        return True
    ready = ready_condition(stored.status) or {}
    is_applied = ready.get("status") == "True" or ready.get("reason") == TrustReason.REVOCATION_PAUSED
    return stored.is_pod_identity and stored.guarded and is_applied


def _pairs(stored: StoredBinding, subjects: Iterable[Subject]) -> frozenset[Pair]:
    binding = stored.binding
    names = [str(subject) for subject in subjects]
    if binding is None:
        return frozenset((role, name) for role in stored.roles for name in names)
    source = binding.source.role if stored.is_chain and binding.source is not None else None
    pairs = {(source or binding.role, name) for name in names}
    if source is not None:
        pairs.add((binding.role, str(source)))
    pairs.update((binding.role, pattern) for entry in binding.federated for pattern in entry.subjects)
    return frozenset(pairs)
