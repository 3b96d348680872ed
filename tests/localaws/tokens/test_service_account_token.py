"""Tokens shaped like the API server's."""

from __future__ import annotations

from datetime import UTC, datetime

import jwt
import pytest

from trustbind.identity.subjects import Subject
from trustbind_localaws import TokenIssuer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _claims(token: str) -> dict[str, object]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def test_claims_are_the_api_servers(issuer: TokenIssuer) -> None:
    """The claims of a projected token that is bound to a pod."""
    token = issuer.mint(Subject("team-a", "reader"), "sts.amazonaws.com", expires_in=600, now=NOW, pod="reader-0")
    claims = _claims(token)
    assert sorted(claims) == ["aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"]
    issued = int(NOW.timestamp())
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (issued, issued, issued + 600)
    assert (claims["aud"], claims["iss"]) == (["sts.amazonaws.com"], issuer.issuer_url)
    private = claims["kubernetes.io"]
    assert isinstance(private, dict)
    assert private["namespace"] == "team-a"
    assert private["pod"]["name"] == "reader-0"
    assert private["serviceaccount"]["name"] == "reader"
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": issuer.kid, "typ": "JWT"}


def test_claims_can_be_others(issuer: TokenIssuer) -> None:
    """Further claims, several audiences, none of a service account's where the subject is none."""
    claims = _claims(issuer.mint("someone", ["a", "b"], now=NOW, jti=None, amr=["x"]))
    assert (claims["aud"], claims["amr"]) == (["a", "b"], ["x"])
    assert not {"jti", "kubernetes.io"} & set(claims)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_key_set_verifies(algorithm: str) -> None:
    """The published key verifies what was signed, and not what the wrong key signed."""
    issuer = TokenIssuer("https://issuer.example", algorithm)
    (published,) = issuer.jwks()["keys"]
    assert (published["use"], published["alg"], published["kid"]) == ("sig", algorithm, issuer.kid)
    assert not {"d", "p", "q"} & set(published)
    key = jwt.PyJWK(published)
    jwt.decode(issuer.mint("x", "y"), key, algorithms=[algorithm], audience="y")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(issuer.mint("x", "y", wrong_key=True), key, algorithms=[algorithm], audience="y")


def test_discovery_names_the_keys(issuer: TokenIssuer) -> None:
    """The discovery document is that of the issuer."""
    assert issuer.discovery()["jwks_uri"] == f"{issuer.issuer_url}/openid/v1/jwks"


def test_unknown_algorithm() -> None:
    """Only what IAM takes can be made."""
    with pytest.raises(ValueError, match="HS256 is none of"):
        TokenIssuer("https://issuer.example", "HS256")
