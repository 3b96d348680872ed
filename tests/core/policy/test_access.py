"""Who can assume a role: answers for service accounts are those of the evaluator, also for documents of other tools."""

from __future__ import annotations

import json

import pytest

from support.origins import ORIGINS, Origin
from support.trust import FOREIGN, ISSUER, ROLE, document, statement
from trustbind.identity.subjects import Subject
from trustbind.policy import access
from trustbind.policy.access import Verdict
from trustbind.policy.trust_document import TrustDocument

READER = Subject("team-a", "reader")


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=lambda origin: origin.name)
def test_origins(origin: Origin) -> None:
    """The service account that a tool wrote a trust policy for can assume the role, and no other one."""
    listed = origin.statements(ROLE.account_id, ISSUER.host_path, "team-a", "reader")
    found = TrustDocument.parse(json.dumps({"Version": "2012-10-17", "Statement": listed}))
    audiences = access.audiences_named(found, ISSUER) | {origin.audience}

    reader = access.service_account(ROLE, found, ISSUER, READER, audiences)
    other = access.service_account(ROLE, found, ISSUER, Subject("team-a", "other"), audiences)
    assert reader.verdict is (Verdict.YES if origin.works else Verdict.NO)
    assert other.verdict is Verdict.NO
    assert access.subjects_named(found, ISSUER) == ({READER} if origin.works else set())


def test_most_favourable_audience() -> None:
    """A pod may ask for a token with any audience, so one that works is enough; the default one is preferred."""
    one = statement("reader")
    two = json.loads(json.dumps(one).replace("sts.amazonaws.com", "vault"))
    audiences = access.audiences_named(document(two), ISSUER)

    assert audiences == {"sts.amazonaws.com", "vault"}
    assert access.service_account(ROLE, document(two), ISSUER, READER, audiences).audience == "vault"
    assert access.service_account(ROLE, document(one), ISSUER, READER, audiences).audience == "sts.amazonaws.com"


def test_not_understood() -> None:
    """Where the evaluator does not understand a condition, the answer is unknown and never yes."""
    odd = {**statement("reader"), "Condition": {**statement("reader")["Condition"], "StringSounds": {"aws:x": "y"}}}

    found = access.service_account(ROLE, document(odd), ISSUER, READER, ["sts.amazonaws.com"])
    assert found.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "operator", ["StringEquals", "StringLike", "ForAnyValue:StringLike", "StringNotEquals", "Null"]
)
@pytest.mark.parametrize(
    "value", [str(READER), "system:serviceaccount:team-*:reader", "*", "${aws:x}", ["a", str(READER)]]
)
@pytest.mark.parametrize("principal", ["*", {"Federated": str(ISSUER.provider_for(ROLE))}, {"AWS": "*"}])
def test_quick_look(operator: str, value: object, principal: object) -> None:
    """Who is sorted out without an evaluation cannot assume the role."""
    each = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "sts:*",
        "Condition": {operator: {ISSUER.subject_key: value}, "StringEquals": {"x": "y"} if operator == "Null" else {}},
    }
    found = document(each, FOREIGN)
    may = access.possible(ROLE, found, ISSUER)

    for subject in (READER, Subject("team-a", "other"), Subject("other", "reader")):
        answer = access.service_account(ROLE, found, ISSUER, subject, ["sts.amazonaws.com"])
        assert may(subject) or answer.verdict not in {Verdict.YES, Verdict.IF}, answer
    assert not access.possible(ROLE, document(statement("other")), ISSUER)(READER)
