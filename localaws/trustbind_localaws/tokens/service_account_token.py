"""Service-account tokens, as the API server makes them, for tests and for the demo.

The claims are those of a projected token (Kubernetes documentation, "Managing Service Accounts", "Schema for service
account private claims").
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from trustbind.errors import InvalidValueError
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Subject

__all__ = ["TokenIssuer"]

_CURVES: Final[dict[str, type[ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_RSA: Final = frozenset({"RS256", "RS384", "RS512"})
_NAMESPACE: Final = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
"""Makes the uid of an account or pod from its name, so that it is the same in every token."""

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class TokenIssuer:
    """A cluster's token issuer: it has a key, publishes it, and signs tokens.

    Args:
        issuer_url: the ``iss`` claim.
        algorithm: RS256, RS384, RS512, ES256, ES384 or ES512.

    Raises:
        ValueError: another algorithm.
    """

    def __init__(self, issuer_url: str, algorithm: str = "RS256") -> None:
        self.issuer_url = issuer_url
        self.algorithm = algorithm
        self._key = _new_key(algorithm)
        self._wrong_key: _Key | None = None
        public = self._public()
        self.kid = hashlib.sha256(json.dumps(public, sort_keys=True).encode()).hexdigest()[:43]

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set, as the API server's ``/openid/v1/jwks`` shows it."""
        return {"keys": [{"use": "sig", "kid": self.kid, "alg": self.algorithm, **self._public()}]}

    def discovery(self) -> dict[str, Any]:
        """Return what the API server's ``/.well-known/openid-configuration`` shows."""
        return {
            "issuer": self.issuer_url,
            "jwks_uri": f"{self.issuer_url}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm],
        }

    def mint(
        self,
        subject: Subject | str,
        audience: str | Sequence[str] = DEFAULT_AUDIENCE,
        *,
        expires_in: float = 3600,
        now: datetime | None = None,
        kid: str | None = None,
        pod: str | None = None,
        wrong_key: bool = False,
        **claims: Any,
    ) -> str:
        """Return a signed token.

        Args:
            subject: the ``sub`` claim; that of a service account also fills the ``kubernetes.io`` claim.
            audience: one or several; ``aud`` is a list in any case.
            expires_in: seconds from ``now``; negative for a token that has expired.
            now: when it is issued; None for now.
            kid: the key id to name; None for this issuer's own.
            pod: the pod it is bound to.
            wrong_key: sign with a key that `jwks` does not show, under the right key id.
            claims: further claims, or others than usual; None leaves a claim out.
        """
        issued = int((now or datetime.now(UTC)).timestamp())
        body: dict[str, Any] = {
            "aud": [audience] if isinstance(audience, str) else list(audience),
            "exp": issued + int(expires_in),
            "iat": issued,
            "iss": self.issuer_url,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": _private_claims(str(subject), pod),
            "nbf": issued,
            "sub": str(subject),
        }
        body = {name: value for name, value in (body | claims).items() if value is not None}
        if wrong_key and self._wrong_key is None:
            self._wrong_key = _new_key(self.algorithm)
        key = self._wrong_key if wrong_key and self._wrong_key is not None else self._key
        return jwt.encode(body, key, algorithm=self.algorithm, headers={"kid": kid or self.kid})

    def _public(self) -> dict[str, Any]:
        key = self._key.public_key()
        shown = (
            RSAAlgorithm.to_jwk(key, as_dict=True)
            if isinstance(key, rsa.RSAPublicKey)
            else ECAlgorithm.to_jwk(key, as_dict=True)
        )
        return {name: value for name, value in shown.items() if name != "key_ops"}


def _new_key(algorithm: str) -> _Key:
    if algorithm in _RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm not in _CURVES:
        raise ValueError(f"{algorithm} is none of {', '.join([*sorted(_RSA), *_CURVES])}")
    return ec.generate_private_key(_CURVES[algorithm]())


def _private_claims(subject: str, pod: str | None) -> dict[str, Any] | None:
    try:
        account = Subject.parse(subject)
    except InvalidValueError:
        return None
    result: dict[str, Any] = {"namespace": account.namespace}
    if pod is not None:
        result["pod"] = {"name": pod, "uid": str(uuid.uuid5(_NAMESPACE, f"{account.namespace}/pods/{pod}"))}
    result["serviceaccount"] = {"name": account.name, "uid": str(uuid.uuid5(_NAMESPACE, subject))}
    return result
