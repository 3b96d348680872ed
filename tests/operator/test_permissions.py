"""The inline policy of a chain's source role: when it is read, written and left alone."""

from __future__ import annotations

from typing import cast

import pytest

from support.operator_world import ISSUER, ROLE, FakeAws
from trustbind.arns import RoleArn
from trustbind.errors import AccessDeniedError
from trustbind.source_policies import policy_name, source_policy
from trustbind_operator.iam import AccountAccess
from trustbind_operator.permissions import SourcePermission

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
