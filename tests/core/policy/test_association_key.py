"""The statement that lets EKS Pod Identity associations into a target role, by their external ids."""

from __future__ import annotations

from typing import Any, Final

import pytest

from support.bodies import ISSUER, OPS, ROLE, grant_body
from trustbind.api.role_binding import BindingRef
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, PrincipalKind, Request, evaluate
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import Claim
from trustbind.policy.owned_statement import (
    AssociationKey,
    ChainKey,
    build,
    external_ids_of,
    is_owned,
    is_retained,
    sid_of,
)
from trustbind.policy.plan import Desired, Plan, Refusal, plan, plan_without_revocation, revoked_names
from trustbind.policy.retention import retention_of
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason

SOURCE: Final = RoleArn.parse("arn:aws:iam::111122223333:role/base")
KEY: Final = AssociationKey(SOURCE)
ONE: Final = BindingRef("team-a", "one")
TWO: Final = BindingRef("team-a", "two")
PAUSED: Final = Refusal(None, TrustReason.REVOCATION_PAUSED, "paused")


def claim(ref: BindingRef, *ids: str) -> Claim:
    """Return what a binding with these external ids wants."""
    return Claim(ref, KEY, ids, (False, "", ref))


def planned(document: TrustDocument, *claims: Claim, limit: int = 2048, **desired: Any) -> Plan:
    """Return the plan for these claims."""
    return plan(document, Desired(ROLE, ISSUER, claims, **desired), limit)


def test_what_it_says() -> None:
    """The role, both actions, and any of the external ids; a request needs one of them."""
    statement = build(ISSUER, ROLE, KEY, ["b", "a"])
    assert statement == {
        "Sid": sid_of(ISSUER, KEY),
        "Effect": "Allow",
        "Principal": {"AWS": str(SOURCE)},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {"StringEquals": {"sts:ExternalId": ["a", "b"]}},
    }
    document = TrustDocument((statement,)).to_json_object()
    caller = Caller(PrincipalKind.AWS, str(SOURCE))
    for action in ("sts:AssumeRole", "sts:TagSession"):
        for external_id, is_allowed in (("a", True), ("b", True), ("c", False)):
            context = {"sts:ExternalId": (external_id,)}
            assert evaluate(document, Request(caller, action, context)).allowed is is_allowed
        assert not evaluate(document, Request(caller, action, {})).allowed
    with pytest.raises(InvalidValueError, match="without an external id"):
        build(ISSUER, ROLE, KEY)


def test_whose_it_is() -> None:
    """Its Sid follows from the issuer and the role, so it differs from a chain's, and is not another cluster's."""
    statement = build(ISSUER, ROLE, KEY, ["a"])
    assert is_owned(statement, ISSUER)
    assert is_owned({**statement, "Condition": {"StringEquals": {"sts:ExternalId": ["x", "y"]}}}, ISSUER)
    assert not is_owned({**statement, "Principal": {"AWS": "arn:aws:iam::111122223333:role/other"}}, ISSUER)
    assert not is_owned(statement, Issuer.parse("https://oidc.example.com/id/2"))
    assert sid_of(ISSUER, KEY) != sid_of(ISSUER, ChainKey(SOURCE))


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        ({}, {"a", "b"}),
        ({"Action": ["sts:TagSession", "sts:AssumeRole"]}, {"a", "b"}),
        ({"Condition": {"StringEquals": {"sts:ExternalId": "a"}}}, {"a"}),
        ({"Action": "sts:AssumeRole"}, set()),
        ({"Condition": {}}, set()),
        ({"Condition": "x"}, set()),
        ({"Condition": {"StringEquals": {"sts:ExternalId": [1, "a"]}}}, {"a"}),
    ],
)
def test_external_ids_of_a_statement(change: dict[str, Any], ids: set[str]) -> None:
    """Of one of this kind, however it is written; a chain's external id is none of them."""
    assert external_ids_of({**build(ISSUER, ROLE, KEY, ["a", "b"]), **change}) == ids


def test_bindings_share_it() -> None:
    """It grows and shrinks with them, and is not written again when all is there."""
    empty = TrustDocument((OPS,))
    both = planned(empty, claim(ONE, "a"), claim(TWO, "b", "c"))
    assert external_ids_of(both.document.statements[1]) == {"a", "b", "c"}
    assert set(both.applied) == {ONE, TWO}
    assert planned(both.document, claim(ONE, "a"), claim(TWO, "b", "c")).is_empty
    less = planned(both.document, claim(TWO, "b"))
    assert external_ids_of(less.document.statements[1]) == {"b"}
    assert revoked_names(less) == {"a", "c"}
    assert planned(less.document).document.statements == (OPS,)


def test_room() -> None:
    """What is trusted stays, and the message says how many of a binding's associations are left out."""
    document = planned(TrustDocument((OPS,)), claim(ONE, "a")).document
    full = planned(document, claim(ONE, "a"), claim(TWO, "b" * 40, "c" * 40), limit=document.size + 50)
    assert full.document == document
    assert "2 of its 2 associations with arn:aws:iam::111122223333:role/base are left out" in full.refusals[0].message


def test_paused_revocation() -> None:
    """No external id goes, and new ones come."""
    document = planned(TrustDocument((OPS,)), claim(ONE, "a")).document
    desired = Desired(ROLE, ISSUER, (claim(TWO, "b"),))
    paused = plan_without_revocation(document, desired, 2048, PAUSED)
    assert external_ids_of(paused.document.statements[1]) == {"a", "b"}
    assert PAUSED in paused.refusals
    nothing = plan_without_revocation(document, Desired(ROLE, ISSUER), 2048, PAUSED)
    assert nothing.document == document


def test_retained() -> None:
    """What stands becomes a statement that nobody owns; an external id that does not stand is not granted by it."""
    document = planned(TrustDocument((OPS,)), claim(ONE, "a")).document
    left = planned(document, retained=(claim(ONE, "a", "new"),)).document.statements[1]
    assert is_retained(left, ISSUER)
    assert external_ids_of(left) == {"a"}


@pytest.mark.parametrize(
    ("grant", "stays"),
    [
        ({}, True),
        ({"allowRetain": False}, False),
        ({"methods": ["AssumeRole"]}, False),
        ({"roleArns": [str(ROLE)]}, False),
        ({"roleArns": [str(SOURCE)]}, False),
    ],
)
def test_retained_while_a_grant_allows_it(grant: dict[str, Any], *, stays: bool) -> None:
    """The grant covers the target role and the associations' role, the method, and that trust is left behind."""
    body = grant_body(**({"methods": ["PodIdentity"]} | grant))
    kept = retention_of(ROLE, [RoleGrant.parse(body)], {"team-a": {}}).kept(claim(ONE, "a"))
    assert kept == (claim(ONE, "a") if stays else None)
