"""A workload of which everything is known and everything works, to break one thing at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from trustbind.diagnosis.chain import Diagnosis, diagnose
from trustbind.diagnosis.error_text import classify
from trustbind.diagnosis.facts import Bundle
from trustbind.diagnosis.model import Case
from trustbind_cli.commands.doctor.wanted import skipped_containers, wanted_of
from trustbind_webhook.injection.decision import InjectionSettings

__all__ = [
    "AGENT",
    "CHAIN",
    "HEALTHY",
    "ISSUER",
    "ROLE",
    "Json",
    "absent",
    "case_of",
    "changed",
    "diagnosed",
    "hidden",
    "known",
]

Json = dict[str, Any]

NOW: Final = "2026-11-29T12:00:00+00:00"
ISSUER: Final = "https://oidc.example.com/cluster"
ACCOUNT: Final = "111122223333"
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/shop/checkout"
SOURCE: Final = f"arn:aws:iam::{ACCOUNT}:role/source"
TARGET: Final = "arn:aws:iam::444455556666:role/target"
PROVIDER: Final = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/cluster"
MOUNT: Final = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
SUBJECT: Final = "system:serviceaccount:shop:checkout"


def known(value: Any) -> Json:
    """Return a fact that was seen."""
    return {"seen": "known", "value": value}


def absent() -> Json:
    """Return a fact that was looked for and is not there."""
    return {"seen": "absent"}


def hidden(why: str = "you have no right to read it") -> Json:
    """Return a fact that could not be seen."""
    return {"seen": "not visible", "why": why}


def trusting(**statement: Any) -> Json:
    """Return a trust policy for the service account, with other elements of its statement where they are given."""
    usual = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                "oidc.example.com/cluster:aud": "sts.amazonaws.com",
                "oidc.example.com/cluster:sub": SUBJECT,
            }
        },
    }
    return {"Version": "2012-10-17", "Statement": [usual | statement]}


def binding(name: str = "checkout", **spec: Any) -> Json:
    """Return a RoleBinding that is Ready."""
    return {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-11-28T10:00:00Z"},
        "spec": {"roleArn": ROLE, "serviceAccountNames": ["checkout"]} | spec,
        "status": {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "TrustApplied",
                    "message": "the trust policy holds it",
                    "lastTransitionTime": "2026-11-28T10:00:05Z",
                }
            ]
        },
    }


CONTAINER: Final[Json] = {
    "name": "app",
    "env": [
        {"name": "AWS_ROLE_ARN", "value": ROLE},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": f"{MOUNT}/token"},
        {"name": "AWS_ROLE_SESSION_NAME", "value": "shop.checkout.web-0"},
        {"name": "AWS_REGION", "value": "eu-central-1"},
    ],
    "envFrom": [{"source": "ConfigMap/app", "keys": known(["LOG_LEVEL"])}],
    "volumeMounts": [{"name": "aws-iam-token", "mountPath": MOUNT}],
    "runAsUser": 1000,
}
POD: Final[Json] = {
    "name": "web-0",
    "created": "2026-11-28T11:00:00Z",
    "phase": "Running",
    "serviceAccount": "checkout",
    "containers": [CONTAINER],
    "tokens": [{"name": "aws-iam-token", "audience": "sts.amazonaws.com", "path": "token"}],
    "node": "node-1",
}
HEALTHY: Final[Json] = {
    "target": {"kind": "Pod", "namespace": "shop", "name": "web-0"},
    "time": NOW,
    "api": known({}),
    "settings": known(""),
    "pod": known(POD),
    "serviceAccount": known({"name": "checkout", "uid": "u-1"}),
    "namespaceLabels": known({"kubernetes.io/metadata.name": "shop"}),
    "bindings": known([binding()]),
    "webhooks": known(
        [
            {
                "configuration": "trustbind-webhook",
                "name": "mutate.trustbind.dev",
                "service": "trustbind-system/trustbind-webhook",
                "namespaceSelector": {
                    "matchExpressions": [{"key": "trustbind.dev/inject", "operator": "NotIn", "values": ["false"]}]
                },
                "authorities": ["aa"],
            }
        ]
    ),
    "backend": known({"ready": 2, "authorities": known(["aa"])}),
    "issuer": known(ISSUER),
    "claims": known(
        {
            "iss": ISSUER,
            "aud": ["sts.amazonaws.com"],
            "sub": SUBJECT,
            "iat": 1795953000,
            "exp": 1796040000,
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "checkout", "uid": "u-1"}},
        }
    ),
    "header": known({"alg": "RS256", "kid": "k1"}),
    "public": known({"issuer": ISSUER, "keys": {"k1": "RS256"}}),
    "caller": known({"account": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:user/ada"}),
    "provider": known({"arn": PROVIDER, "audiences": ["sts.amazonaws.com"]}),
    "role": known({"arn": ROLE, "trustPolicy": trusting()}),
    "targetRole": hidden(),
    "change": known(
        {"at": "2026-11-28T10:00:04+00:00", "author": "arn:aws:sts::111122223333:assumed-role/trustbind/x"}
    ),
    "organization": known([]),
    "endpoints": known([]),
    "permission": hidden(),
    "agent": hidden(),
    "association": hidden(),
    "exchange": known({}),
}


def changed(bundle: Mapping[str, Any], change: Callable[[Json], object]) -> Json:
    """Return a copy of a bundle with something changed in place."""
    copied: Json = copy.deepcopy(dict(bundle))
    change(copied)
    return copied


def _chain() -> Json:
    bundle = copy.deepcopy(HEALTHY)
    spec: Json = {"roleArn": TARGET, "method": "AssumeRole", "source": {"roleArn": SOURCE}, "externalId": "shop-1"}
    bundle["bindings"] = known([binding(**spec)])
    container = bundle["pod"]["value"]["containers"][0]
    container["env"] = [
        {"name": "AWS_CONFIG_FILE", "value": f"{MOUNT}/config"},
        {"name": "AWS_PROFILE", "value": "default"},
        {"name": "AWS_SDK_LOAD_CONFIG", "value": "1"},
    ]
    allowed = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": [TARGET]}
    bundle["role"] = known(
        {
            "arn": SOURCE,
            "trustPolicy": trusting(),
            "inlinePolicies": [{"Version": "2012-10-17", "Statement": [allowed]}],
        }
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": SOURCE},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "shop-1"}},
    }
    bundle["targetRole"] = known({"arn": TARGET, "trustPolicy": {"Version": "2012-10-17", "Statement": [statement]}})
    return bundle


def _agent() -> Json:
    bundle = copy.deepcopy(HEALTHY)
    bundle["bindings"] = known([binding(method="PodIdentity")])
    agent_mount = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    pod = bundle["pod"]["value"]
    pod["containers"][0]["env"] = [
        {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": f"{agent_mount}/eks-pod-identity-token"},
    ]
    pod["containers"][0]["volumeMounts"] = [{"name": "eks-pod-identity-token", "mountPath": agent_mount}]
    pod["tokens"] = [
        {"name": "eks-pod-identity-token", "audience": "pods.eks.amazonaws.com", "path": "eks-pod-identity-token"}
    ]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "pods.eks.amazonaws.com"},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    bundle["role"] = known({"arn": ROLE, "trustPolicy": {"Version": "2012-10-17", "Statement": [statement]}})
    bundle["agent"], bundle["association"] = known(1), known({"role": ROLE})
    return bundle


CHAIN: Final[Json] = _chain()
"""The same with a source role."""
AGENT: Final[Json] = _agent()
"""The same by EKS Pod Identity."""


def case_of(bundle: Mapping[str, Any], error: str = "") -> Case:
    """Return what the checks look at."""
    facts = msgspec.convert(bundle, Bundle)
    settings = InjectionSettings()
    now = datetime.fromisoformat(facts.time)
    now = now if now.tzinfo is not None else now.replace(tzinfo=UTC)
    found = classify(error) if error else None
    return Case(facts, wanted_of(facts, settings), found, now, skipped_containers(facts, settings))


def diagnosed(bundle: Mapping[str, Any], error: str = "", *, goes_on: bool = False) -> Diagnosis:
    """Return what comes out."""
    return diagnose(case_of(bundle, error), goes_on=goes_on)
