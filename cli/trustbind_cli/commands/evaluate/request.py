"""The request that is meant: who calls, what, and with which keys; what follows from token and document is inferred.

Pure: the files are read before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from trustbind.errors import InvalidValueError
from trustbind.evaluation import Caller, PrincipalKind, Request, request_context
from trustbind.evaluation.actions import check_action
from trustbind.evaluation.model import FEDERATED_HOSTS
from trustbind.evaluation.three_valued import Truth
from trustbind.evaluation.token_claims import is_token, issuer_of, moment
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.policy.statement_parts import principals_of
from trustbind.policy.trust_document import TrustDocument

__all__ = ["context_given", "request_of", "token_times"]

_ASSUME: Final = "sts:AssumeRole"
_SAML: Final = "sts:AssumeRoleWithSAML"
_WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
_NO_ACCOUNT: Final = "ACCOUNT"
"""Stands for the role's AWS account, where neither the files nor the options tell it."""
_MOST: Final = 5


def request_of(
    document: TrustDocument,
    *,
    role: RoleArn | None = None,
    principal: str = "",
    action: str = "",
    claims: Mapping[str, Any] | None = None,
    known: Mapping[str, list[str]] | None = None,
    now: datetime | None = None,
) -> Request:
    """Return the request to evaluate.

    Args:
        document: the trust policy.
        role: whose it is; None where that is not known.
        principal: who calls; empty where that follows from the token or the document.
        action: what is called; empty where that follows from who calls.
        claims: of the token, where one is given.
        known: the keys that are given by hand; they win.
        now: the time.

    Raises:
        InvalidValueError: an option is wrong, or what is left out does not follow from the rest.
    """
    _check_action(action)
    if claims is not None:
        _check_token(claims, action)
    if principal:
        caller = _caller(principal)
    elif claims is not None:
        caller = _caller_of_token(document, claims, role)
    else:
        caller = _caller_of_document(document, action)
    context = request_context(caller, claims=claims, role=role, known=known, now=now)
    return Request(caller, action or _action_of(caller), context, role)


def context_given(pairs: Iterable[str]) -> dict[str, list[str]]:
    """Return the condition keys of ``KEY=VALUE`` pairs. A key that stands several times is a multi-valued key.

    Raises:
        InvalidValueError: a pair without ``=`` or with an empty key.
    """
    given: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidValueError(f"{_shown(pair)} is not KEY=VALUE", field="--context")
        given.setdefault(key.strip(), []).append(value)
    return given


def token_times(claims: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """Yield when a token expires, and why STS would refuse it for its times.

    Source: STS API reference, AssumeRoleWithWebIdentity, errors ExpiredTokenException and InvalidIdentityToken.
    """
    expires, begins = moment(claims.get("exp")), moment(claims.get("nbf"))
    if "exp" not in claims:
        yield "the token has no claim exp, and STS refuses it with InvalidIdentityToken"
    elif expires is None:
        yield "the token's claim exp is no time, and STS refuses it with InvalidIdentityToken"
    elif expires <= now:
        yield f"the token expired at {expires:%Y-%m-%dT%H:%M:%SZ}, and STS refuses it with ExpiredTokenException"
    else:
        yield f"the token expires at {expires:%Y-%m-%dT%H:%M:%SZ}"
    if begins is not None and begins > now:
        yield f"the token is not valid before {begins:%Y-%m-%dT%H:%M:%SZ}"


def _shown(text: str) -> str:
    return "a token" if is_token(text) else repr(text)


def _check_action(action: str) -> None:
    service, colon, name = action.partition(":")
    if action and (not (service and colon and name) or any(c.isspace() for c in action)):
        raise InvalidValueError(
            f"{_shown(action)} is not an action, such as sts:AssumeRoleWithWebIdentity", field="--action"
        )


def _check_token(claims: Mapping[str, Any], action: str) -> None:
    if not (isinstance(claims.get("iss"), str) and claims["iss"]):
        raise InvalidValueError("the token has no issuer (claim iss)", field="--token")
    if action.lower() in {_ASSUME.lower(), _SAML.lower()}:
        raise InvalidValueError(
            f"{action} takes no OIDC token; leave --action out, or --token", field="--token and --action"
        )


def _caller(text: str) -> Caller:
    if is_token(text):
        raise InvalidValueError("a token is no principal; write it to a file and give --token", field="--principal")
    try:
        return Caller.parse(text)
    except ValueError as error:
        raise InvalidValueError(str(error), field="--principal") from None


def _caller_of_token(document: TrustDocument, claims: Mapping[str, Any], role: RoleArn | None) -> Caller:
    """Return the provider that STS would take: the issuer's, in the role's AWS account."""
    prefix = issuer_of(claims)
    if prefix in FEDERATED_HOSTS:
        return Caller(PrincipalKind.FEDERATED, prefix)
    if role is not None:
        return Caller(PrincipalKind.FEDERATED, str(ProviderArn(role.partition, role.account_id, prefix)))
    named = list(dict.fromkeys(_providers(document)))
    same = [provider for provider in named if provider.host_path == prefix] or [
        ProviderArn(partition, account, prefix)
        for partition, account in dict.fromkeys((each.partition, each.account_id) for each in named)
    ]
    if len(same) > 1:
        accounts = " and ".join(provider.account_id for provider in same[:_MOST])
        raise InvalidValueError(
            f"the trust policy names OIDC providers of AWS accounts {accounts}; give --role, in whose AWS account STS "
            "looks for the provider"
        )
    provider = same[0] if same else ProviderArn("aws", _NO_ACCOUNT, prefix)
    return Caller(PrincipalKind.FEDERATED, str(provider))


def _caller_of_document(document: TrustDocument, action: str) -> Caller:
    """Return the one principal that the trust policy allows."""
    names = list(dict.fromkeys(_allowed(document, action)))
    if len(names) == 1:
        try:
            return Caller.parse(names[0])
        except ValueError:
            pass
    shown = ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")
    allowed = f"the trust policy allows {shown}" if names else "the trust policy allows no principal"
    raise InvalidValueError(f"{allowed}; say who calls with --principal, or give --token")


def _allowed(document: TrustDocument, action: str) -> Iterator[str]:
    for statement in document.statements:
        covers = not action or check_action("Action", statement.get("Action"), action).truth is Truth.YES
        if statement.get("Effect") == "Allow" and covers:
            yield from (text for _, text in principals_of(statement))


def _providers(document: TrustDocument) -> Iterator[ProviderArn]:
    for statement in document.statements:
        for kind, text in principals_of(statement):
            try:
                provider = ProviderArn.parse(text)
            except InvalidValueError:
                continue
            if kind == "Federated":
                yield provider


def _action_of(caller: Caller) -> str:
    if caller.kind is not PrincipalKind.FEDERATED:
        return _ASSUME
    return _SAML if ":saml-provider/" in caller.identifier else _WEB_IDENTITY
