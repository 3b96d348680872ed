"""The inline policy of a chain's source role: when it is read, written and left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from support.operator_world import ISSUER, ROLE, FakeAws
from trustbind.errors import AccessDeniedError, PolicyRejectedError
from trustbind.identity.arns import RoleArn
from trustbind.policy.source_policy import policy_name, source_policy
from trustbind_aws.client import AccountAccess
from trustbind_aws.resources.source_policy import SourcePermission

TARGET = RoleArn.parse("arn:aws:iam::777788889999:role/feed")


def permission(aws: FakeAws, *targets: RoleArn) -> SourcePermission:
    """Return the permission of our role to assume these targets."""
    return SourcePermission(cast("AccountAccess", aws), ROLE, ISSUER, targets)


def denied(code: str) -> AccessDeniedError:
    """Return what AWS answers to a read."""
    return AccessDeniedError("no", code=code, operation=f"iam:GetRolePolicy on {ROLE}")


def test_nothing_wanted_and_not_to_be_read() -> None:
    """Where nothing is wanted, a policy that may not be read is left alone: it keeps no trust from being revoked."""
    aws = FakeAws()
    aws.always["role_policy"] = denied("AccessDenied")
    nothing = permission(aws)

    nothing.widen()
    nothing.narrow()

    assert aws.calls == {"role_policy": 1}


@pytest.mark.parametrize(("targets", "code"), [((TARGET,), "AccessDenied"), ((), "ExpiredToken")])
def test_denied(targets: tuple[RoleArn, ...], code: str) -> None:
    """A denial counts where something is wanted, and so do credentials that are no good."""
    aws = FakeAws()
    aws.always["role_policy"] = denied(code)

    with pytest.raises(AccessDeniedError):
        permission(aws, *targets).widen()


def test_written_and_removed() -> None:
    """What is wanted is allowed before anybody comes in, and what is not any more goes afterwards."""
    aws = FakeAws()
    name = policy_name(ISSUER)
    wanted = permission(aws, TARGET)
    wanted.widen()
    assert aws.policies[ROLE, name] == source_policy([TARGET])
    nothing = permission(aws)
    nothing.widen()
    assert aws.policies[ROLE, name] == source_policy([TARGET])

    nothing.narrow()

    assert aws.policies == {}


class Crowded(FakeAws):
    """An account in which a policy of ours may list so many targets and no more."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write_role_policy(self, role: RoleArn, name: str, policy: Mapping[str, Any] | None) -> None:
        """Refuse what is too long."""
        listed = policy["Statement"][0]["Resource"] if policy else []
        if len(listed) > self.room:
            self.calls["write_role_policy"] += 1
            raise PolicyRejectedError("Maximum policy size", code="LimitExceeded", operation="iam:PutRolePolicy")
        super().write_role_policy(role, name, policy)


TARGETS = [RoleArn.parse(f"arn:aws:iam::777788889999:role/t{number:02}") for number in range(20)]


@pytest.mark.parametrize("room", range(21))
def test_as_many_as_there_is_room_for(room: int) -> None:
    """The first targets are allowed, as many as IAM takes; the rest is told, after few tries."""
    aws = Crowded(room)
    wanted = permission(aws, *TARGETS)

    left_out = wanted.widen()
    wanted.narrow()

    assert left_out == set(TARGETS[room:])
    assert aws.policies.get((ROLE, policy_name(ISSUER))) == source_policy(TARGETS[:room])
    assert aws.calls["write_role_policy"] <= 6


def test_what_is_allowed_stays() -> None:
    """A policy that is full goes on to allow what it allows, and loses only what is not wanted any more."""
    aws = Crowded(3)
    permission(aws, *TARGETS[:3]).widen()
    later = permission(aws, *TARGETS[1:5])

    assert later.widen() == {TARGETS[3], TARGETS[4]}
    assert aws.policies[ROLE, policy_name(ISSUER)] == source_policy(TARGETS[:3])
    later.narrow()
    assert aws.policies[ROLE, policy_name(ISSUER)] == source_policy(TARGETS[1:3])
    assert permission(aws, *TARGETS[1:5]).widen() == {TARGETS[4]}


def test_refused_for_another_reason() -> None:
    """Only a policy that is too long is made shorter."""
    aws = FakeAws()
    aws.always["write_role_policy"] = PolicyRejectedError("broken", code="MalformedPolicyDocument")

    with pytest.raises(PolicyRejectedError):
        permission(aws, *TARGETS).widen()
