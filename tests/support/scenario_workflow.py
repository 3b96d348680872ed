"""A role scenario in which workflows of another issuer may be granted the role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from support.bodies import grant_body
from support.scenario_role import RoleScenario
from trustbind.identity.subjects import Issuer

__all__ = ["ENTRY", "GITHUB", "MAIN", "workflow_grant", "workflow_scenario"]

GITHUB: Final = Issuer.parse("https://token.actions.githubusercontent.com")
MAIN: Final = "repo:example-org/shop:ref:refs/heads/main"
ENTRY: Final = {"issuer": GITHUB.url, "subjects": [MAIN]}


def workflow_grant() -> dict[str, Any]:
    """Return a RoleGrant over every role for service accounts and the workflows of the organisation."""
    return grant_body(federatedSubjects=[{"issuer": GITHUB.url, "subjects": ["repo:example-org/*"]}])


def workflow_scenario() -> Iterator[RoleScenario]:
    """Yield a scenario in which a grant allows the repository's workflows, and the AWS account has their provider."""
    made = RoleScenario()
    made.has_grants(workflow_grant())
    made.aws.others[GITHUB.host_path] = {"sts.amazonaws.com"}
    yield made
    made.close()
