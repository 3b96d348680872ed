"""Subjects of other issuers: what a binding and a grant may say, and when one covers the other."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from trustbind.api.federated_subjects import (
    FederatedSubjects,
    RawFederatedSubjects,
    federated_of,
    is_one_issuer,
    too_wide,
    uncovered,
)
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_matches
from trustbind.identity.subjects import Issuer

GITHUB = Issuer.parse("https://token.actions.githubusercontent.com")
GITLAB = Issuer.parse("https://gitlab.example.com")


def of(*subjects: str, issuer: Issuer = GITHUB, audience: str = "sts.amazonaws.com") -> FederatedSubjects:
    """Return an entry."""
    return FederatedSubjects(issuer, audience, subjects)


def raw(*subjects: str, **fields: Any) -> RawFederatedSubjects:
    """Return an entry as it stands in a manifest."""
    return RawFederatedSubjects(**({"issuer": GITHUB.url, "subjects": list(subjects)} | fields))


def test_entries_are_sorted() -> None:
    """The order in which they are written means nothing."""
    one = federated_of([raw("repo:b/*", "repo:a/x"), raw("project_path:a/b", issuer=GITLAB.url)], field="f")
    other = federated_of([raw("project_path:a/b", issuer=GITLAB.url), raw("repo:a/x", "repo:b/*")], field="f")

    assert one == other
    assert one[1] == of("repo:a/x", "repo:b/*")
    assert federated_of(None, field="f") == ()


@pytest.mark.parametrize("subject", ["*", "?", "**?", "", "a\nb", "é", "a" * 256, "repo:${aws:x}"])
def test_bad_subject(subject: str) -> None:
    """What would let in everybody, or cannot be a subject, is refused with its place."""
    with pytest.raises(InvalidValueError) as caught:
        federated_of([raw("repo:a/b"), raw("x", subject, audience="y")], field="spec.federatedSubjects")

    assert caught.value.field == "spec.federatedSubjects[1].subjects[1]"


def test_two_audiences_are_two_entries() -> None:
    """An issuer may stand there once with each audience."""
    assert len(federated_of([raw("a", audience="x"), raw("a", audience="y")], field="f")) == 2
    with pytest.raises(InvalidValueError, match="stands twice"):
        federated_of([raw("a", audience="x"), raw("b", audience="x")], field="f")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("https://oidc.example.com/id/AB", True),
        ("https://oidc.example.com/id/AB/", True),
        ("https://oidc.example.com/id/ab", True),  # IAM's condition keys do not depend on case
        ("https://OIDC.example.com/id/AB", True),
        ("https://oidc.example.com/id/ABC", False),
        ("https://oidc.example.com", False),
    ],
)
def test_one_issuer(text: str, same: bool) -> None:
    """What IAM might take for the same issuer counts as the same."""
    assert is_one_issuer(Issuer.parse("https://oidc.example.com/id/AB"), Issuer.parse(text)) is same


@pytest.mark.parametrize(
    ("granted", "wanted", "covers"),
    [
        ("repo:o/*", "repo:o/r:ref:refs/heads/main", True),
        ("repo:o/*", "repo:o/*", True),
        ("repo:o/*", "repo:o/r?", True),
        ("repo:o/*", "repo:o/", True),
        ("repo:o/*", "repo:other/r", False),
        ("repo:o/*", "repo:o*", False),
        ("repo:o/*", "repo:*/r", False),
        ("repo:o/r", "repo:o/r", True),
        ("repo:o/r", "repo:o/?", False),
        ("repo:o/r", "REPO:o/r", False),
        ("repo:o/?", "repo:o/r", True),
        ("repo:o/?", "repo:o/?", True),
        ("repo:o/?", "repo:o/*", False),
        ("repo:o/??", "repo:o/*", False),
        ("repo:o/?*", "repo:o/*", False),
        ("repo:o/*?", "repo:o/r*", False),  # it would be, but the rule that is simple and never wrong says no
        ("**a**", "xaxbx", True),
        ("a*b", "a*cb", True),
        ("repo:o/r.x", "repo:o/rax", False),
    ],
)
def test_covered(granted: str, wanted: str, covers: bool) -> None:
    """A pattern is covered by one that matches all that it matches."""
    assert (uncovered([of(wanted)], [of(granted)]) == "") is covers


def test_what_is_lacking_is_named() -> None:
    """Issuer and audience have to be the same, entries add up, and the sentence says which subject is lacking."""
    wanted = [of("repo:a/b", "repo:c/d")]

    assert uncovered(wanted, [of("repo:a/*"), of("repo:c/*")]) == ""
    assert uncovered([], []) == ""
    for granted in ([], [of("repo:*", issuer=GITLAB)], [of("repo:*", audience="x")]):
        assert uncovered(wanted, granted) == (
            "the federated subject repo:a/b of https://token.actions.githubusercontent.com "
            "with audience sts.amazonaws.com"
        )
    assert "repo:c/d" in uncovered(wanted, [of("repo:a/b")])


def words(letters: str, longest: int) -> list[str]:
    """Return every word of these letters up to a length."""
    return ["".join(w) for n in range(1, longest + 1) for w in itertools.product(letters, repeat=n)]


def test_covered_means_that_nobody_else_comes_in() -> None:
    """Whoever a covered pattern lets in, the grant's own pattern would let in: all short patterns and subjects."""
    patterns, subjects = words("ab*?", 3), words("ab", 4)
    lets_in = {p: {s for s in subjects if glob_matches(p, s)} for p in patterns}
    covered = [(g, w) for g in patterns for w in patterns if not uncovered([of(w)], [of(g)])]

    assert len(covered) > len(patterns)  # not only each by itself
    assert [(g, w) for g, w in covered if not lets_in[w] <= lets_in[g]] == []


@pytest.mark.parametrize(
    ("issuer", "subject", "said"),
    [
        (GITHUB, "repo:example-org/*", ""),
        (GITHUB, "repo:example-org/shop:*", ""),
        (GITHUB, "repository_owner:example-org", ""),
        (GITHUB, "repo:example-*", "before the repository's owner ends"),
        (GITHUB, "repo:*/shop", "before the repository's owner ends"),
        (GITHUB, "*:main", "begins with a wildcard"),
        (GITLAB, "project_path:*", ""),
        (GITLAB, "?roject", "begins with a wildcard"),
    ],
)
def test_too_wide(issuer: Issuer, subject: str, said: str) -> None:
    """A pattern that strangers can meet is warned of."""
    found = too_wide([of(subject, issuer=issuer)])

    assert len(found) == (said != "")
    assert all(said in sentence and subject in sentence for sentence in found)
