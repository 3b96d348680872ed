"""The process: restarts, who leads, what probes and metrics say, and how it ends."""

from __future__ import annotations

import datetime as dt
import signal
from typing import Any

from support.halves import LEASE, Operator, Start
from support.processes import eventually
from support.world import SECONDS, World

WRITES = {"create", "update", "patch", "delete", "deletecollection"}

UNHURRIED = {
    "TRUSTBIND_OPERATOR_PACE__RESYNC_SECONDS": "600",
    "TRUSTBIND_OPERATOR_PACE__SURVEY_SECONDS": "3600",
}
"""Nothing is looked at for being due, so that only what a start itself does is seen."""

PATIENT = {
    "TRUSTBIND_OPERATOR_LEASE__DURATION_SECONDS": "300",
    "TRUSTBIND_OPERATOR_LEASE__RENEW_DEADLINE_SECONDS": "200",
}
"""A Lease that no test waits to expire: the next leader has to find it released."""


def standby(start: Start, **env: str) -> Operator:
    """Start an operator beside one that works."""
    return start(until='"waiting for the lease"', **env)


def is_working(operator: Operator) -> bool:
    """Return whether it says that it works."""
    return operator.get("/readyz") == (200, "working\n")


def test_a_restart_with_nothing_to_do(world: World, operator: Operator, start: Start) -> None:
    """Neither IAM nor Kubernetes is written to, and no role is read."""
    del operator  # it has run until now, and brought everything in order
    account, team = world.account(), world.team()
    first = start()
    team.grant(account)
    roles = [account.role(f"app-{n}") for n in range(5)]
    names = [f"reader-{n}" for n in range(5)]
    for name in names:
        team.service_account(name, labels={"tier": "batch"})
    team.service_account("annotated", annotations={"eks.amazonaws.com/role-arn": roles[0]})
    bindings = [team.binding(role, f"b{n}", serviceAccountNames=[names[n]]) for n, role in enumerate(roles)]
    for binding in bindings:
        binding.ready()
    refused = team.binding("arn:aws:iam::999988887777:role/app", "elsewhere", profile="elsewhere")
    refused.refused("NotGranted")
    selecting = team.binding(roles[0], "s", serviceAccountSelector={"matchLabels": {"tier": "batch"}}, profile="s")
    selecting.ready()
    eventually(
        lambda: _counted(world, account.manifest) == (7, 5), "the account's status is up to date", seconds=SECONDS
    )
    assert first.stop() == 0

    world.aws.reset_calls()
    since = world.audited()
    second = start(**UNHURRIED)
    eventually(
        lambda: [e for e in second.says("AWSAccount reconciled") if e["aws_account"] == account.id],
        "the account is looked at",
        seconds=SECONDS,
    )
    assert second.stop() == 0
    assert account.calls("GetRole", "UpdateAssumeRolePolicy", "CreateOpenIDConnectProvider") == 0
    assert account.calls("AddClientIDToOpenIDConnectProvider") == 0
    written = [
        f"{e['verb']} {e['requestURI']}"
        for e in world.audit("trustbind-operator", since)
        if e["verb"] in WRITES and (team.namespace in e["requestURI"] or account.name in e["requestURI"])
    ]
    assert written == []


def _counted(world: World, manifest: dict[str, Any]) -> tuple[int, int]:
    status = world.api.get(manifest).get("status", {})
    return status.get("bindings", 0), status.get("roles", 0)


def test_one_works_and_one_stands_by(world: World, start: Start) -> None:
    """The standby says so; it takes over when the leader is killed, and at once from one that is asked to end."""
    leader = start()
    assert is_working(leader)
    second = standby(start, **PATIENT)
    assert second.get("/readyz") == (200, "standby\n")
    assert second.get("/healthz") == (200, "alive\n")
    assert "trustbind_operator_leading 1.0" in leader.get("/metrics")[1]
    assert "trustbind_operator_leading 0.0" in second.get("/metrics")[1]
    account, team = world.account(), world.team()
    team.grant(account)
    binding = team.binding(account.role())
    binding.ready()
    metrics = leader.get("/metrics")[1]
    assert 'trustbind_operator_commits_total{outcome="written"} ' in metrics
    assert f'account="{account.id}",code="",operation="iam:UpdateAssumeRolePolicy"}} 1.0' in metrics
    eventually(
        lambda: 'trustbind_operator_bindings{ready="True",reason="TrustApplied"} ' in leader.get("/metrics")[1],
        "the binding is counted",
        seconds=SECONDS,
    )
    assert second.get("/readyz") == (200, "standby\n")

    leader.kill()
    eventually(lambda: is_working(second), "the standby works", seconds=SECONDS)
    third = standby(start)
    binding.delete()
    binding.gone()
    assert second.stop() == 0
    eventually(lambda: is_working(third), "the next one works", seconds=SECONDS)
    team.binding(account.arn("app"), "again").ready()


def test_a_lease_that_is_taken_away(world: World, start: Start) -> None:
    """The leader exits with a sentence as soon as it reads that another process holds the Lease."""
    operator = start()
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    taken = {"holderIdentity": "another-process", "leaseDurationSeconds": 60, "renewTime": now, "acquireTime": now}
    world.merge(LEASE, {"spec": taken})
    assert operator.process is not None
    assert operator.process.wait(seconds=SECONDS) == 1
    sentence = "trustbind operator: the Lease trustbind-operator was taken by another-process"
    assert operator.output[-1] == sentence, "and nothing was left open"
    assert world.api.get(LEASE)["spec"]["holderIdentity"] == "another-process"
    world.merge(LEASE, {"spec": {"holderIdentity": None}})


def test_a_leader_that_was_paused(world: World, start: Start) -> None:
    """It was stopped until another one led; it writes nothing when it continues, and exits."""
    leader = start()
    second = standby(start)
    account, team = world.account(), world.team()
    team.grant(account)
    team.binding(account.role("before"), "before").ready()
    assert leader.process is not None
    leader.process.signal(signal.SIGSTOP)
    eventually(lambda: is_working(second), "the standby works", seconds=SECONDS)
    team.binding(account.role("after"), "after", profile="after").ready()
    writes = account.calls("UpdateAssumeRolePolicy")
    leader.process.signal(signal.SIGCONT)
    assert leader.process.wait(seconds=SECONDS) == 1
    # Whichever it finds first: that its time is over, or that another process has the Lease.
    assert leader.output[-1].startswith("trustbind operator: the Lease trustbind-operator ")
    assert account.calls("UpdateAssumeRolePolicy") == writes
    assert is_working(second)


def test_a_stop_while_an_account_does_not_answer(world: World, start: Start) -> None:
    """What waits for AWS does not keep the process, nor the next leader."""
    operator = start(**PATIENT)
    account, team = world.account(), world.team()
    team.grant(account)
    account.ready()
    roles = [account.role(f"app-{n}") for n in range(20)]
    world.aws.throttle(account.id, ["GetRole"])
    bindings = [team.binding(role, f"b{n}", profile=f"p{n}") for n, role in enumerate(roles)]
    bindings[0].refused("Throttled")
    third = standby(start)
    assert operator.stop() == 0
    eventually(lambda: is_working(third), "the next one works", seconds=SECONDS)
    world.aws.clear_faults()
    for binding in bindings:
        binding.ready()
