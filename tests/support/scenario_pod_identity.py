"""A role scenario whose AWSAccount names an EKS cluster, with the associations there in memory."""

from __future__ import annotations

from typing import Any, Final

from support.bodies import OPS, ROLE, account_body, binding_body, grant_body
from support.scenario_role import RoleScenario
from trustbind.api.role_binding import Method
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument

__all__ = ["APP", "EKS", "PodIdentityScenario", "pod_identity_body"]

EKS: Final = {"clusterName": "blue", "region": "eu-central-1"}
APP: Final = Subject("team-a", "app")


def pod_identity_body(name: str = "b", namespace: str = "team-a", **more: Any) -> dict[str, Any]:
    """Return a RoleBinding by EKS Pod Identity."""
    return binding_body(name, namespace, **{"method": "PodIdentity", **more})


class PodIdentityScenario(RoleScenario):
    """See the module. A fixture closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_account(account_body(eks=EKS))
        self.has_grants(grant_body(methods=[str(method) for method in Method]))
        self.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT))

    def settled(self, body: dict[str, Any] | None = None) -> None:
        """Have a binding that is in order, and forget how it came about."""
        super().settled(body or pod_identity_body())
