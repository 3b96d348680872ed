"""What is wrong with a binding itself, or with two of them: how it is told, and that it mends once it is changed."""

from __future__ import annotations

import pytest

from support.tellings import bound, told
from support.world import FOREIGN, World

pytestmark = pytest.mark.usefixtures("operator")


def test_two_bindings_of_one_profile(world: World) -> None:
    """The older one wins; the other one says which, and follows when the older goes."""
    account, team = world.account(), world.team()
    team.grant(account)
    older = team.binding(account.role("one"), "a-older")
    older.ready()
    younger = team.binding(account.role("two"), "b-younger", serviceAccountNames=["writer", "reader"])
    told(younger, "ProfileConflict", f"{team.namespace}/a-older", "profile default", "service account reader")
    assert account.owned("two") == []
    older.ready()
    older.delete()
    younger.ready()
    assert account.owned("one") == []


def test_a_selector_can_take_a_profile(world: World) -> None:
    """An account that comes under an older selector takes the profile from a younger binding that names it."""
    account, team = world.account(), world.team()
    team.grant(account)
    team.service_account("writer")
    selecting = team.binding(account.role("one"), "a-older", serviceAccountSelector={"matchLabels": {"tier": "batch"}})
    told(selecting, "NoSubjects")
    naming = team.binding(account.role("two"), "b-younger", serviceAccountNames=["writer"])
    naming.ready()
    team.service_account("writer", labels={"tier": "batch"})
    told(naming, "ProfileConflict", "a-older")
    selecting.ready()
    assert account.subjects("one") == [f"{team.namespace}:writer"]
    assert account.owned("two") == []


def test_a_selector_that_selects_nobody(world: World) -> None:
    """Nothing is written before there is an account, and then it is."""
    account, team = world.account(), world.team()
    team.grant(account)
    team.service_account("reader")
    binding = team.binding(account.role(), serviceAccountSelector={"matchLabels": {"tier": "batch"}})
    told(binding, "NoSubjects", "matches no service account")
    assert account.statements() == [FOREIGN]
    team.service_account("reader", labels={"tier": "batch"})
    binding.ready()


def test_a_condition_that_would_undo_our_own(world: World) -> None:
    """What no schema can know: a further condition on the key that the statement states itself."""
    account = world.account()
    key = f"{world.issuer.removeprefix('https://')}:sub"
    condition = {"operator": "StringLike", "key": key, "values": ["system:serviceaccount:*"]}
    binding = bound(world, account, conditions=[condition])
    told(binding, "InvalidSpec", key, "the statement states it itself")
    assert account.statements() == [FOREIGN]
    binding.patch(conditions=[{"operator": "IpAddress", "key": "aws:SourceIp", "values": ["203.0.113.0/24"]}])
    binding.ready()
    (statement,) = account.owned()
    assert statement["Condition"]["IpAddress"] == {"aws:SourceIp": "203.0.113.0/24"}
