"""``trustbind sweep`` on a live cluster: what it holds is wanted, and the rest of trustbind's statements goes."""

from __future__ import annotations

import json
from typing import Any, Final

from support.command_line import trustbind
from support.halves import Operator
from support.world import World
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build, placeholder_sid

UNSEEN: Final = 3
"""The AWS account of the operator's role is no target, and its roles may not be listed."""

WRONG: Final = 2
OTHER: Final = "https://oidc.example.com/other"


def test_live(world: World, operator: Operator) -> None:
    """What a binding of the cluster wants stays; what none does goes; what was retained goes when asked for."""
    account, team = world.account(), world.team()
    team.grant(account, allowRetain=True)
    roles = {name: account.role(name) for name in ("bound", "kept", "left")}
    for name in roles:
        team.service_account(name)
    team.binding(roles["bound"], "bound", serviceAccountNames=["bound"]).ready()
    kept = team.binding(roles["kept"], "kept", serviceAccountNames=["kept", "gone"], deletionPolicy="Retain")
    kept.ready()
    kept.delete()
    kept.gone()
    foreign = account.foreign("left")
    operator.stop()
    subjects = [Subject(team.namespace, "left")]
    ours = build(
        Issuer.parse(world.issuer), RoleArn.parse(roles["left"]), WebIdentityKey("sts.amazonaws.com"), subjects
    )
    account.write("left", *foreign, ours)

    shown = json.loads(trustbind(world, "sweep", "-o", "json", code=1).stdout)
    assert _found(shown) == {
        roles["left"]: ("Unbound", [str(subjects[0])]),
        roles["kept"]: ("ServiceAccountGone", [f"system:serviceaccount:{team.namespace}:gone"]),
    }
    assert account.statements("left") == [*foreign, ours]
    there = trustbind(world, "sweep", "--issuer", world.issuer, "--cluster-gone", "--yes", code=WRONG)
    assert "has this issuer" in there.stderr
    assert account.statements("left") == [*foreign, ours]
    trustbind(world, "sweep", "--yes", code=UNSEEN)
    assert account.statements("left") == foreign
    assert account.subjects("bound") == [f"{team.namespace}:bound"]
    assert account.subjects("kept") == [f"{team.namespace}:kept"]
    trustbind(world, "sweep", "--retained", "--yes", code=UNSEEN)
    assert account.subjects("kept") == []
    operator.start()  # for what is cleared away after the test


def test_operator_that_writes_for_another_issuer(world: World, operator: Operator) -> None:
    """The statements that statuses name are the operator's, whatever the API server publishes: nothing is removed."""
    account, team = world.account(), world.team()
    team.grant(account)
    role = account.role("app")
    team.service_account("app")
    binding = team.binding(role, "app", serviceAccountNames=["app"])
    binding.ready()
    operator.stop()
    before = account.statements("app")
    body = binding.get()
    body["status"]["statementId"] = placeholder_sid(Issuer.parse(OTHER))
    world.api.request("PUT", world.api.path(body, subresource="status"), body)

    for arguments, code in (((), UNSEEN), (("--issuer", OTHER, "--cluster-gone"), WRONG)):
        done = trustbind(world, "sweep", "--yes", *arguments, code=code)
        assert "another cluster" not in done.stderr
    assert account.statements("app") == before
    operator.start()  # for what is cleared away after the test


def _found(shown: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    due = [each for each in shown["roles"] if each["statements"]]
    return {each["roleArn"]: (each["statements"][0]["reason"], each["statements"][0]["names"]) for each in due}
