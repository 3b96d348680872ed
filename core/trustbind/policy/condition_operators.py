"""The condition operators of IAM, in one table.

The parser of RoleBindings, the schema of the CRD, the evaluator and the local AWS all read it. To add an operator, add
a row here and, where its kind and relation are new, how to compare them in ``evaluation/operators.py``; then run
``make generate``, which writes `SPEC_PATTERN` into the CRD.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators". Names are case-sensitive: IAM refuses
``stringEquals`` with "Invalid Condition type".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "IF_EXISTS",
    "OPERATORS",
    "SPEC_PATTERN",
    "ConditionOperator",
    "OperatorKind",
    "OperatorName",
    "Relation",
    "SetQualifier",
    "UnknownOperatorError",
    "spec_pattern",
]

IF_EXISTS: Final = "IfExists"
"""The suffix with which an operator holds when the key is absent."""


class OperatorKind(StrEnum):
    """How an operator reads its values."""

    STRING = "string"
    ARN = "arn"
    NUMERIC = "numeric"
    DATE = "date"
    BOOL = "bool"
    BINARY = "binary"
    IP = "ip"
    NULL = "null"


class Relation(StrEnum):
    """How the request's value must relate to the policy's value."""

    EQUALS = "equals"
    EQUALS_IGNORE_CASE = "equals, ignoring case"
    LIKE = "like"
    LESS_THAN = "less than"
    LESS_THAN_EQUALS = "less than or equal"
    GREATER_THAN = "greater than"
    GREATER_THAN_EQUALS = "greater than or equal"
    IN_NETWORK = "in network"
    IS_ABSENT = "is absent"


class SetQualifier(StrEnum):
    """The prefixes of operators on keys with several values.

    Source: IAM User Guide, "Set operators for multivalued context keys".
    """

    FOR_ANY_VALUE = "ForAnyValue"
    FOR_ALL_VALUES = "ForAllValues"
    """True when the key is absent, so it protects nothing in a statement that grants; not allowed in a spec."""

    @property
    def is_allowed_in_spec(self) -> bool:
        """Whether ``spec.conditions`` of a RoleBinding may use it."""
        return self is SetQualifier.FOR_ANY_VALUE


@dataclass(frozen=True, slots=True)
class ConditionOperator:
    """One row of the table.

    Attributes:
        name: as policies write it.
        kind: how values are read.
        relation: how they are compared.
        is_negated: whether it matches when the relation holds for none of the policy's values.
        is_allowed_in_spec: whether ``spec.conditions`` of a RoleBinding may use it.
        takes_if_exists: whether ``IfExists`` may be its suffix.
        takes_set_qualifier: whether ``ForAnyValue:`` or ``ForAllValues:`` may be its prefix.
        replaces_variables: whether policy variables are replaced in the policy's values.
    """

    name: str
    kind: OperatorKind
    relation: Relation
    is_negated: bool = False
    is_allowed_in_spec: bool = True
    takes_if_exists: bool = True
    takes_set_qualifier: bool = True
    replaces_variables: bool = False


class UnknownOperatorError(ValueError):
    """The text is not a condition operator. The message is a predicate, such as ``has an unknown prefix``."""


def _positive_and_negative(
    positive: str, negative: str, kind: OperatorKind, relation: Relation, *, replaces_variables: bool = False
) -> Iterator[ConditionOperator]:
    yield ConditionOperator(positive, kind, relation, replaces_variables=replaces_variables)
    yield ConditionOperator(negative, kind, relation, is_negated=True, replaces_variables=replaces_variables)


def _ordered(family: str, kind: OperatorKind) -> Iterator[ConditionOperator]:
    """Yield the six operators of a family whose values have an order."""
    yield from _positive_and_negative(f"{family}Equals", f"{family}NotEquals", kind, Relation.EQUALS)
    yield ConditionOperator(f"{family}LessThan", kind, Relation.LESS_THAN)
    yield ConditionOperator(f"{family}LessThanEquals", kind, Relation.LESS_THAN_EQUALS)
    yield ConditionOperator(f"{family}GreaterThan", kind, Relation.GREATER_THAN)
    yield ConditionOperator(f"{family}GreaterThanEquals", kind, Relation.GREATER_THAN_EQUALS)


def _by_name(operators: Iterable[ConditionOperator]) -> dict[str, ConditionOperator]:
    return {operator.name: operator for operator in operators}


OPERATORS: Final = _by_name(
    (
        *_positive_and_negative(
            "StringEquals", "StringNotEquals", OperatorKind.STRING, Relation.EQUALS, replaces_variables=True
        ),
        *_positive_and_negative(
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            OperatorKind.STRING,
            Relation.EQUALS_IGNORE_CASE,
            replaces_variables=True,
        ),
        *_positive_and_negative(
            "StringLike", "StringNotLike", OperatorKind.STRING, Relation.LIKE, replaces_variables=True
        ),
        *_ordered("Numeric", OperatorKind.NUMERIC),
        *_ordered("Date", OperatorKind.DATE),
        ConditionOperator("Bool", OperatorKind.BOOL, Relation.EQUALS, replaces_variables=True),
        ConditionOperator("BinaryEquals", OperatorKind.BINARY, Relation.EQUALS),
        *_positive_and_negative("IpAddress", "NotIpAddress", OperatorKind.IP, Relation.IN_NETWORK),
        # "ArnEquals and ArnLike behave identically", and so do their negations.
        *_positive_and_negative("ArnEquals", "ArnNotEquals", OperatorKind.ARN, Relation.LIKE, replaces_variables=True),
        *_positive_and_negative("ArnLike", "ArnNotLike", OperatorKind.ARN, Relation.LIKE, replaces_variables=True),
        ConditionOperator(
            "Null", OperatorKind.NULL, Relation.IS_ABSENT, takes_if_exists=False, takes_set_qualifier=False
        ),
    )
)
"""Every operator, by name."""

_LOWER_NAMES: Final = {name.lower(): name for name in OPERATORS}
_QUALIFIERS: Final = {qualifier.value: qualifier for qualifier in SetQualifier}


@dataclass(frozen=True, slots=True)
class OperatorName:
    """A condition operator as a policy writes it, such as ``ForAnyValue:StringLikeIfExists``."""

    operator: ConditionOperator
    qualifier: SetQualifier | None = None
    if_exists: bool = False

    @classmethod
    def parse(cls, text: str) -> OperatorName:
        """Return the parts of ``text``.

        Raises:
            UnknownOperatorError: IAM has no such operator, or refuses this prefix or suffix on it.
        """
        prefix, colon, rest = text.rpartition(":")
        if colon and prefix not in _QUALIFIERS:
            raise UnknownOperatorError("has an unknown prefix")
        base = rest.removesuffix(IF_EXISTS)
        if_exists = base != rest
        operator = OPERATORS.get(base)
        if operator is None:
            meant = _LOWER_NAMES.get(base.lower().removesuffix(IF_EXISTS.lower()))
            hint = f"; names of operators are case-sensitive, IAM has {meant}" if meant else ""
            raise UnknownOperatorError(f"is not known{hint}")
        if colon and not operator.takes_set_qualifier:
            raise UnknownOperatorError(f"is not known; {operator.name} takes no prefix")
        if if_exists and not operator.takes_if_exists:
            raise UnknownOperatorError(f"is not known; {operator.name} takes no {IF_EXISTS}")
        return cls(operator, _QUALIFIERS.get(prefix), if_exists)


def spec_pattern(operators: Iterable[ConditionOperator]) -> str:
    """Return a regular expression, for Python and RE2, of what ``spec.conditions[].operator`` may be.

    Args:
        operators: the table's rows; those that are not allowed there are left out.
    """
    qualifiers = "|".join(f"{qualifier}:" for qualifier in SetQualifier if qualifier.is_allowed_in_spec)
    names: dict[tuple[bool, bool], list[str]] = {}
    for operator in operators:
        if operator.is_allowed_in_spec:
            names.setdefault((operator.takes_set_qualifier, operator.takes_if_exists), []).append(operator.name)
    alternatives = [
        f"{f'({qualifiers})?' if takes_set_qualifier else ''}({'|'.join(group)})"
        f"{f'({IF_EXISTS})?' if takes_if_exists else ''}"
        for (takes_set_qualifier, takes_if_exists), group in names.items()
    ]
    return f"^({'|'.join(alternatives)})$"


SPEC_PATTERN: Final = spec_pattern(OPERATORS.values())
"""What ``spec.conditions[].operator`` of a RoleBinding may be."""
