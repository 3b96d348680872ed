"""Policy variables in condition values: ``${aws:username}``, ``${key, 'default'}``, ``${*}``, ``${?}``, ``${$}``.

Source of all rules: IAM User Guide, "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trustbind.evaluation.request_context import KeyState

if TYPE_CHECKING:
    from trustbind.evaluation.request_context import RequestContext

_BODY = re.compile(
    r"\s*(?P<key>[^\s,'{}$*?:][^,'{}$*?:]*:[^,'{}$*?]*?)\s*(?:,\s*'(?P<default>[^'{}$*?]*)'\s*)?", re.ASCII
)
"""A condition key, which has a prefix, and perhaps a default. Wildcards in a default are not documented, so they are
not understood."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A value of the policy, ready for comparison."""

    text: str
    literal: frozenset[int] = frozenset()
    """Positions at which ``*`` and ``?`` stand for themselves."""


class VariableAbsentError(ValueError):
    """The request has no value for the variable, and the policy gives no default."""


class VariableOpenError(ValueError):
    """The value of the variable is not known.

    Args:
        key: the condition key, as written.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"the value of {key} is not known")
        self.key = key


class VariableNotUnderstoodError(ValueError):
    """The variable is not written in a way that IAM documents, or cannot be used as one."""


def resolve(text: str, context: RequestContext) -> Operand:
    """Replace the policy variables in one condition value.

    Characters that come from the request are never wildcards: ``*`` in a substituted value stands for itself.

    Args:
        text: The value as written in the policy.
        context: The request's keys.

    Returns:
        The text to compare with.

    Raises:
        VariableAbsentError: A variable has no value and no default.
        VariableOpenError: It is not known what value a variable has.
        VariableNotUnderstoodError: A variable is malformed, or its key is multivalued.
    """
    start = text.find("${")
    if start < 0:
        return Operand(text)
    done: list[str] = []
    length = position = 0
    literal: set[int] = set()
    while start >= 0:
        end = text.find("}", start)
        if end < 0:
            raise VariableNotUnderstoodError(f'the policy variable in "{text}" has no closing brace')
        before, value = text[position:start], _value(text[start + 2 : end], context)
        length += len(before)
        literal.update(range(length, length + len(value)))
        length += len(value)
        done += (before, value)
        position = end + 1
        start = text.find("${", position)
    done.append(text[position:])
    return Operand("".join(done), frozenset(literal))


def _value(body: str, context: RequestContext) -> str:
    if body in ("*", "?", "$"):
        return body
    match = _BODY.fullmatch(body)
    if match is None:
        raise VariableNotUnderstoodError(f'"${{{body}}}" is not a policy variable that is understood')
    values = context.get(match["key"])
    if len(values) > 1:
        raise VariableNotUnderstoodError(
            f'"${{{body}}}" names a key with several values, which cannot be a policy variable'
        )
    if values:
        return values[0]
    if context.state(match["key"]) is not KeyState.ABSENT:
        raise VariableOpenError(match["key"])
    if match["default"] is None:
        raise VariableAbsentError(f'the policy variable "${{{body}}}" has no value in the request')
    return match["default"]
