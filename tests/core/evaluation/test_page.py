"""docs/reference/evaluate.md says of each issuer which claims become keys, as the evaluator has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trustbind.evaluation.token_claims import claim_names

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "evaluate.md"
ISSUERS = {
    "every one that is not named below": ["oidc.eks.eu-west-1.amazonaws.com/id/1", "gitlab.example.com"],
    "GitHub": [
        *("token.actions.githubusercontent.com", "token.actions.githubusercontent.com/octo"),
        *("token.actions.octo.ghe.com", "github.com/enterprises/octo"),
    ],
    "`gitlab.com`": ["gitlab.com"],
    "Buildkite": ["agent.buildkite.com", "agent.octo.buildkite.dev", "agent.octo.buildkite.site"],
    "CircleCI": ["oidc.circleci.com/org/1"],
    "Oracle Cloud": ["idcs-1.identity.oraclecloud.com"],
    "`accounts.google.com`": ["accounts.google.com"],
    "`cognito-identity.amazonaws.com`": ["cognito-identity.amazonaws.com"],
    "`graph.facebook.com`": ["graph.facebook.com"],
    "`www.amazon.com`": ["www.amazon.com"],
}


def read_rows() -> dict[str, set[str]]:
    """Return the claims of each row of the table of issuers, "the same" written out."""
    section = PAGE.read_text(encoding="utf-8").partition("## Keys of a token\n")[2]
    rows: dict[str, set[str]] = {}
    for line in section.splitlines()[3:]:
        if not line.startswith("|"):
            break
        _, issuer, claims, _ = (cell.strip() for cell in line.split("|"))
        name = issuer.partition(":")[0]
        found = set(re.findall(r"`([a-z][a-z_./-]+)`", claims))
        rows[name] = found | (rows["every one that is not named below"] if "the same, and" in claims else set())
    return rows


ROWS = read_rows()


def test_rows() -> None:
    """Every issuer below has a row, and the other way round."""
    assert ROWS.keys() == ISSUERS.keys()


@pytest.mark.parametrize(("name", "prefix"), [(name, prefix) for name, all_ in ISSUERS.items() for prefix in all_])
def test_claims(name: str, prefix: str) -> None:
    """The row has the claims that become keys of the issuer."""
    every, some = claim_names(prefix)

    assert {key.removeprefix(f"{prefix}:") for key in (*every, *some)} == ROWS[name]
