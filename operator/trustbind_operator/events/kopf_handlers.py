"""kopf's handlers: each unpacks an event and hands it on.

Only ``on.event`` is used: it is level-triggered, linear in the number of objects, and leaves no annotations behind. The
finalizer, the order of things and retries are the reconciler's, which looks at roles and not at single objects.
Resources are named with group and version: a bare plural would also match Kubernetes RBAC's RoleBindings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import kopf

from trustbind.api import aws_account, role_binding, role_grant
from trustbind.api.role_binding import BindingRef
from trustbind.api.strict import API_VERSION

__all__ = ["Intake", "registry_of"]

_GROUP, _VERSION = API_VERSION.split("/")

KINDS: Final = {role_binding.KIND: "rolebindings", aws_account.KIND: "awsaccounts", role_grant.KIND: "rolegrants"}


class Intake(Protocol):
    """Takes in what the handlers see."""

    def binding_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleBinding is there, or changed."""

    def binding_gone(self, ref: BindingRef, uid: str) -> None:
        """The RoleBinding of this uid is gone; there may be another one of its name by now."""

    def account_seen(self, body: Mapping[str, Any]) -> None:
        """An AWSAccount is there, or changed."""

    def account_gone(self, name: str, uid: str) -> None:
        """An AWSAccount is gone."""

    def grant_seen(self, body: Mapping[str, Any]) -> None:
        """A RoleGrant is there, or changed."""

    def grant_gone(self, name: str, uid: str) -> None:
        """A RoleGrant is gone."""


def registry_of(intake: Intake, login: Callable[..., Awaitable[kopf.ConnectionInfo]]) -> kopf.OperatorRegistry:
    """Return kopf's registry with our handlers in it.

    Args:
        intake: takes in what they see.
        login: returns the way to the API server.
    """
    registry = kopf.OperatorRegistry()

    async def on_binding(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            metadata = body["metadata"]
            intake.binding_gone(BindingRef(metadata["namespace"], metadata["name"]), metadata["uid"])
        else:
            intake.binding_seen(body)

    async def on_account(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            intake.account_gone(body["metadata"]["name"], body["metadata"]["uid"])
        else:
            intake.account_seen(body)

    async def on_grant(event: Mapping[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            intake.grant_gone(body["metadata"]["name"], body["metadata"]["uid"])
        else:
            intake.grant_seen(body)

    kopf.on.login(registry=registry)(login)
    for plural, handler in (
        (KINDS[role_binding.KIND], on_binding),
        (KINDS[aws_account.KIND], on_account),
        (KINDS[role_grant.KIND], on_grant),
    ):
        kopf.on.event(_GROUP, _VERSION, plural, registry=registry)(handler)
    return registry
