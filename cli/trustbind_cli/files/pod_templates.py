"""The pods that the workloads of the files lead to: Deployments, CronJobs, and custom resources with a pod template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trustbind.api.manifests import Manifest

__all__ = ["WORKLOADS", "PodManifest", "pod_in"]

_TEMPLATE: Final = ("spec", "template")
_JOB_TEMPLATE: Final = ("spec", "jobTemplate", "spec", "template")

WORKLOADS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("batch", "CronJob"): _JOB_TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("v1", "PodTemplate"): ("template",),
    ("v1", "ReplicationController"): _TEMPLATE,
}
"""API group (or ``v1``) and kind to the path of the pod template (Kubernetes API reference, "Workload Resources")."""

_NUMBERED: Final = ("apps", "StatefulSet")
"""Names its pods by number, from 0 on; of all others, the ends of the names are known only in the cluster."""


@dataclass(frozen=True, slots=True)
class PodManifest:
    """A Pod of the files, or the one that a workload of the files leads to.

    Attributes:
        owner: what is in the file: the Pod, or the workload.
        path: of the pod within it, such as ``spec.template``; empty for a Pod.
        body: the Pod.
    """

    owner: Manifest
    path: str
    body: dict[str, Any]

    @property
    def namespace(self) -> str:
        """``metadata.namespace``; empty when there is none."""
        return self.owner.namespace

    def field(self, name: str) -> str:
        """Return the path of a field of the pod in the file."""
        return ".".join(part for part in (self.path, name) if part)

    def described(self, namespace: str) -> str:
        """Return kind, namespace and name, such as ``Pod of Deployment team-a/web``."""
        metadata = self.owner.body.get("metadata") or {}
        name = self.owner.name or metadata.get("generateName") or "without a name"
        return f"{'Pod of ' if self.path else ''}{self.owner.kind} {namespace}/{name}"


def pod_in(manifest: Manifest) -> PodManifest | None:
    """Return the Pod, or the pod that a workload leads to; None for an object without a pod template.

    A kind that is not known is a workload when it has containers at one of the usual paths, as custom resources do.

    Raises:
        ManifestError: a known workload has no pod template.
    """
    if (manifest.api_version, manifest.kind) == ("v1", "Pod"):
        return PodManifest(manifest, "", manifest.body)
    kind = (manifest.api_version.partition("/")[0], manifest.kind)
    if (known := WORKLOADS.get(kind)) is not None:
        template = _at(manifest.body, known)
        if template is None:
            raise manifest.error(f"{'.'.join(known)}: required, a mapping with metadata and spec of the pods")
        return _pod(manifest, known, template)
    for path in (_TEMPLATE, _JOB_TEMPLATE):
        template = _at(manifest.body, path)
        containers = _at(template or {}, ("spec",)) or {}
        if isinstance(containers.get("containers"), list):
            return _pod(manifest, path, template or {})
    return None


def _pod(manifest: Manifest, path: tuple[str, ...], template: Mapping[str, Any]) -> PodManifest:
    where = ".".join(path)
    metadata = template.get("metadata", {})
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, Mapping):
        raise manifest.error(f"{where}.metadata: expected a mapping")
    names = {key: value for key, value in metadata.items() if key not in {"name", "generateName", "namespace"}}
    owner = manifest.name or str((manifest.body.get("metadata") or {}).get("generateName") or "").rstrip("-")
    own: dict[str, Any] = {}
    if owner:
        is_numbered = (manifest.api_version.partition("/")[0], manifest.kind) == _NUMBERED
        own = {"name": f"{owner}-0"} if is_numbered else {"generateName": f"{owner}-"}
    if manifest.namespace:
        own["namespace"] = manifest.namespace
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": own | names}
    return PodManifest(manifest, where, pod | ({"spec": template["spec"]} if "spec" in template else {}))


def _at(body: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any] | None:
    """Return the mapping at a path; None when there is none."""
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else None
