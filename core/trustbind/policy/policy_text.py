"""JSON text of policies: taken apart and put together again without a change of its tokens."""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote

from trustbind.errors import InvalidValueError

__all__ = [
    "compact",
    "copied",
    "decode",
    "indented",
    "is_text",
    "joined",
    "kind_of",
    "member_tokens",
    "part_texts",
    "plain",
    "raw_policy",
    "repeats_key",
]

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|[^\s"{}\[\]:,]+')
"""One token of a text that is known to be JSON."""
_OPENING: Final = frozenset("{[")
_CLOSING: Final = frozenset("}]")
_BEYOND_LATIN = re.compile(r"[^\x00-\xff]")
_MAX_DEPTH: Final = 100  # a trust policy has a depth of about 6
_MAX_DIGITS: Final = 4000  # below the limit of Python's int(), 4300; a trust policy has at most 4096 characters


class _NumberText(str):
    """A JSON number that Python has no equal number for, as it is written."""

    __slots__ = ()


class _Repeating(dict[str, Any]):
    """An object of which a key stands twice; it has the last of the two.

    Attributes:
        key: which one.
    """

    __slots__ = ("key",)

    key: str


def raw_policy(text: str) -> str:
    """Return the JSON text of a policy that IAM returned: URL-encoded (RFC 3986), as every policy in IAM's API.

    A text that is not encoded is returned as it is, whatever percent signs are in it: JSON never begins with one.

    Raises:
        InvalidValueError: it is encoded, but not UTF-8.
    """
    if not text.lstrip().startswith("%"):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidValueError("not JSON: the URL-encoded text is not UTF-8") from None


def decode(text: str, *, stored: bool) -> Any:
    """Return the value in a JSON text.

    Args:
        text: the text, not URL-encoded.
        stored: whether an object may have a key twice; the outermost one may not, and no object may have two ``Sid``.

    Raises:
        InvalidValueError: it is no JSON, or a key stands twice where it may not.
    """
    try:
        document = json.loads(
            text,
            object_pairs_hook=_repeating if stored else _no_duplicates,
            parse_float=_number,
            parse_int=lambda digits: int(digits) if len(digits) <= _MAX_DIGITS else _NumberText(digits),
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise InvalidValueError(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    if isinstance(document, _Repeating):
        raise _stands_twice(document.key)
    return document


def copied(document: Mapping[str, Any]) -> Any:
    """Return a deep copy of an object that JSON can hold.

    Raises:
        InvalidValueError: a number in it cannot be written as JSON.
    """
    try:
        json.dumps(document, allow_nan=False, default=str)
        return copy.deepcopy(document)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # infinite, not a number, or too long for Python to print
        raise InvalidValueError(f"a number cannot be written as JSON: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = _repeating(pairs)
    if isinstance(result, _Repeating):
        raise _stands_twice(result.key)
    return result


def _repeating(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if "Sid" in repeated:
        raise _stands_twice("Sid")  # it would have two owners
    marked = _Repeating(result)
    marked.key = repeated[0]
    return marked


def _stands_twice(key: str) -> InvalidValueError:
    return InvalidValueError(f"the key {key!r} stands twice in one object")


def _too_deep() -> InvalidValueError:
    return InvalidValueError("not a trust policy: nested too deeply")


def _no_constant(name: str) -> Any:
    raise InvalidValueError(f"not JSON: {name} is not a JSON number")


def _number(text: str) -> float | _NumberText:
    """Return a number with a fraction or an exponent; its text where a float would be another number."""
    value = float(text)
    try:
        exact = math.isfinite(value) and Decimal(text) == Decimal(repr(value))
    except ArithmeticError:  # an exponent that Decimal does not take
        exact = False
    return value if exact else _NumberText(text)


def repeats_key(value: Any) -> bool:
    """Return whether an object in a decoded value has one key twice."""
    if isinstance(value, Mapping):
        return isinstance(value, _Repeating) or any(repeats_key(v) for v in value.values())
    return isinstance(value, list) and any(repeats_key(v) for v in value)


def is_text(value: Any) -> bool:
    """Return whether a decoded value is a text in JSON."""
    return isinstance(value, str) and not isinstance(value, _NumberText)


def plain(value: Any) -> Any:
    """Return a copy in the types of `json`."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, _NumberText) else value


def member_tokens(text: str) -> dict[str, list[str]]:
    """Return the tokens of each member of the JSON object in ``text``, by the member's name.

    Raises:
        InvalidValueError: it is nested too deeply.
    """
    tokens = _TOKEN.findall(text)
    depth = 0
    for token in tokens:
        depth += (token in _OPENING) - (token in _CLOSING)
        if depth > _MAX_DEPTH:
            raise _too_deep()
    return {json.loads(part[0]): part[2:] for part in _parts(tokens)}


def part_texts(tokens: list[str]) -> list[str]:
    """Return the text of each part of a list, from its tokens; of an object, the object's own text."""
    parts = [tokens] if tokens[:1] == ["{"] else _parts(tokens)
    return [joined(part) for part in parts]


def _parts(tokens: list[str]) -> list[list[str]]:
    """Return what stands between the commas of an object or a list, which is given with its brackets."""
    parts: list[list[str]] = []
    part: list[str] = []
    depth = 0
    for symbol in tokens[1:-1]:
        depth += (symbol in _OPENING) - (symbol in _CLOSING)
        if symbol == "," and depth == 0:
            parts.append(part)
            part = []
        else:
            part.append(symbol)
    return [*parts, part] if part else parts


def joined(tokens: Iterable[str]) -> str:
    """Return tokens as the text that is sent to IAM."""
    return _escaped("".join(tokens))


def indented(text: str, width: int) -> str:
    """Return compact JSON text laid out as `json.dumps` does with an indent, its tokens unchanged."""
    result: list[str] = []
    depth = 0
    before = ""
    for symbol in _TOKEN.findall(text):
        depth -= symbol in _CLOSING
        if (before in _OPENING) != (symbol in _CLOSING) or before == ",":
            result.append("\n" + " " * (width * depth))
        result.append(": " if symbol == ":" else symbol)
        depth += symbol in _OPENING
        before = symbol
    return "".join(result)


def compact(value: Any) -> str:
    """Return a value as JSON text without white space, with escapes for characters above U+00FF.

    IAM takes no such character (IAM API reference, UpdateAssumeRolePolicy, PolicyDocument).
    """
    return _escaped(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _escaped(text: str) -> str:
    return _BEYOND_LATIN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def kind_of(value: Any) -> str:
    """Return what a decoded value is, for a message."""
    if value is None:
        return "null"
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        _NumberText: "a number",
        _Repeating: "an object",
    }
    return names.get(type(value), type(value).__name__)
