"""Both webhooks on a real API server: registered as people install them, under the webhook's own account and RBAC."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

from support import webhooks
from support.certs import Authority
from support.kube import ROOT, ApiError, ApiServer, load_manifests
from support.processes import eventually
from support.webhooks import Webhook

RBAC = load_manifests(ROOT / "manifests" / "rbac" / "webhook.yaml")
CONFIGURATIONS = load_manifests(ROOT / "manifests" / "webhooks")
ACCOUNT = "trustbind-system/trustbind-webhook"
FURTHER = ("awsaccounts", "namespaces", "rolegrants")
API_VERSION = "trustbind.dev/v1alpha1"


class Answer(NamedTuple):
    """What a client sees of one write."""

    status: int
    body: dict[str, Any]
    warnings: list[str]


def knows(webhook: Webhook, *resources: str) -> bool:
    """Return whether the webhook sees these resources."""
    lines = webhook.metrics().splitlines()
    return all(f'trustbind_webhook_known{{resource="{resource}"}} 1.0' in lines for resource in resources)


@contextlib.contextmanager
def running(directory: Path, kubeconfig: Path) -> Iterator[Webhook]:
    """Run the webhook as whoever the kubeconfig says, until the block ends; it is ready when the block begins."""
    authority = Authority()
    with webhooks.running(directory, authority, authority.issue(), lookup={"kubeconfig": str(kubeconfig)}) as webhook:
        yield webhook


def registered(configuration: dict[str, Any], webhook: Webhook) -> dict[str, Any]:
    """Return a webhook configuration that names the process instead of the Service."""
    bundle = base64.b64encode(webhook.authority).decode()
    hooks = [
        hook
        | {
            "clientConfig": {
                "url": f"https://127.0.0.1:{webhook.port}{hook['clientConfig']['service']['path']}",
                "caBundle": bundle,
            }
        }
        for hook in configuration["webhooks"]
    ]
    return configuration | {"webhooks": hooks}


def write(server: ApiServer, manifest: Mapping[str, Any], *, method: str = "POST", dry: bool = True) -> Answer:
    """Create or replace an object and return everything that a client sees; a dry run unless told otherwise."""
    path = server.path(manifest, collection=method == "POST") + ("?dryRun=All" if dry else "")
    parts = urlsplit(server.url)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.bearer}"}
    connection = http.client.HTTPSConnection(
        parts.hostname or "",
        parts.port,
        timeout=30,
        context=ssl.create_default_context(cafile=str(server.ca_file)),
    )
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(manifest), headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        # RFC 9111, Warning: a code, who warns, and the text in quotes.
        texts = [re.fullmatch(r'299 - "(.*)"', header) for header in response.headers.get_all("Warning", [])]
        return Answer(response.status, body, [text[1].replace('\\"', '"') for text in texts if text])


def an_object(kind: str, namespace: str = "", name: str = "", **spec: Any) -> dict[str, Any]:
    """Return an object of ours."""
    metadata = {"name": name or f"o-{secrets.token_hex(4)}"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def an_account_id() -> str:
    """Return the id of an account that no other test uses."""
    return f"{secrets.randbelow(10**12):012d}"


def a_role(account_id: str) -> str:
    """Return a role in an account."""
    return f"arn:aws:iam::{account_id}:role/team-a/reader"


def own_condition(server: ApiServer) -> list[dict[str, Any]]:
    """Return a further condition that only whoever knows the issuer can refuse."""
    key = f"{server.issuer.removeprefix('https://')}:sub"
    return [{"operator": "StringLike", "key": key, "values": ["system:serviceaccount:*"]}]


@pytest.fixture(scope="module")
def system(api_server: ApiServer) -> str:
    """The namespace that everything of ours is in, with the webhook's account and rights."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "trustbind-system"}}
    api_server.apply(manifest)
    api_server.apply(RBAC)
    return "trustbind-system"


@pytest.fixture(scope="module")
def early(api_server: ApiServer) -> dict[str, Any]:
    """A binding from before there was a webhook, which would refuse it."""
    namespace = api_server.namespace("early")
    role = a_role(an_account_id())
    return api_server.create(
        an_object(
            "RoleBinding", namespace, roleArn=role, serviceAccountNames=["app"], conditions=own_condition(api_server)
        )
    )


@pytest.fixture(scope="module")
def webhook(
    api_server: ApiServer,
    system: str,  # noqa: ARG001 - it has to be there before
    early: dict[str, Any],  # noqa: ARG001 - as above
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Webhook]:
    """The webhook with its own rights, registered for both; it knows everything that it ever will."""
    with running(tmp_path_factory.mktemp("webhook"), api_server.kubeconfig(ACCOUNT)) as process:
        eventually(lambda: knows(process, *FURTHER), "all resources are seen")
        eventually(lambda: any('"issuer read"' in line for line in process.process.output), "the issuer is read")
        before = {name for name, _ in ours(api_server)}
        configurations = [registered(configuration, process) for configuration in CONFIGURATIONS]
        try:
            api_server.apply(configurations)
            bad = an_object("RoleBinding", "default", **binding_spec(conditions=own_condition(api_server)))
            api_server.wait(lambda: write(api_server, bad).status == 422, message="the webhook is asked")
            yield process
        finally:
            left = [path for name, path in ours(api_server) if name not in before]
            for path in (*map(api_server.path, configurations), *left):
                with contextlib.suppress(ApiError):
                    api_server.request("DELETE", path)


def ours(server: ApiServer) -> list[tuple[str, str]]:
    """Return uid and path of every object of our kinds."""
    found: list[tuple[str, str]] = []
    for kind, plural in (("RoleBinding", "rolebindings"), ("RoleGrant", "rolegrants"), ("AWSAccount", "awsaccounts")):
        for item in server.request("GET", f"/apis/{API_VERSION}/{plural}")["items"]:
            path = server.path(item | {"apiVersion": API_VERSION, "kind": kind})
            found.append((item["metadata"]["uid"], path))
    return found


def binding_spec(**spec: Any) -> dict[str, Any]:
    """Return the spec of a binding to a role of an account that nobody described."""
    return {"roleArn": a_role(an_account_id()), "serviceAccountNames": ["default"], **spec}


def described(server: ApiServer, webhook: Webhook, namespace: str) -> str:
    """Create an AWSAccount and a grant for ``namespace``, wait until the webhook knows, and return a role there."""
    account_id = an_account_id()
    role = a_role(account_id)
    server.create(an_object("AWSAccount", accountId=account_id))
    pattern = role.replace("/reader", "/*")
    server.create(an_object("RoleGrant", namespaces={"names": [namespace]}, roleArns=[pattern]))
    binding = an_object("RoleBinding", namespace, roleArn=role, serviceAccountNames=["default"])
    server.wait(lambda: not write(server, binding).warnings, message="no warning is left")
    assert webhook.process.running
    return role


def test_a_denial_is_seen(api_server: ApiServer, webhook: Webhook) -> None:
    """What the schema cannot say is refused in one sentence, with the field, as the schema's own refusals are."""
    bad = an_object("RoleBinding", "default", **binding_spec(conditions=own_condition(api_server)))
    answer = write(api_server, bad)
    assert answer.status == 422
    assert answer.body["reason"] == "Invalid"
    assert answer.body["message"] == (
        'admission webhook "validate.trustbind.dev" denied the request: spec.conditions: a further condition on '
        f"{api_server.issuer.removeprefix('https://')}:sub is not possible: the statement states it itself"
    )
    assert 'trustbind_webhook_validations_total{kind="RoleBinding",outcome="denied"}' in webhook.metrics()


@pytest.mark.usefixtures("webhook")
def test_warnings_are_seen(api_server: ApiServer) -> None:
    """A binding that nobody granted, to an account that nobody described, is stored; its writer is told what lacks."""
    namespace = api_server.namespace("warned")
    spec = binding_spec(serviceAccountNames=["nobody"])
    account_id = spec["roleArn"].split(":")[4]
    answer = write(api_server, an_object("RoleBinding", namespace, **spec), dry=False)
    assert answer.status == 201
    granted, missing, to_write, accounts = answer.warnings
    assert granted.startswith("trustbind: no RoleGrant ")
    assert spec["roleArn"] in granted
    assert missing == f"trustbind: spec.roleArn: no AWSAccount has accountId {account_id}"
    assert accounts == f"trustbind: spec.serviceAccountNames: not in namespace {namespace} yet: nobody"
    # What is to be written can be taken as it stands.
    line = yaml.safe_load(to_write.removeprefix("trustbind: create one: "))
    assert write(api_server, line).status == 201


def test_a_complete_binding_has_no_warning(api_server: ApiServer, webhook: Webhook) -> None:
    """With grant, account and service account there is nothing to say; with a generated name neither."""
    namespace = api_server.namespace("complete")
    role = described(api_server, webhook, namespace)
    binding = an_object("RoleBinding", namespace, roleArn=role, serviceAccountNames=["default"])
    binding["metadata"] = {"namespace": namespace, "generateName": "reader-"}
    answer = write(api_server, binding)
    assert (answer.status, answer.warnings) == (201, [])


def test_a_profile_conflict_names_the_older_binding(api_server: ApiServer, webhook: Webhook) -> None:
    """Of two bindings for one profile of one account, the second is told of the first."""
    namespace = api_server.namespace("conflict")
    role = described(api_server, webhook, namespace)
    older = an_object("RoleBinding", namespace, "a-older", roleArn=role, serviceAccountNames=["default"])
    api_server.create(older)
    younger = an_object("RoleBinding", namespace, "b-younger", roleArn=role, serviceAccountNames=["default"])
    api_server.wait(lambda: write(api_server, younger).warnings, message="the conflict")
    (warning,) = write(api_server, younger).warnings
    assert warning == (
        f"trustbind: the older RoleBinding {namespace}/a-older has profile default for service account default "
        "already; give this one another spec.profile, or remove one of the two"
    )
    assert not write(api_server, younger | {"spec": younger["spec"] | {"profile": "other"}}).warnings


def test_objects_of_the_cluster_are_judged(api_server: ApiServer, webhook: Webhook) -> None:
    """A second AWSAccount for one account, and a grant of everything to everybody, are told to be that."""
    account_id = an_account_id()
    api_server.create(an_object("AWSAccount", name=f"first-{account_id}", accountId=account_id))
    second = an_object("AWSAccount", accountId=account_id)
    api_server.wait(lambda: write(api_server, second).warnings, message="the first account is known")
    assert write(api_server, second).warnings == [
        f"trustbind: AWSAccount first-{account_id} is older and has the same accountId; remove one of the two"
    ]
    wide = an_object(
        "RoleGrant", namespaces={"names": ["nowhere"], "selector": {}}, roleArns=["arn:aws:iam::444455556666:role/*"]
    )
    answer = write(api_server, wide)
    assert answer.status == 201
    told = " ".join(answer.warnings)
    assert "arn:aws:iam::444455556666:role/* covers every role of account 444455556666" in told
    assert "an empty selector covers every namespace" in told
    assert "spec.namespaces.names: no such namespace yet: nowhere" in told
    assert webhook.process.running


def update(
    api_server: ApiServer, manifest: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> Answer:
    """Write an object as ``change`` makes it of the stored one, again where the operator writes it meanwhile."""
    while (answer := write(api_server, change(api_server.get(manifest)), method="PUT", dry=False)).status == 409:
        pass
    return answer


@pytest.mark.usefixtures("webhook")
def test_an_old_object_can_be_labelled_and_deleted(api_server: ApiServer, early: dict[str, Any]) -> None:
    """What was stored before the rule was there is left alone until its spec is changed, and can always go."""
    changes = {"labels": {"a": "b"}, "finalizers": ["example.com/wait"]}
    answer = update(api_server, early, lambda stored: stored | {"metadata": stored["metadata"] | changes})
    assert (answer.status, answer.warnings) == (200, [])
    status = {"conditions": [], "observedGeneration": 1}
    path = api_server.path(early, subresource="status")
    api_server.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")
    changed = update(api_server, early, lambda stored: stored | {"spec": stored["spec"] | {"region": "eu-central-1"}})
    assert changed.status == 422
    api_server.delete(early)
    assert api_server.get(early)["metadata"]["deletionTimestamp"]
    released = update(api_server, early, lambda stored: stored | {"metadata": _without_finalizers(stored["metadata"])})
    assert released.status == 200


def _without_finalizers(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != "finalizers"}


@pytest.mark.usefixtures("webhook")
def test_pods_are_still_injected(api_server: ApiServer) -> None:
    """The other half works beside it: a pod of a bound account gets its role."""
    namespace = api_server.namespace("pods")
    role = a_role(an_account_id())
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "app", "namespace": namespace, "annotations": {"eks.amazonaws.com/role-arn": role}},
    }
    api_server.create(account)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": namespace},
        "spec": {"serviceAccountName": "app", "containers": [{"name": "main", "image": "example.com/app:1"}]},
    }
    created = api_server.create(pod)
    environment = {e["name"]: e["value"] for e in created["spec"]["containers"][0]["env"]}
    assert environment["AWS_ROLE_ARN"] == role
    assert "aws-iam-token" in {volume["name"] for volume in created["spec"]["volumes"]}


@pytest.mark.usefixtures("webhook")
def test_the_own_namespace_is_left_alone(api_server: ApiServer) -> None:
    """Nothing is asked about what is in it; kube-system is a namespace as any other."""
    spec = binding_spec(conditions=own_condition(api_server))
    answer = write(api_server, an_object("RoleBinding", "trustbind-system", **spec))
    assert (answer.status, answer.warnings) == (201, [])
    assert write(api_server, an_object("RoleBinding", "kube-system", **spec)).status != 201


def test_ready_without_rights_for_warnings(api_server: ApiServer, system: str, tmp_path: Path) -> None:
    """Injection does not wait for what only warnings need; what cannot be seen is told once and not guessed at."""
    name = f"narrow-{secrets.token_hex(4)}"
    (role,) = (o for o in RBAC if o["kind"] == "ClusterRole")
    rules = [
        rule for rule in role["rules"] if not set(FURTHER) & set(rule.get("resources", [])) and "resources" in rule
    ]
    assert rules
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": system}}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": reference,
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": system}],
    }
    api_server.apply([account, role | {"metadata": {"name": name}, "rules": rules}, binding])
    with running(tmp_path, api_server.kubeconfig(f"{system}/{name}")) as webhook:
        assert webhook.call(method="GET", path="/readyz")[0] == 200

        def told() -> int:
            return sum("counts as not known" in line for line in webhook.process.output)

        eventually(lambda: told() == len(FURTHER), "each resource that cannot be seen is told")
        spec = binding_spec()
        request = {
            "uid": "u",
            "resource": {"group": "trustbind.dev", "version": "v1alpha1", "resource": "rolebindings"},
            "namespace": "default",
            "operation": "CREATE",
            "object": an_object("RoleBinding", "default", **spec),
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        _, answer = webhook.call(json.dumps(review), path="/validate")
        assert answer["response"] == {"uid": "u", "allowed": True}
        assert not knows(webhook, "rolegrants")
        assert told() == len(FURTHER)
