"""RoleBinding objects: read, refused, and whom they name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbind.api.aws_account import AwsAccount
from trustbind.api.extra_conditions import ExtraCondition
from trustbind.api.label_selector import LabelSelector, SelectorRequirement
from trustbind.api.role_binding import (
    BindingRef,
    DeletionPolicy,
    Injection,
    Method,
    RoleBinding,
    Source,
)
from trustbind.api.role_binding_set import RoleBindingSet
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject

DATA = Path(__file__).parents[2] / "data" / "manifests"
PARSERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "rolebinding": RoleBinding.parse,
    "awsaccount": AwsAccount.parse,
    "rolegrant": RoleGrant.parse,
    "rolebindingset": RoleBindingSet.parse,
}
DELETE = "__delete__"

FULL: dict[str, Any] = {
    "apiVersion": "trustbind.dev/v1alpha1",
    "kind": "RoleBinding",
    "metadata": {
        "name": "s3-reader",
        "namespace": "team-a",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 3,
        "labels": {"any": "thing"},
        "managedFields": [{}],
    },
    "spec": {
        "roleArn": "arn:aws:iam::444455556666:role/team-a/s3-reader",
        "serviceAccountNames": ["writer", "reader"],
        "method": "AssumeRole",
        "source": {"roleArn": "arn:aws:iam::111122223333:role/workload-base", "managePermission": False},
        "externalId": "ab:/c",
        "audience": "sts.amazonaws.com",
        "session": {"name": "{namespace}.{serviceAccount}", "durationSeconds": 3600},
        "token": {"expirationSeconds": 7200},
        "region": "eu-central-1",
        "conditions": [
            {"operator": "StringLike", "key": "aws:PrincipalTag/x", "values": ["b", "a", "b"]},
            {"operator": "IpAddress", "key": "aws:SourceIp", "values": ["203.0.113.0/24"]},
        ],
        "profile": "other",
        "waitUntilReady": True,
        "deletionPolicy": "Retain",
    },
    "status": {"anything": 1},
}


def changed(manifest: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with a case's changes."""
    result: dict[str, Any] = copy.deepcopy(manifest) | case.get("change", {})
    for key, value in case.get("spec", {}).items():
        if value == DELETE:
            del result["spec"][key]
        else:
            result["spec"][key] = value
    return result


def bad_cases() -> list[Any]:
    """Return kind, manifest and case of every data file."""
    cases = []
    for kind in PARSERS:
        group = json.loads((DATA / f"{kind}.json").read_text(encoding="utf-8"))
        cases += [pytest.param(kind, changed(group["base"], c), c, id=f"{kind}: {c['name']}") for c in group["cases"]]
    return cases


@pytest.mark.parametrize(("kind", "manifest", "case"), bad_cases())
def test_refused(kind: str, manifest: dict[str, Any], case: dict[str, Any]) -> None:
    """A manifest that breaks a rule is refused in one sentence that names the field and says what must hold."""
    with pytest.raises(InvalidValueError, match=r"\S") as caught:
        PARSERS[kind](manifest)

    assert (caught.value.field, case["says"] in caught.value.problem) == (case["field"], True), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", list(PARSERS))
def test_base_is_good(kind: str) -> None:
    """What the bad manifests are made of is accepted, so that each fails for its own reason."""
    PARSERS[kind](json.loads((DATA / f"{kind}.json").read_text(encoding="utf-8"))["base"])


def test_full() -> None:
    """Everything that a binding can say is read; names and conditions are sorted."""
    assert RoleBinding.parse(FULL) == RoleBinding(
        ref=BindingRef("team-a", "s3-reader"),
        role=RoleArn("aws", "444455556666", "/team-a/", "s3-reader"),
        created="2026-01-01T00:00:00Z",
        generation=3,
        service_account_names=("reader", "writer"),
        method=Method.ASSUME_ROLE,
        source=Source(RoleArn("aws", "111122223333", "/", "workload-base"), manage_permission=False),
        external_id="ab:/c",
        audience="sts.amazonaws.com",
        session_name="{namespace}.{serviceAccount}",
        session_duration_seconds=3600,
        token_expiration_seconds=7200,
        region="eu-central-1",
        conditions=(
            ExtraCondition("IpAddress", "aws:SourceIp", ("203.0.113.0/24",)),
            ExtraCondition("StringLike", "aws:PrincipalTag/x", ("a", "b")),
        ),
        profile="other",
        wait_until_ready=True,
        deletion_policy=DeletionPolicy.RETAIN,
    )


def test_least() -> None:
    """What a binding does not say has its default; without a namespace it is in the one that the caller names."""
    manifest = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": "x"},
        "spec": {"roleArn": "arn:aws:iam::444455556666:role/x", "serviceAccountSelector": {}},
    }

    binding = RoleBinding.parse(manifest)

    assert binding == RoleBinding(
        ref=BindingRef("default", "x"), role=RoleArn("aws", "444455556666", "/", "x"), selector=LabelSelector()
    )
    assert (binding.method, binding.profile, binding.audience) == (Method.WEB_IDENTITY, "default", "sts.amazonaws.com")
    assert RoleBinding.parse(manifest, default_namespace="other").ref.namespace == "other"


@pytest.mark.parametrize(
    ("method", "can"),
    [
        (Method.WEB_IDENTITY, {"needs_oidc_provider", "target_trusts_tokens", "writes_trust_policy"}),
        (Method.ASSUME_ROLE, {"needs_oidc_provider", "has_source_role", "writes_trust_policy"}),
        (Method.POD_IDENTITY, {"uses_pod_identity_association"}),
    ],
)
def test_methods(method: Method, can: set[str]) -> None:
    """Each method has its capabilities, and one way of injection."""
    switches = {name for name, kind in vars(Method).items() if isinstance(kind, property)} - {"injection"}

    assert {name for name in switches if getattr(method, name)} == can
    assert (method.injection is Injection.CONTAINER_CREDENTIALS) is method.uses_pod_identity_association


@pytest.mark.parametrize(
    "operator",
    [
        "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike",
        "StringNotLike", "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals",
        "NumericGreaterThan", "NumericGreaterThanEquals", "DateEquals", "DateNotEquals", "DateLessThan",
        "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals", "Bool", "BinaryEquals", "IpAddress",
        "NotIpAddress", "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", "Null", "StringEqualsIfExists",
        "ForAnyValue:StringLike", "ForAnyValue:ArnLikeIfExists",
    ],
)  # fmt: skip
def test_operators(operator: str) -> None:
    """All of IAM's condition operators may be used in further conditions."""
    manifest = copy.deepcopy(FULL)
    manifest["spec"]["conditions"] = [{"operator": operator, "key": "aws:x", "values": ["y"]}]

    assert RoleBinding.parse(manifest).conditions == (ExtraCondition(operator, "aws:x", ("y",)),)


SELECTORS = [
    ({}, {}, True),
    ({}, {"a": "1"}, True),
    ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
    ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
    ({"matchLabels": {"a": "1"}}, {}, False),
    ({"matchLabels": {"a": ""}}, {}, False),
    ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "3"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {}, False),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "2"}, True),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
    ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
    ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
    ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
    ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist", "values": []}]}, {"a": "1"}, False),
    ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
]


@pytest.mark.parametrize(("selector", "labels", "selected"), SELECTORS)
def test_selector(selector: dict[str, Any], labels: dict[str, str], selected: bool) -> None:
    """A selector selects as Kubernetes' own do; the empty one selects everything."""
    manifest = copy.deepcopy(FULL)
    manifest["spec"] = {"roleArn": "arn:aws:iam::444455556666:role/x", "serviceAccountSelector": selector}
    binding = RoleBinding.parse(manifest)

    assert binding.names("any", labels) is selected
    assert binding.subjects({"any": labels}) == ((Subject("team-a", "any"),) if selected else ())


def test_named_accounts_count_whether_they_exist() -> None:
    """Trust may be there before the account is; names bring no account that is not named."""
    binding = RoleBinding.parse(FULL)

    assert binding.subjects({}) == (Subject("team-a", "reader"), Subject("team-a", "writer"))
    assert binding.subjects({"other": {}}) == binding.subjects({})
    assert binding.names("reader", {})
    assert not binding.names("other", {})


def test_age() -> None:
    """The oldest comes first, ties by namespace and name, and those of unknown age last."""
    role = RoleArn("aws", "444455556666", "/", "x")
    by_age = [
        RoleBinding(BindingRef("z", "z"), role, created="2025-01-01T00:00:00Z"),
        RoleBinding(BindingRef("a", "b"), role, created="2026-01-01T00:00:00Z"),
        RoleBinding(BindingRef("a", "b"), role, created="2026-01-01T00:00:00Z"),
        RoleBinding(BindingRef("a", "a"), role),
    ]

    shuffled = [by_age[2], by_age[0], by_age[3], by_age[1]]

    assert sorted(shuffled, key=lambda b: b.age_key) == by_age


def test_selector_requirement_of_an_unknown_operator_means_absence() -> None:
    """The last operator is DoesNotExist; the parser lets no other through."""
    assert SelectorRequirement("a", "DoesNotExist").matches({})


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
fields = st.sampled_from(list(FULL["spec"]))


@given(st.dictionaries(fields, anything, max_size=4), st.sampled_from(["apiVersion", "kind", "metadata", ""]), anything)
def test_any_manifest(spec: dict[str, Any], member: str, value: Any) -> None:
    """Whatever a manifest holds, it is read or refused with our own error, never with another."""
    manifest = copy.deepcopy(FULL)
    manifest["spec"] |= spec
    if member:
        manifest[member] = value

    try:
        binding = RoleBinding.parse(manifest)
    except InvalidValueError:
        return
    assert binding.ref.name


def test_chain_within_a_partition_other_than_the_usual_one() -> None:
    """Only from one partition into another there is no way."""
    spec = FULL["spec"] | {
        "roleArn": "arn:aws-cn:iam::444455556666:role/reader",
        "source": {"roleArn": "arn:aws-cn:iam::111122223333:role/base"},
    }
    binding = RoleBinding.parse(FULL | {"spec": spec})
    assert binding.source is not None
    assert binding.source.role.partition == binding.role.partition == "aws-cn"


def test_no_conditions_go_with_every_method() -> None:
    """An empty list of conditions says nothing, so it goes with EKS Pod Identity too."""
    spec = {"roleArn": FULL["spec"]["roleArn"], "serviceAccountNames": ["a"], "method": "PodIdentity", "conditions": []}
    assert RoleBinding.parse(FULL | {"spec": spec}).conditions == ()
