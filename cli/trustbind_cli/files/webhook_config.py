"""How the cluster's webhook is set up, as far as it decides about pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from trustbind.api.label_selector import LabelSelector, SelectorRequirement
from trustbind.api.labels import INJECT
from trustbind_cli.files.snapshot import NAME_LABEL
from trustbind_webhook.injection.decision import InjectionSettings
from trustbind_webhook.lookup.eks_webhook_sources import Compatibility

__all__ = ["Scope", "WebhookConfig"]

_NO_OPT_OUT: Final = LabelSelector((), (SelectorRequirement(INJECT, "NotIn", ("false",)),))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pods the API server calls the webhook for (Kubernetes documentation, "Dynamic Admission Control").

    Attributes:
        namespaces: by the labels of their Namespaces.
        pods: by their own labels.
    """

    namespaces: LabelSelector = field(default=_NO_OPT_OUT)
    pods: LabelSelector = field(default_factory=LabelSelector)

    def left_out(self, namespace: str, labels: Mapping[str, str] | None, pod: Mapping[str, str]) -> str:
        """Return why the webhook is not called for a pod; empty when it is.

        Args:
            namespace: of the pod.
            labels: of the Namespace; None when they are not known. Then only its name counts.
            pod: labels of the pod.
        """
        known = {NAME_LABEL: namespace, **(labels or {})}
        selector = self.namespaces if labels is not None else _about(self.namespaces, NAME_LABEL)
        wanted, key = selector.unmet(known)
        if key == INJECT and known.get(key) == "false":
            return f"Namespace {namespace} has the label {INJECT}=false; remove it to have its pods injected"
        if wanted:
            there = _has(f"Namespace {namespace}", known, key)
            return f"the namespaceSelector of the webhook selects {wanted}, and {there}"
        wanted, key = self.pods.unmet(pod)
        if wanted:
            return f"the objectSelector of the webhook selects {wanted}, and {_has('the pod', pod, key)}"
        return ""

    @property
    def needs_labels(self) -> bool:
        """Whether more than the name and the opt-out of a Namespace decides."""
        keys = {key for key, _ in self.namespaces.labels} | {r.key for r in self.namespaces.requirements}
        return not keys <= {NAME_LABEL, INJECT}


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
    scope: Scope = field(default_factory=Scope)
    unknown: tuple[str, ...] = ()


def _about(selector: LabelSelector, key: str) -> LabelSelector:
    """Return the part of a selector that is about one label."""
    return LabelSelector(
        tuple(each for each in selector.labels if each[0] == key),
        tuple(each for each in selector.requirements if each.key == key),
    )


def _has(what: str, labels: Mapping[str, str], key: str) -> str:
    return f"{what} has {key}={labels[key]}" if key in labels else f"{what} has no label {key}"
