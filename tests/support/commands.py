"""The command line in tests: what a run comes to, and manifests to run it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

__all__ = ["ROLE", "Cli", "Outcome", "account", "binding", "pod", "written"]

ROLE = "arn:aws:iam::444455556666:role/shop/checkout"


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line came to."""

    code: int
    out: str
    err: str


class Cli(Protocol):
    """Runs the command line in this process."""

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        """Return exit code and what was printed."""


def written(name: str, *documents: Any) -> str:
    """Write documents into a YAML file of the current folder and return its name."""
    Path(name).write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return name


def pod(name: str = "web-0", **spec: Any) -> dict[str, Any]:
    """Return a Pod."""
    spec = {"serviceAccountName": "checkout", "containers": [{"name": "app", "image": "x"}]} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def account(name: str = "checkout", **annotations: str) -> dict[str, Any]:
    """Return an annotated ServiceAccount; underscores of a keyword become dashes."""
    keys = {"role_arn": ROLE} | annotations
    named = {f"eks.amazonaws.com/{key.replace('_', '-')}": value for key, value in keys.items()}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "annotations": named}}


def binding(name: str = "b", namespace: str | None = None, **spec: Any) -> dict[str, Any]:
    """Return a RoleBinding."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    spec = {"roleArn": ROLE, "serviceAccountNames": ["checkout"]} | spec
    return {"apiVersion": "trustbind.dev/v1alpha1", "kind": "RoleBinding", "metadata": metadata, "spec": spec}
