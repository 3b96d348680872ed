"""What ``trustbind lint`` alone finds, each with cases that have it and cases that nearly do.

One file of tests/data/lint is one finding. ``has`` lists cases with it: objects, trust policies by role, its place, and
what the message says. ``nearly`` lists cases without it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trustbind.api.annotations import DEFAULT_PREFIX, AnnotationKeys
from trustbind.api.manifests import Manifest
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.linting.kinds import KINDS
from trustbind.policy.trust_document import TrustDocument
from trustbind_cli.commands.lint.found import Found, Seen, found_in
from trustbind_cli.files.manifests import sort_out

DATA = Path(__file__).parents[2] / "data" / "lint"
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.json"))}
ISSUER = Issuer.parse("https://oidc.example.com")


def _cases(part: str) -> list[Any]:
    return [
        pytest.param(name, case, id=f"{name}: {case['name']}") for name, file in FILES.items() for case in file[part]
    ]


def _found(name: str, case: dict[str, Any]) -> list[Found]:
    objects = sort_out([Manifest("case", 1, body) for body in case.get("objects", [])])
    documents = {
        RoleArn.parse(arn): TrustDocument.parse(json.dumps(document))
        for arn, document in case.get("documents", {}).items()
    }
    seen = Seen(objects, documents, {}, ISSUER, AnnotationKeys.under(DEFAULT_PREFIX), is_whole=False)
    return [each for each in found_in(seen) if each.kind.name == name]


def test_every_finding_has_its_cases() -> None:
    """One file for each finding, and none for anything else; each has both kinds of cases."""
    assert sorted(FILES) == sorted(kind.name for kind in KINDS)
    assert [n for n, file in FILES.items() if file["finding"] != n or not (file["has"] and file["nearly"])] == []


@pytest.mark.parametrize(("name", "case"), _cases("has"))
def test_has_it(name: str, case: dict[str, Any]) -> None:
    """It is found once, at its place, in one line."""
    (found,) = _found(name, case)

    assert (found.place.what, found.statement and found.statement.index + 1) == (case["place"], case["statement"])
    assert case["says"] in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(("name", "case"), _cases("nearly"))
def test_nearly_has_it(name: str, case: dict[str, Any]) -> None:
    """Nothing is found."""
    assert _found(name, case) == []


def test_all_service_accounts_are_known() -> None:
    """In a live cluster, a namespace without service accounts has none, and without RoleGrants nothing is granted."""
    case = FILES["BoundToNobody"]["nearly"][1]
    objects = sort_out([Manifest("case", 1, body) for body in case["objects"]])
    seen = Seen(objects, {}, {}, ISSUER, AnnotationKeys.under(DEFAULT_PREFIX), is_whole=True)

    assert [each.kind.name for each in found_in(seen)] == ["NotGranted", "BoundToNobody"]
