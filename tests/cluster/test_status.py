"""``trustbind status`` against a real API server, the operator and a local AWS."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.halves import Operator, Webhook
from support.world import SYSTEM, Account, Json, Team, World
from trustbind_cli.main import main

Ask = Callable[..., tuple[int, Json]]


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a run of the command in this process: exit code and data."""

    def run(account: Account, *arguments: str, user: str = "") -> tuple[int, Json]:
        kubeconfig = world.api.kubeconfig(user) if user else world.api.kubeconfig()
        monkeypatch.setenv("AWS_ENDPOINT_URL", world.aws.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", account.id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unused")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        command = ["trustbind", "status", *arguments, "--kubeconfig", str(kubeconfig), "-o", "json"]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert printed.out, printed.err
        return int(stopped.value.code or 0), json.loads(printed.out)

    return run


def deployed(world: World, component: str) -> None:
    """Create the Deployment of a half, whose replicas are ready as far as a cluster without nodes can tell."""
    labels = {"app.kubernetes.io/name": "trustbind", "app.kubernetes.io/component": component}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "trustbind:0.1.0"}]}}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"status-{component}",
            "namespace": SYSTEM,
            "labels": labels | {"app.kubernetes.io/version": "0.1.0"},
        },
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pods},
    }
    world.api.apply(manifest)
    world._made.append(manifest)


def rows(data: Json, state: str) -> list[str]:
    """Return the rows in a state."""
    return [f"{row['about']}: {row['message']}" for row in data["checks"] if row["state"] == state]


def by_reason(data: Json) -> dict[str, int]:
    """Return the number of RoleBindings by reason."""
    return {group["reason"]: group["count"] for group in data["roleBindings"]}


def _team(world: World) -> Team:
    team = world.team()
    team.service_account("reader")
    return team


def test_cluster_with_bindings(world: World, ask: Ask, webhook: Webhook, operator: Operator) -> None:
    """Bindings by reason, AWS accounts, the Lease, the webhook and how full trust policies are."""
    assert webhook.process.running
    assert operator.running
    account, team, other = world.account(), _team(world), _team(world)
    team.grant(account)
    team.binding(account.role("app")).ready()
    other.binding(account.role("other"), "refused").refused("NotGranted")
    for component in ("operator", "webhook"):
        deployed(world, component)

    code, data = ask(account)
    assert code == 1
    assert data["cluster"]["version"].startswith("v1.")
    assert data["cluster"]["issuer"] == world.issuer
    assert {half["component"]: half["version"] for half in data["halves"]} == {"operator": "0.1.0", "webhook": "0.1.0"}
    assert data["lease"]["holder"]
    assert data["webhook"]["failurePolicies"] == {"pods.trustbind.dev": "Fail"}
    assert data["webhook"]["authorityEnds"] > "2026"
    assert {"name": account.name, "ready": True}.items() <= _named(data["awsAccounts"], account.name).items()
    sizes = {each["role"]: each["size"] for each in data["capacity"]}
    assert sizes.keys() == {account.arn("app"), account.arn("other")}
    assert sizes[account.arn("app")] > sizes[account.arn("other")] > 0
    assert any("works, and renewed its Lease" in row for row in rows(data, "ok"))

    assert by_reason(ask(account, "-n", team.namespace)[1]) == {"TrustApplied": 1}
    refused = ask(account, "-n", other.namespace)[1]
    assert by_reason(refused) == {"NotGranted": 1}
    assert any(f"such as {other.namespace}/refused" in row for row in rows(refused, "broken"))
    assert by_reason(ask(account, "-n", other.namespace, "-l", "no=label")[1]) == {}
    assert {"TrustApplied", "NotGranted"} <= by_reason(ask(account, "-n", team.namespace, "-A")[1]).keys()


def _named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in found if each["name"] == name)


def test_without_rights(world: World, ask: Ask) -> None:
    """A service account without rights sees nothing of it, and nothing is claimed."""
    account, team = world.account(described=False, manager=False), _team(world)

    code, data = ask(account, user=f"{team.namespace}/reader")

    assert (code, rows(data, "broken")) == (3, [])
    assert (data["roleBindings"], data["halves"], data["lease"]) == ([], [], None)
    assert any("RoleBindings: you have no right to read it" in row for row in rows(data, "not visible"))
