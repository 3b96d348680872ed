"""The trust document: read, compared by meaning, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.errors import InvalidValueError
from trustbind.policy.trust_document import (
    EMPTY,
    TrustDocument,
    document_size,
    same_meaning,
    stale_principals,
    statement_meaning,
)

DATA = Path(__file__).parents[2] / "data" / "documents"
STATEMENT = {"Sid": "A", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
DOCUMENT = {"Version": "2012-10-17", "Id": "x", "Statement": [STATEMENT]}

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=10)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
json_objects = st.dictionaries(
    st.sampled_from(["Sid", "Effect", "Principal", "Action", "Condition", "NotAction"]) | st.text(max_size=6),
    json_values,
    max_size=5,
)


def pairs(name: str) -> list[Any]:
    """Return the pairs of statements of one data file."""
    cases = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(case["one"], case["other"], id=case["name"]) for case in cases]


@pytest.mark.parametrize(("one", "other"), pairs("equal"))
def test_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The two ways of writing it mean the same, whichever stands first."""
    assert same_meaning(one, other)
    assert same_meaning(other, one)
    assert statement_meaning(one) == statement_meaning(other)


@pytest.mark.parametrize(("one", "other"), pairs("unequal"))
def test_unequal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The two do not mean the same, whichever stands first."""
    assert not same_meaning(one, other)
    assert not same_meaning(other, one)


def test_document_meaning() -> None:
    """The order of statements does not count for a document; its version and the statements do."""
    other = STATEMENT | {"Sid": "B"}
    one = TrustDocument.parse({"Version": "2012-10-17", "Statement": [STATEMENT, other]})

    assert one.meaning() == TrustDocument.parse({"Version": "2012-10-17", "Statement": [other, STATEMENT]}).meaning()
    assert one.meaning() != TrustDocument.parse({"Version": "2008-10-17", "Statement": [STATEMENT, other]}).meaning()
    assert one.meaning() != TrustDocument.parse({"Version": "2012-10-17", "Statement": [STATEMENT]}).meaning()
    assert (
        TrustDocument.parse({"Statement": STATEMENT}).meaning()
        == TrustDocument.parse({"Version": "2008-10-17", "Statement": [STATEMENT]}).meaning()
    )


@pytest.mark.parametrize(
    "source",
    [
        json.dumps(DOCUMENT),
        json.dumps(DOCUMENT, indent=4),
        "\n " + json.dumps(DOCUMENT),
        quote(json.dumps(DOCUMENT)),
        quote(json.dumps(DOCUMENT), safe=""),
        quote(json.dumps(DOCUMENT)).replace("%7B", "%7b"),
        DOCUMENT,
        DOCUMENT | {"Statement": STATEMENT},
    ],
)
def test_parsed(source: str | dict[str, Any]) -> None:
    """JSON, URL-encoded JSON as IAM returns it, and an object give the same document; a lone statement is a list."""
    document = TrustDocument.parse(source)

    assert document.to_json_object() == DOCUMENT
    assert document.version == "2012-10-17"
    assert document.extra == {"Id": "x"}


def test_percent_signs_in_plain_json_are_kept() -> None:
    """Only a document that is encoded as a whole is decoded."""
    source = json.dumps({"Statement": [STATEMENT | {"Sid": "A", "Condition": {"StringEquals": {"x:y": "%7B%41"}}}]})

    assert TrustDocument.parse(source).statements[0]["Condition"] == {"StringEquals": {"x:y": "%7B%41"}}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "not JSON: .* line 1, column 1"),
        ("{", "not JSON"),
        ("{'Version': 1}", "not JSON"),
        ("%7B", "not JSON"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        ('{"Version": "2012-10-17", "Version": "x"}', "'Version' stands twice"),
        ('{"Statement": [{"Sid": "a", "Sid": "b"}]}', "'Sid' stands twice"),
        ("[]", "a JSON object, not a list"),
        ("null", "a JSON object, not null"),
        ('"x"', "a JSON object, not a text"),
        ("1", "a JSON object, not a number"),
        ("true", "a JSON object, not a boolean"),
        ('{"Version": 2012}', "Version is a text such as 2012-10-17, not a number"),
        ('{"Version": ["2012-10-17"]}', "Version is a text .*, not a list"),
        ('{"Statement": "x"}', "Statement is a list of statements, not a text"),
        ('{"Statement": 1}', "Statement is a list of statements, not a number"),
        ('{"Statement": null}', "Statement is a list of statements, not null"),
        ('{"Statement": [[]]}', "statement 1 is a list, not an object"),
        ('{"Statement": [{}, "x"]}', "statement 2 is a text, not an object"),
        ('{"Statement": [{"Sid": 1}]}', "statement 1: Sid is a number, not a text"),
        ('{"Statement": [{"Sid": null}]}', "statement 1: Sid is null, not a text"),
        ('{"Statement": [{"Sid": {}}]}', "statement 1: Sid is an object, not a text"),
    ],
)
def test_not_a_document(source: str, said: str) -> None:
    """What is no trust document is refused with one sentence that says what is there instead."""
    with pytest.raises(InvalidValueError, match=said) as caught:
        TrustDocument.parse(source)

    assert "\n" not in str(caught.value)


def test_a_document_shares_nothing_with_its_source() -> None:
    """Changing what was parsed, or what was printed, does not change the document."""
    source = json.loads(json.dumps(DOCUMENT))
    document = TrustDocument.parse(source)

    source["Statement"][0]["Principal"]["Service"] = "changed"
    source["Id"] = "changed"
    document.to_json_object()["Statement"][0]["Principal"]["Service"] = "changed"

    assert document.to_json_object() == DOCUMENT


@pytest.mark.parametrize(
    ("document", "size"),
    [
        ({}, 2),
        ({"Statement": []}, 16),
        ({"Version": "2012-10-17", "Statement": []}, 39),
        ({"Statement": [{"Sid": "a b"}]}, 29),  # white space in a value counts
        ({"Statement": [{"Sid": "ü"}]}, 27),  # characters, not bytes
        (DOCUMENT, 48 + 98),  # the frame, and the statement
    ],
)
def test_size(document: dict[str, Any], size: int) -> None:
    """The size is in characters, white space between the parts not counted, however the source was laid out."""
    assert document_size(document) == size
    if "Statement" in document:
        assert TrustDocument.parse(json.dumps(document, indent=8)).size == size
        assert len(TrustDocument.parse(document).to_json()) == size


@given(st.lists(json_objects, max_size=4), st.none() | st.sampled_from(["2012-10-17", "2008-10-17"]))
def test_round_trip(statements: list[dict[str, Any]], version: str | None) -> None:
    """A document printed and read again is the same, statement by statement, in any of its forms."""
    statements = [s for s in statements if isinstance(s.get("Sid", ""), str)]
    source = {"Statement": statements} | ({"Version": version} if version else {})

    document = TrustDocument.parse(source)

    assert list(document.statements) == statements
    for text in (document.to_json(), document.to_json(indent=2), quote(document.to_json())):
        assert TrustDocument.parse(text) == document


@given(json_objects, json_objects)
def test_any_statements(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Comparing never fails, is symmetric, and a statement means the same as itself."""
    assert same_meaning(one, json.loads(json.dumps(one)))
    assert same_meaning(one, other) == same_meaning(other, one)
    assert isinstance(stale_principals(one), tuple)


def test_empty_document() -> None:
    """The empty document has a version that knows variables, and no statement."""
    assert EMPTY.to_json_object() == {"Version": "2012-10-17", "Statement": []}


@pytest.mark.parametrize(
    ("statement", "stale"),
    [
        ({"Principal": {"AWS": "AROAEXAMPLEID1234567A"}}, ("AROAEXAMPLEID1234567A",)),
        ({"Principal": {"AWS": ["111122223333", "AIDAEXAMPLEID1234567A"]}}, ("AIDAEXAMPLEID1234567A",)),
        ({"NotPrincipal": {"AWS": ["AROAEXAMPLEID1234567A"]}}, ("AROAEXAMPLEID1234567A",)),
        (
            {"Principal": {"AWS": ["AROAEXAMPLEID1234567A", "AROAEXAMPLEID1234567B"]}},
            ("AROAEXAMPLEID1234567A", "AROAEXAMPLEID1234567B"),
        ),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:role/AROAEXAMPLEID1234567A"}}, ()),
        ({"Principal": {"Federated": "AROAEXAMPLEID1234567A"}}, ()),
        ({"Principal": {"AWS": "aroaexampleid1234567a"}}, ()),
        ({"Principal": "*"}, ()),
        ({"Principal": {"AWS": 1}}, ()),
        ({}, ()),
    ],
)
def test_stale_principals(statement: dict[str, Any], stale: tuple[str, ...]) -> None:
    """Unique ids that stand where an ARN should be are found; nothing else is."""
    assert stale_principals(statement) == stale
