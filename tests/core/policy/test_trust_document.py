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
    raw_policy,
    same_meaning,
    stale_principals,
    statement_meaning,
    statement_text,
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
        ("1e400", "a JSON object, not a number"),
        ('{"Statement": [{"Condition": {"NumericEquals": {"a:b": Infinity}}}]}', "Infinity is not a JSON number"),
        ('{"Statement": [{"Condition": {"NumericEquals": {"a:b": NaN}}}]}', "NaN is not a JSON number"),
        ('{"Version": 1e400}', "Version is a text such as 2012-10-17, not a number"),
        ('{"Statement": [{"Sid": ' + "1" * 5000 + "}]}", "statement 1: Sid is a number, not a text"),
        ('{"Statement": [' + '{"a":' * 150 + "1" + "}" * 150 + "]}", "nested too deeply"),
        ("%7B%FF%7D", "not UTF-8"),
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
        ({"Statement": [{"Sid": "Ł"}]}, 32),  # sent as an escape
        (DOCUMENT, 48 + 98),  # the frame, and the statement
    ],
)
def test_size(document: dict[str, Any], size: int) -> None:
    """The size is in characters, white space between the parts not counted, however the source was laid out."""
    assert document_size(document) == size
    if "Statement" in document:
        assert TrustDocument.parse(json.dumps(document, indent=8, ensure_ascii=False)).size == size
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


VERBATIM = {
    "a long number": '{"Condition":{"NumericLessThan":{"a:b":12345678901234567890.123456789}}}',
    "a number beyond a float": '{"Condition":{"NumericLessThan":{"a:b":1e400,"a:c":-1E+400,"a:d":1e-400}}}',
    "a number that a float prints otherwise": '{"Condition":{"NumericLessThan":{"a:b":3600.10,"a:c":1E2,"a:d":-0}}}',
    "an integer of 5000 digits": '{"Condition":{"NumericLessThan":{"a:b":' + "1" * 5000 + "}}}",
    "an exponent beyond all bounds": '{"Condition":{"NumericLessThan":{"a:b":1e-99999999999999999999999}}}',
    "escapes": '{"Sid":"\\u0041","Condition":{"StringEquals":{"a:b":"\\u0141\\u00f3d\\/\\u007A \\" \\\\"}}}',
    "a lone surrogate": '{"Condition":{"StringEquals":{"a:b":"\\ud800"}}}',
    "key order": '{"Sid":"Z","Action":"sts:AssumeRole","Effect":"Allow","Principal":"*"}',
    "white space and brackets in a text": '{"Condition":{"StringEquals":{"a:b":["  {[,:]} ","\\\\"]}}}',
    "empty": "{}",
}


@pytest.mark.parametrize("statement", VERBATIM.values(), ids=VERBATIM.keys())
def test_verbatim(statement: str) -> None:
    """A statement that was read is written in its own characters, white space between the parts apart."""
    compact = f'{{"Version":"2012-10-17","Id":"\\u0041","Statement":[{statement},{{"Sid":"B"}}]}}'
    document = TrustDocument.parse(compact)
    spaced = TrustDocument.parse(document.to_json(indent=3))

    assert document.to_json() == spaced.to_json() == compact
    assert document.size == len(compact)
    assert document.text == compact
    assert document.with_statements([document.statements[0]]).to_json() == compact.replace(',{"Sid":"B"}', "")
    assert document.meaning() == spaced.meaning()
    assert TrustDocument.parse(f'{{"Statement": {statement} }}').to_json() == f'{{"Statement":[{statement}]}}'
    json.dumps(document.to_json_object(), allow_nan=False)  # for those who need values


def test_numbers_that_differ_are_not_equal() -> None:
    """Two numbers that a float cannot tell apart do not mean the same."""
    one, other = (
        TrustDocument.parse(f'{{"Statement": [{{"Condition": {{"NumericEquals": {{"a:b": {number}}}}}}}]}}')
        for number in ("12345678901234567890.1", "12345678901234567890.2")
    )

    assert one.meaning() != other.meaning()


TWICE = (
    '{"Sid":"F","Condition":{"StringNotEquals":{"aws:SourceOrgID":"o-1"},"StringNotEquals":{"aws:SourceAccount":"1"}}}'
)


def test_a_key_twice_in_a_stored_document() -> None:
    """What IAM stores is kept, both keys of it; a statement with one of them means something else."""
    document = TrustDocument.parse(f'{{"Statement":[{TWICE}]}}', stored=True)
    last = {"Sid": "F", "Condition": {"StringNotEquals": {"aws:SourceAccount": "1"}}}

    assert document.to_json() == f'{{"Statement":[{TWICE}]}}'
    assert document.to_json_object() == {"Statement": [last]}
    assert not same_meaning(document.statements[0], last)
    assert same_meaning(document.statements[0], document.statements[0])
    assert document.meaning() == TrustDocument.parse(document.to_json(indent=2), stored=True).meaning()
    with pytest.raises(InvalidValueError, match="'StringNotEquals' stands twice"):
        TrustDocument.parse(f'{{"Statement":[{TWICE}]}}')


@pytest.mark.parametrize("text", ['{"Statement": [], "Statement": []}', '{"Statement": [{"Sid": "a", "Sid": "b"}]}'])
def test_a_key_twice_that_is_never_kept(text: str) -> None:
    """Which statements there are, and who owns one, has to be known."""
    with pytest.raises(InvalidValueError, match="stands twice"):
        TrustDocument.parse(text, stored=True)


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**5000], ids=["inf", "nan", "long"])
def test_an_object_with_a_number_that_json_has_not(number: float) -> None:
    """An object that no JSON text can hold is refused with a sentence."""
    with pytest.raises(InvalidValueError, match="a number cannot be written as JSON"):
        TrustDocument.parse({"Statement": [{"Condition": {"NumericEquals": {"a:b": number}}}]})


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (quote('{"a": "%41"}', safe=""), '{"a": "%41"}'),
        ("%0A" + quote('{"a": "ü"}'), '\n{"a": "ü"}'),
        ('{"a": "%7B%41"}', '{"a": "%7B%41"}'),
        ('\n {"%7B": 1}', '\n {"%7B": 1}'),
        (quote('{"a": "+"}'), '{"a": "+"}'),
        ("", ""),
    ],
)
def test_raw_policy(text: str, raw: str) -> None:
    """Only what IAM encoded is decoded."""
    assert raw_policy(text) == raw


def test_same_text() -> None:
    """Texts are compared without being decoded as JSON; one that was built has none."""
    text = json.dumps(DOCUMENT)
    document = TrustDocument.parse(quote(text))

    assert document.text == text
    assert document.same_text(text)
    assert document.same_text(quote(text, safe=""))
    assert document.same_text(TrustDocument.parse(text))
    assert not document.same_text(json.dumps(DOCUMENT, indent=1))
    assert not EMPTY.same_text("")
    assert not document.with_statements(document.statements).same_text(text)


# What a Python text can hold, lone surrogates included.
characters = st.text(st.characters(), max_size=8)


@given(characters, characters, st.booleans())
def test_only_characters_that_iam_takes(value: str, key: str, ascii_only: bool) -> None:
    """What is sent holds characters of U+0020 to U+00FF only, whatever was read or built, and means what it meant."""
    statement = {"Sid": "A", "Condition": {"StringEquals": {key: value}}}
    built = TrustDocument((statement,))
    read = TrustDocument.parse(json.dumps({"Statement": [statement]}, ensure_ascii=ascii_only))

    for document in (built, read):
        sent = document.to_json()
        assert all("\x20" <= character <= "\xff" for character in sent)
        assert document.size == len(sent)
        assert sent.encode("utf-8")
        assert TrustDocument.parse(sent).meaning() == TrustDocument(document.statements, document.version).meaning()
    assert document_size(built.to_json_object()) == built.size
    assert statement_text(read.statements[0]) in read.to_json()


@given(json_objects)
def test_indented(statement: dict[str, Any]) -> None:
    """The laid-out text is what `json` makes of the same document."""
    document = TrustDocument((statement,), None)
    text = json.dumps({"Statement": [statement]}, indent=2, ensure_ascii=False)

    assert document.to_json(indent=2) == "".join(c if c <= "\xff" else json.dumps(c)[1:-1] for c in text)


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
