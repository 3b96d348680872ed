"""What happens to an admitted pod on its node: the kubelet fills the volume, and the container starts.

    kubelet = Kubelet(pod, issuer, tmp_path)
    kubelet.sync()
    subprocess.run(program, env=kubelet.environment("app") | {"AWS_ENDPOINT_URL": aws.url})

A container's paths are real paths here, so the pod has to have been injected with a mount path in a test's folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from trustbind.identity.subjects import DEFAULT_SERVICE_ACCOUNT, Subject
from trustbind_localaws import TokenIssuer
from trustbind_webhook.injection.credential_source import VOLUME_NAME

__all__ = ["Kubelet"]

Object = Mapping[str, Any]

_DATA: Final = "..data"
"""The link that the kubelet turns to the newest content (Kubernetes, pkg/volume/util/atomic_writer.go)."""

_ANNOTATION: Final = ("metadata.annotations['", "']")


class Kubelet:
    """Plays the kubelet for the injected volume of one pod.

    Args:
        pod: as it was stored, that is after the webhook.
        issuer: signs the tokens.
        within: a folder of the test's, in which the volume has to be mounted.
        namespace: of the pod, where the pod itself does not say.

    Raises:
        ValueError: the pod was not injected, or mounts the volume elsewhere.
    """

    def __init__(self, pod: Object, issuer: TokenIssuer, within: Path, *, namespace: str = "") -> None:
        self._pod = pod
        self._issuer = issuer
        self._namespace = pod["metadata"].get("namespace") or namespace
        self._sources = _sources(pod)
        self.folder = _mounted_at(pod, within)

    @property
    def subject(self) -> Subject:
        """Who the pod's tokens are for."""
        return Subject.of(self._namespace, self._pod["spec"].get("serviceAccountName") or DEFAULT_SERVICE_ACCOUNT)

    def sync(self, *, subject: Subject | None = None, now: datetime | None = None) -> None:
        """Write the volume's files, all at once, as at the pod's start and at every rotation.

        Args:
            subject: whose tokens to write instead, to play an intruder.
            now: when the tokens are issued; None for now.
        """
        fresh = self.folder / f"..{secrets.token_hex(4)}"
        fresh.mkdir(parents=True)
        for source in self._sources:
            for path, text in self._files(source, subject or self.subject, now):
                file = fresh / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        data = self.folder / _DATA
        before = data.resolve() if data.exists() else None
        turning = self.folder / "..data_tmp"
        turning.symlink_to(fresh.name)
        turning.replace(data)
        for entry in fresh.iterdir():
            link = self.folder / entry.name
            if not link.is_symlink():
                link.symlink_to(Path(_DATA) / entry.name)
        if before is not None:
            shutil.rmtree(before)

    def environment(self, container: str = "") -> dict[str, str]:
        """Return a container's variables; of the first one where none is named.

        Raises:
            ValueError: there is no such container, or a variable is taken from elsewhere.
        """
        for found in self._pod["spec"]["containers"]:
            if container in ("", found["name"]):
                if foreign := [v["name"] for v in found.get("env", ()) if "value" not in v]:
                    raise ValueError(f"nobody plays where {', '.join(foreign)} come from")
                return {variable["name"]: variable["value"] for variable in found.get("env", ())}
        raise ValueError(f"the pod has no container {container!r}")

    def _files(self, source: Object, subject: Subject, now: datetime | None) -> Iterable[tuple[str, str]]:
        match source:
            case {"serviceAccountToken": token}:
                signed = self._issuer.mint(
                    subject,
                    token["audience"],
                    expires_in=token["expirationSeconds"],
                    now=now,
                    pod=self._pod["metadata"]["name"],
                )
                yield token["path"], signed
            case {"downwardAPI": {"items": items}}:
                for item in items:
                    yield item["path"], self._field(item["fieldRef"]["fieldPath"])
            case _:
                raise ValueError(f"nobody plays the source {source}")

    def _field(self, path: str) -> str:
        before, after = _ANNOTATION
        if not (path.startswith(before) and path.endswith(after)):
            raise ValueError(f"nobody plays the field {path}")
        # An annotation that is not there is an empty file.
        annotations: Mapping[str, str] = self._pod["metadata"].get("annotations") or {}
        return annotations.get(path.removeprefix(before).removesuffix(after), "")


def _sources(pod: Object) -> list[Object]:
    for volume in pod["spec"].get("volumes", ()):
        if volume["name"] == VOLUME_NAME:
            return list(volume["projected"]["sources"])
    raise ValueError(f"the pod has no volume {VOLUME_NAME}: it was not injected")


def _mounted_at(pod: Object, within: Path) -> Path:
    mounts = [m for c in pod["spec"]["containers"] for m in c.get("volumeMounts", ())]
    for mount in mounts:
        if mount["name"] == VOLUME_NAME:
            folder = Path(os.path.normpath(mount["mountPath"]))
            if not folder.is_relative_to(within):
                raise ValueError(f"{VOLUME_NAME} is mounted at {folder}, which is not in {within}")
            return folder
    raise ValueError(f"no container mounts {VOLUME_NAME}")
