"""Messages that repeat what a user wrote stay one line that can be printed."""

from __future__ import annotations

import pytest

from trustbind.errors import InvalidValueError, ManifestError
from trustbind.messages import MAX_LINE, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a b", "a b"),
        ("a\nb\x00\x85", "a\\nb\\x00\\x85"),
        ("\ud800\u2028", "\\ud800\\u2028"),
        ("Łódź \U0001f680", "Łódź \U0001f680"),
        ("x" * MAX_LINE, "x" * MAX_LINE),
        ("", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    """Only what ends a line or cannot be printed is escaped."""
    assert one_line(text) == line


@pytest.mark.parametrize("middle", ["x", "\n", "\ud800", "\x7f"])
def test_a_long_line(middle: str) -> None:
    """A long text keeps its beginning and its end, where the advice is."""
    line = one_line(f"'{middle * 100_000}' is not a region, such as eu-central-1")

    assert len(line) <= MAX_LINE
    assert line.isprintable()
    assert line.startswith("'")
    assert line.endswith("is not a region, such as eu-central-1")


def test_errors_are_lines() -> None:
    """The errors that repeat what a user wrote are made of such lines, also after they got their place."""
    bad = "bad\n" * 1000
    inner = InvalidValueError(bad, field="spec.x").within(bad)
    outer = ManifestError("file.yaml", 1, bad, what=f"RoleBinding {bad}")

    for error in (inner, outer):
        assert str(error).isprintable()
        assert len(str(error)) <= 2 * MAX_LINE + 40
