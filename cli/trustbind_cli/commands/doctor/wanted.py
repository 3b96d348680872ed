"""What the webhook gives to a pod of a service account, decided by the webhook's own code from collected facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trustbind.api.annotations import skip_containers
from trustbind.api.labels import CONFIG_ANNOTATION, INJECT
from trustbind.api.role_binding import RoleBinding
from trustbind.diagnosis.facts import Bundle
from trustbind.diagnosis.model import Wanted, part
from trustbind.errors import InvalidValueError
from trustbind_webhook.injection.credential_source import FULL_URI
from trustbind_webhook.injection.decision import Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.pod import Container, Metadata, Pod, PodSpec

__all__ = ["skipped_containers", "wanted_of"]

_SHOWN = "app"
"""Stands for the container where no pod is looked at."""


def wanted_of(bundle: Bundle, settings: InjectionSettings) -> Wanted:
    """Return what a new pod of the service account would get, opt-outs left aside.

    Args:
        bundle: the facts.
        settings: the webhook's.
    """
    target, pod = bundle.target, bundle.pod.value
    known = bundle.service_account.value
    name = pod.service_account if pod else known.name if known else target.name
    bindings, problems = _bindings(bundle.bindings.value or ())
    if known is None and not any(b.names(name, {}) for b in bindings):
        return Wanted(None, "", tuple(problems))
    labels = known.labels if known else {}
    account = Account(
        target.namespace,
        name,
        _without(known.annotations if known else {}, INJECT),
        labels,
        pod_identity=_has_agent(bundle),
    )
    outcome = decide(_bare(bundle, name), account, bindings, settings, namespace=target.namespace, unique="doctor")
    if isinstance(outcome, Skip):
        hints = tuple(text for text in outcome.findings if "role" in text)
        return Wanted(None, outcome.message, (*hints, *problems))
    return _wanted(outcome, [b for b in bindings if str(b.ref) in outcome.bindings])


def skipped_containers(bundle: Bundle, settings: InjectionSettings) -> frozenset[str]:
    """Return the containers that the pod's annotation leaves out."""
    pod = bundle.pod.value
    return skip_containers(pod.annotations, settings.keys.skip_containers) if pod else frozenset()


def _wanted(outcome: Inject, bindings: list[RoleBinding]) -> Wanted:
    delivery = outcome.delivery
    binding = next((b for b in bindings if outcome.role in {None, b.role}), None)
    token = next((t for t in delivery.tokens if binding and t.audience == binding.audience), delivery.tokens[0])
    return Wanted(
        outcome.role,
        hints=outcome.findings,
        binding=binding,
        uses_agent=delivery.label is not None,
        env=delivery.identity,
        volume=delivery.volume_name,
        mount_path=delivery.mount_path,
        token_path=token.path,
        audience=token.audience,
        profiles=delivery.selectable,
    )


def _has_agent(bundle: Bundle) -> bool:
    """Return whether EKS itself gave the pod credentials: by an association that no binding of ours made."""
    pod = bundle.pod.value
    return pod is not None and any(c.value(FULL_URI) is not None for c in pod.containers)


def _bare(bundle: Bundle, account: str) -> Pod:
    """Return the pod as its template probably has it: without what the webhook adds."""
    pod = bundle.pod.value
    names = [c.name for c in pod.containers] if pod else [_SHOWN]
    annotations = _without(pod.annotations if pod else {}, INJECT, CONFIG_ANNOTATION)
    metadata = Metadata(
        name=pod.name if pod else _SHOWN,
        annotations=annotations,
        labels=dict(pod.labels) if pod else {},
    )
    return Pod(metadata, PodSpec(containers=[Container(name) for name in names], service_account_name=account))


def _bindings(bodies: Iterable[Mapping[str, Any]]) -> tuple[list[RoleBinding], list[str]]:
    found: list[RoleBinding] = []
    problems: list[str] = []
    for body in bodies:
        try:
            found.append(RoleBinding.parse(body))
        except InvalidValueError as error:
            metadata = part(body, "metadata")
            problems.append(f"RoleBinding {metadata.get('namespace')}/{metadata.get('name')} cannot be read: {error}")
    return found, problems


def _without(texts: Mapping[str, str], *keys: str) -> dict[str, str]:
    return {key: value for key, value in texts.items() if key not in keys}
