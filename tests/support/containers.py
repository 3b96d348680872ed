"""Runs the image as a cluster would: read-only root, user 65532, no capabilities, no new privileges.

Without a daemon: buildah mounts the image, and an OCI runtime (crun or runc) runs what is mounted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from support.processes import Process

__all__ = ["USER", "Image", "missing"]

USER: Final = 65532

_NAMESPACES: Final = ("pid", "ipc", "uts", "mount")
"""Not the network's: the test reaches the program over the machine's own 127.0.0.1."""


def missing() -> str:
    """Return what is missing to run images, or nothing."""
    if os.geteuid() != 0:
        return "images are run by root only"
    if shutil.which("buildah") is None:
        return "buildah is not installed"
    if _runtime() is None:
        return "neither crun nor runc is installed"
    return ""


def _runtime() -> str | None:
    return shutil.which("runc") or shutil.which("crun")


def _buildah(*arguments: str) -> str:
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    done = subprocess.run(
        ["buildah", "--storage-driver", driver, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine inside the container."""

    source: Path
    destination: str
    writable: bool = False


class Image:
    """An image, mounted for as long as the context lasts.

    Raises:
        subprocess.CalledProcessError: there is no such image.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        self._container = _buildah("from", "--pull-never", self.name)
        self.root = Path(_buildah("mount", self._container))
        self.config: dict[str, Any] = json.loads(_buildah("inspect", "--type", "image", self.name))["OCIv1"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _buildah("umount", self._container)
        _buildah("rm", self._container)

    def process(
        self,
        bundle: Path,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        mounts: Sequence[Mount] = (),
        command: Sequence[str] | None = None,
    ) -> Process:
        """Start a container and return its process, whose standard error is the container's.

        Args:
            bundle: an empty folder.
            arguments: behind the image's entry point.
            env: on top of the image's.
            mounts: besides /tmp, the one place that can be written.
            command: instead of the entry point.
        """
        own = self.config["config"]
        variables = [*own["Env"], *(f"{k}={v}" for k, v in (env or {}).items() if v is not None)]
        spec = _spec(self.root, [*(command or own["Entrypoint"]), *arguments], variables, mounts)
        bundle.mkdir(parents=True, exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(spec))
        runtime = _runtime()
        assert runtime is not None, "see missing()"
        flags = ["--cgroup-manager=disabled"] if runtime.endswith("crun") else []
        name = f"trustbind-test-{bundle.name}-{os.getpid()}"
        return Process([runtime, *flags, "run", "--bundle", str(bundle), name])


def _spec(root: Path, args: Sequence[str], env: Sequence[str], mounts: Sequence[Mount]) -> dict[str, Any]:
    """Return an OCI runtime specification (opencontainers/runtime-spec, config.md)."""
    nobody: dict[str, list[str]] = {
        kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    volumes = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {
            "destination": "/tmp",  # noqa: S108 - inside of the container
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777", "size=16m"],
        },
    ]
    volumes += [
        {
            "destination": mount.destination,
            "type": "bind",
            "source": str(mount.source),
            "options": ["bind", "nosuid", "nodev", "rw" if mount.writable else "ro"],
        }
        for mount in mounts
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": USER, "gid": USER},
            "args": list(args),
            "env": list(env),
            "cwd": "/tmp",  # noqa: S108 - as above
            "capabilities": nobody,
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "trustbind",
        "mounts": volumes,
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys"],
        },
    }
