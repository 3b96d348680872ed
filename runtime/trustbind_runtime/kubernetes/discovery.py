"""What the API server publishes about its tokens (Kubernetes documentation, "Service account issuer discovery")."""

from __future__ import annotations

from typing import Final

import msgspec

from trustbind_runtime.kubernetes.client import ApiError, ApiServer

__all__ = ["read_issuer"]

_PATH: Final = "/.well-known/openid-configuration"
_OK: Final = 200
_SECONDS: Final = 60.0
"""As for a page of a list."""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str


async def read_issuer(api: ApiServer, *, seconds: float = _SECONDS) -> str:
    """Return the issuer of the cluster's tokens, as the API server publishes it; IAM may not take it.

    Args:
        api: the API server.
        seconds: for the answer.

    Raises:
        ApiError: it cannot be read; with status 200 the answer names no issuer.
    """
    body = await api.get(_PATH, accept="application/json", seconds=seconds)
    try:
        return msgspec.json.decode(body, type=_Discovery).issuer
    except msgspec.DecodeError as error:
        raise ApiError(_OK, f"the API server does not say what the cluster's issuer is: {error}") from None
