"""The rules about trust policies, each with documents that break it and documents that nearly do.

One file of tests/data/rules is one rule. ``has`` lists documents that break it: in which statement (from 1; null for
the document), and what the message says. ``nearly`` lists documents that do not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.document_rules import RULES, STORED, Severity, findings, is_permissions_policy
from trustbind.policy.owned_statement import ChainKey, FederatedKey, WebIdentityKey, build, placeholder, retained
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument

DATA = Path(__file__).parents[2] / "data" / "rules"
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.json"))}
ROLE = "arn:aws:iam::111122223333:role/app"


def _cases(part: str) -> list[Any]:
    return [
        pytest.param(code, case, id=f"{code}: {case['name']}") for code, file in FILES.items() for case in file[part]
    ]


def _found(case: dict[str, Any]) -> list[tuple[str, int | None, str]]:
    """Return code, number of the statement and message of each finding in a case's document."""
    exists = case.get("exists")
    found = findings(
        TrustDocument.parse(json.dumps(case["document"])),
        RoleArn.parse(case.get("role", ROLE)),
        case.get("limit"),
        exists=None if exists is None else lambda _, name: name in exists,
    )
    return [(f.rule.name, None if f.statement is None else f.statement.index + 1, f.message) for f in found]


def test_every_rule_has_its_documents() -> None:
    """One file for each rule, and none for anything else; each has both kinds of documents and a source."""
    assert sorted(FILES) == sorted(rule.name for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert [c for c, file in FILES.items() if file["rule"] != c or not (file["has"] and file["nearly"])] == []
    assert [c for c, file in FILES.items() if not file["source"]] == []


@pytest.mark.parametrize(("code", "case"), _cases("has"))
def test_document_that_breaks_the_rule(code: str, case: dict[str, Any]) -> None:
    """The rule names the statement and says what is wrong there."""
    messages = [message for found, number, message in _found(case) if (found, number) == (code, case["statement"])]

    assert messages
    assert any(case["says"] in message for message in messages), messages


@pytest.mark.parametrize(("code", "case"), _cases("nearly"))
def test_document_that_nearly_breaks_the_rule(code: str, case: dict[str, Any]) -> None:
    """The rule finds nothing."""
    assert [message for found, _, message in _found(case) if found == code] == []


@pytest.mark.parametrize(("code", "case"), _cases("has"))
def test_message(code: str, case: dict[str, Any]) -> None:
    """A message continues the name of its place, says what to do, and is one line."""
    for found, _, message in _found(case):
        assert message[:1].islower(), found
        assert "\n" not in message, code
        assert not message.endswith("."), found


def test_refused_rules_that_a_stored_document_may_break() -> None:
    """Those for which a role that IAM stores cannot be written."""
    assert {rule.name for rule in STORED} == {"StalePrincipal", "SharedProviderClaim"}


def test_dead_statement_is_not_called_risky() -> None:
    """What admits nobody is not told to admit too many; other statements are."""
    open_one = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    dead_one = {
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::444455556666:oidc-provider/oidc.example.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
    }
    document = TrustDocument((dead_one, open_one))

    found = [(f.rule.name, str(f.statement)) for f in findings(document, RoleArn.parse(ROLE))]

    assert found == [("ProviderOfOtherAccount", "statement 1"), ("AnyPrincipal", "statement 2")]


def test_finding_as_text() -> None:
    """Place first, with the Sid as far as there is one."""
    found = findings(
        TrustDocument(({"Sid": "Ci", "Effect": "Allow", "Action": "sts:AssumeRole"},)), RoleArn.parse(ROLE)
    )

    assert [str(f) for f in found] == ['statement 1 (Sid "Ci") has no Principal; say whom it trusts']
    assert str(findings(TrustDocument(), RoleArn.parse(ROLE))[0]) == "the document has no statement; add one"


def test_permissions_policy() -> None:
    """It has resources and no principals; a trust policy with a Resource by mistake is none."""
    permission = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "111122223333"}}

    assert is_permissions_policy(TrustDocument((permission, permission)))
    assert not is_permissions_policy(TrustDocument((permission, trust)))
    assert not is_permissions_policy(TrustDocument(({**trust, "Resource": "*"},)))
    assert not is_permissions_policy(TrustDocument())


ISSUERS = [
    Issuer.parse(url)
    for url in (
        "https://oidc.eks.eu-west-1.amazonaws.com/id/AAAA0000AAAA0000AAAA0000AAAA0000",
        "https://token.actions.githubusercontent.com",
        "https://gitlab.com",
        "https://oidc.vercel.com",
        "https://oidc.example.com/a/b",
    )
]
ROLES = [
    RoleArn.parse(text)
    for text in (ROLE, "arn:aws-cn:iam::444455556666:role/a/b", "arn:aws-us-gov:iam::000000000000:role/x")
]
names = st.lists(st.sampled_from(["app", "b.c", "x-1"]), min_size=1, max_size=3, unique=True)
patterns = st.lists(st.sampled_from(["repo:o/a", "repo:o/*", "a?", "system:serviceaccount:b:*", "*:x"]), min_size=1)


@st.composite
def own_statements(draw: st.DrawFn) -> tuple[RoleArn, dict[str, Any]]:
    """Return a statement as trustbind builds it where a binding has no further conditions, and its role."""
    issuer, other = draw(st.permutations(ISSUERS))[:2]
    role = draw(st.sampled_from(ROLES))
    audience = draw(st.sampled_from(["sts.amazonaws.com", "my*audience", "${x}"]))
    source = RoleArn(role.partition, draw(st.sampled_from(["111122223333", role.account_id])), "/p/", "source")
    external_id = draw(st.sampled_from(["", "id-1"]))
    kind = draw(st.sampled_from(["web", "federated", "chain", "root", "placeholder", "retained", "pod identity"]))
    accounts = [Subject("team-a", name) for name in draw(names)]
    web = build(issuer, role, WebIdentityKey(audience), accounts)
    match kind:
        case "web":
            return role, web
        case "federated":
            return role, build(issuer, role, FederatedKey(other, audience), draw(patterns))
        case "chain" | "root":
            return role, build(issuer, role, ChainKey(source, external_id, via_root=kind == "root"))
        case "placeholder":
            return role, placeholder(issuer, role)
        case "retained":
            return role, retained(issuer, role, WebIdentityKey(audience), accounts)
        case _:
            return role, dict(STATEMENT)


@given(st.lists(own_statements(), min_size=1, max_size=1))
def test_own_statements_are_neither_refused_nor_dead(made: list[tuple[RoleArn, dict[str, Any]]]) -> None:
    """Nothing that trustbind writes of its own accord is refused by IAM, or never applies."""
    for role, statement in made:
        found = findings(TrustDocument((statement,)), role)
        assert [str(f) for f in found if f.severity is not Severity.RISKY] == []


texts = st.sampled_from(
    ["*", "AROAEXAMPLEID1234567A", "sts:*", "${a}", "arn:aws:iam::111122223333:root", "AWS", "StringLike", "a:sub", "é"]
)
scalars: st.SearchStrategy[Any] = (
    st.sampled_from([None, True, 7, 1.5, [], {}, [[]]]) | texts | st.lists(texts, max_size=2)
)
values = scalars | st.dictionaries(texts, scalars | st.dictionaries(texts, scalars, max_size=2), max_size=2)
elements = st.sampled_from(
    ["Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition", "Resource", "Sid"]
)


@given(st.lists(st.dictionaries(elements, values, max_size=5), max_size=2))
def test_any_document_can_be_looked_at(statements: list[dict[str, Any]]) -> None:
    """Whatever stands in a document, the rules answer."""
    document = TrustDocument(tuple(statements), version=None)

    assert all(str(finding) for finding in findings(document, RoleArn.parse(ROLE), 10))
