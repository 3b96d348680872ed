"""``trustbind preview pod`` on what the chart renders, and on what the real kubectl makes of a kustomization."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.charts import Helm
from trustbind_cli.files.manifests import manifests_in
from trustbind_cli.files.sources import kustomized
from trustbind_cli.files.webhook_settings import read_webhook_config

NO_LABELS: dict[str, str] = {}


def test_webhook_config(helm: Helm, tmp_path: Path) -> None:
    """Settings and scope are those of the chart's values."""
    values = ["--set", "webhook.settings.injection.region=eu-central-1"]
    values += ["--set", "webhook.mutating.excludedNamespaces={monitoring}"]
    file = tmp_path / "chart.yaml"
    file.write_text(yaml.safe_dump_all(helm.template(*values)), encoding="utf-8")

    config = read_webhook_config(str(file))

    assert config.injection.region == "eu-central-1"
    assert not config.scope.needs_labels
    assert config.scope.left_out("shop", None, NO_LABELS) == ""
    assert "NotIn" in config.scope.left_out("monitoring", None, NO_LABELS)
    assert "inject=false" in config.scope.left_out("shop", {"trustbind.dev/inject": "false"}, NO_LABELS)
    assert config.scope.left_out("kube-system", None, NO_LABELS) == ""
    assert "inject=false" in config.scope.left_out("kube-system", {"trustbind.dev/inject": "false"}, NO_LABELS)
    assert config.unknown == ()


def test_kustomization(tools: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace and the names that the kustomization gives are those of the pods."""
    monkeypatch.setenv("PATH", os.pathsep.join((str(tools["kubectl"].parent), os.environ["PATH"])))
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": []}}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod), encoding="utf-8")
    kustomization = {"namespace": "shop", "namePrefix": "a-", "resources": ["pod.yaml"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")

    (found,) = manifests_in(kustomized(str(tmp_path)), "k")

    assert (found.namespace, found.name) == ("shop", "a-web")
