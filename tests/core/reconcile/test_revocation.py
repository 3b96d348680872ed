"""The decision of the brake on mass revocation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import OTHER_ROLE, ROLE, binding_body
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.identity.subjects import Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision
from trustbind.reconcile.revocation import (
    RevocationLimit,
    Revocations,
    is_paused,
    pause_message,
    pause_note,
    standing,
    wanted,
)
from trustbind.reconcile.stored_binding import StoredBinding

LIMIT = RevocationLimit()
APP = "system:serviceaccount:team-a:app"
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "TrustApplied"}]}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Revocations(100, 20), False),
        (Revocations(100, 21), True),
        (Revocations(80, 1, gone=20), True),
        (Revocations(81, 1, gone=19), False),
        (Revocations(10, 10), False),
        (Revocations(11, 11), True),
        (Revocations(49, 10), False),
        (Revocations(100, 0, gone=100), False),
        (Revocations(100, 1, has_empty_list=True), True),
        (Revocations(100, 0, has_empty_list=True), False),
        (Revocations(), False),
    ],
)
def test_share_and_least(now: Revocations, *, expected: bool) -> None:
    """A fifth of what stood at the beginning of the window may go, and always ten; after an empty list, none."""
    assert is_paused(now, LIMIT, before=False) is expected


def test_other_shares() -> None:
    """1 is no brake; 0 leaves the ten."""
    assert not is_paused(Revocations(1000, 1000), RevocationLimit(1.0), before=False)
    assert is_paused(Revocations(1000, 11), RevocationLimit(0.0), before=False)
    assert RevocationLimit(0.29).allowance(100) == 29


def test_time_ends_no_pause() -> None:
    """Only when nothing is to go any more."""
    assert is_paused(Revocations(100, 1), LIMIT, before=True)
    assert not is_paused(Revocations(100, 0), LIMIT, before=True)


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_no_more_than_the_allowance_goes_without_a_pause(stands: int, going: int, gone: int) -> None:
    """What would go, with what went, is within it."""
    now = Revocations(max(stands, going), going, gone)
    if not is_paused(now, LIMIT, before=False) and going:
        assert going + gone <= max(10, (now.standing + gone) * 0.2 + 1e-6)


def test_message() -> None:
    """How many of how many, why, and what to do."""
    assert pause_message("prod", Revocations(90, 30, 10), LIMIT) == (
        "revocation is paused: 30 of 100 subjects of this AWS account are to be revoked, 10 more were revoked within "
        "the last 60 s, and 20 are allowed within 60 s (revocation.maxShare), none after an empty list; restore what "
        "was deleted, or allow it: kubectl annotate awsaccount prod --overwrite trustbind.dev/revocation-allowed-at="
        '"$(date -u +%FT%TZ)"'
    )


def test_note_for_bindings() -> None:
    """Bindings name the AWS account and the AWSAccount, whose condition says what to do."""
    assert pause_note("444455556666", "prod") == (
        "revocation is paused in AWS account 444455556666; see AWSAccount prod, condition RevocationPaused"
    )


def stored(status: Mapping[str, object] | None = None, **fields: object) -> StoredBinding:
    """Return a binding with our finalizer."""
    body = binding_body(metadata={"finalizers": [BINDING_FINALIZER]}, **fields)  # type: ignore[arg-type] # of a spec
    return StoredBinding.of(body | ({"status": status} if status is not None else {}))


def test_what_stands_by_a_status() -> None:
    """Service accounts of the binding's own namespace, where a statement is named."""
    subjects = [APP, "system:serviceaccount:team-b:forged", "nonsense"]
    assert standing(stored({"statementId": "Trustbind1", "subjects": subjects})) == {(ROLE, APP)}
    assert standing(stored({"subjects": subjects})) == set()
    assert standing(stored()) == set()


def test_what_stands_of_a_chain_and_of_other_issuers() -> None:
    """The service accounts in the source role, that one in the target role, and patterns in the target role."""
    status = {"statementId": "Trustbind1", "subjects": [APP]}
    chain = stored(status, method="AssumeRole", source={"roleArn": str(OTHER_ROLE)})
    assert standing(chain) == {(OTHER_ROLE, APP), (ROLE, str(OTHER_ROLE))}
    other = [{"issuer": "https://token.actions.githubusercontent.com", "subjects": ["repo:org/*"]}]
    assert standing(stored(status, federatedSubjects=other)) == {(ROLE, APP), (ROLE, "repo:org/*")}
    assert standing(stored(status, roleArn=str(ROLE), audience=7)) == {(ROLE, APP)}  # it cannot be parsed


def test_what_stands_by_pod_identity() -> None:
    """It names no statement; an association stands while the binding is Ready, or waits for the end of a pause."""
    status = {"subjects": [APP]}
    paused = {"conditions": [{"type": "Ready", "status": "False", "reason": TrustReason.REVOCATION_PAUSED}]}
    refused = {"conditions": [{"type": "Ready", "status": "False", "reason": TrustReason.NOT_GRANTED}]}
    assert standing(stored({**status, **READY}, method="PodIdentity")) == {(ROLE, APP)}
    assert standing(stored({**status, **paused}, method="PodIdentity")) == {(ROLE, APP)}
    assert standing(stored({**status, **refused}, method="PodIdentity")) == set()


def test_what_is_wanted() -> None:
    """What a decision grants, and what a deleted binding leaves."""
    subjects = (Subject("team-a", "app"),)
    granted = BindingDecision(stored(), authorized=True, reason=None, message="", subjects=subjects)
    assert wanted(granted) == {(ROLE, APP)}
    refused = BindingDecision(stored(), authorized=False, reason=TrustReason.NOT_GRANTED, message="", subjects=subjects)
    assert wanted(refused) == set()
    unconsented = replace(refused, reason=TrustReason.NO_CONSENT)
    assert wanted(unconsented) == {(ROLE, APP)}
    gone = StoredBinding.of(binding_body(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert wanted(BindingDecision(gone, None, None, "", subjects)) == set()
    assert wanted(BindingDecision(gone, None, None, "", subjects, retains=True)) == {(ROLE, APP)}
