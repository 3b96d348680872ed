"""What every target asks of the code: sentences, and work in proportion to the input."""

from __future__ import annotations

import sys
import unicodedata
import zlib
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

__all__ = ["MAX_SENTENCE", "bounded", "check_sentence", "steps_of"]

T = TypeVar("T")

MAX_SENTENCE: Final = 1000
"""Characters of an error: more than a person reads, and than a condition or a review has room for."""

_SAMPLE: Final = 16
"""Work is counted for one input of so many: counting takes ten times as long as the work."""

_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, line and paragraph separators (Unicode, General_Category)."""


def check_sentence(text: str, most: int = MAX_SENTENCE) -> None:
    """Check that an error is one line that can be printed and read.

    Raises:
        AssertionError: it is empty, too long, or has a character that ends a line or cannot be printed.
    """
    assert text.strip(), "an error without a word"
    assert len(text) <= most, f"an error of {len(text)} characters: {text[:200]!r}"
    bad = sorted({c for c in text if unicodedata.category(c) in _UNPRINTABLE})
    assert not bad, f"an error with {bad}: {text[:200]!r}"


def steps_of(work: Callable[[], T]) -> tuple[T, int]:
    """Return what ``work`` returns, and how many lines of Python that took, those of libraries included."""
    steps = 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        result = work()
    finally:
        sys.settrace(before)
    return result, steps


def bounded(work: Callable[[], T], data: bytes, *, a_byte: int, fixed: int = 50_000) -> T:
    """Return what ``work`` returns; for a sample of inputs, check that it takes steps in proportion to the input.

    Args:
        work: the work.
        data: the input.
        a_byte: steps that each byte of it may take.
        fixed: steps that any input may take.

    Raises:
        AssertionError: it took more steps.
    """
    if zlib.crc32(data) % _SAMPLE:
        return work()
    result, steps = steps_of(work)
    most = fixed + a_byte * len(data)
    assert steps <= most, f"{steps} steps for {len(data)} bytes, where {most} are enough"
    return result
