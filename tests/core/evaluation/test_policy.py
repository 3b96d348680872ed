"""The evaluator against tables of cases: one file per group, one line per case.

A case takes what it does not say from its file's ``defaults``. ``with`` replaces elements of the default document's
first statement, ``version`` its Version (null removes it). Optional expectations: ``statement`` and ``nearest`` (index
from 0), ``failure_key``, ``failure_element``, ``depends_on`` (keys, as written), and texts that the failure's message,
the reason, the dependences, the remarks or the notes on what was not understood must contain.

``context`` is the whole context of a request. A case with ``known``, ``claims``, ``role`` or ``now`` is a call as STS
gets it, of which AWS fills more keys.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import trustbind.evaluation
from trustbind.evaluation import (
    Caller,
    Decision,
    Failure,
    PrincipalKind,
    Request,
    StatementRef,
    evaluate,
    evaluate_call,
    request_context,
)
from trustbind.identity.arns import RoleArn
from trustbind.policy.condition_operators import OPERATORS

DATA = Path(__file__).parents[2] / "data" / "evaluation"
FIELDS = {
    "name", "document", "with", "version", "principal", "action", "context", "expect", "statement", "nearest",
    "failure_key", "failure_element", "message_contains", "reason_contains", "unknown_contains",
    "known", "claims", "role", "now", "depends_on", "depends_contains", "remark_contains",
}  # fmt: skip
OPEN = {"known", "claims", "role", "now"}
"""What makes the request one of which AWS fills more keys than are given; ``known`` takes the place of ``context``."""


def read_cases() -> list[Any]:
    """Return every case of every file, with what its file says for all of them."""
    cases = []
    for path in sorted(DATA.glob("*.json")):
        group = json.loads(path.read_text(encoding="utf-8"))
        assert group["source"]
        for case in group["cases"]:
            assert case.keys() <= FIELDS, case
            document = copy.deepcopy(group["defaults"]["document"])
            if "with" in case:
                document["Statement"][0] |= case["with"]
            if "version" in case:
                document["Version"] = case["version"]
                if case["version"] is None:
                    del document["Version"]
            cases.append(
                pytest.param(group["defaults"] | {"document": document} | case, id=f"{path.stem}: {case['name']}")
            )
    return cases


CASES = read_cases()


def decide(case: dict[str, Any]) -> Decision:
    """Return the decision on a case."""
    caller = Caller.parse(case["principal"])
    if not OPEN & case.keys():
        return evaluate(case["document"], Request(caller, case["action"], case["context"]))
    role = RoleArn.parse(case["role"]) if "role" in case else None
    context = request_context(
        caller,
        claims=case.get("claims"),
        role=role,
        now=datetime.fromisoformat(case["now"]) if "now" in case else None,
        known=case.get("known"),
    )
    return evaluate_call(case["document"], Request(caller, case["action"], context, role))


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The decision is the expected one, and says why in the expected words."""
    decision = decide(case)

    assert decision.answer == case["expect"], decision
    assert decision.allowed == (case["expect"] == "Allow")
    assert [each.key for each in decision.depends] == case.get("depends_on", [])
    assert case.get("depends_contains", "") in "; ".join(each.message for each in decision.depends)
    assert case.get("remark_contains", "") in "; ".join(decision.remarks)
    if "depends_on" in case:
        assert all(key in decision.reason for key in case["depends_on"])
    assert decision.reason
    if "statement" in case:
        assert decision.statement is not None
        assert decision.statement.index == case["statement"]
    if "nearest" in case:
        assert decision.nearest is not None
        assert decision.nearest.index == case["nearest"]
    failure = decision.failure or Failure("")
    if "failure_key" in case:
        assert failure.key == case["failure_key"], failure
    if "failure_element" in case:
        assert failure.element == case["failure_element"], failure
    assert case.get("message_contains", "") in failure.message
    assert case.get("reason_contains", "") in decision.reason
    assert case.get("unknown_contains", "") in "\n".join(decision.unknown)
    if "unknown_contains" not in case:
        assert decision.unknown == (), "what is not understood is to be expected by name"
    if decision.statement is None and decision.nearest is not None:
        assert failure.message
        assert failure.message in decision.reason


def test_the_tables_are_whole() -> None:
    """Every operator, with and without IfExists, and both set prefixes have cases."""
    used = set()
    for param in CASES:
        document = param.values[0]["document"]
        statements = document.get("Statement", []) if isinstance(document, dict) else []
        for statement in statements if isinstance(statements, list) else [statements]:
            condition = statement.get("Condition") if isinstance(statement, dict) else None
            used |= set(condition) if isinstance(condition, dict) else set()

    assert len(CASES) >= 150
    assert set(OPERATORS) <= used
    assert {f"{name}IfExists" for name, operator in OPERATORS.items() if operator.takes_if_exists} <= used
    for prefix in ("ForAnyValue:", "ForAllValues:"):
        assert any(name.startswith(prefix) for name in used)
        assert any(name.startswith(prefix) and name.endswith("IfExists") for name in used)
    names = [param.id for param in CASES]
    assert len(names) == len(set(names))


def test_a_failure_is_a_sentence_for_people() -> None:
    """A subject that differs is told with both values, in the failure and in the reason."""
    document = {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "Trust",
            "Effect": "Allow",
            "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"oidc.example/id/1:sub": "system:serviceaccount:team-a:reader"}},
        },
    }
    request = Request(
        Caller.parse("arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1"),
        "sts:AssumeRoleWithWebIdentity",
        {"oidc.example/id/1:sub": ["system:serviceaccount:team-a:writer"]},
    )

    decision = evaluate(document, request)

    assert decision.nearest == StatementRef(0, "Trust")
    assert decision.failure == Failure(
        element="Condition",
        operator="StringEquals",
        key="oidc.example/id/1:sub",
        message=(
            'StringEquals oidc.example/id/1:sub expects "system:serviceaccount:team-a:reader" '
            'but the request has "system:serviceaccount:team-a:writer"'
        ),
    )
    assert decision.reason == (
        "No statement allows sts:AssumeRoleWithWebIdentity by "
        "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1. "
        f'Statement 1 (Sid "Trust") comes nearest: {decision.failure.message}.'
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("arn:aws:iam::1:oidc-provider/x", PrincipalKind.FEDERATED),
        ("arn:aws-cn:iam::111122223333:oidc-provider/oidc.eks/id/1", PrincipalKind.FEDERATED),
        ("arn:aws:iam::111122223333:saml-provider/corp", PrincipalKind.FEDERATED),
        ("cognito-identity.amazonaws.com", PrincipalKind.FEDERATED),
        ("accounts.google.com", PrincipalKind.FEDERATED),
        ("www.amazon.com", PrincipalKind.FEDERATED),
        ("graph.facebook.com", PrincipalKind.FEDERATED),
        ("ec2.amazonaws.com", PrincipalKind.SERVICE),
        ("ec2.amazonaws.com.cn", PrincipalKind.SERVICE),
        ("pods.eks.amazonaws.com", PrincipalKind.SERVICE),
        ("111122223333", PrincipalKind.AWS),
        ("arn:aws:iam::111122223333:root", PrincipalKind.AWS),
        ("arn:aws-us-gov:iam::111122223333:user/dev/ann", PrincipalKind.AWS),
        ("arn:aws-eusc:iam::111122223333:role/app/reader", PrincipalKind.AWS),
        ("arn:aws-iso-b:sts::111122223333:assumed-role/reader/s", PrincipalKind.AWS),
        ("arn:aws:sts::111122223333:federated-user/ann", PrincipalKind.AWS),
    ],
)
def test_caller_is_read_from_text(text: str, kind: PrincipalKind) -> None:
    """The form of the text tells the kind of the caller."""
    assert Caller.parse(text) == Caller(kind, text)


@pytest.mark.parametrize(
    "text",
    [
        *["", "*", "12345", "reader", "https://accounts.google.com", "arn:aws:s3:::bucket", "AROAEXAMPLEID1234567A"],
        *["arn:aws:iam::1:group/x", "arn:aws:iam::111122223333:role/", "arn:other:iam::111122223333:root"],
    ],
)
def test_caller_that_is_none(text: str) -> None:
    """Everything else is refused with one sentence."""
    with pytest.raises(ValueError, match="names no caller: give"):
        Caller.parse(text)


def test_a_statement_is_named_for_people() -> None:
    """People count from one."""
    assert str(StatementRef(1, "Trust")) == 'statement 2 (Sid "Trust")'
    assert str(StatementRef(0)) == "statement 1"


def test_a_text_in_the_context_is_one_value() -> None:
    """A text where a list is expected is not taken apart into letters."""
    document = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*"}}
    document["Statement"]["Condition"] = {"StringEquals": {"aws:x": "ann"}}  # type: ignore[assignment]  # wider

    assert evaluate(document, Request(Caller.parse("111122223333"), "sts:AssumeRole", {"aws:x": "ann"})).allowed


def test_public_names() -> None:
    """The public API is small, and this is it."""
    assert sorted(trustbind.evaluation.__all__) == [
        "Answer", "Caller", "Decision", "Dependence", "Failure", "KeyState", "PrincipalKind", "Request",
        "RequestContext", "StatementRef", "evaluate", "evaluate_call", "request_context",
    ]  # fmt: skip
    assert all(hasattr(trustbind.evaluation, name) for name in trustbind.evaluation.__all__)
