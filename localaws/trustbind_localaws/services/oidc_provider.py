"""IAM's OIDC providers: the limits, and what moto lacks.

Source: IAM API reference, CreateOpenIDConnectProvider, AddClientIDToOpenIDConnectProvider,
RemoveClientIDFromOpenIDConnectProvider, UpdateOpenIDConnectProvider and UpdateOpenIDConnectProviderThumbprint; IAM User
Guide, "IAM and AWS STS quotas". What AWS makes of a context provider is not modelled: it is kept and shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final
from urllib.parse import urlsplit

from trustbind_localaws.protocol.query import AwsFailure, Call, Response, response_of, timestamp
from trustbind_localaws.services.iam import Handler, provider_arn
from trustbind_localaws.state.credentials import Identity
from trustbind_localaws.state.moto_store import OpenIDConnectProvider
from trustbind_localaws.state.state import State

__all__ = ["Oidc"]

MAX_PROVIDERS: Final = 100
MAX_CLIENT_IDS: Final = 100
MAX_THUMBPRINTS: Final = 5
_MAX_TEXT: Final = 255
_CONTEXT_KEY = re.compile(r"[A-Za-z0-9_.:/=+@#-]+(?: [A-Za-z0-9_.:/=+@#-]+)*", re.ASCII)
_MAX_KEY: Final = 128
_MAX_KEYS: Final = 10
_KEY_PARTS: Final = 4
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)


class Oidc:
    """The operations on OIDC providers over one state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.handlers: Mapping[str, Handler] = {
            "AddClientIDToOpenIDConnectProvider": self._add_client_id,
            "CreateOpenIDConnectProvider": self._create,
            "GetOpenIDConnectProvider": self._get,
            "RemoveClientIDFromOpenIDConnectProvider": self._remove_client_id,
            "UpdateOpenIDConnectProvider": self._update,
            "UpdateOpenIDConnectProviderThumbprint": self._update_thumbprint,
        }

    def _create(self, call: Call, identity: Identity) -> Response:
        url = call.required("Url")
        _check_url(url)
        client_ids = call.members("ClientIDList")
        for client_id in client_ids:
            _check_client_id(client_id)
        if len(client_ids) > MAX_CLIENT_IDS:
            raise _too_many("ClientIdsPerOpenIdConnectProvider", MAX_CLIENT_IDS)
        _check_thumbprints(call.members("ThumbprintList"))
        context = _context_of(call)
        with self._state.storage.lock:
            providers = self._state.storage.backend(identity.account, identity.partition).open_id_providers
            if provider_arn(identity, url) in providers:
                raise AwsFailure("EntityAlreadyExists", f"Provider with url {url} already exists.")
            if len(providers) >= MAX_PROVIDERS:
                raise _too_many("OpenIdConnectProvidersPerAccount", MAX_PROVIDERS)
            created = self._state.storage.forward(call, identity.account)
            self._state.contexts[provider_arn(identity, url)] = context
            return created

    def _get(self, call: Call, identity: Identity) -> Response:
        with self._state.storage.lock:
            provider = self._provider(call, identity)
            context = self._state.contexts.get(provider.arn, {})
            return response_of(
                call,
                {
                    "Url": provider.url,
                    "ClientIDList": list(provider.client_id_list),
                    "ThumbprintList": list(provider.thumbprint_list),
                    "CreateDate": timestamp(provider.create_date.replace(tzinfo=UTC)),
                    "Tags": [{"Key": tag["Key"], "Value": tag["Value"]} for tag in provider.get_tags()],
                    **({"ContextProvider": context} if context else {}),
                },
            )

    def _update(self, call: Call, identity: Identity) -> Response:
        context, removes = _context_of(call), call.param("RemoveContextProvider") == "true"
        if bool(context) == removes:
            raise AwsFailure("InvalidInput", "Exactly one of ContextProvider and RemoveContextProvider is required.")
        with self._state.storage.lock:
            self._state.contexts[self._provider(call, identity).arn] = context
        return response_of(call)

    def _add_client_id(self, call: Call, identity: Identity) -> Response:
        client_id = call.required("ClientID")
        _check_client_id(client_id)
        with self._state.storage.lock:
            provider = self._provider(call, identity)
            if client_id not in provider.client_id_list:  # adding twice is no error
                if len(provider.client_id_list) >= MAX_CLIENT_IDS:
                    raise _too_many("ClientIdsPerOpenIdConnectProvider", MAX_CLIENT_IDS)
                provider.client_id_list = [*provider.client_id_list, client_id]
        return response_of(call)

    def _remove_client_id(self, call: Call, identity: Identity) -> Response:
        client_id = call.required("ClientID")
        with self._state.storage.lock:
            provider = self._provider(call, identity)
            provider.client_id_list = [each for each in provider.client_id_list if each != client_id]
        return response_of(call)

    def _update_thumbprint(self, call: Call, identity: Identity) -> Response:
        thumbprints = call.members("ThumbprintList")
        _check_thumbprints(thumbprints)
        with self._state.storage.lock:
            self._provider(call, identity).thumbprint_list = thumbprints
        return response_of(call)

    def _provider(self, call: Call, identity: Identity) -> OpenIDConnectProvider:
        arn = call.required("OpenIDConnectProviderArn")
        provider = self._state.storage.provider(identity.account, identity.partition, arn)
        if provider is None:
            raise AwsFailure("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}")
        return provider


def _context_of(call: Call) -> dict[str, Any]:
    """Return the context provider that a call names; empty for none (IAM API reference, ContextProvider)."""
    prefix = "ContextProvider."
    texts = {key.removeprefix(prefix): value for key, value in call.params.items() if key.startswith(prefix)}
    if not texts:
        return {}
    context: dict[str, Any] = {
        name: texts[name] for name in ("SubjectSourceKey", "SubjectTypeValue", "SubjectTypeSourceKey") if name in texts
    }
    keys: dict[int, dict[str, str]] = {}
    for name, value in texts.items():
        parts = name.split(".")
        if parts[0] == "KeyDefinitionList" and len(parts) == _KEY_PARTS:
            keys.setdefault(int(parts[2]), {})[parts[3]] = value
    context["KeyDefinitionList"] = [keys[number] for number in sorted(keys)]
    named = [v for k, v in context.items() if k.endswith("SourceKey")] + [v for k in keys.values() for v in k.values()]
    if not all(len(each) <= _MAX_KEY and _CONTEXT_KEY.fullmatch(each) for each in named):
        raise AwsFailure("ValidationError", "A key of the context provider is not valid.")
    if "SubjectSourceKey" not in context or any("SourceKey" not in key for key in keys.values()):
        raise AwsFailure("ValidationError", "A context provider needs SubjectSourceKey, and a key its SourceKey.")
    if {"SubjectTypeValue", "SubjectTypeSourceKey"} <= context.keys() or len(keys) > _MAX_KEYS:
        raise AwsFailure("InvalidInput", "The context provider is not valid.")
    return context


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if len(url) > _MAX_TEXT:
        raise AwsFailure(
            "ValidationError",
            f"1 validation error detected: Value '{url}' at 'url' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_MAX_TEXT}",
        )
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc) or "?" in url or "#" in url:
        raise AwsFailure("ValidationError", "Invalid Open ID Connect Provider URL")


def _check_client_id(client_id: str) -> None:
    if not 1 <= len(client_id) <= _MAX_TEXT:
        raise AwsFailure(
            "ValidationError",
            f"1 validation error detected: Value '{client_id}' at 'clientID' failed to satisfy constraint: "
            f"Member must have length between 1 and {_MAX_TEXT}",
        )


def _check_thumbprints(thumbprints: list[str]) -> None:
    if len(thumbprints) > MAX_THUMBPRINTS:
        raise AwsFailure("InvalidInput", f"Thumbprint list must contain fewer than {MAX_THUMBPRINTS} entries.")
    for thumbprint in thumbprints:
        if not _THUMBPRINT.fullmatch(thumbprint):
            raise AwsFailure(
                "ValidationError",
                f"1 validation error detected: Value '[{thumbprint}]' at 'thumbprintList' failed to satisfy "
                "constraint: Member must have length equal to 40",
            )


def _too_many(quota: str, limit: int) -> AwsFailure:
    return AwsFailure("LimitExceeded", f"Cannot exceed quota for {quota}: {limit}")
