"""The part of a Pod that decides, decoded straight from the review's bytes; everything else is skipped, not built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT

__all__ = ["Container", "EnvVar", "Metadata", "Mount", "Pod", "PodSpec", "Volume", "pod_of"]


class EnvVar(msgspec.Struct, frozen=True, gc=False):
    """One environment variable; only its name and its literal value matter here."""

    name: str
    value: str | None = None


class Mount(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One volume mount."""

    name: str
    mount_path: str = ""
    sub_path: str | None = None
    sub_path_expr: str | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """One container, init container or native sidecar."""

    name: str
    env: list[EnvVar] | None = None
    volume_mounts: list[Mount] | None = None


class TokenSource(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A ``serviceAccountToken`` source of a projected volume."""

    path: str = ""
    audience: str | None = None


class FieldRef(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Which field of the pod a file shows."""

    field_path: str = ""


class DownwardItem(msgspec.Struct, frozen=True, rename="camel"):
    """One file of a ``downwardAPI`` source."""

    path: str = ""
    field_ref: FieldRef | None = None


class DownwardSource(msgspec.Struct, frozen=True):
    """A ``downwardAPI`` source of a projected volume."""

    items: list[DownwardItem] | None = None


class Projection(msgspec.Struct, frozen=True, rename="camel"):
    """One source of a projected volume; a source of another kind leaves both fields empty."""

    service_account_token: TokenSource | None = None
    downward_api: DownwardSource | None = msgspec.field(default=None, name="downwardAPI")


class Projected(msgspec.Struct, frozen=True):
    """A projected volume."""

    sources: list[Projection] | None = None


class Volume(msgspec.Struct, frozen=True):
    """One volume; one of another kind leaves the field empty."""

    name: str
    projected: Projected | None = None


class OperatingSystem(msgspec.Struct, frozen=True, gc=False):
    """``spec.os``."""

    name: str = ""


class Gate(msgspec.Struct, frozen=True, gc=False):
    """One scheduling gate."""

    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The spec's deciding part."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    volumes: list[Volume] | None = None
    service_account_name: str | None = None
    service_account: str | None = None
    node_selector: dict[str, str] | None = None
    os: OperatingSystem | None = None
    node_name: str | None = None
    scheduling_gates: list[Gate] | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata's deciding part."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Pod(msgspec.Struct, frozen=True):
    """A pod as far as it decides."""

    metadata: Metadata
    spec: PodSpec

    @property
    def account(self) -> str:
        """Name of the pod's service account; ``default`` when it names none.

        ``serviceAccount`` is the deprecated twin that the API server keeps equal; a file may have it alone.
        """
        return self.spec.service_account_name or self.spec.service_account or DEFAULT_SERVICE_ACCOUNT

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations, empty when it has none."""
        return self.metadata.annotations or {}

    @property
    def container_names(self) -> frozenset[str]:
        """The names of the pod's containers of all kinds."""
        return frozenset(c.name for c in (*(self.spec.init_containers or ()), *(self.spec.containers or ())))

    @property
    def is_windows(self) -> bool:
        """Whether the pod asks for a Windows node: by ``spec.os`` or by either spelling of the node selector."""
        if self.spec.os is not None and self.spec.os.name:
            return self.spec.os.name == "windows"
        selector = self.spec.node_selector or {}
        return "windows" in {selector.get("kubernetes.io/os"), selector.get("beta.kubernetes.io/os")}


def pod_of(manifest: Mapping[str, Any]) -> Pod:
    """Return the deciding part of a manifest.

    Raises:
        msgspec.ValidationError: it is not shaped like a Pod; the message names the place.
    """
    return msgspec.convert(manifest, Pod)
