"""A decision as JSON Patch: additions only, so that fields which nobody here knows about survive."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from trustbind.api.labels import CONFIG_ANNOTATION, GATE, WAITING_LABEL
from trustbind_webhook.injection.containers import Addition
from trustbind_webhook.injection.credential_source import CONFIG_FILE, Delivery
from trustbind_webhook.injection.decision import Inject

__all__ = ["Operation", "applied", "patch"]


class Operation(TypedDict):
    """One operation of RFC 6902."""

    op: str
    path: str
    value: Any


def patch(inject: Inject) -> list[Operation]:
    """Return the smallest list of ``add`` operations that carries ``inject`` out; empty when nothing is missing."""
    operations: list[Operation] = []
    if inject.annotate:
        config = {CONFIG_ANNOTATION: inject.delivery.config}
        operations += _members("annotations", config, has=inject.has_annotations)
    labels = {WAITING_LABEL: "true"} if inject.gate else {}
    if inject.label and inject.delivery.label is not None:
        labels |= [inject.delivery.label]
    operations += _members("labels", labels, has=inject.has_labels)
    if inject.gate:
        gate = {"name": GATE}
        operations.append(
            _add("/spec/schedulingGates/-", gate) if inject.has_gates else _add("/spec/schedulingGates", [gate])
        )
    if inject.volume:
        volume = _volume(inject.delivery)
        # To the front, as the EKS webhook does it; a list has to be there before something can be put into it.
        operations.append(_add("/spec/volumes/0", volume) if inject.has_volumes else _add("/spec/volumes", [volume]))
    for addition in inject.additions:
        operations += _container(addition, inject.delivery)
    return operations


def applied(pod: Mapping[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """Return a copy of ``pod`` after ``operations``, which are additions made by `patch` for this pod."""
    result = copy.deepcopy(dict(pod))
    for operation in operations:
        *parents, last = operation["path"].split("/")[1:]
        place: Any = result
        for token in parents:
            place = place[int(token)] if isinstance(place, list) else place[token]
        value = copy.deepcopy(operation["value"])
        if not isinstance(place, list):
            place[last.replace("~1", "/").replace("~0", "~")] = value
        elif last == "-":
            place.append(value)
        else:
            place.insert(int(last), value)
    return result


def _container(addition: Addition, delivery: Delivery) -> list[Operation]:
    operations: list[Operation] = []
    env = [{"name": name, "value": value} for name, value in addition.env]
    if addition.has_env:
        operations += [_add(f"{addition.path}/env/-", variable) for variable in env]
    elif env:
        operations.append(_add(f"{addition.path}/env", env))
    if addition.mount:
        mount = {"name": delivery.volume_name, "readOnly": True, "mountPath": delivery.mount_path}
        if addition.has_mounts:
            operations.append(_add(f"{addition.path}/volumeMounts/-", mount))
        else:
            operations.append(_add(f"{addition.path}/volumeMounts", [mount]))
    return operations


def _volume(delivery: Delivery) -> dict[str, Any]:
    sources: list[dict[str, Any]] = [
        {
            "serviceAccountToken": {
                "audience": token.audience,
                "expirationSeconds": token.expiration_seconds,
                "path": token.path,
            }
        }
        for token in delivery.tokens
    ]
    if delivery.config:
        field = {"fieldPath": f"metadata.annotations['{CONFIG_ANNOTATION}']"}
        sources.append({"downwardAPI": {"items": [{"path": CONFIG_FILE, "fieldRef": field}]}})
    return {"name": delivery.volume_name, "projected": {"sources": sources}}


def _members(where: str, values: Mapping[str, str], *, has: bool) -> list[Operation]:
    """Return the addition of labels or annotations: all at once where the pod has none."""
    if not values:
        return []
    if not has:
        return [_add(f"/metadata/{where}", dict(values))]
    return [
        _add(f"/metadata/{where}/{key.replace('~', '~0').replace('/', '~1')}", value) for key, value in values.items()
    ]


def _add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}
