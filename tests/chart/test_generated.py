"""Generated parts of the chart, which need no Helm to be checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml
from prometheus_client import CollectorRegistry

from support.charts import CHART
from support.kubeclient import ROOT
from trustbind_operator.metrics import Metrics as OperatorMetrics
from trustbind_webhook.certificates.metrics import CertificateMetrics
from trustbind_webhook.metrics import Metrics as WebhookMetrics


def test_generated_parts_are_not_stale() -> None:
    """Definitions, settings, schema and README are what tools/chart.py would write now."""
    command = [sys.executable, str(ROOT / "tools" / "chart.py"), "sync", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_chart_and_program_have_one_version() -> None:
    """Chart, image tag and program are released together."""
    from trustbind import __version__  # noqa: PLC0415 - this test alone needs it

    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], str(about["appVersion"])) == (__version__, __version__)


def _metrics() -> set[str]:
    """Return the names of all series that the halves expose."""
    webhook = WebhookMetrics()
    CertificateMetrics(webhook.registry)
    names: set[str] = set()
    registries: list[CollectorRegistry] = [webhook.registry, OperatorMetrics().registry]
    for registry in registries:
        for family in registry.collect():
            names.add(family.name)
            names |= {f"{family.name}{suffix}" for suffix in ("_total", "_bucket", "_count", "_sum", "_info")}
    return names


@pytest.mark.parametrize("name", ["alerts-webhook.yaml", "alerts-operator.yaml", "dashboard.json"])
def test_expressions_name_metrics_that_exist(name: str) -> None:
    """Alerts and dashboard ask for series that the halves expose."""
    text = (CHART / "files" / name).read_text()
    wanted = set(re.findall(r"\btrustbind_(?:webhook|operator)_\w+", text))
    assert wanted
    assert wanted - _metrics() == set()


def test_alerts_say_what_is_wrong_and_what_follows() -> None:
    """Every alert has a severity, a summary and a description; the wished-for ones are there."""
    rules = [
        rule
        for name in ("alerts-webhook.yaml", "alerts-operator.yaml")
        for rule in yaml.safe_load((CHART / "files" / name).read_text())
    ]
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}  # the template adds runbook_url
    assert {
        "TrustbindWebhookDown",
        "TrustbindWebhookNotSynced",
        "TrustbindInjectionErrors",
        "TrustbindBindingsNotReady",
        "TrustbindOperatorNotLeading",
        "TrustbindAwsThrottling",
        "TrustbindCertificateExpiry",
    } <= {rule["alert"] for rule in rules}


def test_dashboard_can_be_imported() -> None:
    """It is JSON with a title, an identity of its own, and panels that do not overlap."""
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    assert dashboard["title"] == "trustbind"
    assert dashboard["uid"] == "trustbind"
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
