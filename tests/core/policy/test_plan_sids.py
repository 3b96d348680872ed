"""Sids in a trust policy that two statements would need."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from support.trust import FOREIGN, ISSUER, MAIN, ROLE, SOURCE, WEB, claim, document, federated, statement, wanted
from trustbind.api.role_binding import BindingRef
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, build, owner_prefix, sid_of
from trustbind.policy.plan import Desired, plan
from trustbind.policy.trust_document import EMPTY
from trustbind.reasons import TrustReason


def test_sid_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys with one Sid are never mixed: the younger is refused."""
    monkeypatch.setattr(
        sys.modules[plan.__module__], "sid_of", lambda issuer, _: owner_prefix(issuer) + "0123456789abcdef"
    )
    old, new = claim("a", created="2025-01-01T00:00:00Z"), claim("b", WebIdentityKey("x"))

    planned = plan(EMPTY, wanted(new, old))

    assert [(r.binding, r.reason) for r in planned.refusals] == [(new.binding, TrustReason.SID_TAKEN)]
    assert len(planned.document.statements) == 1


@pytest.mark.parametrize("key", [WEB, ChainKey(SOURCE)])
def test_a_foreign_statement_with_a_sid_of_ours(key: WebIdentityKey | ChainKey) -> None:
    """It is neither overwritten nor doubled, nor removed; the binding that needs the Sid is refused."""
    squatter = statement("a", key=key) | {"Principal": {"AWS": "999922223333"}}
    current = document(FOREIGN, squatter)

    planned = plan(current, wanted(claim("a", key), claim("b", WebIdentityKey("x"))))

    assert planned.document == document(FOREIGN, squatter, statement("b", key=WebIdentityKey("x")))
    assert [(r.binding, r.reason) for r in planned.refusals] == [(BindingRef("team-a", "a"), TrustReason.SID_TAKEN)]
    assert planned.refusals[0].message.startswith(
        f'team-a/a: statement 2 (Sid "{sid_of(ISSUER, key)}") of the trust policy of {ROLE} has the Sid that'
    )
    assert planned.refusals[0].message.endswith("rename the Sid of that statement or remove the statement")
    assert list(planned.applied) == [BindingRef("team-a", "b")]
    assert plan(current, wanted()).is_empty


def test_a_binding_with_a_taken_sid_gets_nothing_new() -> None:
    """Where the Sid for the other issuer is taken, the accounts are not added either; what is there already stays."""
    both = (claim("b"), federated("b"))
    squatter = build(ISSUER, ROLE, both[1].key, [MAIN]) | {"Principal": {"AWS": "999922223333"}}

    new = plan(document(squatter), wanted(*both))
    grown = plan(document(squatter, statement("b")), wanted(claim("b", WEB, "b", "c"), both[1]))

    assert new.is_empty
    assert grown.is_empty
    assert new.applied == grown.applied == {}
    assert [r.reason for r in (*new.refusals, *grown.refusals)] == [TrustReason.SID_TAKEN] * 2


def test_an_edited_chain_is_repaired() -> None:
    """A chain's statement with other conditions is put right while a binding wants it: Sid and principal are ours."""
    key = ChainKey(SOURCE, "ab")
    edited = statement(key=key) | {"Condition": {"Bool": {"aws:x": "true"}}}

    assert plan(document(FOREIGN, edited), wanted(claim("a", key))).document == document(FOREIGN, statement(key=key))


def test_retained_beside_a_foreign_statement_with_its_sid() -> None:
    """Where a foreign statement has the Sid for the retained trust, the binding waits, and both stay as they are."""
    leaving = Desired(ROLE, ISSUER, (), (claim("a"),))
    (usual,) = plan(document(statement("a")), leaving).document.statements
    squatter = dict(usual) | {"Principal": {"AWS": "999922223333"}}

    planned = plan(document(statement("a"), squatter), leaving)

    assert planned.is_empty
    assert [r.reason for r in planned.refusals] == [TrustReason.SID_TAKEN]
    assert "set spec.deletionPolicy: Revoke" in planned.refusals[0].message


def test_an_edited_statement_of_a_binding_that_goes() -> None:
    """A chain's statement whose conditions were edited goes with its binding, by its Sid and its principal."""
    key = ChainKey(SOURCE, "ab")
    edited = statement("a", key=key) | {"Condition": {}}
    current = document(FOREIGN, edited)

    assert plan(current, wanted()).is_empty, "nobody knows whose it is"
    gone = plan(current, replace(wanted(), former=(claim("a", key),)))

    assert gone.document == document(FOREIGN)
