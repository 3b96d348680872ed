"""Kubernetes label selectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from trustbind.api.strict import Strict
from trustbind.errors import InvalidValueError

__all__ = ["LabelSelector", "RawSelector", "SelectorRequirement", "selector_of"]


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
        return all(labels.get(k) == v for k, v in self.labels) and all(r.matches(labels) for r in self.requirements)

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
    values: list[str] | None = None


class RawSelector(Strict, frozen=True):
    """A selector as it is written."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


def selector_of(raw: RawSelector | None, *, field: str) -> LabelSelector | None:
    """Return the selector; None for none.

    Raises:
        InvalidValueError: an operator without the values it needs, or with values that it does not take.
    """
    if raw is None:
        return None
    requirements = []
    for index, expression in enumerate(raw.match_expressions or ()):
        place = f"{field}.matchExpressions[{index}].values"
        if (expression.operator in {"In", "NotIn"}) != bool(expression.values):
            verb = "needs" if expression.operator in {"In", "NotIn"} else "takes no"
            raise InvalidValueError(f"operator {expression.operator} {verb} values", field=place)
        requirements.append(SelectorRequirement(expression.key, expression.operator, tuple(expression.values or ())))
    return LabelSelector(tuple(sorted((raw.match_labels or {}).items())), tuple(requirements))
