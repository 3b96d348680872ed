"""The RoleBinding that an annotated service account gets, so that annotating is all that a team does.

The operator creates it with ``bindAnnotated``; the command line counts it among the bindings of its files. It is owned
by the service account (Kubernetes deletes it with it), has a label that marks it as ours, and needs a grant.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from trustbind.api import annotations
from trustbind.api.annotations import AnnotationKeys
from trustbind.api.labels import MANAGED_LABEL
from trustbind.api.role_binding import KIND
from trustbind.api.strict import API_VERSION
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE

__all__ = ["binding_name", "wanted_binding"]

_MAX_NAME: Final = 253


def binding_name(account: str) -> str:
    """Return the name of the account's binding, at most 253 characters."""
    name = f"annotated-{account}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 11].rstrip('-.')}-{hashlib.sha256(account.encode()).hexdigest()[:10]}"


def wanted_binding(
    namespace: str, account: str, uid: str, found: Mapping[str, str], keys: AnnotationKeys
) -> dict[str, Any] | None:
    """Return the binding that the account's annotations ask for; None when they ask for none that can be made.

    Args:
        namespace: of the account.
        account: its name.
        uid: of the account, for the owner reference.
        found: its annotations.
        keys: under which prefix they are read.
    """
    role = found.get(keys.role_arn, "").strip()
    if not role or annotations.is_opted_out(found):
        return None
    try:
        RoleArn.parse(role)
    except InvalidValueError:
        return None  # the webhook tells, when a pod of the account comes
    spec: dict[str, Any] = {
        "roleArn": role,
        "serviceAccountNames": [account],
        "audience": annotations.audience(found, keys.audience)[0] or DEFAULT_AUDIENCE,
    }
    seconds, _ = annotations.token_expiration(found, keys.token_expiration)
    if seconds is not None:
        spec["token"] = {"expirationSeconds": seconds}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": binding_name(account),
            "namespace": namespace,
            "labels": {MANAGED_LABEL: "true"},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ServiceAccount", "name": account, "uid": uid, "controller": True}
            ],
        },
        "spec": spec,
    }
