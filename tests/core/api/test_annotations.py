"""Annotations of accounts and pods."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import trustbind.api.annotations as read
from trustbind.api.annotations import (
    AnnotationKeys,
    audience,
    clamp_expiration,
    is_opted_out,
    skip_containers,
    switch,
    token_expiration,
)
from trustbind.api.labels import INJECT

KEY = "eks.amazonaws.com/some-key"


def test_keys_under_a_prefix() -> None:
    """The keys of the family are the EKS webhook's, under any prefix."""
    assert AnnotationKeys.under("aws.example.com") == AnnotationKeys(
        "aws.example.com/role-arn",
        "aws.example.com/audience",
        "aws.example.com/sts-regional-endpoints",
        "aws.example.com/token-expiration",
        "aws.example.com/skip-containers",
    )


@pytest.mark.parametrize(
    ("text", "seconds", "finding"),
    [
        ("3600", 3600, ""),
        ("600", 600, ""),
        ("86400", 86400, ""),
        ("+3600", 3600, ""),
        (" 3600\n", 3600, ""),
        ("007200", 7200, ""),
        ("599", 600, "so 600 is used"),
        ("0", 600, "so 600 is used"),
        ("-1", 600, "so 600 is used"),
        ("86401", 86400, "so 86400 is used"),
        ("999999999999999999", 86400, "so 86400 is used"),
        ("", None, "not a number of seconds"),
        ("1h", None, "not a number of seconds"),
        ("3600.0", None, "not a number of seconds"),
        ("3_600", None, "not a number of seconds"),
        ("0x10", None, "not a number of seconds"),
        ("٣٦٠٠", None, "not a number of seconds"),
        ("9" * 5000, None, "not a number of seconds"),
    ],
)
def test_token_expiration(text: str, seconds: int | None, finding: str) -> None:
    """A number is clamped to 600-86400, anything else is ignored, and both are told with the key."""
    result, told = token_expiration({KEY: text}, KEY)

    assert result == seconds
    assert (finding in told and KEY in told) if finding else told == ""
    assert len(told) < 200


def test_absent() -> None:
    """A key that is not there says nothing, and nothing is told."""
    assert token_expiration({}, KEY) == (None, "")
    assert switch({}, KEY) == (None, "")
    assert audience({}, KEY) == (None, "")
    assert skip_containers({}, KEY) == frozenset()
    assert not is_opted_out({})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("1", "t", "T", "true", "TRUE", "True", " true ")),
        *((text, False) for text in ("0", "f", "F", "false", "FALSE", "False", "false\n")),
        *((text, None) for text in ("", "yes", "no", "on", "tRUE", "2", "regional")),
    ],
)
def test_switch_values(text: str, value: bool | None) -> None:
    """The spellings are those of Go's ParseBool; any other is ignored and told."""
    result, told = switch({KEY: text}, KEY)

    assert result is value
    assert ("is ignored" in told) == (value is None)


def test_audience() -> None:
    """An audience is trimmed; one that cannot be is ignored and told."""
    assert audience({KEY: " a.example "}, KEY) == ("a.example", "")
    for text in ("", "  ", "a b", "a" * 256):
        value, told = audience({KEY: text}, KEY)
        assert value is None
        assert KEY in told
        assert "is ignored" in told


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", {"a"}),
        ("a,b", {"a", "b"}),
        (" a , b ", {"a", "b"}),
        ("a,,b,", {"a", "b"}),
        ('"a","b"', {"a", "b"}),
        ('a, "b"', {"a", "b"}),
        ("a\nb\n", {"a", "b"}),
        ("a,\r\n b", {"a", "b"}),
        ("", set()),
        (" , ", set()),
        ('""', set()),
    ],
)
def test_skip_containers(text: str, names: set[str]) -> None:
    """Names are separated by commas or lines and trimmed; empty ones do not count."""
    assert skip_containers({KEY: text}, KEY) == names


@pytest.mark.parametrize(
    ("text", "out"),
    [("false", True), ("False", True), ("0", True), (" false ", True), ("true", False), ("", False), ("no", False)],
)
def test_opting_out(text: str, out: bool) -> None:
    """Only a plain false opts out."""
    assert is_opted_out({INJECT: text}) is out


@given(st.integers())
def test_clamped(seconds: int) -> None:
    """A clamped expiration is within the bounds, and what was within is kept."""
    clamped = clamp_expiration(seconds)

    assert 600 <= clamped <= 86400
    assert clamped == seconds or not 600 <= seconds <= 86400


@given(st.text(max_size=30))
@example("0\x1f")
def test_any_text(text: str) -> None:
    """No text breaks the readers."""
    annotations = {KEY: text, INJECT: text}

    seconds, _ = token_expiration(annotations, KEY)
    value, _ = audience(annotations, KEY)

    assert seconds is None or 600 <= seconds <= 86400
    assert value is None or value == text.strip()
    assert all(name == name.strip() for name in skip_containers(annotations, KEY))
    assert switch(annotations, KEY)[0] in {True, False, None}
    assert is_opted_out(annotations) in {True, False}


def test_kept_values_are_bounded() -> None:
    """A value that is too long is valid for nothing; white space around a short one costs nothing."""
    keys = AnnotationKeys.under("eks.amazonaws.com")
    role = "arn:aws:iam::444455556666:role/x"
    found = read.kept(
        {keys.role_arn: role, keys.audience: "a" * 5000, INJECT: "false" + " " * 5000, "other": "x"},
        read.of_service_accounts(keys),
    )

    assert set(found) == {keys.role_arn, keys.audience, INJECT}
    assert found[keys.role_arn] == role
    assert len(found[keys.audience]) < 100
    assert read.audience(found, keys.audience)[0] is None
    assert read.is_opted_out(found)
