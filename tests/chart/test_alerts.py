"""The alerts: each has its part of the page about alerts, and fires for what it names and for nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.charts import CHART, Helm

PAGE: Final = CHART.parents[1] / "docs" / "reference" / "alerts.md"
FILES: Final = ("alerts-webhook.yaml", "alerts-operator.yaml")
URL: Final = "https://docs.example.com/alerts.html"

Series = dict[str, str]
"""Series to its values, a minute apart, in promtool's notation."""

FIRING: Final[dict[str, Series]] = {
    "TrustbindWebhookDown": {"up": "1x40"},
    "TrustbindWebhookNotSynced": {'trustbind_webhook_synced{pod="a"}': "0x40"},
    "TrustbindWatchLate": {'trustbind_webhook_watch_behind_seconds{pod="a", resource="pods"}': "61x40"},
    "TrustbindPortFull": {'trustbind_webhook_connections_ended_total{pod="a", cause="refused"}': "0+5x40"},
    "TrustbindInjectionErrors": {
        'trustbind_webhook_admissions_total{outcome="skipped", reason="LookupFailed"}': "0+1x40"
    },
    "TrustbindCertificateExpiry": {"trustbind_webhook_certificate_expiry_timestamp_seconds": "86400x40"},
    "TrustbindCaBundleStale": {'trustbind_webhook_ca_bundle_in_order{configuration="mutating"}': "0x40"},
    "TrustbindOperatorNotLeading": {"trustbind_operator_leading": "0x40"},
    "TrustbindBindingsNotReady": {'trustbind_operator_bindings{ready="False", reason="NotGranted"}': "2x40"},
    "TrustbindAwsThrottling": {
        'trustbind_operator_aws_calls_total{account="444455556666", code="Throttling"}': "0+60x40"
    },
    "TrustbindRevocationPaused": {'trustbind_operator_paused_revocations{account="444455556666"}': "12x40"},
    "TrustbindOperatorErrors": {"trustbind_operator_unexpected_errors_total": "0+1x40"},
    "TrustbindDriftNotRepaired": {'trustbind_operator_drifted_roles{account="444455556666"}': "1x40"},
    "TrustbindSurveyLate": {'trustbind_operator_surveyed_timestamp_seconds{account="444455556666"}': "0x40"},
    "TrustbindTrustPolicyNearlyFull": {'trustbind_operator_trust_policy_fill_ratio{role="r"}': "0.95x40"},
}
"""Series for which an alert fires after 40 minutes."""

HEALTHY: Final[Series] = {
    'trustbind_webhook_synced{pod="a"}': "1x40",
    'trustbind_webhook_watch_behind_seconds{pod="a", resource="pods"}': "0x40",
    'trustbind_webhook_connections_ended_total{pod="a", cause="idle"}': "0+5x40",
    'trustbind_webhook_refused_requests_total{pod="a", status="400"}': "0+5x40",
    'trustbind_webhook_admissions_total{outcome="injected", reason=""}': "0+9x40",
    'trustbind_webhook_admissions_total{outcome="skipped", reason="NoRole"}': "0+9x40",
    "trustbind_webhook_certificate_expiry_timestamp_seconds": "7776000x40",
    'trustbind_webhook_ca_bundle_in_order{configuration="mutating"}': "1x40",
    'trustbind_operator_leading{pod="a"}': "1x40",
    'trustbind_operator_leading{pod="b"}': "0x40",
    'trustbind_operator_bindings{ready="True", reason="TrustApplied"}': "9x40",
    'trustbind_operator_aws_calls_total{account="444455556666", code=""}': "0+60x40",
    'trustbind_operator_paused_revocations{account="444455556666"}': "0x40",
    "trustbind_operator_unexpected_errors_total": "3x40",
    'trustbind_operator_drifted_roles{account="444455556666"}': "0x40",
    'trustbind_operator_surveyed_timestamp_seconds{account="444455556666"}': "0+60x40",
    'trustbind_operator_trust_policy_fill_ratio{role="r"}': "0.85x40",
}
"""Series for which none fires."""


def _rules() -> list[dict[str, Any]]:
    """Return all alerts of the chart."""
    return [rule for name in FILES for rule in yaml.safe_load((CHART / "files" / name).read_text())]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return Prometheus' own checker, PROMTOOL or on PATH; where it is not there, tests are skipped."""
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool; set PROMTOOL=$(tools/promtool.sh)")
    return found


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a file with the alerts, as Prometheus reads it."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "trustbind", "rules": _rules()}]}))
    return path


def _firing(promtool: str, rules: Path, series: Series) -> set[str]:
    """Return the alerts that fire after 40 minutes, as promtool finds them."""
    names = [rule["alert"] for rule in _rules()]
    test = {
        "rule_files": [rules.name],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                # With no alert expected, promtool reports each one that fires.
                "alert_rule_test": [{"eval_time": "40m", "alertname": name, "exp_alerts": []} for name in names],
            }
        ],
    }
    path = rules.with_name("test.yaml")
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    fired = set(re.findall(r"alertname: (\w+), time: 40m", output))
    assert bool(fired) == bool(done.returncode), output
    return fired


def test_prometheus_takes_the_alerts(promtool: str, rules: Path) -> None:
    """Expressions and templates are valid."""
    done = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(_rules())} rules found" in done.stdout


def test_none_fires_where_all_is_well(promtool: str, rules: Path) -> None:
    """A standby that does not lead, a binding that is Ready and an old error are no reason to wake anybody."""
    assert _firing(promtool, rules, HEALTHY) == set()


@pytest.mark.parametrize("name", FIRING)
def test_each_fires_alone(promtool: str, rules: Path, name: str) -> None:
    """Beside a healthy installation, the fault that an alert is about fires it and no other."""
    healthy = {key: values for key, values in HEALTHY.items() if key.partition("{")[0] not in _metrics(name)}
    assert _firing(promtool, rules, {**healthy, **FIRING[name]}) == {name}


def _metrics(name: str) -> set[str]:
    """Return the metrics that an alert asks for."""
    (rule,) = (rule for rule in _rules() if rule["alert"] == name)
    return set(re.findall(r"\btrustbind_\w+", rule["expr"]))


def test_every_alert_has_an_example_and_its_part_of_the_page() -> None:
    """In the page's order, with the severity and the minutes that it says."""
    assert list(FIRING) == [rule["alert"] for rule in _rules()]
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert [part.partition("\n")[0] for part in parts] == list(FIRING)
    for part, rule in zip(parts, _rules(), strict=True):
        after = f", after {rule['for'].rstrip('m')} minutes." if "for" in rule else "."
        assert f"\n\n{rule['labels']['severity'].capitalize()}{after} " in part, rule["alert"]


@pytest.mark.parametrize("url", ["", URL])
def test_the_address_of_the_page(helm: Helm, url: str) -> None:
    """Each alert names its part of the page, or none does."""
    values = ("enabled=true", f"runbookUrl={url}")
    arguments = [part for value in values for part in ("--set", f"metrics.prometheusRule.{value}")]
    (made,) = (each for each in helm.template(*arguments) if each["kind"] == "PrometheusRule")
    shown = {rule["alert"]: rule for group in made["spec"]["groups"] for rule in group["rules"]}
    for rule in _rules():
        expected = {**rule, "annotations": dict(rule["annotations"])}
        if url:
            expected["annotations"]["runbook_url"] = f"{URL}#{rule['alert'].lower()}"
        assert shown.pop(rule["alert"]) == expected
    assert shown == {}
