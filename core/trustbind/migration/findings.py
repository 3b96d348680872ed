"""What an import says about trust policies and service accounts besides the objects that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trustbind.evaluation.model import StatementRef
from trustbind.identity.arns import RoleArn

__all__ = ["ImportFinding", "ImportReason"]


class ImportReason(StrEnum):
    """Why a statement is not imported, or what the user should know about what is.

    The first group grants this cluster's service accounts something that no binding of the import grants.
    """

    WILDCARD_SUBJECT = "WildcardSubject"
    NO_SUBJECT = "NoSubject"
    WILDCARD_AUDIENCE = "WildcardAudience"
    SEVERAL_AUDIENCES = "SeveralAudiences"
    OTHER_OPERATOR = "OtherOperator"
    POLICY_VARIABLE = "PolicyVariable"
    EVERYONE = "Everyone"
    INVERTED_ELEMENT = "InvertedElement"
    UNREADABLE = "Unreadable"
    NOT_A_BINDING = "NotABinding"

    OTHER_ISSUER_KEY = "OtherIssuerKey"
    OTHER_PROVIDER = "OtherProvider"
    OTHER_ACTION = "OtherAction"
    NO_SERVICE_ACCOUNT = "NoServiceAccount"
    DENIED = "Denied"
    CONDITIONAL_DENY = "ConditionalDeny"
    NO_AUDIENCE = "NoAudience"
    OWNED = "Owned"
    TOO_LONG = "TooLong"
    CHAIN = "Chain"
    NAMED_PROFILE = "NamedProfile"
    ANNOTATED_NOT_TRUSTED = "AnnotatedNotTrusted"
    ROLE_NOT_READ = "RoleNotRead"
    INVALID_ANNOTATION = "InvalidAnnotation"
    NOT_ANNOTATED = "NotAnnotated"
    NOT_IN_FILES = "NotInFiles"

    @property
    def is_lost(self) -> bool:
        """Whether the trust policy grants what no binding of the import grants."""
        return self in _LOST


_LOST = frozenset(
    {
        ImportReason.WILDCARD_SUBJECT,
        ImportReason.NO_SUBJECT,
        ImportReason.WILDCARD_AUDIENCE,
        ImportReason.SEVERAL_AUDIENCES,
        ImportReason.OTHER_OPERATOR,
        ImportReason.POLICY_VARIABLE,
        ImportReason.EVERYONE,
        ImportReason.INVERTED_ELEMENT,
        ImportReason.UNREADABLE,
        ImportReason.NOT_A_BINDING,
    }
)


@dataclass(frozen=True, slots=True)
class ImportFinding:
    """One fact about a role or a service account.

    Attributes:
        reason: see `ImportReason`.
        message: what is so, and what to do; one sentence, without role and statement.
        role: the role, where it is about one.
        statement: the statement of its trust policy, where it is about one.
        subject: the service account or the pattern of ``sub``, where it is about one; empty otherwise.
    """

    reason: ImportReason
    message: str
    role: RoleArn | None = None
    statement: StatementRef | None = None
    subject: str = ""

    def __str__(self) -> str:
        where = [str(part) for part in (self.role, self.statement) if part is not None]
        if self.role is None and self.subject:
            where.append(self.subject)
        head = ", ".join(where)
        return f"{head}: {self.message}" if head else self.message
