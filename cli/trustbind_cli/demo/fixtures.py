"""What exists when the demo begins: two AWS accounts, a cluster's issuer, and what a team would write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from trustbind.api.strict import API_VERSION

ACCOUNT_A: Final = "111122223333"
"""Where the operator's own identity lives. AWS's documentation uses these numbers, too."""

ACCOUNT_B: Final = "444455556666"
"""Where the role lives that the workload is to use."""

REGION: Final = "eu-central-1"
ISSUER: Final = f"https://oidc.eks.{REGION}.amazonaws.com/id/D3M0D3M0D3M0D3M0D3M0D3M0D3M0D3M0"
EXTERNAL_ID: Final = "trustbind-demo"

NAMESPACE: Final = "team-a"
READER: Final = "reader"
WRITER: Final = "writer"

TARGET_ROLE: Final = f"arn:aws:iam::{ACCOUNT_B}:role/team-a/s3-reader"
MANAGER_ROLE: Final = f"arn:aws:iam::{ACCOUNT_B}:role/trustbind-manager"
OPERATOR_ROLE: Final = f"arn:aws:iam::{ACCOUNT_A}:role/trustbind-operator"


@dataclass(frozen=True, slots=True)
class World:
    """The demo's files, by the name that they get."""

    aws: dict[str, Any]
    accounts: list[dict[str, Any]]
    account_b: dict[str, Any]
    binding: dict[str, Any]
    pod: dict[str, Any]


def world(jwks: dict[str, Any]) -> World:
    """Return the beginning.

    Args:
        jwks: the public keys of the cluster's issuer.
    """
    return World(
        aws={
            "issuers": [{"issuer": ISSUER, "jwks": jwks}],
            "accounts": {
                ACCOUNT_A: {"roles": [_operator_role()]},
                ACCOUNT_B: {"roles": [_manager_role(), _target_role()]},
            },
        },
        accounts=[_service_account(READER), _service_account(WRITER)],
        account_b={
            "apiVersion": API_VERSION,
            "kind": "AWSAccount",
            "metadata": {"name": "account-b"},
            "spec": {"accountId": ACCOUNT_B, "managerRoleArn": MANAGER_ROLE, "externalId": EXTERNAL_ID},
        },
        binding={
            "apiVersion": API_VERSION,
            "kind": "RoleBinding",
            "metadata": {"name": "s3-reader", "namespace": NAMESPACE},
            "spec": {"roleArn": TARGET_ROLE, "serviceAccountNames": [READER]},
        },
        pod={
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "report-7", "namespace": NAMESPACE, "labels": {"app": "report"}},
            "spec": {
                "serviceAccountName": READER,
                "containers": [{"name": "app", "image": "registry.example.com/team-a/report:1.4"}],
            },
        },
    )


def review_of(pod: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return the AdmissionReview that an API server sends when ``pod`` is created."""
    metadata = pod["metadata"]
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "operation": "CREATE",
            "userInfo": {"username": "demo", "groups": ["system:authenticated"]},
            "object": pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }


def _service_account(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}


def _operator_role() -> dict[str, Any]:
    return {
        "name": "trustbind-operator",
        "trustPolicy": _document(
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_A}:root"},
                "Action": "sts:AssumeRole",
            }
        ),
        "inlinePolicies": {
            "reach-managers": _document(
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/trustbind-manager"}
            )
        },
    }


def _manager_role() -> dict[str, Any]:
    return {
        "name": "trustbind-manager",
        "trustPolicy": _document(
            {
                "Effect": "Allow",
                "Principal": {"AWS": OPERATOR_ROLE},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
            }
        ),
        "inlinePolicies": {
            "edit-trust": _document(
                {
                    "Effect": "Allow",
                    "Action": ["iam:GetRole", "iam:UpdateAssumeRolePolicy"],
                    "Resource": f"arn:aws:iam::{ACCOUNT_B}:role/team-a/*",
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "iam:GetOpenIDConnectProvider",
                        "iam:CreateOpenIDConnectProvider",
                        "iam:AddClientIDToOpenIDConnectProvider",
                    ],
                    "Resource": f"arn:aws:iam::{ACCOUNT_B}:oidc-provider/*",
                },
                {"Effect": "Allow", "Action": "iam:GetAccountSummary", "Resource": "*"},
            )
        },
    }


def _target_role() -> dict[str, Any]:
    """Return a role that somebody else uses already: their statement has to survive."""
    return {
        "name": "s3-reader",
        "path": "/team-a/",
        "trustPolicy": _document(
            {
                "Sid": "NightlyBatch",
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ),
    }


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
