"""A cluster and AWS accounts as the guides assume them, in which the files of a guide are applied as they stand.

    guide = Guide(world, "chains.md")
    guide.account("111122223333").role("base", path="/workloads/")
    guide.apply("platform.yaml", "feed.yaml")
    guide.binding("partner-feed").ready()
    pod = guide.pod("pod.yaml")
    guide.program(pod, WHOAMI)

Account numbers and namespaces are those of the pages, so two guides do not run at once.
"""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from support.kube import ApiError
from support.pages import DOCS, blocks, objects
from support.processes import eventually
from support.world import API_VERSION, OPERATOR_ACCOUNT, SECONDS, Account, Binding, World, aws_policy, policy

__all__ = ["WHOAMI", "Guide"]

Json = dict[str, Any]

EXTERNAL_ID: Final = "cluster-blue"
"""That the AWSAccounts of the guides have."""

WHOAMI: Final = (
    "import boto3, sys; s = boto3.Session(profile_name=sys.argv[1] if sys.argv[1:] else None); "
    "c = s.client('sts'); print(c.get_caller_identity()['Arn'], c.meta.region_name)"
)
"""What a workload does: it says who it is and which region it is in; an argument names the profile."""

_LAST: Final = ("Namespace", "RoleGrant", "AWSAccount")
"""Kinds in the order in which they are removed: trust is revoked while its account is described."""


class Guide:
    """See the module.

    Args:
        world: where the operator and the webhook run.
        page: name of a page in docs/guides.
        folder: of the test's, for tokens and config files.
    """

    def __init__(self, world: World, page: str, folder: Path) -> None:
        self.world = world
        self.page = DOCS / "guides" / page
        self._folder = folder
        self._made: list[Json] = []

    # --- AWS --------------------------------------------------------------------------------------------------------

    def account(self, number: str, *, chains: bool = True) -> Account:
        """Return an account of the pages, with the manager role that they assume.

        Args:
            number: of the account.
            chains: whether the manager role was made with ``SourceRolePath``.
        """
        client = self.world.client("iam", number)
        with contextlib.suppress(client.exceptions.NoSuchEntityException):
            self._remove_role(client, "trustbind-manager")
        trust = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{OPERATOR_ACCOUNT}:role/{self.world.operator_role}"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        }
        policies = {"manager": aws_policy("manager-role-policy.json")}
        if chains:
            policies["chains"] = aws_policy("manager-role-chains-policy.json")
        role = {"name": "trustbind-manager", "trustPolicy": policy(trust), "inlinePolicies": policies}
        self.world.aws.seed({"accounts": {number: {"roles": [role]}}})
        return Account(self.world, number, client, {})

    def _remove_role(self, client: Any, name: str) -> None:
        for inline in client.list_role_policies(RoleName=name)["PolicyNames"]:
            client.delete_role_policy(RoleName=name, PolicyName=inline)
        client.delete_role(RoleName=name)

    def forget(self, account: Account, *roles: str) -> None:
        """Delete roles, as their owner would."""
        for name in roles:
            with contextlib.suppress(account.iam.exceptions.NoSuchEntityException):
                self._remove_role(account.iam, name)

    # --- Kubernetes -------------------------------------------------------------------------------------------------

    def namespace(self, name: str = "team-a") -> None:
        """Create a namespace of the pages."""
        self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def put(self, manifest: Json) -> Json:
        """Apply an object, and return it as it is stored."""
        self._made.append(manifest)
        return self.world.api.apply(manifest)

    def objects(self, *names: str) -> list[Json]:
        """Return the objects in these files of the page."""
        return [manifest for name in names for manifest in objects(self.page, name)]

    def values(self) -> list[Json]:
        """Return the page's values of the chart."""
        return [yaml.safe_load(block.text) for block in blocks(self.page) if block.mark == "values"]

    def apply(self, *names: str) -> None:
        """Apply the objects in these files of the page, but for pods."""
        for manifest in self.objects(*names):
            if manifest["kind"] != "Pod":
                self.put(manifest)

    def describe(self, number: str, namespace: str = "team-a") -> None:
        """Describe an account, and grant a namespace all of its roles: where a page leaves that to another."""
        manager = f"arn:aws:iam::{number}:role/trustbind-manager"
        account = {"accountId": number, "managerRoleArn": manager, "externalId": EXTERNAL_ID}
        grant = {"namespaces": {"names": [namespace]}, "roleArns": [f"arn:aws:iam::{number}:role/*"]}
        for kind, spec in (("AWSAccount", account), ("RoleGrant", grant)):
            self.put({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": f"guide-{number}"}, "spec": spec})

    def like(self, binding: str, name: str, **spec: Any) -> Binding:
        """Apply a binding that differs in this from one of the page."""
        manifest = copy.deepcopy(self.binding(binding).manifest)
        manifest["metadata"]["name"] = name
        manifest["spec"] |= spec
        self.put(manifest)
        return self.binding(name)

    def binding(self, name: str, namespace: str = "team-a") -> Binding:
        """Return a binding that was applied."""
        (found,) = (
            m
            for m in self._made
            if m["kind"] == "RoleBinding"
            and m["apiVersion"].startswith("trustbind.dev/")
            and (m["metadata"]["name"], m["metadata"]["namespace"]) == (name, namespace)
        )
        return Binding(self.world, found)

    def pod(self, file: str, *, injected: bool = True) -> Json:
        """Create the pod in a file of the page; return it as it was stored.

        Args:
            file: with the pod, and perhaps other objects, which are passed over.
            injected: whether the webhook, whose watch may be behind, is waited for.
        """
        (manifest,) = (m for m in self.objects(file) if m["kind"] == "Pod")

        def created() -> Json | None:
            stored = self.world.api.create(manifest)
            if not injected or any(v["name"] == "aws-iam-token" for v in stored["spec"].get("volumes", ())):
                return stored
            self.world.api.request("DELETE", f"{self.world.api.path(stored)}?gracePeriodSeconds=0")
            return None

        return eventually(created, "the webhook knows of the binding", seconds=SECONDS)

    def gates(self, pod: Json) -> list[str]:
        """Return the scheduling gates that a pod has now."""
        return [gate["name"] for gate in self.world.api.get(pod)["spec"].get("schedulingGates", ())]

    def pods(self, namespace: str = "team-a") -> list[Json]:
        """Return the pods of a namespace that are not on their way out."""
        items = self.world.api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        live = (pod for pod in items if "deletionTimestamp" not in pod["metadata"])
        return [{"apiVersion": "v1", "kind": "Pod"} | pod for pod in live]

    def runs(self, pod: Json) -> None:
        """Say what a kubelet would say of a pod that runs and is ready."""
        path = f"{self.world.api.path(pod)}/status"
        change = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        self.world.api.request("PATCH", path, change, content_type="application/merge-patch+json")

    # --- the container ----------------------------------------------------------------------------------------------

    def environment(self, pod: Json) -> dict[str, str]:
        """Write what the kubelet would write into the volume, and return the container's variables."""
        (container,) = pod["spec"]["containers"]
        (mount,) = (m for m in container["volumeMounts"] if m["name"] == "aws-iam-token")
        (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == "aws-iam-token")
        place = mount["mountPath"]
        for source in volume["projected"]["sources"]:
            for path, text in self._content(pod, source):
                (self._folder / path).write_text(text.replace(place, str(self._folder)), encoding="utf-8")
        return {e["name"]: e["value"].replace(place, str(self._folder)) for e in container["env"]}

    def _content(self, pod: Json, source: Mapping[str, Any]) -> list[tuple[str, str]]:
        if "downwardAPI" in source:
            (item,) = source["downwardAPI"]["items"]
            return [(item["path"], pod["metadata"]["annotations"]["trustbind.dev/aws-config"])]
        wanted = source["serviceAccountToken"]
        namespace, account = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
        token = self.world.api.token(namespace, account, wanted["audience"], wanted["expirationSeconds"])
        return [(wanted["path"], token)]

    def program(self, pod: Json, code: str = WHOAMI, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program in the pod's container: with what was injected, and where AWS is."""
        environment = self.environment(pod) | {"AWS_ENDPOINT_URL": self.world.aws.url, "HOME": str(self._folder)} | env
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    # --- the end ----------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove what was applied, and wait until it is gone: the next guide has the same names."""

        def rank(manifest: Json) -> int:
            return _LAST.index(manifest["kind"]) + 1 if manifest["kind"] in _LAST else 0

        made = sorted({self.world.api.path(m): m for m in self._made}.values(), key=rank)
        self._made.clear()
        for manifest in made:
            with contextlib.suppress(ApiError):
                self.world.api.delete(manifest)
            if rank(manifest):
                self.world.gone(manifest)
