"""The operator and the webhook as processes, each under its own account in a world's cluster."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from support.certs import Authority
from support.processes import Process
from support.world import OPERATOR_ACCOUNT, SECONDS, SYSTEM, World

__all__ = ["LEASE", "Operator", "Start", "Webhook", "operator_env", "webhook_registration"]

Json = dict[str, Any]

LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "trustbind-operator", "namespace": SYSTEM},
}
"""The operator's Lease."""


def operator_env(world: World) -> dict[str, str | None]:
    """Return the environment of an operator: short pace, its own accounts here and in AWS."""
    sts = world.client("sts", OPERATOR_ACCOUNT)
    role = f"arn:aws:iam::{OPERATOR_ACCOUNT}:role/{world.operator_role}"
    credentials = sts.assume_role(RoleArn=role, RoleSessionName="operator")["Credentials"]
    settings = {
        "LEASE__NAMESPACE": SYSTEM,
        "LEASE__DURATION_SECONDS": "20",  # under load an operator that loses its Lease ends, and nobody restarts it
        "LEASE__RENEW_DEADLINE_SECONDS": "15",
        "LEASE__RETRY_SECONDS": "1",
        "KUBERNETES__KUBECONFIG": str(world.api.kubeconfig(f"{SYSTEM}/trustbind-operator")),
        "SERVER__HOST": "127.0.0.1",
        "SERVER__PORT": "0",
        "LOG__LEVEL": "debug",
        "AWS__CALLS_PER_SECOND": "1000",
        "AWS__BURST": "1000",
        "AWS__CONNECT_TIMEOUT_SECONDS": "1",
        "AWS__READ_TIMEOUT_SECONDS": "3",
        "BIND_ANNOTATED__MODE": "Bind",
        "BIND_ANNOTATED__REPORT_INTERVAL_SECONDS": "1",
        "ROLE_BINDING_SETS__ENABLED": "true",
        "PODS__MISSED_INTERVAL_SECONDS": "1",
        "PACE__RESYNC_SECONDS": "3",
        "PACE__SURVEY_SECONDS": "2",
        "PACE__RETRY_SECONDS": "0.2",
        "PACE__MAX_RETRY_SECONDS": "1",
    }
    return {
        **{f"TRUSTBIND_OPERATOR_{name}": value for name, value in settings.items()},
        "AWS_ENDPOINT_URL": world.aws.url,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
        "AWS_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
    }


class Operator:
    """The operator's process, to be started, stopped and killed.

    Args:
        world: where it works.
        env: its settings, on top of the usual ones.
    """

    def __init__(self, world: World, env: Mapping[str, str | None] | None = None) -> None:
        self._env = {**operator_env(world), **(env or {})}
        self.process: Process | None = None
        self._is_ended = True

    def start(self, *, until: str = '"working"') -> Self:
        """Start it and wait for what it says."""
        assert not self.running, "it runs already"
        self.kill()
        self._is_ended = False
        self.process = Process([sys.executable, "-m", "trustbind_cli", "operator"], self._env)
        started = json.loads(self.process.line(lambda line: '"started"' in line, seconds=SECONDS))
        self.port = int(started["port"])
        self.process.line(lambda line: until in line, seconds=SECONDS)
        return self

    def kill(self) -> None:
        """End it without a word."""
        self._is_ended = True
        if self.process is not None:
            self.process.__exit__(None, None, None)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self._is_ended = True
        self.process.signal(signal.SIGTERM)
        with self.process:
            return self.process.wait(seconds=SECONDS)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.running

    @property
    def has_failed(self) -> bool:
        """Whether it has ended although no test ended it."""
        return not self._is_ended and not self.running

    @property
    def output(self) -> list[str]:
        """What it has said so far."""
        return self.process.output if self.process is not None else []

    def says(self, event: str) -> list[Json]:
        """Return the log entries of this event."""
        entries = [json.loads(line) for line in self.output if line.startswith("{")]
        return [entry for entry in entries if entry.get("event") == event]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of ``/metrics``, ``/healthz`` or ``/readyz``."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class Webhook:
    """The webhook's process, and a way to ask it directly.

    Args:
        world: where it works.
        directory: for its files.
        settings: by section, on top of the usual ones.
    """

    def __init__(self, world: World, directory: Path, **settings: Mapping[str, Any]) -> None:
        authority = Authority()
        certificate, key = authority.issue().write(directory)
        usual: dict[str, Json] = {
            "server": {
                "host": "127.0.0.1",
                "port": 0,
                "metricsHost": "127.0.0.1",
                "metricsPort": 0,
                "certFile": str(certificate),
                "keyFile": str(key),
                "drainSeconds": 0,
            },
            "injection": {"region": "us-east-1"},
            "lookup": {"kubeconfig": str(world.api.kubeconfig(f"{SYSTEM}/trustbind-webhook"))},
        }
        config = directory / "config.yaml"
        sections = usual.keys() | settings.keys()
        config.write_text(json.dumps({name: {**usual.get(name, {}), **settings.get(name, {})} for name in sections}))
        self.authority = authority.pem
        self.process = Process([sys.executable, "-m", "trustbind_webhook", "--config", str(config)])
        self.port = int(json.loads(self.process.line(lambda line: '"listening"' in line))["port"])
        self.process.line(lambda line: '"ready"' in line)

    def review(self, namespace: str, account: str) -> Json:
        """Return what it answers to a review of a pod of this service account."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "example.com/web:1"}]},
        }
        request = {
            "uid": secrets.token_hex(8),
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": namespace,
            "object": pod,
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        context = ssl.create_default_context(cadata=self.authority.decode())
        body = json.dumps(review).encode()
        url = f"https://127.0.0.1:{self.port}/mutate"
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10, context=context) as response:  # noqa: S310 - the same
            answer: Json = json.load(response)["response"]
        return answer


def webhook_registration(webhook: Webhook) -> Json:
    """Return what makes the API server ask the webhook about pods; one that cannot be asked lets no pod in."""
    excluded = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", SYSTEM]}
    client = {
        "url": f"https://127.0.0.1:{webhook.port}/mutate",
        "caBundle": base64.b64encode(webhook.authority).decode(),
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "trustbind"},
        "webhooks": [
            {
                "name": "pods.trustbind.dev",
                "clientConfig": client,
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchExpressions": [excluded]},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 5,
            }
        ],
    }


Start = Callable[..., Operator]
"""Starts an operator with further settings: ``start(*, until=..., **env)``."""
