"""The CRDs on a real API server: what it takes, fills in, refuses and shows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import CRDS, ROOT, ApiError, ApiServer, load_manifests

API = "/apis/trustbind.dev/v1alpha1"
CASES = sorted((ROOT / "tests" / "data" / "crds").glob("*.yaml"))
EXAMPLES = load_manifests(ROOT / "manifests" / "examples")
KINDS = ("RoleBinding", "AWSAccount", "RoleGrant", "RoleBindingSet")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ROLE = "arn:aws:iam::444455556666:role/team-a/reader"
NOW = "2030-01-01T00:00:00Z"
READY = {
    "type": "Ready",
    "status": "False",
    "observedGeneration": 1,
    "lastTransitionTime": NOW,
    "reason": "AccountUnknown",
    "message": "there is no AWSAccount for 444455556666",
}
MINIMAL: dict[str, dict[str, Any]] = {
    "RoleBinding": {"roleArn": ROLE, "serviceAccountNames": ["reader"]},
    "AWSAccount": {"accountId": "444455556666"},
    "RoleGrant": {"namespaces": {"names": ["team-a"]}, "roleArns": ["arn:aws:iam::444455556666:role/team-a/*"]},
    "RoleBindingSet": {
        "namespaceSelector": {"matchLabels": {"profile": "true"}},
        "serviceAccountNames": ["default-editor"],
        "template": {"roleArn": "arn:aws:iam::444455556666:role/notebooks"},
    },
}


@pytest.fixture(autouse=True)
def nothing_stays(api_server: ApiServer) -> Iterator[None]:
    """Remove what a test creates: an operator of another test would set to work on it."""
    yield
    for kind in KINDS:
        for item in api_server.request("GET", f"{API}/{kind.lower()}s")["items"]:
            if item["metadata"]["name"].startswith("o-"):
                api_server.delete({"apiVersion": "trustbind.dev/v1alpha1", "kind": kind} | item)


@pytest.fixture(scope="module")
def namespace(api_server: ApiServer) -> str:
    """A namespace of this module's own."""
    return api_server.namespace("crds")


def an_object(kind: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return the smallest object of ``kind`` under a random name, with ``spec`` on top."""
    return placed(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": f"o-{secrets.token_hex(4)}"},
            "spec": MINIMAL[kind] | spec,
        },
        namespace,
    )


def placed(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return ``manifest`` in ``namespace``, if its kind has one."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "namespace"}
    if manifest["kind"] == "RoleBinding":
        metadata["namespace"] = namespace
    return manifest | {"metadata": metadata}


def with_changes(value: Any, changes: Any) -> Any:
    """Return ``value`` with ``changes`` merged into it."""
    if not isinstance(value, dict) or not isinstance(changes, dict):
        return changes
    return value | {key: with_changes(value.get(key), change) for key, change in changes.items()}


def try_to_create(server: ApiServer, manifest: dict[str, Any]) -> Any:
    """Return what would be stored; unknown fields are errors."""
    path = server.path(manifest, collection=True)
    return server.request("POST", f"{path}?fieldValidation=Strict&dryRun=All", manifest)


def patch_status(server: ApiServer, manifest: dict[str, Any], status: dict[str, Any]) -> Any:
    """Return the object after ``status`` was merged into its status."""
    path = server.path(manifest, subresource="status")
    return server.request(
        "PATCH", f"{path}?fieldValidation=Strict", {"status": status}, content_type="application/merge-patch+json"
    )


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda p: p.stem)
def test_definition_is_established_and_structural(api_server: ApiServer, path: Path) -> None:
    """The API server serves each CRD under the names it asks for, and finds nothing wrong with its schema."""
    (definition,) = load_manifests(path)
    stored = api_server.get(definition)
    conditions = {c["type"]: c["status"] for c in stored["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert stored["status"]["storedVersions"] == ["v1alpha1"]


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda p: p.stem)
def test_definition_is_stored_as_it_is_written(api_server: ApiServer, path: Path) -> None:
    """The API server drops no word of a definition, so that none of them is without effect."""
    (definition,) = load_manifests(path)
    (written,) = definition["spec"]["versions"]
    (stored,) = api_server.get(definition)["spec"]["versions"]
    assert stored == written


def test_every_kind_has_an_example() -> None:
    """The examples show all kinds."""
    assert {example["kind"] for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e['kind']}-{e['metadata']['name']}")
def test_example_is_accepted(api_server: ApiServer, namespace: str, example: dict[str, Any]) -> None:
    """What people copy works."""
    stored = try_to_create(api_server, placed(example, namespace))
    assert stored["spec"] == with_changes(stored["spec"], example["spec"])


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_object_is_refused(api_server: ApiServer, namespace: str, case: Path) -> None:
    """Each object of the table is refused, in words that say where and what must hold."""
    content = yaml.safe_load(case.read_text())
    with pytest.raises(ApiError) as caught:
        try_to_create(api_server, placed(content["object"], namespace))
    assert content["server"] in caught.value.message


def test_defaults_of_a_binding(api_server: ApiServer, namespace: str) -> None:
    """A binding shows what it leaves unsaid."""
    stored = try_to_create(api_server, an_object("RoleBinding", namespace))
    assert stored["spec"] == MINIMAL["RoleBinding"] | {
        "method": "WebIdentity",
        "audience": "sts.amazonaws.com",
        "profile": "default",
        "waitUntilReady": False,
        "deletionPolicy": "Revoke",
    }


def test_defaults_of_a_source(api_server: ApiServer, namespace: str) -> None:
    """The permission on a source role is kept unless that is refused."""
    source = {"roleArn": "arn:aws:iam::111122223333:role/base"}
    stored = try_to_create(api_server, an_object("RoleBinding", namespace, method="AssumeRole", source=source))
    assert stored["spec"]["source"] == source | {"managePermission": True, "trustedAs": "Role"}


def test_defaults_of_an_account(api_server: ApiServer, namespace: str) -> None:
    """An account shows what it leaves unsaid, also in an object that is not there."""
    stored = try_to_create(api_server, an_object("AWSAccount", namespace))
    assert stored["spec"] == MINIMAL["AWSAccount"] | {
        "oidcProvider": {"manage": True},
        "driftPolicy": "Repair",
        "requireRoleConsent": False,
        "rolePathPrefix": "/",
    }


def test_defaults_of_a_set(api_server: ApiServer, namespace: str) -> None:
    """A set names subjects exactly unless it says otherwise, and shows what its bindings leave unsaid."""
    stored = try_to_create(api_server, an_object("RoleBindingSet", namespace))
    binding = try_to_create(api_server, an_object("RoleBinding", namespace))["spec"]
    defaults = {key: value for key, value in binding.items() if key not in MINIMAL["RoleBinding"]}
    minimal = MINIMAL["RoleBindingSet"]
    assert stored["spec"] == minimal | {
        "subjects": "Exact",
        "onStray": "Keep",
        "template": minimal["template"] | defaults,
    }


def test_defaults_of_a_grant(api_server: ApiServer, namespace: str) -> None:
    """A grant is for all accounts and both methods unless it says otherwise."""
    stored = try_to_create(api_server, an_object("RoleGrant", namespace))
    assert stored["spec"] == MINIMAL["RoleGrant"] | {
        "serviceAccountNames": ["*"],
        "methods": ["WebIdentity", "AssumeRole"],
        "audiences": ["sts.amazonaws.com"],
        "allowRetain": False,
        "allowAdopt": False,
        "allowPatterns": False,
        "maxBindings": 500,
        "maxSubjects": 2000,
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"roleArn": "arn:aws-cn:iam::444455556666:role/reader"},
        {"roleArn": "arn:aws-us-gov:iam::444455556666:role/a/b/c/reader+=,.@-_"},
        {"roleArn": "arn:aws-iso-b:iam::444455556666:role/" + "p" * 510 + "/" + "r" * 64},
        {"serviceAccountNames": ["a.b-c", "n" * 253]},
        {"session": {"name": "{cluster}@{namespace}={serviceAccount}+{pod}", "durationSeconds": 43200}},
        {"token": {"expirationSeconds": 600}},
        {"region": "us-gov-west-1"},
        {
            "roleArn": "arn:aws-cn:iam::444455556666:role/reader",
            "method": "AssumeRole",
            "source": {
                "roleArn": "arn:aws-cn:iam::111122223333:role/base",
                "managePermission": True,
                "trustedAs": "Role",
            },
        },
        {"method": "PodIdentity", "conditions": []},
        {"conditions": [{"operator": "ForAnyValue:StringLikeIfExists", "key": "aws:TagKeys", "values": ["a*", ""]}]},
        {"conditions": [{"operator": "Null", "key": "oidc.example.com/id/0:repository", "values": ["false"]}]},
    ],
    ids="-".join,
)
def test_values_at_the_bounds_are_accepted(api_server: ApiServer, namespace: str, spec: dict[str, Any]) -> None:
    """The rules leave in what AWS and Kubernetes allow."""
    stored = try_to_create(api_server, an_object("RoleBinding", namespace, **spec))
    assert stored["spec"] == stored["spec"] | spec


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "RoleBindingSet",
            {"template": {"roleArn": ROLE}},
            "is immutable; create another set for another role",
        ),
        ("RoleBinding", {"roleArn": f"{ROLE}-2"}, "is immutable; create another binding for another role"),
        ("AWSAccount", {"accountId": "111122223333"}, "is immutable; create another AWSAccount for another account"),
    ],
)
def test_identity_cannot_be_changed(
    api_server: ApiServer, namespace: str, kind: str, change: dict[str, Any], message: str
) -> None:
    """What an object is about stays; everything else can be changed."""
    manifest = an_object(kind, namespace)
    before = api_server.apply(manifest)
    with pytest.raises(ApiError) as caught:
        api_server.apply(manifest | {"spec": manifest["spec"] | change})
    assert message in caught.value.message
    other = {
        "RoleBinding": {"region": "eu-central-1"},
        "AWSAccount": {"trustPolicyLimit": 4096},
        "RoleBindingSet": {"serviceAccountNames": ["viewer"]},
    }[kind]
    after = api_server.apply(manifest | {"spec": manifest["spec"] | other})
    assert after["spec"] == before["spec"] | other


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (
            "RoleBindingSet",
            {
                "observedGeneration": 1,
                "conditions": [READY],
                "namespaces": 12,
                "readyBindings": 11,
                "summary": "11/12",
            },
        ),
        (
            "RoleBinding",
            {
                "observedGeneration": 1,
                "conditions": [READY],
                "accountId": "444455556666",
                "issuer": "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
                "subjects": ["system:serviceaccount:team-a:reader"],
                "statementId": "Trustbind0123456789abcdef0123456789abcdef",
                "policySize": 1800,
                "policyLimit": 2048,
                "lastAppliedTime": NOW,
            },
        ),
        (
            "AWSAccount",
            {
                "observedGeneration": 1,
                "conditions": [READY],
                "callerArn": "arn:aws:sts::444455556666:assumed-role/trustbind-manager/trustbind",
                "providerArn": "arn:aws:iam::444455556666:oidc-provider/oidc.example.com/id/0123",
                "trustPolicyLimit": 4096,
                "roles": 3,
                "bindings": 12,
            },
        ),
    ],
)
def test_status_is_a_resource_of_its_own(
    api_server: ApiServer, namespace: str, kind: str, status: dict[str, Any]
) -> None:
    """Writing the object leaves the status alone, and writing the status leaves the object alone."""
    manifest = an_object(kind, namespace)
    created = api_server.create(manifest | {"status": status})
    assert "status" not in created
    stored = patch_status(api_server, manifest, status)
    assert stored["status"] == status
    assert stored["metadata"]["generation"] == created["metadata"]["generation"]
    again = api_server.request(
        "PATCH", api_server.path(manifest), {"status": None}, content_type="application/merge-patch+json"
    )
    assert again["status"] == status


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"phase": "Ready"}, 'unknown field "status.phase"'),
        ({"on_update": {}}, 'unknown field "status.on_update"'),
        ({"conditions": [READY | {"status": "Maybe"}]}, 'Unsupported value: "Maybe"'),
        ({"conditions": [READY | {"reason": "not a constant"}]}, "status.conditions[0].reason: Invalid value"),
        ({"conditions": [READY, READY]}, "status.conditions[1]: Duplicate value"),
        ({"policySize": -1}, "should be greater than or equal to 0"),
        ({"lastAppliedTime": "yesterday"}, "must be of type date-time"),
        ({"subjects": ["team-a/reader"]}, "status.subjects[0]: Invalid value"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_status_is_strict(api_server: ApiServer, namespace: str, status: dict[str, Any], message: str) -> None:
    """A status has the fields that are documented and no others."""
    manifest = an_object("RoleBinding", namespace)
    api_server.create(manifest)
    with pytest.raises(ApiError) as caught:
        patch_status(api_server, manifest, status)
    assert message in caught.value.message


def test_a_grant_has_no_status(api_server: ApiServer, namespace: str) -> None:
    """What a grant does is told where it is done: in bindings."""
    manifest = an_object("RoleGrant", namespace)
    with pytest.raises(ApiError, match='unknown field "status"'):
        try_to_create(api_server, manifest | {"status": {}})
    api_server.create(manifest)
    with pytest.raises(ApiError) as caught:
        patch_status(api_server, manifest, {})
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("kind", "columns", "cells"),
    [
        (
            "RoleBinding",
            [("Name", 0), ("Ready", 0), ("Role", 0), ("Age", 0), ("Message", 1)],
            {"Ready": "False", "Role": ROLE, "Message": READY["message"]},
        ),
        (
            "AWSAccount",
            [("Name", 0), ("Ready", 0), ("Account", 0), ("Age", 0), ("Message", 1)],
            {"Ready": "False", "Account": "444455556666", "Message": READY["message"]},
        ),
        (
            "RoleBindingSet",
            [("Name", 0), ("Ready", 0), ("Bindings", 0), ("Role", 0), ("Age", 0), ("Message", 1)],
            {"Ready": "False", "Role": "arn:aws:iam::444455556666:role/notebooks", "Message": READY["message"]},
        ),
        (
            "RoleGrant",
            [("Name", 0), ("Namespaces", 0), ("Roles", 0), ("Age", 0), ("Accounts", 1), ("Methods", 1)],
            {
                "Namespaces": '["team-a"]',
                "Roles": '["arn:aws:iam::444455556666:role/team-a/*"]',
                "Accounts": '["*"]',
                "Methods": '["WebIdentity","AssumeRole"]',
            },
        ),
    ],
)
def test_columns(
    api_server: ApiServer, namespace: str, kind: str, columns: list[tuple[str, int]], cells: dict[str, str]
) -> None:
    """``kubectl get`` shows readiness and what the object is about; with ``-o wide`` also why."""
    manifest = an_object(kind, namespace)
    api_server.create(manifest)
    if kind != "RoleGrant":
        patch_status(api_server, manifest, {"conditions": [READY]})
    table = api_server.request("GET", api_server.path(manifest), accept=TABLE)
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]] == columns
    shown = dict(zip((name for name, _ in columns), table["rows"][0]["cells"], strict=True))
    assert shown["Name"] == manifest["metadata"]["name"]
    assert {name: shown[name] for name in cells} == cells


def test_names_in_discovery(api_server: ApiServer) -> None:
    """``kubectl get trb`` and ``kubectl get trustbind`` find what they should."""
    resources = {r["name"]: r for r in api_server.request("GET", API)["resources"]}
    found = {
        name: (r["kind"], r["namespaced"], r.get("shortNames", []), r.get("categories", []))
        for name, r in resources.items()
        if "/" not in name
    }
    assert found == {
        "rolebindings": ("RoleBinding", True, ["trb"], ["trustbind"]),
        "awsaccounts": ("AWSAccount", False, [], ["trustbind"]),
        "rolegrants": ("RoleGrant", False, [], ["trustbind"]),
        "rolebindingsets": ("RoleBindingSet", False, ["trbs"], ["trustbind"]),
    }
    statuses = {"rolebindings/status", "awsaccounts/status", "rolebindingsets/status"}
    assert {name for name in resources if "/" in name} == statuses


def test_bindings_are_selected_by_role(api_server: ApiServer) -> None:
    """All bindings of one role can be asked for with a field selector."""
    namespace = api_server.namespace("crds")
    wanted, other = (an_object("RoleBinding", namespace, roleArn=f"{ROLE}-{n}") for n in (1, 2))
    api_server.create(wanted)
    api_server.create(other)
    answer = api_server.request("GET", f"{API}/rolebindings?fieldSelector=spec.roleArn%3D{ROLE}-1")
    assert [i["metadata"]["name"] for i in answer["items"]] == [wanted["metadata"]["name"]]
