"""A world with the work on its roles."""

from __future__ import annotations

import asyncio
from typing import Any

from support.operator_world import ISSUER, ROLE, World
from trustbind.api.aws_account import AwsAccount
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import is_owned, subjects_of
from trustbind_operator.controllers.context import Next
from trustbind_operator.controllers.role.controller import RoleWork

__all__ = ["RoleScene"]


class RoleScene(World):
    """See the module. Used as a fixture, which closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_account()
        self.work = RoleWork(self.context)
        self.guarded: list[str] = []

    def run(self, role: RoleArn = ROLE) -> Next:
        """Bring a role in order."""

        async def guard(account: AwsAccount) -> None:
            self.guarded.append(account.name)

        return asyncio.run(self.work.run(role, guard))

    def settled(self, body: dict[str, Any] | None = None) -> None:
        """Have a binding that is in order, and forget how it came about."""
        self.has_binding(body)
        self.run()
        self.cluster.writes.clear()
        self.cluster.events.clear()
        self.notes.commits.clear()
        self.aws.calls.clear()

    def trusted(self) -> list[str]:
        """Return the accounts that our statement lets in."""
        for statement in self.aws.roles[ROLE].statements:
            named = subjects_of(statement, ISSUER) if is_owned(statement, ISSUER) else ()
            if named and statement["Effect"] == "Allow":
                return sorted(Subject.parse(s).name for s in named)
        return []

    def exists(self, name: str = "b") -> bool:
        """Return whether a binding is still stored."""
        return self.cluster.get("RoleBinding", f"team-a/{name}") is not None
