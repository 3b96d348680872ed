"""Hand-written statements taken over on a real API server, while their service accounts go on using the roles."""

from __future__ import annotations

from typing import Any

import pytest

from support.clients import used_all_the_time
from support.processes import eventually
from support.world import FOREIGN, SECONDS, Account, Team, World
from trustbind.identity.subjects import Issuer

pytestmark = pytest.mark.usefixtures("operator")

AUDIENCE = "sts.amazonaws.com"
NAMES = [f"a-service-account-with-a-long-name-{number:02}" for number in range(11)]


def by_hand(world: World, account: Account, team: Team, *names: str, sid: str = "Terraform") -> dict[str, Any]:
    """Return a statement for service accounts of the team as Terraform's modules write it."""
    issuer = Issuer.parse(world.issuer)
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account.id}:oidc-provider/{issuer.host_path}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                issuer.audience_key: AUDIENCE,
                issuer.subject_key: [f"system:serviceaccount:{team.namespace}:{name}" for name in names],
            }
        },
    }


def test_taken_over_and_given_back(world: World) -> None:
    """A nearly full role, a shared statement and an old one without an audience: no request is refused, both ways."""
    account, team = world.account(), world.team()
    team.grant(account, allowAdopt=True)
    issuer = Issuer.parse(world.issuer)
    account.iam.create_open_id_connect_provider(Url=world.issuer, ClientIDList=[AUDIENCE], ThumbprintList=["a" * 40])
    full = account.role("full", FOREIGN, by_hand(world, account, team, *NAMES))
    shared = account.role("shared", by_hand(world, account, team, "one", "two"))
    old = by_hand(world, account, team, "old")
    del old["Condition"]["StringEquals"][issuer.audience_key]
    aged = account.role("aged", FOREIGN, old)
    uses = {**dict.fromkeys(NAMES, full), "one": shared, "two": shared, "old": aged}
    for name in uses:
        team.service_account(name)
    before = {role: account.statements(role) for role in ("full", "shared", "aged")}

    with used_all_the_time(world, team, uses) as refused:
        adopting: dict[str, Any] = {"adopt": "Equivalent", "deletionPolicy": "Restore"}
        made = [
            team.binding(full, "full", serviceAccountNames=NAMES, **adopting),
            team.binding(shared, "shared", serviceAccountNames=["one"], **adopting),
            team.binding(aged, "aged", serviceAccountNames=["old"], **adopting),
        ]
        for binding in made:
            binding.ready()
            world.condition(binding.manifest, "True", "StatementsAdopted", type_="Adopted")
        assert account.foreign("full") == account.foreign("aged") == [FOREIGN]
        assert account.foreign("shared") == [by_hand(world, account, team, "two") | {
            "Condition": {"StringEquals": {
                issuer.audience_key: AUDIENCE,
                issuer.subject_key: f"system:serviceaccount:{team.namespace}:two",
            }},
        }]  # fmt: skip
        assert account.subjects("full") == [f"{team.namespace}:{name}" for name in NAMES]
        assert [account.calls("UpdateAssumeRolePolicy")] == [3]

        for binding in made:
            binding.delete()
        for binding in made:
            binding.gone()
    assert refused == []
    assert account.statements("full") == before["full"]
    assert account.statements("aged") == before["aged"]
    assert account.owned("shared") == []
    assert [len(account.statements(name)) for name in ("full", "shared", "aged")] == [2, 2, 2]


def test_its_owner_writes_it_back(world: World) -> None:
    """Terraform beside it: it is taken over again, then it stays and the binding says so; no request is refused."""
    account, team = world.account(), world.team()
    team.grant(account, allowAdopt=True)
    account.iam.create_open_id_connect_provider(Url=world.issuer, ClientIDList=[AUDIENCE], ThumbprintList=["a" * 40])
    theirs = by_hand(world, account, team, "reader")
    role = account.role("app", theirs)
    team.service_account()
    with used_all_the_time(world, team, {"reader": role}) as refused:
        binding = team.binding(role, adopt="Equivalent")
        binding.ready()
        for times in range(2, 6):
            eventually(lambda: account.foreign() == [], "it is taken over", seconds=SECONDS)
            account.write("app", *account.statements(), theirs)
            world.merge(binding.manifest, {"metadata": {"annotations": {
                "trustbind.dev/reconcile-requested-at": str(times),
            }}})  # fmt: skip
        world.condition(binding.manifest, "False", "AdoptionContested", type_="Adopted")
        binding.ready()
    assert refused == []
    assert account.foreign() == [theirs]
    assert account.subjects() == [f"{team.namespace}:reader"]
