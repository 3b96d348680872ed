"""Helm and the chart for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.kubeclient import ROOT

__all__ = [
    "CHART",
    "DATA",
    "NAMESPACE",
    "Helm",
    "HelmError",
    "_find_tools",
    "required_tools",
    "settings_in",
    "workloads",
]

CHART: Final = ROOT / "charts" / "trustbind"
DATA: Final = ROOT / "tests" / "data" / "chart"
NAMESPACE: Final = "trustbind-system"

Object = dict[str, Any]


class HelmError(Exception):
    """Helm said no; ``str()`` of it is what it said."""


def required_tools() -> dict[str, Path]:
    """Return the programs by name; without them the test is skipped, or fails with TRUSTBIND_REQUIRE_CHART=1."""
    found, problem = _find_tools()
    if not found:
        if os.environ.get("TRUSTBIND_REQUIRE_CHART") == "1":
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)
    return found


def _find_tools() -> tuple[dict[str, Path], str]:
    """Return the programs by name, else none and what to do."""
    script = ROOT / "tools" / "helm.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}, done.stderr.strip()
    return {name: Path(path) for name, path in (line.split("\t") for line in done.stdout.splitlines())}, ""


@dataclass(frozen=True, slots=True)
class Helm:
    """One version of Helm."""

    program: Path
    kubeconfig: Path | None = None

    def run(self, *arguments: str | Path) -> str:
        """Return what it prints.

        Raises:
            HelmError: it ended with an error.
        """
        flags = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        done = subprocess.run([self.program, *arguments, *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            raise HelmError(done.stderr)
        return done.stdout

    def template(self, *arguments: str | Path, release: str = "trustbind", namespace: str = NAMESPACE) -> list[Object]:
        """Return the rendered objects."""
        text = self.run("template", release, CHART, "--namespace", namespace, *arguments)
        return [document for document in yaml.safe_load_all(text) if document]


def workloads(objects: list[Object]) -> list[tuple[str, Object]]:
    """Return name and pod spec of everything that runs pods."""
    found = []
    for thing in objects:
        if thing["kind"] == "Pod":
            found.append((thing["metadata"]["name"], thing["spec"]))
        elif "template" in (spec := thing.get("spec", {})) and thing["apiVersion"] in {"apps/v1", "batch/v1"}:
            found.append((thing["metadata"]["name"], spec["template"]["spec"]))
    return found


def settings_in(objects: list[Object]) -> dict[str, str]:
    """Return the text of both settings files, by half."""
    return {
        thing["metadata"]["labels"]["app.kubernetes.io/component"]: thing["data"]["settings.yaml"]
        for thing in objects
        if thing["kind"] == "ConfigMap" and "settings.yaml" in thing.get("data", {})
    }
