"""The nearest difference between what a trust policy expects and what a request has, as the end of a sentence.

Each function returns text that begins with "; ", or nothing. A hint changes no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from trustbind.evaluation.model import Caller, PrincipalKind
from trustbind.evaluation.request_context import RequestContext
from trustbind.evaluation.three_valued import listed, quoted
from trustbind.evaluation.wildcards import glob_matches, has_wildcard
from trustbind.policy.condition_operators import ConditionOperator, OperatorKind, Relation

__all__ = ["for_absent_key", "for_principal", "for_value", "issuers_in"]

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_GITHUB_ID = re.compile(r"@[0-9]+(?=[/:])")
_ARN_IN_KEY = re.compile(r"arn:[^:]*:iam:[^:]*:[^:]*:oidc-provider/(.+)", re.IGNORECASE)
_CLUSTER = re.compile(r"oidc\.eks\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/id/[0-9A-Za-z]+", re.IGNORECASE)
_STS_ROLE = re.compile(r"(arn:[^:]*):sts::([0-9]+):(role|user)/(.+)")
_IAM_SESSION = re.compile(r"(arn:[^:]*):iam::([0-9]+):assumed-role/(.+)")
_MOST: Final = 20
_LONGEST: Final = 512
"""Values of each side that are compared, and their characters. A hint is for people, and IAM's documents are short."""


def _no_space(text: str) -> str:
    return "".join(text.split())


def _no_slash(text: str) -> str:
    return text.rstrip("/")


def _no_scheme(text: str) -> str:
    return _SCHEME.sub("", text)


def _no_quotes(text: str) -> str:
    return text.strip("\"'")


_DIFFERENCES: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("letter case", str.lower),
    ("white space", _no_space),
    ("a slash at the end", _no_slash),
    ("the scheme", _no_scheme),
    ("quotation marks", _no_quotes),
    ("letter case and white space", lambda text: _no_space(text.lower())),
)


def for_value(operator: ConditionOperator, wanted: Sequence[str], given: Sequence[str], *, variables: bool) -> str:
    """Return what differs least between the values of a policy and those of the request.

    Args:
        operator: how they were compared.
        wanted: the policy's values, as written.
        given: the request's values.
        variables: whether the document's Version has policy variables.
    """
    if operator.is_negated:
        return ""
    wanted, given = _short(wanted), _short(given)
    if not variables and any("${" in text for text in wanted):
        return '; policy variables are replaced only where the document says "Version": "2012-10-17"'
    is_exact = operator.kind is OperatorKind.STRING and operator.relation is not Relation.LIKE
    if is_exact and any(has_wildcard(text) for text in wanted):
        return f"; {operator.name} takes * and ? literally, use StringLike for a pattern"
    if operator.kind not in {OperatorKind.STRING, OperatorKind.ARN}:
        return ""
    pairs = [(text, value) for text in wanted for value in given]
    if operator.kind is OperatorKind.ARN and any(glob_matches(text, value) for text, value in pairs):
        return "; in an ARN, * and ? stand for no colon: write each of the six parts"
    matches = glob_matches if operator.relation is Relation.LIKE else str.__eq__
    for what, without in _DIFFERENCES:
        if any(matches(without(text), without(value)) for text, value in pairs):
            return f"; they differ only in {what}"
    if any(value.startswith("repo:") and matches(text, _GITHUB_ID.sub("", value)) for text, value in pairs):
        return (
            "; the subject has GitHub's immutable form with ids, repo:OWNER@ID/REPO@ID:..., which needs its own value"
        )
    return ""


def _short(texts: Sequence[str]) -> list[str]:
    return [text for text in texts[:_MOST] if len(text) <= _LONGEST]


def issuers_in(keys: Iterable[str]) -> frozenset[str]:
    """Return the issuers whose claims these condition keys are, in lower case."""
    found = set()
    for key in keys:
        head = key.partition(":")[0]
        if "." in head:
            found.add(key.rpartition(":")[0].lower())
    return frozenset(found)


def for_absent_key(key: str, context: RequestContext, issuers: frozenset[str]) -> str:
    """Return what the request has in place of a key that it lacks.

    Args:
        key: as written.
        context: what the request has.
        issuers: whose claims the conditions of the statement are about.
    """
    lowered = key.lower()
    if lowered in context.unused:
        return "; the token has that claim, and STS makes no condition key of it"
    for what, written in _corrected(key):
        if written.lower() in context.names:
            return f"; {what}, write {quoted(written)}"
    prefix, _, claim = lowered.rpartition(":")
    alike = [name for other, name in context.names.items() if other.rpartition(":")[2] == claim]
    if not alike:
        alike = [name for other, name in context.names.items() if prefix and other.rpartition(":")[0] == prefix]
    hint = f"; it has {listed(alike, 'and')}" if alike else ""
    own = issuers_in(alike)
    if prefix in issuers and len(issuers) > 1 and own & issuers:
        return f"{hint}: conditions are ANDed, and no token has keys of two issuers; write a statement for each issuer"
    if _CLUSTER.fullmatch(prefix) and any(map(_CLUSTER.fullmatch, own)) and prefix not in own:
        return f"{hint}: the key is of another cluster's issuer"
    return hint


def _corrected(key: str) -> Iterator[tuple[str, str]]:
    """Yield what may be wrong with a key, and how it is then written."""
    if match := _ARN_IN_KEY.fullmatch(key):
        yield "no key begins with an ARN", match[1]
    if (plain := _no_scheme(key)) != key:
        yield "no key begins with a scheme", plain
    prefix, _, claim = key.rpartition(":")
    for other in (prefix.rstrip("/"), f"{prefix}/"):
        if other != prefix:
            yield "they differ only in a slash at the end of the issuer", f"{other}:{claim}"
    if (plain := _no_space(key)) != key:
        yield "a key has no white space", plain


def for_principal(wanted: Sequence[str], caller: Caller) -> str:
    """Return what differs least between principals of the caller's kind and the caller."""
    given = caller.identifier
    for text in _short(wanted):
        for what, without in _DIFFERENCES:
            if text != given and without(text) == without(given):
                return f"; they differ only in {what}"
        hint = _of_provider(text, given) if caller.kind is PrincipalKind.FEDERATED else _of_aws_principal(text, given)
        if hint:
            return hint
    return ""


def _of_provider(text: str, given: str) -> str:
    host = given.partition(":oidc-provider/")[2]
    if not host:
        return ""
    if _no_slash(_no_scheme(text)).lower() == _no_slash(host).lower():
        return f"; Federated takes the provider's ARN, {quoted(given)}"
    account, _, other = text.partition(":oidc-provider/")
    own = given.partition(":oidc-provider/")[0]
    if _no_slash(_no_scheme(other)) == _no_slash(host):
        if account == own:
            return "; they differ only in the scheme or in a slash at the end"
        return (
            f"; STS looks the issuer up in the role's AWS account, {own.rpartition(':')[2]}, and the statement names "
            f"the provider of {account.rpartition(':')[2]}"
        )
    if _CLUSTER.fullmatch(other) and _CLUSTER.fullmatch(host):
        return "; they are the providers of two clusters"
    return ""


def _of_aws_principal(text: str, given: str) -> str:
    if match := _STS_ROLE.fullmatch(text):
        arn = f"{match[1]}:iam::{match[2]}:{match[3]}/{match[4]}"
        return f"; IAM refuses that principal, write {quoted(arn)}"
    if match := _IAM_SESSION.fullmatch(text):
        arn = f"{match[1]}:sts::{match[2]}:assumed-role/{match[3]}"
        return f"; IAM refuses that principal, write {quoted(arn)}"
    (head, _, name), (own, _, mine) = text.rpartition("/"), given.rpartition("/")
    if name == mine and head.partition("/")[0] == own.partition("/")[0] != "":
        return "; they differ only in the path"
    return ""
