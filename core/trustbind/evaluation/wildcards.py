"""Matching of IAM's wildcards: ``*`` stands for any characters, also none; ``?`` for exactly one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_NONE: frozenset[int] = frozenset()


def glob_matches(pattern: str, text: str, literal: AbstractSet[int] = _NONE) -> bool:
    """Return whether the whole text matches the pattern.

    It goes back only to the last ``*``, so the time is bounded by the product of the two lengths.

    Args:
        pattern: The pattern. There are no character classes and no backslash escapes.
        text: The text.
        literal: Positions in the pattern at which ``*`` and ``?`` stand for themselves.

    Source: IAM User Guide, "IAM JSON policy elements: Condition operators", string operators.
    """
    at = position = 0
    star = resume = -1
    while position < len(text):
        if at < len(pattern):
            char = pattern[at]
            wild = char in "*?" and at not in literal
            if wild and char == "*":
                star, resume = at, position
                at += 1
                continue
            if wild or char == text[position]:
                at += 1
                position += 1
                continue
        if star < 0:
            return False
        resume += 1
        at, position = star + 1, resume
    while at < len(pattern) and pattern[at] == "*" and at not in literal:
        at += 1
    return at == len(pattern)


def has_wildcard(text: str) -> bool:
    """Return whether the text holds a ``*`` or ``?``."""
    return "*" in text or "?" in text
