"""``trustbind graph`` on a live cluster and AWS."""

from __future__ import annotations

import json

import pytest

from support.command_line import trustbind
from support.world import World

pytestmark = pytest.mark.usefixtures("operator")


def test_live(world: World) -> None:
    """A bound service account is drawn with its role; one that is bound to nothing is not, nor is another namespace's.

    The exit code is 3: the operator may not list the roles of its own AWS account.
    """
    account, team, other = world.account(), world.team(), world.team()
    for each in (team, other):
        each.grant(account)
        each.service_account("reader")
        each.service_account("idle")
        each.binding(account.role(f"of-{each.namespace}"), "app", serviceAccountNames=["reader"]).ready()

    whole = json.loads(trustbind(world, "graph", "-o", "json", code=3).stdout)
    drawn = {(node["detail"], node["title"]) for node in whole["nodes"] if node["kind"] == "ServiceAccount"}
    assert {(team.namespace, "reader"), (other.namespace, "reader")} <= drawn
    assert (team.namespace, "idle") not in drawn

    part = json.loads(trustbind(world, "graph", "-n", team.namespace, "-o", "json", code=3).stdout)
    (edge,) = (e for e in part["edges"] if e["source"] == f"subject:system:serviceaccount:{team.namespace}:reader")
    assert edge["target"].endswith(f"role/of-{team.namespace}")
    assert [reason["verdict"] for reason in edge["reasons"]] == ["yes"]
    assert {node["detail"] for node in part["nodes"] if node["kind"] == "ServiceAccount"} == {team.namespace}
