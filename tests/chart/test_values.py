"""Which values are taken, and what is said about the others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.charts import CHART, DATA, Helm, HelmError

GOOD = sorted((DATA / "values").glob("*.yaml"))
BAD = sorted((DATA / "bad").glob("*.yaml"))


@pytest.mark.parametrize("values", BAD, ids=lambda path: path.stem)
def test_wrong_values_are_refused(helm: Helm, values: Path) -> None:
    """Every file of data/chart/bad is refused by the schema, in a message that names the value."""
    wanted = values.read_text().splitlines()[0].removeprefix("# says: ")
    with pytest.raises(HelmError) as refused:
        helm.template("--values", values)
    assert "values don't meet the specifications of the schema" in str(refused.value)
    assert re.search(wanted, str(refused.value)), str(refused.value)


@pytest.mark.parametrize("values", GOOD, ids=lambda path: path.stem)
def test_lint_is_silent(helm: Helm, values: Path) -> None:
    """Helm's own linter, made strict, has nothing to say about any of the files of data/chart/values."""
    said = helm.run("lint", "--strict", CHART, "--values", values)
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_there_are_enough_cases() -> None:
    """The folders are found."""
    assert len(GOOD) >= 12
    assert len(BAD) >= 20


def _objects(schema: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if schema.get("type") == "object":
        yield at, schema
    for key in ("properties", "definitions"):
        for name, below in schema.get(key, {}).items():
            yield from _objects(below, f"{at}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], f"{at}[]")


def test_nothing_unknown_is_taken_silently() -> None:
    """Every object of the schema refuses names that it does not list; maps of the user's own have typed values."""
    free = {
        # What Helm hands to every chart that is a part of another one.
        "values.global",
        # Kubernetes' own types, which the API server checks.
        "values.object",
    }
    schema = json.loads((CHART / "values.schema.json").read_text())
    loose = [
        at
        for at, found in _objects(schema, "values")
        if found.get("additionalProperties", True) is True and at not in free
    ]
    assert loose == []
