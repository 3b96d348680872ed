"""Refused by IAM: whom a statement may name, and what it must ask of them.

Sources: IAM User Guide, "AWS JSON policy elements: Principal", and the pages that a rule names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from trustbind.evaluation.model import FEDERATED_HOSTS
from trustbind.evaluation.three_valued import as_texts, quoted
from trustbind.evaluation.wildcards import has_wildcard
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules.model import Found, Scene, Severity, of_statement
from trustbind.policy.document_rules.shared_providers import CHECKED_VALUES, REQUIRED_KEYS
from trustbind.policy.document_rules.statement import WEB_IDENTITY, Principal, ReadStatement
from trustbind.policy.trust_document import is_stale, stale_principals

__all__ = ["RULES"]

_PAGE: Final = 'IAM User Guide, "AWS JSON policy elements: Principal"'
_KINDS: Final = frozenset({"AWS", "Federated", "Service"})

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_AWS = re.compile(
    r"arn:(?P<partition>aws[a-z0-9-]*):(?:iam::[0-9]{12}:(?:root|(?:role|user)/[!-)+-~]+)"
    r"|sts::[0-9]{12}:(?:assumed-role/[\w+=,.@-]{1,64}/[\w+=,.@-]{2,64}|federated-user/[\w+=,.@-]+))",
    re.ASCII,
)
_PROVIDER = re.compile(r"arn:aws[a-z0-9-]*:iam::[0-9]{12}:(?:oidc-provider/\S+|saml-provider/[\w.-]+)", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?:/\S*)?", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.ASCII)
_STS_ROLE = re.compile(r"(arn:aws[a-z0-9-]*):sts::([0-9]{12}):role/(.+)", re.ASCII)
_IAM_SESSION = re.compile(r"(arn:aws[a-z0-9-]*):iam::([0-9]{12}):assumed-role/(.+)", re.ASCII)


@of_statement("TB214", "StalePrincipal", Severity.REFUSED, f"{_PAGE}, IAM role principals", may_be_stored=True)
def stale_principal(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement names a principal that was deleted.

    IAM shows it by its unique id (AROA..., AIDA...), and takes no document with that id back. Remedy: name the
    principal that has the name now, or remove the entry.
    """
    for text in stale_principals(statement.raw):
        yield Found(
            f"names {text}, a principal that was deleted; name the one that has its name now, or remove it",
            f'Invalid principal in policy: "AWS":"{text}"',
        )


@of_statement("TB215", "InvalidPrincipal", Severity.REFUSED, _PAGE)
def invalid_principal(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A principal has a form that IAM does not accept.

    Such as a wildcard inside a name, a bare "*", a role's ARN of the service sts, a group, or another partition.
    Remedy: write the account id, or the ARN of the role, user, session or provider.
    """
    if "Principal" not in statement.raw:
        return
    element = statement.raw["Principal"]
    if element == "*":
        yield Found(
            'has the Principal "*", which IAM refuses in a trust policy; write {"AWS": "*"} with conditions, or name '
            "who is trusted",
            'AssumeRolepolicy contained an invalid principal: "STAR":"*".',
        )
    elif not isinstance(element, Mapping):
        yield Found('has a Principal that is not of the form {"AWS": "name"}; correct it', "Syntax errors in policy.")
    elif not element or any(as_texts(names) is None for names in element.values()):
        yield Found(
            "has a Principal without a name; say whom it trusts", "Missing required field Principal cannot be empty!"
        )
    for principal in statement.principals:
        if is_stale(principal.text) or not (problem := _problem(principal, scene.role)):
            continue
        words = f'Invalid principal in policy: "{principal.kind.upper()}":"{principal.text}"'
        if principal.kind == "Federated":
            words = "Federated principals must be valid domain names or SAML metadata ARNs"
        yield Found(problem, words)


@of_statement(
    "TB216", "AbsentPrincipal", Severity.REFUSED, 'AWS re:Post, "Failed to update trust policy. Invalid principal"'
)
def absent_principal(scene: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement names a role, user or service that does not exist; found only where that is known.

    Remedy: create it first, or correct the name; mind a role's path.
    """
    for principal in statement.principals:
        if scene.exists is None or _problem(principal, scene.role) or is_stale(principal.text):
            continue
        is_checked = principal.kind == "Service" or (principal.kind == "AWS" and _is_entity(principal.text))
        if is_checked and not scene.exists(principal.kind, principal.text):
            yield Found(
                f"names {quoted(principal.text)}, which does not exist; create it first, or correct the name",
                f'Invalid principal in policy: "{principal.kind.upper()}":"{principal.text}"',
            )


@of_statement(
    "TB217",
    "SharedProviderClaim",
    Severity.REFUSED,
    'IAM User Guide, "Identity-provider controls for shared OIDC providers"',
    may_be_stored=True,
)
def shared_provider_claim(_: Scene, statement: ReadStatement) -> Iterator[Found]:
    """A statement trusts an OIDC provider that organisations share, without a condition on the claim that parts them.

    IAM checks it at each write since 2025, also for roles that are older. Remedy: add the condition.
    """
    if not statement.allows or not statement.covers(WEB_IDENTITY):
        return
    for issuer in dict.fromkeys(principal.issuer.lower() for principal in statement.principals if principal.issuer):
        key = REQUIRED_KEYS.get(issuer)
        if key is None:
            continue
        values = [v for c in statement.conditions if c.key.lower() == key.lower() for v in c.values]
        is_checked = issuer in CHECKED_VALUES
        if not values:
            yield Found(f"trusts {issuer}, which many organisations share; add a condition on {quoted(key)}")
        elif is_checked and not any(value.strip("*?") for value in values):
            yield Found(
                f"has only wildcards as the value of {quoted(key)}; name the organisation, as in "
                "repo:example-org@<owner id>/* or repo:example-org/*"
            )


def _problem(principal: Principal, role: RoleArn) -> str:
    """Return why IAM does not accept a principal, whether it exists or not; empty where nothing is known."""
    kind, text = principal.kind, principal.text
    named = f"names {quoted(text)} as {kind} principal"
    if kind not in _KINDS:
        return f"names a principal of type {quoted(kind)}; IAM has AWS, Federated and Service"
    if has_wildcard(text) and (kind, text) != ("AWS", "*"):
        return (
            f"{named}, and IAM takes no wildcard inside a name; write the name out, or a condition on aws:PrincipalArn"
        )
    match kind:
        case "AWS":
            return _aws_problem(named, text, role)
        case "Service":
            return "" if _SERVICE.fullmatch(text) else f"{named}; write a service such as ec2.amazonaws.com"
        case _:
            is_known = text in FEDERATED_HOSTS or _PROVIDER.fullmatch(text) or _DOMAIN.fullmatch(text)
            return "" if is_known else f"{named}; write the ARN of the OIDC or SAML provider"


def _aws_problem(named: str, text: str, role: RoleArn) -> str:
    if text == "*" or _ACCOUNT.fullmatch(text):
        return ""
    match = _AWS.fullmatch(text)
    if match is not None:
        if match["partition"] == role.partition:
            return ""
        return f"{named}, of another partition than the role ({role.partition}); no role can trust it"
    if match := _STS_ROLE.fullmatch(text):
        return f"{named}, which is no ARN of a role; write {match[1]}:iam::{match[2]}:role/{match[3]}"
    if match := _IAM_SESSION.fullmatch(text):
        return f"{named}, which is no ARN of a session; write {match[1]}:sts::{match[2]}:assumed-role/{match[3]}"
    if ":group/" in text:
        return f"{named}, and a group cannot be a principal; name its users, or use roles"
    return f"{named}; write an account id of 12 digits, or the ARN of a role, user or session"


def _is_entity(text: str) -> bool:
    """Return whether a name is that of a role, a user or a session, and not of a whole account."""
    return text != "*" and not _ACCOUNT.fullmatch(text) and not text.endswith(":root")


RULES: Final = (stale_principal, invalid_principal, absent_principal, shared_provider_claim)
