"""The table of what ``trustbind lint`` alone finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trustbind.evaluation.model import StatementRef
from trustbind.finding_kinds import FindingKind, FindingSeverity

__all__ = ["KINDS", "Lint"]

_GITHUB: Final = 'GitHub Docs, "OpenID Connect reference"'

REPEATED_STATEMENT: Final = FindingKind(
    "TB237",
    "RepeatedStatement",
    FindingSeverity.WARNING,
    "Two statements mean the same, their Sid apart.",
    "Remove one of them: each takes characters of the trust policy.",
)
ALMOST_TOO_LONG: Final = FindingKind(
    "TB238",
    "AlmostTooLong",
    FindingSeverity.WARNING,
    "The trust policy has more than 80 % of the characters that its AWS account allows.",
    "Put statements together that differ in their subjects alone, use a second role, or raise the quota 'Role trust "
    "policy length'.",
    'IAM User Guide, "IAM and AWS STS quotas"',
)
SUBJECT_BY_NAME: Final = FindingKind(
    "TB239",
    "SubjectByName",
    FindingSeverity.INFO,
    "A subject of GitHub Actions names owner and repository without their ids.",
    "Use immutable subjects, as in repo:OWNER@ID/REPO@ID: the next owner of a name would get the role.",
    f"{_GITHUB}, Immutable subject claims",
)
PULL_REQUEST: Final = FindingKind(
    "TB240",
    "PullRequest",
    FindingSeverity.WARNING,
    "A subject of GitHub Actions matches the workflows of pull requests, which run before anybody reviewed them.",
    "Name a branch or an environment.",
    f"{_GITHUB}, Example subject claims",
)
WILDCARD_OVER_COLON: Final = FindingKind(
    "TB241",
    "WildcardOverColon",
    FindingSeverity.INFO,
    "A wildcard in the middle of a pattern also stands for colons, so for several parts of a subject.",
    "Write the part out, or end the pattern with the wildcard.",
    'IAM User Guide, "IAM JSON policy elements: Condition operators"',
)
ABSENT_CLAIM: Final = FindingKind(
    "TB242",
    "AbsentClaim",
    FindingSeverity.WARNING,
    "An Allow wants the subject or the audience of a token to be absent (Null with the value true).",
    "Write false, and a condition on the value.",
    'IAM User Guide, "IAM JSON policy elements: Condition operators"',
)
GRANT_NOT_USED: Final = FindingKind(
    "TB243",
    "GrantNotUsed",
    FindingSeverity.INFO,
    "A RoleGrant, or an entry of it, allows what no RoleBinding uses.",
    "Remove what nobody needs.",
)
NOT_GRANTED: Final = FindingKind(
    "TB244",
    "NotGranted",
    FindingSeverity.ERROR,
    "No RoleGrant covers a RoleBinding, so nobody can use it.",
    "Ask for a RoleGrant, or ask for less.",
)
NO_SERVICE_ACCOUNT: Final = FindingKind(
    "TB245",
    "BoundToNobody",
    FindingSeverity.WARNING,
    "A RoleBinding names or selects service accounts that do not exist.",
    "Create them, or correct the name or the labels.",
)
ANNOTATED_WITHOUT_TRUST: Final = FindingKind(
    "TB246",
    "AnnotatedWithoutTrust",
    FindingSeverity.ERROR,
    "A service account is annotated with a role whose trust policy does not allow it.",
    "Write a RoleBinding, or correct the trust policy.",
)

KINDS: Final = (
    REPEATED_STATEMENT,
    ALMOST_TOO_LONG,
    SUBJECT_BY_NAME,
    PULL_REQUEST,
    WILDCARD_OVER_COLON,
    ABSENT_CLAIM,
    GRANT_NOT_USED,
    NOT_GRANTED,
    NO_SERVICE_ACCOUNT,
    ANNOTATED_WITHOUT_TRUST,
)
"""By code."""


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding.

    Attributes:
        kind: which.
        message: what is wrong and what to do; it continues the name of its place.
        statement: of a trust policy; None for the whole, and for an object.
    """

    kind: FindingKind
    message: str
    statement: StatementRef | None = None
