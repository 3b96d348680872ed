"""Statements that trust service accounts of this cluster by a pattern over namespaces."""

from __future__ import annotations

import pytest

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.role_binding import BindingRef
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    FederatedKey,
    PatternKey,
    StatementKey,
    WebIdentityKey,
    build,
    is_owned,
    key_of,
    other_issuer,
    retained,
    retained_key,
    sid_of,
)
from trustbind.policy.plan import Desired, plan, revoked_names
from trustbind.policy.retention import KEEP_ALL, KEEP_NONE, Retention
from trustbind.policy.trust_document import TrustDocument

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
PATTERN = "system:serviceaccount:profile-*:default-editor"
KEY = PatternKey(ISSUER, "sts.amazonaws.com")
EXACT = WebIdentityKey("sts.amazonaws.com")
A, B = Subject("profile-a", "default-editor"), Subject("profile-b", "default-editor")
OPS = {"Sid": "Ops", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}


def claim(key: StatementKey, *subjects: Subject | str, name: str = "b") -> Claim:
    """Return what a binding claims."""
    return Claim(BindingRef("profile-a", name), key, subjects)


def planned(current: TrustDocument, *claims: Claim, limit: int = 2048) -> TrustDocument:
    """Return the document after a plan."""
    return plan(current, Desired(ROLE, ISSUER, claims), limit).document


@pytest.mark.parametrize("conditions", [(), (ExtraCondition("IpAddress", "aws:SourceIp", ("203.0.113.0/24",)),)])
def test_its_key_is_read_back(conditions: tuple[ExtraCondition, ...]) -> None:
    """A statement tells its key, retained or not, so it is ours after a restart; no other key has its Sid."""
    key = PatternKey(ISSUER, "vault", conditions)
    statement = build(ISSUER, ROLE, key, [PATTERN])

    assert is_owned(statement, ISSUER)
    assert key_of(statement, ISSUER) == key
    assert retained_key(retained(ISSUER, ROLE, key, [PATTERN]), ISSUER) == key
    assert statement["Sid"] != sid_of(ISSUER, WebIdentityKey("vault", conditions))
    assert other_issuer(key) is None


def test_a_binding_cannot_name_the_own_issuer() -> None:
    """What a set may say, federatedSubjects of a binding may not: the key of that is refused."""
    with pytest.raises(InvalidValueError, match="this cluster's own issuer"):
        build(ISSUER, ROLE, FederatedKey(ISSUER, "sts.amazonaws.com"), [PATTERN])


def test_a_condition_does_not_replace_the_pattern() -> None:
    """No further condition is about the subject."""
    key = PatternKey(ISSUER, "vault", (ExtraCondition("StringLike", ISSUER.subject_key.upper(), ("*",)),))
    with pytest.raises(InvalidValueError, match="states it itself"):
        build(ISSUER, ROLE, key, [PATTERN])


def test_from_exact_to_pattern_and_back_in_one_write() -> None:
    """Nobody is without trust in between, and what is foreign stays."""
    empty = TrustDocument((OPS,))
    exact = planned(empty, claim(EXACT, A), claim(EXACT, B, name="c"))
    by_pattern = planned(exact, claim(KEY, PATTERN), claim(KEY, PATTERN, name="c"))

    assert [s.get("Sid") for s in by_pattern.statements] == ["Ops", sid_of(ISSUER, KEY)]
    assert planned(by_pattern, claim(KEY, PATTERN)) == by_pattern
    again = planned(by_pattern, claim(EXACT, A), claim(EXACT, B, name="c"))
    assert [s.get("Sid") for s in again.statements] == ["Ops", sid_of(ISSUER, EXACT)]


def test_two_sets_share_a_statement() -> None:
    """Patterns with one audience stand in one list, and one goes without the other."""
    other = "system:serviceaccount:pr-*:web"
    both = planned(TrustDocument((OPS,)), claim(KEY, PATTERN), claim(KEY, other, name="c"))
    (statement,) = (s for s in both.statements if is_owned(s, ISSUER))
    assert statement["Condition"]["StringLike"][ISSUER.subject_key] == [other, PATTERN]

    one = plan(both, Desired(ROLE, ISSUER, (claim(KEY, PATTERN),)))
    assert revoked_names(one) == {other}


def test_many_namespaces_fit() -> None:
    """A hundred bindings need one entry."""
    claims = [claim(KEY, PATTERN, name=f"b-{number}") for number in range(100)]
    done = plan(TrustDocument((OPS,)), Desired(ROLE, ISSUER, tuple(claims)))

    assert done.refusals == ()
    assert len(done.applied) == 100
    assert done.size < 600


def test_what_is_retained() -> None:
    """Everything while trustbind is uninstalled; no grant keeps a pattern later, since names tell no namespace."""
    left = claim(KEY, PATTERN)
    assert KEEP_ALL.kept(left) == left
    assert KEEP_NONE.kept(left) is None
    assert Retention(()).kept(left) is None
