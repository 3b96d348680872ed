"""Plans for one trust policy, case by case."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from support.trust import (
    FOREIGN,
    GITHUB,
    GITLAB,
    ISSUER,
    MAIN,
    OTHER,
    ROLE,
    SID,
    SOURCE,
    STALE,
    WEB,
    claim,
    document,
    federated,
    statement,
    wanted,
)
from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey, build, is_retained, placeholder
from trustbind.policy.plan import Change, ChangeKind, Desired, Plan, Refusal, plan
from trustbind.policy.trust_document import EMPTY, TrustDocument
from trustbind.reasons import TrustReason


def kinds(planned: Plan) -> list[tuple[ChangeKind, str]]:
    """Return kind and Sid of the plan's changes."""
    return [(c.kind, c.sid) for c in planned.changes]


def test_from_nothing() -> None:
    """A first binding adds one statement, and the plan says where the binding's wish stands."""
    planned = plan(EMPTY, wanted(claim("reader")))

    assert planned.changes == (Change(ChangeKind.ADDED, SID, None, statement("reader")),)
    assert planned.document == document(statement("reader"))
    assert planned.size == planned.document.size
    assert planned.applied == {BindingRef("team-a", "reader"): SID}
    assert not planned.is_empty
    assert planned.refusals == ()


def test_subjects_are_grouped() -> None:
    """Bindings with one audience share a statement; another audience, or condition, has its own."""
    strict = WebIdentityKey("sts.amazonaws.com", (ExtraCondition("Bool", "aws:SecureTransport", ("true",)),))
    planned = plan(EMPTY, wanted(claim("b"), claim("a"), claim("c", WebIdentityKey("x")), claim("d", strict)))

    assert len(planned.document.statements) == 3
    assert statement("a", "b") in planned.document.statements
    sids = [s["Sid"] for s in planned.document.statements]
    assert sids == sorted(sids)


def test_nothing_to_do() -> None:
    """What means the same is left as it is written, and there is nothing to write."""
    written = statement("a", "b")
    written["Condition"]["StringEquals"][ISSUER.subject_key].reverse()
    written["Action"] = ["STS:AssumeRoleWithWebIdentity"]
    current = document(FOREIGN, written)

    planned = plan(current, wanted(claim("a"), claim("b")))

    assert planned.is_empty
    assert planned.document is current


def test_changed() -> None:
    """A statement that differs is replaced where it stands."""
    planned = plan(document(FOREIGN, statement("a"), STALE | {"Principal": "*"}), wanted(claim("a"), claim("b")))

    assert kinds(planned) == [(ChangeKind.CHANGED, SID)]
    assert planned.document.statements[1] == statement("a", "b")


@pytest.mark.parametrize(
    "broken",
    [
        {"Effect": "Deny"},
        {"Action": "*"},
        {"Condition": {}},
        {"Condition": {"StringEquals": {ISSUER.subject_key: 5}}},
        {"Condition": {"StringEquals": "x"}},
        {"Condition": None},
        {"NotAction": "x"},
    ],
)
def test_repaired(broken: dict[str, Any]) -> None:
    """Whatever somebody did to an owned statement is undone, also when the document is full."""
    planned = plan(document(statement("a") | broken), wanted(claim("a")))

    assert planned.document == document(statement("a"))
    assert plan(document(statement("a") | broken), wanted(claim("a")), 1).document is not None


def test_removed() -> None:
    """A statement that nobody wants any more goes; foreign ones and other clusters' stay."""
    others = build(OTHER, ROLE, WEB, [Subject("team-a", "a")])

    planned = plan(document(FOREIGN, statement("a"), others), wanted())

    assert kinds(planned) == [(ChangeKind.REMOVED, SID)]
    assert planned.document == document(FOREIGN, others)


def test_doubled() -> None:
    """Of an owned statement that stands twice, one goes."""
    planned = plan(document(statement("a"), FOREIGN, statement("a")), wanted(claim("a")))

    assert planned.document == document(statement("a"), FOREIGN)


def test_the_last_statement() -> None:
    """IAM takes no empty policy: what is left then denies this cluster's own provider only, and goes again."""
    lone = placeholder(ISSUER, ROLE)

    emptied = plan(document(statement("a")), wanted())

    assert emptied.document == document(lone)
    assert kinds(emptied) == [(ChangeKind.REMOVED, SID), (ChangeKind.ADDED, lone["Sid"])]
    assert plan(emptied.document, wanted()).is_empty
    assert plan(emptied.document, wanted(claim("a"))).document == document(statement("a"))
    assert plan(document(lone | {"Effect": "Allow"}), wanted()).document == document(lone)
    assert plan(EMPTY, wanted()).is_empty


def test_what_stands_for_nothing_goes_with_the_first_other_statement() -> None:
    """It denies the cluster's own provider, so it would keep out whom another writer admits by that later."""
    by_hand = statement("a") | {"Sid": "ByHand"}

    planned = plan(document(placeholder(ISSUER, ROLE), by_hand), wanted())

    assert planned.document == document(by_hand)
    assert kinds(planned) == [(ChangeKind.REMOVED, placeholder(ISSUER, ROLE)["Sid"])]


def test_too_large() -> None:
    """Of what does not fit, the newest is refused, and told with both sizes."""
    old, new = claim("a", created="2025-01-01T00:00:00Z"), claim("b", created="2026-01-01T00:00:00Z")
    limit = document(statement("a", "b")).size - 1

    planned = plan(EMPTY, wanted(new, old), limit)

    assert planned.document == document(statement("a"))
    (refusal,) = planned.refusals
    assert (refusal.binding, refusal.reason) == (new.binding, TrustReason.TRUST_POLICY_FULL)
    assert str(limit + 1) in refusal.message
    assert str(limit) in refusal.message
    assert planned.applied == {old.binding: SID}
    assert planned.blocked is None
    assert plan(EMPTY, wanted(new, old), limit + 1).refusals == ()


def test_what_is_there_stays() -> None:
    """What fits no longer is what is not there yet, though it may be older."""
    old, new = claim("a", created="2025-01-01T00:00:00Z"), claim("b", created="2026-01-01T00:00:00Z")
    limit = document(statement("b")).size

    planned = plan(document(statement("b")), wanted(new, old), limit)

    assert planned.is_empty
    assert [r.binding for r in planned.refusals] == [old.binding]


def test_a_limit_below_what_is_there_revokes_nothing() -> None:
    """A document over the limit keeps its bindings; only new ones are refused, and shrinking is possible."""
    current = document(FOREIGN, statement("a", "b"))

    assert plan(current, wanted(claim("a"), claim("b")), 100).is_empty
    assert plan(current, wanted(claim("a"), claim("b")), 100).refusals == ()
    assert [r.binding for r in plan(current, wanted(claim("a"), claim("b"), claim("c")), 100).refusals] == [
        BindingRef("team-a", "c")
    ]
    assert plan(current, wanted(claim("a")), 100).document == document(FOREIGN, statement("a"))


def test_a_smaller_one_may_still_fit() -> None:
    """A binding that does not fit does not keep a smaller, newer one out."""
    large = claim("a", WEB, *(f"account-{i}" for i in range(50)), created="2025-01-01T00:00:00Z")
    small = claim("b", created="2026-01-01T00:00:00Z")

    planned = plan(EMPTY, wanted(large, small), 600)

    assert planned.document == document(statement("b"))
    assert [r.binding for r in planned.refusals] == [large.binding]


@pytest.mark.parametrize(("limit", "near"), [(10_000, False), (400, True)])
def test_near_the_limit(limit: int, near: bool) -> None:
    """From 80 % of the limit on it is said."""
    planned = plan(EMPTY, wanted(claim("a")), limit)

    assert planned.is_near_limit is near
    assert planned.limit == limit


def test_stale_principal() -> None:
    """A foreign statement with a deleted principal stops the write, which IAM would refuse, and is named."""
    current = document(FOREIGN, STALE)

    planned = plan(current, wanted(claim("a")))

    assert planned.is_empty
    assert planned.document is current
    assert planned.blocked is not None
    assert planned.blocked.reason is TrustReason.STALE_PRINCIPAL
    assert planned.blocked.message.startswith(f'statement 2 (Sid "Ops") of the trust policy of {ROLE} names AROAEXAMPL')
    assert planned.applied == {}


UNSCOPED = {
    "Sid": "Deploy",
    "Effect": "Allow",
    "Principal": {"Federated": str(GITHUB.provider_for(ROLE))},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {"StringEquals": {GITHUB.audience_key: "sts.amazonaws.com"}},
}


def test_foreign_statement_that_iam_refuses() -> None:
    """A shared provider without its claim stops the write, whoever wrote the statement; the message says what to do."""
    planned = plan(document(FOREIGN, UNSCOPED), wanted(claim("a")))

    assert planned.is_empty
    assert planned.blocked == Refusal(
        None,
        TrustReason.FOREIGN_STATEMENT_REFUSED,
        f'statement 2 (Sid "Deploy") of the trust policy of {ROLE} trusts {GITHUB.host_path}, which many organisations '
        f'share; add a condition on "{GITHUB.subject_key}"; until then IAM refuses every write of this document',
    )


def test_foreign_statement_that_iam_stores() -> None:
    """What broke no rule at its last write does not stop ours, however odd it is: IAM took it."""
    odd = {"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
    corrected = {**UNSCOPED, "Condition": {"StringLike": {GITHUB.subject_key: "repo:example-org/*"}}}

    planned = plan(document(odd, corrected), wanted(claim("a")))

    assert planned.blocked is None
    assert planned.document == document(odd, corrected, statement("a"))


def test_own_statement_that_iam_refuses() -> None:
    """A binding whose statement lacks what IAM asks for is left out, so that others do not fail with it."""
    sentinel = Issuer.parse("https://sts.windows.net/33e01921-4d64-4f8c-a055-5bdaffd5e33d")
    named = ExtraCondition("StringLike", "sts:RoleSessionName", ("MicrosoftDefenderForClouds_*",))
    bare = Claim(BindingRef("team-a", "b"), FederatedKey(sentinel, "api://x"), ("a-subject",))
    whole = Claim(BindingRef("team-a", "c"), FederatedKey(sentinel, "api://x", (named,)), ("a-subject",))

    planned = plan(document(FOREIGN), wanted(claim("a"), bare, whole))

    assert [(r.binding, r.reason) for r in planned.refusals] == [(bare.binding, TrustReason.INVALID_SPEC)]
    assert planned.refusals[0].message == (
        f"team-a/b: IAM refuses the statement for {sentinel}, which trusts {sentinel.host_path}, which many "
        'organisations share; add a condition on "sts:RoleSessionName"'
    )
    assert set(planned.applied) == {BindingRef("team-a", "a"), whole.binding}


def test_stale_principal_with_nothing_to_write() -> None:
    """A deleted principal is nobody's concern while there is nothing to write; what holds is said to hold."""
    planned = plan(document(STALE, statement("a")), wanted(claim("a")))
    half = plan(document(STALE, statement("a")), wanted(claim("a"), claim("b")))

    assert planned.blocked is None
    assert planned.applied == {BindingRef("team-a", "a"): SID}
    assert half.blocked is not None
    assert half.applied == {BindingRef("team-a", "a"): SID}


def test_stale_principal_of_our_own() -> None:
    """An owned statement whose source role was deleted is written anew, for the role that has its name now."""
    key = ChainKey(SOURCE)
    stale = statement(key=key) | {"Principal": {"AWS": "AROAEXAMPLEID1234567A"}}

    planned = plan(document(stale), wanted(claim("a", key)))

    assert planned.blocked is None
    assert planned.document == document(statement(key=key))


def test_invalid_claim() -> None:
    """A claim that cannot be written is refused alone; the others go on."""
    bad = claim("a", WebIdentityKey("x", (ExtraCondition("StringLike", ISSUER.subject_key, ("*",)),)))

    planned = plan(EMPTY, wanted(bad, claim("b")))

    assert [(r.binding, r.reason) for r in planned.refusals] == [(bad.binding, TrustReason.INVALID_SPEC)]
    assert planned.document == document(statement("b"))


def test_document_keeps_the_rest() -> None:
    """Version and other members of the document are kept."""
    current = TrustDocument((FOREIGN,), "2008-10-17", {"Id": "x"})

    planned = plan(current, wanted(claim("a")))

    assert planned.document.to_json_object() | {"Statement": []} == {
        "Version": "2008-10-17",
        "Id": "x",
        "Statement": [],
    }


def test_an_invalid_claim_does_not_stop_what_leaves() -> None:
    """A claim that cannot be written is refused, or has nothing to leave, while another binding leaves its trust."""
    bad = claim("a", WebIdentityKey("x", (ExtraCondition("StringLike", ISSUER.subject_key, ("*",)),)))

    staying = plan(document(statement("z")), Desired(ROLE, ISSUER, (bad,), (claim("z"),)))
    leaving = plan(document(FOREIGN), Desired(ROLE, ISSUER, (), (bad,)))

    assert [r.binding for r in staying.refusals] == [bad.binding]
    assert len(staying.document.statements) == 1
    assert leaving.is_empty


def test_retained() -> None:
    """What a binding leaves stands in a statement of its own, once, and stays when the binding is forgotten."""
    planned = plan(document(statement("a", "b")), Desired(ROLE, ISSUER, (claim("a"),), (claim("b"),)))

    kept = planned.document.statements[1]
    assert planned.document.statements[0] == statement("a")
    assert kept == statement("b") | {"Sid": kept["Sid"]}
    assert plan(planned.document, Desired(ROLE, ISSUER, (claim("a"),), (claim("b"),))).is_empty
    assert plan(planned.document, wanted(claim("a"))).is_empty
    assert plan(planned.document, wanted()).document.statements == (kept,)


def test_only_what_stands_is_retained() -> None:
    """A binding that was changed and deleted at once leaves what stood, and lets nobody in."""
    current = document(statement("a"))

    wider = plan(current, Desired(ROLE, ISSUER, (), (claim("b", WEB, "a", "admin"),)))
    other = plan(current, Desired(ROLE, ISSUER, (), (claim("b", WebIdentityKey("x"), "admin"),)))
    chain = plan(document(FOREIGN), Desired(ROLE, ISSUER, (), (claim("b", ChainKey(SOURCE)),)))

    (left,) = wider.document.statements
    assert left == statement("a") | {"Sid": left["Sid"]}
    assert is_retained(left, ISSUER)
    assert other.document == document(placeholder(ISSUER, ROLE))
    assert chain.is_empty


def test_other_issuers_share_a_statement() -> None:
    """Subjects of one issuer and audience are grouped, and the binding is known by its accounts' statement."""
    planned = plan(EMPTY, wanted(claim("a"), federated("a"), claim("b"), federated("b", GITHUB, "repo:o/x")))

    assert len(planned.document.statements) == 2
    (statement,) = (s for s in planned.document.statements if "StringLike" in s["Condition"])
    assert statement["Condition"]["StringLike"] == {f"{GITHUB.host_path}:sub": [MAIN, "repo:o/x"]}
    assert planned.applied == {BindingRef("team-a", "a"): SID, BindingRef("team-a", "b"): SID}


def test_a_new_binding_that_does_not_fit_gets_nothing() -> None:
    """Where the accounts' statement would fit and the other issuer's does not, neither is written."""
    both = (claim("b"), federated("b"))
    limit = plan(EMPTY, wanted(*both)).size - 1

    planned = plan(EMPTY, wanted(*both), limit)

    ((refused, reason),) = [(r.binding, r.reason) for r in planned.refusals]
    assert (refused, reason) == (BindingRef("team-a", "b"), TrustReason.TRUST_POLICY_FULL)
    assert GITHUB.url in planned.refusals[0].message
    assert planned.applied == {}
    assert planned.document == EMPTY
    younger = dataclasses.replace(claim("y"), age=(True, "", BindingRef("z", "y")))
    beside = plan(EMPTY, wanted(claim("b"), federated("b"), federated("b", GITLAB), younger), limit)
    assert list(beside.applied) == [younger.binding]
    assert beside.document == document(statement("y"))


def test_what_stands_stays_when_more_does_not_fit() -> None:
    """A binding that asks for another issuer too, which does not fit, keeps its accounts' trust."""
    current = document(statement("b"))

    planned = plan(current, wanted(claim("b"), federated("b")), current.size + 10)

    assert planned.document == current
    assert planned.applied == {}
    assert [r.reason for r in planned.refusals] == [TrustReason.TRUST_POLICY_FULL]


def test_a_binding_with_an_invalid_part_gets_nothing() -> None:
    """The own issuer among the others refuses the binding, once, and no other."""
    planned = plan(EMPTY, wanted(claim("a"), federated("a", ISSUER), federated("a", OTHER), claim("b"), federated("b")))

    assert [(r.binding, r.reason) for r in planned.refusals] == [(BindingRef("team-a", "a"), TrustReason.INVALID_SPEC)]
    assert list(planned.applied) == [BindingRef("team-a", "b")]


def test_other_issuers_are_retained_too() -> None:
    """What a binding leaves for other issuers stands in a statement of its own; without room it is kept as it is."""
    both = (claim("b"), federated("b"))
    current = plan(EMPTY, wanted(*both)).document

    left = plan(current, Desired(ROLE, ISSUER, (), both))
    kept = plan(current, Desired(ROLE, ISSUER, (claim("a"),), both), current.size)

    assert len(left.document.statements) == 2
    assert all(is_retained(s, ISSUER) for s in left.document.statements)
    assert plan(left.document, Desired(ROLE, ISSUER, (), both)).is_empty
    assert [r.reason for r in kept.refusals if r.binding == BindingRef("team-a", "b")] == [
        TrustReason.TRUST_POLICY_FULL
    ]
    assert kept.document.statements == current.statements
