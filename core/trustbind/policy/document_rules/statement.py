"""A statement of any content, read into the parts that rules look at. What has the wrong form is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation.model import FEDERATED_HOSTS, StatementRef
from trustbind.evaluation.three_valued import as_texts
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.arns import ProviderArn
from trustbind.policy.condition_keys import issuer_prefix
from trustbind.policy.condition_operators import OperatorKind, OperatorName, SetQualifier, UnknownOperatorError
from trustbind.policy.trust_document import Statement, TrustDocument

__all__ = ["ASSUME", "WEB_IDENTITY", "Condition", "Principal", "ReadStatement", "read_statements"]

ASSUME: Final = "sts:AssumeRole"
WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"


@dataclass(frozen=True, slots=True)
class Principal:
    """One entry of a ``Principal`` element.

    Attributes:
        kind: ``AWS``, ``Federated``, ``Service`` or whatever stands there.
        text: the name.
    """

    kind: str
    text: str

    @property
    def provider(self) -> ProviderArn | None:
        """The OIDC provider that it names by ARN."""
        if self.kind != "Federated":
            return None
        try:
            return ProviderArn.parse(self.text)
        except InvalidValueError:
            return None

    @property
    def issuer(self) -> str:
        """Host and path of the OIDC provider that it names, which prefix its condition keys; empty for any other."""
        if self.kind == "Federated" and self.text in FEDERATED_HOSTS:
            return self.text
        provider = self.provider
        return provider.host_path if provider is not None else ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key.

    Attributes:
        operator: as it is written.
        name: its parts.
        key: as it is written.
        values: as texts.
    """

    operator: str
    name: OperatorName
    key: str
    values: tuple[str, ...]

    @property
    def requires_key(self) -> bool:
        """Whether it is false for a request without the key.

        Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Single-valued vs. multivalued
        context keys".
        """
        if self.name.operator.kind is OperatorKind.NULL:
            return {value.lower() for value in self.values} == {"false"}
        if self.name.if_exists or self.name.qualifier is SetQualifier.FOR_ALL_VALUES:
            return False
        return self.name.qualifier is SetQualifier.FOR_ANY_VALUE or not self.name.operator.is_negated

    @property
    def prefix(self) -> str:
        """The issuer that the key belongs to, in lower case; empty for a key of AWS's own such as ``aws:SourceIp``."""
        return issuer_prefix(self.key).lower()

    def is_about(self, issuer: str, claim: str) -> bool:
        """Return whether the key is that claim of that issuer; names do not depend on case."""
        return self.key.lower() == f"{issuer}:{claim}".lower()


@dataclass(frozen=True, slots=True)
class ReadStatement:
    """A statement, as far as it can be read.

    Attributes:
        ref: which one of the document.
        raw: the statement itself.
        effect: ``Allow`` or ``Deny``, or whatever stands there.
        principals: of ``Principal``.
        actions: of ``Action``.
        conditions: those whose operator and values are known.
    """

    ref: StatementRef
    raw: Statement
    effect: Any
    principals: tuple[Principal, ...]
    actions: tuple[str, ...]
    conditions: tuple[Condition, ...]

    @property
    def allows(self) -> bool:
        """Whether it is an Allow."""
        return bool(self.effect == "Allow")

    def covers(self, action: str) -> bool:
        """Return whether its ``Action`` covers an action."""
        return any(glob_matches(text.lower(), action.lower()) for text in self.actions)

    def requires(self, issuer: str, claim: str) -> bool:
        """Return whether a condition is false for a request without that claim of that issuer."""
        return any(c.requires_key and c.is_about(issuer, claim) for c in self.conditions)


def read_statements(document: TrustDocument) -> tuple[ReadStatement, ...]:
    """Return the statements of a document, in their order."""
    return tuple(_read(index, statement) for index, statement in enumerate(document.statements))


def _read(index: int, statement: Statement) -> ReadStatement:
    sid = statement.get("Sid", "")
    return ReadStatement(
        StatementRef(index, sid if isinstance(sid, str) else ""),
        statement,
        statement.get("Effect"),
        tuple(_principals(statement.get("Principal"))),
        tuple(as_texts(statement.get("Action")) or ()),
        tuple(_conditions(statement.get("Condition"))),
    )


def _principals(element: Any) -> Iterator[Principal]:
    if isinstance(element, Mapping):
        for kind, names in element.items():
            yield from (Principal(str(kind), text) for text in as_texts(names) or ())


def _conditions(element: Any) -> Iterator[Condition]:
    for operator, block in element.items() if isinstance(element, Mapping) else ():
        try:
            name = OperatorName.parse(str(operator))
        except UnknownOperatorError:
            continue
        for key, value in block.items() if isinstance(block, Mapping) else ():
            if (values := as_texts(value)) is not None:
                yield Condition(str(operator), name, str(key), tuple(values))
