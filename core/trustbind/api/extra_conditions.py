"""Further conditions of a statement: ``spec.conditions``, and ``spec.federatedSubjects[].conditions``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from trustbind.api.strict import Strict, check_size, nearest
from trustbind.errors import InvalidValueError
from trustbind.policy.condition_operators import IF_EXISTS, OPERATORS, SPEC_PATTERN, SetQualifier

__all__ = ["MAX_CONDITION_CHARACTERS", "ExtraCondition", "RawCondition", "check_condition_sizes", "conditions_of"]

MAX_CONDITION_CHARACTERS: Final = 4096
"""Of all conditions of a binding: a trust policy has room for 2,048 characters, unless the AWS account's quota was
raised."""

MAX_CONDITION_VALUES: Final = 100
"""Of all conditions of a binding."""

_KEY = re.compile(r"[\w.:/@+=,-]{3,300}", re.ASCII)
_OPERATOR = re.compile(SPEC_PATTERN)


@dataclass(frozen=True, slots=True, order=True)
class ExtraCondition:
    """A further condition of the statement, ANDed to audience and subject."""

    operator: str
    key: str
    values: tuple[str, ...]


class RawCondition(Strict, frozen=True):
    """As it is in a manifest."""

    operator: str
    key: str
    values: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(min_length=1, max_length=50)]


def check_condition_sizes(raw: Sequence[RawCondition], *, field: str) -> None:
    """Check what the conditions of a binding may have in all.

    Args:
        raw: the conditions.
        field: where the last of them are.

    Raises:
        InvalidValueError: they have too many values or characters.
    """
    if sum(len(condition.values) for condition in raw) > MAX_CONDITION_VALUES:
        raise InvalidValueError(f"has more than {MAX_CONDITION_VALUES} values in all", field=field)
    texts = (text for condition in raw for text in (condition.key, *condition.values))
    check_size(texts, MAX_CONDITION_CHARACTERS, field=field)


def conditions_of(raw: Sequence[RawCondition] | None, *, field: str) -> tuple[ExtraCondition, ...]:
    """Return the conditions in the order of the manifest, the values of each sorted.

    Args:
        raw: as they are there; None for none.
        field: where.

    Raises:
        InvalidValueError: with the field and what must hold there.
    """
    result: list[ExtraCondition] = []
    for index, condition in enumerate(raw or ()):
        place = f"{field}[{index}]"
        if not _OPERATOR.fullmatch(condition.operator):
            raise InvalidValueError(_no_operator(condition.operator), field=f"{place}.operator")
        if not _KEY.fullmatch(condition.key) or ":" not in condition.key:
            raise InvalidValueError(
                f"{condition.key!r} is not a condition key, such as aws:SourceIp", field=f"{place}.key"
            )
        if any(c.operator == condition.operator and c.key.lower() == condition.key.lower() for c in result):
            raise InvalidValueError(
                f"{condition.operator} on {condition.key} stands twice; IAM can hold it once, with several values",
                field=place,
            )
        result.append(ExtraCondition(condition.operator, condition.key, tuple(sorted(set(condition.values)))))
    return tuple(result)


def _no_operator(text: str) -> str:
    """Return why ``text`` is not a condition operator that a spec may have."""
    if text.startswith(SetQualifier.FOR_ALL_VALUES):
        return "ForAllValues is true when the key is absent, so it protects nothing; use ForAnyValue"
    base = text.removeprefix(f"{SetQualifier.FOR_ANY_VALUE}:").removesuffix(IF_EXISTS)
    near = nearest(base, (name for name, operator in OPERATORS.items() if operator.is_allowed_in_spec))
    if meant := text.replace(base, near) if near and near != base else near:
        return f"{text!r} is not a condition operator of IAM; did you mean {meant}?"
    return f"{text!r} is not a condition operator of IAM"
