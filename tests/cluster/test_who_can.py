"""``trustbind who-can`` on a live cluster and AWS: pods, bindings and foreign statements in one answer."""

from __future__ import annotations

import json

import pytest

from support.command_line import trustbind
from support.world import World

pytestmark = pytest.mark.usefixtures("operator")


def test_live(world: World) -> None:
    """Of a role: the bound service account with its pod, and the foreign principal; of the account: the role."""
    account, team = world.account(), world.team()
    team.grant(account)
    role = account.role("app")
    team.service_account("reader")
    team.service_account("other")
    team.binding(role, "app", serviceAccountNames=["reader"]).ready()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "report-7", "namespace": team.namespace},
        "spec": {"serviceAccountName": "reader", "containers": [{"name": "app", "image": "registry.example.com/app"}]},
    }
    world.api.apply(pod)

    answer = json.loads(trustbind(world, "who-can", role, "-o", "json").stdout)
    assert answer["issuer"] == world.issuer
    rows = {row["principal"]: row for row in answer["answers"][0]["rows"]}
    reader = rows.pop(f"system:serviceaccount:{team.namespace}:reader")
    assert (reader["verdict"], reader["bindings"]) == ("yes", [f"{team.namespace}/app"])
    assert reader["pods"] == ["report-7"]
    assert [row["serviceAccount"] for row in rows.values()] == [None], "the foreign statement's principal alone"
    shown = trustbind(world, "who-can", "--subject", f"{team.namespace}/reader").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["ROLE", role]
    assert trustbind(world, "who-can", "--subject", f"{team.namespace}/other", code=3).stdout.count("\n") == 1
