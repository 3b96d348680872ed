"""Risky: the statement applies, to more callers or to fewer than its author probably wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trustbind.api.federated_subjects import FederatedSubjects, too_wide
from trustbind.evaluation.model import FEDERATED_HOSTS, StatementRef
from trustbind.evaluation.three_valued import quoted
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.subjects import Issuer
from trustbind.policy.condition_operators import OperatorKind, Relation, SetQualifier
from trustbind.policy.document_rules.dead import dead_principals, dead_values
from trustbind.policy.document_rules.model import Found, Rule, Scene, Severity, of_document, of_statement
from trustbind.policy.document_rules.statement import ASSUME, WEB_IDENTITY, Condition, ReadStatement
from trustbind.policy.pod_identity import ACTIONS, SERVICE

__all__ = ["RULES", "wide_subject"]

_CHECKS: Final = 'IAM User Guide, "IAM policy validation check reference", '
_PAGE: Final = 'IAM User Guide, "AWS JSON policy elements: Principal"'
_SETS: Final = 'IAM User Guide, "Single-valued vs. multivalued context keys"'
_OPERATORS: Final = 'IAM User Guide, "IAM JSON policy elements: Condition operators"'
_CREATE: Final = 'IAM User Guide, "Create a role for OpenID Connect federation"'
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"
_NOT_A_SUBJECT: Final = frozenset({"aud", "oaud", "amr"})
"""Claims that say for whom a token is made and how its owner signed in, not who that is."""


@of_statement("TB226", "AnyPrincipal", Severity.RISKY, f"{_PAGE}, All principals")
def any_principal(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement allows every AWS principal.

    Remedy: name accounts, roles or users.
    """
    if statement.allows and any((p.kind, p.text) == ("AWS", "*") for p in statement.principals):
        rest = "only its conditions limit who" if statement.conditions else "it has no conditions"
        yield Found(f"allows the principals of every AWS account, and {rest}; name the accounts or roles")


@of_statement("TB227", "AccountWithoutCondition", Severity.RISKY, f"{_PAGE}, AWS account principals")
def account_without_condition(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement allows a whole AWS account without a condition: each principal whose own policy allows the role.

    Remedy: name the roles, or add a condition on aws:PrincipalArn.
    """
    if not statement.allows or statement.raw.get("Condition") or not statement.covers(ASSUME):
        return
    for principal in statement.principals:
        if principal.kind == "AWS" and (principal.text.endswith(":root") or principal.text.isdecimal()):
            yield Found(
                f"allows every principal of {quoted(principal.text)} that the account itself permits; name the roles, "
                "or add a condition on aws:PrincipalArn"
            )


@of_statement("TB228", "OidcWithoutSubject", Severity.RISKY, f"{_CHECKS}Missing condition key for oidc principal")
def oidc_without_subject(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement allows an OIDC provider without a condition on the token's subject.

    Every subject of the issuer gets the role. Remedy: add a condition on the issuer's key :sub.
    """
    for issuer in _issuers(statement):
        about = (c for c in statement.conditions if c.requires_key and c.prefix == issuer.lower())
        if not any(c.key.lower().rpartition(":")[2] not in _NOT_A_SUBJECT for c in about):
            yield Found(f"allows every subject of {issuer}; add a condition on {quoted(f'{issuer}:sub')}")


@of_statement("TB229", "OidcWithoutAudience", Severity.RISKY, _CREATE)
def oidc_without_audience(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement allows an OIDC provider without a condition on the audience.

    Tokens for each of the provider's client ids get the role. Remedy: add a condition on the issuer's key :aud.
    """
    for issuer in _issuers(statement):
        if not statement.requires(issuer, "aud"):
            yield Found(f"allows tokens for every client id of {issuer}; add a condition on {quoted(f'{issuer}:aud')}")


@of_statement("TB230", "WideSubject", Severity.RISKY, f"{_CHECKS}Specific github repo and branch recommended")
def wide_subject(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A pattern over subjects matches more than one owner's.

    Strangers choose the beginning of a subject that it matches, or its namespace is not written out. Remedy: write
    the owner, or the namespace, out.
    """
    for issuer in _issuers(statement):
        for condition in statement.conditions:
            if condition.is_about(issuer, "sub") and _is_pattern(condition):
                yield from (
                    Found(f"has a pattern of subjects: {m}") for v in condition.values for m in _dangers(issuer, v)
                )


@of_statement("TB231", "ForAllValues", Severity.RISKY, f"{_SETS}; {_CHECKS}ForAllValues with single valued key")
def for_all_values(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition of an Allow begins with ForAllValues:, which is true for a request without the key.

    Remedy: remove the prefix; for a key with several values, add a Null condition with the value false.
    """
    for condition in statement.conditions if statement.allows else ():
        if condition.name.qualifier is SetQualifier.FOR_ALL_VALUES and not _is_demanded(condition.key, statement):
            yield Found(
                f"has {condition.operator} on {quoted(condition.key)}, which is true for a request without the key; "
                "remove ForAllValues:"
            )


@of_statement("TB232", "IfExistsOnClaim", Severity.RISKY, _OPERATORS)
def if_exists_on_claim(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition of an Allow on a token's subject or audience ends in IfExists: it is true where the claim is missing.

    Remedy: remove IfExists.
    """
    for condition in statement.conditions if statement.allows else ():
        claim = condition.key.lower().rpartition(":")[2]
        if condition.name.if_exists and condition.prefix and claim in {"sub", "aud"}:
            yield Found(
                f"has {condition.operator} on {quoted(condition.key)}, which is true where the key is missing; remove "
                "IfExists"
            )


@of_statement("TB233", "WildcardAsText", Severity.RISKY, f"{_CHECKS}Wildcard without like operator")
def wildcard_as_text(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A value has * or ? under an operator that takes them as they are, such as StringEquals.

    Remedy: use StringLike, or write the value out.
    """
    for condition in statement.conditions:
        operator = condition.name.operator
        if operator.kind is OperatorKind.STRING and operator.relation is not Relation.LIKE:
            for value in (value for value in condition.values if has_wildcard(value.replace("${*}", ""))):
                yield Found(
                    f"has the value {quoted(value)} for {quoted(condition.key)}, in which {condition.operator} takes "
                    "* and ? literally; use StringLike"
                )


@of_statement("TB234", "SomePrincipalsNeverApply", Severity.RISKY, "the dead rules of this table")
def some_principals_never_apply(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """Some principals of a statement, and not all, break one of the rules that make a statement dead.

    Remedy: give each principal its own statement.
    """
    dead = dead_principals(scene, statement)
    if len(dead) < len(set(statement.principals)):
        yield from (
            Found(f"{message} (other principals of the statement are not concerned)") for _, message in dead.values()
        )


@of_statement("TB235", "SomeValuesNeverMatch", Severity.RISKY, "the dead rules of this table")
def some_values_never_match(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """Some values of a condition, and not all, can never match.

    Remedy: correct them, or remove them.
    """
    yield from map(Found, dead_values(scene, statement))


@of_document(
    "TB236",
    "PodIdentityWithoutTagSession",
    Severity.RISKY,
    'EKS User Guide, "Create IAM role with trust policy required by EKS Pod Identity"',
)
def pod_identity_without_tag_session(scene: Scene) -> Iterator[tuple[StatementRef | None, Found]]:
    """A document allows sts:AssumeRole to EKS Pod Identity, and not sts:TagSession.

    EKS needs both unless the association switches session tags off. Remedy: allow both.
    """
    allowed = [
        s for s in scene.statements if s.allows and any((p.kind, p.text) == ("Service", SERVICE) for p in s.principals)
    ]
    assume = [s for s in allowed if s.covers(ACTIONS[0])]
    if assume and not any(s.covers(ACTIONS[1]) or not s.actions for s in allowed):
        yield (
            assume[0].ref,
            Found(
                f"allows {ACTIONS[0]} to {SERVICE}, and no statement allows {ACTIONS[1]}; add it, unless the "
                "association has disableSessionTags"
            ),
        )


def _issuers(statement: ReadStatement) -> list[str]:
    """Return the issuers whose tokens a statement admits, those apart that are built into IAM and have other keys."""
    if not statement.allows or not statement.covers(WEB_IDENTITY):
        return []
    issuers = (principal.issuer for principal in statement.principals)
    return list(dict.fromkeys(issuer for issuer in issuers if issuer and issuer not in FEDERATED_HOSTS))


def _is_pattern(condition: Condition) -> bool:
    return condition.requires_key and condition.name.operator.relation is Relation.LIKE


def _dangers(issuer: str, pattern: str) -> list[str]:
    found = too_wide([FederatedSubjects(Issuer(f"https://{issuer}"), "", (pattern,))])
    fixed = pattern.replace("?", "*").partition("*")[0]
    if (
        not found
        and fixed != pattern
        and fixed.startswith(_SERVICE_ACCOUNT)
        and fixed.count(":") == _SERVICE_ACCOUNT.count(":")
    ):
        found.append(f"{pattern} matches service accounts of every namespace of that name; write the namespace out")
    return found


def _is_demanded(key: str, statement: ReadStatement) -> bool:
    """Return whether another condition is false for a request without the key."""
    return any(c.requires_key and c.key.lower() == key.lower() for c in statement.conditions)


RULES: Final[tuple[Rule, ...]] = (
    any_principal,
    account_without_condition,
    oidc_without_subject,
    oidc_without_audience,
    wide_subject,
    for_all_values,
    if_exists_on_claim,
    wildcard_as_text,
    some_principals_never_apply,
    some_values_never_match,
    pod_identity_without_tag_session,
)
