"""Changes of an input: of its JSON tree, in which the form stays likely, or of its bytes, in which it does not.

Everything is chosen by a `random.Random`, so hypothesis, libFuzzer's seed and a plain loop can all decide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

__all__ = ["changed", "rewritten"]

_MOST_EDITS: Final = 4
_MOST_BYTES: Final = 64 * 1024
_MOST_REPEATED: Final = 16 * 1024
"""Characters of a part that stands several times."""

_DEEP: Final = 120
"""Levels of nesting: beyond what the parsers take, below what this module's own recursion takes."""

_JSON_SHARE: Final = 0.8
"""Share of the inputs that are changed as JSON, where they are JSON."""


class _Verbatim(str):
    """A part that is printed as it is, such as a number that Python would not print so."""

    __slots__ = ()


class _Twice(dict[str, Any]):
    """An object of which each key is printed twice."""


_SCALARS: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    2**63,
    10**30,
    0.5,
    "",
    " ",
    "\n",
    "\x00",
    "*",
    "?",
    "${",
    "${aws:username}",
    "a" * 300,
    "é",
    "Ł",
    "\U0001f680",
    "٣",
    "\u2028",
    "-" * 500,
    "*-" * 100,
    _Verbatim("1" * 5000),
    _Verbatim("-0"),
    _Verbatim("1e400"),
    _Verbatim("12345678901234567890.123456789"),
    _Verbatim('"\\ud800"'),
    _Verbatim("NaN"),
    _Verbatim("[" * _DEEP + "]" * _DEEP),
)
_BYTES: Final = (b"", b"{", b"}", b'"', b"\\", b"\xff", b"\x00", b"\\ud800", b"[" * 50, b"0" * 30, b"%7B", b",", b"\n")


def changed(data: bytes, words: Sequence[str], rng: Random) -> bytes:
    """Return an input like ``data``, with some changes.

    Args:
        data: an input.
        words: texts that mean something to the target.
        rng: chooses.
    """
    if rng.random() < _JSON_SHARE:
        try:
            tree = json.loads(data)
        except (ValueError, RecursionError):
            pass
        else:
            return rewritten(tree, words, rng)
    return _garbled(data, words, rng)


def rewritten(tree: Any, words: Sequence[str], rng: Random) -> bytes:
    """Return the JSON text of a tree after some edits of it."""
    root = [tree]
    for _ in range(rng.randint(1, _MOST_EDITS)):
        _edit(root, words, rng)
    space = rng.choice(("", "", " ", "\n  "))
    is_ascii = rng.random() < 0.5
    return _printed(root[0], space, is_ascii=is_ascii).encode("utf-8", "surrogatepass")[:_MOST_BYTES]


def _edit(root: list[Any], words: Sequence[str], rng: Random) -> None:
    """Change one place of the tree."""
    holder, at = _place(root, rng)
    value = holder[at]
    match rng.randint(0, 9):
        case 0 | 1 | 2:
            holder[at] = _scalar(words, rng)
        case 3 if isinstance(value, str):
            holder[at] = _spoiled(value, words, rng)
        case 4 if isinstance(value, dict):
            value[_name(value, words, rng)] = _value(root, words, rng)
        case 5 if isinstance(value, list):
            value.insert(rng.randint(0, len(value)), _value(root, words, rng))
        case 6 if isinstance(value, list) and value:
            holder[at] = value * _times(rng.choice((2, 3, 30)), _size(value))
        case 7 if holder is not root:
            del holder[at]
        case 8 if isinstance(value, dict):
            holder[at] = _Twice(value)
        case 9:
            holder[at] = rng.choice(([value], {_name({}, words, rng): value}, _value(root, words, rng)))
        case _:
            holder[at] = _spoiled(value, words, rng) if isinstance(value, str) else _scalar(words, rng)


def _place(root: list[Any], rng: Random) -> tuple[Any, Any]:
    """Return a list or an object of the tree and a key of it, the deeper the likelier."""
    holder: Any = root
    at: Any = 0
    while True:
        value = holder[at]
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if not keys or rng.random() < 0.15:  # half of the walks come to a depth of four
            return holder, at
        holder, at = value, rng.choice(keys)


def _name(value: dict[str, Any], words: Sequence[str], rng: Random) -> str:
    chosen = rng.choice((*words, *value, ""))
    return chosen if rng.random() < 0.8 else _spoiled(chosen, words, rng)


def _scalar(words: Sequence[str], rng: Random) -> Any:
    return rng.choice(words) if rng.random() < 0.5 else rng.choice(_SCALARS)


def _value(root: list[Any], words: Sequence[str], rng: Random) -> Any:
    """Return a value: a new one, or a copy of a part of the tree."""
    if rng.random() < 0.5:
        return rng.choice((_scalar(words, rng), [_scalar(words, rng)], {_name({}, words, rng): _scalar(words, rng)}))
    holder, at = _place(root, rng)
    return _copied(holder[at])


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value)((k, _copied(v)) for k, v in value.items())
    return [_copied(v) for v in value] if isinstance(value, list) else value


def _spoiled(text: str, words: Sequence[str], rng: Random) -> str:
    at = rng.randint(0, len(text))
    match rng.randint(0, 5):
        case 0:
            return text[:at]
        case 1:
            return (
                text[:at] + rng.choice(("*", "?", "${", ":", "/", "\n", "%", "\\", '"', "\ud800", "Ł", "-")) + text[at:]
            )
        case 2:
            return text[:at] + str(rng.choice(words)) + text[at:]
        case 3:
            return text.swapcase()
        case 4:
            return (text or "x") * _times(rng.choice((2, 10, 200)), len(text))
        case _:
            return text[:at] + text[at + 1 :]


def _garbled(data: bytes, words: Sequence[str], rng: Random) -> bytes:
    result = data
    for _ in range(rng.randint(1, _MOST_EDITS)):
        begin = rng.randint(0, len(result))
        end = min(len(result), begin + rng.choice((0, 1, 1, 4, 40)))
        piece = rng.choice(
            (rng.choice(_BYTES), str(rng.choice(words)).encode("utf-8", "replace"), result[begin:end] * 2)
        )
        result = result[:begin] + piece + result[end:]
    return result[:_MOST_BYTES]


def _times(wanted: int, size: int) -> int:
    """Return how often a part of a size may be repeated: edits of edits would grow without end."""
    return max(1, min(wanted, _MOST_REPEATED // max(1, size)))


def _size(value: Any) -> int:
    """Return about how many characters a value has as JSON."""
    if isinstance(value, dict):
        return 2 + sum(len(k) + 4 + _size(v) for k, v in value.items())
    if isinstance(value, list):
        return 2 + sum(1 + _size(v) for v in value)
    return len(value) if isinstance(value, str) else 8


def _printed(value: Any, space: str, *, is_ascii: bool) -> str:
    """Return the JSON text, with what `json` has no value for."""
    if isinstance(value, _Verbatim):
        return str(value)
    if isinstance(value, dict):
        members = [
            f"{json.dumps(str(k), ensure_ascii=is_ascii)}:{space}{_printed(v, space, is_ascii=is_ascii)}"
            for k, v in value.items()
        ]
        return "{" + f",{space}".join(members * 2 if isinstance(value, _Twice) else members) + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(_printed(v, space, is_ascii=is_ascii) for v in value) + "]"
    return json.dumps(value, ensure_ascii=is_ascii)
