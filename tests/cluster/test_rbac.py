"""Both halves may what they need and nothing else, in Kubernetes and in AWS: no rule is missing, and none is unused."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.agents import EksAccount
from support.halves import Operator, Webhook
from support.kubeclient import ROOT, ApiError, load_manifests
from support.processes import eventually
from support.world import API_VERSION, OPERATOR_ACCOUNT, OPERATOR_RIGHTS, SECONDS, Account, Team, World
from trustbind.api.role_grant import CONSENT_TAG
from trustbind.policy.pod_identity import BINDING_TAG

RBAC = ROOT / "manifests" / "rbac"
PERMISSIONS = (ROOT / "docs" / "reference" / "permissions.md").read_text()


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, or on one path of the API server."""

    verb: str
    resource: str
    name: str = ""

    @classmethod
    def granted_by(cls, *files: str) -> set[Right]:
        """Return what the rules in these files say, one by one."""
        rules = [
            rule
            for manifest in load_manifests(*(RBAC / f"{file}.yaml" for file in files))
            if manifest["kind"] in {"Role", "ClusterRole"}
            for rule in manifest["rules"]
        ]
        return {right for rule in rules for right in cls._of_rule(rule)}

    @classmethod
    def _of_rule(cls, rule: dict[str, Any]) -> Iterable[Right]:
        resources = [
            f"{resource}.{group}" if group else resource
            for group in rule.get("apiGroups", ())
            for resource in rule.get("resources", ())
        ] + list(rule.get("nonResourceURLs", ()))
        for verb in rule["verbs"]:
            for resource in resources:
                for name in rule.get("resourceNames", [""]):
                    yield cls(verb, resource, name)

    @classmethod
    def used_in(cls, event: dict[str, Any], granted: set[Right]) -> Right:
        """Return what a request asked for, in the words of the rule that lets it, if there is one."""
        about = event.get("objectRef")
        if about is None or "resource" not in about:
            return cls(event["verb"], event["requestURI"].partition("?")[0])
        resource = f"{about['resource']}/{about['subresource']}" if "subresource" in about else about["resource"]
        if about.get("apiGroup"):
            resource += f".{about['apiGroup']}"
        named = cls(event["verb"], resource, about.get("name", ""))
        return named if named in granted else cls(event["verb"], resource)


@contextlib.contextmanager
def meddling(world: World, manifest: dict[str, Any]) -> Iterator[None]:
    """Write an object all the time, so that whoever writes it with a version in hand is overtaken."""
    over = threading.Event()

    def meddle() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            world.merge(manifest, {"metadata": {"labels": {"n": str(number)}}})

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def overtake(world: World, since: int) -> None:
    """Let finalizers be refused for an older version, until the operator has read a binding and an account again."""
    wanted = {"rolebindings", "awsaccounts"}

    def read() -> bool:
        account, team = world.account(), world.team()
        team.grant(account)
        account.ready()
        with meddling(world, account.manifest):
            binding = team.binding(account.role())
            with meddling(world, binding.manifest):
                binding.ready()
        events = world.audit("trustbind-operator", since)
        return wanted <= {e["objectRef"]["resource"] for e in events if e["verb"] == "get" and "objectRef" in e}

    eventually(read, "both were read again", seconds=60)


def work(world: World) -> Account:
    """Let the operator do everything that it can do; return the account that it did it in."""
    overtake(world, world.audited())
    eks, team = EksAccount.of(world), world.team()
    account = eks.account
    team.grant(account, methods=["WebIdentity", "AssumeRole", "PodIdentity"])
    role = account.role()
    team.service_account("web", annotations={"eks.amazonaws.com/role-arn": role})
    binding = team.binding(role)
    binding.ready()
    team.binding(role, "vault", audience="vault.example.com", profile="vault").ready()
    wanted = world.set(role, {"kubernetes.io/metadata.name": team.namespace}, profile="set")
    world.condition(wanted.manifest, "True", "BindingsReady")
    wanted.patch(subjects="Pattern", namespacePattern=f"{team.namespace}*")
    world.condition(wanted.manifest, "False", "PatternUnguarded")
    world.api.delete(wanted.manifest)
    account.patch(oidcProvider={"identityContext": {"subjectSourceKey": "sub"}})
    eventually(lambda: account.calls("UpdateOpenIDConnectProvider"), "the provider is updated", seconds=SECONDS)
    path = f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings/annotated-web"
    world.api.wait(lambda: world.api.request("GET", path), message="the annotated account's binding")
    web = {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": None}}}
    world.api.request(
        "PATCH",
        f"/api/v1/namespaces/{team.namespace}/serviceaccounts/web",
        web,
        content_type="application/merge-patch+json",
    )
    world.event(binding.manifest, "TrustApplied")
    world.api.wait(lambda: not _exists(world, path), message="the annotated account's binding is gone")
    over = {"method": "AssumeRole", "source": {"roleArn": account.role("base")}}
    chain = team.binding(account.role("far"), "chain", profile="chain", **over)
    chain.ready()
    chain.delete()
    chain.gone()
    associate(eks, team)
    let_go(team)
    binding.delete()
    binding.gone()
    account.iam.tag_role(RoleName="app", Tags=[{"Key": CONSENT_TAG, "Value": team.namespace}])
    account.patch(requireRoleConsent=True)
    eventually(lambda: account.calls("ListRoleTags"), "the role's consent is asked for", seconds=SECONDS)
    account.patch(requireRoleConsent=None)
    # An orphan, for the survey.
    sid = f"{world.sid_prefix}deadbeefdeadbeef"
    account.write("app", *account.statements(), account.owned()[0] | {"Sid": sid})
    eventually(lambda: sid not in [s["Sid"] for s in account.owned()], "it is found", seconds=SECONDS)
    account.ready()
    world.api.delete(account.manifest)
    world.condition(account.manifest, "False", "Pending")
    world.api.delete(team.manifest)
    world.gone(account.manifest, seconds=60)
    return account


def associate(eks: EksAccount, team: Team) -> None:
    """Let an association be made, mended in role and tags, and left behind; and let another one be deleted."""
    role, other = eks.role("pods"), eks.role("other")
    kept = eks.binding(team, role, "pods", serviceAccountNames=["pods"], deletionPolicy="Retain")
    goes = eks.binding(team, role, "goes", serviceAccountNames=["goes"])
    kept.ready()
    goes.ready()
    made = eks.there()[f"{team.namespace}/pods"]
    at = {"clusterName": eks.name, "associationId": made["associationId"]}
    eks.client.update_pod_identity_association(**at, roleArn=other)
    eks.client.tag_resource(resourceArn=made["associationArn"], tags={BINDING_TAG: "changed"})
    eventually(
        lambda: (found := eks.there()[f"{team.namespace}/pods"])["roleArn"] == role and found["tags"] == made["tags"],
        "role and tags are mended",
        seconds=SECONDS,
    )
    for binding in (kept, goes):
        binding.delete()
        binding.gone()
    assert eks.there().keys() == {f"{team.namespace}/pods"}


def let_go(team: Team) -> None:
    """Let a pod wait at the gate, for nothing, until the operator lets it go."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "held", "namespace": team.namespace, "labels": {"trustbind.dev/waiting": "true"}},
        "spec": {
            "serviceAccountName": "web",
            "schedulingGates": [{"name": "trustbind.dev/trust"}],
            "containers": [{"name": "main", "image": "example.com/web:1"}],
        },
    }
    team.world.api.create(pod)
    api = team.world.api
    eventually(lambda: not api.get(pod)["spec"].get("schedulingGates"), "it is let go", seconds=SECONDS)


def _exists(world: World, path: str) -> bool:
    return any(
        path.endswith(item["metadata"]["name"]) for item in world.api.request("GET", path.rpartition("/")[0])["items"]
    )


def audited(world: World, account: str, since: int, granted: set[Right]) -> tuple[set[Right], set[Right]]:
    """Return what was used, and what was asked for in vain."""
    events = [e for e in world.audit(account, since) if e["stage"] in {"ResponseStarted", "ResponseComplete"}]
    refused = {
        Right.used_in(e, granted)
        for e in events
        if e.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    }
    return {Right.used_in(e, granted) for e in events} - refused, refused


@dataclass(frozen=True)
class Seen:
    """What came of letting the operator work: where the audit log began, in which account, and what failed."""

    since: int
    account: Account | None
    problem: Exception | None


@pytest.fixture(scope="module")
def seen(shared_world: World, shared_operator: Operator) -> Seen:
    """Let an operator start, work and stop under the audit log; return where the log began, and the account."""
    world = shared_world
    if shared_operator.running:
        shared_operator.stop()
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    lease["metadata"] = {"name": "trustbind-operator", "namespace": "trustbind-system"}  # type: ignore[assignment] # JSON
    if any(i["metadata"]["name"] == "trustbind-operator" for i in _leases(world)):
        world.api.delete(lease)
    since = world.audited()
    world.aws.reset_calls()
    shared_operator.start()
    account, problem = None, None
    try:
        account = work(world)
    except (AssertionError, TimeoutError, ApiError) as error:  # what was refused says more, and is looked at first
        problem = error
    shared_operator.stop()
    world.clear()
    return Seen(since, account, problem)


def _leases(world: World) -> list[dict[str, Any]]:
    path = "/apis/coordination.k8s.io/v1/namespaces/trustbind-system/leases"
    items: list[dict[str, Any]] = world.api.request("GET", path)["items"]
    return items


def test_the_operators_rules_are_what_it_needs(world: World, seen: Seen) -> None:
    """Every right in manifests/rbac is used, and none that it asks for is refused."""
    granted = Right.granted_by(*OPERATOR_RIGHTS)
    used, refused = audited(world, "trustbind-operator", seen.since, granted)
    assert refused == set(), "missing in manifests/rbac"
    assert seen.problem is None
    assert sorted(granted - used) == [], "unused in manifests/rbac"


def test_the_webhooks_rules_are_what_it_needs(world: World, webhook: Webhook) -> None:
    """The same for the webhook, which lives as long as these tests do."""
    granted = Right.granted_by("webhook")
    webhook.review(world.team().namespace, "nobody-has-seen-this-account")
    used, refused = audited(world, "trustbind-webhook", 0, granted)
    assert refused == set(), "missing in manifests/rbac"
    assert sorted(granted - used) == [], "unused in manifests/rbac"


def allowed(name: str) -> set[str]:
    """Return the actions that a policy of manifests/aws allows."""
    document = json.loads((ROOT / "manifests" / "aws" / name).read_text())
    found: set[str] = set()
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found |= {actions} if isinstance(actions, str) else set(actions)
    return found


def test_the_aws_permissions_are_what_it_needs(world: World, seen: Seen) -> None:
    """Every action of manifests/aws is used by the operator, and none that it asks for is denied."""
    account = seen.account
    assert account is not None, seen.problem
    calls = [
        c
        for c in world.aws.calls()
        if "assumed-role" in c.caller
        and account.id in (c.account, c.resource.removeprefix("arn:aws:iam::")[:12])
        and c.operation != "GetCallerIdentity"  # needs no permission (STS API reference)
    ]
    assert [c for c in calls if c.code.startswith("AccessDenied")] == []
    managers = {f"{c.service}:{c.operation}" for c in calls if c.account == account.id}
    policies = ("manager-role-policy.json", "manager-role-chains-policy.json", "manager-role-eks-policy.json")
    # PassRole is no call: EKS asks for it when an association gets its role; tests/test_aws_side.py sees it refused.
    assert managers | {"iam:PassRole"} == set().union(*(allowed(name) for name in policies))
    own = {f"{c.service}:{c.operation}" for c in calls if c.account == OPERATOR_ACCOUNT}
    assert own == allowed("operator-policy.json")


def test_the_permissions_are_written_down() -> None:
    """docs/reference/permissions.md names every right and every action."""
    names = {path.name for path in (ROOT / "manifests" / "aws").glob("*.json")}
    assert all(f"`manifests/aws/{name}`" in PERMISSIONS for name in names)
    actions = set().union(*(allowed(name) for name in names))
    for action in actions:
        assert f"`{action}`" in PERMISSIONS, action
    for right in Right.granted_by(*OPERATOR_RIGHTS, "webhook"):
        (line,) = [row for row in PERMISSIONS.splitlines() if row.startswith(f"| `{right.resource}` |")] or [""]
        assert right.verb in line, f"{right.verb} {right.resource}"
