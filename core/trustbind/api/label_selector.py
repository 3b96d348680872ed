"""Kubernetes label selectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from trustbind.api.strict import Strict, check_size, part
from trustbind.errors import InvalidValueError

__all__ = [
    "MAX_LABEL_CHARACTERS",
    "NOT_THERE",
    "LabelSelector",
    "RawSelector",
    "SelectorRequirement",
    "kept_labels",
    "parse_selector",
    "selector_of",
]

MAX_LABEL_CHARACTERS: Final = 4096
"""Of all label keys and values of one service account, and of one selector. Kubernetes itself only bounds the whole
object, so labels of one could be over a megabyte, and both halves keep the labels of all."""

NOT_THERE: Final[Mapping[str, str]] = {"": ""}
"""Labels that no selector matches, not even the empty one: of a service account that is not there, or has too many. No
label has an empty key."""


def kept_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels of a service account, or `NOT_THERE` when they are over `MAX_LABEL_CHARACTERS`.

    Leaving some out would be worse: ``NotIn`` and ``DoesNotExist`` would match.
    """
    size = sum(map(len, labels)) + sum(map(len, labels.values()))
    return labels if size <= MAX_LABEL_CHARACTERS else NOT_THERE


@dataclass(frozen=True, slots=True)
class SelectorRequirement:
    """One ``matchExpressions`` entry of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` meet the requirement (Kubernetes documentation, "Labels and Selectors")."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None

    def __str__(self) -> str:
        listed = f" [{', '.join(self.values)}]" if self.values else ""
        return f"{self.key} {self.operator}{listed}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A Kubernetes label selector; the empty one matches everything."""

    labels: tuple[tuple[str, str], ...] = ()
    requirements: tuple[SelectorRequirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether ``labels`` are selected."""
        # Plain loops: this is done for each selector and service account of a namespace.
        if "" in labels:
            return False
        for key, value in self.labels:
            if labels.get(key) != value:
                return False
        for requirement in self.requirements:  # noqa: SIM110 - see above
            if not requirement.matches(labels):
                return False
        return True

    def unmet(self, labels: Mapping[str, str]) -> tuple[str, str]:
        """Return the first thing that ``labels`` do not meet, as it is written, and its key; empty when they do."""
        for key, value in self.labels:
            if labels.get(key) != value:
                return f"{key}={value}", key
        for requirement in self.requirements:
            if not requirement.matches(labels):
                return str(requirement), requirement.key
        return "", ""


class _Expression(Strict, frozen=True):
    key: Annotated[str, Meta(min_length=1)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Annotated[list[str], Meta(max_length=25)] | None = None


class RawSelector(Strict, frozen=True):
    """A selector as it is written."""

    match_labels: Annotated[dict[str, str], Meta(max_length=20)] | None = None
    match_expressions: Annotated[list[_Expression], Meta(max_length=10)] | None = None


def parse_selector(raw: Mapping[str, Any], *, field: str = "") -> LabelSelector | None:
    """Return the selector in a mapping as Kubernetes has it; None for an empty one.

    Raises:
        InvalidValueError: it is none.
    """
    if not raw:
        return None
    try:
        return selector_of(part(raw, RawSelector), field="")
    except InvalidValueError as error:
        raise (error.within(field) if field else error) from None


def selector_of(raw: RawSelector | None, *, field: str) -> LabelSelector | None:
    """Return the selector; None for none.

    Raises:
        InvalidValueError: an operator without the values it needs, or with values that it does not take; too large.
    """
    if raw is None:
        return None
    requirements = []
    check_size(_texts(raw), MAX_LABEL_CHARACTERS, field=field)
    for index, expression in enumerate(raw.match_expressions or ()):
        place = f"{field}.matchExpressions[{index}].values".removeprefix(".")
        if (expression.operator in {"In", "NotIn"}) != bool(expression.values):
            verb = "needs" if expression.operator in {"In", "NotIn"} else "takes no"
            raise InvalidValueError(f"operator {expression.operator} {verb} values", field=place)
        requirements.append(SelectorRequirement(expression.key, expression.operator, tuple(expression.values or ())))
    return LabelSelector(tuple(sorted((raw.match_labels or {}).items())), tuple(requirements))


def _texts(raw: RawSelector) -> Iterator[str]:
    for key, value in (raw.match_labels or {}).items():
        yield key
        yield value
    for expression in raw.match_expressions or ():
        yield expression.key
        yield from expression.values or ()
