"""The config file of a pod with several roles: its sections' names, and its size in the pod's annotations."""

from __future__ import annotations

import configparser
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trustbind.api.labels import CONFIG_ANNOTATION
from trustbind.api.role_binding import RoleBinding
from trustbind.reasons import SkipReason
from trustbind_webhook.admission import review as reviews
from trustbind_webhook.injection.decision import MAX_ANNOTATION_BYTES, Account, Inject, InjectionSettings, Skip, decide
from trustbind_webhook.injection.json_patch import applied, patch
from trustbind_webhook.injection.pod import pod_of

ROLE = "arn:aws:iam::444455556666:role"
SOURCE = {"method": "AssumeRole", "source": {"roleArn": "arn:aws:iam::111122223333:role/base"}}
API_SERVER_LIMIT = 256 * 1024


def binding(name: str, **spec: Any) -> RoleBinding:
    """Return a binding of the account ``app``."""
    return RoleBinding.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"roleArn": f"{ROLE}/{name}", "serviceAccountNames": ["app"], **spec},
        }
    )


def many(count: int) -> list[RoleBinding]:
    """Return bindings whose sections take some 300 bytes each."""
    return [binding(f"b{n}", profile=f"p{n}" + "x" * 50, roleArn=f"{ROLE}/{'y' * 200}/r{n}") for n in range(count)]


def pod(**annotations: str) -> dict[str, Any]:
    """Return a pod of the account."""
    metadata: dict[str, Any] = {"name": "p"}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": {"serviceAccountName": "app", "containers": [{"name": "c"}]}}


def outcome_of(manifest: dict[str, Any], bindings: list[RoleBinding]) -> Inject | Skip:
    """Return the decision."""
    return decide(pod_of(manifest), Account("team", "app"), bindings, InjectionSettings(), namespace="team", unique="u")


def annotation_bytes(manifest: dict[str, Any]) -> int:
    """Return what the API server compares with its limit."""
    return sum(len((k + v).encode()) for k, v in manifest["metadata"].get("annotations", {}).items())


def test_a_config_file_that_does_not_fit_is_not_added() -> None:
    """The API server would refuse the pod; so the pod is let through as it is, with a reason and a warning."""
    outcome = outcome_of(pod(), many(700))
    assert isinstance(outcome, Skip)
    assert outcome.reason is SkipReason.CONFIG_TOO_LARGE
    assert "the AWS config file for 700 profiles" in outcome.message
    review = reviews.Review("u", "team", pod_of(pod()))
    response = json.loads(reviews.allow(review, outcome))["response"]
    assert (response["allowed"], "patch" in response) == (True, False)
    assert response["auditAnnotations"]["reason"] == "ConfigTooLarge"
    assert response["warnings"][0].startswith("trustbind: the AWS config file for 700 profiles")


@pytest.mark.parametrize("letter", ["a", "ä", "\U0001f600"])
def test_the_pods_own_annotations_count(letter: str) -> None:
    """In bytes, keys and values, as the API server counts them."""
    several = many(3)
    fits = outcome_of(pod(), several)
    assert isinstance(fits, Inject)
    room = MAX_ANNOTATION_BYTES - len(fits.delivery.config) - len(CONFIG_ANNOTATION) - len("note")
    length = room // len(letter.encode())
    outcome = outcome_of(pod(note=letter * length), several)
    assert isinstance(outcome, Inject)
    after = applied(pod(note=letter * length), patch(outcome))
    assert MAX_ANNOTATION_BYTES - 4 < annotation_bytes(after) <= MAX_ANNOTATION_BYTES < API_SERVER_LIMIT
    outcome = outcome_of(pod(note=letter * (length + 1)), several)
    assert isinstance(outcome, Skip)
    assert outcome.reason is SkipReason.CONFIG_TOO_LARGE


@pytest.mark.parametrize(("count", "injected"), [(1000, True), (1001, False)])
def test_a_pod_of_a_thousand_containers_is_the_largest(count: int, injected: bool) -> None:
    """Each container takes a patch; a review has room for a hundred thousand."""
    manifest = pod()
    half = count // 2
    manifest["spec"]["containers"] = [{"name": f"c{n}"} for n in range(half)]
    manifest["spec"]["initContainers"] = [{"name": f"i{n}"} for n in range(count - half)]
    outcome = outcome_of(manifest, many(2))
    assert isinstance(outcome, Inject) == injected
    if isinstance(outcome, Skip):
        assert (outcome.reason, outcome.message[:28]) == (SkipReason.NOT_UNDERSTOOD, "the pod has 1001 containers,")


NAMES = st.one_of(
    st.sampled_from(
        ["default", "a", "trustbind-source-a", "trustbind-source-a-2", "trustbind-source-trustbind-source-a"]
    ),
    st.from_regex(r"(trustbind-source-){0,2}[a-c](-[23])?", fullmatch=True),
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.booleans(), min_size=1, max_size=12))
@example({"a": True, "trustbind-source-a": False})
@example({"a": True, "trustbind-source-a": True, "trustbind-source-a-2": False})
def test_no_two_sections_have_one_name(profiles: dict[str, bool]) -> None:
    """Whatever users call their profiles; each chain begins at a source role that is its own."""
    bindings = [
        binding(f"b{n}", profile=name, **(SOURCE if chained else {}))
        for n, (name, chained) in enumerate(profiles.items())
    ]
    outcome = outcome_of(pod(), bindings)
    assert isinstance(outcome, Inject)
    if not outcome.delivery.config:
        return
    parser = configparser.ConfigParser(default_section="none")
    parser.read_string(outcome.delivery.config)  # refuses a section that stands twice
    sections = {name.removeprefix("profile "): parser[name] for name in parser.sections()}
    assert len(sections) == len(profiles) + sum(profiles.values())
    for name, chained in profiles.items():
        if chained:
            source = sections[sections[name]["source_profile"]]
            assert source["role_arn"] == "arn:aws:iam::111122223333:role/base"
        assert sections[name]["role_arn"].startswith(f"{ROLE}/b")
