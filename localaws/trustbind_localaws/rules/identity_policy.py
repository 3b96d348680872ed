"""What a caller's own policies say about an action. Pure, and small on purpose.

Looks at Effect, Action or NotAction, and Resource or NotResource. A statement with a Condition counts as not matching,
whatever its effect, unless it is about keys of which the value is known: permissions here are for exercising the
halves, not for testing IAM. Source: IAM User Guide, "Policy evaluation logic" (an explicit deny wins; without an allow
the answer is no).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

from trustbind.evaluation.conditions import check_condition
from trustbind.evaluation.request_context import RequestContext
from trustbind.evaluation.three_valued import Truth
from trustbind.evaluation.wildcards import glob_matches

__all__ = ["Verdict", "judge"]


class Verdict(StrEnum):
    """What a set of identity policies says."""

    ALLOW = "allow"
    DENY = "deny"
    SILENT = "silent"
    """Neither; an implicit deny where an allow is needed."""


def judge(
    documents: Iterable[str], action: str, resource: str, context: Mapping[str, tuple[str, ...]] | None = None
) -> Verdict:
    """Return what identity policies say.

    Args:
        documents: the policies, as JSON.
        action: such as ``iam:GetRole``.
        resource: the ARN acted on, or ``*`` for an action that names none.
        context: condition keys whose value is known.
    """
    known = RequestContext.of(context or {})
    effects = {
        str(statement.get("Effect"))
        for document in documents
        for statement in _statements(document)
        if _matches(statement, action, resource, known)
    }
    if "Deny" in effects:
        return Verdict.DENY
    return Verdict.ALLOW if "Allow" in effects else Verdict.SILENT


@lru_cache(maxsize=4096)
def _statements(document: str) -> tuple[Mapping[str, Any], ...]:
    statements = json.loads(document).get("Statement", [])
    listed = statements if isinstance(statements, list) else [statements]
    return tuple(statement for statement in listed if isinstance(statement, dict))


def _matches(statement: Mapping[str, Any], action: str, resource: str, known: RequestContext) -> bool:
    condition = statement.get("Condition")
    if condition and not _holds(condition, known):
        return False
    if "Action" in statement:
        acts = _names_action(statement["Action"], action)
    else:
        acts = "NotAction" in statement and not _names_action(statement["NotAction"], action)
    if "Resource" in statement:
        on = _any(statement["Resource"], resource)
    else:
        on = "NotResource" in statement and not _any(statement["NotResource"], resource)
    return acts and on


def _holds(condition: Any, known: RequestContext) -> bool:
    keys = {str(key).lower() for block in condition.values() for key in block}
    return keys <= known.values.keys() and check_condition(condition, known, variables=True).truth is Truth.YES


def _names_action(patterns: Any, action: str) -> bool:
    listed = patterns if isinstance(patterns, list) else [patterns]
    return _any([str(pattern).lower() for pattern in listed], action.lower())


def _any(patterns: Any, text: str) -> bool:
    listed = patterns if isinstance(patterns, list) else [patterns]
    return any(glob_matches(str(pattern), text) for pattern in listed)
