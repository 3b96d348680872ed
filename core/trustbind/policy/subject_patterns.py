"""Which service accounts a statement can match: patterns that leave none out.

A statement matches a subject only where each of its conditions on the subject holds. So the values of one condition
that is not negated cover all of them. Where there is no such condition, the pattern is ``*``.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Final

from trustbind.evaluation.request_context import ValueForm
from trustbind.evaluation.wildcards import glob_covers, globs_meet, has_wildcard
from trustbind.identity.subjects import Issuer
from trustbind.policy.condition_operators import ConditionOperator, OperatorKind, Relation
from trustbind.policy.statement_parts import conditions_on
from trustbind.policy.trust_document import VERSION, Statement, TrustDocument

__all__ = ["ANY", "asked_values", "audience_form", "audience_patterns", "subject_form", "subject_patterns"]

ANY: Final = "*"

_SUBJECTS: Final = "system:serviceaccount:*:*"
_LETTERS: Final = frozenset(string.ascii_lowercase + string.digits + "-.")
"""Characters of names of namespaces and service accounts; see `trustbind.identity.subjects.Subject`."""
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}")
_TEXTS: Final = frozenset({OperatorKind.STRING, OperatorKind.ARN})


def subject_patterns(statement: Statement, issuer: Issuer, *, variables: bool) -> list[str]:
    """Return patterns of which each service account matches one that a statement can match; none where it matches none.

    Args:
        statement: of a trust policy.
        issuer: the cluster's.
        variables: whether policy variables are replaced. A variable counts as any text.
    """
    found = [
        [
            _as_pattern(operator, text, variables=variables)
            for text in texts
            if _may_name_one(operator, text, variables=variables)
        ]
        for operator, texts in _asking(statement, issuer.subject_key)
    ]
    if not found:
        return [ANY]
    return min(found, key=lambda patterns: (any(map(has_wildcard, patterns)), not _is_narrowest(patterns, found)))


def asked_values(statement: Statement, key: str, *, variables: bool) -> list[list[str]]:
    """Return the values of each condition that asks for a key to be one of them; wildcards in them are patterns.

    A value with a wildcard that stands for itself is a pattern here, too, and matches more than it should.

    Args:
        statement: of a trust policy.
        key: its name.
        variables: whether policy variables are replaced. A variable counts as any text.
    """
    return [
        [_as_pattern(operator, text, variables=variables) for text in texts]
        for operator, texts in _asking(statement, key)
    ]


def _asking(statement: Statement, key: str) -> Iterator[tuple[ConditionOperator, list[str]]]:
    for name, texts in conditions_on(statement, key):
        if name is not None and name.operator.kind in _TEXTS and not name.operator.is_negated:
            yield name.operator, texts


def _as_pattern(operator: ConditionOperator, text: str, *, variables: bool) -> str:
    pattern = _VARIABLE.sub("*", text) if variables else text
    return pattern.lower() if operator.relation is Relation.EQUALS_IGNORE_CASE else pattern


def _may_name_one(operator: ConditionOperator, text: str, *, variables: bool) -> bool:
    """Return whether a value can match a service account; one with a wildcard that stands for itself cannot."""
    around = _VARIABLE.sub("", text) if variables else text
    if operator.relation is not Relation.LIKE and has_wildcard(around):
        return False
    return globs_meet(_as_pattern(operator, text, variables=variables), _SUBJECTS, letters=_LETTERS)


def _is_narrowest(patterns: list[str], others: list[list[str]]) -> bool:
    return all(any(glob_covers(wide, each) for wide in other) for other in others for each in patterns)


def subject_form(pattern: str) -> ValueForm:
    """Return what is known of the subject of a service account that matches a pattern."""
    shown = "the subject of a service account" if pattern == ANY else f'a subject like "{pattern}"'
    return ValueForm(((pattern, _SUBJECTS),), shown)


def audience_form(pattern: str) -> ValueForm:
    """Return what is known of an audience that matches a pattern."""
    return ValueForm(((pattern,),), "an audience that the pod chooses" if pattern == ANY else f'one like "{pattern}"')


def audience_patterns(document: TrustDocument, issuer: Issuer) -> frozenset[str]:
    """Return patterns of audiences that may work where none of those does that the conditions name.

    An audience that no condition names can work only where a statement that allows asks for none by name, and that or
    another has a condition on the audience.
    """
    key, variables = issuer.audience_key, document.version == VERSION
    found: set[str] = set()
    is_denied = any(s.get("Effect") != "Allow" and any(conditions_on(s, key)) for s in document.statements)
    for statement in document.statements:
        if statement.get("Effect") != "Allow":
            continue
        asked = asked_values(statement, key, variables=variables)
        if asked:
            found.update(filter(has_wildcard, min(asked, key=lambda texts: any(map(has_wildcard, texts)))))
        elif is_denied or any(conditions_on(statement, key)):
            found.add(ANY)
    return frozenset(found)
