"""The knobs: throttling, denial, unreachable accounts, delayed visibility, hooks, counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from trustbind_localaws import LocalAws

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]


def _document(sid: str) -> str:
    statement = {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": A}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _sid(iam: Any, name: str = "target") -> str:
    return str(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"][0].get("Sid", ""))


@pytest.fixture
def iam(client: Client, make_role: Any) -> Any:
    """Return IAM of an account with one role."""
    make_role(A, "target")
    return client("iam", A)


def _write(iam: Any, sid: str) -> None:
    iam.update_assume_role_policy(RoleName="target", PolicyDocument=_document(sid))


def test_throttle_counts(aws: LocalAws, iam: Any, client: Client, refused: Any) -> None:
    """The next matching calls are throttled, other operations and accounts are not, and then it is over."""
    aws.throttle(A, ["GetRole"], count=2)
    iam.list_roles()
    client("iam", B).list_roles()
    for _ in range(2):
        with refused("Throttling", "Rate exceeded", 400):
            iam.get_role(RoleName="target")
    iam.get_role(RoleName="target")


def test_throttle_rate(aws: LocalAws, iam: Any, refused: Any) -> None:
    """A bucket holds one second's worth and fills with time."""
    aws.throttle(A, ["iam:GetRole"], rate=3)
    for _ in range(3):
        iam.get_role(RoleName="target")
    aws.advance(0.001)
    with refused("Throttling"):
        iam.get_role(RoleName="target")
    aws.advance(1)
    iam.get_role(RoleName="target")


def test_deny(aws: LocalAws, iam: Any, refused: Any) -> None:
    """Denied operations are AccessDenied even for root, until the faults are cleared."""
    aws.deny(A, ["UpdateAssumeRolePolicy"])
    with refused("AccessDenied", "explicit deny in a service control policy", 403):
        _write(iam, "x")
    iam.get_role(RoleName="target")
    aws.clear_faults()
    _write(iam, "x")


def test_assume_role_meets_the_faults_of_both_accounts(
    aws: LocalAws, client: Client, make_role: Any, refused: Any
) -> None:
    """A denied account cannot be assumed into from another one."""
    arn = make_role(B, "target")
    aws.deny(B, ["AssumeRole"])
    with refused("AccessDenied"):
        client("sts", A).assume_role(RoleArn=arn, RoleSessionName="x1")


def test_unreachable(aws: LocalAws, iam: Any, client: Client) -> None:
    """Calls of an unreachable account get no answer; it can come back."""
    aws.unreachable(A)
    with pytest.raises(ConnectionClosedError):
        iam.get_role(RoleName="target")
    client("iam", B).list_roles()
    aws.unreachable(A, on=False)
    iam.get_role(RoleName="target")
    assert [call.code for call in aws.calls(A, "GetRole")] == ["Dropped", ""]


def test_visibility_delayed_by_reads(aws: LocalAws, iam: Any) -> None:
    """A write shows after so many reads; listing is no read; no delay, no wait."""
    _write(iam, "old")
    aws.delay_visibility(calls=2)
    _write(iam, "new")
    iam.list_roles()
    assert [_sid(iam) for _ in range(4)] == ["old", "old", "new", "new"]
    aws.delay_visibility()
    _write(iam, "newest")
    assert _sid(iam) == "newest"


def test_last_waiting_write_wins(aws: LocalAws, iam: Any) -> None:
    """Two writes that wait: the second shows, after its own reads."""
    _write(iam, "old")
    aws.delay_visibility(calls=1)
    _write(iam, "one")
    _write(iam, "two")
    assert [_sid(iam) for _ in range(2)] == ["old", "two"]


def test_visibility_delayed_by_time(aws: LocalAws, iam: Any) -> None:
    """A write shows after so many seconds of this AWS's clock, in lists too."""
    _write(iam, "old")
    aws.delay_visibility(seconds=5)
    _write(iam, "new")
    assert _sid(iam) == "old"
    aws.advance(5)
    (role,) = iam.list_roles()["Roles"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Sid"] == "new"


def test_sts_evaluates_what_is_visible(aws: LocalAws, iam: Any, client: Client, make_role: Any, refused: Any) -> None:
    """Until a write shows, STS decides by the old document; its evaluation is a read."""
    arn = make_role(A, "closed", {"Effect": "Deny", "Principal": {"AWS": A}, "Action": "sts:AssumeRole"})
    aws.delay_visibility(calls=1)
    iam.update_assume_role_policy(RoleName="closed", PolicyDocument=_document("open"))
    sts = client("sts", A)
    with refused("AccessDenied"):
        sts.assume_role(RoleArn=arn, RoleSessionName="x1")
    sts.assume_role(RoleArn=arn, RoleSessionName="x1")


def test_deleted_principal_in_a_waiting_write(aws: LocalAws, iam: Any, make_role: Any) -> None:
    """A principal that goes while the write waits shows as its id."""
    arn = make_role(A, "gone", allow="")
    aws.delay_visibility(calls=1)
    iam.update_assume_role_policy(RoleName="target", PolicyDocument=_document("x").replace(f'"{A}"', f'"{arn}"'))
    iam.delete_role(RoleName="gone")
    _sid(iam)
    (statement,) = iam.get_role(RoleName="target")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"]["AWS"].startswith("AROA")


def test_second_writer_wins(aws: LocalAws, iam: Any, client: Client) -> None:
    """The hook runs between one writer's read and its write taking effect: the other's write is lost."""
    seen = []

    def other_writer(account: str, role_name: str) -> None:
        seen.append((account, role_name))
        _write(client("iam", A, region="eu-west-1"), "other")

    aws.before_write(other_writer)
    _write(iam, "mine")
    assert _sid(iam) == "mine"
    assert seen == [(A, "target")]
    assert len(aws.calls(A, "UpdateAssumeRolePolicy")) == 2
    _write(iam, "again")
    assert len(seen) == 1


def test_writers_race(aws: LocalAws, iam: Any, client: Client) -> None:
    """Two writers that both have read can both write: calls run side by side, and the last one stays."""
    meet = threading.Barrier(2, timeout=10)

    def wait_for_the_other(_account: str, _role_name: str) -> None:
        meet.wait()

    aws.before_write(wait_for_the_other, times=2)
    writers = [
        threading.Thread(target=_write, args=(client("iam", A, region=region), sid))
        for region, sid in (("us-east-1", "one"), ("us-east-2", "two"))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [call.code for call in aws.calls(A, "UpdateAssumeRolePolicy")] == ["", ""]
    assert _sid(iam) in {"one", "two"}


def test_calls_are_counted(aws: LocalAws, iam: Any, client: Client, refused: Any) -> None:
    """Calls are noted with account, operation, resource, caller and outcome, and counted; counting can start anew."""
    aws.reset_calls()
    _write(iam, "x")
    iam.get_role(RoleName="target")
    with refused("NoSuchEntity"):
        client("iam", B).get_role(RoleName="nobody")
    assert aws.call_counts() == {(A, "UpdateAssumeRolePolicy"): 1, (A, "GetRole"): 1, (B, "GetRole"): 1}
    (call,) = aws.calls(account=B)
    assert (call.resource, call.caller, call.code) == ("nobody", f"arn:aws:iam::{B}:root", "NoSuchEntity")
    assert [call.account for call in aws.calls(operation="GetRole")] == [A, B]
    aws.reset_calls()
    assert aws.calls() == []


def test_reset_empties_everything(aws: LocalAws, iam: Any) -> None:
    """After a reset there are no roles, quotas, faults or records."""
    aws.set_quota(A, 4096)
    aws.throttle()
    aws.delay_visibility(calls=9)
    aws.reset()
    assert aws.calls() == []
    assert iam.list_roles()["Roles"] == []
    assert iam.get_account_summary()["SummaryMap"]["AssumeRolePolicySizeQuota"] == 2048
