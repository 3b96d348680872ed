"""The loader of settings, for any process: file and environment, and a sentence for what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest

from trustbind_runtime.settings import Port, ProcessSettings, Section, SettingsError, checked, load, settings_config


class Oven(Section):
    """A part."""

    heat_degrees: Annotated[int, checked(lambda n: n % 5 == 0, "is not a multiple of 5")] = 180
    """Degrees. Default 180."""
    port: Port = 1
    """A port. Default 1."""
    mode: Literal["fan", "grill"] = "fan"
    """How. Default fan."""


class Kitchen(ProcessSettings):
    """All of them."""

    model_config = settings_config("KITCHEN_")

    oven: Oven = Oven()


def loaded(tmp_path: Path, text: str) -> Kitchen:
    """Return the settings of a file with ``text``."""
    path = tmp_path / "k.yaml"
    path.write_text(text)
    return load(Kitchen, str(path))


def test_defaults() -> None:
    """Without file and environment; the log is part of every process's settings."""
    settings = load(Kitchen)
    assert (settings.oven.heat_degrees, settings.log.level, settings.log.format) == (180, "info", "json")


def test_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting by itself."""
    monkeypatch.setenv("KITCHEN_OVEN__PORT", "3")
    monkeypatch.setenv("kitchen_log__level", "error")
    settings = loaded(tmp_path, "oven: {heatDegrees: 200, port: 2}\n")
    assert (settings.oven.heat_degrees, settings.oven.port, settings.oven.mode) == (200, 3, "fan")
    assert settings.log.level == "error"


@pytest.mark.parametrize("name", ["KITCHENS_OVEN__PORT", "XKITCHEN_OVEN__PORT", "OVEN__PORT"])
def test_other_variables_are_none_of_ours(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Only what begins with the prefix is."""
    monkeypatch.setenv(name, "nonsense")
    assert load(Kitchen).oven.port == 1


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("SERVICE_HOST", False),
        ("SERVICE_PORT", False),
        ("SERVICE_PORT_WEB", False),
        ("PORT", False),
        ("PORT_8443_TCP", False),
        ("PORT_53_UDP_ADDR", False),
        ("PORT_8443_TCP_X", True),
        ("PORTS", True),
        ("SERVICE", True),
        ("OVEN__PROT", True),
        ("OVEN_PORT", True),
        ("OVEN", True),
    ],
)
def test_unknown_variables(monkeypatch: pytest.MonkeyPatch, name: str, ours: bool) -> None:
    """An unknown name of ours is a mistake; what the kubelet adds for a Service of the prefix's name is none."""
    monkeypatch.setenv(f"KITCHEN_{name}", "1")
    if not ours:
        assert load(Kitchen) == Kitchen()
        return
    with pytest.raises(SettingsError, match=f"^KITCHEN_{name}: there is no such setting"):
        load(Kitchen)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("oven: {heatDegrees: 7}", "oven.heatDegrees: 7 is not a multiple of 5"),
        ("oven: {port: 65536}", "oven.port: input should be less than or equal to 65535"),
        ("oven: {mode: steam}", "oven.mode: input should be 'fan' or 'grill'"),
        ("oven: {mode: [fan]}", "oven.mode: input should be 'fan' or 'grill'"),
        ("oven: {hetDegrees: 5}", "oven.hetDegrees: there is no such setting; did you mean heatDegrees?"),
        ("oven: {heat_degrees: 5}", "there is no such setting; did you mean heatDegrees?"),
        ("oven: hot", "oven: a mapping of settings is needed"),
        ("1: 2", "the key '1' is a number, where a text is needed"),
        ("fridge: {}", "fridge: there is no such setting"),
        ("oven: {port: 1", "not YAML"),
        ("a\n---\nb", "one mapping of settings is needed"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str, sentence: str) -> None:
    """One line, with file and setting."""
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "k.yaml"))
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_variable_is_blamed_rather_than_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what counts."""
    monkeypatch.setenv("KITCHEN_OVEN__PORT", "much")
    with pytest.raises(SettingsError, match=r"^KITCHEN_OVEN__PORT: input should be a valid integer"):
        loaded(tmp_path, "oven: {port: 2}")


def test_everything_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names of both sources together; unusable values together."""
    with pytest.raises(SettingsError) as values:
        loaded(tmp_path, "oven: {port: -1, mode: x, heatDegrees: 1}")
    assert len(str(values.value).splitlines()) == 3
    monkeypatch.setenv("KITCHEN_X", "1")
    with pytest.raises(SettingsError) as names:
        loaded(tmp_path, "oven: {a: 1, b: 1}\nc: 1")
    assert len(str(names.value).splitlines()) == 4


def test_what_is_no_file(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(SettingsError, match="the settings cannot be read: "):
            load(Kitchen, str(path))
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(Kitchen, str(tmp_path / "b"))
