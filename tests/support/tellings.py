"""How a user is told of a failure: by condition and Event."""

from __future__ import annotations

from typing import Any

from support.world import Account, Binding, World

__all__ = ["account_told", "bound", "told"]


def told(binding: Binding, reason: str, *fragments: str) -> str:
    """Wait until a binding is refused for this reason, in condition and Event; return the message."""
    condition = binding.refused(reason)
    for fragment in fragments:
        assert fragment in condition["message"]
    event = binding.world.event(binding.manifest, reason)
    assert event["type"] == "Warning"
    assert event["source"]["component"] == "trustbind-operator"
    return str(condition["message"])


def account_told(account: Account, reason: str, *fragments: str) -> None:
    """Wait until an AWSAccount is refused for this reason, in condition and Event."""
    condition = account.refused(reason)
    for fragment in fragments:
        assert fragment in condition["message"]
    assert account.world.event(account.manifest, reason)["type"] == "Warning"


def bound(world: World, account: Account, **spec: Any) -> Binding:
    """Create a role, a namespace with a grant, and a binding."""
    account.role()
    team = world.team()
    team.grant(account)
    return team.binding(account.arn("app"), **spec)
