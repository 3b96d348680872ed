"""What is sent: real reviews, and the accounts that they are about."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonpatch

from benchmarks.section import BenchmarkError

__all__ = ["ACCOUNT", "NAMESPACE", "ROLE", "Payload", "accounts", "check_injected", "manifests", "payloads"]

NAMESPACE: Final = "shop"
ACCOUNT: Final = "checkout"
ROLE: Final = "arn:aws:iam::444455556666:role/shop/checkout"

_RECORDED: Final = Path(__file__).resolve().parents[1] / "tests/data/reviews/deployment-pod-with-sidecar.json"
_SHAPES: Final = ((3, 7400), (9, 17800))
"""Containers, and bytes in all: a pod with two sidecars, and about the largest that is seen in practice."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One review.

    Attributes:
        name: such as ``7.4 KB``.
        containers: how many it has.
        body: as an API server sends it: compact JSON.
    """

    name: str
    containers: int
    body: bytes

    @property
    def review(self) -> dict[str, Any]:
        """The review as a value."""
        value: dict[str, Any] = json.loads(self.body)
        return value


def payloads() -> list[Payload]:
    """Return the reviews to measure with, smallest first."""
    recorded = json.loads(_RECORDED.read_text())
    grown = [(count, _compact(_grown(recorded, count, size))) for count, size in _SHAPES]
    return [Payload(f"{len(body) / 1000:.1f} KB", count, body) for count, body in grown]


def accounts(count: int) -> list[dict[str, Any]]:
    """Return ``count`` annotated service accounts; the last is the one that the reviews are about."""
    others = [_account(f"team-{i % 100}", f"worker-{i}", f"{ROLE}-{i}") for i in range(count - 1)]
    return [*others, _account(NAMESPACE, ACCOUNT, ROLE)] if count else []


def check_injected(payload: Payload, response: dict[str, Any], who: str) -> None:
    """Check that a response makes a pod of ``payload`` that can use the role.

    Raises:
        BenchmarkError: it does not.
    """
    request = payload.review["request"]
    if response.get("uid") != request["uid"] or response.get("allowed") is not True:
        raise BenchmarkError(f"{who} did not allow the pod: {response}")
    if "patch" not in response:
        raise BenchmarkError(f"{who} did not patch the pod: {response}")
    pod = jsonpatch.apply_patch(request["object"], json.loads(base64.b64decode(response["patch"])))
    volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
    containers = pod["spec"]["containers"]
    if volumes.count("aws-iam-token") != 1 or len(containers) != payload.containers:
        raise BenchmarkError(f"{who} patched the pod to volumes {volumes} and {len(containers)} containers")
    for container in containers:
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        mounts = [mount["name"] for mount in container["volumeMounts"]]
        if env.get("AWS_ROLE_ARN") != ROLE or "AWS_WEB_IDENTITY_TOKEN_FILE" not in env or "aws-iam-token" not in mounts:
            raise BenchmarkError(f"{who} left container {container['name']} with {sorted(env)} and mounts {mounts}")


def _account(namespace: str, name: str, role: str) -> dict[str, Any]:
    annotations = {"eks.amazonaws.com/role-arn": role}
    metadata = {"namespace": namespace, "name": name, "resourceVersion": "1", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _grown(recorded: dict[str, Any], containers: int, size: int) -> dict[str, Any]:
    """Return the recorded review with so many containers, and further variables until it is at least ``size`` long.

    The recorded one has a container and two init containers; the latter go. What is added is a copy of what is there,
    with its share of ``managedFields``, which are half of a real review.
    """
    review = copy.deepcopy(recorded)
    pod = review["request"]["object"]
    spec = pod["spec"]
    fields = pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    del spec["initContainers"], fields["f:initContainers"]
    (first,) = spec["containers"]
    managed = fields["f:containers"]
    for number in range(1, containers):
        spec["containers"].append({**copy.deepcopy(first), "name": f"sidecar-{number}"})
        managed[_key("name", f"sidecar-{number}")] = copy.deepcopy(managed[_key("name", first["name"])])
    number = 0
    while len(_compact(review)) < size:
        container = spec["containers"][number % containers]
        name = f"FEATURE_{number}_ENABLED"
        container["env"].append({"name": name, "value": "true"})
        variables = managed[_key("name", container["name"])]["f:env"]
        variables[_key("name", name)] = {".": {}, "f:name": {}, "f:value": {}}
        number += 1
    return review


def _key(field: str, value: str) -> str:
    """Return how ``managedFields`` write an element of a list."""
    return f'k:{{"{field}":"{value}"}}'


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def manifests(objects: Iterable[dict[str, Any]]) -> str:
    """Return objects as one text of YAML documents; JSON is YAML."""
    return "\n---\n".join(json.dumps(each) for each in objects) + "\n"
