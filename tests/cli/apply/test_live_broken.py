"""One team's object that breaks a rule, as a live cluster has it where the validating webhook was away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cli.apply.shell import Shell, account, binding
from support.commands import Outcome
from support.scripted_kube import Collection, ScriptedKube
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind_cli.demo.fixtures import ISSUER, TARGET_ROLE

UNKNOWN = 3


def put(collection: Collection, body: dict[str, Any]) -> None:
    """Store an object."""
    metadata = body["metadata"]
    collection.put(metadata.get("namespace", ""), metadata["name"], spec=body["spec"])


@pytest.fixture(name="kube")
def _kube(shell: Shell) -> ScriptedKube:
    """Return a cluster with a good binding, a broken one, and the trust of the good one."""
    kube = ScriptedKube()
    kube.issuer = ISSUER
    put(kube.aws_accounts, account())
    put(kube.bindings, binding("good"))
    broken = binding("broken", roleArn="none")
    put(kube.bindings, broken | {"metadata": {"name": "broken", "namespace": "team-z"}})
    shell.allow_listing()
    web = WebIdentityKey("sts.amazonaws.com")
    shell.add(build(Issuer.parse(ISSUER), RoleArn.parse(TARGET_ROLE), web, [Subject("team-a", "reader")]))
    return kube


def ran(shell: Shell, kube: ScriptedKube, *command: str) -> Outcome:
    """Run a command on the cluster."""

    async def run() -> Outcome:
        async with kube.running(shell.folder) as kubeconfig:
            return await asyncio.to_thread(shell.trustbind, *command, "--kubeconfig", kubeconfig, "-o", "json")

    return asyncio.run(run())


@pytest.mark.parametrize("command", [("who-can", TARGET_ROLE), ("graph", TARGET_ROLE), ("lint",)])
def test_it_keeps_nobody_from_an_answer(shell: Shell, kube: ScriptedKube, command: tuple[str, ...]) -> None:
    """It is left out and named, in the data as well; all else is answered, and the exit code says what is missing."""
    done = ran(shell, kube, *command)

    assert "not seen: the cluster: RoleBinding team-z/broken: spec.roleArn: " in done.err
    assert any("RoleBinding team-z/broken" in each for each in json.loads(done.out)["notSeen"])
    assert "Traceback" not in done.err
    if command[0] != "lint":  # which has findings of its own
        assert "system:serviceaccount:team-a:reader" in done.out


def test_sweep_removes_nothing(shell: Shell, kube: ScriptedKube) -> None:
    """What it wants is not known."""
    done = ran(shell, kube, "sweep", "--yes")

    assert done.code == UNKNOWN
    assert "RoleBinding team-z/broken: spec.roleArn" in done.err
    assert shell.subjects() == ["system:serviceaccount:team-a:reader"]
