"""AssumeRole: the target's trust policy, and the caller's own policies where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trustbind_localaws import LocalAws

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]


def _trust(principal: str, **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return statement | ({"Condition": condition} if condition else {})


@pytest.fixture
def assume(client: Client) -> Callable[..., Any]:
    """Return the call, with credentials or an account's root."""

    def call(who: Any, role_arn: str, name: str = "chained", **settings: Any) -> Any:
        return client("sts", who).assume_role(RoleArn=role_arn, RoleSessionName=name, **settings)

    return call


@pytest.mark.parametrize("allow", ["", "iam:*", "sts:AssumeRole"])
@pytest.mark.parametrize("account", [A, B], ids=["same account", "other account"])
@pytest.mark.parametrize("named", [True, False], ids=["role named", "account named"])
def test_both_sides_where_needed(
    aws: LocalAws, make_role: Any, session_of: Any, assume: Any, refused: Any, named: bool, account: str, allow: str
) -> None:
    """Trust in a role is enough in its own account; from outside, or through the account, its policies must agree."""
    source = make_role(A, "source", allow=allow)
    target = make_role(account, "target", _trust(source if named else A))
    session = session_of(source)
    if allow == "sts:AssumeRole" or (named and account == A):
        assert assume(session, target)["AssumedRoleUser"]["Arn"].endswith(":assumed-role/target/chained")
        return
    with refused(
        "AccessDenied",
        f"User: arn:aws:sts::{A}:assumed-role/source/test is not authorized to perform: sts:AssumeRole on resource: "
        f"{target}",
        403,
    ):
        assume(session, target)
    assert aws.decisions[-1].reason.endswith("do not allow it, which is needed here.")


def test_own_deny_wins(make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """An explicit deny in the caller's policies stands against any trust."""
    denial = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "sts:*", "Resource": "*"}}
    source = make_role(A, "source", allow=denial)
    with refused("AccessDenied"):
        assume(session_of(source), make_role(A, "target", _trust(source)))


def test_untrusted_caller_is_denied(aws: LocalAws, make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """Permission without trust is not enough, and a missing role looks the same."""
    session = session_of(make_role(A, "source"))
    other = make_role(A, "other")
    target = make_role(B, "target", _trust(other))
    for role in (target, f"arn:aws:iam::{B}:role/nobody"):
        with refused("AccessDenied", f"is not authorized to perform: sts:AssumeRole on resource: {role}", 403):
            assume(session, role)
    assert f"{A}:assumed-role/source/test" in aws.decisions[-2].reason
    assert "there is no role" in aws.decisions[-1].reason


def test_path_of_the_caller_counts(make_role: Any, session_of: Any, assume: Any) -> None:
    """A role with a path is trusted by its whole ARN, though its session's ARN has lost the path."""
    source = make_role(A, "source", Path="/team/")
    assume(session_of(source), make_role(B, "target", _trust(source)))


def test_session_arn_can_be_trusted(make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """A trust policy may name one session of a role."""
    source = make_role(A, "source")
    target = make_role(B, "target", _trust(f"arn:aws:sts::{A}:assumed-role/source/pod-1"))
    assume(session_of(source, "pod-1"), target)
    with refused("AccessDenied"):
        assume(session_of(source, "pod-2"), target)


def test_deleted_source_role_is_no_longer_trusted(
    client: Client, make_role: Any, session_of: Any, assume: Any, refused: Any
) -> None:
    """A role made again under the old name is another principal."""
    source = make_role(A, "source", allow="")
    target = make_role(A, "target", _trust(source))
    assume(session_of(source), target)
    client("iam", A).delete_role(RoleName="source")
    with refused("AccessDenied"):
        assume(session_of(make_role(A, "source")), target)


def test_conditions_see_the_caller(make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """aws:PrincipalArn is the role's ARN; together with root it survives re-creation."""
    source, other = make_role(A, "source", Path="/team/"), make_role(A, "other")
    target = make_role(B, "target", _trust(A, ArnEquals={"aws:PrincipalArn": source}))
    assume(session_of(source), target)
    with refused("AccessDenied"):
        assume(session_of(other), target)


def test_external_id_is_compared(make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """A trust policy that asks for an external id takes only that one."""
    source = make_role(A, "source")
    target = make_role(B, "target", _trust(source, StringEquals={"sts:ExternalId": "tenant-7"}))
    session = session_of(source)
    assume(session, target, ExternalId="tenant-7")
    for settings in ({}, {"ExternalId": "tenant-8"}):
        with refused("AccessDenied"):
            assume(session, target, **settings)


def test_tags_and_source_identity_need_their_own_trust(
    make_role: Any, session_of: Any, assume: Any, refused: Any
) -> None:
    """Session tags ask for sts:TagSession, a source identity for sts:SetSourceIdentity."""
    source = make_role(A, "source")
    session = session_of(source)
    plain = make_role(B, "plain", _trust(source))
    full = make_role(
        B, "full", _trust(source) | {"Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]}
    )
    tags = [{"Key": "team", "Value": "a"}]
    assume(session, full, Tags=tags, SourceIdentity="ann")
    with refused("AccessDenied", "sts:TagSession"):
        assume(session, plain, Tags=tags)
    with refused("AccessDenied", "sts:SetSourceIdentity"):
        assume(session, plain, SourceIdentity="ann")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "x"}, "'roleSessionName'"),
        ({"name": "a/b"}, "'roleSessionName'"),
        ({"ExternalId": "x"}, "'externalId'"),
        ({"ExternalId": "x" * 1225}, "'externalId'"),
        ({"ExternalId": "a b"}, "'externalId'"),
        ({"DurationSeconds": 60}, "greater than or equal to 900"),
        ({"DurationSeconds": 7200}, "exceeds the MaxSessionDuration set for this role"),
    ],
)
def test_parameters_are_checked(
    make_role: Any, assume: Any, refused: Any, settings: dict[str, Any], message: str
) -> None:
    """ValidationError for what is outside AWS's constraints."""
    with refused("ValidationError", message, 400):
        assume(A, make_role(A, "target"), **settings)


def test_chained_sessions_last_an_hour(make_role: Any, session_of: Any, assume: Any, refused: Any) -> None:
    """A session of a session ends after an hour, whatever the role's maximum."""
    source = make_role(A, "source")
    target = make_role(B, "target", _trust(source), MaxSessionDuration=43200)
    session = session_of(source)
    assume(session, target, DurationSeconds=3600)
    with refused("ValidationError", "exceeds the 1 hour session limit for roles assumed by role chaining"):
        assume(session, target, DurationSeconds=3601)
    make_role(A, "open", MaxSessionDuration=43200)
    assume(A, f"arn:aws:iam::{A}:role/open", DurationSeconds=43200)


def test_root_needs_trust_in_its_account(make_role: Any, assume: Any, refused: Any) -> None:
    """A static account key gets into roles that trust its account, and into no other."""
    assume(A, make_role(B, "open", _trust(A)))
    with refused("AccessDenied"):
        assume(A, make_role(B, "closed", _trust(B)))


def test_session_of_a_session_is_a_caller(client: Client, make_role: Any, session_of: Any, assume: Any) -> None:
    """Chained credentials work like any others, in the last role's account."""
    source = make_role(A, "source")
    chained = assume(session_of(source), make_role(B, "target", _trust(source)))["Credentials"]
    assert client("iam", chained).get_role(RoleName="target")["Role"]["Arn"] == f"arn:aws:iam::{B}:role/target"
