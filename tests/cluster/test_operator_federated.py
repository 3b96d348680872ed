"""One role for a cluster's pods and another issuer's workflows: real objects, real tokens of both, a real SDK."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from support.processes import eventually
from support.tellings import told
from support.world import FOREIGN, SECONDS, Account, Team, World
from trustbind_localaws import TokenIssuer

pytestmark = pytest.mark.usefixtures("operator")

GITHUB: Final = "https://token.actions.githubusercontent.com"
MAIN: Final = "repo:example-org/shop:ref:refs/heads/main"
AUDIENCE: Final = "sts.amazonaws.com"
WHOAMI: Final = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"


@pytest.fixture(scope="module")
def workflows() -> TokenIssuer:
    """Return the issuer of the workflows' tokens."""
    return TokenIssuer(GITHUB)


def has_provider(account: Account, workflows: TokenIssuer) -> None:
    """Let the account know the workflows' issuer, as whoever owns the account does."""
    account.world.aws.register_issuer(workflows.issuer_url, workflows.jwks())
    account.iam.create_open_id_connect_provider(Url=GITHUB, ClientIDList=[AUDIENCE])


def granted(team: Team, account: Account, *subjects: str) -> dict[str, Any]:
    """Grant the team the account's roles, and these subjects of the workflows."""
    return team.grant(account, federatedSubjects=[{"issuer": GITHUB, "subjects": list(subjects)}])


def who(world: World, role: str, token: str, directory: Path) -> str:
    """Return whom AWS takes somebody for who has nothing but a role's ARN and a token, or why it refuses."""
    file = directory / "token"
    file.write_text(token)
    environment = {
        "AWS_ROLE_ARN": role,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ENDPOINT_URL": world.aws.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(directory),
    }
    done = subprocess.run(
        [sys.executable, "-c", WHOAMI], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 0:
        return done.stdout.rpartition("/")[0]
    code = re.search(r"An error occurred \((\w+)\)", done.stderr)
    assert code is not None, done.stderr
    return code[1]


def test_pods_and_workflows(world: World, workflows: TokenIssuer, tmp_path: Path) -> None:
    """Both get the role's credentials, other repositories do not, and all is gone with the binding."""
    account, team = world.account(), world.team()
    has_provider(account, workflows)
    role = account.role()
    team.service_account("reader")
    granted(team, account, "repo:example-org/*")
    binding = team.binding(role, federatedSubjects=[{"issuer": GITHUB, "subjects": [MAIN]}])

    message = binding.ready()["message"]

    assert message.endswith("trusts 1 service account and 1 subject of other issuers of this binding")
    assert account.foreign() == [FOREIGN]
    in_role = f"arn:aws:sts::{account.id}:assumed-role/app"
    assert who(world, role, world.api.token(team.namespace, "reader", AUDIENCE, 3600), tmp_path) == in_role
    assert who(world, role, workflows.mint(MAIN), tmp_path) == in_role
    for other in ("repo:example-org/shop:ref:refs/heads/other", "repo:example-org/shop", MAIN.upper()):
        assert who(world, role, workflows.mint(other), tmp_path) == "AccessDenied"
    assert who(world, role, workflows.mint(MAIN, "another"), tmp_path) == "InvalidIdentityToken"

    binding.patch(federatedSubjects=None)
    eventually(lambda: len(account.owned()) == 1, "the workflows are let in no more", seconds=SECONDS)
    binding.ready()
    assert who(world, role, workflows.mint(MAIN), tmp_path) == "AccessDenied"

    binding.patch(federatedSubjects=[{"issuer": GITHUB, "subjects": ["repo:example-org/shop:*"]}])
    binding.ready()
    assert who(world, role, workflows.mint(MAIN), tmp_path) == in_role
    binding.delete()
    binding.gone()
    assert account.statements() == [FOREIGN]
    assert who(world, role, workflows.mint(MAIN), tmp_path) == "AccessDenied"


def test_conditions_of_an_entry(world: World, workflows: TokenIssuer, tmp_path: Path) -> None:
    """A condition on the workflows' own claim keeps other workflows out, and no pod."""
    account, team = world.account(), world.team()
    has_provider(account, workflows)
    role = account.role()
    team.service_account("reader")
    granted(team, account, "repo:example-org/*")
    production = {
        "operator": "StringEquals",
        "key": "token.actions.githubusercontent.com:environment",
        "values": ["production"],
    }
    entry = {"issuer": GITHUB, "subjects": [MAIN], "conditions": [production]}
    team.binding(role, federatedSubjects=[entry]).ready()

    in_role = f"arn:aws:sts::{account.id}:assumed-role/app"
    assert who(world, role, world.api.token(team.namespace, "reader", AUDIENCE, 3600), tmp_path) == in_role
    assert who(world, role, workflows.mint(MAIN, environment="production"), tmp_path) == in_role
    assert who(world, role, workflows.mint(MAIN, environment="staging"), tmp_path) == "AccessDenied"
    assert who(world, role, workflows.mint(MAIN), tmp_path) == "AccessDenied"


def test_a_grant_names_them(world: World, workflows: TokenIssuer) -> None:
    """Workflows that no grant names are not let in, and what a grant no longer names is revoked."""
    account, team = world.account(), world.team()
    has_provider(account, workflows)
    role = account.role()
    team.grant(account)
    binding = team.binding(role, federatedSubjects=[{"issuer": GITHUB, "subjects": [MAIN]}])
    told(binding, "NotGranted", f"the federated subject {MAIN} of {GITHUB}")
    assert account.statements() == [FOREIGN]

    granted(team, account, "repo:example-org/shop:*")
    binding.ready()
    assert len(account.owned()) == 2

    granted(team, account, "repo:example-org/other:*")
    told(binding, "NotGranted")
    eventually(lambda: account.statements() == [FOREIGN], "nobody is let in", seconds=SECONDS)


def test_workflows_alone(world: World, workflows: TokenIssuer, tmp_path: Path) -> None:
    """A role that no pod uses has a binding without accounts, and the account needs no provider of the cluster's."""
    account, team = world.account(), world.team()
    has_provider(account, workflows)
    role = account.role()
    granted(team, account, "repo:example-org/*")
    entry = {"issuer": GITHUB, "subjects": [MAIN]}
    binding = team.binding(role, serviceAccountNames=None, federatedSubjects=[entry])

    binding.ready()

    assert who(world, role, workflows.mint(MAIN), tmp_path) == f"arn:aws:sts::{account.id}:assumed-role/app"
    assert account.calls("CreateOpenIDConnectProvider") == 0
    account.ready()
    assert account.calls("CreateOpenIDConnectProvider") == 0
    binding.delete()
    binding.gone()
    assert account.statements() == [FOREIGN]


def test_a_missing_provider_is_told(world: World, workflows: TokenIssuer) -> None:
    """Accounts are let in at once; the binding says which provider is lacking, and is Ready once it is there."""
    account, team = world.account(), world.team()
    role = account.role()
    granted(team, account, "repo:example-org/*")
    binding = team.binding(role, federatedSubjects=[{"issuer": GITHUB, "subjects": [MAIN]}])

    told(binding, "ProviderMissing", f"account {account.id} has no OIDC provider for {GITHUB}", AUDIENCE)
    applied = {c["type"]: c["status"] for c in binding.get()["status"]["conditions"]}
    assert applied["TrustApplied"] == "True"
    assert account.subjects() == [f"{team.namespace}:reader"]
    assert account.calls("CreateOpenIDConnectProvider") == 1  # the cluster's own

    has_provider(account, workflows)
    binding.ready()
    assert len(account.owned()) == 2
