"""GitHub's two forms of subjects, in warnings and in grants. The cases are in tests/data/github-subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import yaml

from trustbind.api.federated_subjects import FederatedSubjects, too_wide, uncovered
from trustbind.api.github_subjects import SubjectForm, form_of, is_github
from trustbind.identity.subjects import Issuer

GITHUB: Final = Issuer.parse("https://token.actions.githubusercontent.com")
CASES: Final = [
    pytest.param(yaml.safe_load(path.read_text(encoding="utf-8")), id=path.stem)
    for path in sorted((Path(__file__).parents[2] / "data" / "github-subjects").glob("*.yaml"))
]


def entry(*patterns: str) -> list[FederatedSubjects]:
    """Return an entry of a binding or a grant."""
    return [FederatedSubjects(GITHUB, "sts.amazonaws.com", patterns)]


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, object]) -> None:
    """A pattern that strangers can meet is warned of, and one form covers the other only where it says so literally."""
    assert case["source"]
    if "pattern" in case:
        assert case.keys() == {"source", "pattern", "danger"}
        assert too_wide(entry(str(case["pattern"]))) == ([case["danger"]] if case["danger"] else [])
        return
    assert case.keys() == {"source", "granted", "wanted", "lacks"}
    assert isinstance(case["granted"], list)
    assert isinstance(case["wanted"], list)
    lacking = uncovered(entry(*case["wanted"]), entry(*case["granted"]))
    if case["lacks"] is None:
        assert lacking == ""
    else:
        first = f"the federated subject {case['wanted'][0]} of {GITHUB} "
        assert lacking == first + str(case["lacks"])


@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        ("repo:octocat@123456/my-repo@456789:ref:refs/heads/main", SubjectForm.IMMUTABLE),
        ("repo:octocat@1*", SubjectForm.IMMUTABLE),
        ("repo:octocat/my-repo:ref:refs/heads/feature@2", SubjectForm.NAMES),
        ("repo:octocat*@1/x", None),
        ("repo:octocat", None),
        ("repository_owner:octocat:x@1/y", None),
        ("", None),
    ],
)
def test_form(pattern: str, form: SubjectForm | None) -> None:
    """The fixed beginning of a pattern tells its form, whatever a branch is called."""
    assert form_of(pattern) is form


@pytest.mark.parametrize(
    ("host_path", "is_theirs"),
    [
        ("token.actions.githubusercontent.com", True),
        ("token.actions.githubusercontent.com/octo-enterprise", True),
        ("token.actions.octo.ghe.com", True),
        ("token.actions.githubusercontent.com.example.com", False),
        ("vstoken.actions.githubusercontent.com", False),
        ("gitlab.com", False),
    ],
)
def test_issuers_of_github(host_path: str, is_theirs: bool) -> None:
    """An enterprise's own issuer is GitHub's, too."""
    assert is_github(Issuer(f"https://{host_path}")) is is_theirs
