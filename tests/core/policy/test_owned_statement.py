"""Owned statements: their names, their form, and how they are recognised."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import (
    ChainKey,
    FederatedKey,
    WebIdentityKey,
    build,
    is_owned,
    is_retained,
    owner_prefix,
    placeholder,
    placeholder_sid,
    retained,
    retained_key,
    sid_of,
    subjects_of,
)

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
OTHER = Issuer.parse("https://oidc.example.com/id/2")
ROLE = RoleArn.parse("arn:aws:iam::444455556666:role/app")
SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")
READER, WRITER = Subject("team-a", "reader"), Subject("team-a", "writer")
IP = ExtraCondition("IpAddress", "aws:SourceIp", ("203.0.113.0/24",))
TAG = ExtraCondition("StringEquals", "aws:PrincipalTag/x", ("b", "a"))


def test_web_identity() -> None:
    """The statement of api.md: subjects sorted and once each, audience and subject always both there."""
    key = WebIdentityKey("sts.amazonaws.com")

    assert build(ISSUER, ROLE, key, [WRITER, READER, WRITER]) == {
        "Sid": sid_of(ISSUER, key),
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::444455556666:oidc-provider/oidc.example.com/id/1"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                "oidc.example.com/id/1:aud": "sts.amazonaws.com",
                "oidc.example.com/id/1:sub": [str(READER), str(WRITER)],
            }
        },
    }


def test_further_conditions_are_anded() -> None:
    """Further conditions stand beside audience and subject; a single value stands alone, several are sorted."""
    statement = build(ISSUER, ROLE, WebIdentityKey("x", (TAG, IP)), [READER])

    assert statement["Condition"] == {
        "StringEquals": {
            "oidc.example.com/id/1:aud": "x",
            "oidc.example.com/id/1:sub": [str(READER)],
            "aws:PrincipalTag/x": ["a", "b"],
        },
        "IpAddress": {"aws:SourceIp": "203.0.113.0/24"},
    }


@pytest.mark.parametrize(
    ("key", "condition"),
    [
        (ChainKey(SOURCE), None),
        (ChainKey(SOURCE, "secret"), {"StringEquals": {"sts:ExternalId": "secret"}}),
        (ChainKey(SOURCE, "", (IP,)), {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}),
    ],
)
def test_chain(key: ChainKey, condition: dict[str, Any] | None) -> None:
    """The target role of a chain lets the source role in, with the external id where there is one."""
    statement = build(ISSUER, ROLE, key)

    assert statement["Principal"] == {"AWS": str(SOURCE)}
    assert statement["Action"] == "sts:AssumeRole"
    assert statement.get("Condition") == condition


def test_no_subject() -> None:
    """A statement that names nobody would let everybody in, and is never built."""
    with pytest.raises(InvalidValueError, match="without a subject"):
        build(ISSUER, ROLE, WebIdentityKey("x"))


def test_federated() -> None:
    """Another issuer's subjects are patterns, under that issuer's keys and its provider in the role's account."""
    key = FederatedKey(GITHUB, "sts.amazonaws.com", (IP,))

    statement = build(ISSUER, ROLE, key, ["repo:o/b:*", "repo:o/a", "repo:o/a"])

    assert statement == {
        "Sid": sid_of(ISSUER, key),
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::444455556666:oidc-provider/token.actions.githubusercontent.com"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"},
            "StringLike": {"token.actions.githubusercontent.com:sub": ["repo:o/a", "repo:o/b:*"]},
            "IpAddress": {"aws:SourceIp": "203.0.113.0/24"},
        },
    }
    assert is_owned(statement, ISSUER)
    assert subjects_of(statement, GITHUB, of_cluster=False) == {"repo:o/a", "repo:o/b:*"}
    assert subjects_of(statement, GITHUB) == subjects_of(statement, ISSUER) == frozenset()


@pytest.mark.parametrize("url", [ISSUER.url, ISSUER.url + "/", ISSUER.url.replace("oidc", "OIDC")])
def test_the_own_issuer_is_no_other(url: str) -> None:
    """The cluster's own accounts never come in by a pattern, past the grants for service accounts."""
    with pytest.raises(InvalidValueError, match="this cluster's own issuer"):
        build(ISSUER, ROLE, FederatedKey(Issuer.parse(url), "x"), ["system:serviceaccount:*:admin"])


def test_federated_without_a_subject() -> None:
    """A statement for nobody would be one for everybody."""
    with pytest.raises(InvalidValueError, match="without a subject"):
        build(ISSUER, ROLE, FederatedKey(GITHUB, "x"))


@pytest.mark.parametrize("name", ["sub", "AUD"])
def test_a_condition_cannot_replace_what_is_said_of_another_issuer(name: str) -> None:
    """The other issuer's audience and subject are stated by the statement too."""
    bad = ExtraCondition("StringLike", f"token.actions.githubusercontent.com:{name}", ("*",))
    with pytest.raises(InvalidValueError, match="states it itself"):
        build(ISSUER, ROLE, FederatedKey(GITHUB, "x", (bad,)), ["repo:o/a"])


@pytest.mark.parametrize("key", ["oidc.example.com/id/1:sub", "OIDC.example.com/id/1:AUD"])
@pytest.mark.parametrize("operator", ["StringLike", "StringEquals", "StringEqualsIfExists"])
def test_a_condition_cannot_replace_our_own(key: str, operator: str) -> None:
    """A further condition on audience or subject is refused, in any operator and case."""
    with pytest.raises(InvalidValueError, match="states it itself"):
        build(ISSUER, ROLE, WebIdentityKey("x", (ExtraCondition(operator, key, ("*",)),)), [READER])
    with pytest.raises(InvalidValueError, match="states it itself"):
        build(ISSUER, ROLE, ChainKey(SOURCE, "ab", (ExtraCondition(operator, "sts:externalid", ("*",)),)))


KEYS = (
    WebIdentityKey("x"),
    FederatedKey(GITHUB, "x"),
    ChainKey(SOURCE),
    ChainKey(SOURCE, "ab"),
    ChainKey(SOURCE, via_root=True),
    ChainKey(SOURCE, "ab", via_root=True),
)
STATED = (ISSUER.audience_key, ISSUER.subject_key, GITHUB.audience_key, GITHUB.subject_key, "sts:ExternalId")


def _letters(name: str) -> st.SearchStrategy[str]:
    """Return the name in any letter case."""
    return st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in name)).map("".join)


@given(
    key=st.sampled_from(KEYS),
    conditions=st.lists(
        st.builds(
            ExtraCondition,
            st.sampled_from(["StringEquals", "StringLike", "ArnLike", "StringEqualsIfExists", "Null"]),
            st.sampled_from([*STATED, "aws:PrincipalArn", "aws:SourceIp"]).flatmap(_letters),
            st.lists(st.sampled_from(["*", "x", "true"]), min_size=1, max_size=2, unique=True).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
)
def test_no_condition_changes_what_a_statement_says_itself(
    key: WebIdentityKey | ChainKey | FederatedKey, conditions: tuple[ExtraCondition, ...]
) -> None:
    """Whatever the conditions, each of the statement's own stands unchanged, and is the only one on its key."""
    subjects = () if isinstance(key, ChainKey) else ["system:serviceaccount:a:b"]
    base = build(ISSUER, ROLE, key, subjects).get("Condition", {})
    try:
        built = build(ISSUER, ROLE, replace(key, conditions=conditions), subjects)
    except InvalidValueError:
        assert {c.key.lower() for c in conditions} & {k.lower() for block in base.values() for k in block}
        return
    for operator, block in base.items():
        for name, value in block.items():
            assert built["Condition"][operator][name] == value
            said = [(o, k) for o, b in built["Condition"].items() for k in b if k.lower() == name.lower()]
            assert said == [(operator, name)]


def test_sid_is_the_same_after_every_restart() -> None:
    """The Sid is a function of issuer and key alone: these two must never change, or statements would be orphaned."""
    assert sid_of(ISSUER, WebIdentityKey("sts.amazonaws.com")) == "Trustbind45e75a3259aff4ba6b33241c0fe02dc9"
    assert sid_of(ISSUER, ChainKey(SOURCE, "ab", (IP,))) == "Trustbind45e75a3259aff4bac92ceb6388aa8bff"
    assert sid_of(ISSUER, FederatedKey(GITHUB, "sts.amazonaws.com")) == "Trustbind45e75a3259aff4ba0f2cac0b106bf80e"


@pytest.mark.parametrize(
    "key",
    [
        WebIdentityKey("b"),
        WebIdentityKey("a", (IP,)),
        WebIdentityKey("a", (IP, TAG)),
        ChainKey(SOURCE),
        ChainKey(SOURCE, "a"),
        ChainKey(ROLE),
        FederatedKey(GITHUB, "a"),
    ],
)
def test_keys_have_sids_of_their_own(key: WebIdentityKey | ChainKey | FederatedKey) -> None:
    """Another audience, condition, source or external id is another statement; the order of conditions is not."""
    assert sid_of(ISSUER, key) != sid_of(ISSUER, WebIdentityKey("a"))
    assert sid_of(ISSUER, WebIdentityKey("a", (IP, TAG))) == sid_of(ISSUER, WebIdentityKey("a", (TAG, IP)))


def test_ownership_is_per_cluster() -> None:
    """A statement of another cluster's is foreign, whatever else it says."""
    statement = build(OTHER, ROLE, WebIdentityKey("x"), [READER])

    assert is_owned(statement, OTHER)
    assert not is_owned(statement, ISSUER)
    assert owner_prefix(ISSUER) != owner_prefix(OTHER)


@pytest.mark.parametrize(
    ("sid", "owned"),
    [
        ("{}0000000000000000", True),
        ("{}0123456789abcdef", True),
        ("{}0123456789ABCDEF", False),
        ("{}0123456789abcde", False),
        ("{}0123456789abcdef0", False),
        ("{}0123456789abcdef\n", False),
        ("x{}0123456789abcdef", False),
        ("Trustbind45e75a326b33241c", False),
        ("", False),
    ],
)
def test_ownership_by_sid(sid: str, owned: bool) -> None:
    """The Sid has to be exactly one of ours, also where the statement names our provider."""
    assert is_owned(placeholder(ISSUER, ROLE) | {"Sid": sid.format(owner_prefix(ISSUER))}, ISSUER) is owned


ELSEWHERE = "arn:aws-cn:iam::999922223333:oidc-provider/oidc.example.com/id/1"
CHAIN = build(ISSUER, ROLE, ChainKey(SOURCE, "ab", (IP, TAG)))
ROOT = build(ISSUER, ROLE, ChainKey(SOURCE, via_root=True))
HUB = build(ISSUER, ROLE, FederatedKey(GITHUB, "x", (IP,)), ["repo:o/a"])
WEB = build(ISSUER, ROLE, WebIdentityKey("x"), [READER])


@pytest.mark.parametrize(
    ("statement", "owned"),
    [
        # Our provider, whatever became of the rest.
        (WEB, True),
        (WEB | {"Condition": {}, "Effect": "Deny"}, True),
        (WEB | {"Principal": {"Federated": [ELSEWHERE, "cognito-identity.amazonaws.com"]}}, True),
        (WEB | {"Principal": HUB["Principal"]}, False),
        (WEB | {"Principal": {"Federated": f"{ELSEWHERE}/x"}}, False),
        (WEB | {"Principal": {"AWS": str(SOURCE)}}, False),
        (WEB | {"Principal": "*"}, False),
        # Content that the Sid derives from.
        (CHAIN, True),
        (CHAIN | {"Principal": {"AWS": [str(SOURCE)]}}, True),
        (CHAIN | {"Action": "sts:*"}, True),
        (CHAIN | {"Principal": {"AWS": str(ROLE)}}, False),
        (CHAIN | {"Condition": {}}, False),
        (CHAIN | {"Condition": None}, False),
        (CHAIN | {"Condition": {"StringEquals": 1}}, False),
        (CHAIN | {"Condition": {"Bool": {"aws:x": True}}}, False),
        (ROOT, True),
        (ROOT | {"Principal": {"AWS": "111122223333"}}, True),
        (ROOT | {"Condition": {}}, False),
        (HUB, True),
        (HUB | {"Principal": {"Federated": str(OTHER.provider_for(ROLE))}}, False),
        (HUB | {"Condition": HUB["Condition"] | {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}, False),
        # A source role that was deleted.
        (CHAIN | {"Principal": {"AWS": "AROAEXAMPLEID1234567A"}}, True),
        (CHAIN | {"NotPrincipal": {"AWS": "AROAEXAMPLEID1234567A"}, "Principal": "*"}, False),
    ],
)
def test_ownership_by_content(statement: dict[str, Any], owned: bool) -> None:
    """A Sid of ours on a statement that says something else owns nothing."""
    assert is_owned(statement, ISSUER) is owned


names = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
conditions = st.lists(
    st.builds(
        ExtraCondition,
        st.sampled_from(["StringEquals", "StringLike", "Null"]),
        st.sampled_from(["aws:x", "aws:SourceIp", "sts:RoleSessionName"]),
        st.lists(st.text(max_size=5), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    max_size=3,
    unique_by=lambda c: (c.operator, c.key),
).map(tuple)
keys = (
    st.builds(WebIdentityKey, names, conditions)
    | st.builds(FederatedKey, st.sampled_from([GITHUB, OTHER]), names, conditions)
    | st.builds(ChainKey, st.just(SOURCE), st.just("") | names, conditions, st.booleans())
)


@given(keys, st.booleans())
def test_whatever_is_built_is_owned(key: WebIdentityKey | FederatedKey | ChainKey, as_stored: bool) -> None:
    """A statement that was built is recognised by its content, also in the form in which IAM gives it back."""
    statement = build(ISSUER, ROLE, key, ["s"])
    if as_stored and "Condition" in statement:
        statement["Condition"] = {
            operator: {k: v[0] if isinstance(v, list) and len(v) == 1 else v for k, v in reversed(block.items())}
            for operator, block in statement["Condition"].items()
        }

    assert is_owned(statement, ISSUER)
    assert not is_owned(statement, OTHER)
    assert not is_retained(statement, ISSUER)


@given(keys)
def test_what_is_retained_tells_its_key(key: WebIdentityKey | FederatedKey | ChainKey) -> None:
    """A retained statement is ours under a Sid of its own, and says all that a grant is asked about."""
    statement = retained(ISSUER, ROLE, key, ["s"])

    assert re.fullmatch("Trustbind[0-9a-f]{16}Retained[0-9a-f]{16}", statement["Sid"])
    assert is_owned(statement, ISSUER)
    assert is_retained(statement, ISSUER)
    assert not is_retained(statement, OTHER)
    read = retained_key(statement, ISSUER)
    assert read is not None
    assert retained(ISSUER, ROLE, read, ["s"]) == statement


def test_a_retained_statement_that_was_edited() -> None:
    """It stays ours by its provider; a condition more is read as one, and what says nothing has no key."""
    key = WebIdentityKey("x")
    statement = retained(ISSUER, ROLE, key, ["s"])
    narrowed = statement | {"Condition": statement["Condition"] | {"Bool": {"aws:SecureTransport": "true"}}}

    assert retained_key(narrowed, ISSUER) == replace(
        key, conditions=(ExtraCondition("Bool", "aws:SecureTransport", ("true",)),)
    )
    assert retained_key(statement | {"Condition": []}, ISSUER) is None


def test_no_sid_or_no_text() -> None:
    """A statement without a Sid, or with something else there, is foreign."""
    assert not is_owned({}, ISSUER)
    assert not is_owned({"Sid": None}, ISSUER)
    assert not is_owned({"Sid": ["x"]}, ISSUER)


def test_placeholder() -> None:
    """What stands alone lets nobody in and keeps out nobody but this cluster's own accounts."""
    statement = placeholder(ISSUER, ROLE)

    assert is_owned(statement, ISSUER)
    assert statement["Sid"] == placeholder_sid(ISSUER) == owner_prefix(ISSUER) + "0" * 16
    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == {"Federated": str(ISSUER.provider_for(ROLE))}


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.text(max_size=10), max_size=3))
def test_every_sid_is_one_of_ours(audience: str, key: str, values: list[str]) -> None:
    """Whatever the key holds, the Sid has letters and digits only and is recognised."""
    sid = sid_of(ISSUER, WebIdentityKey(audience, (ExtraCondition("StringLike", key, tuple(values)),)))

    assert re.fullmatch(r"Trustbind[0-9a-f]{32}", sid)
    assert sid.startswith(owner_prefix(ISSUER))


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_condition_of_nothing_is_none(nothing: Any) -> None:
    """The plan takes such a statement for the one that we write, so it has to be ours here, too."""
    statement = build(ISSUER, ROLE, ChainKey(SOURCE), ())
    assert is_owned(statement | {"Condition": nothing}, ISSUER)
