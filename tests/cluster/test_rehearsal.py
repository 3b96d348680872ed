"""A fleet moves in and out: 200 service accounts, trust policies of every usual origin, and nobody is refused once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.clients import Colleague, used_all_the_time
from support.processes import eventually
from support.world import API_VERSION, FOREIGN, Account, Team, World
from trustbind.identity.subjects import Issuer
from trustbind.policy.trust_document import document_size

pytestmark = pytest.mark.usefixtures("operator")

COUNT: Final = 200
NEARLY_FULL: Final = 20
AUDIENCE: Final = "sts.amazonaws.com"
OTHER_CLUSTERS: Final = ("BLUE", "GREEN", "OLD")


class Fleet:
    """The roles of a cluster, each with a service account, and their trust policies as others wrote them."""

    def __init__(self, world: World, account: Account, team: Team) -> None:
        self.issuer = Issuer.parse(world.issuer)
        self.account = account
        self.team = team
        self.names = [f"app-{number:03}" for number in range(COUNT)]
        self.documents = {name: self._statements(number, name) for number, name in enumerate(self.names)}
        self.roles: dict[str, str] = {}

    def create(self) -> None:
        """Create the roles and the service accounts; without annotations, which the tests' operator binds at once."""
        with ThreadPoolExecutor(8) as pool:
            arns = list(pool.map(lambda name: self.account.role(name, *self.documents[name]), self.names))
            self.roles = dict(zip(self.names, arns, strict=True))
            list(pool.map(self.team.service_account, self.names))

    def _statements(self, number: int, name: str) -> list[dict[str, Any]]:
        """Return what stands in a trust policy before; the shapes take turns."""
        shape: Callable[[str], dict[str, Any]] = shape_of(number).__get__(self)
        own = [FOREIGN, shape(name)]
        return [*own, *map(self._of_another, OTHER_CLUSTERS)] if number < NEARLY_FULL else own

    def _base(self, condition: dict[str, Any], **members: Any) -> dict[str, Any]:
        provider = f"arn:aws:iam::{self.account.id}:oidc-provider/{self.issuer.host_path}"
        return {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": condition,
            **members,
        }

    def _sub(self, name: str) -> str:
        return f"system:serviceaccount:{self.team.namespace}:{name}"

    def _eksctl(self, name: str) -> dict[str, Any]:
        """As eksctl's CloudFormation template has it."""
        return self._base(
            {"StringEquals": {self.issuer.subject_key: self._sub(name), self.issuer.audience_key: AUDIENCE}}
        )

    def _module(self, name: str) -> dict[str, Any]:
        """As terraform-aws-modules has it: lists, and a Sid."""
        return self._base(
            {"StringEquals": {self.issuer.subject_key: [self._sub(name)], self.issuer.audience_key: [AUDIENCE]}},
            Sid="IRSA",
            Action=["sts:AssumeRoleWithWebIdentity"],
        )

    def _like(self, name: str) -> dict[str, Any]:
        """As the same module has it with assume_role_condition_test StringLike."""
        return self._base(
            {"StringLike": {self.issuer.subject_key: self._sub(name), self.issuer.audience_key: AUDIENCE}}
        )

    def _old(self, name: str) -> dict[str, Any]:
        """As the first guides had it, and kOps has it: no condition on the audience."""
        return self._base({"StringEquals": {self.issuer.subject_key: self._sub(name)}})

    def _further(self, name: str) -> dict[str, Any]:
        """As ACK and Crossplane examples have it: more actions than a service account's token can use."""
        return self._base(
            {"StringEquals": {self.issuer.subject_key: self._sub(name), self.issuer.audience_key: AUDIENCE}},
            Sid="Controller",
            Action=["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        )

    def _shared(self, name: str) -> dict[str, Any]:
        """For a service account that nobody imports, as well."""
        return self._base(
            {
                "StringEquals": {self.issuer.audience_key: AUDIENCE},
                "ForAnyValue:StringEquals": {
                    self.issuer.subject_key: [self._sub(name), "system:serviceaccount:gone:x"]
                },
            }
        )

    def _of_another(self, cluster: str) -> dict[str, Any]:
        """For another cluster's service accounts, so many that there is no room for a second statement of this one."""
        host = f"oidc.eks.eu-central-1.amazonaws.com/id/{cluster * 8}"
        names = ["system:serviceaccount:other:reader"]
        return self._base(
            {"StringEquals": {f"{host}:sub": names, f"{host}:aud": AUDIENCE}},
            Sid=f"Cluster{cluster}",
            Principal={"Federated": f"arn:aws:iam::{self.account.id}:oidc-provider/{host}"},
        )


def shape_of(number: int) -> Callable[[Fleet, str], dict[str, Any]]:
    """Return the shape of a role's statement; a nearly full one has no room for a part that stays."""
    shapes = SHAPES[:-1] if number < NEARLY_FULL else SHAPES
    return shapes[number % len(shapes)]


SHAPES: Final = (Fleet._eksctl, Fleet._module, Fleet._like, Fleet._old, Fleet._further, Fleet._shared)


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
    full = document_size({"Version": "2012-10-17", "Statement": fleet.documents[fleet.names[0]]})
    assert full + len(json.dumps(fleet.documents[fleet.names[0]][1], separators=(",", ":"))) > 2048, "no room for both"
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
            assert len(theirs) == len(clusters) + (shape_of(number) is Fleet._shared)

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
        if shape_of(number) is not Fleet._shared:
            assert sorted(map(str, now)) == sorted(map(str, before[name])), name
