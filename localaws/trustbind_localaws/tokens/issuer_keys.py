"""Issuers whose keys are known, and the check of the tokens that they sign. AWS fetches keys; here they are registered.

Sources: STS API reference, AssumeRoleWithWebIdentity; IAM User Guide, "Create an OpenID Connect (OIDC) identity
provider in IAM" (signing algorithms).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jwt

from trustbind_localaws.protocol.query import AwsFailure

__all__ = ["MAX_TOKEN", "Issuers", "WebToken", "read_token"]

MAX_TOKEN: Final = 20_000
"""Characters of a web identity token (STS API reference, AssumeRoleWithWebIdentity, WebIdentityToken)."""

_KEY_TYPES: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
}
_JWS: Final = jwt.PyJWS()
"""Checks signatures only: times and audience have error codes of AWS's own."""


@dataclass(frozen=True, slots=True)
class WebToken:
    """What a token says.

    Attributes:
        audience: what ``aud`` lists, in its order.
        claims: everything.
        header: ``alg``, ``kid`` and so on.
    """

    text: str
    issuer: str
    subject: str
    audience: tuple[str, ...]
    claims: Mapping[str, Any]
    header: Mapping[str, Any]


def read_token(text: str) -> WebToken:
    """Return what a token says, not yet verified.

    Raises:
        AwsFailure: it is too long, no JWT, or lacks a claim that STS needs.
    """
    if not 4 <= len(text) <= MAX_TOKEN:  # noqa: PLR2004 - the same reference: 4 to 20,000
        raise AwsFailure(
            "ValidationError",
            "1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_TOKEN}",
        )
    try:
        decoded = jwt.decode_complete(text, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise AwsFailure(
            "InvalidIdentityToken",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
            why=str(error),
        ) from None
    claims = decoded["payload"]
    for name in ("iss", "sub", "aud", "exp"):
        if not claims.get(name):
            raise AwsFailure("InvalidIdentityToken", f"Missing a required claim: {name}")
    audience = claims["aud"]
    listed = tuple(str(each) for each in audience) if isinstance(audience, list) else (str(audience),)
    return WebToken(text, str(claims["iss"]), str(claims["sub"]), listed, claims, decoded["header"])


class Issuers:
    """The keys of every registered issuer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[jwt.PyJWK, ...]] = {}

    def register(self, issuer: str, jwks: Mapping[str, Any]) -> None:
        """Trust these keys for an issuer, instead of the ones registered before.

        Args:
            issuer: the URL, letter for letter as in the tokens.
            jwks: the JSON Web Key Set; keys of unknown types are left out, as RFC 7517 asks.

        Raises:
            ValueError: it is no key set, or has no usable key.
        """
        try:
            keys = tuple(jwt.PyJWKSet.from_dict(dict(jwks)).keys)
        except (jwt.PyJWTError, AttributeError, TypeError) as error:
            raise ValueError(f"the key set of {issuer} cannot be used: {error}") from None
        with self._lock:
            self._keys[issuer] = keys

    def clear(self) -> None:
        """Forget every issuer."""
        with self._lock:
            self._keys.clear()

    def verify(self, token: WebToken, now: datetime) -> None:
        """Check signature and times.

        Raises:
            AwsFailure: the signature is wrong or of an algorithm that IAM does not take, the issuer's keys are not
                known, or the token is not valid yet or no longer.
        """
        with self._lock:
            keys = self._keys.get(token.issuer)
        if keys is None:
            raise AwsFailure(
                "InvalidIdentityToken",
                "Couldn't retrieve verification key from your identity provider,  please reference "
                "AssumeRoleWithWebIdentity documentation for requirements",
                why=f"no keys are registered for {token.issuer}",
            )
        algorithm = str(token.header.get("alg"))
        kid = token.header.get("kid")
        if algorithm not in _KEY_TYPES:
            raise AwsFailure("InvalidIdentityToken", f"Token signing algorithm {algorithm} is not supported")
        fitting = [key for key in keys if key.key_type == _KEY_TYPES[algorithm] and kid in (None, key.key_id)]
        if not any(_signed_by(token.text, key, algorithm) for key in fitting):
            raise AwsFailure(
                "InvalidIdentityToken",
                "Token signature is invalid",
                why="no registered key has the token's kid" if not fitting else "the signature is not the key's",
            )
        _check_times(token.claims, now)


def _signed_by(text: str, key: jwt.PyJWK, algorithm: str) -> bool:
    try:
        _JWS.decode(text, key.key, algorithms=[algorithm])
    except jwt.PyJWTError:
        return False
    return True


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    seconds = int(now.timestamp())
    try:
        expires, begins = int(claims["exp"]), int(claims.get("nbf", 0))
    except (TypeError, ValueError):
        raise AwsFailure("InvalidIdentityToken", "The exp or nbf claim is not a number") from None
    if seconds >= expires:
        raise AwsFailure(
            "ExpiredTokenException",
            f"Token expired: current date/time {seconds} must be before the expiration date/time {expires}",
        )
    if seconds < begins:
        raise AwsFailure(
            "InvalidIdentityToken",
            f"Token is not valid yet: current date/time {seconds} must not be before {begins}",
        )
