"""A fleet moves in and out: 200 service accounts, trust policies of every usual origin, and nobody is refused once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.clients import Colleague, used_all_the_time
from support.origins import ORIGINS, Origin
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, Account, Team, World
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.plan import DEFAULT_LIMIT
from trustbind.policy.trust_document import document_size

pytestmark = pytest.mark.usefixtures("operator")

COUNT: Final = 200
NEARLY_FULL: Final = 20
AUDIENCE: Final = "sts.amazonaws.com"
ACTION: Final = "sts:AssumeRoleWithWebIdentity"
OTHER_CLUSTERS: Final = ("BLUE", "GREEN", "OLD")


class Fleet:
    """The roles of a cluster, each with a service account, and their trust policies as others wrote them."""

    def __init__(self, world: World, account: Account, team: Team) -> None:
        self.issuer = Issuer.parse(world.issuer)
        self.account = account
        self.team = team
        self.node = account.arn("kubernetes-worker-role")
        self.names = [f"app-{number:03}" for number in range(COUNT)]
        self.documents = {name: self._statements(number, name) for number, name in enumerate(self.names)}
        self.roles: dict[str, str] = {}

    def create(self) -> None:
        """Create the roles and the service accounts; without annotations, which the tests' operator binds at once."""
        self.account.role("kubernetes-worker-role")
        with ThreadPoolExecutor(8) as pool:
            arns = list(pool.map(lambda name: self.account.role(name, *self.documents[name]), self.names))
            self.roles = dict(zip(self.names, arns, strict=True))
            list(pool.map(self.team.service_account, self.names))

    def _statements(self, number: int, name: str) -> list[dict[str, Any]]:
        """Return what stands in a trust policy before; the shapes take turns."""
        own = [FOREIGN, *shape_of(number).write(self, name)]
        return [*own, *map(self._of_another, OTHER_CLUSTERS)] if number < NEARLY_FULL else own

    def written_by(self, origin: Origin, name: str) -> list[dict[str, Any]]:
        """Return what a tool writes for a service account."""
        return origin.statements(self.account.id, self.issuer.host_path, self.team.namespace, name, self.node)

    def owned(self, name: str) -> dict[str, Any]:
        """Return what the operator will write for a service account."""
        subject = Subject(self.team.namespace, name)
        return build(self.issuer, RoleArn.parse(self.roles[name]), WebIdentityKey(AUDIENCE), [subject])

    def like(self, name: str) -> list[dict[str, Any]]:
        """As the module of terraform-aws-modules has it with trust_condition_test StringLike."""
        return [_changed(self._eks(name), Condition={"StringLike": self._eks(name)["Condition"]["StringEquals"]})]

    def lists(self, name: str) -> list[dict[str, Any]]:
        """By hand: lists, and a Sid."""
        equals = {key: [value] for key, value in self._eks(name)["Condition"]["StringEquals"].items()}
        return [_changed(self._eks(name), Sid="IRSA", Action=[ACTION], Condition={"StringEquals": equals})]

    def further(self, name: str) -> list[dict[str, Any]]:
        """By hand: more actions than a service account's token can use."""
        return [_changed(self._eks(name), Sid="Controller", Action=[ACTION, "sts:TagSession"])]

    def agent(self, name: str) -> list[dict[str, Any]]:
        """Half moved from kube2iam: the nodes may assume it still, and a service account may by now."""
        return [*self.written_by(ORIGINS["kube2iam"], name), self._eks(name)]

    def shared(self, name: str) -> list[dict[str, Any]]:
        """For a service account that nobody imports, as well."""
        subjects = [f"system:serviceaccount:{self.team.namespace}:{name}", "system:serviceaccount:gone:x"]
        condition = {
            "StringEquals": {self.issuer.audience_key: AUDIENCE},
            "ForAnyValue:StringEquals": {self.issuer.subject_key: subjects},
        }
        return [_changed(self._eks(name), Condition=condition)]

    def _eks(self, name: str) -> dict[str, Any]:
        (statement,) = self.written_by(ORIGINS["eks"], name)
        return statement

    def _of_another(self, cluster: str) -> dict[str, Any]:
        """For another cluster's service accounts, so many that there is no room for a second statement of this one."""
        host = f"oidc.eks.eu-central-1.amazonaws.com/id/{cluster * 8}"
        names = ["system:serviceaccount:other:reader"]
        return {
            "Sid": f"Cluster{cluster}",
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{self.account.id}:oidc-provider/{host}"},
            "Action": ACTION,
            "Condition": {"StringEquals": {f"{host}:sub": names, f"{host}:aud": AUDIENCE}},
        }


def _changed(statement: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**statement, **members}


@dataclass(frozen=True)
class Shape:
    """A form of a trust policy.

    Attributes:
        write: returns the statements for a service account of the fleet.
        stays: how many of them are there after the operator took over the others.
    """

    write: Callable[[Fleet, str], list[dict[str, Any]]]
    stays: int = 0


LONG: Final = "self-run-webhook"
"""It has two conditions on the subject: too long for a trust policy that is nearly full."""
OF_ORIGINS: Final = {
    name: Shape(partial(lambda origin, fleet, account: fleet.written_by(origin, account), origin))
    for name, origin in ORIGINS.items()
    if origin.works
}
SHAPES: Final = (
    *(shape for name, shape in OF_ORIGINS.items() if name != LONG),
    Shape(Fleet.like),
    Shape(Fleet.lists),
    Shape(Fleet.further),
)
SHARED: Final = Shape(Fleet.shared, stays=1)
WITH_ROOM: Final = (*SHAPES, OF_ORIGINS[LONG], Shape(Fleet.agent, stays=2), SHARED)
"""What stays of the last two has no room in a trust policy that is nearly full, either."""


def shape_of(number: int) -> Shape:
    """Return the shape of a role's trust policy."""
    shapes = SHAPES if number < NEARLY_FULL else WITH_ROOM
    return shapes[number % len(shapes)]


def command(tmp_path: Path, *arguments: str) -> str:
    """Run ``trustbind`` and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "trustbind_cli", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _granted(manifest: dict[str, Any]) -> list[str]:
    """Return the namespaces of a RoleGrant."""
    names: list[str] = manifest["spec"].get("namespaces", {}).get("names", [])
    return names


def bindings(team: Team) -> list[dict[str, Any]]:
    """Return the namespace's RoleBindings."""
    items: list[dict[str, Any]] = team.world.api.request(
        "GET", f"/apis/{API_VERSION}/namespaces/{team.namespace}/rolebindings"
    )["items"]
    return items


def condition(item: dict[str, Any], kind: str) -> str:
    """Return the reason of a condition; empty where there is none."""
    found = [c["reason"] for c in item.get("status", {}).get("conditions", []) if c["type"] == kind]
    return str(found[0]) if found else ""


def await_all(team: Team, kind: str, reason: str) -> None:
    """Wait until all bindings have this reason in a condition."""

    def reasons() -> Counter[str]:
        return Counter(condition(item, kind) for item in bindings(team))

    try:
        eventually(lambda: reasons() == {reason: COUNT}, f"{kind} is {reason}", seconds=180, every=1.0)
    except AssertionError as error:
        error.add_note(str(reasons()))
        others = [item for item in bindings(team) if condition(item, kind) != reason]
        error.add_note(json.dumps([(each["metadata"]["name"], each.get("status")) for each in others[:2]], indent=1))
        raise


def _clusters(statements: list[dict[str, Any]]) -> set[str]:
    """Return the OIDC providers of the clusters whose service accounts a trust policy trusts."""
    return {s["Principal"]["Federated"] for s in statements if "Federated" in s["Principal"]}


def _told(team: Team, refused: list[str]) -> str:
    """Return who was refused, and what the Events say about the bindings of the first."""
    names = sorted({each.partition(":")[0] for each in refused})
    events = team.world.api.request("GET", f"/api/v1/namespaces/{team.namespace}/events")["items"]
    said = [f"{e['reason']}: {e['message']}" for e in events if e["involvedObject"]["name"] == names[0]]
    return "\n".join([", ".join(names), *said])


def test_in_and_out_again(world: World, tmp_path: Path) -> None:
    """Import, look, take over, and back: each role is used by its service account all the time."""
    account, team = world.account(driftPolicy="Observe"), world.team()
    account.ready()
    account.iam.create_open_id_connect_provider(Url=world.issuer, ClientIDList=[AUDIENCE], ThumbprintList=["a" * 40])
    fleet = Fleet(world, account, team)
    fleet.create()
    for name in fleet.names[:NEARLY_FULL]:
        assert len(_clusters(fleet.documents[name])) == len(OTHER_CLUSTERS) + 1
        both = [*fleet.documents[name], fleet.owned(name)]
        assert document_size({"Version": "2012-10-17", "Statement": both}) > DEFAULT_LIMIT, "no room for both"
    before = {name: account.statements(name) for name in fleet.names}
    edited = fleet.names[50:60]

    with used_all_the_time(world, team, fleet.roles) as refused, Colleague(account, edited) as colleague:
        listed = account.iam.get_paginator("list_roles").paginate().build_full_result()["Roles"]
        (tmp_path / "roles.json").write_text(json.dumps({"Roles": listed}, default=str), encoding="utf-8")
        (tmp_path / "known.yaml").write_text(yaml.safe_dump(account.manifest), encoding="utf-8")
        export = ("--account-details", "roles.json", "-f", "known.yaml")
        made = list(yaml.safe_load_all(command(tmp_path, "import", "--issuer", world.issuer, *export)))
        # A namespace that is gone has its service account in shared statements; nobody applies what is for it.
        world.api.apply([m for m in made if "gone" not in (m["metadata"].get("namespace"), *_granted(m))])

        # Nothing is written yet, and each binding says what would be.
        await_all(team, "Ready", "DriftObserved")
        assert account.calls("UpdateAssumeRolePolicy") == 0

        account.patch(driftPolicy="Repair")
        await_all(team, "Ready", "TrustApplied")
        await_all(team, "Adopted", "StatementsAdopted")
        for number, name in enumerate(fleet.names):
            assert account.subjects(name) == [f"{team.namespace}:{name}"], name
            theirs = [s for s in account.foreign(name) if s.get("Sid") not in {"Ops", "Colleague"}]
            clusters = [f"Cluster{each}" for each in OTHER_CLUSTERS] if number < NEARLY_FULL else []
            assert [s.get("Sid") for s in theirs if s.get("Sid")] == clusters
            assert len(theirs) == len(clusters) + shape_of(number).stays

        # And back, as it was.
        def leave(item: dict[str, Any]) -> None:
            manifest = {"apiVersion": API_VERSION, "kind": "RoleBinding", "metadata": item["metadata"]}
            world.merge(manifest, {"spec": {"deletionPolicy": "Restore"}})
            world.api.delete(manifest)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(leave, bindings(team)))
        eventually(lambda: not bindings(team), "every binding is gone", seconds=240, every=1.0)
    assert refused == [], _told(team, refused)
    assert colleague.edits > 0
    eventually(colleague.settle, "the colleague's statements stand", seconds=60)
    for number, name in enumerate(fleet.names):
        now = [s for s in account.statements(name) if s.get("Sid") != "Colleague"]
        assert account.owned(name) == []
        if shape_of(number) is not SHARED:
            assert sorted(map(str, now)) == sorted(map(str, before[name])), name
