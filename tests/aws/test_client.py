"""The adapter to AWS: over HTTP against the strict local AWS, and the translation of what boto raises."""

from __future__ import annotations

import json
from typing import Any

import boto3
import botocore.exceptions
import pytest

from support.target_account import ISSUER, OPEN, OPS, PROVIDER, ROLE, TARGET, trust
from trustbind.errors import (
    AWS_CODES,
    AccessDeniedError,
    AwsError,
    NotFoundError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.client import AccountAccess, AwsAccess, Watch, translated
from trustbind_localaws import LocalAws


class Noted:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[str, ...]] = []

    def before(self, operation: str) -> None:
        """Note it."""
        self.log.append((operation,))

    def after(self, operation: str, code: str) -> None:
        """Note it."""
        self.log.append((operation, code))


def access(watch: Watch | None = None, **credentials: str) -> AccountAccess:
    """Return access to the target account as its root, or as somebody else."""
    keys = {"aws_access_key_id": TARGET, "aws_secret_access_key": "any"} | credentials
    return AccountAccess(boto3.Session(**keys), watch)


def test_read(aws: LocalAws) -> None:
    """Document, session length and tags; the bare name is sent, the whole ARN is compared."""
    boto3.client("iam", region_name="us-east-1", aws_access_key_id=TARGET, aws_secret_access_key="any").tag_role(
        RoleName="app", Tags=[{"Key": "trustbind.dev/namespaces", "Value": "team-a"}]
    )

    state = access().read(ROLE)

    assert [s["Sid"] for s in state.document.statements] == ["Ops"]
    assert state.max_session_seconds == 7200
    assert state.tags == {"trustbind.dev/namespaces": "team-a"}
    assert len(aws.calls(TARGET, "GetRole")) == 1


@pytest.mark.usefixtures("aws")
def test_no_such_role() -> None:
    """It is told which."""
    with pytest.raises(NotFoundError, match="role/team-a/other") as caught:
        access().read(RoleArn.parse(f"arn:aws:iam::{TARGET}:role/team-a/other"))
    assert caught.value.code == "NoSuchEntity"


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("path", ["/", "/team-b/"])
def test_role_under_another_path(path: str) -> None:
    """IAM finds a role by its bare name; one with another path is not the role that is meant."""
    with pytest.raises(NotFoundError, match=f"the role named app is {ROLE}") as caught:
        access().read(RoleArn("aws", TARGET, path, "app"))
    assert caught.value.code == "NoSuchEntity"


@pytest.mark.usefixtures("aws")
def test_write() -> None:
    """The whole document is replaced."""
    document = TrustDocument.parse(trust(OPS, {"Sid": "More", **OPEN}))
    access().write(ROLE, document)
    assert access().read(ROLE).document.meaning() == document.meaning()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ({**OPS, "Principal": {"AWS": f"arn:aws:iam::{TARGET}:role/nobody"}}, "MalformedPolicyDocument"),
        ({**OPS, "Sid": "a b"}, "MalformedPolicyDocument"),
        ({**OPS, "Condition": {"StringEquals": {"aws:PrincipalTag/x": ["y" * 100] * 30}}}, "LimitExceeded"),
    ],
)
def test_rejected(statement: dict[str, Any], code: str) -> None:
    """IAM's own refusal of the document."""
    with pytest.raises(PolicyRejectedError) as caught:
        access().write(ROLE, TrustDocument.parse(trust(statement)))
    assert caught.value.code == code
    assert caught.value.operation == f"iam:UpdateAssumeRolePolicy on {ROLE}"


@pytest.mark.usefixtures("aws")
def test_role_of_aws_itself() -> None:
    """A service-linked role cannot be edited by anybody."""
    role = RoleArn.parse(f"arn:aws:iam::{TARGET}:role/aws-service-role/x/AWSServiceRole")
    with pytest.raises(AccessDeniedError) as caught:
        access().write(role, TrustDocument.parse(trust(OPS)))
    assert caught.value.code == "UnmodifiableEntity"


def test_denied_throttled_and_unreachable(aws: LocalAws) -> None:
    """Each is its own class, with AWS's code, and says which call on what."""
    client = access()
    aws.deny(TARGET, ["GetRole"])
    with pytest.raises(AccessDeniedError, match=f"iam:GetRole on {ROLE}") as denied:
        client.read(ROLE)
    assert denied.value.code == "AccessDenied"
    aws.clear_faults()
    aws.throttle(TARGET)
    with pytest.raises(ThrottledError, match="Rate exceeded") as throttled:
        client.read(ROLE)
    assert throttled.value.code == "Throttling"
    aws.clear_faults()
    aws.unreachable(TARGET)
    with pytest.raises(UnreachableError, match="no answer from AWS") as unreachable:
        client.read(ROLE)
    assert unreachable.value.code == ""
    aws.clear_faults()
    aws.unreachable(TARGET, on=False)
    client.read(ROLE)


@pytest.mark.usefixtures("aws")
def test_unknown_credentials() -> None:
    """A key that AWS does not know."""
    with pytest.raises(AccessDeniedError) as caught:
        access(aws_access_key_id="AKIAEXAMPLE").caller()
    assert caught.value.code == "InvalidClientTokenId"


@pytest.mark.usefixtures("aws")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UnreachableError, match="there are no AWS credentials: set AWS_PROFILE"):
        AwsAccess("who").direct().caller()


def test_no_certificates(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA bundle that is not there is no answer from AWS, in one sentence that says what cannot be read."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent/ca.pem")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url.replace("http:", "https:"))
    with pytest.raises(UnreachableError, match="No such file"):
        AwsAccess("who").direct().caller()


@pytest.mark.parametrize("code", [*AWS_CODES, "SomethingNew", ""])
def test_every_code_is_translated(code: str) -> None:
    """To the class that is written down for it; one that is not, to the base. AWS's message stays."""
    answer = {"Error": {"Code": code, "Message": "said"}}
    with pytest.raises(AwsError) as caught, translated("iam:X"):
        raise botocore.exceptions.ClientError(answer, "X")
    assert type(caught.value) is AWS_CODES.get(code, AwsError)
    assert (caught.value.code, caught.value.problem, caught.value.operation) == (code, "said", "iam:X")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "AWS gave no reason"),
        ({"Error": {"Code": "Odd"}}, "Odd"),
        ({"Error": {"Code": "", "Message": "said"}}, "said"),
    ],
)
def test_answers_without_a_message(answer: dict[str, Any], problem: str) -> None:
    """There is always a sentence."""
    with pytest.raises(AwsError) as caught, translated("iam:X"):
        raise botocore.exceptions.ClientError(answer, "X")
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (botocore.exceptions.NoRegionError(), "set AWS_REGION"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"), "https://x"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"), "no answer from AWS"),
        (botocore.exceptions.ProfileNotFound(profile="p"), "p"),
    ],
)
def test_what_never_reached_aws(error: Exception, said: str) -> None:
    """Network, configuration and credentials."""
    with pytest.raises(UnreachableError, match=said), translated("iam:X"):
        raise error


def test_defects_are_not_translated() -> None:
    """Only what boto raises is."""
    with pytest.raises(KeyError), translated("iam:X"):
        raise KeyError("x")


def test_limit(aws: LocalAws) -> None:
    """The account's quota, asked once, or anew."""
    aws.set_quota(TARGET, 4096)
    client = access()
    assert [client.trust_policy_limit(), client.trust_policy_limit()] == [4096, 4096]
    assert len(aws.calls(TARGET, "GetAccountSummary")) == 1
    aws.set_quota(TARGET, 8192)
    assert client.trust_policy_limit(anew=True) == 8192
    aws.deny(TARGET, ["GetAccountSummary"])
    assert access().trust_policy_limit() == 2048


def test_roles_with(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles with such a Sid, page by page, each page one call."""
    admin: Any = boto3.client("iam", region_name="us-east-1", aws_access_key_id=TARGET, aws_secret_access_key="any")
    for n in range(5):
        sid = "Trustbind0123abcd" if n % 2 else "Other"
        admin.create_role(
            RoleName=f"r{n}", Path=f"/p{n}/", AssumeRolePolicyDocument=json.dumps(trust({"Sid": sid, **OPEN}))
        )
    monkeypatch.setattr("trustbind_aws.client._LIST_PAGE", 3)
    aws.reset_calls()

    found = access().roles_with("Trustbind0123")

    assert [str(role) for role in found] == [f"arn:aws:iam::{TARGET}:role/p{n}/r{n}" for n in (1, 3)]
    assert len(aws.calls(TARGET, "ListRoles")) == 3


@pytest.mark.usefixtures("aws")
def test_provider() -> None:
    """None, made, completed; what is there already is no error."""
    client = access()
    assert client.provider_audiences(PROVIDER) is None
    client.create_provider(ISSUER, frozenset({"b", "a"}))
    assert client.provider_audiences(PROVIDER) == frozenset("ab")
    client.create_provider(ISSUER, frozenset({"c"}))
    client.add_audience(PROVIDER, "c")
    client.add_audience(PROVIDER, "c")
    assert client.provider_audiences(PROVIDER) == frozenset("abc")


def test_provider_failures(aws: LocalAws) -> None:
    """A refusal is no absence, and names the call."""
    aws.deny(TARGET, ["GetOpenIDConnectProvider", "CreateOpenIDConnectProvider"])
    with pytest.raises(AccessDeniedError, match=f"iam:GetOpenIDConnectProvider on {PROVIDER}"):
        access().provider_audiences(PROVIDER)
    with pytest.raises(AccessDeniedError, match=f"iam:CreateOpenIDConnectProvider for {ISSUER}"):
        access().create_provider(ISSUER, frozenset({"a"}))
    with pytest.raises(NotFoundError):
        access().add_audience(PROVIDER, "a")


def test_watch_stands_beside_every_call(aws: LocalAws) -> None:
    """Before and after, with AWS's code of a failure."""
    watch = Noted()
    client = access(watch)
    client.caller()
    with pytest.raises(NotFoundError):
        client.read(RoleArn("aws", TARGET, "/", "nobody"))
    aws.unreachable(TARGET)
    with pytest.raises(UnreachableError):
        client.read(ROLE)
    assert watch.log == [
        ("sts:GetCallerIdentity",),
        ("sts:GetCallerIdentity", ""),
        ("iam:GetRole",),
        ("iam:GetRole", "NoSuchEntity"),
        ("iam:GetRole",),
        ("iam:GetRole", "UnreachableError"),
    ]
