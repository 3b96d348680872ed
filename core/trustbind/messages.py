"""Text for people: messages repeat what a user wrote, and stay one line all the same."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["MAX_LINE", "one_line"]

MAX_LINE: Final = 480
"""Characters of a message: room for a sentence and for what a user wrote, as far as anybody reads it."""

_END: Final = 180
"""Characters of the end of a long message that are kept: it says what must hold, and what to do."""

_MARK: Final = " ... "
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, line and paragraph separators (Unicode Standard, General_Category)."""


def one_line(text: str) -> str:
    """Return ``text`` as one line that can be printed, of at most 480 characters.

    Messages repeat what a user wrote, which may be of any length and have any characters. A character that ends a line
    or cannot be printed becomes its escape, and the middle of a long text is left out.
    """
    # Cut first, so that the work does not grow with the text; an escape is at most ten times as long.
    if len(text) > MAX_LINE:
        text = text[: MAX_LINE - _END - len(_MARK)] + _MARK + text[-_END:]
    if text.isprintable():
        return text
    line = "".join(ascii(c)[1:-1] if unicodedata.category(c) in _UNPRINTABLE else c for c in text)
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - _END - len(_MARK)] + _MARK + line[-_END:]
