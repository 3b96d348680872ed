"""Everything that can go wrong, on one screen.

    TrustbindError
    ├── InvalidValueError          a value breaks a rule of AWS, of Kubernetes or of ours; names the field
    ├── ManifestError              a document of a file cannot be used; names file, document and field
    └── AwsError                   AWS said no; carries AWS's own code
        ├── AccessDeniedError      the caller lacks a permission
        ├── AccountMismatchError   the credentials lead into another AWS account
        ├── NotFoundError          the role, provider, cluster or association is not there
        ├── ObservedError          something differs, and may not be written
        ├── ThrottledError         too many calls; worth trying again
        ├── PolicyRejectedError    the document was refused (malformed, too large, unknown principal)
        └── UnreachableError       no answer: network, endpoint or credentials

Which class an AWS error code becomes is data (``AWS_CODES``), so that the adapters hold no list of their own.
"""

from __future__ import annotations

from typing import Final

from trustbind.messages import one_line

__all__ = [
    "AWS_CODES",
    "AccessDeniedError",
    "AccountMismatchError",
    "AwsError",
    "InvalidValueError",
    "ManifestError",
    "NotFoundError",
    "ObservedError",
    "PolicyRejectedError",
    "ThrottledError",
    "TrustbindError",
    "UnreachableError",
]


class TrustbindError(Exception):
    """Base of every error that trustbind raises on purpose. ``str()`` of it is fit to be shown to a user."""


class InvalidValueError(TrustbindError, ValueError):
    """A value breaks a rule.

    Attributes:
        field: where the value stands, as a path such as ``spec.roleArn``; empty when the caller knows better.
        problem: one sentence without the field; see `one_line`.
    """

    def __init__(self, problem: str, *, field: str = "") -> None:
        self.problem = one_line(problem)
        self.field = one_line(field)
        super().__init__(self.problem, self.field)

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem

    def within(self, prefix: str) -> InvalidValueError:
        """Return the same error seen from further out: the field gets ``prefix`` in front."""
        dot = "." if self.field and not self.field.startswith("[") else ""
        return InvalidValueError(self.problem, field=f"{prefix}{dot}{self.field}")


class ManifestError(TrustbindError):
    """A document of a file cannot be used.

    Attributes:
        source: the file's name, ``-`` for standard input.
        document: number of the document in the file, from 1; 0 when the file as a whole is meant.
        what: kind and name of the object as far as known, such as ``RoleBinding team-a/s3-reader``.
        problem: one sentence, with the field in front where there is one; see `one_line`.
    """

    def __init__(self, source: str, document: int, problem: str, *, what: str = "") -> None:
        self.source = source
        self.document = document
        self.problem = one_line(problem)
        self.what = one_line(what)
        super().__init__(source, document, self.problem, self.what)

    def __str__(self) -> str:
        parts = [self.source if self.source != "-" else "standard input"]
        if self.document:
            parts.append(f"document {self.document}")
        where = ", ".join(parts)
        return f"{where}: {self.what + ': ' if self.what else ''}{self.problem}"


class AwsError(TrustbindError):
    """AWS refused or failed a call.

    Attributes:
        code: AWS's error code, such as ``NoSuchEntity``.
        operation: the API call, such as ``iam:UpdateAssumeRolePolicy``.
        problem: AWS's own message.
    """

    def __init__(self, problem: str, *, code: str = "", operation: str = "") -> None:
        super().__init__(problem, code, operation)
        self.problem = problem
        self.code = code
        self.operation = operation

    def __str__(self) -> str:
        head = f"{self.operation}: " if self.operation else ""
        tail = f" ({self.code})" if self.code and self.code not in self.problem else ""
        return f"{head}{self.problem}{tail}"


class AccessDeniedError(AwsError):
    """The caller lacks a permission, or may not assume the role."""


class AccountMismatchError(AwsError):
    """The credentials lead into another AWS account than the AWSAccount says."""


class NotFoundError(AwsError):
    """The role, the policy, the provider, the cluster or the association does not exist."""


class ObservedError(AwsError):
    """Something differs from what is wanted, and the AWSAccount says that nothing is written."""


class ThrottledError(AwsError):
    """Too many calls, or the service is briefly out of order; worth trying again."""


class PolicyRejectedError(AwsError):
    """IAM refused the document itself; trying the same document again cannot help."""


class UnreachableError(AwsError):
    """There was no answer: the network, the endpoint or the credentials are not there."""


AWS_CODES: Final[dict[str, type[AwsError]]] = {
    # IAM API reference, "Common Errors", and the errors of each action used here.
    "AccessDenied": AccessDeniedError,
    "AccessDeniedException": AccessDeniedError,
    "UnauthorizedOperation": AccessDeniedError,
    "UnmodifiableEntity": AccessDeniedError,
    "InvalidIdentityToken": AccessDeniedError,
    "IDPRejectedClaim": AccessDeniedError,
    "ExpiredTokenException": AccessDeniedError,
    "ExpiredToken": AccessDeniedError,
    "InvalidClientTokenId": AccessDeniedError,
    "SignatureDoesNotMatch": AccessDeniedError,
    "OptInRequired": AccessDeniedError,
    "NotAuthorized": AccessDeniedError,
    "UnrecognizedClientException": AccessDeniedError,
    "RegionDisabledException": AccessDeniedError,
    "NoSuchEntity": NotFoundError,
    "MalformedPolicyDocument": PolicyRejectedError,
    "LimitExceeded": PolicyRejectedError,
    "InvalidInput": PolicyRejectedError,
    "ValidationError": PolicyRejectedError,
    "Throttling": ThrottledError,
    "ThrottlingException": ThrottledError,
    "RequestLimitExceeded": ThrottledError,
    "TooManyRequestsException": ThrottledError,
    "ConcurrentModification": ThrottledError,
    "EntityTemporarilyUnmodifiable": ThrottledError,
    "ServiceFailure": ThrottledError,
    "ServiceUnavailable": ThrottledError,
    "InternalFailure": ThrottledError,
    "InternalError": ThrottledError,
    "IDPCommunicationError": ThrottledError,
    # EKS API reference, "Common Errors", and the errors of the actions on Pod Identity associations.
    "MissingAuthenticationTokenException": AccessDeniedError,
    "ResourceNotFoundException": NotFoundError,
    "NotFoundException": NotFoundError,
    "ServerException": ThrottledError,
    "ServiceUnavailableException": ThrottledError,
}
"""AWS error code to the class it is raised as; a code that is not here becomes a plain AwsError."""
