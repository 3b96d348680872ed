"""Roles that were meant for a pod and are not read. The cases are in tests/data/near-misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.near_misses import near_role_keys, role_sentences, value_hint
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn

WANTED: Final = "eks.amazonaws.com/role-arn"
CASES: Final = [
    pytest.param(yaml.safe_load(path.read_text(encoding="utf-8")), id=path.stem)
    for path in sorted((Path(__file__).parents[2] / "data" / "near-misses").glob("*.yaml"))
]


def texts(raw: dict[str, Any] | None) -> tuple[dict[str, str], dict[str, str]]:
    """Return annotations and labels of a case's object."""
    found = raw or {}
    assert found.keys() <= {"annotations", "labels"}
    return found.get("annotations", {}), found.get("labels", {})


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The place, the key or the value is named, with what to do; keys of others are not."""
    assert case["source"]
    if "value" in case:
        assert case.keys() == {"source", "value", "hint"}
        with pytest.raises(InvalidValueError):
            RoleArn.parse(case["value"])
        assert value_hint(case["value"]) == case["hint"]
        return
    assert case.keys() <= {"source", "prefix", "pod", "serviceAccount", "says"}
    found = role_sentences(
        "n/a",
        f"{case.get('prefix', 'eks.amazonaws.com')}/role-arn",
        pod=texts(case.get("pod")),
        service_account=texts(case.get("serviceAccount")),
    )
    assert found == case["says"]


@given(st.lists(st.text(max_size=400), max_size=20))
def test_any_keys(keys: list[str]) -> None:
    """Whatever keys an object has, few are named, each of a bounded length, and the right one is none of them."""
    found = near_role_keys([*keys, WANTED, *(f"x{n}.example.com/role-arn" for n in range(9))], WANTED)

    assert 1 <= len(found) <= 3
    assert WANTED not in found
    assert all(len(key) <= 317 for key in found)


@given(st.text(max_size=200))
def test_any_value(text: str) -> None:
    """A hint is one clause of one line."""
    hint = value_hint(text)

    assert hint == "" or hint.startswith("; ")
    assert "\n" not in hint.replace(text, "")
