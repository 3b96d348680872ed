"""How the cluster's webhook is set up, as far as it decides about pods."""

from __future__ import annotations

from dataclasses import dataclass, field

from trustbind.api.webhook_scope import WebhookScope
from trustbind_webhook.injection.decision import InjectionSettings
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility

__all__ = ["WebhookConfig"]


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """How the cluster's webhook is set up.

    Attributes:
        injection: what its settings give to pods.
        compatibility: further sources that its settings name; the ConfigMap's entries are not among them.
        scope: which pods it is called for.
        unknown: sentences about what was not taken into account.
    """

    injection: InjectionSettings = field(default_factory=InjectionSettings)
    compatibility: Compatibility = field(default_factory=Compatibility)
    scope: WebhookScope = field(default_factory=WebhookScope)
    unknown: tuple[str, ...] = ()
