"""The table of condition operators."""

from __future__ import annotations

import dataclasses
import re

import pytest

from trustbind.evaluation.operators import comparison_of
from trustbind.policy.condition_operators import (
    IF_EXISTS,
    OPERATORS,
    SPEC_PATTERN,
    ConditionOperator,
    OperatorKind,
    OperatorName,
    Relation,
    SetQualifier,
    UnknownOperatorError,
    spec_pattern,
)

NAMES = [
    f"{qualifier}{name}{suffix}"
    for name in (*OPERATORS, "Nothing", "stringEquals", "")
    for qualifier in ("", *(f"{q}:" for q in SetQualifier), "ForSomeValues:", ":")
    for suffix in ("", IF_EXISTS, IF_EXISTS * 2, " ", "\n")
]


def is_allowed(text: str) -> bool:
    """Return whether a spec may have the operator, by its parts."""
    try:
        name = OperatorName.parse(text)
    except UnknownOperatorError:
        return False
    return name.operator.is_allowed_in_spec and (name.qualifier is None or name.qualifier.is_allowed_in_spec)


def test_pattern_and_parser_agree() -> None:
    """The pattern accepts exactly the names that parse and are allowed in a spec."""
    accepted = [name for name in NAMES if re.fullmatch(SPEC_PATTERN, name)]

    assert accepted == [name for name in NAMES if is_allowed(name)]
    assert len(accepted) == 4 * (len(OPERATORS) - 1) + 1


def test_every_operator_can_be_evaluated() -> None:
    """Each row has a comparison, except Null, which compares no values."""
    for operator in OPERATORS.values():
        if operator.kind is not OperatorKind.NULL:
            comparison_of(operator)


def test_parts_of_a_name() -> None:
    """Prefix, operator and suffix are separated."""
    assert OperatorName.parse("StringLike") == OperatorName(OPERATORS["StringLike"])
    assert OperatorName.parse("ForAllValues:ArnLikeIfExists") == OperatorName(
        OPERATORS["ArnLike"], SetQualifier.FOR_ALL_VALUES, if_exists=True
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ForEveryValue:StringLike", "has an unknown prefix"),
        ("ForAnyValue:ForAllValues:StringLike", "has an unknown prefix"),
        ("StringEqual", "is not known"),
        ("stringlikeIFEXISTS", "is not known; names of operators are case-sensitive, IAM has StringLike"),
        ("null", "is not known; names of operators are case-sensitive, IAM has Null"),
        ("ForAnyValue:Null", "is not known; Null takes no prefix"),
        ("NullIfExists", "is not known; Null takes no IfExists"),
    ],
)
def test_unknown_name(text: str, problem: str) -> None:
    """The message says why the text is not an operator."""
    with pytest.raises(UnknownOperatorError) as caught:
        OperatorName.parse(text)
    assert str(caught.value) == problem


def test_pattern_follows_the_table() -> None:
    """A new row extends the pattern; one that is not allowed in a spec does not."""
    row = ConditionOperator("Odd", OperatorKind.NUMERIC, Relation.EQUALS, takes_if_exists=False)

    assert spec_pattern([row]) == "^((ForAnyValue:)?(Odd))$"
    assert re.fullmatch(spec_pattern([*OPERATORS.values(), row]), "ForAnyValue:Odd")
    assert spec_pattern([row, dataclasses.replace(row, name="Even", is_allowed_in_spec=False)]) == spec_pattern([row])
