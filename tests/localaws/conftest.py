"""One local AWS per module, emptied before every test, and boto3 clients that talk to it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from trustbind_localaws import LocalAws, TokenIssuer

ISSUER = "https://issuer.example/cluster"

Client = Callable[..., Any]
Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalAws]:
    """Return the module's local AWS."""
    with LocalAws() as running:
        yield running


@pytest.fixture(autouse=True)
def aws(server: LocalAws) -> LocalAws:
    """Return the local AWS, empty."""
    server.reset()
    return server


@pytest.fixture(scope="module")
def _clients() -> Iterator[dict[tuple[str, ...], Any]]:
    clients: dict[tuple[str, ...], Any] = {}
    yield clients
    for each in clients.values():
        each.close()


@pytest.fixture(scope="session")
def _boto() -> boto3.Session:
    return boto3.Session()


@pytest.fixture
def client(aws: LocalAws, _boto: boto3.Session, _clients: dict[tuple[str, ...], Any]) -> Client:
    """Return a maker of clients: of an account's root, or of the credentials that STS or IAM gave out.

    They neither retry nor check parameters, so that the server's own answers show.
    """

    def make(service: str, who: str | Mapping[str, Any], *, region: str = "us-east-1") -> Any:
        credentials = {"AccessKeyId": who, "SecretAccessKey": "any"} if isinstance(who, str) else who
        key = (service, region, credentials["AccessKeyId"], credentials.get("SessionToken", ""))
        if key not in _clients:
            _clients[key] = _boto.client(
                service,
                region_name=region,
                endpoint_url=aws.url,
                aws_access_key_id=credentials["AccessKeyId"],
                aws_secret_access_key=credentials["SecretAccessKey"],
                aws_session_token=credentials.get("SessionToken"),
                config=Config(
                    retries={"total_max_attempts": 1}, parameter_validation=False, ignore_configured_endpoint_urls=True
                ),
            )
        return _clients[key]

    return make


@pytest.fixture
def refused() -> Refused:
    """Return a context manager that expects AWS's error code, a part of its message, and its HTTP status."""

    @contextmanager
    def expect(code: str, message: str = "", status: int | None = None) -> Iterator[None]:
        with pytest.raises(ClientError) as caught:
            yield
        response = caught.value.response
        assert response["Error"]["Code"] == code, response["Error"]
        assert message in response["Error"]["Message"]
        if status is not None:
            assert response["ResponseMetadata"]["HTTPStatusCode"] == status

    return expect


@pytest.fixture(scope="session")
def issuer() -> TokenIssuer:
    """Return a cluster's token issuer; one for all tests, since making RSA keys takes time."""
    return TokenIssuer(ISSUER)


@pytest.fixture
def make_role(client: Client) -> Callable[..., str]:
    """Return a maker of roles: account, name, principal or statements; returns the role's ARN."""

    def make(
        account: str,
        name: str,
        *statements: Mapping[str, Any],
        allow: Mapping[str, Any] | str = "*",
        **settings: Any,
    ) -> str:
        role = client("iam", account).create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": list(statements)
                    or [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
                }
            ),
            **settings,
        )["Role"]
        if allow:
            client("iam", account).put_role_policy(
                RoleName=name,
                PolicyName="permissions",
                PolicyDocument=json.dumps(
                    allow
                    if isinstance(allow, Mapping)
                    else {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": allow, "Resource": "*"}}
                ),
            )
        return str(role["Arn"])

    return make


@pytest.fixture
def session_of(client: Client) -> Callable[..., dict[str, Any]]:
    """Return a giver of a role's session, as the root of the role's account gets it."""

    def give(role_arn: str, name: str = "test", **settings: Any) -> dict[str, Any]:
        answer = client("sts", role_arn.split(":")[4]).assume_role(RoleArn=role_arn, RoleSessionName=name, **settings)
        return dict(answer["Credentials"])

    return give
