"""RoleBindingSets as values; what is refused stands in data/manifests/rolebindingset.json (see test_role_binding)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import OTHER_ROLE, ROLE, set_body
from trustbind.api.role_binding import BindingRef, NamespacePattern, RoleBinding
from trustbind.api.role_binding_set import RoleBindingSet, binding_name, must_be_made_anew, owning_set
from trustbind.errors import InvalidValueError
from trustbind.evaluation.wildcards import glob_matches


def test_binding_of_a_namespace() -> None:
    """Each namespace gets the same binding; what is written into the cluster is what is compared."""
    wanted = RoleBindingSet.parse(set_body(waitUntilReady=True))

    for namespace in ("profile-a", "profile-b"):
        manifest = wanted.manifest_in(namespace)
        assert RoleBinding.parse(manifest) == wanted.binding_in(namespace)
        assert wanted.is_as_wanted(RoleBinding.parse(manifest))
        assert manifest["spec"] == {
            "roleArn": str(ROLE),
            "waitUntilReady": True,
            "serviceAccountNames": ["default-editor"],
        }
    assert wanted.ref_in("profile-a") == BindingRef("profile-a", binding_name("profiles"))


def test_owner() -> None:
    """The set owns the binding, so that Kubernetes deletes one with the other."""
    metadata = RoleBindingSet.parse(set_body()).manifest_in("profile-a")["metadata"]

    assert owning_set(metadata) == "uid-profiles"


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {}},
        {"labels": None},
        {"labels": "trustbind.dev/set"},
        {"ownerReferences": []},
        {"ownerReferences": "uid-profiles"},
        {"ownerReferences": ["uid-profiles"]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "RoleBindingSet", "uid": "u", "controller": True}]},
        {"ownerReferences": [{"apiVersion": "trustbind.dev/v1alpha1", "kind": "RoleBindingSet", "uid": "u"}]},
        {
            "ownerReferences": [
                {
                    "apiVersion": "trustbind.dev/v1alpha1",
                    "kind": "RoleBindingSet",
                    "uid": "u" * 65,
                    "controller": True,
                }
            ]
        },
    ],
)
def test_no_owner(change: dict[str, Any]) -> None:
    """Label and controller reference are both needed, and a uid that is none of Kubernetes is not kept."""
    metadata = RoleBindingSet.parse(set_body()).manifest_in("profile-a")["metadata"]

    assert owning_set(metadata | change) == ""


@pytest.mark.parametrize(
    ("labels", "is_selected"),
    [
        ({"profile": "true"}, True),
        ({"profile": "true", "other": "x"}, True),
        ({"profile": "false"}, False),
        ({}, False),
    ],
)
def test_selected_namespaces(labels: dict[str, str], is_selected: bool) -> None:
    """A namespace needs all labels."""
    assert RoleBindingSet.parse(set_body()).selects(labels) is is_selected


@pytest.mark.parametrize(
    "change",
    [{"roleArn": str(OTHER_ROLE)}, {"audience": "vault"}, {"token": {"expirationSeconds": 600}}, {"profile": "p"}],
)
def test_binding_that_differs(change: dict[str, Any]) -> None:
    """A field that the set does not say, or says differently, is seen."""
    wanted = RoleBindingSet.parse(set_body())
    manifest = wanted.manifest_in("profile-a")
    found = RoleBinding.parse(manifest | {"spec": manifest["spec"] | change})

    assert not wanted.is_as_wanted(found)
    assert must_be_made_anew(found, wanted.binding_in("profile-a")) is ("roleArn" in change)


def test_target_role_is_no_reason_to_make_it_anew() -> None:
    """With method PodIdentity, spec.roleArn is the association's role, which cannot be changed; the target's can."""
    one, two = (
        RoleBindingSet.parse(set_body(method="PodIdentity", targetRoleArn=f"{ROLE}-{n}")).binding_in("profile-a")
        for n in (1, 2)
    )

    assert not must_be_made_anew(one, two)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"profile": "a b"}, "spec.template.profile: 'a b' is not a profile name"),
        ({"method": "AssumeRole"}, "spec.template.source: required with method AssumeRole"),
        ({"serviceAccountNames": ["app"]}, "there is spec.serviceAccountNames"),
        ({"federatedSubjects": []}, "spec.template: there is no field `federatedSubjects`"),
    ],
)
def test_place_of_an_error(template: dict[str, Any], says: str) -> None:
    """An error names the field of the set, not that of the binding that would be made."""
    with pytest.raises(InvalidValueError) as caught:
        RoleBindingSet.parse(set_body(**template))
    assert says in str(caught.value)


@pytest.mark.parametrize("wide", ["pro*", "*e", "a*b", "profile-*", "*-a"])
@pytest.mark.parametrize("narrow", ["pro*", "profile-*", "a*b", "a*bb", "aa*b", "*e", "*ee", "x-*-a", "*-a"])
def test_covering_pattern(wide: str, narrow: str) -> None:
    """What covers another matches whatever that matches; the opposite has an example."""
    fills = ["", "a", "b", "e", "ee", "pro", "x-", "-a", "aa", "bb", "0"]
    outer, inner = NamespacePattern(wide, ()), NamespacePattern(narrow, ())
    matched = [narrow.replace("*", fill) for fill in fills]
    assert outer.covers(inner) == all(outer.matches(name) for name in matched)


@pytest.mark.parametrize(
    ("text", "namespace", "does_match"),
    [
        ("profile-*", "profile-a", True),
        ("profile-*", "profile-", True),
        ("profile-*", "profile", False),
        ("profile-*", "my-profile-a", False),
        ("*-dev", "a-dev", True),
        ("*-dev", "a-dev-b", False),
        ("pr-*-dev", "pr-1-dev", True),
        ("pr-*-dev", "pr-dev", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
    ],
)
def test_pattern(text: str, namespace: str, does_match: bool) -> None:
    """One asterisk stands for any characters, as IAM and the policy of the chart see it."""
    pattern = RoleBindingSet.parse(set_body(pattern=text)).pattern

    assert pattern is not None
    assert pattern.matches(namespace) is does_match
    (subject,) = pattern.subjects(["default-editor"])
    assert glob_matches(subject, f"system:serviceaccount:{namespace}:default-editor") is does_match


@given(
    namespace=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True),
    name=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True),
    text=st.from_regex(r"[a-c-]{0,3}\*[a-c-]{0,3}", fullmatch=True).filter(lambda t: t != "*"),
)
def test_asterisk_never_leaves_its_field(namespace: str, name: str, text: str) -> None:
    """Whatever IAM's pattern matches is a namespace that matches, with exactly that service account."""
    pattern = RoleBindingSet.parse(set_body(pattern=text)).pattern
    assert pattern is not None
    (subject,) = pattern.subjects(["default-editor"])

    trusted = glob_matches(subject, f"system:serviceaccount:{namespace}:{name}")
    assert trusted is (pattern.matches(namespace) and name == "default-editor")
