"""Findings in one trust policy that only ``trustbind lint`` tells."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from typing import Any, Final

from trustbind.api import github_subjects
from trustbind.api.github_subjects import SubjectForm
from trustbind.evaluation.three_valued import as_texts, quoted
from trustbind.evaluation.wildcards import globs_meet
from trustbind.identity.subjects import Issuer
from trustbind.linting import kinds
from trustbind.linting.kinds import Lint
from trustbind.policy.condition_operators import OperatorKind, Relation
from trustbind.policy.document_rules.statement import Condition, ReadStatement, read_statements
from trustbind.policy.plan import DEFAULT_LIMIT, NEAR_LIMIT_SHARE
from trustbind.policy.trust_document import SourceStatement, Statement, TrustDocument, json_size, statement_meaning

__all__ = ["lint_document"]

_PULL_REQUESTS: Final = "repo:*:pull_request"
_LETTERS: Final = frozenset(string.printable) - {":"}
"""Characters of names of owners and repositories, and more."""
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"
_CLAIMS: Final = frozenset({"sub", "aud"})


def lint_document(document: TrustDocument, limit: int | None = None) -> Iterator[Lint]:
    """Yield what only `lint` finds in a trust policy.

    Args:
        document: the trust policy.
        limit: characters that the AWS account allows; None where that is not known.
    """
    yield from _repeated(document)
    yield from _almost_too_long(document, limit)
    for statement in read_statements(document):
        if statement.allows:
            for condition in statement.conditions:
                yield from _of_condition(statement, condition)


def _repeated(document: TrustDocument) -> Iterator[Lint]:
    first: dict[str, int] = {}
    for read in read_statements(document):
        if isinstance(read.raw, SourceStatement) and read.raw.repeats_key:
            continue
        meaning = statement_meaning({key: value for key, value in read.raw.items() if key != "Sid"})
        number = first.setdefault(meaning, read.ref.index + 1)
        if number != read.ref.index + 1:
            yield Lint(kinds.REPEATED_STATEMENT, f"repeats statement {number}; remove one of them", read.ref)


def _almost_too_long(document: TrustDocument, limit: int | None) -> Iterator[Lint]:
    allowed = limit if limit is not None else DEFAULT_LIMIT
    size = document.size
    if size <= allowed * NEAR_LIMIT_SHARE or (limit is not None and size > limit):  # the rule TooLong has the rest
        return
    whose = "" if limit is not None else " that an AWS account allows by default"
    saved = _saved_by_grouping(document)
    advice = (
        f"statements that differ in their subjects alone can be one, which saves {saved} characters"
        if saved > 0
        else "use a second role, or raise the quota 'Role trust policy length'"
    )
    yield Lint(kinds.ALMOST_TOO_LONG, f"has {size} of the {allowed} characters{whose}; {advice}")


def _saved_by_grouping(document: TrustDocument) -> int:
    """Return how many characters are saved when statements that differ in their subjects alone become one."""
    groups: dict[str, list[tuple[Statement, list[str]]]] = {}
    for statement in document.statements:
        rest, subjects = _without_subjects(statement)
        if subjects:
            groups.setdefault(rest, []).append((statement, subjects))
    saved = 0
    for members in groups.values():
        names = dict.fromkeys(name for _, subjects in members for name in subjects)
        longest = max(json_size(statement) - json_size(subjects) for statement, subjects in members)
        merged = longest + json_size(list(names))
        saved += max(sum(json_size(statement) + 1 for statement, _ in members) - merged - 1, 0)
    return saved


def _without_subjects(statement: Statement) -> tuple[str, list[str]]:
    """Return a statement as text, without its Sid and subjects, and these; none where it has not one such condition."""
    found: list[list[str]] = []
    condition = statement.get("Condition")
    rest: dict[str, Any] = {}
    for operator, block in condition.items() if isinstance(condition, dict) else ():
        rest[operator] = dict(block) if isinstance(block, dict) else block
        for key in list(block) if isinstance(block, dict) else ():
            if str(key).endswith(":sub"):
                found.append(as_texts(block[key]) or [])
                rest[operator][key] = None
    others = {key: value for key, value in statement.items() if key not in {"Sid", "Condition"}}
    return json.dumps([others, rest], sort_keys=True, default=str), found[0] if len(found) == 1 else []


def _of_condition(statement: ReadStatement, condition: Condition) -> Iterator[Lint]:
    claim = condition.key.lower().rpartition(":")[2]
    operator = condition.name.operator
    if not condition.prefix or claim not in _CLAIMS:
        return
    if operator.kind is OperatorKind.NULL and "true" in {value.lower() for value in condition.values}:
        message = f"wants {quoted(condition.key)} to be absent; write false, and a condition on its value"
        yield Lint(kinds.ABSENT_CLAIM, message, statement.ref)
    if claim == "sub" and operator.kind is OperatorKind.STRING and not operator.is_negated:
        for value in condition.values:
            yield from _of_subject(statement, condition, value)


def _of_subject(statement: ReadStatement, condition: Condition, value: str) -> Iterator[Lint]:
    is_pattern = condition.name.operator.relation is Relation.LIKE
    if github_subjects.is_github(Issuer(f"https://{condition.prefix}")):
        if github_subjects.form_of(value) is SubjectForm.NAMES:
            message = f"has the subject {quoted(value)} without ids; write repo:OWNER@ID/REPO@ID"
            yield Lint(kinds.SUBJECT_BY_NAME, message, statement.ref)
        if globs_meet(value, _PULL_REQUESTS, letters=_LETTERS) if is_pattern else value.endswith(":pull_request"):
            message = f"has the subject {quoted(value)}, which matches pull requests; name a branch or an environment"
            yield Lint(kinds.PULL_REQUEST, message, statement.ref)
    before, star, after = value.partition("*")
    if is_pattern and star and ":" in after and not before.startswith(_SERVICE_ACCOUNT):
        message = f"has the pattern {quoted(value)}, whose * also stands for colons; write the part out"
        yield Lint(kinds.WILDCARD_OVER_COLON, message, statement.ref)
