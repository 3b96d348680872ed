"""The table of findings: codes and names are one-to-one, and every finding says what is wrong and what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trustbind.findings import BY_CODE, FINDINGS, FindingKind, FindingSeverity, kind_of_rule
from trustbind.policy.document_rules import RULES, Severity

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
ISSUED = json.loads((ROOT / "tests" / "data" / "finding-codes.json").read_text(encoding="utf-8"))


def test_codes_and_names_are_one_to_one() -> None:
    """No code, and no name, is given twice; the table is in the order of the codes."""
    codes = [kind.code for kind in FINDINGS]

    assert codes == sorted(set(codes))
    assert len({kind.name for kind in FINDINGS}) == len(FINDINGS)
    assert all(re.fullmatch(r"TB[123][0-9]{2}", code) for code in codes)
    assert BY_CODE["TB219"].name == "ProviderOfOtherAccount"


def test_codes_keep_their_meaning() -> None:
    """People search for codes, and silence them in CI: a code that was given once stays, or is never given again."""
    assert {kind.code: kind.name for kind in FINDINGS} == ISSUED


@pytest.mark.parametrize("kind", FINDINGS, ids=lambda kind: kind.code)
def test_finding_explains_itself(kind: FindingKind) -> None:
    """What and remedy are sentences, and the anchor leads to a heading of the page."""
    assert kind.what.endswith(".")
    assert kind.remedy.endswith(".")
    heading = f"### {kind.code} {kind.name}"
    assert f"{heading}\n" in PAGE
    assert kind.anchor.split("#")[1] == heading.removeprefix("### ").lower().replace(" ", "-")


def test_severity_of_rules() -> None:
    """What IAM refuses, and what never applies, is an error; what applies to others than meant is a warning."""
    for rule in RULES:
        expected = FindingSeverity.WARNING if rule.severity is Severity.RISKY else FindingSeverity.ERROR
        assert kind_of_rule(rule).severity is expected
