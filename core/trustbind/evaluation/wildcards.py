"""Matching of IAM's wildcards: ``*`` stands for any characters, also none; ``?`` for exactly one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

_NONE: frozenset[int] = frozenset()


def glob_matches(pattern: str, text: str, literal: AbstractSet[int] = _NONE, *, barrier: str = "") -> bool:
    """Return whether the whole text matches the pattern.

    The number of steps is at most the product of the two lengths, whatever the number of wildcards.

    Args:
        pattern: The pattern. There are no character classes and no backslash escapes.
        text: The text.
        literal: Positions in the pattern at which ``*`` and ``?`` stand for themselves.
        barrier: Characters that no wildcard stands for, such as ``:`` in an ARN.

    Source: IAM User Guide, "IAM JSON policy elements: Condition operators", string operators.
    """
    return _matches(pattern, text, literal, not_many=barrier, not_one=barrier)


def glob_covers(pattern: str, narrower: str) -> bool:
    """Return whether ``pattern`` matches every text that the pattern ``narrower`` matches.

    A ``*`` covers every character of ``narrower``, wildcards included. A ``?`` covers any one character except ``*``,
    which stands for none or many. In rare cases the answer is False although the pattern covers the other, as for
    ``*?`` and ``a*``; it is never True where it does not.
    """
    return _matches(pattern, narrower, _NONE, not_many="", not_one="*")


def globs_meet(one: str, other: str, *, letters: AbstractSet[str] | None = None) -> bool:
    """Return whether some text matches both patterns.

    Args:
        one: a pattern.
        other: a pattern.
        letters: the only characters that wildcards of ``other`` stand for; None: any.
    """
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        at, place = todo.pop()
        mine, theirs = one[at : at + 1], other[place : place + 1]
        if not mine and not theirs:
            return True
        steps: list[tuple[int, int]] = []
        if mine == "*":
            steps.append((at + 1, place))
        if theirs == "*":
            steps.append((at, place + 1))
        if mine and theirs:
            wild = theirs in "*?"
            same = mine == theirs or mine in "*?" or (wild and (letters is None or mine in letters))
            if same:
                steps.append((at + (mine != "*"), place + (theirs != "*")))
        for step in steps:
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False


def has_wildcard(text: str) -> bool:
    """Return whether the text holds a ``*`` or ``?``."""
    return "*" in text or "?" in text


def _matches(pattern: str, text: str, literal: AbstractSet[int], *, not_many: str, not_one: str) -> bool:
    """Return whether the text matches.

    After a mismatch, only the last ``*`` takes one more character. Earlier ones need not be tried again: each took the
    fewest characters with which the part behind it matched, and a longer choice leaves the last ``*`` fewer places.

    Args:
        pattern: The pattern.
        text: The text.
        literal: Positions in the pattern at which wildcards stand for themselves.
        not_many: Characters that ``*`` does not stand for.
        not_one: Characters that ``?`` does not stand for.
    """
    at = position = 0
    star = resume = -1
    while position < len(text):
        char = text[position]
        if at < len(pattern):
            wanted = pattern[at]
            wild = wanted in "*?" and at not in literal
            if wild and wanted == "*":
                star, resume = at, position
                at += 1
                continue
            if char not in not_one if wild else char == wanted:
                at += 1
                position += 1
                continue
        if star < 0 or text[resume] in not_many:
            return False
        resume += 1
        at, position = star + 1, resume
    while at < len(pattern) and pattern[at] == "*" and at not in literal:
        at += 1
    return at == len(pattern)
