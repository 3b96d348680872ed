"""An operator's account and a target account in a local AWS, as the tests of the way to AWS need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import boto3

from trustbind.backoff import Backoff
from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.call_limiter import CallLimiter
from trustbind_aws.calls import CallSettings
from trustbind_aws.client import AccountClient
from trustbind_aws.permits import boottime
from trustbind_aws.sessions import ManagerRole
from trustbind_localaws import LocalAws

__all__ = [
    "ISSUER",
    "MANAGER",
    "ONE_TRY",
    "OPEN",
    "OPERATOR",
    "OPS",
    "PROVIDER",
    "ROLE",
    "TARGET",
    "access",
    "as_root",
    "seed",
    "trust",
]

OPERATOR: Final = "111122223333"
TARGET: Final = "444455556666"
ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
PROVIDER: Final = ProviderArn("aws", TARGET, ISSUER.host_path)
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{TARGET}:role/team-a/app")
MANAGER: Final = ManagerRole(RoleArn.parse(f"arn:aws:iam::{TARGET}:role/manager"), "blue")
OPEN: Final = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OPERATOR}:root"}, "Action": "sts:AssumeRole"}
OPS: Final = {"Sid": "Ops", **OPEN}

_EVERYTHING: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


ONE_TRY: Final = CallSettings(reads=Backoff(0.0, 0.0, tries=1))
"""Calls without a second try of ours."""


def access(
    count: Callable[[str, str], None] = lambda _operation, _code: None,
    settings: CallSettings = ONE_TRY,
    *,
    limiter: CallLimiter | None = None,
    clock: Callable[[], float] = boottime,
    **credentials: str,
) -> AccountClient:
    """Return access to the target account as its root, or as another identity."""
    keys = {"aws_access_key_id": TARGET, "aws_secret_access_key": "any"} | credentials
    return AccountClient(boto3.Session(**keys), limiter or CallLimiter(), settings, count, clock)


def as_root(service: str = "iam", region: str = "us-east-1") -> Any:
    """Return a boto3 client of the target account's root, for what another administrator does."""
    return boto3.client(service, region_name=region, aws_access_key_id=TARGET, aws_secret_access_key="any")


def trust(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return a trust policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def seed(aws: LocalAws) -> None:
    """Create both: a manager role, a role with a path, and one that belongs to AWS."""
    aws.seed(
        {
            "accounts": {
                OPERATOR: {"roles": []},
                TARGET: {
                    "roles": [
                        {
                            "name": "manager",
                            "trustPolicy": trust(
                                {**OPEN, "Condition": {"StringEquals": {"sts:ExternalId": "blue"}}},
                            ),
                            "inlinePolicies": {"all": _EVERYTHING},
                        },
                        {"name": "app", "path": "/team-a/", "trustPolicy": trust(OPS), "maxSessionDuration": 7200},
                        {"name": "AWSServiceRole", "path": "/aws-service-role/x/", "trustPolicy": trust(OPS)},
                    ]
                },
            }
        }
    )
