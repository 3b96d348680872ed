"""A scene whose account has an EKS cluster, with the associations there in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from support.fake_eks import FakeEks
from support.operator_world import OPS, ROLE, account_body, binding_body
from support.role_scene import RoleScene
from trustbind.api.role_binding import Method
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.role.controller import RoleWork

__all__ = ["APP", "EKS", "AgentScene", "agent_body"]

EKS: Final = {"clusterName": "blue", "region": "eu-central-1"}
APP: Final = Subject("team-a", "app")


def agent_body(name: str = "b", namespace: str = "team-a", **more: Any) -> dict[str, Any]:
    """Return a RoleBinding by EKS Pod Identity."""
    return binding_body(name, namespace, **{"method": "PodIdentity", **more})


class AgentScene(RoleScene):
    """See the module. Used as a fixture, which closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.eks = FakeEks()
        self.context = replace(self.context, open_cluster=lambda _access, _cluster: self.eks)
        self.has_account(account_body(eks=EKS))
        self.registry.grants["all"] = replace(self.registry.grants["all"], methods=tuple(Method))
        self.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT))
        self.restart()

    def restart(self) -> None:
        """Forget all that was remembered."""
        self.work = RoleWork(self.context)

    def settled(self, body: dict[str, Any] | None = None) -> None:
        """Have a binding that is in order, and forget how it came about."""
        super().settled(body or agent_body())
        self.eks.calls.clear()
        self.notes.associations.clear()
