"""What the local AWS remembers for tests and for the demo: calls and decisions."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CallRecord", "DecisionRecord"]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that was answered, or dropped.

    Attributes:
        account: the caller's account; for AssumeRoleWithWebIdentity, which has no caller, the role's.
        operation: such as ``GetRole``.
        resource: the role's name or ARN, the provider's ARN, or what of EKS the call names; else empty.
        caller: ARN of the caller; empty for an unsigned call.
        code: AWS's error code; empty for a success.
        service: ``iam``, ``sts`` or ``eks``.
    """

    account: str
    operation: str
    resource: str
    caller: str
    code: str
    service: str = "iam"


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """Why STS let a caller into a role, or did not. AWS itself says no more than "not authorized".

    Attributes:
        operation: ``AssumeRole`` or ``AssumeRoleWithWebIdentity``.
        role_arn: the role asked for.
        caller: ARN of the caller, or of the provider whose token was shown; empty while unknown.
        session_name: the role session name.
        allowed: whether credentials were given.
        code: AWS's error code; empty when allowed.
        reason: plain sentences.
        statement: the statement that decided, such as ``statement 1 (Sid "x")``; empty when none did.
        nearest: on an implicit deny, the statement that came nearest to allowing.
        subject: the token's ``sub``; empty when there is no token.
        audience: the token's audiences.
        issuer: the token's ``iss``.
        unknown: what the evaluator did not understand.
    """

    operation: str
    role_arn: str
    caller: str
    session_name: str
    allowed: bool
    code: str = ""
    reason: str = ""
    statement: str = ""
    nearest: str = ""
    subject: str = ""
    audience: tuple[str, ...] = ()
    issuer: str = ""
    unknown: tuple[str, ...] = ()
