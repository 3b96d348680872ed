"""What a rule is, what it finds, and what it looks at."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trustbind.evaluation.model import StatementRef
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules.statement import ReadStatement
from trustbind.policy.trust_document import TrustDocument

__all__ = ["MALFORMED", "Exists", "Finding", "Found", "Rule", "Scene", "Severity", "of_document", "of_statement"]

Exists = Callable[[str, str], bool]
"""Tells whether a principal exists, from its type (``AWS`` or ``Service``) and its name."""

MALFORMED: Final = "MalformedPolicyDocument"
"""IAM's error code for a document that breaks a rule (IAM API reference, UpdateAssumeRolePolicy)."""


class Severity(StrEnum):
    """What comes of it."""

    REFUSED = "refused"
    """IAM refuses every write of a document that has it."""
    DEAD = "dead"
    """The statement never applies: an Allow admits no caller, a Deny stops none."""
    RISKY = "risky"
    """The statement probably applies to more callers, or to fewer, than its author wants."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the rules look at.

    Attributes:
        document: the trust policy.
        role: whose.
        limit: characters that the AWS account allows; None where that is not known.
        exists: None where it is not known which principals exist.
        statements: of the document, in their order.
    """

    document: TrustDocument
    role: RoleArn
    limit: int | None
    exists: Exists | None
    statements: tuple[ReadStatement, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found in one place.

    Attributes:
        message: what is wrong there and what to do, without the place.
        aws_message: IAM's own words where they are known; empty elsewhere.
        aws_code: IAM's error code.
    """

    message: str
    aws_message: str = ""
    aws_code: str = MALFORMED


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about trust policies.

    Attributes:
        code: ``TB2`` and two digits; never given to another rule.
        name: one word, the same everywhere.
        severity: see `Severity`.
        meaning: what breaks it.
        remedy: what to do.
        source: where it is documented, or reported.
        may_be_stored: whether IAM may store a document that breaks it: what it names was deleted since, or the rule is
            younger than the document.
        look: finds every place.
    """

    code: str
    name: str
    severity: Severity
    meaning: str
    remedy: str
    source: str
    may_be_stored: bool
    look: Callable[[Scene], Iterator[tuple[StatementRef | None, Found]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where a document breaks a rule.

    Attributes:
        rule: which.
        statement: where; None for the document as a whole.
        message: what is wrong there and what to do, without the place.
        aws_message: see `Found`.
        aws_code: see `Found`.
    """

    rule: Rule
    statement: StatementRef | None
    message: str
    aws_message: str = ""
    aws_code: str = MALFORMED

    @property
    def severity(self) -> Severity:
        """The rule's."""
        return self.rule.severity

    def __str__(self) -> str:
        return f"{self.statement or 'the document'} {self.message}"


def of_document(
    code: str, name: str, severity: Severity, source: str, *, may_be_stored: bool = False
) -> Callable[[Callable[[Scene], Iterator[tuple[StatementRef | None, Found]]]], Rule]:
    """Return a decorator that makes a rule of a function over the whole document; see `of_statement`."""

    def decorate(look: Callable[[Scene], Iterator[tuple[StatementRef | None, Found]]]) -> Rule:
        meaning, remedy = _explained(look)
        return Rule(code, name, severity, meaning, remedy, source, may_be_stored, look)

    return decorate


def of_statement(
    code: str, name: str, severity: Severity, source: str, *, may_be_stored: bool = False
) -> Callable[[Callable[[Scene, ReadStatement], Iterator[Found]]], Rule]:
    """Return a decorator that makes a rule of a function over one statement.

    The function's docstring is the rule's meaning and, after "Remedy:", its remedy; docs/reference/findings.md is
    made of them.
    """

    def decorate(look: Callable[[Scene, ReadStatement], Iterator[Found]]) -> Rule:
        def look_everywhere(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
            return ((statement.ref, found) for statement in scene.statements for found in look(scene, statement))

        meaning, remedy = _explained(look)
        return Rule(code, name, severity, meaning, remedy, source, may_be_stored, look_everywhere)

    return decorate


def _explained(look: Callable[..., object]) -> tuple[str, str]:
    """Return meaning and remedy from a docstring.

    Raises:
        ValueError: it lacks one of them.
    """
    meaning, _, remedy = " ".join((inspect.getdoc(look) or "").split()).partition(" Remedy: ")
    if not meaning or not remedy:
        raise ValueError(f"{look.__name__} needs a docstring: its meaning, then 'Remedy: ...'")
    return meaning, remedy[:1].upper() + remedy[1:]
