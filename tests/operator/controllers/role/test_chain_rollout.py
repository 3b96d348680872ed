"""Chains: which claims are right for which role at each moment, and what the binding is told."""

from __future__ import annotations

from typing import Any

import pytest

from support.operator_world import ISSUER, ROLE, World, account_body, binding_body
from trustbind.api.role_binding import Method
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, sid_of
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.conditions import BindingOutcome
from trustbind_operator.controllers.binding.decision import Verdict, judge
from trustbind_operator.controllers.role.chain_rollout import ChainBook, is_chained, managed_targets

SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
CHAIN: dict[str, Any] = {"method": "AssumeRole", "source": {"roleArn": str(SOURCE)}, "externalId": "x-1"}
DELETED = {"deletionTimestamp": "2026-01-02T00:00:00Z"}
ACCOUNTS: dict[str, dict[str, str]] = {}


def world() -> World:
    """Return a world in which both accounts are described and everything is granted."""
    made = World()
    made.has_account()
    made.has_account(account_body("near", SOURCE.account_id))
    return made


def judged(made: World, metadata: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> Verdict:
    """Return the verdict on a chain."""
    body = binding_body(**CHAIN)
    body["metadata"] |= metadata or {}
    if status is not None:
        body["status"] = status
    return judge(made.has_binding(body), made.registry, ROLE)


def settled(book: ChainBook, verdict: Verdict, role: RoleArn, *, stands: bool) -> BindingOutcome:
    """Tell the book that the role is as its step wanted; return what the binding is told."""
    step = book.step(verdict, role, ACCOUNTS)
    outcome = BindingOutcome(
        authorized=True, authorization="granted", reason=step.reason, message="well", subjects=step.subjects
    )
    return book.concluded(step, role, outcome, stands=stands, issuer=ISSUER)


def keys(book: ChainBook, verdict: Verdict, role: RoleArn) -> list[type]:
    """Return what kinds of claims are right for the role now."""
    return [type(claim.key) for claim in book.step(verdict, role, ACCOUNTS).claims]


def test_far_end_first() -> None:
    """Nobody is let into the source role before the target role lets the source role in; then the chain is whole."""
    book, verdict = ChainBook(), judged(world())
    assert verdict.reason is None
    assert keys(book, verdict, SOURCE) == []
    assert keys(book, verdict, ROLE) == [ChainKey]
    assert managed_targets(SOURCE, [book.step(verdict, SOURCE, ACCOUNTS)]) == ()

    half = settled(book, verdict, ROLE, stands=True)

    assert (half.reason, half.statement_id) == (TrustReason.PENDING, "")
    assert book.wake == {SOURCE}
    assert keys(book, verdict, SOURCE) == [WebIdentityKey]
    assert managed_targets(SOURCE, [book.step(verdict, SOURCE, ACCOUNTS)]) == (ROLE,)
    whole = settled(book, verdict, SOURCE, stands=True)
    assert whole.reason is None
    assert whole.statement_id == sid_of(ISSUER, ChainKey(SOURCE, "x-1"))
    assert str(SOURCE) in whole.message


def test_near_end_first() -> None:
    """A chain that goes keeps its far end until the near one is closed, and is let go when both are."""
    book = ChainBook()
    verdict = judged(world(), DELETED, {"statementId": "Trustbind0000000000000000"})
    assert keys(book, verdict, ROLE) == [ChainKey]
    assert keys(book, verdict, SOURCE) == []

    half = settled(book, verdict, SOURCE, stands=False)

    assert half.reason is TrustReason.PENDING
    assert half.may_linger
    assert f"target role {ROLE}" in half.message
    assert keys(book, verdict, ROLE) == []
    over = BindingOutcome(None, "", TrustReason.REVOKED, "gone")
    assert book.concluded(verdict, ROLE, over, stands=False, issuer=ISSUER) == over


@pytest.mark.parametrize(("role", "name"), [(ROLE, "target"), (SOURCE, "source")])
def test_failure_names_the_role(role: RoleArn, name: str) -> None:
    """What fails in one role is told with its name, also by the other role's look."""
    book, verdict = ChainBook(), judged(world())
    other = SOURCE if role == ROLE else ROLE
    failed = BindingOutcome(
        authorized=True, authorization="granted", reason=TrustReason.ROLE_NOT_FOUND, message="there is no role"
    )

    told = book.concluded(book.step(verdict, role, ACCOUNTS), role, failed, stands=False, issuer=ISSUER)

    assert (told.reason, told.message) == (TrustReason.ROLE_NOT_FOUND, f"{name} role {role}: there is no role")
    again = settled(book, verdict, other, stands=other == ROLE)
    assert (again.reason, again.message) == (told.reason, told.message)


def test_consent_of_one_role_counts_for_both() -> None:
    """What one role refuses closes the other as well, and is asked for again when the role agrees."""
    book, verdict = ChainBook(), judged(world())
    settled(book, verdict, ROLE, stands=True)
    settled(book, verdict, SOURCE, stands=True)
    refusal = Verdict(verdict.entry, authorized=False, reason=TrustReason.NO_CONSENT, message="no tag")
    book.wake.clear()

    book.asked(verdict, refusal, ROLE)

    assert book.wake == {SOURCE}
    assert book.step(verdict, SOURCE, ACCOUNTS).reason is TrustReason.NO_CONSENT
    assert keys(book, verdict, SOURCE) == []
    assert keys(book, refusal, ROLE) == [ChainKey]  # until the near end is closed
    settled(book, refusal, SOURCE, stands=False)
    assert keys(book, refusal, ROLE) == []
    book.asked(verdict, verdict, ROLE)
    assert keys(book, verdict, ROLE) == [ChainKey]


def test_unmanaged_permission_and_others() -> None:
    """Policies of a role that is the source of no chain, or of one that somebody else permits, are left alone."""
    made = world()
    body = binding_body(**{**CHAIN, "source": {"roleArn": str(SOURCE), "managePermission": False}})
    verdict = judge(made.has_binding(body), made.registry, SOURCE)
    plain = judge(made.has_binding(binding_body("plain", profile="p")), made.registry, ROLE)

    assert managed_targets(SOURCE, [verdict]) == ()
    assert managed_targets(ROLE, [plain]) is None
    assert managed_targets(SOURCE, []) == ()
    assert not is_chained(plain.entry)
    assert verdict.entry.binding is not None
    assert verdict.entry.binding.method is Method.ASSUME_ROLE
    assert ChainBook().step(plain, ROLE, ACCOUNTS) is plain


def test_account_of_the_source_is_needed() -> None:
    """A chain whose source account nobody describes is told so."""
    made = World()
    made.has_account()

    verdict = judged(made)

    assert verdict.reason is TrustReason.ACCOUNT_UNKNOWN
    assert SOURCE.account_id in verdict.message


def test_forgotten() -> None:
    """What is gone leaves nothing behind: a new binding starts from nothing."""
    book, verdict = ChainBook(), judged(world())
    settled(book, verdict, ROLE, stands=True)
    assert book.stands(verdict, ROLE)
    book.forget(verdict.entry.uid)
    assert not book.stands(verdict, ROLE)
