"""kopf's handlers: each unpacks an event and routes it.

Only ``on.event`` is used: it is level-triggered, linear in the number of objects, and leaves no annotations behind. The
finalizer, the order of things and retries are the manager's, whose unit is the role and not the single object.
Resources are named with group and version: a bare plural would also match Kubernetes RBAC's RoleBindings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import kopf

from trustbind.api import aws_account, role_binding, role_grant
from trustbind.api.role_binding import BindingRef
from trustbind.api.strict import API_VERSION
from trustbind_operator.events.event_router import EventRouter

__all__ = ["KINDS", "registry_of"]

_GROUP, _VERSION = API_VERSION.split("/")

KINDS: Final = {role_binding.KIND: "rolebindings", aws_account.KIND: "awsaccounts", role_grant.KIND: "rolegrants"}


def registry_of(router: EventRouter, login: Callable[..., Awaitable[kopf.ConnectionInfo]]) -> kopf.OperatorRegistry:
    """Return kopf's registry with our handlers in it.

    Args:
        router: takes every event.
        login: returns the way to the API server.
    """
    registry = kopf.OperatorRegistry()

    async def on_binding(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            metadata = body["metadata"]
            router.binding_gone(BindingRef(metadata["namespace"], metadata["name"]), metadata["uid"])
        else:
            router.binding_seen(body)

    async def on_account(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            router.account_gone(body["metadata"]["name"], body["metadata"]["uid"])
        else:
            router.account_seen(body)

    async def on_grant(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            router.grant_gone(body["metadata"]["name"], body["metadata"]["uid"])
        else:
            router.grant_seen(body)

    kopf.on.login(registry=registry)(login)
    for plural, handler in (
        (KINDS[role_binding.KIND], on_binding),
        (KINDS[aws_account.KIND], on_account),
        (KINDS[role_grant.KIND], on_grant),
    ):
        kopf.on.event(_GROUP, _VERSION, plural, registry=registry)(handler)
    return registry
