"""The reference documentation is made of the code, and is never older than it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from types import ModuleType

import pytest

from trustbind.reasons import SkipReason, TrustReason

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "reference.py"
PACKAGES = ("core", "aws", "webhook", "operator", "cli")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("reference", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the pages that the tool takes for the real ones."""
    copied = tmp_path / "docs" / "reference"
    shutil.copytree(ROOT / "docs" / "reference", copied)
    monkeypatch.setattr(tool, "TARGET", copied)
    made = tool.pages()
    monkeypatch.setattr(tool, "pages", lambda: made)
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    return copied


def test_pages_are_up_to_date() -> None:
    """As CI asks, and as it is told what to do."""
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_difference_is_told_and_mended(tool: ModuleType, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name: changed, missing, and left over."""
    (elsewhere / "metrics.md").write_text("old")
    (elsewhere / "cli.md").unlink()
    (elsewhere / "left.md").write_text("over")

    assert tool.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "docs/reference/cli.md differs",
        "docs/reference/left.md should not be there",
        "docs/reference/metrics.md differs",
        "run: python tools/reference.py",
    ]
    assert tool.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "docs/reference/cli.md written",
        "docs/reference/left.md removed",
        "docs/reference/metrics.md written",
    ]
    assert tool.main(["--check"]) == 0


def test_unknown_arguments(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of usage."""
    assert tool.main(["--chek"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize("reason", [*TrustReason, *SkipReason], ids=str)
def test_every_reason_has_meaning_and_remedy(tool: ModuleType, reason: StrEnum) -> None:
    """Whoever meets one has to learn what it means and what to do."""
    text = tool.docstrings(type(reason)).get(reason.name, "")
    meaning, told, remedy = text.partition(" Remedy: ")
    assert meaning.endswith("."), "the meaning is a sentence"
    assert told, 'there is a "Remedy:"'
    assert remedy.endswith(".")


def test_reason_without_a_remedy(tool: ModuleType) -> None:
    """The tool refuses to write a page that lacks one."""

    class Reason(StrEnum):
        GOOD = "Good"
        """It is so. Remedy: none."""
        BAD = "Bad"
        """It is so."""

    with pytest.raises(ValueError, match=r"Reason\.BAD needs a docstring"):
        list(tool.explained(Reason))


@pytest.mark.parametrize("reason", [*TrustReason, *SkipReason], ids=str)
def test_every_reason_is_used(reason: StrEnum) -> None:
    """One that nothing gives is a defect of the documentation."""
    name = re.compile(rf"\b{type(reason).__name__}\.{reason.name}\b")
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert any(name.search(path.read_text(encoding="utf-8")) for path in sources)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("conditions.md", ["### TrustPolicyFull", "### InternalError", "NearLimit", "raise the quota"]),
        ("settings-operator.md", ["TRUSTBIND_OPERATOR_PACE__RESYNC_SECONDS", "### pace.resyncSeconds", "`600`"]),
        ("settings-webhook.md", ["### server.port", "`8443`", "TRUSTBIND_WEBHOOK_LOG__LEVEL"]),
        ("metrics.md", ["trustbind_operator_bindings` | gauge | ready, reason", "trustbind_webhook_admissions_total"]),
        ("custom-resources.md", ["`spec.roleArn`", "`spec.conditions[].operator`", "goes only with method AssumeRole"]),
        ("annotations.md", ["eks.amazonaws.com/role-arn", "trustbind.dev/inject", "trustbind.dev/namespaces"]),
        ("cli.md", ["## trustbind preview trust", "--role-arn", "## trustbind operator"]),
    ],
)
def test_pages_hold_what_is_looked_for(page: str, words: list[str]) -> None:
    """A page that is made of nothing would be up to date as well."""
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert [word for word in words if word not in text] == []


def test_keys_that_nobody_explains_are_found(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new annotation in the code needs a line here."""
    found = tool.keys_in_code() | {"trustbind.dev/new"}
    monkeypatch.setattr(tool, "keys_in_code", lambda: found)
    with pytest.raises(ValueError, match=r"than the code has: trustbind\.dev/new$"):
        tool.keys()
