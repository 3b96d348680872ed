"""What a message of an AWS SDK, of STS or of a program says about where to look.

Sources: STS API reference, AssumeRoleWithWebIdentity (errors); AWS SDKs and Tools Reference Guide (messages of the
credential providers); IAM User Guide, "Troubleshoot access denied error messages".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trustbind.identity.arns import RoleArn

__all__ = ["OTHER_ROLE", "ErrorClass", "classify"]


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """A kind of error.

    Attributes:
        name: one word.
        meaning: what it says about the workload, a sentence.
        checks: numbers of the checks that can explain it; the others do not end the chain.
        action: the action that was denied, where the workload has credentials.
        caller: the role's name in the message, where it names a session.
        caller_account: the id of that role's AWS account; empty where the message does not name it.
        todo: what to do where no check explains it; empty where the checks say it.
        example: the shortest message of this kind, which holds nothing of the workload's own message.
    """

    name: str
    meaning: str
    checks: frozenset[int]
    action: str = ""
    caller: str = ""
    caller_account: str = ""
    todo: str = ""
    example: str = ""

    @property
    def caller_text(self) -> str:
        """The role in the message, for messages."""
        if self.caller == OTHER_ROLE:
            return "another role"
        return f"role {self.caller}" + (f" of AWS account {self.caller_account}" if self.caller_account else "")

    def is_session_of(self, role: RoleArn) -> bool:
        """Return whether the message names a session of a role; of a role's ARN, that of a session has no path."""
        return self.caller.lower() == role.name.lower() and self.caller_account in {"", role.account_id}

    def without_details(self, roles: Iterable[RoleArn]) -> str:
        """Return a message of the same kind that may be shown to anybody.

        Args:
            roles: that may be in it; any other one is `OTHER_ROLE`.
        """
        if not self.action:
            return self.example
        session = "it"
        if self.caller:
            own = next((role for role in roles if self.is_session_of(role)), None)
            account, name = (own.account_id, own.name) if own is not None else ("0" * 12, OTHER_ROLE)
            session = f"arn:aws:sts::{account}:assumed-role/{name}/session"
        action = (
            self.action if _ACTION.fullmatch(self.action) else f"{self.action.partition(':')[0][:20]}:UnknownAction"
        )
        return f"{session} is not authorized to perform: {action}"


OTHER_ROLE: Final = "another-role"
"""Stands for the name of a role that is not kept."""

_ALL: Final = frozenset(range(1, 43))
_BEFORE_TOKEN: Final = frozenset(range(1, 17))
_CALLER = re.compile(r"(?:arn:aws[a-z-]*:sts::([0-9]{12}))?:assumed-role/([\w+=,.@-]{1,64})/", re.ASCII)
_ACTION = re.compile(r"[a-z][a-z0-9-]{1,39}:[A-Z][A-Za-z]{2,59}[0-9]{0,2}\*?", re.ASCII)
"""An action as service authorization references write it."""
_DENIED_CALL = re.compile(
    r"not authorized to perform:?\s+(?!sts:AssumeRoleWithWebIdentity\b)([a-z0-9-]+:[A-Za-z0-9*]+)", re.ASCII
)


def classify(text: str) -> ErrorClass:
    """Return the kind of an error message; of an unknown one, every check may explain it.

    Args:
        text: as the workload logged it; white space, case and what surrounds it do not matter.
    """
    message = " ".join(text.split())
    if match := _DENIED_CALL.search(message):
        if match[1] in {"sts:AssumeRole", "sts:TagSession"}:
            return ErrorClass(
                "ChainDenied",
                "The workload has credentials, and may not assume the next role.",
                _BEFORE_TOKEN | {3, 5, 12, 13, 28, 37, 39, 40, 41},
                match[1],
                *_caller(message),
            )
        return ErrorClass(
            "PermissionDenied",
            f"The workload has credentials, and the call of {match[1]} is denied: permissions, not trust.",
            _BEFORE_TOKEN | {37, 39},
            match[1],
            *_caller(message),
        )
    for pattern, found in _KINDS:
        if pattern.search(message):
            return found
    return ErrorClass(
        "Unknown", "The message is none that trustbind knows, so every check may explain it.", _ALL, example="unknown"
    )


def _caller(message: str) -> tuple[str, str]:
    match = _CALLER.search(message)
    return (match[2], match[1] or "") if match else ("", "")


def _kind(
    pattern: str, name: str, meaning: str, checks: frozenset[int], example: str, todo: str = ""
) -> tuple[re.Pattern[str], ErrorClass]:
    return re.compile(pattern, re.IGNORECASE), ErrorClass(name, meaning, checks, todo=todo, example=example)


_FILE: Final = "permission denied|EACCES|no such file|ENOENT|FileNotFound"

_KINDS: Final = (
    _kind(
        r"IDPCommunicationError|couldn'?t retrieve verification key|failed to (?:fetch|retrieve).*(?:jwks|openid)",
        "IssuerUnreachable",
        "AWS could not read the issuer's keys.",
        frozenset({18, 21, 22, 26}),
        "IDPCommunicationError",
    ),
    _kind(
        r"ExpiredToken|token (?:is|has) expired|ExpiredTokenException",
        "ExpiredToken",
        "The token, or the credentials, had expired when they were sent.",
        frozenset({2, 11, 12, 13, 16, 17}),
        "ExpiredTokenException",
    ),
    _kind(
        r"No OpenIDConnect provider found|InvalidIdentityToken|Incorrect token audience|could not be validated",
        "InvalidToken",
        "STS refused the token before it looked at the trust policy.",
        frozenset({5, 12, *range(17, 28), 42}),
        "InvalidIdentityToken",
    ),
    _kind(
        r"PackedPolicyTooLarge",
        "SessionTooLarge",
        "Session tags and session policies of the call are too large together.",
        frozenset({27, 40, 41}),
        "PackedPolicyTooLarge",
        "use fewer or shorter session tags, or a shorter session policy",
    ),
    _kind(
        r"RegionDisabled|STS is not activated in this region",
        "RegionDisabled",
        "STS is switched off in that region of the role's AWS account.",
        frozenset({14, 38}),
        "RegionDisabledException",
        "use another region in AWS_REGION, or switch STS on for it in IAM's account settings",
    ),
    _kind(
        r"DurationSeconds exceeds",
        "DurationTooLong",
        "The session that was asked for is longer than the role allows.",
        frozenset({33, 40}),
        "The requested DurationSeconds exceeds the MaxSessionDuration",
    ),
    _kind(
        r"ValidationError|failed to satisfy constraint|Member must (?:satisfy|have)|Request ARN is invalid",
        "InvalidName",
        "A parameter of the call is not one that STS takes.",
        frozenset({5, 12, 33, 34}),
        "ValidationError",
    ),
    _kind(
        r"AccessDenied|not authorized to perform:? sts:AssumeRoleWithWebIdentity",
        "TrustDenied",
        "STS took the token, and the role's trust policy does not allow it, or the role does not exist.",
        frozenset({3, 4, 5, 9, 12, 13, *range(18, 21), *range(23, 39), 42}),
        "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
    ),
    _kind(
        rf"(?:{_FILE}).*token|token.*(?:{_FILE})",
        "TokenUnreadable",
        "The SDK could not read the token file.",
        _BEFORE_TOKEN,
        "permission denied: token",
    ),
    _kind(
        r"Unable to locate credentials|NoCredential|no EC2 IMDS role found|failed to refresh cached credentials|"
        r"Could not load credentials|Unable to load credentials|CredentialsProviderError|EC2MetadataError",
        "NoCredentials",
        "The SDK found no credentials: nothing was sent to STS.",
        _BEFORE_TOKEN,
        "Unable to locate credentials",
    ),
    _kind(
        r"connect(?:ion)? time(?:d )?out|EndpointConnectionError|Could not connect to the endpoint|no such host|"
        r"proxyconnect|ENOTFOUND|connection refused",
        "Unreachable",
        "The call did not reach AWS.",
        frozenset({13, 14, 15, 38, 41}),
        "Could not connect to the endpoint URL",
        "check network policies, DNS and the proxy of the pod",
    ),
)
