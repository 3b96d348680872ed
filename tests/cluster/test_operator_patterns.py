"""Patterns of RoleBindingSets on a real API server, with the policy that keeps strays out."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.exceptions
import pytest

from support.charts import Helm, required_tools
from support.kube import ApiError
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, SECONDS, Account, Binding, Team, World

pytestmark = pytest.mark.usefixtures("operator")

Json = dict[str, Any]

NAME = "trustbind-namespace-patterns"
LONG = 2 * SECONDS
"""A pattern counts some seconds after its set, and after the policy."""
MERGE = "application/merge-patch+json"


@dataclass
class Profiles:
    """Namespaces with a common beginning of their names, and a label of their own.

    Attributes:
        world: where.
        account: whose roles they are granted.
    """

    world: World
    account: Account

    def __post_init__(self) -> None:
        """Choose names that no other test has, and grant the namespaces to come every role of the AWS account."""
        self.stem = f"p{secrets.token_hex(3)}"
        self.label = f"example.com/{self.stem}"
        self.world.apply(
            API_VERSION,
            "RoleGrant",
            self.stem,
            spec={
                "namespaces": {"selector": {"matchLabels": {self.label: "true"}}},
                "roleArns": [f"arn:aws:iam::{self.account.id}:role/*"],
                "allowPatterns": True,
            },
        )

    @property
    def pattern(self) -> str:
        """The pattern over their names."""
        return f"{self.stem}-*"

    def namespace(self, name: str, **labels: str) -> Team:
        """Create a namespace; without labels it has the one that the set selects."""
        full = f"{self.stem}-{name}"
        self.world.apply("v1", "Namespace", full, metadata={"labels": labels or {self.label: "true"}})
        return Team(self.world, full)

    def set(self, role: str, **spec: Any) -> Binding:
        """Create the set."""
        wanted = {
            "namespaceSelector": {"matchLabels": {self.label: "true"}},
            "serviceAccountNames": ["reader"],
            "subjects": "Pattern",
            "namespacePattern": self.pattern,
            "template": {"roleArn": role},
        }
        return Binding(self.world, self.world.apply(API_VERSION, "RoleBindingSet", self.stem, spec=wanted | spec))

    def trusted(self, role: str = "app") -> list[str]:
        """Return the patterns that our statements in a role trust."""
        blocks = [s["Condition"].get("StringLike", {}) for s in self.account.owned(role)]
        values = [value for block in blocks for key, value in block.items() if key.endswith(":sub")]
        return [v for value in values for v in ([value] if isinstance(value, str) else value)]

    @property
    def subject(self) -> str:
        """The one pattern that is trusted."""
        return f"system:serviceaccount:{self.pattern}:reader"

    def stands(self) -> None:
        """Wait until the role trusts the pattern."""
        eventually(lambda: self.trusted() == [self.subject], "the pattern is trusted", seconds=LONG)


@pytest.fixture
def profiles(world: World) -> Profiles:
    """Namespaces, an AWS account and a grant."""
    return Profiles(world, world.account())


@pytest.fixture(scope="module")
def rendered() -> list[Json]:
    """The chart's policy and its binding."""
    helm = Helm(required_tools()["helm4"])
    objects = helm.template("--set", "admissionPolicies.namespacePatterns=true", "--kube-version", "1.30.0")
    found = [o for o in objects if o["metadata"]["name"] == NAME]
    assert [o["kind"] for o in found] == ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    return found


@pytest.fixture
def policy(world: World, rendered: list[Json]) -> Iterator[list[Json]]:
    """The policy that the chart has, in the cluster."""
    for manifest in rendered:
        world.api.apply(manifest)
    yield rendered
    for manifest in rendered:
        with contextlib.suppress(ApiError):  # a test may have deleted it
            world.api.delete(manifest)


def refused(world: World, method: str, path: str, body: Json) -> None:
    """Wait until the policy refuses a request, which the API server does once it has read policy and set."""

    def refusal() -> str:
        kind = MERGE if method == "PATCH" else "application/json"
        try:
            world.api.request(method, f"{path}?dryRun=All", body, content_type=kind)
        except ApiError as error:
            return error.message
        return ""

    said = eventually(refusal, f"{method} {path} is refused", seconds=SECONDS)
    assert "and needs the labels" in said


@pytest.mark.usefixtures("policy")
def test_one_entry_for_all_namespaces(world: World, profiles: Profiles) -> None:
    """Each namespace has its binding, the trust policy one pattern, and only tokens of them get the role."""
    one, two = profiles.namespace("one"), profiles.namespace("two")
    role = profiles.account.role()
    wanted = profiles.set(role)
    world.condition(wanted.manifest, "True", "BindingsReady", seconds=LONG)
    profiles.stands()
    assert profiles.account.foreign() == [FOREIGN]
    assert wanted.get()["status"]["summary"] == "2/2"

    writes = profiles.account.calls("UpdateAssumeRolePolicy")
    three = profiles.namespace("three")
    eventually(lambda: wanted.get()["status"]["summary"] == "3/3", "the third is Ready", seconds=SECONDS)
    assert profiles.account.calls("UpdateAssumeRolePolicy") == writes

    sts = boto3.client("sts", region_name="us-east-1", endpoint_url=world.aws.url)

    def assume(team: Team, name: str) -> None:
        team.service_account(name)
        token = world.api.token(team.namespace, name, "sts.amazonaws.com", 3600)
        sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="workload", WebIdentityToken=token)

    for team in (one, two, three):
        assume(team, "reader")
    for team, name in ((one, "other"), (world.team(), "reader")):
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
            assume(team, name)

    wanted.delete()
    eventually(lambda: profiles.account.statements() == [FOREIGN], "it goes with the set", seconds=SECONDS)


def test_the_policy_is_understood(world: World, policy: list[Json]) -> None:
    """The API server finds no unknown field and no wrong type in its expressions."""
    stored = eventually(
        lambda: found if "typeChecking" in (found := world.api.get(policy[0])).get("status", {}) else None,
        "it is checked",
        seconds=SECONDS,
    )
    assert stored["status"]["typeChecking"] == {}


@pytest.mark.usefixtures("policy")
def test_nobody_makes_a_namespace_to_match(world: World, profiles: Profiles) -> None:
    """Creating one without the labels, or taking them off, is refused to everyone, by every way that writes labels."""
    one = profiles.namespace("one")
    profiles.set(profiles.account.role())
    profiles.stands()
    for metadata in (
        {"name": f"{profiles.stem}-evil"},
        {"generateName": f"{profiles.stem}-"},
        {"name": f"{profiles.stem}-evil", "labels": {profiles.label: "false"}},
    ):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        refused(world, "POST", "/api/v1/namespaces", body)
    crowded = {f"example.com/label-{number:02}": "x" * 50 for number in range(60)}  # the operator keeps none of so many
    metadata = {"name": f"{profiles.stem}-evil", "labels": {profiles.label: "true", **crowded}}
    refused(world, "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    off: Json = {"metadata": {"labels": {profiles.label: None}}}
    crowd: Json = {"metadata": {"labels": crowded}}
    path = f"/api/v1/namespaces/{one.namespace}"
    refused(world, "PATCH", path, off)
    refused(world, "PATCH", path, crowd)
    refused(world, "PATCH", f"{path}/status", off)
    found = world.api.request("GET", path)
    found["metadata"]["labels"].pop(profiles.label)
    refused(world, "PUT", f"{path}/finalize", found)

    world.merge(one.manifest, {"metadata": {"labels": {"example.com/other": "yes"}}})
    profiles.namespace("two")
    world.team()
    world.api.delete(one.manifest)
    world.gone(one.manifest, LONG)


def test_nothing_without_the_policy(world: World, profiles: Profiles) -> None:
    """The set says what is missing, and no role trusts the pattern."""
    profiles.namespace("one")
    wanted = profiles.set(profiles.account.role())

    condition = world.condition(wanted.manifest, "False", "PatternUnguarded", seconds=LONG)

    assert f"there is no ValidatingAdmissionPolicy {NAME}" in condition["message"]
    assert profiles.account.statements() == [FOREIGN]
    wanted.patch(subjects="Exact", namespacePattern=None)
    world.condition(wanted.manifest, "True", "BindingsReady", seconds=LONG)
    assert profiles.account.subjects() == [f"{profiles.stem}-one:reader"]


def test_stray_all_the_same(world: World, profiles: Profiles, policy: list[Json]) -> None:
    """One from before the set ends new grants; one that came while the policy was away takes the role from nobody."""
    early = profiles.namespace("early", **{"example.com/not": "it"})
    profiles.namespace("one")
    wanted = profiles.set(profiles.account.role())
    condition = world.condition(wanted.manifest, "False", "StrayNamespace", seconds=LONG)
    assert early.namespace in condition["message"]
    assert profiles.account.statements() == [FOREIGN]
    world.api.delete(early.manifest)
    profiles.stands()

    for manifest in reversed(policy):
        world.api.delete(manifest)
    world.condition(wanted.manifest, "False", "PatternUnguarded", seconds=LONG)

    def comes() -> bool:
        try:
            profiles.namespace("late", **{"example.com/not": "it"})
        except ApiError:  # the API server knows the policy still
            return False
        return True

    eventually(comes, "a stray comes", seconds=SECONDS)
    for manifest in policy:
        world.api.apply(manifest)
    world.condition(wanted.manifest, "False", "StrayNamespace", seconds=LONG)
    assert profiles.trusted() == [profiles.subject]

    wanted.patch(onStray="Revoke")
    eventually(lambda: profiles.account.statements() == [FOREIGN], "it is revoked", seconds=LONG)


@pytest.mark.usefixtures("policy")
def test_grant_by_name(world: World, profiles: Profiles) -> None:
    """A grant that names namespaces covers none to come, so it allows no pattern."""
    one = profiles.namespace("one")
    world.apply(
        API_VERSION,
        "RoleGrant",
        profiles.stem,
        spec={
            "namespaces": {"names": [one.namespace]},
            "roleArns": [f"arn:aws:iam::{profiles.account.id}:role/*"],
            "allowPatterns": True,
        },
    )
    wanted = profiles.set(profiles.account.role())

    member = Binding(
        world,
        {
            "apiVersion": API_VERSION,
            "kind": "RoleBinding",
            "metadata": {"name": f"set-{profiles.stem}", "namespace": one.namespace},
        },
    )
    condition = member.refused("NotGranted", type_="Authorized")
    assert f"does not cover the pattern {profiles.pattern}" in condition["message"]
    world.condition(wanted.manifest, "False", seconds=LONG)
    assert profiles.account.statements() == [FOREIGN]
