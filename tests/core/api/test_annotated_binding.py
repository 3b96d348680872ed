"""The binding that an annotated service account gets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import ROLE
from trustbind.api.annotated_binding import binding_name, wanted_binding
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import RoleBinding

KEYS = AnnotationKeys.under("eks.amazonaws.com")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
ANNOTATED = {"eks.amazonaws.com/role-arn": str(ROLE)}


def wanted(**annotations: str) -> RoleBinding | None:
    """Return what an account with these annotations gets, parsed; underscores stand for dashes."""
    found = {f"eks.amazonaws.com/{key.replace('_', '-')}": value for key, value in annotations.items()}
    body = wanted_binding("team-a", "app", "uid-1", found, KEYS)
    return None if body is None else RoleBinding.parse(body)


def test_whole_object() -> None:
    """It is owned by the account, marked as ours, and says nothing that the annotation does not."""
    assert wanted_binding("team-a", "app", "uid-1", ANNOTATED, KEYS) == {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {
            "name": "annotated-app",
            "namespace": "team-a",
            "labels": {MANAGED_LABEL: "true"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ServiceAccount", "name": "app", "uid": "uid-1", "controller": True}
            ],
        },
        "spec": {"roleArn": str(ROLE), "serviceAccountNames": ["app"], "audience": "sts.amazonaws.com"},
    }


def test_every_annotation() -> None:
    """Role, audience and token life; white space around them is no matter."""
    binding = wanted(
        role_arn=f" {ROLE} ", audience=" my-audience ", token_expiration="3600", sts_regional_endpoints="true"
    )

    assert binding is not None
    assert (binding.role, binding.audience, binding.token_expiration_seconds) == (ROLE, "my-audience", 3600)


@pytest.mark.parametrize(("text", "seconds"), [("1", 600), ("999999", 86400), ("-5", 600), ("soon", None), ("", None)])
def test_token_life_is_clamped_or_left_out(text: str, seconds: int | None) -> None:
    """As the webhook reads it, so that the schema never refuses it."""
    binding = wanted(role_arn=str(ROLE), token_expiration=text)
    assert binding is not None
    assert binding.token_expiration_seconds == seconds


@pytest.mark.parametrize("audience", ["", "a b", "x" * 256, "ä"])
def test_unusable_audience_is_the_default(audience: str) -> None:
    """As the webhook reads it."""
    binding = wanted(role_arn=str(ROLE), audience=audience)
    assert binding is not None
    assert binding.audience == "sts.amazonaws.com"


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"eks.amazonaws.com/role-arn": ""},
        {"eks.amazonaws.com/role-arn": "  "},
        {"eks.amazonaws.com/role-arn": "s3-reader"},
        {"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:user/x"},
        {"other.example.com/role-arn": str(ROLE)},
        ANNOTATED | {"trustbind.dev/inject": "false"},
        ANNOTATED | {"trustbind.dev/inject": " False "},
    ],
)
def test_none(annotations: dict[str, str]) -> None:
    """No annotation, none that can be used, another prefix, or an account that opted out."""
    assert wanted_binding("team-a", "app", "uid-1", annotations, KEYS) is None


def test_opting_in_changes_nothing() -> None:
    """Only a plain no is one."""
    found = ANNOTATED | {"trustbind.dev/inject": "true"}
    assert wanted_binding("team-a", "app", "uid-1", found, KEYS) is not None


def test_prefix() -> None:
    """The prefix is a setting."""
    found = {"aws.example.com/role-arn": str(ROLE)}
    assert wanted_binding("team-a", "app", "uid-1", found, AnnotationKeys.under("aws.example.com")) is not None


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,120}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(lambda parts: ".".join(parts)[:253].rstrip("-."))


@given(names)
def test_name_is_one_that_kubernetes_takes(account: str) -> None:
    """However long the account's is."""
    name = binding_name(account)
    assert len(name) <= 253
    assert NAME.fullmatch(name)


def test_long_names_stay_apart() -> None:
    """Two accounts whose names differ at the end only have two bindings."""
    one, other = binding_name("a" * 252 + "b"), binding_name("a" * 252 + "c")
    assert one != other
    assert len(one) == len(other) == 253
    assert binding_name("a." * 126) != binding_name("a." * 125)
    assert binding_name("a" * 243) == "annotated-" + "a" * 243
