"""Pods that wait for their bindings, and pods that were missed."""

from __future__ import annotations

from typing import Any

import pytest

from support.processes import eventually
from support.world import SECONDS, Team, World

pytestmark = pytest.mark.usefixtures("operator")

GATE = {"name": "trustbind.dev/trust"}


def pod(team: Team, name: str = "web", **fields: Any) -> dict[str, Any]:
    """Create a pod of service account ``reader`` and return it as it was stored."""
    spec = {"serviceAccountName": "reader", "containers": [{"name": "main", "image": "example.com/web:1"}]}
    metadata = {"name": name, "namespace": team.namespace} | fields
    return team.world.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def running(team: Team, name: str = "web") -> None:
    """Say what a kubelet would say."""
    path = f"/api/v1/namespaces/{team.namespace}/pods/{name}/status"
    change = {"status": {"phase": "Running"}}
    team.world.api.request("PATCH", path, change, content_type="application/merge-patch+json")


@pytest.mark.usefixtures("webhook")
def test_pod_waits_for_its_binding(world: World) -> None:
    """A pod that comes before its binding is Ready is held, told what it waits for, and let go when it is."""
    account, team = world.account(), world.team()
    team.service_account()
    binding = team.binding(account.role(), waitUntilReady=True)
    binding.refused("NotGranted")

    def held() -> dict[str, Any] | None:
        made = pod(team)
        if made["spec"].get("schedulingGates") == [GATE]:
            return made
        team.world.api.request("DELETE", f"/api/v1/namespaces/{team.namespace}/pods/web?gracePeriodSeconds=0")
        return None

    made = world.api.wait(held, message="the webhook knows of the binding") or {}
    assert made["metadata"]["labels"]["trustbind.dev/waiting"] == "true"
    assert "AWS_ROLE_ARN" in {variable["name"] for variable in made["spec"]["containers"][0]["env"]}
    told = world.event(made, "WaitingForTrust")
    assert "NotGranted" in told["message"]
    assert f"RoleBinding {team.namespace}/app" in told["message"]

    team.grant(account)
    binding.ready()
    eventually(lambda: not world.api.get(made)["spec"].get("schedulingGates"), "the gate is gone", seconds=SECONDS)
    assert "trustbind.dev/waiting" not in (world.api.get(made)["metadata"].get("labels") or {})
    world.event(made, "TrustReady")


def test_missed_pod_is_told_of(world: World) -> None:
    """A running pod that came before its binding gets an Event; one that opted out, or whose namespace did, not."""
    account, team = world.account(), world.team()
    team.grant(account)
    team.service_account()
    missed = pod(team)
    left = pod(team, "left", annotations={"trustbind.dev/inject": "false"})
    out = world.team(**{"trustbind.dev/inject": "false"})
    out.service_account()
    elsewhere = pod(out)
    running(out)
    out.grant(account)
    out.binding(account.role("other")).ready()
    running(team)
    running(team, "left")
    team.binding(account.role()).ready()

    told = world.event(missed, "PodMissed")

    assert f"bound by RoleBinding {team.namespace}/app" in told["message"]
    assert "delete it" in told["message"]
    assert world.events(left) == world.events(elsewhere) == []
