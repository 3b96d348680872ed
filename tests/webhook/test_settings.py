"""Settings: from file and environment, frozen, and a sentence for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from trustbind_webhook.settings import ENV_PREFIX, Settings, SettingsError, load


def loaded(tmp_path: Path, text: str) -> Settings:
    """Return the settings of a file with ``text``."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(str(path))


def test_defaults_without_file_or_environment() -> None:
    """Everything has a default; ports are those of the chart."""
    settings = load()
    assert (settings.server.port, settings.server.metrics_port) == (8443, 9443)
    assert settings.injection_settings().annotation_prefix == "eks.amazonaws.com"
    assert settings.injection_settings().token_expiration_seconds == 86400
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        settings.server.port = 1


def test_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Camel case in the file, capitals in the environment, the same setting."""
    monkeypatch.setenv("TRUSTBIND_WEBHOOK_SERVER__METRICS_PORT", "7")
    monkeypatch.setenv("TRUSTBIND_WEBHOOK_LOOKUP__MANIFESTS", "a.yaml, b")
    monkeypatch.setenv("TRUSTBIND_WEBHOOK_INJECTION__STS_REGIONAL_ENDPOINTS", "true")
    settings = loaded(
        tmp_path,
        "server: {metricsPort: 1, port: 2, host: }\nlookup: {source: files, manifests: [c]}\n"
        "injection: {tokenExpirationSeconds: 3600, annotationPrefix: aws.example.com}\nlog:\n",
    )
    assert (settings.server.metrics_port, settings.server.port, settings.server.host) == (7, 2, "")
    assert settings.lookup.manifests == ("a.yaml", "b")
    injection = settings.injection_settings()
    assert injection.sts_regional_endpoints
    assert injection.keys.role_arn == "aws.example.com/role-arn"


def test_what_the_kubelet_adds_for_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named trustbind-webhook gives the pod variables that begin like ours."""
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "443",
        "SERVICE_PORT_HTTPS": "443",
        "PORT": "tcp://10.0.0.1:443",
        "PORT_443_TCP": "tcp://10.0.0.1:443",
        "PORT_443_TCP_PROTO": "tcp",
        "PORT_443_TCP_PORT": "443",
        "PORT_443_TCP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(ENV_PREFIX + name, value)
    assert load().server.port == 8443


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("server: {prt: 1}", "config.yaml: server.prt: there is no such setting; did you mean port?"),
        ("injecton: {}", "config.yaml: injecton: there is no such setting; did you mean injection?"),
        ("server: {metrics_port: 1}", "server.metrics_port: there is no such setting; did you mean metricsPort?"),
        ("server: 3", "server: a mapping of settings is needed"),
        ("- a", "one mapping of settings is needed"),
        ("{}\n---\n{}", "one mapping of settings is needed"),
        ("server: {port: 1, port: 2}", "line 1: the key 'port' stands twice"),
        ("server: [", "not YAML"),
        ("server: {port: 70000}", "server.port: input should be less than or equal to 65535"),
        ("server: {port: x}", "server.port: input should be a valid integer"),
        (
            "server: {maxConnectionsPerAddress: 600}",
            "server.maxConnectionsPerAddress: input should be greater than or equal to 1024",
        ),
        (
            "server: {maxConnections: 1024, maxConnectionsPerAddress: 1100}",
            "server: maxConnectionsPerAddress must be at most maxConnections",
        ),
        ("server: {drainSeconds: -1}", "server.drainSeconds: "),
        ("injection: {annotationPrefix: Eks/x}", "injection.annotationPrefix: 'Eks/x' is not a DNS name"),
        ("injection: {audience: 'a b'}", "injection.audience: 'a b' is not an audience"),
        ("injection: {mountPath: var/run}", "injection.mountPath: 'var/run' is not an absolute path"),
        ("injection: {mountPath: /a/../b}", "injection.mountPath: '/a/../b' is not an absolute path"),
        ("injection: {mountPath: /}", "injection.mountPath: '/' is not an absolute path"),
        ("injection: {tokenExpirationSeconds: 599}", "tokenExpirationSeconds: 599 is outside of 600 to 86400 seconds"),
        ("injection: {region: Frankfurt}", "injection.region: 'Frankfurt' is not a region"),
        ("injection: {cluster: a b}", "injection.cluster: 'a b' does not fit into a session name"),
        (
            "validation: {issuer: 'http://x.example.com'}",
            "validation.issuer: 'http://x.example.com' is not an issuer URL",
        ),
        ("lookup: {source: files}", "lookup: source files needs at least one path in manifests"),
        ("lookup: {manifests: {}}", "lookup.manifests: a list of paths is needed"),
        ("lookup: {source: magic}", "lookup.source: input should be 'cluster' or 'files'"),
        ("lookup: {timeoutSeconds: 60}", "lookup.timeoutSeconds: "),
        ("log: {level: loud}", "log.level: input should be 'debug', 'info', 'warning' or 'error'"),
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
        ("SERVER_PORT", "1", "there is no such setting; did you mean TRUSTBIND_WEBHOOK_SERVER__PORT?"),
        ("SERVER", "{}", "there is no such setting"),
        ("SERVER__PORT", "x", "input should be a valid integer"),
        ("INJECTION__REGION", "x", "'x' is not a region"),
    ],
)
def test_a_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str) -> None:
    """What is wrong in the environment is told by the variable's name."""
    monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).startswith(f"{ENV_PREFIX}{name}: {sentence}")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """One sentence a line, so that a file is mended in one go."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, "server: {port: -1}\nlog: {level: 3, format: xml}")
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """Missing, or not text."""
    with pytest.raises(SettingsError, match="the settings cannot be read: No such file"):
        load(str(tmp_path / "missing.yaml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(str(tmp_path / "binary"))


def test_every_setting_is_documented() -> None:
    """Each has a text that says its default."""
    for section in Settings.model_fields.values():
        assert isinstance(section.annotation, type)
        assert issubclass(section.annotation, pydantic.BaseModel)
        for name, field in section.annotation.model_fields.items():
            assert "efault" in (field.description or ""), name
