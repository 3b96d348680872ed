"""docs/security.md names tests for its promises; each of them exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = [
    [cell.strip() for cell in row.strip("|").split(" | ")]
    for table in re.findall(
        r"^\| promise \| attacker \| mechanism \| test \|\n\|[ |-]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE
    )
    for row in table.splitlines()
]
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


@functools.cache
def _tests_in(path: Path) -> frozenset[str]:
    """Return the tests of a file as pytest names them, such as ``TestRequire::test_x``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


@pytest.mark.parametrize("name", NAMED)
def test_the_test_exists(name: str) -> None:
    """A test that is renamed or removed is missed here."""
    path, _, test = name.partition("::")
    assert test in _tests_in(ROOT / path)


def test_every_promise_has_attacker_mechanism_and_test() -> None:
    """No cell is empty, and the last one names tests."""
    assert len(PROMISES) > 30
    for promise, attacker, mechanism, tests in PROMISES:
        assert promise.endswith("."), promise
        assert attacker, promise
        assert mechanism.endswith("."), promise
        assert re.fullmatch(r"`tests/[^`]+`(, `tests/[^`]+`)*", tests.removesuffix(" |")), promise


def test_the_way_to_report_names_no_address() -> None:
    """SECURITY.md leads to the repository's own form, and to the page of promises."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in text
    assert "docs/security.md" in text
    assert "@" not in text
