"""Which pods the API server calls the mutating webhook for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from trustbind.api.label_selector import LabelSelector, SelectorRequirement
from trustbind.api.labels import INJECT

__all__ = ["NAME_LABEL", "Scope", "WebhookScope"]

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""Every Namespace has it (Kubernetes documentation, "Well-Known Labels")."""

_OPT_OUT: Final = SelectorRequirement(INJECT, "NotIn", ("false",))


@dataclass(frozen=True, slots=True)
class Scope:
    """One entry of a webhook configuration (Kubernetes documentation, "Dynamic Admission Control").

    Attributes:
        namespaces: by the labels of their Namespaces.
        pods: by their own labels.
    """

    namespaces: LabelSelector = field(default=LabelSelector((), (_OPT_OUT,)))
    pods: LabelSelector = field(default_factory=LabelSelector)

    def left_out(self, namespace: str, labels: Mapping[str, str] | None, pod: Mapping[str, str] | None) -> str:
        """Return why the webhook is not called for a pod; empty when it is.

        Args:
            namespace: of the pod.
            labels: of the Namespace; None when they are not known. Then only its name counts.
            pod: labels of the pod; None when no pod is meant. Then they do not count.
        """
        known = {NAME_LABEL: namespace, **(labels or {})}
        selector = self.namespaces if labels is not None else _about(self.namespaces, NAME_LABEL)
        wanted, key = selector.unmet(known)
        if key == INJECT and known.get(key) == "false":
            return f"Namespace {namespace} has the label {INJECT}=false; remove it to have its pods injected"
        if wanted:
            there = _has(f"Namespace {namespace}", known, key)
            return f"the namespaceSelector of the webhook selects {wanted}, and {there}"
        if pod is None:
            return ""
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
class WebhookScope:
    """All entries of a webhook configuration: a pod for which one of them is called is injected."""

    entries: tuple[Scope, ...] = (Scope(),)

    @classmethod
    def of_settings(cls, excluded: tuple[str, ...], selector: LabelSelector | None) -> WebhookScope:
        """Return the scope of the chart's values.

        Args:
            excluded: names of Namespaces.
            selector: further conditions on the labels of Namespaces.
        """
        own = selector or LabelSelector()
        named = (SelectorRequirement(NAME_LABEL, "NotIn", excluded),) if excluded else ()
        return cls((Scope(LabelSelector(own.labels, (*named, _OPT_OUT, *own.requirements))),))

    def left_out(self, namespace: str, labels: Mapping[str, str] | None, pod: Mapping[str, str] | None = None) -> str:
        """Return why the webhook is not called for a pod; empty when it is. See `Scope.left_out`."""
        reasons = [entry.left_out(namespace, labels, pod) for entry in self.entries]
        if not all(reasons):
            return ""
        # An entry for other Namespaces says nothing about this one.
        return next((reason for reason in reasons if NAME_LABEL not in reason), reasons[0]) if reasons else ""

    @property
    def needs_labels(self) -> bool:
        """Whether more than the name and the opt-out of a Namespace decides."""
        return any(entry.needs_labels for entry in self.entries)


def _about(selector: LabelSelector, key: str) -> LabelSelector:
    """Return the part of a selector that is about one label."""
    return LabelSelector(
        tuple(each for each in selector.labels if each[0] == key),
        tuple(each for each in selector.requirements if each.key == key),
    )


def _has(what: str, labels: Mapping[str, str], key: str) -> str:
    return f"{what} has {key}={labels[key]}" if key in labels else f"{what} has no label {key}"
