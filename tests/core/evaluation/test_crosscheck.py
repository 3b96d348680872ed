"""What ``make crosscheck`` asks an independent evaluator, and when it fails; the evaluator itself is not run here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trustbind.evaluation import Answer
from trustbind.identity.arns import RoleArn
from trustbind.policy.document_rules import Severity, findings
from trustbind.policy.trust_document import TrustDocument

TOOL = Path(__file__).parents[3] / "tools" / "crosscheck" / "crosscheck.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return the tool as a module."""
    spec = importlib.util.spec_from_file_location("crosscheck", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["crosscheck"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def engine(answers: Callable[[Any], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a stand-in for the start of the engine."""

    def run(*_: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        lines = options["input"].splitlines()
        return subprocess.CompletedProcess([], 0, "".join(f"{answers(line)}\n" for line in lines), "")

    return run


def test_questions(tool: ModuleType) -> None:
    """They are the same for a seed, of documents that IAM takes, and neither all allowed nor all denied."""
    questions = [asked for seed in range(60) for asked in tool.drawn(seed)]

    assert questions == [asked for seed in range(60) for asked in tool.drawn(seed)]
    role = RoleArn.parse(tool.ROLE)
    for asked in questions:
        found = findings(TrustDocument.parse(asked.document), role)
        refused = {finding.rule.name for finding in found if finding.severity is Severity.REFUSED}
        assert refused <= {"SharedProviderClaim"}, asked.document
    answers = {asked.decide().answer for asked in questions}
    assert answers == {Answer.ALLOW, Answer.DENY}


def test_known_differences(tool: ModuleType) -> None:
    """Each has a name of its own, two different answers, and says who is right."""
    known = tool.known_differences()

    assert len({each.name for each in known}) == len(known) > 0
    for each in known:
        assert (each.ours == "Allow") != (each.theirs == "Allowed")
        assert each.right.startswith(("trustbind", "Not known"))


def test_agreement(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where both agree on every question, it is done."""
    by_line = {asked.line(): asked.decide() for seed in range(5) for asked in tool.drawn(seed)}
    words = {line: "Allowed" if decision.allowed else "ImplicitlyDenied" for line, decision in by_line.items()}
    monkeypatch.setattr(tool.subprocess, "run", engine(lambda line: words[line]))

    assert tool.main(["folder", "--documents", "5"]) == 0
    assert "    0 differences that are not known" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["Allowed", "Failed: Error"])
def test_difference(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    """A difference that is not known fails, with the seed and the question; so does a question that is not answered."""
    monkeypatch.setattr(tool.subprocess, "run", engine(lambda _: answer))

    assert tool.main(["folder", "--first", "7", "--documents", "5"]) == 1
    printed = capsys.readouterr().out
    assert f"seed 7: trustbind says Deny, the engine {answer}" in printed


def test_engine_that_stops(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few answers are no agreement."""
    monkeypatch.setattr(
        tool.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "Error: no module")
    )

    assert tool.main(["folder", "--documents", "1"]) == 1
