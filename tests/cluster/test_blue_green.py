"""A new cluster takes over from an old one: both are trusted, then the old one is removed; no request is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clients import used_all_the_time
from support.clusters import clusters
from support.command_line import trustbind
from support.halves import Operator
from support.processes import eventually
from support.world import FOREIGN, SECONDS, Account, Team, World
from trustbind.identity.subjects import Issuer

UNSEEN = 3


def imported(tmp_path: Path, blue: World, green: World, roles: list[dict[str, Any]], known: Any) -> list[Any]:
    """Return the objects that ``trustbind import`` makes for the green cluster of what the blue one has."""
    (tmp_path / "roles.json").write_text(json.dumps({"Roles": roles}), encoding="utf-8")
    (tmp_path / "known.yaml").write_text(yaml.safe_dump(known), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trustbind_cli", "import", "--issuer", blue.issuer, "--as", green.issuer),
            *("--account-details", str(tmp_path / "roles.json"), "-f", str(tmp_path / "known.yaml")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _sweep(blue: World, green: World, account: Account) -> None:
    """Remove what the blue cluster's trustbind wrote, asked for at the green one; first as a dry run."""
    command = ("sweep", "--issuer", blue.issuer, "--cluster-gone")
    before = account.statements("one")
    shown = trustbind(green, *command, code=1)
    assert "nothing was written" in shown.stderr
    assert account.statements("one") == before
    # The AWS account of the operator's role is no target, and its roles may not be listed.
    trustbind(green, *command, "--yes", code=UNSEEN)
    assert trustbind(green, *command, "--yes", code=UNSEEN).stdout == "", "nothing is left"
    assert "it is there" in trustbind(blue, *command, "--yes", code=2).stderr


@pytest.mark.parametrize("ends_by", ["deletion", "sweep"])
def test_both_and_then_the_new_one(world: World, operator: Operator, tmp_path: Path, ends_by: str) -> None:
    """What trustbind wrote for the old cluster and what was written by hand is bound in the new one.

    The old cluster's trust goes with its bindings, or by one command when its operator is gone.
    """
    account, team = world.account(), world.team()
    team.grant(account)
    issuer = Issuer.parse(world.issuer)
    account.iam.create_open_id_connect_provider(
        Url=world.issuer, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["a" * 40]
    )
    hand = {
        "Sid": "Hand",
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account.id}:oidc-provider/{issuer.host_path}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                issuer.audience_key: "sts.amazonaws.com",
                issuer.subject_key: f"system:serviceaccount:{team.namespace}:three",
            }
        },
    }
    roles = {"one": account.role("one"), "two": account.role("two"), "three": account.role("three", hand)}
    for name in roles:
        team.service_account(name)
    old = [team.binding(roles[name], name, serviceAccountNames=[name]) for name in ("one", "two")]
    for binding in old:
        binding.ready()

    with clusters(world, tmp_path, 1) as (_, green), used_all_the_time(world, team, roles) as refused:
        green.apply("v1", "Namespace", team.namespace)
        new_team = Team(green, team.namespace)
        for name in roles:
            new_team.service_account(name)
        new_account = green.share(account)
        listed = json.loads(json.dumps(account.iam.list_roles()["Roles"], default=str))
        objects = imported(tmp_path, world, green, listed, new_account.manifest)
        assert {each["kind"] for each in objects} == {"RoleGrant", "RoleBinding"}
        made = [each for each in objects if each["kind"] == "RoleBinding"]
        assert sorted(each["spec"]["roleArn"] for each in made) == sorted(roles.values())
        green.api.apply(objects)
        for each in made:
            green.condition(each, "True", "TrustApplied")
        for name in roles:
            assert new_account.subjects(name) == [f"{team.namespace}:{name}"]
        assert account.foreign("three")[0] == hand

        with used_all_the_time(green, new_team, roles) as refused_in_green:
            assert refused == []
            if ends_by == "deletion":
                path = f"/apis/trustbind.dev/v1alpha1/namespaces/{team.namespace}/rolebindings"
                world.api.request("DELETE", path)
                for binding in old:
                    binding.gone()
            else:
                operator.stop()
                _sweep(world, green, account)
            eventually(lambda: account.subjects("one") == [], "the old cluster is gone", seconds=SECONDS)
        assert refused_in_green == []
    assert not [each for each in refused if each.startswith("three")]
    assert account.statements("one")[0] == FOREIGN
    if ends_by == "sweep":
        assert account.foreign("three")[0] == hand, "sweep takes no foreign statement"
        operator.start()  # for what is cleared away after the test
