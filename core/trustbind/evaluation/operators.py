"""How condition operators read the two values and compare them; ``condition_operators`` has their names.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators". ``Null``, which compares no values, and the
prefixes and suffix are in ``conditions``.
"""

from __future__ import annotations

import base64
import calendar
import ipaddress
import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from trustbind.evaluation.three_valued import quoted
from trustbind.evaluation.wildcards import glob_matches
from trustbind.policy.condition_operators import ConditionOperator, OperatorKind, Relation

if TYPE_CHECKING:
    from collections.abc import Callable

    from trustbind.evaluation.variables import Operand


@dataclass(frozen=True, slots=True)
class Comparison:
    """How to compare values. Reading raises ValueError, with a phrase for people, for what has the wrong form."""

    read_wanted: Callable[[Operand], Any]
    """Reads a value of the policy."""
    read_given: Callable[[str], Any]
    """Reads a value of the request."""
    test: Callable[[Any, Any], bool]
    """Compares the given with the wanted, in this order."""
    wording: str = ""
    """The words in messages between "expects" and the wanted value."""


_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
_EPOCH = re.compile(r"[0-9]{5,19}|[0-9]{1,3}")
_YEAR = re.compile(r"[0-9]{4}")
_MOMENT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)"
    r"(?:(?<=-..-..)T(?P<time>[0-9]{2}:[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>[01][0-9]|2[0-3]):(?P<minutes>[0-5][0-9])))?"
)
"""The W3C profiles of ISO 8601: month, day, or time of day with its offset from UTC."""

_CIDR = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:/[0-9]{1,3})?")
_ARN_PARTS = 6


def _same(text: str) -> str:
    return text


def _folded(text: str) -> str:
    return text.lower()


def _glob(given: str, wanted: Operand) -> bool:
    return glob_matches(wanted.text, given, wanted.literal)


def _number(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a number")
    return Decimal(text)


def _moment(text: str) -> Decimal:
    """Return seconds since 1970.

    Four digits alone are refused: a year in the W3C profiles, but a number of seconds to anyone who reads epoch times
    first, and IAM does not say which it is.
    """
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    if _YEAR.fullmatch(text):
        raise ValueError(f"{quoted(text)} may be a year or a number of seconds")
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError  # noqa: TRY301 - one message for every wrong form
        year, month, day = (match["date"] + "-01").split("-")[:3]
        hour, minute = (match["time"] or "00:00").split(":")
        # A datetime only to have the calendar checked.
        instant = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(match["second"] or 0), tzinfo=UTC
        )
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a date") from None
    offset = 0
    if match["sign"]:
        offset = (int(match["hours"]) * 60 + int(match["minutes"])) * 60
        offset = offset if match["sign"] == "+" else -offset
    return calendar.timegm(instant.timetuple()) - offset + Decimal(f"0.{match['fraction'] or 0}")


def _boolean(text: str) -> bool:
    folded = text.lower()
    if folded not in ("true", "false"):
        raise ValueError(f"{quoted(text)} is neither true nor false")
    return folded == "true"


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not base64") from None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        if not _CIDR.fullmatch(text):
            raise ValueError  # noqa: TRY301 - one message for every wrong form
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address or CIDR range") from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None


def _in_network(
    given: ipaddress.IPv4Address | ipaddress.IPv6Address, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    return given in wanted


def _arn(text: str) -> list[str]:
    parts = text.split(":", _ARN_PARTS - 1)
    if len(parts) != _ARN_PARTS:
        raise ValueError(f"{quoted(text)} is not an ARN of six parts")
    return parts


def _arn_pattern(wanted: Operand) -> list[tuple[str, frozenset[int]]]:
    """Split a pattern into its six parts.

    A colon that came out of a variable must not move the parts, so a pattern that has one among its separators is
    refused.
    """
    parts = []
    start = 0
    for part in _arn(wanted.text):
        if start - 1 in wanted.literal:
            raise ValueError(f"{quoted(wanted.text)} takes more than one part of an ARN from a policy variable")
        literal = frozenset(at - start for at in wanted.literal if start <= at < start + len(part))
        parts.append((part, literal))
        start += len(part) + 1
    return parts


def _arn_matches(given: list[str], wanted: list[tuple[str, frozenset[int]]]) -> bool:
    return all(glob_matches(pattern, part, literal) for part, (pattern, literal) in zip(given, wanted, strict=True))


def _itself(wanted: Operand) -> Operand:
    return wanted


def _read_alike(
    read: Callable[[str], Any], test: Callable[[Any, Any], bool] = operator.eq, wording: str = ""
) -> Comparison:
    """Return a comparison that reads both values in the same way."""
    return Comparison(lambda operand: read(operand.text), read, test, wording)


_COMPARISONS: Final[dict[tuple[OperatorKind, Relation], Comparison]] = {
    (OperatorKind.STRING, Relation.EQUALS): _read_alike(_same),
    (OperatorKind.STRING, Relation.EQUALS_IGNORE_CASE): _read_alike(_folded),
    (OperatorKind.STRING, Relation.LIKE): Comparison(_itself, _same, _glob, "a value like"),
    (OperatorKind.NUMERIC, Relation.EQUALS): _read_alike(_number),
    (OperatorKind.NUMERIC, Relation.LESS_THAN): _read_alike(_number, operator.lt, "a number less than"),
    (OperatorKind.NUMERIC, Relation.LESS_THAN_EQUALS): _read_alike(_number, operator.le, "a number of at most"),
    (OperatorKind.NUMERIC, Relation.GREATER_THAN): _read_alike(_number, operator.gt, "a number greater than"),
    (OperatorKind.NUMERIC, Relation.GREATER_THAN_EQUALS): _read_alike(_number, operator.ge, "a number of at least"),
    (OperatorKind.DATE, Relation.EQUALS): _read_alike(_moment),
    (OperatorKind.DATE, Relation.LESS_THAN): _read_alike(_moment, operator.lt, "a time before"),
    (OperatorKind.DATE, Relation.LESS_THAN_EQUALS): _read_alike(_moment, operator.le, "a time not after"),
    (OperatorKind.DATE, Relation.GREATER_THAN): _read_alike(_moment, operator.gt, "a time after"),
    (OperatorKind.DATE, Relation.GREATER_THAN_EQUALS): _read_alike(_moment, operator.ge, "a time not before"),
    (OperatorKind.BOOL, Relation.EQUALS): _read_alike(_boolean),
    (OperatorKind.BINARY, Relation.EQUALS): _read_alike(_binary),
    (OperatorKind.IP, Relation.IN_NETWORK): Comparison(
        lambda operand: _network(operand.text), _address, _in_network, "an address in"
    ),
    (OperatorKind.ARN, Relation.LIKE): Comparison(_arn_pattern, _arn, _arn_matches, "an ARN like"),
}


def comparison_of(condition_operator: ConditionOperator) -> Comparison:
    """Return how an operator compares values.

    Raises:
        KeyError: for ``Null``, which compares none.
    """
    return _COMPARISONS[condition_operator.kind, condition_operator.relation]
