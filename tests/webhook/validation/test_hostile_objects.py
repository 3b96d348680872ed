"""Objects as long as a review can be: refused with a sentence, and never compared letter by letter."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest

from trustbind.identity.arns import RoleArn
from trustbind_webhook.admission import review as reviews
from trustbind_webhook.injection import containers
from trustbind_webhook.validation.rules import Knowledge, Request, validate

LONG = 100_000
ROLE = "arn:aws:iam::444455556666:role/x"


def rolebinding(**changes: Any) -> dict[str, Any]:
    """Return an object with another spec, or further members."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": "b"},
        "spec": {"roleArn": ROLE, "serviceAccountNames": ["a"]},
        **changes,
    }


def spec(**content: Any) -> dict[str, Any]:
    """Return an object with a changed spec."""
    return rolebinding(spec={"roleArn": ROLE, "serviceAccountNames": ["a"], **content})


OBJECTS = {
    "a field": rolebinding(spec={"a" * LONG: 1}),
    "a member": rolebinding(**{"spex" * LONG: 1}),
    "the kind": rolebinding(kind="R" * LONG),
    "the method": spec(method="WebIdentit" * LONG),
    "an operator": spec(conditions=[{"operator": "StringEqual" * LONG, "key": "aws:x", "values": ["a"]}]),
    "an account": spec(serviceAccountNames=["a." * LONG]),
    "a profile": spec(profile="p" * LONG),
    "a field that looks like a place": rolebinding(spec={"a - at `$." + "b " * LONG: 1}),
    "an ARN": spec(roleArn="arn:aws-" + "a" * LONG + ":iam::444455556666:role/x"),
    "a selector": rolebinding(spec={"roleArn": ROLE, "serviceAccountSelector": {"matchLabelz" * LONG: {}}}),
}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the lengths of all texts that are compared by letters."""
    lengths: list[int] = []
    real = difflib.get_close_matches

    def noted(word: str, possibilities: Any, n: int = 3) -> list[str]:
        names = list(possibilities)
        lengths.extend(map(len, [word, *names]))
        return real(word, names, n)

    monkeypatch.setattr(difflib, "get_close_matches", noted)
    return lengths


@pytest.mark.parametrize("manifest", OBJECTS.values(), ids=OBJECTS.keys())
def test_a_long_name_is_not_compared(manifest: dict[str, Any], compared: list[int]) -> None:
    """The answer is a denial of bounded length, one that the log can hold too."""
    body = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": "rolebindings"},
            "namespace": "team",
            "operation": "CREATE",
            "object": manifest,
        },
    }
    verdict = validate(reviews.parse_object(json.dumps(body).encode()), Knowledge())
    assert not verdict.allowed
    assert 0 < len(verdict.message) <= 2048
    assert max(compared, default=0) <= 100


def test_a_short_name_still_gets_a_hint(compared: list[int]) -> None:
    """The bound is far above what people write."""
    request = Request("u", "trustbind.dev", "rolebindings", "", "team", "CREATE", object=spec(profil="x"))
    assert "did you mean profile?" in validate(request, Knowledge()).message
    assert compared


def test_what_is_remembered_is_short() -> None:
    """Caches have room for thousands of texts, so that no text may be as long as a review."""
    containers._clean("/" + "a" * LONG)
    before = containers._remembered.cache_info().currsize
    for number in range(10):
        assert containers._clean(f"/{number}/" + "a" * LONG) == f"/{number}/" + "a" * LONG
    assert containers._remembered.cache_info().currsize == before
    assert containers._clean("/a//b/") == "/a/b"
    RoleArn.parse.cache_clear()
    with pytest.raises(ValueError, match="has at most 2048 characters"):
        RoleArn.parse("arn:aws-" + "a" * LONG + ":iam::444455556666:role/x")
    assert RoleArn.parse.cache_info().currsize == 0
