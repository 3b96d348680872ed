"""A decision as JSON Patch: additions only, so that fields which nobody here knows about survive."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from trustbind_webhook.decision import TOKEN_FILE, VOLUME_NAME, Addition, Inject

__all__ = ["Operation", "applied", "patch"]


class Operation(TypedDict):
    """One operation of RFC 6902."""

    op: str
    path: str
    value: Any


def patch(inject: Inject) -> list[Operation]:
    """Return the smallest list of ``add`` operations that carries ``inject`` out; empty when nothing is missing."""
    operations: list[Operation] = []
    if inject.volume:
        volume = _volume(inject)
        # To the front, as the EKS webhook does it; a list has to be there before something can be put into it.
        operations.append(_add("/spec/volumes/0", volume) if inject.has_volumes else _add("/spec/volumes", [volume]))
    for addition in inject.additions:
        operations += _container(addition, inject.mount_path)
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
            place[last] = value
        elif last == "-":
            place.append(value)
        else:
            place.insert(int(last), value)
    return result


def _container(addition: Addition, mount_path: str) -> list[Operation]:
    operations: list[Operation] = []
    env = [{"name": name, "value": value} for name, value in addition.env]
    if addition.has_env:
        operations += [_add(f"{addition.path}/env/-", variable) for variable in env]
    elif env:
        operations.append(_add(f"{addition.path}/env", env))
    if addition.mount:
        mount = {"name": VOLUME_NAME, "readOnly": True, "mountPath": mount_path}
        if addition.has_mounts:
            operations.append(_add(f"{addition.path}/volumeMounts/-", mount))
        else:
            operations.append(_add(f"{addition.path}/volumeMounts", [mount]))
    return operations


def _volume(inject: Inject) -> dict[str, Any]:
    token = {
        "audience": inject.audience,
        "expirationSeconds": inject.expiration_seconds,
        "path": TOKEN_FILE,
    }
    return {"name": VOLUME_NAME, "projected": {"sources": [{"serviceAccountToken": token}]}}


def _add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}
