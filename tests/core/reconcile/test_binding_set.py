"""What is done about the bindings of a set, and what the set says of them."""

from __future__ import annotations

from typing import Any

import pytest

from support.bodies import OTHER_ROLE, set_body
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.reasons import TrustReason
from trustbind.reconcile.binding_set import Member, SetStep, StoredSet, next_step, outcome_of
from trustbind.reconcile.stored_binding import StoredBinding

WANTED = RoleBindingSet.parse(set_body())
READY = {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "TrustApplied"}]}
DENIED = {"conditions": [{"type": "Ready", "status": "False", "observedGeneration": 1, "reason": "NotGranted"}]}
FOREIGN = {"labels": None, "ownerReferences": None}


def found(
    namespace: str = "a", status: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **spec: Any
) -> StoredBinding:
    """Return the binding of the set in a namespace as it is stored."""
    body = WANTED.manifest_in(namespace)
    body["metadata"] |= {"uid": f"uid-{namespace}", "generation": 1} | (metadata or {})
    body["spec"] |= spec
    return StoredBinding.of(body | {"status": status or {}})


@pytest.mark.parametrize(
    ("there", "is_selected", "step"),
    [
        (None, True, SetStep.CREATE),
        (None, False, SetStep.NOTHING),
        (found(), True, SetStep.NOTHING),
        (found(), False, SetStep.DELETE),
        (found(audience="vault"), True, SetStep.UPDATE),
        (found(audience="vault"), False, SetStep.DELETE),
        (found(roleArn=str(OTHER_ROLE)), True, SetStep.DELETE),
        (found(profile=7), True, SetStep.DELETE),
        (found(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False, SetStep.NOTHING),
        (found(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}, audience="vault"), True, SetStep.NOTHING),
        (found(metadata=FOREIGN), True, SetStep.NOTHING),
        (found(metadata=FOREIGN), False, SetStep.NOTHING),
        (found(metadata=FOREIGN, audience="vault"), True, SetStep.NOTHING),
    ],
)
def test_step(there: StoredBinding | None, is_selected: bool, step: SetStep) -> None:
    """A binding comes and goes with the labels of its namespace; what the set does not own is left alone."""
    assert next_step(WANTED, "a", there, is_selected=is_selected) is step


def test_binding_of_a_former_set() -> None:
    """The binding of a set that had the same name is left to Kubernetes, which deletes it."""
    again = RoleBindingSet.parse(set_body(uid="uid-again"))

    assert next_step(again, "a", found(), is_selected=True) is SetStep.NOTHING
    assert next_step(again, "a", found(), is_selected=False) is SetStep.NOTHING


@pytest.mark.parametrize(
    ("members", "ready", "reason", "says"),
    [
        ([], 0, TrustReason.NO_NAMESPACES, "no namespace has the labels profile=true; label one, or correct"),
        (
            [Member("a", found("a", READY)), Member("b", found("b", READY))],
            2,
            TrustReason.BINDINGS_READY,
            "the RoleBindings set-profiles of all 2 namespaces are Ready",
        ),
        (
            [Member("b", found("b", DENIED)), Member("a", found("a", READY)), Member("c")],
            1,
            TrustReason.BINDINGS_NOT_READY,
            "2 of 3 RoleBindings set-profiles are not Ready, in b (NotGranted), c (not there yet); see",
        ),
        (
            [Member("a", found("a", READY)), Member("b", None, "no (HTTP 500)")],
            1,
            TrustReason.BINDINGS_NOT_READY,
            "the RoleBinding set-profiles cannot be written in b (no (HTTP 500)); trustbind retries automatically",
        ),
        (
            [Member("a", found("a", READY, FOREIGN)), Member("b", found("b", DENIED))],
            0,
            TrustReason.NAME_TAKEN,
            "a RoleBinding set-profiles that is not this set's stands in a; delete it, or create",
        ),
    ],
)
def test_outcome(members: list[Member], ready: int, reason: TrustReason, says: str) -> None:
    """One sentence names the namespaces in which something is wrong."""
    outcome = outcome_of(StoredSet.of(set_body()), members)

    assert (outcome.namespaces, outcome.ready, outcome.reason) == (len(members), ready, reason)
    assert outcome.message.startswith(says)
    assert outcome.is_ready is (reason is TrustReason.BINDINGS_READY)


def test_long_lists_are_cut() -> None:
    """A message about a thousand namespaces names a few."""
    outcome = outcome_of(StoredSet.of(set_body()), [Member(f"n-{n:04}") for n in range(1000)])

    assert "n-0004 (not there yet) and 995 more" in outcome.message
    assert len(outcome.message) < 300


def test_set_that_cannot_be_read() -> None:
    """It says why; the API server's schema may be another one."""
    outcome = outcome_of(StoredSet.of(set_body(profile="a b")), [])

    assert outcome.reason is TrustReason.INVALID_SPEC
    assert outcome.message.startswith("spec.template.profile: 'a b' is not a profile name")
