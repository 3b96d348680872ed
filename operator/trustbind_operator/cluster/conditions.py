"""Conditions and status: computed from what came out, compared with what is stored, written only when they differ.

Conditions follow the Kubernetes API conventions ("Typical status properties"): a list keyed by type, ``Ready`` as the
summary, a reason in CamelCase, a message that says what to do, and a transition time that moves only with the status.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from trustbind.identity.subjects import Issuer
from trustbind.reasons import TrustReason
from trustbind.reconcile.adoption import AdoptionState
from trustbind.reconcile.binding_set import SetOutcome, StoredSet
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.stored_binding import SHOWN_SUBJECTS

__all__ = [
    "Condition",
    "ConditionType",
    "Transition",
    "binding_status",
    "merged",
    "set_status",
    "stamp",
    "transitions",
]

_NAMED: Final = 3
"""Subjects that a message names."""

MAX_MESSAGE: Final = 1024
"""Characters of a message; the schema allows a few more."""


class ConditionType(StrEnum):
    """Types of conditions."""

    READY = "Ready"
    AUTHORIZED = "Authorized"
    TRUST_APPLIED = "TrustApplied"
    NEAR_LIMIT = "NearLimit"
    HAND_WRITTEN = "HandWrittenSubjects"
    ADOPTED = "Adopted"
    OUT_OF_SCOPE = "OutOfScope"
    SURVEYED = "Surveyed"
    REVOCATION_PAUSED = "RevocationPaused"


_ABNORMAL: Final = frozenset(
    {
        ConditionType.NEAR_LIMIT,
        ConditionType.HAND_WRITTEN,
        ConditionType.OUT_OF_SCOPE,
        ConditionType.REVOCATION_PAUSED,
    }
)
"""Types whose condition is there, and True, in the abnormal case alone."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its times."""

    type: ConditionType
    status: bool | None
    reason: TrustReason
    message: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that changed in status or reason: worth an Event."""

    type: str
    status: str
    reason: str
    message: str

    @property
    def is_warning(self) -> bool:
        """Whether somebody should look."""
        return (self.status == "False") != (self.type in _ABNORMAL)


def binding_status(
    stored: Mapping[str, Any], generation: int, account_id: str, issuer: Issuer, outcome: BindingOutcome, now: str
) -> dict[str, Any]:
    """Return the status that a binding should have.

    Equal to ``stored`` when nothing worth a write has changed: the document's size alone, which moves with every
    other binding of the role, is not.

    Args:
        stored: the status as it is.
        generation: of the spec that was looked at.
        account_id: of the target role.
        issuer: the cluster's.
        outcome: see `BindingOutcome`.
        now: RFC 3339, in UTC.
    """
    conditions = merged(stored.get("conditions") or (), _binding_conditions(outcome), generation, now)
    if outcome.authorized is None and outcome.may_linger:
        # Nobody asked again, and it counts when the binding is deleted: trust is retained only while it is granted.
        conditions += [c for c in stored.get("conditions") or () if c.get("type") == ConditionType.AUTHORIZED]
    applied = outcome.reason is None
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions,
        "accountId": account_id,
        "issuer": issuer.url,
        "subjects": [sys.intern(str(s)) for s in outcome.subjects[:SHOWN_SUBJECTS]],
    }
    status |= _lists(stored, outcome)
    for key in ("policySize", "policyLimit", "lastAppliedTime"):
        if key in stored and applied:
            status[key] = stored[key]
    differs = any(stored.get(k) != v for k, v in status.items()) or any(
        key in stored and key not in status for key in ("statementId", "associations", "adopted")
    )
    if applied and (differs or outcome.changed):
        if outcome.size is not None:
            status["policySize"] = outcome.size
        if outcome.limit is not None:
            status["policyLimit"] = outcome.limit
        if outcome.changed or "lastAppliedTime" not in stored:
            status["lastAppliedTime"] = now
    return status if differs or outcome.changed else dict(stored)


def _lists(stored: Mapping[str, Any], outcome: BindingOutcome) -> dict[str, Any]:
    """Return what a status names in AWS: the statement, associations, adopted statements; kept where it is unknown."""
    status: dict[str, Any] = {}
    if outcome.reason is None and outcome.statement_id:
        status["statementId"] = outcome.statement_id
    elif outcome.may_linger and "statementId" in stored:
        status["statementId"] = stored["statementId"]
    if outcome.associations is None:
        status |= {"associations": stored["associations"]} if "associations" in stored else {}
    elif outcome.associations:
        status["associations"] = [
            {
                "serviceAccount": association.subject.name,
                "id": association.listed.id,
                "externalId": association.external_id,
                "targetRoleArn": association.target,
            }
            for association in sorted(outcome.associations, key=lambda a: a.subject)[:SHOWN_SUBJECTS]
        ]
    if outcome.adoption is None:
        status |= {"adopted": stored["adopted"]} if "adopted" in stored else {}
    elif outcome.adoption.statements:
        status["adopted"] = [statement.as_status() for statement in outcome.adoption.statements]
    return status


def set_status(stored: StoredSet, outcome: SetOutcome, now: str) -> dict[str, Any]:
    """Return the status that a RoleBindingSet should have; equal to the stored one when nothing has changed."""
    ready = Condition(ConditionType.READY, outcome.is_ready, outcome.reason, outcome.message)
    return {
        "observedGeneration": stored.generation,
        "conditions": merged(stored.status.get("conditions") or (), [ready], stored.generation, now),
        "namespaces": outcome.namespaces,
        "readyBindings": outcome.ready,
        "summary": f"{outcome.ready}/{outcome.namespaces}",
    }


def merged(
    stored: Iterable[Mapping[str, Any]], wanted: Iterable[Condition], generation: int, now: str
) -> list[dict[str, Any]]:
    """Return ``wanted`` as the API has conditions; the transition time stays where the status did."""
    before = {str(c.get("type")): c for c in stored}
    result: list[dict[str, Any]] = []
    for condition in wanted:
        status = {True: "True", False: "False", None: "Unknown"}[condition.status]
        known = before.get(condition.type, {})
        since = known.get("lastTransitionTime", now) if known.get("status") == status else now
        result.append(
            {
                "type": condition.type.value,
                "status": status,
                "reason": condition.reason.value,
                "message": _shortened(condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return result


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Transition]:
    """Return the conditions whose status or reason changed; of several that say the same only ``Ready``."""
    known = {c["type"]: (c["status"], c["reason"]) for c in before.get("conditions") or ()}
    changed = [
        Transition(c["type"], c["status"], c["reason"], c["message"])
        for c in after.get("conditions") or ()
        if known.get(c["type"]) != (c["status"], c["reason"])
        and c["reason"] != TrustReason.PENDING  # a step on the way, of which there may be several a second
    ]
    ready = next((t for t in changed if t.type == ConditionType.READY), None)
    if ready is None:
        return changed
    return [ready, *(t for t in changed if t.type in _ABNORMAL or t.type == ConditionType.ADOPTED)]


def _binding_conditions(outcome: BindingOutcome) -> list[Condition]:
    applied = outcome.reason is None
    reason = outcome.reason or TrustReason.APPLIED
    hindrance = outcome.hindrance if applied else None
    conditions = [
        Condition(ConditionType.READY, applied, reason, outcome.message)
        if hindrance is None
        else Condition(ConditionType.READY, status=False, reason=hindrance.reason, message=hindrance.message)
    ]
    if outcome.authorized is not None:
        authorization = TrustReason.GRANTED if outcome.authorized else reason
        conditions.append(Condition(ConditionType.AUTHORIZED, outcome.authorized, authorization, outcome.authorization))
    conditions.append(Condition(ConditionType.TRUST_APPLIED, applied, reason, outcome.message))
    if outcome.near_limit:
        # True is the abnormal case, so there is no condition while all is well.
        message = "the trust policy is over 80 % of what the account allows; plan for a second role or a higher quota"
        conditions.append(
            Condition(ConditionType.NEAR_LIMIT, status=True, reason=TrustReason.NEAR_LIMIT, message=message)
        )
    if outcome.hand_written:
        named = ", ".join(outcome.hand_written[:_NAMED])
        more = f" and {len(outcome.hand_written) - _NAMED} more" if len(outcome.hand_written) > _NAMED else ""
        message = (
            f"a statement of the source role that trustbind did not write trusts {named}{more}, so they reach the "
            "target role of this chain; remove them from it, or use a source role of the chain's own"
        )
        conditions.append(
            Condition(ConditionType.HAND_WRITTEN, status=True, reason=TrustReason.HAND_WRITTEN, message=message)
        )
    if outcome.out_of_scope:
        message = f"the webhook is not called for pods of this namespace, so they get no role: {outcome.out_of_scope}"
        conditions.append(
            Condition(ConditionType.OUT_OF_SCOPE, status=True, reason=TrustReason.OUT_OF_SCOPE, message=message)
        )
    if outcome.adoption is not None and (adopted := _adopted(outcome.adoption)) is not None:
        conditions.append(adopted)
    return conditions


def _adopted(state: AdoptionState) -> Condition | None:
    """Return the condition about hand-written statements; None where there is none to speak of."""
    if state.difference:
        reason = TrustReason.ADOPTION_CONTESTED if state.is_contested else TrustReason.ADOPTION_DIFFERS
        return Condition(ConditionType.ADOPTED, status=False, reason=reason, message=state.difference)
    if not state.statements:
        return None
    if any(statement.is_pending for statement in state.statements):
        message = "a hand-written statement stands until this binding's own statement can be written"
        return Condition(ConditionType.ADOPTED, status=False, reason=TrustReason.ADOPTION_PENDING, message=message)
    count = len(state.statements)
    plural = "" if count == 1 else "s"
    message = (
        f"{count} hand-written statement{plural} replaced by this binding's own; status.adopted has what was there"
    )
    return Condition(ConditionType.ADOPTED, status=True, reason=TrustReason.ADOPTED, message=message)


def stamp(now: datetime) -> str:
    """Return a time as the API writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
