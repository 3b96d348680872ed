"""A world with the work on its roles, in which workflows of another issuer may be let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from support.operator_world import grant_body
from support.role_scene import RoleScene
from trustbind.api.role_grant import RoleGrant
from trustbind.identity.subjects import Issuer

__all__ = ["ENTRY", "GITHUB", "MAIN", "grants", "workflow_scene"]

GITHUB: Final = Issuer.parse("https://token.actions.githubusercontent.com")
MAIN: Final = "repo:example-org/shop:ref:refs/heads/main"
ENTRY: Final = {"issuer": GITHUB.url, "subjects": [MAIN]}


def workflow_scene() -> Iterator[RoleScene]:
    """Yield a scene in which a grant allows the repository's workflows, and the account has their provider."""
    made = RoleScene()
    grants(made, federatedSubjects=[{"issuer": GITHUB.url, "subjects": ["repo:example-org/*"]}])
    made.aws.others[GITHUB.host_path] = {"sts.amazonaws.com"}
    yield made
    made.accounts.close()


def grants(scene: RoleScene, **spec: Any) -> None:
    """Have one grant alone."""
    scene.registry.grants = {"all": RoleGrant.parse(grant_body(**spec))}
