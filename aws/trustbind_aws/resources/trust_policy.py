"""One role brought to what is wanted: read, plan, write, read back.

This is the engine of the operator and of ``trustbind apply``.

IAM replaces the whole document and keeps no version (IAM API reference, UpdateAssumeRolePolicy), and a read may be
older than a write by seconds. So after a write the document is read until it shows our statements. What it shows
meanwhile tells the cases apart: the document from before the write is only old; anything else that lacks our
statements came from somebody who had read before us, and their write is answered with a new plan from what is there
now, after a pause of random length.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trustbind.policy.plan import Desired, Plan, Refusal, plan
from trustbind.policy.trust_document import TrustDocument, same_meaning
from trustbind.reasons import TrustReason
from trustbind_aws.client import RoleState, TrustStore

__all__ = ["Commit", "Patience", "commit", "preview"]

Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to believe in a write.

    Attributes:
        visible_seconds: pauses between the reads that wait for a write to show; their sum is how long IAM's eventual
            consistency is allowed for.
        redo_seconds: upper bounds of the random pauses before a lost update is redone; their number is how often.
        sleep: waits; an argument so that tests need not.
        jitter: gives 0 to 1.
    """

    visible_seconds: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
    redo_seconds: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    sleep: Sleep = time.sleep
    jitter: Callable[[], float] = field(default=random.random)


DEFAULT_PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Commit:
    """What came of it.

    Attributes:
        plan: the last plan that was made.
        state: the role as it was read last before writing.
        written: how many documents were written; 0 when there was nothing to do.
        problem: set when the wish does not hold although it was written: somebody keeps undoing it.
    """

    plan: Plan
    state: RoleState
    written: int = 0
    problem: Refusal | None = None


def preview(store: TrustStore, desired: Desired, limit: int | None = None) -> Plan:
    """Return what `commit` would do first, having written nothing.

    Raises:
        AwsError: the role cannot be read.
    """
    return plan(store.read(desired.role).document, desired, store.trust_policy_limit() if limit is None else limit)


def commit(
    store: TrustStore,
    desired: Desired,
    *,
    limit: int | None = None,
    first: RoleState | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Commit:
    """Bring the role's trust policy to what is wanted.

    Args:
        store: the role's account.
        desired: what this cluster wants there, all of it.
        limit: characters; None: asked of the account.
        first: the role when it was just read, to save a read.
        patience: see `Patience`.

    Returns:
        With `Commit.problem` set when another writer won too often.

    Raises:
        AwsError: a call failed for good; nothing, or a whole document, was written.
    """
    allowed = store.trust_policy_limit() if limit is None else limit
    state = store.read(desired.role) if first is None else first
    planned = plan(state.document, desired, allowed)
    written = 0
    for pause in (*patience.redo_seconds, None):
        if planned.is_empty:
            return Commit(planned, state, written)
        store.write(desired.role, planned.document)
        written += 1
        seen = _await_visible(store, planned, patience)
        if seen is None:
            return Commit(planned, state, written)
        if pause is None:
            break
        patience.sleep(pause * patience.jitter())
        state = store.read(desired.role)
        planned = plan(state.document, desired, allowed)
    return Commit(planned, state, written, _contended(desired, written))


def _await_visible(store: TrustStore, planned: Plan, patience: Patience) -> TrustDocument | None:
    """Return None once the document holds what was planned; else the document that somebody else wrote."""
    before = planned.current.meaning()
    seen = store.read(planned.role).document
    for pause in patience.visible_seconds:
        if _shows(seen, planned):
            return None
        if seen.meaning() != before:
            return seen
        patience.sleep(pause)
        seen = store.read(planned.role).document
    return None if _shows(seen, planned) else seen


def _shows(seen: TrustDocument, planned: Plan) -> bool:
    """Return whether ``seen`` agrees with the plan in every statement that the plan changed."""
    there = {s.get("Sid"): s for s in seen.statements}
    for change in planned.changes:
        found = there.get(change.sid)
        if change.after is None:
            if found is not None:
                return False
        elif found is None or not same_meaning(found, change.after):
            return False
    return True


def _contended(desired: Desired, written: int) -> Refusal:
    return Refusal(
        None,
        TrustReason.TRUST_CONTENDED,
        f"the trust policy of {desired.role} was written {written} times and each time somebody else's write undid it; "
        "find the other writer (CloudTrail: UpdateAssumeRolePolicy; often Terraform) and let it ignore the statements "
        "whose Sid begins with Trustbind",
    )
