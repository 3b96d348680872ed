"""The vectors of subvectors (CC0), which others wrote from the documents of AWS and of CI systems.

Each is a claim of a token and one condition, or several; whether it matches has to be the evaluator's answer, too. The
package's own matcher is asked about drawn conditions.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

import pytest
from subvectors.corpus import load_suite, suite_names
from subvectors.matcher import satisfies

from trustbind.evaluation import Answer, Caller, PrincipalKind, Request, evaluate, request_context

HOSTS: Final = {
    "bitbucket": "api.bitbucket.org/2.0/workspaces/example/pipelines-config/identity/oidc",
    "circleci": "oidc.circleci.com/org/6f1f1d4d-0000-4000-8000-000000000000",
    "github": "token.actions.githubusercontent.com",
    "gitlab": "gitlab.com",
    "terraform-cloud": "app.terraform.io",
}
OPERATORS: Final = {"aws-stringequals": "StringEquals", "aws-stringlike": "StringLike"}
VECTORS: Final = [
    pytest.param(vector, id=vector["id"])
    for name in suite_names()
    if name.endswith("-aws")
    for vector in load_suite(name)["vectors"]
]
DRAWN: Final = 200
PATTERNS: Final = (
    *(
        "repo:octo-org/octo-repo:*",
        "repo:octo-org/*",
        "repo:*/octo-repo:ref:refs/heads/main",
        "repo:octo-org/octo-rep?:*",
    ),
    *("repo:octo-org/octo-repo:ref:refs/heads/main", "REPO:octo-org/octo-repo:*", "*", "?*", "production", "prod*", ""),
)
SUBJECTS: Final = (
    "repo:octo-org/octo-repo:ref:refs/heads/main",
    "repo:octo-org/octo-repo:environment:production",
    "repo:octo-org@1/octo-repo@2:ref:refs/heads/main",
)


def answer(host: str, claims: dict[str, Any], conditions: list[dict[str, Any]]) -> Answer:
    """Return what the evaluator says of a token and a statement with these conditions."""
    provider = f"arn:aws:iam::444455556666:oidc-provider/{host}"
    block: dict[str, Any] = {}
    for each in conditions:
        qualifier = f"{each['qualifier']}:" if "qualifier" in each else ""
        keys = block.setdefault(f"{qualifier}{OPERATORS[each['consumer']]}", {})
        key = f"{host}:{each.get('claim', 'sub')}"
        assert key not in keys
        keys[key] = each["pattern"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": block,
    }
    caller = Caller(PrincipalKind.FEDERATED, provider)
    context = request_context(caller, claims={"iss": f"https://{host}"} | claims, is_whole=True)
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return evaluate(document, Request(caller, "sts:AssumeRoleWithWebIdentity", context)).answer


def test_vectors_are_there() -> None:
    """The suites for AWS have not moved."""
    assert len(VECTORS) >= 93


@pytest.mark.parametrize("vector", VECTORS)
def test_vector(vector: dict[str, Any]) -> None:
    """The evaluator gives the vector's answer."""
    condition = vector["condition"]
    conditions = condition["of"] if condition["consumer"] == "aws-all" else [condition]
    claims = {"sub": vector["subject"]} | vector.get("claims", {})

    given = answer(HOSTS[vector["issuer"]], claims, conditions)

    assert given is (Answer.ALLOW if vector["expect"] == "match" else Answer.DENY)


@pytest.mark.parametrize("seed", range(DRAWN))
def test_drawn_condition(seed: int) -> None:
    """Whatever the condition, the evaluator and the matcher of subvectors agree."""
    random = Random(seed)  # noqa: S311 - it draws tests
    claims: dict[str, Any] = {"sub": random.choice(SUBJECTS), "aud": "sts.amazonaws.com"}
    if random.random() < 0.5:
        claims["environment"] = "production"
    drawn: dict[tuple[str, str, str], dict[str, Any]] = {}
    for _ in range(random.choice((1, 2, 3))):
        each: dict[str, Any] = {
            "consumer": random.choice(list(OPERATORS)),
            "claim": random.choice(("sub", "environment")),
        }
        if random.random() < 0.3:
            each["qualifier"] = random.choice(("ForAnyValue", "ForAllValues"))
        each["pattern"] = random.sample((*PATTERNS, *SUBJECTS), random.choice((1, 2)))
        drawn[each["consumer"], each["claim"], each.get("qualifier", "")] = each
    conditions = list(drawn.values())

    given = answer(HOSTS["github"], claims, conditions)

    expected = satisfies(claims["sub"], {"consumer": "aws-all", "of": conditions}, claims)
    assert given is (Answer.ALLOW if expected else Answer.DENY)
