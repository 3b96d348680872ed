"""The operator's settings: defaults, file and environment, and a sentence for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from trustbind.api.annotated_binding import AnnotatedScope
from trustbind.api.label_selector import LabelSelector
from trustbind_operator.controllers.pace import Pace
from trustbind_operator.settings import ENV_PREFIX, Settings, SettingsError, load


def loaded(tmp_path: Path, text: str) -> Settings:
    """Return the settings of a file with ``text``."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(str(path))


def test_defaults() -> None:
    """Everything has one; the manager's pace is the same as its own."""
    settings = load()
    assert (settings.server.port, settings.identity.issuer, settings.lease.enabled) == (8080, "", True)
    assert settings.bind_annotated.mode == "Disabled"
    assert settings.bind_annotated.scope() == AnnotatedScope()
    assert settings.manager_pace() == Pace()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.server.port = 1


def test_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Camel case in the file, capitals in the environment, the same setting."""
    monkeypatch.setenv("TRUSTBIND_OPERATOR_PACE__COMMIT_WINDOW_SECONDS", "0.05")
    monkeypatch.setenv("TRUSTBIND_OPERATOR_BIND_ANNOTATED__MODE", "Bind")
    monkeypatch.setenv("TRUSTBIND_OPERATOR_IDENTITY__ISSUER", "https://oidc.example.com/id/1")

    settings = loaded(
        tmp_path,
        "pace: {commitWindowSeconds: 9, resyncSeconds: 60, surveySeconds: 30}\n"
        "bindAnnotated: {annotationPrefix: aws.example.com}\n"
        "lease: {durationSeconds: 60, renewDeadlineSeconds: 40, retrySeconds: 5}\nlog: {level: debug}\n",
    )

    assert (settings.pace.commit_window_seconds, settings.pace.resync_seconds) == (0.05, 60)
    assert (settings.bind_annotated.mode, settings.bind_annotated.annotation_prefix) == ("Bind", "aws.example.com")
    assert settings.identity.issuer == "https://oidc.example.com/id/1"
    assert (settings.manager_pace().window, settings.manager_pace().survey) == (0.05, 30)
    assert settings.lease.duration_seconds == 60


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pce: {}", "pce: there is no such setting; did you mean pace?"),
        ("pace: {window: 1}", "pace.window: there is no such setting"),
        ("lease: {renew_deadline_seconds: 1}", "there is no such setting; did you mean renewDeadlineSeconds?"),
        ("server: {port: 70000}", "server.port: input should be less than or equal to 65535"),
        ("identity: {issuer: 'http://x'}", "identity.issuer: 'http://x' is not an issuer URL: IAM takes only https://"),
        ("identity: {issuer: 'https://x:6443'}", "identity.issuer: 'https://x:6443' names a port"),
        ("identity: {cluster: 'a b'}", "identity.cluster: 'a b' does not fit into a session name"),
        (f"identity: {{cluster: {'x' * 41}}}", "does not fit into a session name"),
        ("lease: {name: ''}", "lease.name: '' is not a Lease's name"),
        ("lease: {name: A}", "lease.name: 'A' is not a Lease's name"),
        ("lease: {namespace: a_b}", "lease.namespace: 'a_b' is not a namespace"),
        ("lease: {durationSeconds: 1}", "lease.durationSeconds: input should be greater than or equal to 2"),
        ("lease: {durationSeconds: 10}", "lease: renewDeadlineSeconds must be less than durationSeconds"),
        ("lease: {retrySeconds: 9}", "lease: renewDeadlineSeconds must be more than 1.2 times retrySeconds"),
        (
            "lease: {durationSeconds: 29}",
            (
                "config.yaml: aws.connectTimeoutSeconds and aws.readTimeoutSeconds are together 20 s, more than the "
                "19 s between lease.renewDeadlineSeconds and lease.durationSeconds, so a write may still be under way "
                "when another operator takes the Lease; raise lease.durationSeconds to at least 30 or lower the "
                "time-outs"
            ),
        ),
        ("aws: {readTimeoutSeconds: 15.5}", "raise lease.durationSeconds to at least 31 or lower the time-outs"),
        ("aws: {connectTimeoutSeconds: 0}", "aws.connectTimeoutSeconds: input should be greater than 0"),
        ("aws: {readTimeoutSeconds: 0}", "aws.readTimeoutSeconds: input should be greater than 0"),
        ("aws: {maxReadAgeSeconds: 0}", "aws.maxReadAgeSeconds: input should be greater than 0"),
        ("aws: {maxReadAgeSeconds: 2.5}", "aws.maxReadAgeSeconds: input should be less than or equal to 2"),
        ("aws: {callsPerSecond: 0}", "aws.callsPerSecond: input should be greater than 0"),
        ("aws: {burst: 0}", "aws.burst: input should be greater than or equal to 1"),
        ("pace: {commitWindowSeconds: -1}", "pace.commitWindowSeconds: "),
        ("pace: {resyncSeconds: soon}", "pace.resyncSeconds: input should be a valid number"),
        ("pace: {sweepSeconds: 60}", "pace.sweepSeconds: there is no such setting"),
        ("pace: {surveySeconds: 0}", "pace.surveySeconds: input should be greater than or equal to 1"),
        ("pace: {maxRetrySeconds: 0}", "pace.maxRetrySeconds: "),
        ("bindAnnotated: {annotationPrefix: a/b}", "bindAnnotated.annotationPrefix: 'a/b' is not a DNS name such as"),
        ("bindAnnotated: {mode: Maybe}", "bindAnnotated.mode: input should be 'Disabled', 'Report' or 'Bind'"),
        ("bindAnnotated: {reportName: A_b}", "bindAnnotated.reportName: 'A_b' is not a ConfigMap's name"),
        ("bindAnnotated: {reportIntervalSeconds: 0}", "bindAnnotated.reportIntervalSeconds: "),
        ("bindAnnotated: {enabled: true}", "bindAnnotated.enabled: there is no such setting"),
        ("bindAnnotated: {namespaces: [Team_A]}", "bindAnnotated.namespaces: 'Team_A' is not the name of a namespace"),
        (
            "bindAnnotated: {namespaceSelector: {labels: {}}}",
            "bindAnnotated.namespaceSelector: there is no field `labels`; did you mean matchLabels?",
        ),
        ("bindAnnotated: {namespaceSelector: [x]}", "bindAnnotated.namespaceSelector: input should be a valid dict"),
        (
            "bindAnnotated: {serviceAccountSelector: {matchExpressions: [{key: a, operator: In}]}}",
            "bindAnnotated.serviceAccountSelector: matchExpressions[0].values: operator In needs values",
        ),
        ("kubernetes: {pageSize: 0}", "kubernetes.pageSize: "),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    """One sentence, with the file and the setting as it stands there."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert str(tmp_path / "config.yaml") in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SERVER_PORT", "1", "there is no such setting; did you mean TRUSTBIND_OPERATOR_SERVER__PORT?"),
        ("AWS__BURST", "x", "input should be a valid integer"),
        ("IDENTITY__ISSUER", "x", "'x' is not an issuer URL"),
    ],
)
def test_a_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str) -> None:
    """What is wrong in the environment is told by the variable's name."""
    monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).startswith(f"{ENV_PREFIX}{name}: {sentence}")


def test_time_outs_and_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write must end before another operator may take the Lease; without the Lease there is no such rule."""
    fitting = "lease: {durationSeconds: 5, renewDeadlineSeconds: 2, retrySeconds: 1}\naws: "
    assert loaded(tmp_path, fitting + "{connectTimeoutSeconds: 1, readTimeoutSeconds: 2}").lease.duration_seconds == 5
    assert loaded(tmp_path, "lease: {enabled: false, durationSeconds: 12}").aws.read_timeout_seconds == 15
    monkeypatch.setenv("TRUSTBIND_OPERATOR_LEASE__DURATION_SECONDS", "15")
    with pytest.raises(SettingsError, match=r"^aws\.connectTimeoutSeconds and aws\.read"):
        load()


def test_the_webhooks_variables_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both halves may run with one environment."""
    monkeypatch.setenv("TRUSTBIND_WEBHOOK_SERVER__PORT", "1")
    assert load().server.port == 8080


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "server:\n", "server: {port: }"])
def test_empty_is_the_default(tmp_path: Path, text: str) -> None:
    """A value that is left empty in YAML is as if it were not there."""
    assert loaded(tmp_path, text) == load()


def test_every_setting_is_documented() -> None:
    """Each has a text that says its default."""
    for section in Settings.model_fields.values():
        assert isinstance(section.annotation, type)
        assert issubclass(section.annotation, pydantic.BaseModel)
        for name, field in section.annotation.model_fields.items():
            assert "efault" in (field.description or ""), name


def test_scope_of_annotated_service_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Namespaces by name and selectors, from the file as from a variable."""
    monkeypatch.setenv("TRUSTBIND_OPERATOR_BIND_ANNOTATED__SERVICE_ACCOUNT_SELECTOR", "{matchLabels: {tier: web}}")

    scope = loaded(
        tmp_path,
        "bindAnnotated: {mode: Bind, namespaces: [team-a], namespaceSelector: {matchLabels: {bind: 'yes'}}}\n",
    ).bind_annotated.scope()

    assert scope == AnnotatedScope(
        frozenset({"team-a"}), LabelSelector((("bind", "yes"),)), LabelSelector((("tier", "web"),))
    )


def test_lists_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of namespaces stand between commas; what is no name is refused there, too."""
    monkeypatch.setenv("TRUSTBIND_OPERATOR_PODS__EXCLUDED_NAMESPACES", "kube-system")
    monkeypatch.setenv("TRUSTBIND_OPERATOR_BIND_ANNOTATED__NAMESPACES", "team-a, team-b,")

    settings = load()

    assert settings.pods.excluded_namespaces == ("kube-system",)
    assert settings.bind_annotated.namespaces == ("team-a", "team-b")
    monkeypatch.setenv("TRUSTBIND_OPERATOR_BIND_ANNOTATED__NAMESPACES", "team-a,Team B")
    with pytest.raises(SettingsError, match="BIND_ANNOTATED__NAMESPACES: 'Team B' is not the name of a namespace"):
        load()
