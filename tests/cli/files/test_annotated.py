"""Annotated service accounts as bindings of the files."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import ROLE, account, binding
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.manifests import Manifest
from trustbind_cli.files.annotated import annotated, with_annotated
from trustbind_cli.files.manifests import Objects, sort_out

ALL: dict[str, Any] = {"serviceAccountSelector": {}, "serviceAccountNames": None}
CHAIN: dict[str, Any] = {"method": "AssumeRole", "source": {"roleArn": f"{ROLE}-base"}}
KEYS = AnnotationKeys.under("eks.amazonaws.com")


def objects(*manifests: dict[str, Any]) -> Objects:
    """Return what a file of these holds."""
    return sort_out(Manifest("x.yaml", number, body) for number, body in enumerate(manifests, 1))


def test_binding_of_the_operator() -> None:
    """The binding is the one that the operator creates: name, role, service account, audience, life of tokens."""
    found, problems = with_annotated(objects(account(audience="other", token_expiration="3600")), KEYS)

    (made,) = found.bindings
    assert problems == ()
    assert (str(made.ref), str(made.role), made.service_account_names) == (
        "default/annotated-checkout",
        ROLE,
        ("checkout",),
    )
    assert (made.audience, made.token_expiration_seconds) == ("other", 3600)


def test_objects_stay_as_they_are() -> None:
    """The objects that were given are not changed."""
    given = objects(account())

    with_annotated(given, KEYS)

    assert (given.bindings, given.unplaced) == ([], [])


@pytest.mark.parametrize(
    ("beside", "names"),
    [
        pytest.param([], ["annotated-checkout"], id="none"),
        pytest.param([binding()], ["b"], id="the same role by name"),
        pytest.param([binding(**ALL)], ["b"], id="the same role by selector"),
        pytest.param([binding(**CHAIN)], ["annotated-checkout", "b"], id="a chain to the same role"),
        pytest.param([binding(profile="own")], ["annotated-checkout", "b"], id="another profile"),
        pytest.param([binding(roleArn=f"{ROLE}-2")], ["annotated-checkout", "b"], id="another role"),
        pytest.param([binding(namespace="shop")], ["annotated-checkout", "b"], id="another namespace"),
        pytest.param(
            [binding(serviceAccountNames=["other"])], ["annotated-checkout", "b"], id="another service account"
        ),
        pytest.param([binding("annotated-checkout", roleArn=f"{ROLE}-2")], ["annotated-checkout"], id="the same name"),
    ],
)
def test_bindings_of_the_files(beside: list[dict[str, Any]], names: list[str]) -> None:
    """A binding of the user takes the place of the generated one, as in the cluster."""
    found, problems = with_annotated(objects(account(), *beside), KEYS)

    assert sorted(each.ref.name for each in found.bindings) == names
    assert problems == ()
    assert len(annotated(objects(account(), *beside), KEYS)) == len(names) - len(beside)


def test_opted_out() -> None:
    """A service account that opts out, or has no annotation, asks for nothing."""
    out = account("out")
    out["metadata"]["annotations"]["trustbind.dev/inject"] = "false"
    plain = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "plain"}}

    assert annotated(objects(out, plain, account(role_arn=" ")), KEYS) == []


def test_no_role() -> None:
    """An annotation that is no role's ARN gets no binding, and a sentence."""
    found, problems = with_annotated(objects(account(role_arn="checkout"), account("good")), KEYS)

    assert [each.ref.name for each in found.bindings] == ["annotated-good"]
    assert problems == (
        (
            "ServiceAccount default/checkout is not bound: annotation eks.amazonaws.com/role-arn is 'checkout', which "
            "is not the ARN of an IAM role"
        ),
    )


def test_namespace_is_said() -> None:
    """A trust policy names the namespace, so one that is missing is said, as for bindings."""
    there = account("there")
    there["metadata"]["namespace"] = "default"

    found, _ = with_annotated(objects(account(), there), KEYS)

    assert found.unplaced == ["ServiceAccount checkout"]


def test_prefix() -> None:
    """The annotations are read under the given prefix."""
    assert annotated(objects(account()), AnnotationKeys.under("aws.example.com")) == []
