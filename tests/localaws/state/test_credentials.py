"""Who calls: static account keys, sessions, users' keys, and what is none of them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from trustbind_localaws import LocalAws

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]


def test_account_key_is_root_of_that_account(client: Client) -> None:
    """An access key that is an account id acts as that account's root."""
    identity = client("sts", A).get_caller_identity()
    assert (identity["Account"], identity["Arn"]) == (A, f"arn:aws:iam::{A}:root")


def test_accounts_are_apart(client: Client, make_role: Any) -> None:
    """A role of one account is not there in another, and the same name can exist in both."""
    one, other = make_role(A, "twin"), make_role(B, "twin")
    assert {one, other} == {f"arn:aws:iam::{A}:role/twin", f"arn:aws:iam::{B}:role/twin"}
    make_role(A, "only")
    assert [role["RoleName"] for role in client("iam", B).list_roles()["Roles"]] == ["twin"]


def test_partition_follows_the_region(client: Client) -> None:
    """A client of a Chinese region works in the partition aws-cn."""
    identity = client("sts", A, region="cn-north-1").get_caller_identity()
    assert identity["Arn"] == f"arn:aws-cn:iam::{A}:root"


def test_session_acts_in_the_roles_account(client: Client, make_role: Any, session_of: Any) -> None:
    """A session's identity is the role's account, the assumed-role ARN without path, and the role's unique id."""
    arn = make_role(B, "worker", Path="/team/")
    identity = client("sts", session_of(arn, "pod-1")).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{B}:assumed-role/worker/pod-1"
    assert identity["Account"] == B
    role_id = client("iam", B).get_role(RoleName="worker")["Role"]["RoleId"]
    assert identity["UserId"] == f"{role_id}:pod-1"


def test_unknown_key_is_refused(client: Client, refused: Any) -> None:
    """A key that nobody has is InvalidClientTokenId, for IAM and STS alike."""
    for service, operation in (("sts", "get_caller_identity"), ("iam", "list_roles")):
        with refused("InvalidClientTokenId", "security token included in the request is invalid", 403):
            getattr(client(service, "AKIAIOSFODNN7EXAMPLE"), operation)()


def test_wrong_session_token_is_refused(client: Client, make_role: Any, session_of: Any, refused: Any) -> None:
    """A session's key with another token, or with none, does not work."""
    credentials = session_of(make_role(A, "worker"))
    with refused("InvalidClientTokenId"):
        client("sts", credentials | {"SessionToken": "other"}).get_caller_identity()
    with refused("InvalidClientTokenId"):
        client("sts", {k: v for k, v in credentials.items() if k != "SessionToken"}).get_caller_identity()


def test_expired_session_is_refused(
    aws: LocalAws, client: Client, make_role: Any, session_of: Any, refused: Any
) -> None:
    """A session ends when its time is over: ExpiredToken."""
    worker = client("sts", session_of(make_role(A, "worker"), DurationSeconds=900))
    aws.advance(898)  # the end is a whole second, so the last one may be cut short
    worker.get_caller_identity()
    aws.advance(3)
    with refused("ExpiredToken", "expired", 403):
        worker.get_caller_identity()


def test_session_dies_with_its_role(client: Client, make_role: Any, session_of: Any, refused: Any) -> None:
    """A session of a deleted role does not come back to life when the name is used again."""
    credentials = session_of(make_role(A, "worker", allow=""))
    client("iam", A).delete_role(RoleName="worker")
    make_role(A, "worker")
    with refused("InvalidClientTokenId"):
        client("sts", credentials).get_caller_identity()


def test_users_key_is_the_user(client: Client) -> None:
    """A key from CreateAccessKey acts as its user."""
    client("iam", B).create_user(UserName="ann")
    key = client("iam", B).create_access_key(UserName="ann")["AccessKey"]
    assert client("sts", key).get_caller_identity()["Arn"] == f"arn:aws:iam::{B}:user/ann"


def test_other_services_and_operations_are_refused(client: Client, refused: Any) -> None:
    """What is not served says so instead of pretending."""
    with refused("InvalidAction", "not part of this local AWS"):
        client("sts", A).get_session_token()
    with refused("InvalidAction", "not part of this local AWS"):
        client("iam", A).simulate_principal_policy(PolicySourceArn=f"arn:aws:iam::{A}:role/x", ActionNames=["a:b"])


def test_presigned_request(client: Client, make_role: Any, session_of: Any) -> None:
    """A presigned URL is answered for the one who signed it, which is how EKS finds out whose token it has."""
    session = session_of(make_role(B, "worker"), "pod-1")
    url = client("sts", session).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the local AWS
        assert f"<Arn>arn:aws:sts::{B}:assumed-role/worker/pod-1</Arn>" in answer.read().decode()


def test_presigned_request_with_another_token(client: Client, make_role: Any, session_of: Any) -> None:
    """A presigned URL whose session token was changed is refused, as a signed request would be."""
    session = session_of(make_role(B, "worker"), "pod-1")
    url = client("sts", session).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    changed = url.replace("X-Amz-Security-Token=", "X-Amz-Security-Token=x")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(changed, timeout=10)  # noqa: S310 - the same
    with refused.value as error:
        assert error.code == 403
        assert "InvalidClientTokenId" in error.read().decode()
