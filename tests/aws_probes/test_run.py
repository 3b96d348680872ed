"""The command: what it does without credentials, what it refuses, what it creates and removes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from aws_probes import __main__ as command
from aws_probes.bucket import create_issuer, remove_buckets
from aws_probes.catalog import PROBES
from aws_probes.lab import TAG, Clients, Lab, Pace, Place
from aws_probes.model import Call, Probe
from aws_probes.vectors import read
from trustbind_localaws import LocalAws

ACCOUNT = "111122223333"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}
PERMISSION = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
CHOSEN = ("trust-policy-stale-principal", "role-list", "provider-url", "assume-role-chain")


class Clock:
    """A clock that stands until something sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalAws]:
    """Return a local AWS that boto3 finds by the environment."""
    with LocalAws() as running:
        for name, value in {
            "AWS_ENDPOINT_URL": running.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_CONFIG_FILE": str(tmp_path / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        yield running


def run(*arguments: str, folder: Path) -> int:
    """Run the command at full speed."""
    return command.main(["--vectors", str(folder), "--calls-per-second", "20", *arguments], sleep=lambda _: None)


def left() -> list[str]:
    """Return the ARNs of the roles, users and providers that are there."""
    iam = boto3.client("iam")
    found = [role["Arn"] for role in iam.list_roles()["Roles"]] + [user["Arn"] for user in iam.list_users()["Users"]]
    return found + [entry["Arn"] for entry in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]


def test_without_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without credentials it says what each probe would call and cost, and ends well."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    assert run("--account-id", ACCOUNT, folder=tmp_path) == 0

    printed = capsys.readouterr().out
    assert printed.count("    assumes: ") == len(PROBES)
    assert printed.count("    calls:   ") == len(PROBES)
    assert printed.count("    costs:   no charge") == len(PROBES)
    assert "it needs --issuer-bucket" in printed
    assert "it needs --eks-cluster NAME" in printed
    assert "Nothing was called: there are no AWS credentials." in printed
    assert list(tmp_path.glob("*.json")) == []


def test_without_account_id(aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials alone are not enough: no call is made without the id of the AWS account."""
    assert run(folder=tmp_path) == 0

    assert "Nothing was called: --account-id is missing." in capsys.readouterr().out
    assert aws.calls() == []


def test_other_account(aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials of another AWS account are refused after the one call that tells."""
    assert run("--account-id", "444455556666", folder=tmp_path) == 2

    assert f"the credentials are of AWS account {ACCOUNT}" in capsys.readouterr().err
    assert [record.operation for record in aws.calls()] == ["GetCallerIdentity"]


def test_account_id_from_environment(
    aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id may come from a variable."""
    monkeypatch.setenv(command.VARIABLE, "444455556666")

    assert run(folder=tmp_path) == 2
    assert "--account-id is 444455556666" in capsys.readouterr().err
    assert len(aws.calls()) == 1


@pytest.mark.parametrize("text", ["1234", "abcdefghijkl"])
def test_account_id_that_is_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An id has 12 digits."""
    with pytest.raises(SystemExit) as ended:
        run("--account-id", text, folder=tmp_path)

    assert ended.value.code == 2
    assert "has not 12 digits" in capsys.readouterr().err


def test_whole_run(aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It agrees, writes vectors that do not claim to come from AWS, and leaves nothing."""
    assert run("--account-id", ACCOUNT, "--only", *CHOSEN, folder=tmp_path) == 0

    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("agrees")] == [
        f"agrees  {name}" for name in (probe.name for probe in PROBES) if name in CHOSEN
    ]
    assert "4 probes, 0 of them answered otherwise than assumed" in printed
    vectors = [read(path) for path in sorted(tmp_path.glob("*.json"))]
    assert {vector.observed_at for vector in vectors} == {"local"}
    assert {vector.probe.name for vector in vectors} == set(CHOSEN)
    assert left() == []
    assert aws.call_counts()[ACCOUNT, "CreateRole"] > 10


def test_answer_that_differs(aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A difference is printed with what was assumed, and the exit code is 1."""
    aws.deny(ACCOUNT, ["AddClientIDToOpenIDConnectProvider"])

    assert run("--account-id", ACCOUNT, "--only", "provider-absent", folder=tmp_path) == 1

    printed = capsys.readouterr().out
    assert "differs provider-absent" in printed
    assert "add: assumed NoSuchEntity, answered AccessDenied" in printed


@pytest.mark.usefixtures("aws")
def test_foreign_things_stay(tmp_path: Path) -> None:
    """What lacks the tag, the path or the name is not removed, however much of the three it has."""
    iam = boto3.client("iam")
    trust, tags = json.dumps(TRUST), [{"Key": TAG, "Value": "x"}]
    foreign = [
        iam.create_role(RoleName="trustbind-probe-a", Path="/trustbind-probe/", AssumeRolePolicyDocument=trust),
        iam.create_role(RoleName="other", Path="/trustbind-probe/", AssumeRolePolicyDocument=trust, Tags=tags),
        iam.create_role(RoleName="trustbind-probe-b", Path="/", AssumeRolePolicyDocument=trust, Tags=tags),
    ]
    iam.create_open_id_connect_provider(Url="https://trustbind-probe-a.example.com", ClientIDList=["a"])
    iam.create_user(UserName="trustbind-probe-a", Path="/trustbind-probe/")
    before = left()
    own = {"RoleName": "trustbind-probe-old", "Path": "/trustbind-probe/", "AssumeRolePolicyDocument": trust}
    iam.create_role(**own, Tags=tags)
    iam.put_role_policy(RoleName="trustbind-probe-old", PolicyName="p", PolicyDocument=json.dumps(PERMISSION))

    assert run("--account-id", ACCOUNT, "--sweep", folder=tmp_path) == 0

    assert len(foreign) == 3
    assert sorted(left()) == sorted(before)


def test_stopped(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a probe still removes what was created."""
    made = 0
    call = Clients.call

    def stopping(self: Clients, operation: str, *arguments: Any) -> Any:
        nonlocal made
        made += operation == "iam:CreateRole"
        if made == 3 and operation == "iam:CreateRole":
            raise KeyboardInterrupt
        return call(self, operation, *arguments)

    monkeypatch.setattr(Clients, "call", stopping)

    assert run("--account-id", ACCOUNT, "--only", "trust-policy-stale-principal", folder=tmp_path) == 130

    assert aws.call_counts()[ACCOUNT, "CreateRole"] == 2
    assert left() == []


def lab_of(aws: LocalAws, clock: Clock, patience: float = 0.0) -> Lab:
    """Return a lab at the local AWS."""
    clients = Clients(boto3.Session(), Pace(1e9, clock, clock.sleep), aws.url)
    return Lab(clients, Place(ACCOUNT, "", "run0"), None, clock, clock.sleep, patience)


ROLE = "trustbind-probe-@{run}-a"


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("iam:DeleteRole", {"RoleName": "admin"}),
        ("iam:DeleteRole", {"RoleName": "trustbind-probe-other-run"}),
        ("iam:UpdateAssumeRolePolicy", {"RoleName": "trustbind-probe-a", "PolicyDocument": TRUST}),
        ("iam:CreateRole", {"RoleName": ROLE, "Path": "/", "AssumeRolePolicyDocument": TRUST}),
        ("iam:CreateRole", {"RoleName": ROLE, "AssumeRolePolicyDocument": TRUST}),
        ("iam:DeleteOpenIDConnectProvider", {"OpenIDConnectProviderArn": "arn:aws:iam::1:oidc-provider/a.example.com"}),
        ("eks:DeletePodIdentityAssociation", {"clusterName": "a", "associationId": "a-1"}),
        ("iam:TagRole", {"RoleName": ROLE}),
        ("iam:DeleteAccountAlias", {"AccountAlias": "a"}),
    ],
)
def test_writes_of_others(aws: LocalAws, operation: str, parameters: dict[str, Any]) -> None:
    """A probe that writes to what is not of its run is a mistake, and no call is made."""
    with pytest.raises(ValueError, match="correct the probe"):
        lab_of(aws, Clock()).run(Probe("p", "f", (Call("c", operation, parameters),)))

    assert aws.calls() == []


def test_created_things_are_tagged(aws: LocalAws) -> None:
    """What a probe creates has the run's tag, though the probe does not name it."""
    create = Call(
        "c", "iam:CreateRole", {"RoleName": ROLE, "Path": "/trustbind-probe/", "AssumeRolePolicyDocument": TRUST}
    )

    lab_of(aws, Clock()).run(Probe("p", "f", (create,)))

    tags = boto3.client("iam").list_role_tags(RoleName="trustbind-probe-run0-a")["Tags"]
    assert tags == [{"Key": TAG, "Value": "run0"}]


def test_write_that_shows_late(aws: LocalAws) -> None:
    """A call that settles is repeated until it answers as assumed, and the vector says how often and how long."""
    clock = Clock()
    changed = json.loads(json.dumps(TRUST).replace("sts:AssumeRole", "sts:TagSession"))
    shows = {"Role.AssumeRolePolicyDocument.Statement.0.Action": "sts:TagSession"}
    calls = (
        Call(
            "create",
            "iam:CreateRole",
            {"RoleName": ROLE, "Path": "/trustbind-probe/", "AssumeRolePolicyDocument": TRUST},
        ),
        Call("write", "iam:UpdateAssumeRolePolicy", {"RoleName": ROLE, "PolicyDocument": changed}),
        Call("read", "iam:GetRole", {"RoleName": ROLE}, shows=shows, settles=True),
    )
    aws.delay_visibility(calls=3)

    answers = lab_of(aws, clock, patience=60.0).run(Probe("p", "f", calls))

    assert [answer.tries for answer in answers] == [1, 1, 4]
    assert answers[2].seconds == 6.0
    assert answers[2].shows == shows


def test_patience_ends(aws: LocalAws) -> None:
    """A call that never answers as assumed is given up."""
    clock = Clock()
    read = Call("read", "iam:GetRole", {"RoleName": ROLE}, settles=True)

    answers = lab_of(aws, clock, patience=10.0).run(Probe("p", "f", (read,)))

    assert (answers[0].code, answers[0].tries, answers[0].seconds) == ("NoSuchEntity", 6, 10.0)


def test_pace() -> None:
    """Calls keep their distance, and time that passes anyway counts."""
    clock = Clock()
    pace = Pace(2.0, clock, clock.sleep)

    times = []
    for _ in range(3):
        pace.wait()
        times.append(clock.now)
    clock.sleep(5.0)
    pace.wait()

    assert times == [0.0, 0.5, 1.0]
    assert clock.now == 6.0


def test_issuer_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket serves discovery and public keys to everyone, nothing else, and is removed; foreign buckets stay."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    clock = Clock()
    with mock_aws():
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-west-1")
        clients = Clients(session, Pace(1e9, clock, clock.sleep))
        s3 = session.client("s3")
        place = {"LocationConstraint": "eu-west-1"}
        s3.create_bucket(Bucket="trustbind-probe-foreign", CreateBucketConfiguration=place)

        issuer = create_issuer(clients, "run0", "eu-west-1")

        assert issuer.url == "https://trustbind-probe-run0.s3.eu-west-1.amazonaws.com"
        names = [entry["Key"] for entry in s3.list_objects_v2(Bucket="trustbind-probe-run0")["Contents"]]
        assert names == [".well-known/openid-configuration", "openid/v1/jwks"]
        body = {
            name: json.loads(s3.get_object(Bucket="trustbind-probe-run0", Key=name)["Body"].read()) for name in names
        }
        assert body[names[0]]["jwks_uri"] == f"{issuer.url}/openid/v1/jwks"
        assert body[names[1]] == issuer.jwks()
        assert {name for key in body[names[1]]["keys"] for name in key} & {"d", "p", "q"} == set()
        policy = json.loads(s3.get_bucket_policy(Bucket="trustbind-probe-run0")["Policy"])
        assert policy["Statement"][0]["Resource"] == [f"arn:aws:s3:::trustbind-probe-run0/{name}" for name in names]

        reported: list[str] = []
        assert remove_buckets(clients, reported.append) == 1
        assert reported == ["removed bucket trustbind-probe-run0"]
        assert [entry["Name"] for entry in s3.list_buckets()["Buckets"]] == ["trustbind-probe-foreign"]


def test_local_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The local AWS's vectors replace its earlier ones, never one of AWS; a known difference is none."""
    names = ["role-absent", "trust-policy-absent-principal"]
    (tmp_path / "role-absent.json").write_text('{"observed_at": "aws"}', encoding="utf-8")

    assert run("--local", "--only", *names, folder=tmp_path) == 0

    assert capsys.readouterr().out == ""
    assert (tmp_path / "role-absent.json").read_text(encoding="utf-8") == '{"observed_at": "aws"}'
    assert read(tmp_path / "trust-policy-absent-principal.json").observed_at == "local"
