"""Conditions and status: written when they differ, and only then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, binding_body
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.stored_binding import StoredBinding, ready_condition
from trustbind_operator.cluster.conditions import (
    Condition,
    ConditionType,
    Transition,
    binding_status,
    merged,
    transitions,
)

SUBJECTS = (Subject("team-a", "app"),)
DONE = BindingOutcome(
    authorized=True,
    authorization="granted by RoleGrant all",
    reason=None,
    message="trusted",
    subjects=SUBJECTS,
    statement_id="Trustbind0123456789abcdef0123456789abcdef",
    size=500,
    limit=2048,
    changed=True,
)
KEPT = replace(DONE, changed=False)
DENIED = BindingOutcome(
    authorized=True,
    authorization="granted by RoleGrant all",
    reason=TrustReason.ACCESS_DENIED,
    message="allow it",
    subjects=SUBJECTS,
)


def status_of(
    outcome: BindingOutcome, stored: dict[str, Any] | None = None, *, generation: int = 1, now: str = "T1"
) -> dict[str, Any]:
    """Return the status after an outcome."""
    return binding_status(stored or {}, generation, ACCOUNT, ISSUER, outcome, now)


def told(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return status and reason by the condition's type."""
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_applied() -> None:
    """Everything that somebody may want to know stands there."""
    status = status_of(DONE)

    assert told(status) == {
        "Ready": ("True", "TrustApplied"),
        "Authorized": ("True", "Granted"),
        "TrustApplied": ("True", "TrustApplied"),
    }
    del status["conditions"]
    assert status == {
        "observedGeneration": 1,
        "accountId": ACCOUNT,
        "issuer": ISSUER.url,
        "subjects": ["system:serviceaccount:team-a:app"],
        "statementId": "Trustbind0123456789abcdef0123456789abcdef",
        "policySize": 500,
        "policyLimit": 2048,
        "lastAppliedTime": "T1",
    }


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (
            replace(DENIED, authorized=False, authorization="no", reason=TrustReason.NOT_GRANTED),
            {"Ready": "NotGranted", "Authorized": "NotGranted", "TrustApplied": "NotGranted"},
        ),
        (DENIED, {"Ready": "AccessDenied", "Authorized": "Granted", "TrustApplied": "AccessDenied"}),
        (
            replace(DENIED, authorized=None, reason=TrustReason.INVALID_SPEC),
            {"Ready": "InvalidSpec", "TrustApplied": "InvalidSpec"},
        ),
    ],
)
def test_not_applied(outcome: BindingOutcome, expected: dict[str, str]) -> None:
    """The reason stands in each condition that it is about; nothing is said of what was not written."""
    status = status_of(outcome)

    assert {kind: reason for kind, (_, reason) in told(status).items()} == expected
    assert told(status)["Ready"][0] == told(status)["TrustApplied"][0] == "False"
    assert not {"statementId", "policySize", "policyLimit", "lastAppliedTime"} & set(status)


def test_near_limit_only_while_it_is() -> None:
    """A condition that is True when something is wrong is absent when nothing is."""
    near = status_of(replace(DONE, near_limit=True))
    assert told(near)["NearLimit"] == ("True", "NearLimit")
    assert "NearLimit" not in told(status_of(KEPT, near, now="T2"))


def test_unchanged_is_equal() -> None:
    """A second look at the same time later changes nothing."""
    stored = status_of(DONE)
    assert status_of(KEPT, stored, now="T2") == stored
    refused = status_of(DENIED)
    assert status_of(DENIED, refused, now="T2") == refused


def test_size_alone_is_no_change() -> None:
    """It moves with every other binding of the role; with another change it is told."""
    stored = status_of(DONE)
    grown = replace(KEPT, size=900, limit=4096)

    assert status_of(grown, stored, now="T2") == stored
    moved = status_of(grown, stored, generation=2, now="T2")
    assert (moved["policySize"], moved["policyLimit"], moved["lastAppliedTime"]) == (900, 4096, "T1")


def test_written_again() -> None:
    """The time of the last write is that."""
    assert status_of(DONE, status_of(DONE), now="T2")["lastAppliedTime"] == "T2"


@pytest.mark.parametrize(
    "outcome",
    [
        replace(KEPT, subjects=(Subject("team-a", "other"),)),
        replace(KEPT, statement_id="Trustbind0123456789abcdef0123456789abcdee"),
        replace(KEPT, message="trusted otherwise"),
        replace(KEPT, authorization="granted by RoleGrant other"),
        replace(KEPT, near_limit=True),
    ],
)
def test_what_counts_is_a_change(outcome: BindingOutcome) -> None:
    """Subjects, statement, sentences and conditions."""
    stored = status_of(DONE)
    assert status_of(outcome, stored, now="T2") != stored


def test_another_issuer_or_account_is_a_change() -> None:
    """The cluster's issuer can change."""
    stored = status_of(DONE)
    other = Issuer.parse("https://oidc.example.com/id/2")
    assert binding_status(stored, 1, ACCOUNT, other, KEPT, "T2")["issuer"] == other.url


def test_statement_is_named_while_it_may_linger() -> None:
    """What may still stand in the trust policy is told until it is known to be gone."""
    stored = status_of(DONE)
    lingers = status_of(replace(DENIED, may_linger=True), stored, now="T2")
    assert lingers["statementId"] == stored["statementId"]
    assert "policySize" not in lingers
    gone = status_of(DENIED, lingers, now="T3")
    assert "statementId" not in gone
    assert "statementId" not in status_of(replace(DENIED, may_linger=True))


def test_statement_that_is_gone_is_a_change_by_itself() -> None:
    """Also when no condition says anything new."""
    stored = status_of(DENIED) | {"statementId": "Trustbind0123456789abcdef0123456789abcdef"}
    assert "statementId" not in status_of(DENIED, stored)


def test_authorization_stays_while_nobody_asks_and_trust_may_stand() -> None:
    """A binding whose grant was taken back and that is then deleted is not authorized again by a failed call."""
    refused = replace(DENIED, authorized=False, authorization="no", reason=TrustReason.NOT_GRANTED, may_linger=True)
    withdrawn = status_of(refused, status_of(DONE))
    failed = replace(DENIED, authorized=None, authorization="", may_linger=True)

    after = status_of(failed, withdrawn, generation=2, now="T2")

    assert told(after) == {
        "Ready": ("False", "AccessDenied"),
        "TrustApplied": ("False", "AccessDenied"),
        "Authorized": ("False", "NotGranted"),
    }
    assert status_of(failed, after, generation=2, now="T3") == after


def test_only_so_many_subjects_are_shown() -> None:
    """A selector can match thousands."""
    many = tuple(Subject("team-a", f"a{n:04}") for n in range(1000))
    assert len(status_of(replace(DONE, subjects=many))["subjects"]) == 100


def condition(
    reason: TrustReason = TrustReason.APPLIED, *, status: bool | None = True, message: str = "m"
) -> Condition:
    """Return a Ready condition."""
    return Condition(ConditionType.READY, status, reason, message)


@pytest.mark.parametrize(
    ("after", "since"),
    [
        (condition(), "T1"),
        (condition(message="other"), "T1"),
        (condition(TrustReason.GRANTED), "T1"),
        (condition(status=False), "T2"),
        (condition(status=None), "T2"),
    ],
)
def test_transition_time_moves_with_the_status(after: Condition, since: str) -> None:
    """Not with the reason, the message or the generation."""
    stored = merged([], [condition()], 1, "T1")
    (found,) = merged(stored, [after], 2, "T2")
    assert (found["lastTransitionTime"], found["observedGeneration"]) == (since, 2)


def test_unknown_status_and_long_message() -> None:
    """A condition can be Unknown; a message has a bound."""
    (found,) = merged([], [condition(status=None, message="x" * 5000)], 1, "T1")
    assert found["status"] == "Unknown"
    assert len(found["message"]) == 1024
    assert found["message"].endswith("...")


def test_transitions_tell_the_summary() -> None:
    """Of conditions that say the same, only Ready; nothing when nothing changed in status or reason."""
    done = status_of(DONE)
    assert transitions({}, done) == [Transition("Ready", "True", "TrustApplied", "trusted")]
    assert transitions(done, status_of(replace(KEPT, message="other"), done)) == []
    assert [t.reason for t in transitions(done, status_of(DENIED, done))] == ["AccessDenied"]


def test_near_limit_is_told_beside_the_summary() -> None:
    """Coming, but not going."""
    done, near = status_of(DONE), status_of(replace(DONE, near_limit=True))
    assert [t.type for t in transitions({}, near)] == ["Ready", "NearLimit"]
    assert [t.type for t in transitions(done, near)] == ["NearLimit"]
    assert transitions(near, done) == []


def test_other_condition_alone() -> None:
    """Where Ready stays as it is, the condition that changed is told."""
    refused = replace(DENIED, authorized=False, authorization="no")
    assert [t.type for t in transitions(status_of(DENIED), status_of(refused))] == ["Authorized"]


@pytest.mark.parametrize(
    ("kind", "status", "warns"),
    [
        ("Ready", "True", False),
        ("Ready", "False", True),
        ("Ready", "Unknown", False),
        ("NearLimit", "True", True),
        ("NearLimit", "False", False),
    ],
)
def test_warnings(kind: str, status: str, warns: bool) -> None:
    """False is worth a look, except where True is the abnormal case."""
    assert Transition(kind, status, "r", "m").is_warning is warns


def test_ready_condition() -> None:
    """None when there is none."""
    assert ready_condition({}) is None
    assert ready_condition({"conditions": None}) is None
    assert (ready_condition(status_of(DONE)) or {})["reason"] == "TrustApplied"


def stored_with(status: dict[str, Any], generation: int = 1) -> StoredBinding:
    """Return a binding with a stored status."""
    return StoredBinding.of(binding_body(status=status, metadata={"generation": generation}))


@pytest.mark.parametrize(
    ("change", "in_step"),
    [
        ({}, True),
        ({"generation": 2}, False),
        ({"issuer": Issuer.parse("https://oidc.example.com/id/2")}, False),
        ({"subjects": ()}, False),
        ({"statement_id": "other"}, False),
        ({"stored": {}}, False),
        ({"stored": status_of(DENIED)}, False),
    ],
)
def test_in_step(change: dict[str, Any], in_step: bool) -> None:
    """A stored status counts only when it says that exactly this was applied."""
    change = dict(change)
    stored = stored_with(change.pop("stored", status_of(DONE)), change.pop("generation", 1))
    asked: dict[str, Any] = {"issuer": ISSUER, "subjects": SUBJECTS, "statement_id": DONE.statement_id}
    assert stored.is_applied(**(asked | change)) is in_step


def test_more_subjects_than_shown_are_never_in_step() -> None:
    """What the status does not list cannot be compared."""
    many = tuple(Subject("team-a", f"a{n:04}") for n in range(101))
    stored = stored_with(status_of(replace(DONE, subjects=many)))
    assert not stored.is_applied(ISSUER, many, DONE.statement_id)
