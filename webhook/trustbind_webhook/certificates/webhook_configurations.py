"""The webhook configurations that the API server calls us by, and what they trust."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec
from cryptography import x509

from trustbind_runtime.kubernetes.client import NOT_FOUND, ApiError, ApiServer
from trustbind_webhook.certificates.bundle import certificates_in
from trustbind_webhook.settings import Certificates

__all__ = ["CALL_SECONDS", "Configuration", "Configurations", "get"]

CALL_SECONDS: Final = 10.0
"""For one call; the API server is waited for again and again, so that a short limit costs nothing."""

_JSON: Final = "application/json"
_REGISTRATION: Final = "/apis/admissionregistration.k8s.io/v1"

_STRATEGIC: Final = "application/strategic-merge-patch+json"
"""Webhooks of a configuration are merged by name (Kubernetes API reference, patchMergeKey), so that one field of each
can be written without the others."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A webhook configuration as it is stored.

    Attributes:
        which: ``mutating`` or ``validating``.
        path: where it is.
        version: which one was read; None: there is none.
        owner: reference to it, for what should go when it goes.
        bundles: the certificates in each webhook's caBundle, by the webhook's name.
        empty: whether no webhook has a caBundle.
    """

    which: str
    path: str
    version: str | None = None
    owner: Mapping[str, str] | None = None
    bundles: Mapping[str, Sequence[x509.Certificate]] = field(default_factory=dict)
    empty: bool = True

    def trusts(self, certificate: x509.Certificate) -> bool:
        """Return whether all of its webhooks trust this authority; where there is none, nothing can fail."""
        return all(certificate in bundle for bundle in self.bundles.values())


class Configurations:
    """Those that the settings name.

    Args:
        api: the API server.
        settings: see `Certificates`.
    """

    def __init__(self, api: ApiServer, settings: Certificates) -> None:
        self._api = api
        names = {"mutating": settings.mutating_configuration, "validating": settings.validating_configuration}
        self._names = {which: name for which, name in names.items() if name}

    async def read(self) -> list[Configuration]:
        """Return them as they are now.

        Raises:
            ApiError: the API server refused, or gave no answer.
        """
        return [await self._one(which, name) for which, name in self._names.items()]

    async def _one(self, which: str, name: str) -> Configuration:
        path = f"{_REGISTRATION}/{which}webhookconfigurations/{quote(name)}"
        found = await get(self._api, path)
        if found is None:
            return Configuration(which, path)
        metadata = found["metadata"]
        raw = {
            hook["name"]: str((hook.get("clientConfig") or {}).get("caBundle") or "")
            for hook in found.get("webhooks") or ()
        }
        return Configuration(
            which,
            path,
            metadata["resourceVersion"],
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{which.capitalize()}WebhookConfiguration",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            {hook: _certificates(text) for hook, text in raw.items()},
            not any(raw.values()),
        )

    async def write(self, configuration: Configuration, bundle: bytes) -> None:
        """Let all of its webhooks trust ``bundle``, in PEM, and nothing else.

        Raises:
            ApiError: the API server refused; with 409 when it is no longer as it was read.
        """
        text = base64.b64encode(bundle).decode()
        change = {
            "metadata": {"resourceVersion": configuration.version},
            "webhooks": [{"name": hook, "clientConfig": {"caBundle": text}} for hook in configuration.bundles],
        }
        await self._api.send("PATCH", configuration.path, change, content_type=_STRATEGIC, seconds=CALL_SECONDS)


async def get(api: ApiServer, path: str) -> dict[str, Any] | None:
    """Return an object; None when there is none.

    Raises:
        ApiError: the API server refused otherwise, or gave no answer.
    """
    try:
        body = await api.get(path, accept=_JSON, seconds=CALL_SECONDS)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def _certificates(bundle: str) -> list[x509.Certificate]:
    """Return what a caBundle holds; what is not base64 or PEM holds nothing."""
    try:
        return certificates_in(base64.b64decode(bundle, validate=True))
    except (binascii.Error, ValueError):
        return []
