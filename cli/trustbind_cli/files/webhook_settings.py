"""Reads how the cluster's webhook is set up: its own settings file, or manifests of the chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from trustbind.api.label_selector import LabelSelector, SelectorRequirement
from trustbind.api.manifests import Manifest, documents, read
from trustbind.api.webhook_scope import Scope, WebhookScope
from trustbind.errors import ManifestError
from trustbind_cli.files.sources import text_of
from trustbind_cli.files.webhook_config import WebhookConfig
from trustbind_webhook import settings as webhook_settings
from trustbind_webhook.injection.decision import InjectionSettings
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility

__all__ = ["read_webhook_config", "settings_of"]

_WEBHOOK: Final = "mutate.trustbind.dev"
_WEBHOOKS: Final = (_WEBHOOK, "mutate-fail-open.trustbind.dev")
"""Names of the webhook's entries in the MutatingWebhookConfiguration of the chart."""
_KNOWN_CONDITION: Final = "is-no-mirror-pod"
"""Name of the chart's own match condition, which the webhook's decision knows as well."""
_SETTINGS_KEY: Final = "settings.yaml"
"""Key of the webhook's settings in the ConfigMap of the chart."""


class _Expression(msgspec.Struct, frozen=True):
    key: str
    operator: str
    values: list[str] | None = None


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None

    def selector(self) -> LabelSelector:
        """Return it as a value; the API server bounds it less than trustbind's own selectors are bounded."""
        requirements = (
            SelectorRequirement(e.key, e.operator, tuple(e.values or ())) for e in self.match_expressions or ()
        )
        return LabelSelector(tuple((self.match_labels or {}).items()), tuple(requirements))


class _Condition(msgspec.Struct, frozen=True):
    name: str = ""


class _Webhook(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace_selector: _Selector | None = None
    object_selector: _Selector | None = None
    match_conditions: list[_Condition] | None = None


def read_webhook_config(name: str) -> WebhookConfig:
    """Return what a file says: the webhook's own settings, or manifests with its ConfigMap or its configuration.

    The manifests are those of the chart, as ``helm template`` or ``kubectl get`` prints them.

    Raises:
        ManifestError: it holds neither, or something in it cannot be used.
        SettingsError: a setting is wrong.
    """
    text = text_of(name)
    if not any(isinstance(value, dict) and "kind" in value for _, value in documents(text, name)):
        return _with_settings(WebhookConfig(), text, name)
    config = WebhookConfig()
    found = False
    for manifest in read(text, name):
        if manifest.kind == "ConfigMap" and isinstance(data := manifest.body.get("data"), Mapping):
            settings = data.get(_SETTINGS_KEY)
            if isinstance(settings, str) and _is_webhook(manifest):
                config, found = _with_settings(config, settings, f"{name}: {manifest.describe()}"), True
        elif manifest.kind == "MutatingWebhookConfiguration" and (entries := _webhooks(manifest)):
            config, found = _with_scope(config, entries), True
    if not found:
        raise ManifestError(
            name,
            0,
            "it holds neither settings of the webhook, nor its ConfigMap, nor a MutatingWebhookConfiguration with "
            f"{_WEBHOOK}",
        )
    return config


def settings_of(text: str, source: str) -> InjectionSettings:
    """Return what the webhook's settings say about injection.

    Args:
        text: the settings, as YAML.
        source: where they are from, for messages.

    Raises:
        SettingsError: a setting is wrong.
    """
    return webhook_settings.load(source, text=text).injection_settings()


def _is_webhook(manifest: Manifest) -> bool:
    """Return whether a ConfigMap is the webhook's; the operator's has the same key."""
    labels = (manifest.body.get("metadata") or {}).get("labels") or {}
    return bool(labels.get("app.kubernetes.io/component", "webhook") == "webhook")


def _webhooks(manifest: Manifest) -> list[_Webhook]:
    try:
        webhooks = msgspec.convert(manifest.body.get("webhooks") or [], list[_Webhook])
    except msgspec.ValidationError as error:
        raise manifest.error(f"webhooks: {error}") from None
    return [webhook for webhook in webhooks if webhook.name in _WEBHOOKS]


def _with_settings(config: WebhookConfig, text: str, source: str) -> WebhookConfig:
    settings = webhook_settings.load(source, text=text)
    further = settings.compatibility
    unknown = list(config.unknown)
    if path := further.identities_file:
        unknown.append(f"{source}: compatibility.identitiesFile: {path} is not read")
    if namespace := further.config_map_namespace:
        name = further.config_map_name
        unknown.append(
            f"{source}: compatibility.configMapNamespace: ConfigMap {namespace}/{name} counts with --config-map only"
        )
    return replace(
        config,
        injection=settings.injection_settings(),
        compatibility=Compatibility(account_id=further.role_account_id, partition=further.role_partition),
        unknown=tuple(unknown),
    )


def _with_scope(config: WebhookConfig, entries: list[_Webhook]) -> WebhookConfig:
    unknown = config.unknown
    for entry in entries:
        if any(condition.name != _KNOWN_CONDITION for condition in entry.match_conditions or ()):
            unknown += (f"the matchConditions of {entry.name} are not evaluated; they may leave out further pods",)
    scopes = (
        Scope((e.namespace_selector or _Selector()).selector(), (e.object_selector or _Selector()).selector())
        for e in entries
    )
    return replace(config, scope=WebhookScope(tuple(scopes)), unknown=unknown)
