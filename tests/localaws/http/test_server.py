"""The server as such: several at once, keep-alive, the routes under /_local/, and the process."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from trustbind_localaws import LocalAws, TokenIssuer

A, B = "111122223333", "444455556666"
Client = Callable[..., Any]


def _ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, f"/_local/{path}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def ask(aws: LocalAws) -> Callable[..., tuple[int, Any]]:
    """Return an asker of admin routes."""
    return lambda method, path, body=None: _ask(aws.port, method, path, body)


def test_connection_is_kept_alive(aws: LocalAws) -> None:
    """Several requests go over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/_local/health")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
        assert connection.sock is not None
    connection.close()


def test_stop_closes_open_connections() -> None:
    """Stopping does not wait for idle clients; a stopped server has no address and can be started again."""
    aws = LocalAws()
    with aws:
        connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
        connection.request("GET", "/_local/health")
        connection.getresponse().read()
        with pytest.raises(RuntimeError, match="runs already"):
            aws.start()
    connection.close()
    with pytest.raises(RuntimeError, match="start it first"):
        _ = aws.url
    with aws:
        assert _ask(aws.port, "GET", "health")[0] == 200


def test_two_in_one_process_share_nothing(client: Client, make_role: Any) -> None:
    """A second server is another AWS."""
    make_role(A, "here")
    with LocalAws() as other:
        iam = boto3.client(
            "iam",
            region_name="us-east-1",
            endpoint_url=other.url,
            aws_access_key_id=A,
            aws_secret_access_key="x",
        )
        assert iam.list_roles()["Roles"] == []
        iam.close()
    assert len(client("iam", A).list_roles()["Roles"]) == 1


def test_other_requests_are_turned_away(aws: LocalAws) -> None:
    """GET outside /_local/ is 404, an unsigned call is MissingAuthenticationToken, no action is MissingAction."""
    connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=10)
    answers = []
    for method, body in (("GET", None), ("POST", "Action=ListRoles&Version=2010-05-08"), ("POST", "")):
        connection.request(method, "/", body)
        answer = connection.getresponse()
        answers.append((answer.status, answer.read().decode()))
    connection.close()
    assert [status for status, _ in answers] == [404, 403, 400]
    assert "<Code>MissingAuthenticationToken</Code>" in answers[1][1]
    assert "<Code>MissingAction</Code>" in answers[2][1]


def test_faults_over_http(client: Client, ask: Any, refused: Any) -> None:
    """Throttling, denial and delays are set and cleared over HTTP."""
    iam = client("iam", A)
    assert ask("POST", "throttle", {"account": A, "operations": ["ListRoles"], "count": 1}) == (200, {})
    with refused("Throttling"):
        iam.list_roles()
    ask("POST", "deny", {"account": A, "operations": "ListRoles"})
    with refused("AccessDenied"):
        iam.list_roles()
    ask("POST", "delay-visibility", {"calls": 3})
    assert ask("DELETE", "faults") == (200, {})
    iam.list_roles()
    ask("POST", "unreachable", {"account": A})
    ask("POST", "unreachable", {"account": A, "on": False})
    iam.list_roles()


def test_quota_clock_and_reset_over_http(
    client: Client, make_role: Any, session_of: Any, ask: Any, refused: Any
) -> None:
    """Quota and time are set over HTTP, and a reset empties everything."""
    ask("POST", "quota", {"account": A, "characters": 8192})
    assert client("iam", A).get_account_summary()["SummaryMap"]["AssumeRolePolicySizeQuota"] == 8192
    session = session_of(make_role(A, "worker"))
    ask("POST", "advance", {"seconds": 3601})
    with refused("ExpiredToken"):
        client("sts", session).get_caller_identity()
    ask("POST", "reset")
    assert client("iam", A).list_roles()["Roles"] == []


def test_journal_over_http(client: Client, make_role: Any, ask: Any) -> None:
    """Calls, counts and decisions are read as JSON and emptied."""
    arn = make_role(A, "worker")
    client("sts", A).assume_role(RoleArn=arn, RoleSessionName="x1")
    (call,) = ask("GET", f"calls?account={A}&operation=AssumeRole")[1]
    assert (call["resource"], call["code"]) == (arn, "")
    assert {"account": A, "operation": "AssumeRole", "count": 1} in ask("GET", "counts")[1]
    (decision,) = ask("GET", "decisions")[1]
    assert (decision["role_arn"], decision["allowed"], decision["statement"]) == (arn, True, "statement 1")
    ask("DELETE", "calls")
    ask("DELETE", "decisions")
    assert (ask("GET", "calls")[1], ask("GET", "decisions")[1], ask("GET", "counts")[1]) == ([], [], [])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("GET", "nothing", None, 404, "there is no GET"),
        ("POST", "quota", {"account": A}, 400, "the member 'characters' is missing"),
        ("POST", "quota", {"account": "1", "characters": 1}, 400, "12 digits"),
        ("POST", "quota", [], 400, "not a JSON object"),
        ("POST", "issuers", {"issuer": "https://x", "jwks": {"keys": []}}, 400, "key set"),
        ("POST", "accounts", {"acounts": {}}, 400, "unknown member 'acounts'"),
    ],
)
def test_wrong_admin_requests(ask: Any, method: str, path: str, body: Any, status: int, problem: str) -> None:
    """A wrong request is told what is wrong with it."""
    answer = ask(method, path, body)
    assert answer[0] == status
    assert problem in answer[1]["error"]


SUBJECT = "system:serviceaccount:team-a:reader"


def _accounts(issuer: TokenIssuer) -> dict[str, Any]:
    provider = f"arn:aws:iam::{B}:oidc-provider/issuer.example/cluster"
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {"issuer.example/cluster:sub": SUBJECT}},
    }
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}}
    return {
        "issuers": [{"issuer": issuer.issuer_url, "jwks": issuer.jwks()}],
        "accounts": {
            B: {
                "trustPolicyQuota": 4096,
                "providers": [{"url": issuer.issuer_url}],
                "roles": [
                    {
                        "name": "reader",
                        "path": "/app/",
                        "maxSessionDuration": 7200,
                        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                        "inlinePolicies": {"read": policy},
                    }
                ],
            }
        },
    }


def test_accounts_over_http(client: Client, ask: Any, issuer: TokenIssuer) -> None:
    """Roles, providers, issuers and quotas are described in one document."""
    assert ask("POST", "accounts", _accounts(issuer)) == (200, {})
    credentials = client("sts", A).assume_role_with_web_identity(
        RoleArn=f"arn:aws:iam::{B}:role/app/reader",
        RoleSessionName="pod-1",
        WebIdentityToken=issuer.mint(SUBJECT),
        DurationSeconds=7200,
    )["Credentials"]
    assert client("iam", credentials).get_role(RoleName="reader")["Role"]["MaxSessionDuration"] == 7200


@pytest.mark.parametrize(
    ("accounts", "problem"),
    [
        ({"1": {}}, "12 digits"),
        ({A: {"role": []}}, "accounts.111122223333 has the unknown member 'role'"),
        ({A: {"roles": [{"name": "x"}]}}, "roles[0] lacks the member 'trustPolicy'"),
        ({A: {"providers": ["x"]}}, "providers[0] is not an object"),
        ({A: {"roles": [{"name": "x", "trustPolicy": {}}]}}, "MalformedPolicyDocument"),
    ],
)
def test_wrong_accounts_file(aws: LocalAws, accounts: Any, problem: str) -> None:
    """What is wrong with an entry, and where it stands."""
    with pytest.raises(ValueError, match="account") as caught:
        aws.seed({"accounts": accounts})
    assert problem in str(caught.value)


def test_process_of_its_own(tmp_path: Path, issuer: TokenIssuer) -> None:
    """``python -m trustbind_localaws`` says when it is ready and where, and stops on SIGTERM."""
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps(_accounts(issuer)))
    with subprocess.Popen(
        [sys.executable, "-m", "trustbind_localaws", "--accounts-file", str(file)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("trustbind-localaws ready on http://127.0.0.1:")
        assert _ask(int(line.rpartition(":")[2]), "GET", "health") == (200, {"status": "ok"})
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_process_that_cannot_start(tmp_path: Path) -> None:
    """A wrong file is one sentence on standard error and status 1."""
    file = tmp_path / "accounts.yaml"
    file.write_text("acounts: {}")
    ended = subprocess.run(
        [sys.executable, "-m", "trustbind_localaws", "--accounts-file", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("trustbind-localaws: the file has the unknown member 'acounts'")
    assert ended.stderr.count("\n") == 1
