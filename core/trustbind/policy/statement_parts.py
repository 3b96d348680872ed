"""Principals and condition values that a statement of a trust policy names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trustbind.evaluation.three_valued import as_texts
from trustbind.policy.condition_operators import OperatorName, UnknownOperatorError
from trustbind.policy.trust_document import Statement

__all__ = ["condition_values", "conditions_on", "principals_of"]


def principals_of(statement: Statement) -> Iterator[tuple[str, str]]:
    """Yield type and name of each entry of ``Principal``; the type of a bare ``*`` is ``AWS``."""
    principal: Any = statement.get("Principal")
    if isinstance(principal, str):
        yield "AWS", principal
    for kind, value in principal.items() if isinstance(principal, Mapping) else ():
        yield from ((str(kind), text) for text in as_texts(value) or ())


def conditions_on(statement: Statement, key: str) -> Iterator[tuple[OperatorName | None, list[str]]]:
    """Yield the operator and the values of each condition on a key.

    An operator that IAM does not have is None. Values that are no texts are left out.
    """
    condition = statement.get("Condition")
    for written, block in condition.items() if isinstance(condition, Mapping) else ():
        for name, value in block.items() if isinstance(block, Mapping) else ():
            if str(name).lower() == key.lower():
                yield _operator(str(written)), as_texts(value) or []


def condition_values(statement: Statement, key: str) -> Iterator[str]:
    """Yield the values of all conditions on a key."""
    for _, values in conditions_on(statement, key):
        yield from values


def _operator(written: str) -> OperatorName | None:
    try:
        return OperatorName.parse(written)
    except UnknownOperatorError:
        return None
