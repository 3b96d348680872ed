"""An OIDC issuer whose private keys the runner has: one key for each algorithm that STS takes, under one URL."""

from __future__ import annotations

from typing import Any, Final

from trustbind_localaws.tokens.service_account_token import TokenIssuer

__all__ = ["ALGORITHMS", "Issuer"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
"""What STS verifies (IAM User Guide, "Create an OpenID Connect (OIDC) identity provider in IAM")."""


class Issuer:
    """See the module.

    Args:
        url: the ``iss`` claim; where discovery is published.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._issuers = {algorithm: TokenIssuer(url, algorithm) for algorithm in ALGORITHMS}

    @property
    def host_path(self) -> str:
        """What condition keys and the provider's ARN have of the URL."""
        return self.url.removeprefix("https://")

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set of all keys."""
        return {"keys": [key for issuer in self._issuers.values() for key in issuer.jwks()["keys"]]}

    def discovery(self) -> dict[str, Any]:
        """Return the discovery document."""
        return self._issuers["RS256"].discovery() | {"id_token_signing_alg_values_supported": list(ALGORITHMS)}

    def mint(self, subject: str, *, algorithm: str = "RS256", **settings: Any) -> str:
        """Return a token; see `trustbind_localaws.TokenIssuer.mint`."""
        return self._issuers[algorithm].mint(subject, **settings)
