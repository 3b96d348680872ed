"""A cluster and an AWS for tests of the operator.

    world.account()                   an account of its own, described by an AWSAccount
    role = account.role()             a role in it, with a foreign statement
    team = world.team()               a namespace of its own
    team.grant(account)
    binding = team.binding(role)
    binding.ready()

Accounts and namespaces have random names, so that all tests share one API server and one operator.
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import boto3

from support.kube import ApiError, ApiServer
from support.kubeclient import ROOT, load_manifests
from support.processes import eventually
from trustbind.identity.subjects import Issuer
from trustbind.policy.owned_statement import owner_prefix
from trustbind_localaws import LocalAws

__all__ = [
    "API_VERSION",
    "EXTERNAL_ID",
    "FOREIGN",
    "OPERATOR_ACCOUNT",
    "OPERATOR_RIGHTS",
    "SECONDS",
    "SYSTEM",
    "Account",
    "Binding",
    "Team",
    "World",
    "aws_policy",
    "policy",
]

API_VERSION: Final = "trustbind.dev/v1alpha1"
SYSTEM: Final = "trustbind-system"
OPERATOR_ACCOUNT: Final = "111122223333"
EXTERNAL_ID: Final = "cluster/4711"

SECONDS: Final = 90.0
"""Deadline of a wait for the operator; what is waited for takes a second or two on a quiet machine."""

OPERATOR_RIGHTS: Final = (
    "operator",
    "operator-annotated-report",
    "operator-bind-annotated",
    "operator-binding-sets",
    "operator-namespace-patterns",
)
"""Files of manifests/rbac with what the operator may do."""

FOREIGN: Final = {
    "Sid": "Ops",
    "Effect": "Allow",
    "Principal": {"Service": "ec2.amazonaws.com"},
    "Action": "sts:AssumeRole",
}
"""Somebody else's statement."""

Json = dict[str, Any]


def policy(*statements: Mapping[str, Any]) -> Json:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def aws_policy(name: str) -> Json:
    """Return a policy document of ``manifests/aws``."""
    document: Json = json.loads((ROOT / "manifests" / "aws" / name).read_text())
    return document


@dataclass
class Account:
    """An AWS account with a manager role, and the AWSAccount object that describes it."""

    world: World
    id: str
    iam: Any
    manifest: Json

    @property
    def name(self) -> str:
        """Name of the AWSAccount object."""
        return str(self.manifest["metadata"]["name"])

    def arn(self, name: str, path: str = "/") -> str:
        """Return the ARN that a role of this account has or would have."""
        return f"arn:aws:iam::{self.id}:role{path}{name}"

    def role(
        self, name: str = "app", *statements: Mapping[str, Any], tags: Mapping[str, str] | None = None, path: str = "/"
    ) -> str:
        """Create a role and return its ARN; without statements it has a foreign one."""
        created = self.iam.create_role(
            RoleName=name,
            Path=path,
            AssumeRolePolicyDocument=json.dumps(policy(*(statements or [FOREIGN]))),
            Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        )
        return str(created["Role"]["Arn"])

    def statements(self, name: str = "app") -> list[Json]:
        """Return the statements of a role's trust policy."""
        document = self.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        return list(document["Statement"])

    def owned(self, name: str = "app") -> list[Json]:
        """Return those that the cluster's operator wrote."""
        return [s for s in self.statements(name) if s.get("Sid", "").startswith(self.world.sid_prefix)]

    def foreign(self, name: str = "app") -> list[Json]:
        """Return all others."""
        return [s for s in self.statements(name) if not s.get("Sid", "").startswith(self.world.sid_prefix)]

    def subjects(self, name: str = "app") -> list[str]:
        """Return whom the cluster's own statements let in, as ``namespace:account``."""
        found: list[str] = []
        for statement in self.owned(name):
            (values,) = (v for k, v in statement["Condition"]["StringEquals"].items() if k.endswith(":sub"))
            found += [values] if isinstance(values, str) else values
        return [subject.removeprefix("system:serviceaccount:") for subject in found]

    def write(self, name: str, *statements: Mapping[str, Any]) -> None:
        """Replace a role's trust policy, as somebody else would."""
        self.iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(policy(*statements)))

    def calls(self, *operations: str) -> int:
        """Return how many calls of these operations the operator made in this account."""
        return sum(
            len([c for c in self.world.aws.calls(self.id, operation) if not c.caller.endswith(":root")])
            for operation in operations
        )

    def patch(self, **spec: Any) -> None:
        """Change fields of the AWSAccount's spec; None takes one out."""
        self.world.merge(self.manifest, {"spec": spec})

    def ready(self) -> Json:
        """Wait until the AWSAccount is Ready; return the condition."""
        return self.world.condition(self.manifest, "True")

    def refused(self, reason: str) -> Json:
        """Wait until the AWSAccount is not Ready for this reason; return the condition."""
        return self.world.condition(self.manifest, "False", reason)


@dataclass
class Binding:
    """A RoleBinding object."""

    world: World
    manifest: Json

    def get(self) -> Json:
        """Return it as it is stored."""
        return self.world.api.get(self.manifest)

    def patch(self, **spec: Any) -> None:
        """Change fields of its spec; None takes one out."""
        self.world.merge(self.manifest, {"spec": spec})

    def ready(self, seconds: float = SECONDS) -> Json:
        """Wait until it is Ready as it is now; return the condition."""
        return self.world.condition(self.manifest, "True", "TrustApplied", seconds=seconds)

    def refused(self, reason: str, *, type_: str = "Ready") -> Json:
        """Wait until it is not Ready for this reason; return the condition."""
        return self.world.condition(self.manifest, "False", reason, type_=type_)

    def delete(self) -> None:
        """Delete it, without waiting for what its finalizer waits for."""
        self.world.api.delete(self.manifest)

    def gone(self, seconds: float = SECONDS) -> None:
        """Wait until it is gone."""
        self.world.gone(self.manifest, seconds)

    def events(self) -> list[Json]:
        """Return the Events about it, oldest first."""
        return self.world.events(self.manifest)


@dataclass
class Team:
    """A namespace and what is in it."""

    world: World
    namespace: str

    @property
    def manifest(self) -> Json:
        """The namespace itself."""
        return _manifest("v1", "Namespace", self.namespace)

    def service_account(self, name: str = "reader", **metadata: Any) -> Json:
        """Create a service account, or give it other labels and annotations."""
        return self.world.apply("v1", "ServiceAccount", name, self.namespace, metadata=metadata)

    def grant(self, *accounts: Account, **spec: Any) -> Json:
        """Grant this namespace every role of these accounts, or what ``spec`` says; return the manifest."""
        wanted = {
            "namespaces": {"names": [self.namespace]},
            "roleArns": [f"arn:aws:iam::{account.id}:role/*" for account in accounts] or ["arn:aws:iam::*:role/*"],
            "audiences": ["sts.amazonaws.com", "vault.example.com"],
            "allowRetain": True,
        }
        return self.world.apply(API_VERSION, "RoleGrant", self.namespace, spec=wanted | spec)

    def binding(self, role: str, name: str = "app", **spec: Any) -> Binding:
        """Bind service account ``reader``, or whom ``spec`` names, to a role."""
        manifest = self.binding_manifest(role, name, **spec)
        self.world.api.apply(manifest)
        return Binding(self.world, manifest)

    def binding_manifest(self, role: str, name: str = "app", **spec: Any) -> Json:
        """Return the manifest of a RoleBinding; a field that is None is left out."""
        named = {} if "serviceAccountSelector" in spec else {"serviceAccountNames": ["reader"]}
        wanted = {name: value for name, value in ({"roleArn": role} | named | spec).items() if value is not None}
        return {
            "apiVersion": API_VERSION,
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": wanted,
        }


@dataclass
class World:
    """One API server with one local AWS."""

    api: ApiServer
    aws: LocalAws
    issuer: str = ""
    operator_role: str = ""
    _made: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Install what the halves need, and the operator's role in its own account."""
        self.issuer = self.issuer or self.api.issuer
        self.sid_prefix = owner_prefix(Issuer.parse(self.issuer))
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        for name in (*OPERATOR_RIGHTS, "webhook"):
            self.api.apply(load_manifests(ROOT / "manifests" / "rbac" / f"{name}.yaml"))
        # What limits those rights further; the names are the same.
        installed = load_manifests(ROOT / "manifests" / "install.yaml")
        self.api.apply([m for m in installed if m["kind"].startswith("ValidatingAdmissionPolicy")])
        self.aws.register_issuer(self.issuer, self.api.jwks())
        if self.operator_role:  # another cluster's operator has it as well
            return
        self.operator_role = f"operator-{secrets.token_hex(4)}"
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OPERATOR_ACCOUNT}:root"}}
        role = {
            "name": self.operator_role,
            "trustPolicy": policy(trust | {"Action": "sts:AssumeRole"}),
            "inlinePolicies": {"operator": aws_policy("operator-policy.json")},
        }
        self.aws.seed({"accounts": {OPERATOR_ACCOUNT: {"roles": [role]}}})

    # --- AWS --------------------------------------------------------------------------------------------------------

    def client(self, service: str, account: str) -> Any:
        """Return a boto3 client that is the account's root, and tries once."""
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=self.aws.url,
            aws_access_key_id=account,
            aws_secret_access_key="unused",
        )

    def account(self, *, described: bool = True, manager: bool = True, **spec: Any) -> Account:
        """Create an account.

        Args:
            described: whether an AWSAccount is created for it.
            manager: whether it has a manager role.
            spec: fields of the AWSAccount.
        """
        number = f"{random.randrange(10**11, 10**12)}"  # noqa: S311 - to be different, not to be secret
        if manager:
            trust = {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{OPERATOR_ACCOUNT}:role/{self.operator_role}"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
            }
            role = {
                "name": "trustbind-manager",
                "trustPolicy": policy(trust),
                "inlinePolicies": {
                    "manager": aws_policy("manager-role-policy.json"),
                    "chains": aws_policy("manager-role-chains-policy.json"),
                    "eks": aws_policy("manager-role-eks-policy.json"),
                },
            }
            self.aws.seed({"accounts": {number: {"roles": [role]}}})
        wanted = {
            "accountId": number,
            "managerRoleArn": f"arn:aws:iam::{number}:role/trustbind-manager",
            "externalId": EXTERNAL_ID,
        } | spec
        wanted = {key: value for key, value in wanted.items() if value is not None}
        manifest = _manifest(API_VERSION, "AWSAccount", f"account-{number}", spec=wanted)
        account = Account(self, number, self.client("iam", number), manifest)
        if described:
            self.describe(account)
        return account

    def describe(self, account: Account) -> None:
        """Create the AWSAccount object of an account."""
        self._made.append(account.manifest)
        self.api.apply(account.manifest)

    def share(self, account: Account) -> Account:
        """Describe an account that another cluster knows already in this one."""
        shared = Account(self, account.id, account.iam, account.manifest)
        self.describe(shared)
        return shared

    # --- Kubernetes -------------------------------------------------------------------------------------------------

    def set(self, role: str, labels: Mapping[str, str], name: str = "", **template: Any) -> Binding:
        """Bind service account ``reader`` of all namespaces with these labels to a role, by a RoleBindingSet."""
        spec = {
            "namespaceSelector": {"matchLabels": dict(labels)},
            "serviceAccountNames": ["reader"],
            "template": {"roleArn": role} | template,
        }
        name = name or f"set-{secrets.token_hex(4)}"
        return Binding(self, self.apply(API_VERSION, "RoleBindingSet", name, spec=spec))

    def team(self, **labels: str) -> Team:
        """Create a namespace."""
        name = self.api.namespace("team", labels)
        self._made.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return Team(self, name)

    def apply(self, api_version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> Json:
        """Apply an object and return its manifest; an object of the cluster is removed after the test."""
        manifest = _manifest(api_version, kind, name, namespace, **fields)
        if not namespace:
            self._made.append(manifest)
        self.api.apply(manifest)
        return manifest

    def merge(self, manifest: Mapping[str, Any], change: Mapping[str, Any]) -> Json:
        """Change an object by a merge patch."""
        path = self.api.path(manifest)
        changed: Json = self.api.request("PATCH", path, change, content_type="application/merge-patch+json")
        return changed

    def condition(
        self,
        manifest: Mapping[str, Any],
        status: str,
        reason: str = "",
        *,
        type_: str = "Ready",
        seconds: float = SECONDS,
    ) -> Json:
        """Wait until a condition has this status and reason for the object's present generation; return it."""

        def found() -> Json | None:
            try:
                stored = self.api.get(manifest)
            except ApiError as error:
                if error.status == 404:  # it may be about to be made
                    return None
                raise
            for condition in stored.get("status", {}).get("conditions", []):
                if (
                    (condition["type"], condition["status"]) == (type_, status)
                    and reason in {"", condition["reason"]}
                    and condition["observedGeneration"] == stored["metadata"]["generation"]
                ):
                    return dict(condition)
            return None

        try:
            return eventually(found, f"{type_}={status} {reason}", seconds=seconds)
        except AssertionError as error:
            with contextlib.suppress(ApiError):
                error.add_note(json.dumps(self.api.get(manifest).get("status"), indent=1))
            raise

    def gone(self, manifest: Mapping[str, Any], seconds: float = SECONDS) -> None:
        """Wait until an object is gone."""

        def is_gone() -> bool:
            try:
                self.api.get(manifest)
            except ApiError as error:
                return error.status == 404
            return False

        try:
            eventually(is_gone, f"{manifest['metadata']['name']} is gone", seconds=seconds)
        except AssertionError as error:
            with contextlib.suppress(ApiError):
                error.add_note(json.dumps(self.api.get(manifest), indent=1))
            raise

    def events(self, manifest: Mapping[str, Any]) -> list[Json]:
        """Return the Events about an object, oldest first."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "default")
        items = self.api.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        about = [e for e in items if e["involvedObject"]["name"] == metadata["name"]]
        return sorted(about, key=lambda e: int(e["metadata"]["resourceVersion"]))

    def event(self, manifest: Mapping[str, Any], reason: str) -> Json:
        """Wait for an Event of this reason about an object; return it."""
        return eventually(
            lambda: next((e for e in self.events(manifest) if e["reason"] == reason), None),
            f"an Event {reason} about {manifest['metadata']['name']}",
            seconds=SECONDS,
        )

    def audit(self, account: str, since: int = 0) -> list[Json]:
        """Return what a service account of trustbind-system asked of the API server.

        Args:
            account: its name.
            since: a size that the audit log had.
        """
        with self.api.audit_log.open("rb") as log:
            log.seek(since)
            events = [json.loads(line) for line in log.read().splitlines()]
        return [e for e in events if e["user"]["username"] == f"system:serviceaccount:{SYSTEM}:{account}"]

    def audited(self) -> int:
        """Return the size of the audit log."""
        return self.api.audit_log.stat().st_size

    def clear(self) -> None:
        """Let everything work again, and remove what a test has made; what is slow to go is not waited for."""
        self.aws.clear_faults()
        while self._made:
            manifest = self._made.pop()
            with contextlib.suppress(ApiError):
                self.api.delete(manifest)


def _manifest(api_version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | fields.pop("metadata", {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata} | fields
