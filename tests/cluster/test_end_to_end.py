"""From three objects in the cluster to credentials in a pod, through everything that is real but AWS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.halves import Operator, Webhook
from support.kube import ApiError
from support.world import FOREIGN, Team, World

WHOAMI = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
"""What a workload does: it says nothing about roles or tokens."""


def _pod(team: Team, account: str) -> dict[str, Any]:
    """Create a pod and return it as it was stored."""
    return team.world.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"web-{account}", "namespace": team.namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "example.com/web:1"}]},
        }
    )


def _workload(team: Team, pod: Mapping[str, Any], account: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run what a pod would: with the injected variables alone, and the token that the kubelet would project."""
    (container,) = pod["spec"]["containers"]
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "aws-iam-token")
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "aws-iam-token")
    (source,) = (s["serviceAccountToken"] for s in volume["projected"]["sources"] if "serviceAccountToken" in s)
    token = directory / source["path"]
    token.write_text(team.world.api.token(team.namespace, account, source["audience"], source["expirationSeconds"]))
    environment = {e["name"]: e["value"].replace(mount["mountPath"], str(directory)) for e in container["env"]}
    environment |= {"AWS_ENDPOINT_URL": team.world.aws.url, "HOME": str(directory)}
    return subprocess.run(
        [sys.executable, "-c", WHOAMI], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.usefixtures("webhook", "operator")
def test_a_workload_gets_its_role(world: World, tmp_path: Path) -> None:
    """Three objects, and a pod of the bound account has credentials; of another account it has none."""
    account = world.account()
    role = account.role("s3-reader", path="/team-a/")
    team = world.team()
    for name in ("reader", "other"):
        team.service_account(name)
    team.grant(account)
    binding = team.binding(role, "s3-reader")
    binding.ready()
    account.ready()
    assert account.foreign("s3-reader") == [FOREIGN]
    assert account.subjects("s3-reader") == [f"{team.namespace}:reader"]

    pod = world.api.wait(lambda: _injected(team), message="the webhook knows of the binding") or {}
    done = _workload(team, pod, "reader", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"arn:aws:sts::{account.id}:assumed-role/s3-reader/{team.namespace}.reader")

    stolen = _workload(team, pod, "other", tmp_path)
    assert "AccessDenied" in stolen.stderr
    assert stolen.returncode != 0
    assert not any(v["name"] == "aws-iam-token" for v in _pod(team, "other")["spec"].get("volumes", []))

    binding.delete()
    binding.gone()
    assert account.statements("s3-reader") == [FOREIGN]
    assert "AccessDenied" in _workload(team, pod, "reader", tmp_path).stderr


SIDECAR = "object.spec.containers.exists(c, c.name == 'sidecar')"
INJECTED = "object.spec.containers.exists(c, has(c.env) && c.env.exists(e, e.name == 'AWS_ROLE_SESSION_NAME'))"


@pytest.mark.usefixtures("webhook")
def test_a_container_that_comes_later(world: World) -> None:
    """A container that is added after the webhook's first call has the session name of the others.

    The API server calls the webhook again with another uid, and the pod has no name yet.
    """
    team = world.team()
    team.service_account("reader", annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::444455556666:role/x"})
    name = f"sidecars-{team.namespace}"
    world.apply(
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicy",
        name,
        spec={
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ]
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {
                        # A policy that did nothing in the first round is not asked again.
                        "expression": f"{INJECTED} && !{SIDECAR} ? "
                        '[JSONPatch{op: "add", path: "/spec/containers/0", '
                        'value: Object.spec.containers{name: "sidecar", image: "example.com/sidecar:1"}}]'
                        ' : [JSONPatch{op: "add", path: "/metadata/labels", value: {"seen": "true"}}]'
                    },
                }
            ],
        },
    )
    selector = {"matchLabels": {"kubernetes.io/metadata.name": team.namespace}}
    world.apply(
        "admissionregistration.k8s.io/v1",
        "MutatingAdmissionPolicyBinding",
        name,
        spec={"policyName": name, "matchResources": {"namespaceSelector": selector}},
    )

    def with_sidecar() -> dict[str, Any] | None:
        pod = world.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "web-", "namespace": team.namespace},
                "spec": {
                    "serviceAccountName": "reader",
                    "containers": [{"name": "main", "image": "example.com/web:1"}],
                },
            }
        )
        return pod if len(pod["spec"]["containers"]) == len(("main", "sidecar")) else None

    pod = world.api.wait(with_sidecar, message="the policy is in force") or {}
    sessions = [
        {variable["name"]: variable["value"] for variable in container["env"]}["AWS_ROLE_SESSION_NAME"]
        for container in pod["spec"]["containers"]
    ]
    assert len(sessions) == 2
    assert sessions[0] == sessions[1]


def _injected(team: Team) -> dict[str, Any] | None:
    """Create the account's pod; take it away again where the webhook's watch has not seen the binding yet."""
    pod = _pod(team, "reader")
    if any(v["name"] == "aws-iam-token" for v in pod["spec"]["volumes"]):
        return pod
    path = f"/api/v1/namespaces/{team.namespace}/pods/web-reader?gracePeriodSeconds=0"
    team.world.api.request("DELETE", path)
    return None


def test_a_pod_is_kept_when_its_account_is_not_there(webhook: Webhook, operator: Operator, world: World) -> None:
    """The webhook decides about pods of accounts, not about whether they may exist: that is the API server's."""
    assert operator.running
    assert webhook.process.running
    team = world.team()
    with pytest.raises(ApiError, match="serviceaccount"):
        _pod(team, "nobody")


@pytest.mark.usefixtures("webhook", "operator")
def test_a_config_file_never_gets_a_pod_refused(world: World) -> None:
    """The API server takes no annotations over 256 KiB: such a pod is stored as it came."""
    team = world.team()
    team.service_account("reader")
    count = 15
    for number in range(count):
        spec = {
            "roleArn": f"arn:aws:iam::444455556666:role/{'y' * 480}/r{number}",
            "serviceAccountNames": ["reader"],
            "profile": f"p{number}",
        }
        metadata = {"name": f"b{number}", "namespace": team.namespace}
        manifest = {"apiVersion": "trustbind.dev/v1alpha1", "kind": "RoleBinding", "metadata": metadata, "spec": spec}
        world.api.create(manifest)

    def pod(note: str) -> dict[str, Any]:
        metadata = {"name": "web", "namespace": team.namespace, "annotations": {"note": note}}
        spec = {"serviceAccountName": "reader", "containers": [{"name": "main", "image": "example.com/web:1"}]}
        path = f"/api/v1/namespaces/{team.namespace}/pods?dryRun=All"
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        annotations: dict[str, Any] = world.api.request("POST", path, body)["metadata"]["annotations"]
        return annotations

    key = "trustbind.dev/aws-config"
    found = world.api.wait(
        lambda: (a := pod("x")).get(key, "").count("[profile p") == count and a, message="the webhook knows all"
    )
    assert found
    room = 256 * 1024 - len(key) - len("note") - len(found[key])
    assert list(pod("x" * (room + 1))) == ["note"]
