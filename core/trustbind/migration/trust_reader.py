"""One role's trust policy, as what it gives to this cluster's service accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trustbind.api.extra_conditions import ExtraCondition
from trustbind.errors import InvalidValueError
from trustbind.evaluation.actions import check_action
from trustbind.evaluation.model import Caller, PrincipalKind, Request, StatementRef
from trustbind.evaluation.policy import evaluate
from trustbind.evaluation.three_valued import Truth
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject, audience_of
from trustbind.migration.conditions import Constraint, NotExpressibleError, TokenConditions, values_of
from trustbind.migration.findings import ImportFinding, ImportReason
from trustbind.policy.owned_statement import is_owned, is_retained
from trustbind.policy.trust_document import VERSION, SourceStatement, Statement, TrustDocument

__all__ = ["Admission", "Other", "PatternAdmission", "ReadRole", "SourceTrust", "read_role"]

_WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
_ELEMENTS: Final = frozenset({"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"})
_VERSIONS: Final = frozenset({None, VERSION, "2008-10-17"})
_SHOWN: Final = 5
_OWNED: Final = "trustbind wrote this statement for a binding of this cluster"


@dataclass(frozen=True, slots=True)
class Admission:
    """One service account that a statement lets use the role.

    Attributes:
        subject: the service account.
        audience: of its tokens.
        conditions: further ones.
        statement: which statement says so.
    """

    subject: Subject
    audience: str
    conditions: tuple[ExtraCondition, ...]
    statement: StatementRef


@dataclass(frozen=True, slots=True)
class PatternAdmission:
    """Service accounts that a statement lets use the role by a pattern; see `Admission`.

    Attributes:
        constraints: on the subject; all have to hold.
    """

    constraints: tuple[Constraint, ...]
    audience: str
    conditions: tuple[ExtraCondition, ...]
    statement: StatementRef

    def matches(self, subject: Subject) -> bool:
        """Return whether the pattern is true of a service account."""
        return all(constraint.holds_for(str(subject)) for constraint in self.constraints)


@dataclass(frozen=True, slots=True)
class SourceTrust:
    """A role that the trust policy lets assume this one.

    Attributes:
        source: its ARN.
        external_id: that it has to send; empty: none.
        statement: which statement says so.
    """

    source: RoleArn
    external_id: str
    statement: StatementRef


class Other:
    """Whom a statement trusts that is not about this cluster."""

    EKS: Final = "another EKS cluster"
    OIDC: Final = "another OIDC provider"
    SAML: Final = "a SAML provider"
    AWS: Final = "an AWS principal"
    SERVICE: Final = "an AWS service"
    UNKNOWN: Final = "something else"


@dataclass(slots=True)
class ReadRole:
    """What one trust policy says.

    Attributes:
        role: whose it is.
        document: the trust policy.
        admissions: what bindings can say.
        patterns: what they can say of service accounts that are known by name.
        sources: roles that may assume this one.
        findings: what is not imported, and why.
        others: number of statements that are not about this cluster, by whom they trust; see `Other`.
    """

    role: RoleArn
    document: TrustDocument
    admissions: list[Admission] = field(default_factory=list)
    patterns: list[PatternAdmission] = field(default_factory=list)
    sources: list[SourceTrust] = field(default_factory=list)
    findings: list[ImportFinding] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def find(
        self, reason: ImportReason, message: str, statement: StatementRef | None = None, subject: str = ""
    ) -> None:
        """Add a finding about the role."""
        self.findings.append(ImportFinding(reason, message, self.role, statement, subject))


def read_role(
    role: RoleArn,
    document: TrustDocument,
    issuer: Issuer,
    *,
    includes_owned: bool = False,
    audience: str = DEFAULT_AUDIENCE,
) -> ReadRole:
    """Return what a role's trust policy gives to the service accounts of the cluster with this issuer.

    Args:
        role: the role.
        document: its trust policy.
        issuer: the cluster's.
        includes_owned: whether statements count that this cluster's trustbind wrote for its bindings: another cluster
            has no such bindings yet.
        audience: of the cluster's tokens, where a statement names none.
    """
    read = ReadRole(role, document)
    if document.version not in _VERSIONS or document.extra.keys() - {"Id"}:
        read.find(ImportReason.UNREADABLE, "its trust policy has a Version or an element that IAM does not have")
        return read
    for index, statement in enumerate(document.statements):
        ref = StatementRef(index, statement.get("Sid", ""))
        try:
            is_skipped = is_owned(statement, issuer) and (not includes_owned or is_retained(statement, issuer))
            if is_skipped:
                read.find(ImportReason.OWNED, _OWNED, ref)
            else:
                _read_statement(read, statement, ref, issuer, audience, variables=document.version == VERSION)
        except NotExpressibleError as error:
            read.find(error.reason, error.problem, ref)
    _apply_denies(read, document, issuer)
    return read


def _read_statement(
    read: ReadRole, statement: Statement, ref: StatementRef, issuer: Issuer, default: str, *, variables: bool
) -> None:
    if _is_deny(statement):
        return  # see `_apply_denies`
    ours = _names_provider(read, statement, ref, issuer)
    if not ours:
        return
    if isinstance(statement, SourceStatement) and statement.repeats_key:
        raise NotExpressibleError(ImportReason.UNREADABLE, "an object in it has one key twice")
    if unknown := sorted(statement.keys() - _ELEMENTS):
        raise NotExpressibleError(
            ImportReason.UNREADABLE, f"it has an element {unknown[0]}, which trust policies do not have"
        )
    if statement.get("Effect") != "Allow":
        raise NotExpressibleError(ImportReason.UNREADABLE, "its Effect is neither Allow nor Deny")
    conditions = TokenConditions.of(statement, issuer, variables=variables)
    audience = _audience(read, conditions, ref, default)
    _admit(read, conditions, audience, ref)


def _names_provider(read: ReadRole, statement: Statement, ref: StatementRef, issuer: Issuer) -> bool:
    """Return whether a statement is about tokens of this cluster; count or tell of what else it is about."""
    if "NotPrincipal" in statement or "NotAction" in statement:
        element = "NotPrincipal" if "NotPrincipal" in statement else "NotAction"
        raise NotExpressibleError(
            ImportReason.INVERTED_ELEMENT, f"it has a {element}, so whom it trusts is not listed; name them"
        )
    action = check_action("Action", statement.get("Action"), _WEB_IDENTITY)
    is_for_tokens = action.truth is Truth.YES
    principal = statement.get("Principal")
    if principal == "*":
        if is_for_tokens:
            raise NotExpressibleError(
                ImportReason.EVERYONE, "its Principal is *, so it trusts more than this cluster; name the provider"
            )
        read.others[Other.AWS] += 1
        return False
    named = list(_principals(principal))
    wanted = issuer.provider_for(read.role)
    ours = [text for kind, text in named if kind == "Federated" and _is_of_issuer(text, issuer)]
    if not ours:
        _count_other(read, statement, named, ref)
        return False
    if str(wanted) not in ours:
        raise NotExpressibleError(
            ImportReason.OTHER_PROVIDER,
            f"it names the provider {ours[0]}, and tokens are looked up at {wanted}, so it lets nobody in",
        )
    if not is_for_tokens:
        raise NotExpressibleError(
            ImportReason.OTHER_ACTION, f"its Action does not allow {_WEB_IDENTITY}, so no token is accepted"
        )
    return True


def _audience(read: ReadRole, conditions: TokenConditions, ref: StatementRef, default: str) -> str:
    exact, patterns = values_of(conditions.audience)
    if not conditions.audience:
        read.find(
            ImportReason.NO_AUDIENCE,
            f"it has no condition on the audience; the binding has {default}, and other audiences of the "
            "provider are accepted only as long as this statement stands",
            ref,
        )
        return default
    if patterns:
        raise NotExpressibleError(
            ImportReason.WILDCARD_AUDIENCE, f"it accepts the audiences {_listed(patterns)}, and a binding has one"
        )
    if not exact:
        raise NotExpressibleError(
            ImportReason.NO_SERVICE_ACCOUNT, "its conditions allow no audience, so it lets nobody in"
        )
    if len(exact) > 1:
        raise NotExpressibleError(
            ImportReason.SEVERAL_AUDIENCES,
            f"it accepts {len(exact)} audiences ({_listed(exact)}), and a binding has one; write one for each",
        )
    try:
        return audience_of(exact[0])
    except InvalidValueError as error:
        raise NotExpressibleError(ImportReason.NO_SERVICE_ACCOUNT, f"it lets nobody in: {error}") from None


def _admit(read: ReadRole, conditions: TokenConditions, audience: str, ref: StatementRef) -> None:
    exact, patterns = values_of(conditions.subject)
    for text in exact:
        try:
            subject = Subject.parse(text)
        except InvalidValueError as error:
            literal = "; under StringEquals a wildcard is literal, use StringLike" if "*" in text else ""
            read.find(ImportReason.NO_SERVICE_ACCOUNT, f"{error}{literal}", ref, text)
            continue
        read.admissions.append(Admission(subject, audience, conditions.further, ref))
    if not patterns:
        return
    read.patterns.append(PatternAdmission(conditions.subject, audience, conditions.further, ref))
    if not conditions.subject:
        read.find(
            ImportReason.NO_SUBJECT,
            "it has no condition on the subject, so it trusts every service account of this cluster, and a binding "
            "names them",
            ref,
        )
        return
    for pattern in patterns:
        read.find(
            ImportReason.WILDCARD_SUBJECT,
            f"the subject {pattern} has a wildcard, and a binding names service accounts of one namespace",
            ref,
            pattern,
        )


def _apply_denies(read: ReadRole, document: TrustDocument, issuer: Issuer) -> None:
    """Leave out service accounts that a Deny shuts out; tell of a Deny that depends on more than the token."""
    claims = {issuer.subject_key.casefold(), issuer.audience_key.casefold()}
    certain: list[Statement] = []
    for index, statement in enumerate(document.statements):
        if not _is_deny(statement) or is_owned(statement, issuer):
            continue
        if not _may_concern_tokens(statement, str(issuer.provider_for(read.role))):
            read.others[_other_of(_principals(statement.get("Principal")))] += 1
        elif _keys(statement) <= claims:
            certain.append(statement)
        else:
            read.find(
                ImportReason.CONDITIONAL_DENY,
                "it denies tokens under further conditions, which no binding has; keep it",
                StatementRef(index, statement.get("Sid", "")),
            )
    if not certain:
        return
    allow = {"Effect": "Allow", "Principal": "*", "Action": "*"}
    probe = {"Version": document.version or "2008-10-17", "Statement": [allow, *certain]}
    admitted = []
    for each in read.admissions:
        context = {issuer.subject_key: (str(each.subject),), issuer.audience_key: (each.audience,)}
        caller = Caller(PrincipalKind.FEDERATED, str(issuer.provider_for(read.role)))
        if evaluate(probe, Request(caller, _WEB_IDENTITY, context)).allowed:
            admitted.append(each)
        else:
            read.find(
                ImportReason.DENIED, f"{each.subject} is allowed here and denied by another statement", each.statement
            )
    read.admissions = admitted
    read.patterns = []  # the subjects of a pattern are not compared with each Deny


def _may_concern_tokens(statement: Statement, provider: str) -> bool:
    for element in ("Action", "NotAction"):
        if element in statement and check_action(element, statement[element], _WEB_IDENTITY).truth is Truth.NO:
            return False
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    named = list(_principals(principal))
    return not named or any(text == "*" or (kind, text) == ("Federated", provider) for kind, text in named)


def _keys(statement: Statement) -> set[str]:
    """Return the condition keys, folded; none of what cannot be read, which in a Deny counts as matching."""
    condition = statement.get("Condition", {})
    blocks = condition.values() if isinstance(condition, Mapping) else ()
    return {str(key).casefold() for block in blocks if isinstance(block, Mapping) for key in block}


def _count_other(read: ReadRole, statement: Statement, named: list[tuple[str, str]], ref: StatementRef) -> None:
    read.others[_other_of(named)] += 1
    if statement.get("Effect") != "Allow" or check_action(
        "Action", statement.get("Action"), "sts:AssumeRole"
    ).truth is (Truth.NO):
        return
    read.sources += _sources(statement, named, ref)


def _sources(statement: Statement, named: Iterable[tuple[str, str]], ref: StatementRef) -> Iterator[SourceTrust]:
    """Yield the roles that may assume this one where the statement has no condition but an external id."""
    condition = statement.get("Condition", {})
    external_id = ""
    if condition:
        block = condition.get("StringEquals") if isinstance(condition, Mapping) and len(condition) == 1 else None
        if not isinstance(block, Mapping) or [str(key).casefold() for key in block] != ["sts:externalid"]:
            return
        value = next(iter(block.values()))
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(value, str) or "${" in value:
            return
        external_id = value
    for kind, text in named:
        if kind == "AWS" and ":role/" in text:
            try:
                yield SourceTrust(RoleArn.parse(text), external_id, ref)
            except InvalidValueError:
                continue


def _is_deny(statement: Statement) -> bool:
    """Return whether the evaluator takes a statement as a Deny."""
    effect = statement.get("Effect")
    return isinstance(effect, str) and effect.strip().lower() == "deny"


def _principals(principal: Any) -> Iterator[tuple[str, str]]:
    """Yield type and text of each principal; nothing for a malformed one."""
    if principal == "*":
        yield "AWS", "*"
    if not isinstance(principal, Mapping):
        return
    for kind, value in principal.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield str(kind), text


def _is_of_issuer(text: str, issuer: Issuer) -> bool:
    try:
        host_path = ProviderArn.parse(text).host_path
    except InvalidValueError:
        return False
    return host_path.rstrip("/").casefold() == issuer.host_path.rstrip("/").casefold()


def _other_of(named: Iterable[tuple[str, str]]) -> str:
    for kind, text in named:
        if kind == "Federated":
            if ":saml-provider/" in text:
                return Other.SAML
            return Other.EKS if ":oidc-provider/oidc.eks." in text else Other.OIDC
        if kind in {"AWS", "CanonicalUser"}:
            return Other.AWS
        if kind == "Service":
            return Other.SERVICE
    return Other.UNKNOWN


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
