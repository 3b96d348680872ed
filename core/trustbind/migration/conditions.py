"""The ``Condition`` of a statement for service-account tokens, split into subject, audience and further conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_matches, has_wildcard
from trustbind.identity.subjects import Issuer
from trustbind.migration.findings import ImportReason
from trustbind.policy.condition_keys import is_key_of, issuer_prefix
from trustbind.policy.condition_operators import (
    SPEC_PATTERN,
    ConditionOperator,
    OperatorName,
    Relation,
    UnknownOperatorError,
)
from trustbind.policy.trust_document import Statement

__all__ = ["Constraint", "NotExpressibleError", "TokenConditions", "values_of"]

_IN_SPEC = re.compile(SPEC_PATTERN)
_READABLE: Final = frozenset({Relation.EQUALS, Relation.LIKE})


class NotExpressibleError(InvalidValueError):
    """No binding can say what a statement says.

    Attributes:
        reason: see `ImportReason`.
    """

    def __init__(self, reason: ImportReason, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Constraint:
    """What one condition asks of one claim: to be one of the literals, or to match one of the patterns."""

    literals: frozenset[str]
    patterns: tuple[str, ...]

    def holds_for(self, text: str) -> bool:
        """Return whether the claim may have this value."""
        return text in self.literals or any(glob_matches(pattern, text) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class TokenConditions:
    """A statement's conditions; all of them have to hold.

    Attributes:
        subject: on the token's ``sub``.
        audience: on the token's ``aud``.
        further: the others, as a binding has them.
    """

    subject: tuple[Constraint, ...]
    audience: tuple[Constraint, ...]
    further: tuple[ExtraCondition, ...]

    @classmethod
    def of(cls, statement: Statement, issuer: Issuer, *, variables: bool) -> TokenConditions:
        """Return the conditions of a statement.

        Args:
            statement: the statement.
            issuer: of the tokens.
            variables: whether ``${...}`` is a policy variable in the document; else it is literal text (IAM User
                Guide, "IAM JSON policy elements: Version").

        Raises:
            NotExpressibleError: a condition has a form that bindings do not have.
        """
        subject: list[Constraint] = []
        audience: list[Constraint] = []
        further: list[ExtraCondition] = []
        claims = {issuer.subject_key.casefold(): subject, issuer.audience_key.casefold(): audience}
        for operator, key, values in _flattened(statement):
            if (found := claims.get(key.casefold())) is not None:
                found.append(_constraint(operator, key, values, variables=variables))
            else:
                further.append(_further(operator, key, values, issuer))
        return cls(tuple(subject), tuple(audience), tuple(sorted(further)))


def values_of(constraints: Iterable[Constraint]) -> tuple[list[str], list[str]]:
    """Return the literal values of a claim for which all constraints hold, and the patterns that leave it open.

    Without a pattern in the second list, the first list is everything that the constraints allow. Where there is no
    constraint, the only pattern is ``*``.
    """
    listed = tuple(constraints)
    literals = {text for constraint in listed for text in constraint.literals}
    exact = sorted(text for text in literals if all(constraint.holds_for(text) for constraint in listed))
    if any(not constraint.patterns for constraint in listed):
        return exact, []
    return exact, [pattern for constraint in listed for pattern in constraint.patterns] or ["*"]


def _flattened(statement: Statement) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield operator, key and values of each condition."""
    condition = statement.get("Condition", {})
    if not isinstance(condition, Mapping):
        raise NotExpressibleError(ImportReason.UNREADABLE, "its Condition is not an object")
    for operator, block in condition.items():
        if not isinstance(block, Mapping):
            raise NotExpressibleError(ImportReason.UNREADABLE, f"its condition {operator} is not an object")
        for key, value in block.items():
            listed = value if isinstance(value, list) else [value]
            yield operator, key, tuple(_text(each, key) for each in listed)


def _text(value: Any, key: str) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise NotExpressibleError(ImportReason.UNREADABLE, f"its condition on {key} has a value that is not a text")


def _operator(text: str) -> ConditionOperator:
    try:
        return OperatorName.parse(text).operator
    except UnknownOperatorError as error:
        raise NotExpressibleError(ImportReason.UNREADABLE, f"its condition operator {text} {error}") from None


def _constraint(operator: str, key: str, values: tuple[str, ...], *, variables: bool) -> Constraint:
    """Return what a condition asks of ``sub`` or ``aud``.

    Every service-account token has both, and one value of each, so neither ``IfExists`` nor a set operator changes
    the answer.
    """
    known = _operator(operator)
    if known.is_negated or known.relation not in _READABLE or not known.name.startswith("String"):
        raise NotExpressibleError(
            ImportReason.OTHER_OPERATOR,
            f"it compares {key} by {operator}, and a binding names exact values; list them with StringEquals",
        )
    if variables and (found := next((text for text in values if "${" in text), "")):
        raise NotExpressibleError(
            ImportReason.POLICY_VARIABLE, f"its value {found} of {key} has a policy variable, which no binding has"
        )
    if known.relation is Relation.EQUALS:
        return Constraint(frozenset(values), ())
    return Constraint(frozenset(text for text in values if not has_wildcard(text)), tuple(filter(has_wildcard, values)))


def _further(operator: str, key: str, values: tuple[str, ...], issuer: Issuer) -> ExtraCondition:
    _operator(operator)
    if not _IN_SPEC.fullmatch(operator):
        raise NotExpressibleError(
            ImportReason.OTHER_OPERATOR, f"its condition {operator} on {key} is none that spec.conditions has"
        )
    if issuer_prefix(key) and not is_key_of(key, issuer):
        raise NotExpressibleError(
            ImportReason.OTHER_ISSUER_KEY,
            f"it has a condition on {key}, a key of another issuer, so no token of this cluster matches; remove it",
        )
    return ExtraCondition(operator, key, tuple(sorted(set(values))))
