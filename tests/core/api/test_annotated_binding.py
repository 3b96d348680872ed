"""The binding that an annotated service account gets."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import OTHER_ROLE, ROLE
from trustbind.api.annotated_binding import (
    AnnotatedScope,
    Step,
    binding_name,
    gives_way,
    is_generated,
    next_step,
    takes_over,
    wanted_binding,
)
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.label_selector import LabelSelector
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import BindingRef, DeletionPolicy, Method, RoleBinding, Source
from trustbind.identity.arns import RoleArn

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


def generated(**values: Any) -> RoleBinding:
    """Return the binding that the operator makes of an annotation, as it reads it back."""
    binding = wanted(role_arn=str(ROLE))
    assert binding is not None
    return replace(binding, **values)


def own(**values: Any) -> RoleBinding:
    """Return a user's own binding for the same."""
    return replace(RoleBinding(BindingRef("team-a", "mine"), ROLE, service_account_names=("app",)), **values)


def test_generated() -> None:
    """A binding is one by label, name and service account together, with the profile and the method that it gets."""
    assert is_generated(generated())
    for change in (
        {"is_marked": False},
        {"ref": BindingRef("team-a", "annotated-other")},
        {"service_account_names": ("app", "other")},
        {"service_account_names": (), "selector": LabelSelector()},
        {"profile": "second"},
        {"method": Method.ASSUME_ROLE, "source": Source(OTHER_ROLE)},
    ):
        assert not is_generated(generated(**change)), change
    assert not is_generated(own())
    assert is_generated(generated(deletion_policy=DeletionPolicy.RETAIN, audience="else.example.com"))


@pytest.mark.parametrize("value", [{MANAGED_LABEL: True}, {MANAGED_LABEL: "false"}, {}, None, [MANAGED_LABEL], "x"])
def test_label_that_marks_nothing(value: Any) -> None:
    """Only the text true marks a binding, and labels of any other form do no harm."""
    body = wanted_binding("team-a", "app", "uid-1", ANNOTATED, KEYS)
    assert body is not None

    assert not RoleBinding.parse({**body, "metadata": {**body["metadata"], "labels": value}}).is_marked


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"audience": "else.example.com"}, True),
        ({"service_account_names": (), "selector": LabelSelector()}, True),
        ({"role": OTHER_ROLE}, False),
        ({"profile": "second"}, False),
        ({"method": Method.ASSUME_ROLE, "source": Source(OTHER_ROLE)}, False),
        ({"method": Method.POD_IDENTITY}, False),
    ],
)
def test_whom_a_generated_binding_gives_way_to(change: dict[str, Any], expected: bool) -> None:
    """To a user's own binding that gives the same role in the same way; never the other way round."""
    binding = own(**change)

    assert gives_way(generated(), binding) is expected
    assert takes_over(binding, ROLE, "app", {}) is expected
    assert not gives_way(binding, generated())
    assert not gives_way(generated(), generated())
    assert not gives_way(binding, own())


def test_what_does_not_take_over() -> None:
    """A binding of another service account, one that is being deleted, and one that was generated."""
    assert not takes_over(own(), ROLE, "other", {})
    assert not takes_over(own(is_deleting=True), ROLE, "app", {})
    assert not takes_over(generated(), ROLE, "app", {})
    by_label = own(service_account_names=(), selector=LabelSelector((("tier", "web"),)))
    assert takes_over(by_label, ROLE, "app", {"tier": "web"})
    assert not takes_over(by_label, ROLE, "app", {})


@pytest.mark.parametrize(
    ("role", "found", "in_scope", "successors", "step"),
    [
        (None, None, True, [], Step.NOTHING),
        (None, ROLE, True, [], Step.DELETE),
        (None, ROLE, False, [], Step.DELETE),
        (ROLE, None, True, [], Step.CREATE),
        (ROLE, None, False, [], Step.NOTHING),
        (ROLE, None, True, [False], Step.NOTHING),
        (ROLE, None, True, [True], Step.NOTHING),
        (ROLE, ROLE, True, [], Step.UPDATE),
        (ROLE, ROLE, False, [], Step.UPDATE),
        (ROLE, ROLE, True, [False], Step.UPDATE),
        (ROLE, ROLE, True, [False, True], Step.DELETE),
        (ROLE, OTHER_ROLE, True, [], Step.DELETE),
        (ROLE, OTHER_ROLE, False, [False], Step.DELETE),
    ],
)
def test_next_step(
    role: RoleArn | None, found: RoleArn | None, in_scope: bool, successors: list[bool], step: Step
) -> None:
    """The scope decides what is made; the annotation, or a Ready successor, what goes."""
    assert next_step(role, found, in_scope=in_scope, successors=successors) is step


def test_scope() -> None:
    """Names and selector of namespaces add up, no names and no selector mean all; service accounts are narrowed."""
    web = LabelSelector((("tier", "web"),))
    assert AnnotatedScope().covers("team-a", {}, {})
    assert AnnotatedScope(frozenset({"team-a"})).covers("team-a", {}, {})
    assert not AnnotatedScope(frozenset({"team-a"})).covers("team-b", {}, {})
    assert AnnotatedScope(frozenset({"team-a"}), web).covers("team-b", {"tier": "web"}, {})
    assert not AnnotatedScope(namespace_selector=web).covers("team-a", {}, {"tier": "web"})
    assert AnnotatedScope(service_account_selector=web).covers("team-a", {}, {"tier": "web"})
    assert not AnnotatedScope(frozenset({"team-a"}), None, web).covers("team-a", {"tier": "web"}, {})
