"""Whether service accounts can assume a role: the evaluator's answer for one by name, and for all that match a pattern.

Nobody is left out: a service account that the evaluator allows has a name in the trust policy, or matches a pattern of
`patterns_of`. Other principals are in `trustbind.policy.access_principals`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from trustbind.api.aws_account import EksCluster
from trustbind.errors import InvalidValueError
from trustbind.evaluation import (
    Answer,
    Caller,
    Decision,
    PrincipalKind,
    Request,
    StatementRef,
    evaluate_call,
    request_context,
)
from trustbind.evaluation.wildcards import glob_matches, has_wildcard
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject
from trustbind.policy.pod_identity import SERVICE, association_context
from trustbind.policy.statement_parts import condition_values, principals_of
from trustbind.policy.subject_patterns import audience_form, audience_patterns, subject_form, subject_patterns
from trustbind.policy.trust_document import VERSION, TrustDocument

__all__ = [
    "ORDER",
    "Access",
    "Mechanism",
    "Verdict",
    "answer",
    "audiences_named",
    "by_association",
    "favour",
    "patterns_of",
    "possible",
    "service_account",
    "subjects_named",
    "with_open_audience",
    "without_other_allows",
]

WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
ASSUME: Final = "sts:AssumeRole"


class Verdict(StrEnum):
    """The answer. The order is that of how much access it gives."""

    YES = "yes"
    IF = "if"
    """It depends on something that is not known here; see `Access.conditions`."""
    UNKNOWN = "unknown"
    """The evaluator does not understand something of the trust policy."""
    NO = "no"


class Mechanism(StrEnum):
    """How the role is assumed."""

    WEB_IDENTITY = "WebIdentity"
    ASSUME_ROLE = "AssumeRole"
    POD_IDENTITY = "PodIdentity"
    SAML = "SAML"


@dataclass(frozen=True, slots=True)
class Access:
    """One answer.

    Attributes:
        role: which role.
        principal: who: a subject, a pattern of subjects, an ARN, a service, or ``*``.
        mechanism: how.
        verdict: see `Verdict`.
        subject: the service account, where it is one of the cluster.
        is_pattern: whether ``principal`` stands for every service account that matches it and has no answer of its own.
        audience: of the token; a pattern where one that matches it is needed.
        statement: the statement that decided, or came nearest.
        conditions: what the answer depends on, one sentence each.
        reason: why, for a person.
        through: the role that is assumed before.
        remarks: what the caller's own policies have to allow, too; empty where the trust policy is enough.
    """

    role: RoleArn
    principal: str
    mechanism: Mechanism
    verdict: Verdict
    subject: Subject | None = None
    is_pattern: bool = False
    audience: str = ""
    statement: StatementRef | None = None
    conditions: tuple[str, ...] = ()
    reason: str = ""
    through: RoleArn | None = None
    remarks: tuple[str, ...] = ()


ORDER: Final = list(Verdict)
"""From the verdict that gives most access to that which gives none."""


def service_account(
    role: RoleArn, document: TrustDocument, issuer: Issuer, subject: Subject, audiences: Iterable[str]
) -> Access:
    """Return whether a service account can assume a role by its own token.

    Args:
        role: which.
        document: its trust policy.
        issuer: the cluster's.
        subject: the service account.
        audiences: that a token may have, and patterns of such: a pod can ask for any. The answer is the most
            favourable one.
    """
    return replace(_by_token(role, document, issuer, str(subject), audiences), subject=subject)


def possible(role: RoleArn, document: TrustDocument, issuer: Issuer) -> Callable[[Subject], bool]:
    """Return a quick test for service accounts; those for which it is false cannot assume the role by their token.

    What it lets pass is evaluated. It looks at subjects alone.
    """
    provider = str(issuer.provider_for(role))
    asked: set[str] = set()
    for statement in document.statements:
        principal = statement.get("Principal")
        if statement.get("Effect") != "Allow":
            continue
        names = {name.casefold() for _, name in principals_of(statement)}
        if isinstance(principal, Mapping) and not names & {provider.casefold(), "*"}:
            continue
        asked.update(subject_patterns(statement, issuer, variables=document.version == VERSION))
    exact = {pattern for pattern in asked if not has_wildcard(pattern)}
    patterns = asked - exact
    return lambda subject: str(subject) in exact or any(glob_matches(each, str(subject)) for each in patterns)


def patterns_of(role: RoleArn, document: TrustDocument, issuer: Issuer, audiences: Collection[str]) -> list[Access]:
    """Return the answer for each pattern of subjects: for all service accounts that match it and have no other name.

    Together with those of `subjects_named`, the patterns leave out no service account that can assume the role.
    """
    found: dict[str, Access] = {}
    for number, statement in enumerate(document.statements):
        if statement.get("Effect") != "Allow":
            continue
        for pattern in filter(has_wildcard, subject_patterns(statement, issuer, variables=document.version == VERSION)):
            alone = _of_pattern(role, without_other_allows(document, number), issuer, pattern, audiences)
            if alone.verdict is not Verdict.NO and pattern not in found:
                found[pattern] = _of_pattern(role, document, issuer, pattern, audiences)
    return [found[pattern] for pattern in sorted(found)]


def without_other_allows(document: TrustDocument, number: int) -> TrustDocument:
    """Return a document without the statements that allow, except for one."""
    kept = (s for n, s in enumerate(document.statements) if n == number or s.get("Effect") != "Allow")
    return document.with_statements(kept)


def by_association(role: RoleArn, document: TrustDocument, cluster: EksCluster, subject: Subject) -> Access:
    """Return whether EKS gets the role for a service account that has an association with it."""
    request = Request(Caller(PrincipalKind.SERVICE, SERVICE), ASSUME, association_context(role, cluster, subject), role)
    return replace(answer(document, request, str(subject), Mechanism.POD_IDENTITY, role), subject=subject)


def audiences_named(document: TrustDocument, issuer: Issuer) -> frozenset[str]:
    """Return the audiences that the conditions name, the default one, and patterns of others that may work."""
    named = (text for text in _values(document, issuer.audience_key) if not has_wildcard(text))
    return frozenset({DEFAULT_AUDIENCE, *named}) | audience_patterns(document, issuer)


def subjects_named(document: TrustDocument, issuer: Issuer) -> frozenset[Subject]:
    """Return the service accounts that the conditions name, without patterns, in whatever letter case."""
    found: set[Subject] = set()
    for text in _values(document, issuer.subject_key):
        try:
            found.add(Subject.parse(text.lower()))
        except InvalidValueError:
            continue
    return frozenset(found)


def answer(
    document: TrustDocument, request: Request, principal: str, mechanism: Mechanism, role: RoleArn, audience: str = ""
) -> Access:
    """Return the evaluator's answer for one request; where it is no, without conditions."""
    decision = evaluate_call(document.to_json_object(), request)
    conditions = tuple(dict.fromkeys(each.message for each in decision.depends))
    verdict = _verdict(decision)
    return Access(
        role,
        principal,
        mechanism,
        verdict,
        audience=audience,
        statement=decision.statement or decision.nearest,
        conditions=conditions if verdict is not Verdict.NO else (),
        reason=decision.reason,
        remarks=decision.remarks if verdict is not Verdict.NO else (),
    )


def favour(access: Access) -> tuple[int, bool, bool]:
    """Sort the most favourable answer first; of equal ones that for the default audience, then those that are named."""
    return ORDER.index(access.verdict), access.audience != DEFAULT_AUDIENCE, has_wildcard(access.audience)


def with_open_audience(access: Access) -> Access:
    """Return the answer with what it asks of the OIDC provider, where no audience that is named works."""
    if not has_wildcard(access.audience) or access.verdict not in {Verdict.YES, Verdict.IF}:
        return access
    such = "other than those that conditions name" if access.audience == "*" else f'like "{access.audience}"'
    condition = f"the OIDC provider has to have a client id {such}"
    return replace(access, verdict=Verdict.IF, conditions=(*access.conditions, condition))


def _of_pattern(
    role: RoleArn, document: TrustDocument, issuer: Issuer, pattern: str, audiences: Iterable[str]
) -> Access:
    return replace(_by_token(role, document, issuer, pattern, audiences), is_pattern=True)


def _by_token(role: RoleArn, document: TrustDocument, issuer: Issuer, subject: str, audiences: Iterable[str]) -> Access:
    """Return the most favourable answer for a subject, or for all service accounts that match a pattern."""
    caller = Caller(PrincipalKind.FEDERATED, str(issuer.provider_for(role)))
    best: Access | None = None
    for audience in sorted(audiences, key=lambda each: (has_wildcard(each), each != DEFAULT_AUDIENCE, each)):
        claims = {"iss": issuer.url, "sub": subject, "aud": audience}
        context = request_context(caller, claims=claims, role=role)
        if has_wildcard(subject):
            context = context.with_form(issuer.subject_key, subject_form(subject))
        if has_wildcard(audience):
            context = context.with_form(issuer.audience_key, audience_form(audience))
        request = Request(caller, WEB_IDENTITY, context, role)
        found = answer(document, request, subject, Mechanism.WEB_IDENTITY, role, audience)
        best = found if best is None else min(best, found, key=favour)
        if best.verdict is Verdict.YES:
            break
    if best is None:
        raise ValueError("a token has an audience")
    return with_open_audience(best)


def _verdict(decision: Decision) -> Verdict:
    if decision.answer is Answer.ALLOW:
        return Verdict.IF if decision.remarks else Verdict.YES
    if decision.answer is Answer.DEPENDS:
        return Verdict.IF
    return Verdict.UNKNOWN if decision.unknown else Verdict.NO


def _values(document: TrustDocument, key: str) -> Iterable[str]:
    return (value for statement in document.statements for value in condition_values(statement, key))
