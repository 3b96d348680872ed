"""The chart's admission policies on a real API server, as the halves' own service accounts.

What the halves do is allowed; the other tests of this folder run under the same policies. Everything else that RBAC
would allow is refused.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from support.certs import Authority
from support.kubeclient import ROOT, ApiError, load_manifests
from support.processes import eventually
from support.world import SECONDS, SYSTEM, Team, World
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER, GATE, MANAGED_LABEL, SET_LABEL, WAITING_LABEL
from trustbind_operator.controllers.pod.gate_decision import release_patch

Json = dict[str, Any]

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
REGISTRATION: Final = "admissionregistration.k8s.io/v1"
INSTALLED: Final = load_manifests(ROOT / "manifests" / "install.yaml")
POLICIES: Final = [m for m in INSTALLED if m["kind"] == "ValidatingAdmissionPolicy"]

KEPT_BY_THE_API_SERVER: Final = {
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",  # changed by every write, and without effect on what runs
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
}
"""Fields of metadata that nobody changes."""

METADATA: Final[Mapping[str, Any]] = {
    "annotations": {"example.com/changed": "yes"},
    "finalizers": ["example.com/kept"],
    "generateName": "other-",
    "labels": {"example.com/changed": "yes"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u"}],
}
"""A change of each of the other fields of metadata."""


class Caller:
    """One service account of ours, and whether it is refused.

    Args:
        world: where.
        account: its name.
    """

    def __init__(self, world: World, account: str) -> None:
        self.world = world
        self.token = world.api.token(SYSTEM, account)

    def patch(self, manifest: Mapping[str, Any], change: object, content_type: str = MERGE) -> None:
        """Patch an object by a dry run."""
        path = f"{self.world.api.path(manifest)}?dryRun=All"
        self.world.api.request("PATCH", path, change, token=self.token, content_type=content_type)

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Create an object by a dry run."""
        path = f"{self.world.api.path(manifest, collection=True)}?dryRun=All"
        self.world.api.request("POST", path, manifest, token=self.token)

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """Delete an object by a dry run."""
        self.world.api.request("DELETE", f"{self.world.api.path(manifest)}?dryRun=All", token=self.token)

    def refused_patch(
        self, policy: str, manifest: Mapping[str, Any], change: object, content_type: str = MERGE
    ) -> None:
        """Assert that an administrator may make this change, and that this policy refuses it to the caller."""
        path = f"{self.world.api.path(manifest)}?dryRun=All"
        before = self.world.api.get(manifest)
        after = self.world.api.request("PATCH", path, change, content_type=content_type)
        assert _content(after) != _content(before), f"{change} changes nothing"
        refused(policy, lambda: self.patch(manifest, change, content_type))


def refused(policy: str, act: Callable[[], None]) -> None:
    """Assert that a policy refuses what ``act`` does, once the API server has read the policy."""

    def is_refused() -> bool:
        try:
            act()
        except ApiError as error:
            said.append(error.message)
        return bool(said)

    said: list[str] = []
    eventually(is_refused, f"{policy} refuses it", seconds=SECONDS)
    assert f"ValidatingAdmissionPolicy '{policy}'" in said[-1]


def _content(stored: Mapping[str, Any]) -> Json:
    changed = copy.deepcopy(dict(stored))
    for field in ("managedFields", "resourceVersion", "generation"):
        changed["metadata"].pop(field, None)
    return changed


@pytest.fixture
def operator_account(world: World) -> Caller:
    """The operator's service account."""
    return Caller(world, "trustbind-operator")


@pytest.fixture
def webhook_account(world: World) -> Iterator[Caller]:
    """The webhook's service account, with its rights on certificates, and its two webhook configurations."""
    certificates = [m for m in INSTALLED if m["metadata"]["name"] == "trustbind-webhook-certificates"]
    configurations = [m for m in INSTALLED if m["kind"].endswith("WebhookConfiguration")]
    assert (len(certificates), len(configurations)) == (4, 2)
    world.api.apply([*certificates, *configurations])
    yield Caller(world, "trustbind-webhook")
    for manifest in (*certificates, *configurations):
        world.api.delete(manifest)


def properties(world: World, path: str, schema: str) -> set[str]:
    """Return the fields of a kind, as the API server publishes them."""
    found = world.api.request("GET", f"/openapi/v3/{path}")["components"]["schemas"][schema]["properties"]
    return set(found)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_expressions_fit_the_kinds(world: World) -> None:
    """The API server finds no unknown field and no wrong type in any expression."""
    assert {m["metadata"]["name"] for m in POLICIES} == {
        "trustbind-operator-awsaccounts",
        "trustbind-operator-leases",
        "trustbind-operator-pods",
        "trustbind-operator-rolebindings",
        "trustbind-webhook-mutating",
        "trustbind-webhook-secrets",
        "trustbind-webhook-validating",
    }
    for policy in POLICIES:

        def status(policy: Json = policy) -> Json | None:
            stored = world.api.get(policy)
            found: Json = stored.get("status") or {}
            return found if found.get("observedGeneration") == stored["metadata"]["generation"] else None

        found = eventually(status, f"{policy['metadata']['name']} is checked", seconds=SECONDS)
        assert found["typeChecking"] == {}, policy["metadata"]["name"]


def test_every_field_of_metadata_is_known(world: World) -> None:
    """A field that a later version of Kubernetes adds to metadata shows here, before it can be changed unnoticed."""
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert properties(world, "api/v1", meta) == KEPT_BY_THE_API_SERVER | METADATA.keys()


# --- the operator: pods -----------------------------------------------------------------------------------------------


def gated_pod(team: Team) -> Json:
    """Create a pod that waits at our gate and at another one."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "held", "namespace": team.namespace, "labels": {WAITING_LABEL: "true", "app": "held"}},
        "spec": {
            "schedulingGates": [{"name": GATE}, {"name": "example.com/other"}],
            "initContainers": [{"name": "first", "image": "example.com/first:1"}],
            "containers": [{"name": "main", "image": "example.com/web:1"}],
        },
    }
    return team.world.api.create(pod)


def listed_changes(pod: Mapping[str, Any]) -> dict[str, Json]:
    """Return a change of every field that the API server lists as one that an update of a pod may change.

    Without terminationGracePeriodSeconds: that may become 1 where it is negative, and no pod can be made like that now.
    """
    image = "example.com/changed:1"
    toleration = {"key": "example.com/added", "operator": "Exists"}
    return {
        "spec.containers[*].image": {"containers": [{"name": "main", "image": image}]},
        "spec.initContainers[*].image": {"initContainers": [{"name": "first", "image": image}]},
        "spec.activeDeadlineSeconds": {"activeDeadlineSeconds": 60},
        "spec.tolerations": {"tolerations": [*pod["spec"].get("tolerations", ()), toleration]},
    }


def changes_while_gated() -> dict[str, Json]:
    """Return the changes that the API server allows for a pod with a scheduling gate, beside the listed ones."""
    term = {"matchExpressions": [{"key": "example.com/pool", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {
        "spec.nodeSelector": {"nodeSelector": {"example.com/pool": "one"}},
        "spec.affinity": {"affinity": {"nodeAffinity": required}},
        "spec.schedulingGates": {"schedulingGates": [{"$patch": "delete", "name": "example.com/other"}]},
    }


def test_the_operator_changes_nothing_of_a_pods_spec(world: World, operator_account: Caller) -> None:
    """Every field that the API server lets an update change is refused; the list of them is the API server's."""
    pod = gated_pod(world.team())
    with pytest.raises(ApiError) as error:
        world.api.request("PATCH", world.api.path(pod), {"spec": {"hostname": "other"}}, content_type=MERGE)
    message = error.value.message.partition("\n")[0]
    changes = listed_changes(pod)
    listed = set(re.findall(r"`(spec\.[^`]+)`", message))
    assert listed == changes.keys() | {"spec.terminationGracePeriodSeconds"}
    (policy,) = (m for m in POLICIES if m["metadata"]["name"] == "trustbind-operator-pods")
    kept = set(re.findall(r"object\.spec\.\?(\w+) == oldObject\.spec\.\?\1\b", str(policy["spec"]["validations"])))
    assert {name.split(".")[1].removesuffix("[*]") for name in listed} | {"nodeSelector", "affinity"} == kept
    both = {"schedulingGates": None}
    for change in (*changes.values(), *changes_while_gated().values(), both):
        operator_account.refused_patch("trustbind-operator-pods", pod, {"spec": change}, STRATEGIC)


def test_the_operator_changes_no_metadata_of_a_pod(world: World, operator_account: Caller) -> None:
    """Labels, annotations, finalizers, owners and the rest stay as they are, but for our label."""
    pod = gated_pod(world.team())
    other: list[dict[str, dict[str, str | None]]] = [
        {"labels": {"app": "other"}},
        {"labels": {"app": None}},
        {"labels": {WAITING_LABEL: "changed"}},
        {"labels": {WAITING_LABEL: None, "app": None}},
        {"labels": {WAITING_LABEL: None, "app": "other"}},
        {"labels": {WAITING_LABEL: None, "example.com/other": "true"}},
    ]
    for change in ({name: value} for name, value in METADATA.items()):
        operator_account.refused_patch("trustbind-operator-pods", pod, {"metadata": change})
    for labels in other:
        operator_account.refused_patch("trustbind-operator-pods", pod, {"metadata": labels})


def test_the_operator_releases_a_pod(world: World, operator_account: Caller) -> None:
    """Gate and label go together, as the operator removes them; a pod without them is left alone."""
    pod = gated_pod(world.team())
    operator_account.patch(pod, release_patch(), STRATEGIC)
    path = world.api.path(pod)
    world.api.request("PATCH", path, release_patch(), token=operator_account.token, content_type=STRATEGIC)
    stored = world.api.get(pod)
    assert stored["spec"]["schedulingGates"] == [{"name": "example.com/other"}]
    assert stored["metadata"]["labels"] == {"app": "held"}
    # Once more, as after an answer that was lost.
    world.api.request("PATCH", path, release_patch(), token=operator_account.token, content_type=STRATEGIC)


def test_others_are_not_limited(world: World) -> None:
    """The same change by another user passes: a policy looks at one service account alone."""
    team = world.team()
    pod = gated_pod(team)
    team.service_account("deployer")
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": team.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    world.apply(
        "rbac.authorization.k8s.io/v1", "RoleBinding", "deployer", team.namespace, roleRef=role, subjects=[subject]
    )
    token = world.api.token(team.namespace, "deployer")
    for change in listed_changes(pod).values():
        path = f"{world.api.path(pod)}?dryRun=All"
        world.api.request("PATCH", path, {"spec": change}, token=token, content_type=STRATEGIC)


# --- the operator: its own kinds --------------------------------------------------------------------------------------


def test_the_operator_changes_only_its_finalizer_of_a_binding(world: World, operator_account: Caller) -> None:
    """Spec and metadata of a team's RoleBinding stay; the finalizer comes and goes."""
    team = world.team()
    policy = "trustbind-operator-rolebindings"
    binding = team.binding_manifest("arn:aws:iam::444455556666:role/app")
    binding["metadata"]["finalizers"] = ["example.com/other"]
    world.api.apply(binding)
    operator_account.refused_patch(policy, binding, {"spec": {"serviceAccountNames": ["another"]}})
    for field, value in METADATA.items():
        operator_account.refused_patch(policy, binding, {"metadata": {field: value}})
    refused(policy, lambda: operator_account.delete(binding))
    other = copy.deepcopy(binding)
    other["metadata"] = {"name": "other", "namespace": team.namespace}
    refused(policy, lambda: operator_account.create(other))
    operator_account.patch(binding, {"metadata": {"finalizers": ["example.com/other", BINDING_FINALIZER]}})
    world.merge(binding, {"metadata": {"finalizers": [BINDING_FINALIZER]}})
    operator_account.patch(binding, {"metadata": {"finalizers": []}})
    world.merge(binding, {"metadata": {"finalizers": None}})


@pytest.mark.parametrize("labels", [{MANAGED_LABEL: "true"}, {SET_LABEL: "profiles"}])
def test_the_operator_keeps_bindings_that_it_made(
    world: World, operator_account: Caller, labels: dict[str, str]
) -> None:
    """It creates, changes and deletes RoleBindings with its labels, and does not change these."""
    binding = world.team().binding_manifest("arn:aws:iam::444455556666:role/app")
    binding["metadata"]["labels"] = labels
    operator_account.create(binding)
    world.api.apply(binding)
    operator_account.patch(binding, {"spec": {"audience": "other.example.com"}})
    operator_account.delete(binding)
    change = {"metadata": {"labels": dict.fromkeys(labels)}}
    operator_account.refused_patch("trustbind-operator-rolebindings", binding, change)


def test_the_operator_changes_only_its_finalizer_of_an_aws_account(world: World, operator_account: Caller) -> None:
    """Spec and metadata of an AWSAccount, which say where the operator works and as whom, stay."""
    policy = "trustbind-operator-awsaccounts"
    account = world.account(manager=False).manifest
    operator_account.refused_patch(policy, account, {"spec": {"externalId": "changed"}})
    for field, value in METADATA.items():
        operator_account.refused_patch(policy, account, {"metadata": {field: value}})
    others = world.api.get(account)["metadata"].get("finalizers", [])
    operator_account.patch(account, {"metadata": {"finalizers": sorted({*others, ACCOUNT_FINALIZER})}})


def test_the_operator_creates_one_lease(operator_account: Caller) -> None:
    """RBAC cannot name an object that does not exist yet; the policy does."""
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    refused(
        "trustbind-operator-leases",
        lambda: operator_account.create({**lease, "metadata": {"name": "another", "namespace": SYSTEM}}),
    )


# --- the webhook ------------------------------------------------------------------------------------------------------

HOOK_CHANGES: Final[Mapping[str, Json]] = {
    "name": {"name": "other.trustbind.dev"},
    "admissionReviewVersions": {"admissionReviewVersions": ["v1", "v1beta1"]},
    "failurePolicy": {"failurePolicy": "Fail"},
    "matchConditions": {"matchConditions": [{"name": "all", "expression": "true"}]},
    "matchPolicy": {"matchPolicy": "Exact"},
    "namespaceSelector": {"namespaceSelector": {}},
    "objectSelector": {"objectSelector": {"matchLabels": {"a": "b"}}},
    "reinvocationPolicy": {"reinvocationPolicy": "Never"},
    "rules": {
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]
    },
    "sideEffects": {"sideEffects": "NoneOnDryRun"},
    "timeoutSeconds": {"timeoutSeconds": 29},
}
"""A change of every field of a webhook but clientConfig."""


@pytest.mark.parametrize("which", ["Mutating", "Validating"])
def test_the_webhook_changes_only_ca_bundle(world: World, webhook_account: Caller, which: str) -> None:
    """Admission policies see webhook configurations: rules, address and all else of its own two are refused to it."""
    policy = f"trustbind-webhook-{which.lower()}"
    manifest = next(m for m in INSTALLED if m["kind"] == f"{which}WebhookConfiguration")
    hook, *others = world.api.get(manifest)["webhooks"]
    fields = properties(world, f"apis/{REGISTRATION}", f"io.k8s.api.admissionregistration.v1.{which}Webhook")
    assert fields - {"clientConfig"} == HOOK_CHANGES.keys() & fields
    client = properties(world, f"apis/{REGISTRATION}", "io.k8s.api.admissionregistration.v1.WebhookClientConfig")
    assert client == {"caBundle", "service", "url"}

    changed = [hook | HOOK_CHANGES[field] for field in sorted(fields - {"clientConfig"})]
    service = hook["clientConfig"]["service"]
    targets = ({"service": service | {"name": "other"}}, {"url": "https://webhook.example.com/mutate"})
    changed += [hook | {"clientConfig": target} for target in targets]
    for webhooks in (*([each] for each in changed), [hook, hook | {"name": "another.trustbind.dev"}], []):
        webhook_account.refused_patch(policy, manifest, {"webhooks": [*webhooks, *(others if webhooks else ())]})
    for field, value in METADATA.items():
        webhook_account.refused_patch(policy, manifest, {"metadata": {field: value}})

    bundle = base64.b64encode(Authority().pem).decode()
    ours = {"webhooks": [{"name": each["name"], "clientConfig": {"caBundle": bundle}} for each in (hook, *others)]}
    path = world.api.path(manifest)
    world.api.request("PATCH", path, ours, token=webhook_account.token, content_type=STRATEGIC)
    assert world.api.get(manifest)["webhooks"] == [
        each | {"clientConfig": each["clientConfig"] | {"caBundle": bundle}} for each in (hook, *others)
    ]


def test_the_webhook_creates_one_secret(webhook_account: Caller) -> None:
    """Not another one, and none into which Kubernetes would write a token of another service account."""

    def secret(name: str, type_: str) -> Json:
        annotations = {"kubernetes.io/service-account.name": "trustbind-operator"}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": type_,
            "metadata": {"name": name, "namespace": SYSTEM, "annotations": annotations},
            "data": {"tls.crt": "", "tls.key": ""},
        }

    token = secret("trustbind-webhook-tls", "kubernetes.io/service-account-token")
    refused("trustbind-webhook-secrets", lambda: webhook_account.create(token))
    refused("trustbind-webhook-secrets", lambda: webhook_account.create(secret("other", "kubernetes.io/tls")))
    webhook_account.create(secret("trustbind-webhook-tls", "kubernetes.io/tls"))
