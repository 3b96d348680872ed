"""Rules that both halves apply, and their sentences."""

from __future__ import annotations

import itertools
from typing import Any

import yaml

from trustbind.api.aws_account import AwsAccount
from trustbind.api.conflicts import duplicate_account, profile_conflict, unknown_account
from trustbind.api.role_binding import BindingRef, Method, RoleBinding
from trustbind.identity.arns import RoleArn

ROLE = RoleArn.parse("arn:aws-cn:iam::444455556666:role/team-a/reader")


READER = ["reader"]


def binding(name: str, created: str = "", **values: Any) -> RoleBinding:
    """Return a binding of the account ``reader``."""
    values = {"service_account_names": ("reader",), **values}
    return RoleBinding(BindingRef("team-a", name), ROLE, created=created, **values)


def test_of_any_two_bindings_for_one_profile_one_gives_way() -> None:
    """Whatever their age, exactly one of two is told of the other, and of many all but one are."""
    ages = ["", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]
    for one, other in itertools.product(ages, repeat=2):
        first, second = binding("a", one), binding("b", other)
        told = [profile_conflict(b, READER, [first, second], {}) for b in (first, second)]
        assert sorted(map(bool, told)) == [False, True]
    many = [binding(name, age) for name in "abc" for age in ages[:1]]
    assert sum(bool(profile_conflict(b, READER, many, {})) for b in many) == len(many) - 1


def test_an_account_has_one_role_by_pod_identity() -> None:
    """Whatever the profiles; a binding by another method is no rival, as pods get the agent's credentials first."""
    agent = {"method": Method.POD_IDENTITY}
    first, second = binding("a", **agent), binding("b", profile="x", **agent)
    told = profile_conflict(second, READER, [first, second], {})
    assert told.startswith("the older RoleBinding team-a/a has service account reader by PodIdentity already")
    assert not profile_conflict(first, READER, [first, second], {})
    assert not profile_conflict(second, READER, [binding("a")], {})
    assert not profile_conflict(binding("b", profile="x"), READER, [first], {})
    assert not profile_conflict(binding("b", **agent), READER, [binding("a")], {})
    assert not profile_conflict(binding("b"), READER, [first], {})


def test_a_rival_that_is_going_makes_room() -> None:
    """It does not have to be gone for that."""
    assert not profile_conflict(binding("b"), READER, [binding("a", is_deleting=True)], {})


def test_the_account_to_write_can_be_written() -> None:
    """The sentence ends in a manifest that is complete and right."""
    sentence, _, line = unknown_account(ROLE).partition("; create one: ")
    assert sentence == "no AWSAccount has accountId 444455556666"
    account = AwsAccount.parse(yaml.safe_load(line))
    assert account.account_id == "444455556666"
    assert str(account.manager_role) == "arn:aws-cn:iam::444455556666:role/trustbind-manager"


def test_of_two_objects_for_one_account_the_older_counts() -> None:
    """One that is going counts only where there is no other."""
    old = AwsAccount("b", "444455556666", created="2025-01-01T00:00:00Z")
    new = AwsAccount("a", "444455556666", created="2026-01-01T00:00:00Z")
    going = AwsAccount("c", "444455556666", created="2024-01-01T00:00:00Z", is_deleting=True)
    unborn = AwsAccount("0", "444455556666")
    assert sorted([going, unborn, new, old], key=lambda a: a.age_key) == [old, new, unborn, going]
    assert duplicate_account(old) == "AWSAccount b is older and has the same accountId; remove one of the two"
