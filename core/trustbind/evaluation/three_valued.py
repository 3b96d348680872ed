"""Logic with more values than two, and the outcome of checking one part of a statement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trustbind.evaluation.model import Dependence, Failure


class Truth(IntEnum):
    """Whether a part matches the request. The order makes ``min`` the AND and ``max`` the OR (Kleene's logic)."""

    NO = 0
    UNKNOWN = 1
    """The part is not understood."""
    DEPENDS = 2
    """The part is understood, and matches for some values that are not known here."""
    YES = 3

    def negated(self) -> Truth:
        """Return the opposite; what is unknown stays unknown, and what depends still does."""
        return {Truth.NO: Truth.YES, Truth.YES: Truth.NO}.get(self, self)


@dataclass(frozen=True, slots=True)
class Check:
    """What came of checking one element of a statement."""

    truth: Truth
    failures: tuple[Failure, ...] = ()
    """Everything that does not match, in the order of the document."""
    unknown: tuple[str, ...] = ()
    """What was not understood, one sentence each."""
    depends: tuple[Dependence, ...] = ()
    """The conditions that depend on values which are not known."""
    level: str = ""
    """Of a principal that matches: by what it is named, as in ``principals``."""


_LONGEST = 200
_MOST = 5
_MOST_BITS = 4096
"""Python refuses to write out longer numbers; no policy needs them."""


def quoted(text: str) -> str:
    """Return the text in double quotes, shortened where it is longer than a person wants to read."""
    return f'"{text}"' if len(text) <= _LONGEST else f'"{text[:_LONGEST]}…"'


def listed(texts: list[str], joint: str = "or", *, quote: bool = True) -> str:
    """Return texts as a phrase: ``"a"``, ``"a" or "b"``, ``"a", "b" or 3 more``."""
    shown = [quoted(text) if quote else text for text in texts[:_MOST]]
    if len(texts) > _MOST:
        shown.append(f"{len(texts) - _MOST} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joint} {shown[-1]}"


def as_texts(value: object) -> list[str] | None:
    """Return a policy value as a list of texts, or None where it is not a text or a non-empty list of texts.

    A single value and a list of one are the same; numbers and booleans may stand without quotation marks (IAM User
    Guide, "Grammar of the IAM JSON policy language").
    """
    values = value if isinstance(value, list | tuple) else (value,)
    texts = []
    for item in values:
        match item:
            case str():
                texts.append(item)
            case bool():
                texts.append("true" if item else "false")
            case int() if item.bit_length() > _MOST_BITS:
                return None
            case int() | float():
                texts.append(repr(item))
            case _:
                return None
    return texts or None
