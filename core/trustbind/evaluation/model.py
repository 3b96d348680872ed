"""The values that go into an evaluation and come out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trustbind.evaluation.request_context import RequestContext
    from trustbind.identity.arns import RoleArn


class PrincipalKind(StrEnum):
    """The principal types that a caller can be; the values are the keys of a ``Principal`` element."""

    AWS = "AWS"
    FEDERATED = "Federated"
    SERVICE = "Service"


FEDERATED_HOSTS = frozenset(
    {"accounts.google.com", "cognito-identity.amazonaws.com", "graph.facebook.com", "www.amazon.com"}
)
"""Identity providers that are built into IAM and named by host (IAM User Guide, "AWS JSON policy elements:
Principal", OIDC federated principals)."""

PARTITION = r"aws(?:-cn|-us-gov|-iso(?:-[a-z])?|-eusc)?"
"""Pattern of the partition in an ARN."""

_ACCOUNT = re.compile(r"[0-9]{12}")
_PROVIDER = re.compile(rf"arn:{PARTITION}:iam::[0-9]{{1,12}}:(?:oidc|saml)-provider/\S+")
_AWS_CALLER = re.compile(
    rf"arn:{PARTITION}:(?:iam::[0-9]{{1,12}}:(?:root|(?:user|role)/\S+)"
    r"|sts::[0-9]{1,12}:(?:assumed-role/[^/\s]+/[^/\s]+|federated-user/\S+))"
)
_SERVICE = re.compile(
    r"[a-z0-9][a-z0-9.-]*\."
    r"(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|amazon\.com|aws\.internal|c2s\.ic\.gov|sc2s\.sgov\.gov)"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls STS."""

    kind: PrincipalKind
    identifier: str
    """An ARN, an account id, the ARN or host of an identity provider, or a service name."""

    @classmethod
    def parse(cls, text: str) -> Caller:
        """Read a caller from the one string that names it.

        Args:
            text: An IAM or STS ARN, a 12-digit account id, the ARN or host of an identity provider, or a service
                principal such as ``ec2.amazonaws.com``.

        Returns:
            The caller, with its kind told from the form of the text.

        Raises:
            ValueError: The text has none of these forms.
        """
        if text in FEDERATED_HOSTS or _PROVIDER.fullmatch(text):
            return cls(PrincipalKind.FEDERATED, text)
        if _ACCOUNT.fullmatch(text) or _AWS_CALLER.fullmatch(text):
            return cls(PrincipalKind.AWS, text)
        if _SERVICE.fullmatch(text):
            return cls(PrincipalKind.SERVICE, text)
        raise ValueError(
            f'"{text}" names no caller: give the ARN of a user, role, session, OIDC or SAML provider, '
            "a 12-digit account id, or a service such as ec2.amazonaws.com."
        )

    @property
    def is_session(self) -> bool:
        """Whether this is a session of a role, whose ARN does not tell the role's path."""
        return ":assumed-role/" in self.identifier


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the role."""

    caller: Caller
    action: str
    """The STS action, such as ``sts:AssumeRoleWithWebIdentity``."""
    context: RequestContext | Mapping[str, Sequence[str]]
    """Condition keys and their values. Names are case-insensitive; several values make a multivalued key. A mapping is
    all that there is: other keys are absent, as are those without values. See ``request_context`` for what else AWS
    fills."""
    role: RoleArn | None = None
    """Which role is asked for; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The first thing that kept a statement from applying."""

    element: str
    """``Effect``, ``Principal``, ``NotPrincipal``, ``Action``, ``NotAction``, ``Condition`` or ``Statement``; ``Token``
    for what STS refuses before it looks at the trust policy."""
    operator: str = ""
    """For a condition: the operator as written, such as ``ForAnyValue:StringLike``."""
    key: str = ""
    """For a condition: the key as written."""
    message: str = ""
    """One plain sentence: what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """A condition whose outcome depends on a value that is not known."""

    key: str
    """The key whose value is not known, as written in the document."""
    operator: str
    """As written, such as ``ForAnyValue:StringLike``."""
    message: str
    """One plain sentence: what is expected, and what is not known."""


@dataclass(frozen=True, slots=True)
class StatementRef:
    """Which statement of the document is meant."""

    index: int
    """Position in the document, from 0."""
    sid: str = ""
    """The statement's Sid, empty where it has none."""

    def __str__(self) -> str:
        number = f"statement {self.index + 1}"
        return f'{number} (Sid "{self.sid}")' if self.sid else number


class Answer(StrEnum):
    """What a role's trust policy says to a request."""

    ALLOW = "Allow"
    DENY = "Deny"
    DEPENDS = "Depends"
    """It allows the request for some values of what is not known, and not for others."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the trust policy says to the request, and why."""

    answer: Answer
    statement: StatementRef | None
    """The statement that decided, the Allow or the explicit Deny; the one that may allow; None on an implicit deny."""
    nearest: StatementRef | None
    """On an implicit deny: the statement that came nearest to allowing."""
    failures: tuple[Failure, ...]
    """On an implicit deny: what failed in the nearest statement, in its order."""
    reason: str
    """One or two plain sentences for people."""
    unknown: tuple[str, ...]
    """What the evaluator did not understand, one sentence each."""
    depends: tuple[Dependence, ...] = ()
    """What the answer depends on."""
    remarks: tuple[str, ...] = ()
    """What else AWS asks for before it gives the role, one sentence each."""

    @property
    def allowed(self) -> bool:
        """Whether the trust policy allows the request for certain."""
        return self.answer is Answer.ALLOW

    @property
    def failure(self) -> Failure | None:
        """On an implicit deny: the first thing of the nearest statement that failed."""
        return self.failures[0] if self.failures else None
