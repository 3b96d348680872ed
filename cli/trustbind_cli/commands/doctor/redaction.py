"""Objects of Kubernetes as facts: the fields that decide. What of their values may be shown is in `disclosure`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trustbind.certificates import certificates_of_bundle
from trustbind.diagnosis.facts import (
    SET,
    Container,
    EnvFrom,
    EnvVar,
    Fact,
    Mount,
    MutatingWebhook,
    PodFacts,
    Selector,
    ServiceAccountFacts,
    TokenVolume,
)
from trustbind_cli.commands.doctor.environment import NAMES, VALUED

__all__ = ["binding_facts", "fingerprints", "pod_facts", "service_account_facts", "sources_of", "webhook_facts"]

_KEPT_ANNOTATIONS: Final = frozenset(
    {"audience", "inject", "session-name", "skip-containers", "sts-regional-endpoints", "token-expiration"}
)
"""Names, after any prefix, whose values decide."""

_OF_ROLES: Final = "role"
"""A part of the names that were probably meant for a role."""

Json = Mapping[str, Any]


def pod_facts(body: Json, keys: Mapping[str, Fact[list[str]]]) -> PodFacts:
    """Return what of a pod decides.

    Args:
        body: the object.
        keys: of the Secrets and ConfigMaps that `sources_of` names.
    """
    metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
    security = spec.get("securityContext") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return PodFacts(
        name=metadata.get("name", ""),
        created=metadata.get("creationTimestamp", ""),
        phase=(body.get("status") or {}).get("phase", ""),
        service_account=spec.get("serviceAccountName") or "default",
        annotations=_annotations(metadata),
        labels=dict(metadata.get("labels") or {}),
        containers=[_container(each, security.get("runAsUser"), keys) for each in containers],
        tokens=[volume for each in spec.get("volumes") or () for volume in _tokens(each)],
        gates=[gate.get("name", "") for gate in spec.get("schedulingGates") or ()],
        node=spec.get("nodeName", ""),
        fs_group=security.get("fsGroup"),
        host_network=bool(spec.get("hostNetwork")),
    )


def sources_of(body: Json) -> list[str]:
    """Return the Secrets and ConfigMaps whose keys become variables, each as ``Kind/name``."""
    spec = body.get("spec") or {}
    found: dict[str, None] = {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for each in container.get("envFrom") or ():
            found[_source(each)] = None
    return list(found)


def service_account_facts(body: Json, role_key: str) -> ServiceAccountFacts:
    """Return what of a service account decides.

    Args:
        body: the object.
        role_key: the annotation that names a role.
    """
    metadata = body.get("metadata") or {}
    return ServiceAccountFacts(
        name=metadata.get("name", ""),
        uid=metadata.get("uid", ""),
        annotations=_annotations(metadata),
        labels=dict(metadata.get("labels") or {}),
        annotated=_written(metadata, f"f:{role_key}"),
    )


def binding_facts(body: Json) -> dict[str, Any]:
    """Return a RoleBinding without what its writers left in its metadata."""
    metadata = body.get("metadata") or {}
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp", "labels")
    return {
        "apiVersion": body.get("apiVersion", ""),
        "kind": body.get("kind", "RoleBinding"),
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": body.get("spec") or {},
        "status": {"conditions": (body.get("status") or {}).get("conditions") or []},
    }


def webhook_facts(body: Json) -> list[MutatingWebhook]:
    """Return the entries of a MutatingWebhookConfiguration that are called for new pods."""
    name = (body.get("metadata") or {}).get("name", "")
    return [
        _webhook(name, each) for each in body.get("webhooks") or () if any(map(_is_for_pods, each.get("rules") or ()))
    ]


def fingerprints(pem: bytes) -> list[str]:
    """Return the SHA-256 of each certificate, in hexadecimal; what is no PEM is left out."""
    return [hashlib.sha256(der).hexdigest() for der in certificates_of_bundle(pem)]


def _webhook(configuration: str, entry: Json) -> MutatingWebhook:
    client = entry.get("clientConfig") or {}
    service = client.get("service") or {}
    try:
        bundle = base64.b64decode(client.get("caBundle") or "")
    except binascii.Error:
        bundle = b""
    return MutatingWebhook(
        configuration=configuration,
        name=entry.get("name", ""),
        service=f"{service.get('namespace')}/{service.get('name')}" if service else "",
        namespace_selector=msgspec.convert(entry.get("namespaceSelector") or {}, Selector),
        object_selector=msgspec.convert(entry.get("objectSelector") or {}, Selector),
        authorities=fingerprints(bundle),
    )


def _is_for_pods(rule: Json) -> bool:
    resources, operations = rule.get("resources") or (), rule.get("operations") or ()
    return bool({"pods", "*", "*/*", "pods/*"} & set(resources)) and bool({"CREATE", "*"} & set(operations))


def _annotations(metadata: Json) -> dict[str, str]:
    """Return all keys; values only of those that decide, since tools copy whole manifests into annotations."""
    return {
        key: value if (name := key.rpartition("/")[2]) in _KEPT_ANNOTATIONS or _OF_ROLES in name else SET
        for key, value in (metadata.get("annotations") or {}).items()
    }


def _written(metadata: Json, key: str) -> str:
    """Return when an annotation was written last; empty where the object does not tell."""
    times = [
        str(entry.get("time", ""))
        for entry in metadata.get("managedFields") or ()
        if key in (((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:annotations") or {})
    ]
    return max(times, default="")


def _container(raw: Json, pod_user: int | None, keys: Mapping[str, Fact[list[str]]]) -> Container:
    return Container(
        name=raw.get("name", ""),
        env=[_variable(each) for each in raw.get("env") or () if each.get("name", "") in NAMES],
        env_from=[
            EnvFrom(_source(each), each.get("prefix", ""), keys.get(_source(each), Fact()))
            for each in raw.get("envFrom") or ()
        ],
        volume_mounts=[
            Mount(m.get("name", ""), m.get("mountPath", ""), m.get("subPath")) for m in raw.get("volumeMounts") or ()
        ],
        run_as_user=(raw.get("securityContext") or {}).get("runAsUser", pod_user),
    )


def _variable(raw: Json) -> EnvVar:
    name, value = raw.get("name", ""), raw.get("value", "")
    if "valueFrom" in raw:
        return EnvVar(name, None, value_from=True)
    return EnvVar(name, value if name in VALUED else None)


def _source(raw: Json) -> str:
    for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
        if key in raw:
            return f"{kind}/{raw[key].get('name', '')}"
    return "unknown"


def _tokens(raw: Json) -> Iterable[TokenVolume]:
    projected = raw.get("projected") or {}
    for source in projected.get("sources") or ():
        if token := source.get("serviceAccountToken"):
            mode = projected.get("defaultMode")
            yield TokenVolume(raw.get("name", ""), token.get("audience", ""), token.get("path", ""), mode)
            return
