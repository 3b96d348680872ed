"""Dead: IAM takes the document, and the statement never applies.

A principal is dead in a statement where no request of it can meet the statement. Where that is so of every principal,
the statement is dead; where it is so of some, `SomePrincipalsNeverApply` says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from trustbind.evaluation.operators import comparison_of
from trustbind.evaluation.three_valued import listed, quoted
from trustbind.evaluation.variables import Operand
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import RoleArn
from trustbind.policy.condition_keys import bare_key
from trustbind.policy.condition_operators import OperatorKind
from trustbind.policy.document_rules.model import Found, Rule, Scene, Severity, of_statement
from trustbind.policy.document_rules.statement import ASSUME, WEB_IDENTITY, Condition, Principal, ReadStatement
from trustbind.policy.trust_document import VERSION

__all__ = ["RULES", "dead_principals", "dead_values", "variable_as_text"]

_SAML: Final = "sts:AssumeRoleWithSAML"
_FOR_ALL: Final = ("sts:TagSession", "sts:SetSourceIdentity", "sts:SetContext")
"""Actions that come with every way to assume a role."""
_CHECKS: Final = 'IAM User Guide, "IAM policy validation check reference", '
_OIDC: Final = 'IAM User Guide, "AWS JSON policy elements: Principal", OIDC federated principals'
_KEYS: Final = 'IAM User Guide, "IAM and AWS STS condition context keys", Available keys for AWS OIDC federation'
_YEAR = re.compile(r"[0-9]{4}", re.ASCII)


@of_statement("TB218", "ActionMismatch", Severity.DEAD, f"{_CHECKS}Mismatched action for principal")
def action_mismatch(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """No principal of the statement can call any of its actions, such as sts:AssumeRole for an OIDC provider.

    Remedy: write sts:AssumeRoleWithWebIdentity for an OIDC provider, sts:AssumeRoleWithSAML for a SAML provider,
    else sts:AssumeRole.
    """
    yield from _where_all_are_dead(scene, statement, "ActionMismatch")


@of_statement("TB219", "ProviderOfOtherAccount", Severity.DEAD, _OIDC)
def provider_of_other_account(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement names an OIDC provider of another AWS account, or partition, than the role's.

    STS looks the token's issuer up in the role's account. Remedy: create the provider in the role's account and
    name that one.
    """
    yield from _where_all_are_dead(scene, statement, "ProviderOfOtherAccount")


@of_statement("TB220", "ProviderWithoutArn", Severity.DEAD, _OIDC)
def provider_without_arn(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement names an OIDC provider by its host.

    Only four providers that are built into IAM are named so. Remedy: write the ARN of the provider.
    """
    yield from _where_all_are_dead(scene, statement, "ProviderWithoutArn")


@of_statement("TB223", "KeyOfOtherProvider", Severity.DEAD, _KEYS)
def key_of_other_provider(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition demands a claim of another issuer than the statement's principal.

    Two issuers in one statement are the usual case. Conditions are ANDed, and no token has claims of two issuers.
    Remedy: write a statement for each issuer.
    """
    yield from _where_all_are_dead(scene, statement, "KeyOfOtherProvider")


@of_statement("TB221", "ArnInKey", Severity.DEAD, _KEYS)
def arn_in_key(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition key begins with the ARN of an OIDC provider.

    Remedy: write host and path of the issuer alone, as in oidc.example.com/path:sub.
    """
    yield from _where_all_are_dead(scene, statement, "ArnInKey")


@of_statement("TB222", "SchemeInKey", Severity.DEAD, _KEYS)
def scheme_in_key(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition key begins with https://.

    Remedy: write host and path of the issuer alone, as in oidc.example.com/path:sub.
    """
    yield from _where_all_are_dead(scene, statement, "SchemeInKey")


@of_statement("TB224", "VariableAsText", Severity.DEAD, 'IAM User Guide, "IAM JSON policy elements: Version"')
def variable_as_text(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition demands a value with a policy variable, and the document's Version is not 2012-10-17.

    The variable is taken as text, which no request has. Remedy: set the Version to 2012-10-17.
    """
    for condition in statement.conditions:
        if condition.requires_key and len(_variables_as_text(condition, scene)) == len(condition.values) > 0:
            yield Found(_variable_message(condition, scene))


@of_statement(
    "TB225", "ValueNeverMatches", Severity.DEAD, 'IAM User Guide, "IAM JSON policy elements: Condition operators"'
)
def value_never_matches(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A condition compares numbers, dates, addresses, ARNs or Boolean values with a text that is none.

    Remedy: correct the value, or use an operator for texts.
    """
    for condition in statement.conditions:
        unreadable = _unreadable(condition, scene)
        if condition.requires_key and len(unreadable) == len(condition.values) > 0:
            yield Found(_unreadable_message(condition, unreadable))


def dead_principals(scene: Scene, statement: ReadStatement) -> dict[Principal, tuple[str, str]]:
    """Return the principals whose requests can never meet the statement, each with the rule's code and a message."""
    found: dict[Principal, tuple[str, str]] = {}
    for principal in statement.principals:
        reason = _wrong_action(principal, statement) or _wrong_provider(principal, scene.role)
        if reason is None and principal.issuer:
            reason = next(
                (reason for c in statement.conditions if (reason := _wrong_key(principal.issuer, c)) is not None), None
            )
        if reason is not None:
            found[principal] = reason
    return found


def dead_values(scene: Scene, statement: ReadStatement) -> Iterator[str]:
    """Yield a message for each condition some of whose values, and not all, can never match."""
    for condition in statement.conditions:
        if not condition.requires_key:
            continue
        if 0 < len(_variables_as_text(condition, scene)) < len(condition.values):
            yield _variable_message(condition, scene)
        unreadable = _unreadable(condition, scene)
        if 0 < len(unreadable) < len(condition.values):
            yield _unreadable_message(condition, unreadable)


def _where_all_are_dead(scene: Scene, statement: ReadStatement, code: str) -> Iterator[Found]:
    dead = dead_principals(scene, statement)
    if len(dead) == len(set(statement.principals)):
        yield from (Found(message) for message in dict.fromkeys(m for c, m in dead.values() if c == code))


def _wrong_action(principal: Principal, statement: ReadStatement) -> tuple[str, str] | None:
    """Return why a principal can call none of the statement's actions."""
    if not statement.actions or (principal.kind, principal.text) == ("AWS", "*"):  # it may stand for other callers, too
        return None
    match principal.kind:
        case "AWS" | "Service":
            wanted = ASSUME
        case "Federated":
            wanted = _SAML if ":saml-provider/" in principal.text else WEB_IDENTITY
        case _:
            return None
    if any(statement.covers(action) for action in (wanted, *_FOR_ALL)):
        return None
    actions = listed(list(statement.actions), "and")
    return "ActionMismatch", f"names {quoted(principal.text)}, which cannot call {actions}; write {wanted}"


def _wrong_provider(principal: Principal, role: RoleArn) -> tuple[str, str] | None:
    """Return why STS never takes a token for that provider."""
    provider = principal.provider
    if provider is not None:
        if (provider.partition, provider.account_id) == (role.partition, role.account_id):
            return None
        message = (
            f"names an OIDC provider of AWS account {provider.account_id} ({provider.partition}), and STS looks in the "
            f"role's, {role.account_id} ({role.partition}); create the provider there and name that one"
        )
        return "ProviderOfOtherAccount", message
    if principal.kind != "Federated" or principal.issuer or ":" in principal.text:
        return None
    arn = f"arn:{role.partition}:iam::{role.account_id}:oidc-provider/{principal.text}"
    return "ProviderWithoutArn", f"names the provider {quoted(principal.text)} without its ARN; write {arn}"


def _wrong_key(issuer: str, condition: Condition) -> tuple[str, str] | None:
    """Return why a token of this issuer lacks the key that a condition demands."""
    prefix = condition.prefix
    if not prefix or not condition.requires_key or prefix.rstrip("/") == issuer.lower().rstrip("/"):
        return None
    key = quoted(condition.key)
    if (bare := bare_key(condition.key)) != condition.key:
        if prefix.startswith("arn:"):
            return "ArnInKey", f"has a condition on {key}, and no key begins with an ARN; write {quoted(bare)}"
        return "SchemeInKey", f"has a condition on {key}; write {quoted(bare)}"
    return (
        "KeyOfOtherProvider",
        f"demands {key}, which tokens of {issuer} never have; write a statement for each issuer",
    )


def _variables_as_text(condition: Condition, scene: Scene) -> list[str]:
    if scene.document.version == VERSION or not condition.name.operator.replaces_variables:
        return []
    return [value for value in condition.values if "${" in value]


def _variable_message(condition: Condition, scene: Scene) -> str:
    shown = scene.document.version or "missing, which means 2008-10-17"
    return (
        f"has the policy variable of {quoted(_variables_as_text(condition, scene)[0])} as a value of "
        f"{quoted(condition.key)}, which is taken as text: the Version is {shown}; write {VERSION}"
    )


def _unreadable(condition: Condition, scene: Scene) -> list[str]:
    """Return the values that the operator cannot compare with anything."""
    operator = condition.name.operator
    if operator.kind in {OperatorKind.STRING, OperatorKind.NULL}:
        return []
    comparison = comparison_of(operator)
    found = []
    for value in condition.values:
        is_variable = "${" in value and operator.replaces_variables and scene.document.version == VERSION
        # A year or seconds; and what a wildcard in an incomplete ARN stands for is not documented.
        is_unclear = (operator.kind is OperatorKind.DATE and _YEAR.fullmatch(value)) or (
            operator.kind is OperatorKind.ARN and has_wildcard(value)
        )
        if is_variable or is_unclear:
            continue
        try:
            comparison.read_wanted(Operand(value))
        except ValueError:
            found.append(value)
    return found


def _unreadable_message(condition: Condition, values: list[str]) -> str:
    return (
        f"compares {quoted(condition.key)} by {condition.operator} with {listed(values, 'and')}, which never matches; "
        "correct the value or the operator"
    )


RULES: Final[tuple[Rule, ...]] = (
    action_mismatch,
    provider_of_other_account,
    provider_without_arn,
    arn_in_key,
    scheme_in_key,
    key_of_other_provider,
    variable_as_text,
    value_never_matches,
)
