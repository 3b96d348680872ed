"""Who can assume a role: the evaluator's answer for each service account, pattern and principal of a trust policy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

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
from trustbind.evaluation.three_valued import as_texts
from trustbind.evaluation.wildcards import glob_matches, has_wildcard
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject
from trustbind.policy.pod_identity import SERVICE, association_context
from trustbind.policy.trust_document import Statement, TrustDocument

__all__ = [
    "Access",
    "Mechanism",
    "Verdict",
    "audiences_named",
    "by_association",
    "over_source",
    "patterns_of",
    "possible",
    "principals_of",
    "service_account",
    "source_role",
    "sources_named",
    "subjects_named",
]

_WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
_ASSUME: Final = "sts:AssumeRole"
_SAML: Final = "sts:AssumeRoleWithSAML"
_ANY_ROLE: Final = "arn:aws:iam::000000000000:role/any"
"""Stands for everyone where a trust policy has Principal ``*``."""


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
        is_pattern: whether ``principal`` stands for every service account that matches it.
        audience: of the token.
        statement: the statement that decided, or came nearest.
        conditions: what the answer depends on, one sentence each.
        reason: why, for a person.
        through: the role that is assumed before.
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


def service_account(
    role: RoleArn, document: TrustDocument, issuer: Issuer, subject: Subject, audiences: Iterable[str]
) -> Access:
    """Return whether a service account can assume a role by its own token.

    Args:
        role: which.
        document: its trust policy.
        issuer: the cluster's.
        subject: the service account.
        audiences: that a token may have: a pod can ask for any. The answer is the most favourable one.
    """
    answers = [_by_token(role, document, issuer.url, str(subject), audience) for audience in sorted(audiences)]
    return replace(min(answers, key=_favour), subject=subject)


def possible(role: RoleArn, document: TrustDocument, issuer: Issuer) -> Callable[[Subject], bool]:
    """Return a quick test for service accounts; those for which it is false cannot assume the role by their token.

    What it lets pass is evaluated. It looks at subjects alone, and only at conditions that ask for one of some texts.
    """
    provider = str(issuer.provider_for(role))
    asked: list[list[str]] = []
    for statement in document.statements:
        principal = statement.get("Principal")
        if statement.get("Effect") != "Allow":
            continue
        names = {name.casefold() for _, name in _principals(statement)}
        if isinstance(principal, Mapping) and not names & {provider.casefold(), "*"}:
            continue
        patterns = _asked_subjects(statement, issuer)
        if patterns is None:
            return lambda _subject: True
        asked.append(patterns)
    return lambda subject: any(any(glob_matches(each, str(subject)) for each in patterns) for patterns in asked)


def patterns_of(role: RoleArn, document: TrustDocument, issuer: Issuer, audiences: Collection[str]) -> list[Access]:
    """Return the answer for each pattern of subjects: for a service account that matches it and has no other name."""
    found: list[Access] = []
    for pattern in sorted(_patterns(document, role, issuer)):
        sample = pattern.replace("*", "x").replace("?", "x")
        try:
            subject = Subject.parse(sample)
        except InvalidValueError:
            subject = Subject("x", "x")
        found.append(
            replace(
                service_account(role, document, issuer, subject, audiences),
                principal=pattern,
                subject=None,
                is_pattern=True,
            )
        )
    return [each for each in found if each.verdict is not Verdict.NO]


def principals_of(role: RoleArn, document: TrustDocument, issuer: Issuer | None) -> list[Access]:
    """Return the answer for each principal that is allowed, without the OIDC provider of ``issuer``."""
    own = str(issuer.provider_for(role)) if issuer is not None else ""
    found: dict[str, Access] = {}
    for statement in document.statements:
        for kind, name in _principals(statement) if statement.get("Effect") == "Allow" else ():
            if name != own:
                for each in _of_principal(role, document, kind, name):
                    found.setdefault(each.principal, each)
    return [each for each in found.values() if each.verdict is not Verdict.NO]


def by_association(role: RoleArn, document: TrustDocument, cluster: EksCluster, subject: Subject) -> Access:
    """Return whether EKS gets the role for a service account that has an association with it."""
    request = Request(
        Caller(PrincipalKind.SERVICE, SERVICE), _ASSUME, association_context(role, cluster, subject), role
    )
    return replace(_answer(role, document, request, str(subject), Mechanism.POD_IDENTITY), subject=subject)


def source_role(role: RoleArn, document: TrustDocument, source: RoleArn) -> Access:
    """Return whether sessions of another role can assume a role."""
    caller = Caller(PrincipalKind.AWS, str(source))
    request = Request(caller, _ASSUME, request_context(caller, role=role), role)
    return _answer(role, document, request, str(source), Mechanism.ASSUME_ROLE)


def over_source(first: Access, second: Access, source: RoleArn) -> Access:
    """Return the answer for a chain.

    Args:
        first: whether a service account can assume the source role.
        second: whether the source role can assume the target role.
        source: the source role.
    """
    conditions = (*first.conditions, *second.conditions)
    verdict = max(first.verdict, second.verdict, key=_ORDER.index)
    if source.account_id != second.role.account_id:
        conditions += (f"the policies of {source} have to allow {_ASSUME} on {second.role}",)
        verdict = max(verdict, Verdict.IF, key=_ORDER.index)
    return replace(
        second,
        principal=first.principal,
        subject=first.subject,
        is_pattern=first.is_pattern,
        audience=first.audience,
        verdict=verdict,
        conditions=tuple(dict.fromkeys(conditions)),
        through=source,
    )


def audiences_named(document: TrustDocument, issuer: Issuer) -> frozenset[str]:
    """Return the audiences that the conditions name, without patterns, and the default one."""
    named = (text for text in _values(document, issuer.audience_key) if not has_wildcard(text))
    return frozenset({DEFAULT_AUDIENCE, *named})


def subjects_named(document: TrustDocument, issuer: Issuer) -> frozenset[Subject]:
    """Return the service accounts that the conditions name, without patterns."""
    found: set[Subject] = set()
    for text in _values(document, issuer.subject_key):
        if not has_wildcard(text):
            try:
                found.add(Subject.parse(text))
            except InvalidValueError:
                continue
    return frozenset(found)


def sources_named(document: TrustDocument) -> tuple[RoleArn, ...]:
    """Return the roles that the trust policy allows by their ARN, sorted, also where a condition names them."""
    found: set[RoleArn] = set()
    for statement in document.statements:
        if statement.get("Effect") != "Allow":
            continue
        names = [name for kind, name in _principals(statement) if kind == "AWS"]
        names += _condition_values(statement, "aws:PrincipalArn")
        found.update(role for role in map(RoleArn.or_none, names) if role is not None)
    return tuple(sorted(found))


def _of_principal(role: RoleArn, document: TrustDocument, kind: str, name: str) -> Iterator[Access]:
    if kind == "Federated" and ":oidc-provider/" in name:
        yield from _of_provider(role, document, name)
        return
    try:
        caller = Caller.parse(_ANY_ROLE if name == "*" else name)
    except ValueError:
        yield Access(role, name, Mechanism.ASSUME_ROLE, Verdict.UNKNOWN, reason="it is no principal that can call")
        return
    is_saml = ":saml-provider/" in name
    mechanism = Mechanism.SAML if is_saml else Mechanism.ASSUME_ROLE
    if name == SERVICE:
        mechanism = Mechanism.POD_IDENTITY
    request = Request(caller, _SAML if is_saml else _ASSUME, request_context(caller, role=role), role)
    yield _answer(role, document, request, name, mechanism)


def _of_provider(role: RoleArn, document: TrustDocument, name: str) -> Iterator[Access]:
    """Yield the answer for each subject of another issuer that is named; where none is, for the provider."""
    try:
        provider = ProviderArn.parse(name)
        issuer = Issuer(f"https://{provider.host_path}")
    except InvalidValueError:
        return
    literal = sorted({text for text in _values(document, issuer.subject_key) if not has_wildcard(text)})
    audiences = audiences_named(document, issuer)
    for text in literal:
        answers = [_by_token(role, document, issuer.url, text, audience) for audience in sorted(audiences)]
        yield replace(min(answers, key=_favour), principal=f"{issuer.url} {text}")
    if not literal or _patterns(document, role, issuer):
        caller = Caller(PrincipalKind.FEDERATED, name)
        request = Request(caller, _WEB_IDENTITY, request_context(caller, role=role), role)
        yield _answer(role, document, request, name, Mechanism.WEB_IDENTITY)


def _by_token(role: RoleArn, document: TrustDocument, issuer: str, subject: str, audience: str) -> Access:
    caller = Caller(
        PrincipalKind.FEDERATED, str(ProviderArn(role.partition, role.account_id, issuer.removeprefix("https://")))
    )
    claims = {"iss": issuer, "sub": subject, "aud": audience}
    request = Request(caller, _WEB_IDENTITY, request_context(caller, claims=claims, role=role), role)
    return replace(_answer(role, document, request, subject, Mechanism.WEB_IDENTITY), audience=audience)


def _answer(role: RoleArn, document: TrustDocument, request: Request, principal: str, mechanism: Mechanism) -> Access:
    decision = evaluate_call(document.to_json_object(), request)
    conditions = tuple(dict.fromkeys([*(each.message for each in decision.depends), *decision.remarks]))
    verdict = _verdict(decision)
    return Access(
        role,
        principal,
        mechanism,
        verdict,
        statement=decision.statement or decision.nearest,
        conditions=conditions if verdict is not Verdict.NO else (),
        reason=decision.reason,
    )


def _verdict(decision: Decision) -> Verdict:
    if decision.answer is Answer.ALLOW:
        return Verdict.YES
    if decision.answer is Answer.DEPENDS:
        return Verdict.IF
    return Verdict.UNKNOWN if decision.unknown else Verdict.NO


_ORDER: Final = list(Verdict)


def _favour(access: Access) -> tuple[int, bool]:
    """Sort the most favourable answer first; of equal ones that for the default audience."""
    return _ORDER.index(access.verdict), access.audience != DEFAULT_AUDIENCE


def _patterns(document: TrustDocument, role: RoleArn, issuer: Issuer) -> set[str]:
    """Return the patterns of subjects of statements that allow an issuer; ``*`` where a statement names no subject."""
    provider = str(issuer.provider_for(role))
    found: set[str] = set()
    for statement in document.statements:
        if statement.get("Effect") != "Allow" or provider not in (name for _, name in _principals(statement)):
            continue
        values = list(_condition_values(statement, issuer.subject_key))
        found.update(filter(has_wildcard, values) if values else "*")
    return found


def _asked_subjects(statement: Statement, issuer: Issuer) -> list[str] | None:
    """Return patterns of which the subject has to match one; None where that is not known."""
    condition = statement.get("Condition")
    for operator, block in condition.items() if isinstance(condition, Mapping) else ():
        if not isinstance(block, Mapping) or str(operator).lower() not in _ASKING:
            continue
        for name, value in block.items():
            texts = as_texts(value) or [] if str(name).casefold() == issuer.subject_key.casefold() else []
            if texts and not any("${" in text for text in texts):
                return texts
    return None


_ASKING: Final = frozenset({"stringequals", "stringlike", "foranyvalue:stringequals", "foranyvalue:stringlike"})


def _values(document: TrustDocument, key: str) -> Iterator[str]:
    for statement in document.statements:
        yield from _condition_values(statement, key)


def _condition_values(statement: Statement, key: str) -> Iterator[str]:
    condition = statement.get("Condition")
    for block in condition.values() if isinstance(condition, Mapping) else ():
        for name, value in block.items() if isinstance(block, Mapping) else ():
            if str(name).casefold() == key.casefold():
                yield from as_texts(value) or ()


def _principals(statement: Statement) -> Iterator[tuple[str, str]]:
    principal: Any = statement.get("Principal")
    if isinstance(principal, str):
        yield "AWS", principal
    for kind, value in principal.items() if isinstance(principal, Mapping) else ():
        yield from ((str(kind), text) for text in as_texts(value) or ())
