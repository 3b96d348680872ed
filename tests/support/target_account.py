"""An operator's account and a target account in a local AWS, as the tests of the way to AWS need them."""

from __future__ import annotations

from typing import Any, Final

from trustbind.identity.arns import ProviderArn, RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.client import ManagerRole
from trustbind_localaws import LocalAws

__all__ = ["ISSUER", "MANAGER", "OPEN", "OPERATOR", "OPS", "PROVIDER", "ROLE", "TARGET", "seed", "trust"]

OPERATOR: Final = "111122223333"
TARGET: Final = "444455556666"
ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
PROVIDER: Final = ProviderArn("aws", TARGET, ISSUER.host_path)
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{TARGET}:role/team-a/app")
MANAGER: Final = ManagerRole(RoleArn.parse(f"arn:aws:iam::{TARGET}:role/manager"), "blue")
OPEN: Final = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OPERATOR}:root"}, "Action": "sts:AssumeRole"}
OPS: Final = {"Sid": "Ops", **OPEN}

_EVERYTHING: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


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
