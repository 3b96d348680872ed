"""What a bundle keeps of objects: what decides, and nothing that is secret."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import msgspec
from msgspec import structs

from trustbind.diagnosis.facts import SET, Fact, known
from trustbind_cli.commands.doctor import redaction

SECRET = "do not tell"
POD: dict[str, Any] = {
    "metadata": {
        "name": "web-0",
        "creationTimestamp": "2026-11-28T11:00:00Z",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": SECRET,
            "eks.amazonaws.com/skip-containers": "proxy",
            "iam.amazonaws.com/role": "legacy",
        },
    },
    "spec": {
        "serviceAccountName": "checkout",
        "nodeName": "node-1",
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
        "initContainers": [{"name": "init"}],
        "containers": [
            {
                "name": "app",
                "env": [
                    {"name": "DB_PASSWORD", "value": SECRET},
                    {"name": "AWS_SECRET_ACCESS_KEY", "value": SECRET},
                    {"name": "AWS_SESSION_TOKEN", "value": SECRET},
                    {"name": "AWS_SOMETHING_NEW", "value": SECRET},
                    {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "id"}}},
                    {"name": "HTTPS_PROXY", "value": f"http://ada:{SECRET}@proxy:3128"},
                    {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::111122223333:role/x"},
                ],
                "envFrom": [{"secretRef": {"name": "keys"}, "prefix": "AWS_"}, {"configMapRef": {"name": "app"}}],
                "volumeMounts": [{"name": "aws-iam-token", "mountPath": "/token"}],
                "securityContext": {"runAsUser": 0},
                "command": ["sh", "-c", SECRET],
            }
        ],
        "volumes": [
            {"name": "keys", "secret": {"secretName": "keys"}},
            {
                "name": "aws-iam-token",
                "projected": {
                    "defaultMode": 256,
                    "sources": [{"serviceAccountToken": {"path": "token", "audience": "sts.amazonaws.com"}}],
                },
            },
        ],
    },
    "status": {"phase": "Running", "message": SECRET},
}


def test_pod_without_its_secrets() -> None:
    """No value of a variable that may be a credential, no copied manifest, no command."""
    keys: dict[str, Fact[list[str]]] = {"Secret/keys": known(["ACCESS_KEY_ID"])}

    found = redaction.pod_facts(POD, keys)

    assert SECRET not in msgspec.json.encode(structs.replace(found, containers=[], annotations={})).decode()
    (init, app) = found.containers
    assert (init.name, init.run_as_user, app.run_as_user, found.fs_group) == ("init", 1000, 0, 2000)
    assert app.value("AWS_ROLE_ARN") == "arn:aws:iam::111122223333:role/x"
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        assert app.value(name) == SET
    for name in ("DB_PASSWORD", "AWS_SOMETHING_NEW"):
        assert app.value(name) is None
    assert [(each.source, each.prefix, each.keys.value) for each in app.env_from] == [
        ("Secret/keys", "AWS_", ["ACCESS_KEY_ID"]),
        ("ConfigMap/app", "", None),
    ]
    assert [(v.name, v.audience, v.default_mode) for v in found.tokens] == [("aws-iam-token", "sts.amazonaws.com", 256)]
    assert found.annotations == {
        "kubectl.kubernetes.io/last-applied-configuration": SET,
        "eks.amazonaws.com/skip-containers": "proxy",
        "iam.amazonaws.com/role": "legacy",
    }


def test_sources_of_variables() -> None:
    """Each Secret and ConfigMap once."""
    assert redaction.sources_of(POD) == ["Secret/keys", "ConfigMap/app"]


def test_time_of_an_annotation() -> None:
    """The newest writer of the role's annotation counts, and not the writers of others."""
    key = "eks.amazonaws.com/role-arn"
    fields = [
        {"time": "2026-11-28T10:00:00Z", "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{key}": {}}}}},
        {"time": "2026-11-29T10:00:00Z", "fieldsV1": {"f:metadata": {"f:annotations": {"f:other": {}}}}},
        {"time": "2026-11-30T10:00:00Z", "fieldsV1": {"f:secrets": {}}},
    ]
    body = {"metadata": {"name": "a", "uid": "u", "annotations": {key: "x", "other": SECRET}, "managedFields": fields}}

    found = redaction.service_account_facts(body, key)

    assert (found.annotated, found.annotations) == ("2026-11-28T10:00:00Z", {key: "x", "other": SET})


def test_webhooks_for_new_pods() -> None:
    """Others are left out; of an authority the fingerprint is kept."""
    der = b"not really a certificate"
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(der) + b"\n-----END CERTIFICATE-----\n"
    service = {"namespace": "trustbind-system", "name": "trustbind-webhook"}
    entries = [
        {
            "name": "mutate.trustbind.dev",
            "clientConfig": {"service": service, "caBundle": base64.b64encode(pem).decode()},
            "rules": [{"operations": ["CREATE"], "resources": ["pods"]}],
        },
        {"name": "nodes.example.com", "rules": [{"operations": ["CREATE"], "resources": ["nodes"]}]},
        {"name": "updates.example.com", "rules": [{"operations": ["UPDATE"], "resources": ["pods"]}]},
    ]

    (found,) = redaction.webhook_facts({"metadata": {"name": "trustbind-webhook"}, "webhooks": entries})

    assert (found.configuration, found.service) == ("trustbind-webhook", "trustbind-system/trustbind-webhook")
    assert found.authorities == [hashlib.sha256(der).hexdigest()]


def test_binding_without_what_others_wrote() -> None:
    """Specification and conditions decide; annotations hold copies of manifests."""
    body = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": {"name": "b", "annotations": {"x": SECRET}, "managedFields": [SECRET]},
        "spec": {"roleArn": "arn:aws:iam::111122223333:role/x"},
        "status": {"conditions": [{"type": "Ready"}], "statement": SECRET},
    }

    found = redaction.binding_facts(body)

    assert SECRET not in json.dumps(found)
    assert found["status"] == {"conditions": [{"type": "Ready"}]}
