"""What is said of a binding's own statements before any role is read."""

from __future__ import annotations

from typing import Any

import pytest

from support.bodies import binding_body
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import Issuer
from trustbind.policy.document_rules import Severity
from trustbind.policy.own_findings import check_claims, own_warnings

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
SOURCE = {"roleArn": "arn:aws:iam::111122223333:role/base"}


def _binding(**spec: Any) -> RoleBinding:
    return RoleBinding.parse(binding_body(**spec))


def _condition(operator: str, key: str, value: str) -> dict[str, Any]:
    return {"operator": operator, "key": key, "values": [value]}


def test_nothing_to_say() -> None:
    """A binding without conditions, for service accounts, for another issuer or over a source role."""
    entry = {"issuer": "https://gitlab.com", "subjects": ["project_path:example/shop:*"]}

    assert own_warnings(_binding(), ISSUER) == []
    assert own_warnings(_binding(federatedSubjects=[entry]), ISSUER) == []
    assert own_warnings(_binding(method="AssumeRole", source=SOURCE), ISSUER) == []


def test_each_statement_is_named() -> None:
    """A condition on a key of AWS's own is in the statements of all issuers, and each is named that it concerns."""
    late = _condition("DateLessThan", "aws:CurrentTime", "soon")
    entry = {"issuer": "https://gitlab.com", "subjects": ["project_path:example/shop:*"]}
    told = own_warnings(_binding(federatedSubjects=[entry], conditions=[late]), ISSUER)

    assert [sentence.partition(" never applies: it compares")[0] for sentence in told] == [
        "the statement for service accounts",
        "the statement for https://gitlab.com",
    ]
    (told_of_one,) = own_warnings(_binding(federatedSubjects=[entry | {"conditions": [late]}]), ISSUER)
    assert told_of_one.startswith("the statement for https://gitlab.com never applies")


def test_statement_of_a_chain() -> None:
    """It is named by its source role."""
    late = _condition("DateLessThan", "aws:CurrentTime", "soon")

    (told,) = own_warnings(_binding(method="AssumeRole", source=SOURCE, conditions=[late]), ISSUER)

    assert told.startswith(f"the statement for {SOURCE['roleArn']} never applies: it compares")


def test_severities() -> None:
    """Each kind can be asked for alone."""
    conditions = [
        _condition("DateLessThan", "aws:CurrentTime", "soon"),
        _condition("StringEquals", "sts:RoleSessionName", "build-*"),
    ]
    risky = _binding(conditions=conditions[1:])

    assert len(own_warnings(risky, ISSUER, [Severity.RISKY])) == 1
    assert own_warnings(risky, ISSUER, [Severity.DEAD]) == []
    assert len(own_warnings(_binding(conditions=conditions), ISSUER)) == 1  # a dead statement has no risk


def test_statement_that_cannot_be_built() -> None:
    """Nothing is said: it is refused elsewhere, with the field."""
    about_subject = _condition("StringEquals", ISSUER.subject_key, "x")

    assert own_warnings(_binding(conditions=[about_subject]), ISSUER) == []


def test_statement_that_iam_refuses() -> None:
    """One for an issuer of which IAM demands more than subject and audience."""
    sentinel = "https://sts.windows.net/33e01921-4d64-4f8c-a055-5bdaffd5e33d"
    entry = {"issuer": sentinel, "subjects": ["x"]}
    named = _condition("StringLike", "sts:RoleSessionName", "MicrosoftDefenderForClouds_*")

    with pytest.raises(InvalidValueError, match=r"IAM refuses the statement for https://sts\.windows\.net"):
        check_claims(_binding(federatedSubjects=[entry]), ISSUER)
    check_claims(_binding(federatedSubjects=[entry], conditions=[named]), ISSUER)
