"""Which principals can assume a role besides the cluster's service accounts, and which roles come before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, PrincipalKind, Request, request_context
from trustbind.evaluation.hints import issuers_in
from trustbind.evaluation.request_context import ValueForm
from trustbind.evaluation.three_valued import Truth
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy import access, statement_parts
from trustbind.policy.access import ASSUME, ORDER, WEB_IDENTITY, Access, Mechanism, Verdict
from trustbind.policy.condition_operators import Relation
from trustbind.policy.pod_identity import SERVICE
from trustbind.policy.role_permissions import RolePermissions, may_assume
from trustbind.policy.subject_patterns import asked_values, audience_form
from trustbind.policy.trust_document import VERSION, Statement, TrustDocument, is_stale

__all__ = [
    "Callers",
    "callers_of_accounts",
    "over_source",
    "principals_of",
    "source_role",
    "sources_named",
    "trusts_pod_identity",
]

_SAML: Final = "sts:AssumeRoleWithSAML"
_NO_ACCOUNT: Final = "000000000000"
"""Stands for an AWS account that no trust policy names."""
_CALLER_ARN: Final = "aws:PrincipalArn"
_EVERYONE: Final = "*"


@dataclass(frozen=True, slots=True, order=True)
class Callers:
    """AWS principals that a trust policy allows without the name of each.

    Attributes:
        account_id: of their AWS account; empty: of any.
        name: as the trust policy has it.
    """

    account_id: str
    name: str


def principals_of(
    role: RoleArn,
    document: TrustDocument,
    issuer: Issuer | None,
    permissions: Mapping[RoleArn, RolePermissions] | None = None,
) -> list[Access]:
    """Return the answer for each principal that is allowed, without the OIDC provider of ``issuer``.

    Args:
        role: which.
        document: its trust policy.
        issuer: the cluster's, whose subjects have answers of their own; None: not known.
        permissions: the policies of roles, as far as they are known.
    """
    own = str(issuer.provider_for(role)) if issuer is not None else ""
    found: dict[str, Access] = {}
    for statement in document.statements:
        for kind, name in _allowed(statement):
            for each in _of_principal(role, document, kind, name, permissions or {}) if name != own else ():
                found.setdefault(each.principal, each)
        for each in _of_everyone(role, document, statement, issuer):
            found.setdefault(each.principal, each)
    return [each for each in found.values() if each.verdict is not Verdict.NO]


def source_role(
    role: RoleArn, document: TrustDocument, source: RoleArn, permissions: RolePermissions | None = None
) -> Access:
    """Return whether sessions of another role can assume a role.

    Args:
        role: which.
        document: its trust policy.
        source: the other role.
        permissions: its policies; None: not known.
    """
    caller = Caller(PrincipalKind.AWS, str(source))
    request = Request(caller, ASSUME, request_context(caller, role=role), role)
    found = access.answer(document, request, str(source), Mechanism.ASSUME_ROLE, role)
    if found.verdict is Verdict.NO or (permissions is None and not found.remarks):
        return found
    allowed = may_assume(source, permissions, role)
    if allowed.is_denied or (allowed.truth is Truth.NO and found.remarks):
        reason = f"{allowed.message[:1].upper()}{allowed.message[1:]}."
        return replace(found, verdict=Verdict.NO, conditions=(), remarks=(), reason=reason)
    if not found.remarks:
        return found
    return _without_remarks(found) if allowed.truth is Truth.YES else replace(found, remarks=(allowed.message,))


def over_source(first: Access, second: Access, source: RoleArn) -> Access:
    """Return the answer for a chain.

    Args:
        first: whether a service account can assume the source role.
        second: whether the source role can assume the target role; see `source_role`.
        source: the source role.
    """
    return replace(
        second,
        principal=first.principal,
        subject=first.subject,
        is_pattern=first.is_pattern,
        audience=first.audience,
        verdict=max(first.verdict, second.verdict, key=ORDER.index),
        conditions=tuple(dict.fromkeys((*first.conditions, *second.conditions))),
        through=source,
    )


def sources_named(document: TrustDocument) -> tuple[RoleArn, ...]:
    """Return the roles that the trust policy allows by their ARN, sorted, also where a condition names them."""
    found: set[RoleArn] = set()
    for statement in document.statements:
        if statement.get("Effect") != "Allow":
            continue
        names = [name for kind, name in statement_parts.principals_of(statement) if kind == "AWS"]
        names += statement_parts.condition_values(statement, _CALLER_ARN)
        found.update(role for role in map(RoleArn.or_none, names) if role is not None)
    return tuple(sorted(found))


def callers_of_accounts(role: RoleArn, document: TrustDocument) -> tuple[Callers, ...]:
    """Return the AWS principals that a trust policy allows and does not name one by one, sorted.

    These are AWS accounts as a whole, everyone, sessions of roles, and what a condition on ``aws:PrincipalArn`` narrows
    by a pattern. Which of their roles may call is decided in their AWS account.
    """
    found: set[Callers] = set()
    for number, statement in enumerate(document.statements):
        alone = access.without_other_allows(document, number)
        for kind, name in _allowed(statement):
            if kind != "AWS" or _is_one(name) or is_stale(name) or _names_callers(statement):
                continue
            if _of_aws(role, alone, name).verdict is not Verdict.NO:
                found.add(Callers("" if name == _EVERYONE else _account_in(name), name))
    return tuple(sorted(found))


def trusts_pod_identity(role: RoleArn, document: TrustDocument) -> bool:
    """Return whether EKS Pod Identity may get a role for some association."""
    return _of_caller(role, document, SERVICE, SERVICE).verdict is not Verdict.NO


def _is_one(name: str) -> bool:
    """Return whether a principal is one role or one user: as good as a name in the answer."""
    return RoleArn.or_none(name) is not None or ":user/" in name or ":federated-user/" in name


def _allowed(statement: Statement) -> Iterator[tuple[str, str]]:
    """Yield type and name of the principals of a statement that allows; ``NotPrincipal`` allows nearly everyone."""
    if statement.get("Effect") != "Allow":
        return
    if "NotPrincipal" in statement:
        yield "AWS", _EVERYONE
    yield from statement_parts.principals_of(statement)


def _of_principal(
    role: RoleArn, document: TrustDocument, kind: str, name: str, permissions: Mapping[RoleArn, RolePermissions]
) -> Iterator[Access]:
    source = RoleArn.or_none(name)
    if kind == "AWS" and source is not None:
        yield source_role(role, document, source, permissions.get(source))
    elif kind == "AWS":
        yield _of_aws(role, document, name)
    elif kind == "Federated" and ":oidc-provider/" in name and not has_wildcard(name):
        yield from _of_provider(role, document, name)
    else:
        yield _of_caller(role, document, name, name)


def _of_aws(role: RoleArn, document: TrustDocument, name: str) -> Access:
    """Return the answer for an AWS principal; for a whole AWS account that for some principal of it."""
    if name != _EVERYONE and not (name.isdigit() or name.endswith(":root")):
        return _of_caller(role, document, name, name)
    caller = Caller(PrincipalKind.AWS, _NO_ACCOUNT if name == _EVERYONE else _account_in(name))
    context = request_context(caller, role=role)
    if name == _EVERYONE:
        context = context.with_form("aws:PrincipalAccount", ValueForm(((_EVERYONE,),), "that of the caller"))
    request = Request(caller, ASSUME, context, role)
    found = access.answer(document, request, name, Mechanism.ASSUME_ROLE, role)
    return _without_remarks(found) if name == _EVERYONE else found


def _without_remarks(found: Access) -> Access:
    """Return an answer where the caller's own policies are known to allow the call, or do not matter."""
    is_yes = bool(found.remarks) and found.verdict is Verdict.IF and not found.conditions
    return replace(found, verdict=Verdict.YES if is_yes else found.verdict, remarks=())


def _of_everyone(role: RoleArn, document: TrustDocument, statement: Statement, own: Issuer | None) -> Iterator[Access]:
    """Yield the answers for callers that are no AWS principals, where a statement allows and names nobody."""
    if statement.get("Effect") != "Allow" or statement.get("Principal", _EVERYONE) != _EVERYONE:
        return
    yield _of_caller(role, document, SERVICE, SERVICE)
    providers = f"arn:{role.partition}:iam::{role.account_id}"
    for kind in ("oidc-provider", "saml-provider"):
        yield _of_caller(role, document, f"{providers}:{kind}/any", f"{providers}:{kind}/*")
    condition = statement.get("Condition")
    blocks = condition.values() if isinstance(condition, Mapping) else ()
    keys = (str(key) for block in blocks if isinstance(block, Mapping) for key in block)
    for host in sorted(issuers_in(keys)):
        if own is None or host != own.host_path.lower():
            yield from _of_provider(role, document, str(ProviderArn(role.partition, role.account_id, host)))


def _of_caller(role: RoleArn, document: TrustDocument, caller_id: str, name: str) -> Access:
    """Return the answer for one caller of which nothing but the identifier is known."""
    if is_stale(caller_id):
        return Access(role, name, Mechanism.ASSUME_ROLE, Verdict.NO, reason="It is the id of a deleted principal.")
    try:
        caller = Caller.parse(caller_id)
    except ValueError:
        return Access(role, name, Mechanism.ASSUME_ROLE, Verdict.UNKNOWN, reason="It is no principal that can call.")
    mechanism, action = Mechanism.ASSUME_ROLE, ASSUME
    if ":saml-provider/" in caller_id:
        mechanism, action = Mechanism.SAML, _SAML
    elif caller.kind is PrincipalKind.FEDERATED:
        mechanism, action = Mechanism.WEB_IDENTITY, WEB_IDENTITY
    elif caller_id == SERVICE:
        mechanism = Mechanism.POD_IDENTITY
    request = Request(caller, action, request_context(caller, role=role), role)
    return access.answer(document, request, name, mechanism, role)


def _of_provider(role: RoleArn, document: TrustDocument, name: str) -> Iterator[Access]:
    """Yield the answer for each subject of another issuer that is named; where others may match, for the provider."""
    try:
        issuer = Issuer(f"https://{ProviderArn.parse(name).host_path}")
    except InvalidValueError:
        return
    key = issuer.subject_key
    named = {text for s in document.statements for text in statement_parts.condition_values(s, key)}
    audiences = access.audiences_named(document, issuer)
    for text in sorted(each for each in named if not has_wildcard(each)):
        found = min(
            (_by_claims(role, document, name, issuer, text, each) for each in sorted(audiences)), key=access.favour
        )
        yield replace(access.with_open_audience(found), principal=f"{issuer.url} {text}")
    for number, statement in enumerate(document.statements):
        asked = asked_values(statement, key, variables=document.version == VERSION)
        if statement.get("Effect") != "Allow" or any(not any(map(has_wildcard, texts)) for texts in asked):
            continue
        alone = access.without_other_allows(document, number)
        if _of_caller(role, alone, name, name).verdict is not Verdict.NO:
            yield _of_caller(role, document, name, name)
            return


def _by_claims(
    role: RoleArn, document: TrustDocument, provider: str, issuer: Issuer, subject: str, audience: str
) -> Access:
    """Return the answer for a token of which nothing but subject and audience is known."""
    caller = Caller(PrincipalKind.FEDERATED, provider)
    known = {issuer.subject_key: (subject,), issuer.audience_key: (audience,)}
    context = request_context(caller, role=role, known=known)
    if has_wildcard(audience):
        context = context.with_form(issuer.audience_key, audience_form(audience))
    request = Request(caller, WEB_IDENTITY, context, role)
    return access.answer(document, request, subject, Mechanism.WEB_IDENTITY, role, audience)


def _names_callers(statement: Statement) -> bool:
    """Return whether a condition names each role that can call; see `sources_named`."""
    for name, texts in statement_parts.conditions_on(statement, _CALLER_ARN):
        if name is None or name.operator.is_negated or name.operator.relation not in {Relation.EQUALS, Relation.LIKE}:
            continue
        if texts and not any(has_wildcard(text) or "${" in text for text in texts):
            return True
    return False


def _account_in(name: str) -> str:
    """Return the AWS account of an ARN, or the id itself."""
    parts = name.split(":")
    return parts[4] if len(parts) > 4 else name  # noqa: PLR2004 - arn:partition:service:region:account
