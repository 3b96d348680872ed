"""``trustbind lint`` on a live cluster and AWS: objects and trust policies in one answer."""

from __future__ import annotations

import json

import pytest

from support.command_line import trustbind
from support.world import World

pytestmark = pytest.mark.usefixtures("operator")


def test_live(world: World) -> None:
    """A binding without a grant is found, as is one to a service account that does not exist; a good one is not."""
    account, team, other = world.account(), world.team(), world.team()
    team.grant(account)
    role = account.role("app")
    team.service_account("reader")
    team.binding(role, "good", serviceAccountNames=["reader"]).ready()
    team.binding(role, "gone", serviceAccountNames=["gone"])
    other.binding(role, "stranger", serviceAccountNames=["reader"])

    found = json.loads(trustbind(world, "lint", "-o", "json", code=1).stdout)["findings"]
    names = {(each["place"], each["name"]) for each in found}
    assert (f"RoleBinding {other.namespace}/stranger", "NotGranted") in names
    assert (f"RoleBinding {team.namespace}/gone", "BoundToNobody") in names
    assert not {name for place, name in names if place == f"RoleBinding {team.namespace}/good"}
