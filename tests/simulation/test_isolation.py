"""The rules about tenants find what they are for, and the roles that one can enter are counted as STS would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulation.isolation import TenantsError, played
from simulation.mutants import mutated
from simulation.reach import reached_by
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
FIRST, SECOND, THIRD = (RoleArn.parse(f"arn:aws:iam::111111111111:role/{name}") for name in ("a", "b", "c"))
READER = Subject("red", "reader")


def policy(principal: dict[str, str], action: str, **condition: dict[str, Any]) -> str:
    """Return a trust policy of one statement."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": action, "Condition": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def web(subject: str) -> str:
    """Return a trust policy that admits a service account."""
    own = {ISSUER.subject_key: subject, ISSUER.audience_key: "sts.amazonaws.com"}
    provider = {"Federated": str(ISSUER.provider_for(FIRST))}
    return policy(provider, "sts:AssumeRoleWithWebIdentity", StringEquals=own)


def test_roles_one_after_the_other() -> None:
    """A role is reached by a token, or from a role that is reached; conditions that a caller can meet do not count."""
    root = {"AWS": "arn:aws:iam::111111111111:root"}
    own = {"aws:PrincipalArn": str(FIRST), "sts:ExternalId": "id-1", "aws:SourceVpc": "vpc-1"}
    texts = {
        FIRST: web(str(READER)),
        SECOND: policy(root, "sts:AssumeRole", StringEquals=own),
        THIRD: policy({"AWS": str(SECOND)}, "sts:AssumeRole"),
    }

    def reached(subject: Subject, *external_ids: str) -> set[RoleArn]:
        return reached_by(texts, ISSUER, [subject], ["sts.amazonaws.com"], external_ids)

    assert reached(READER, "id-1") == {FIRST, SECOND, THIRD}
    assert reached(READER, "id-2") == {FIRST}
    assert reached(Subject("red", "other"), "id-1") == set()
    assert reached_by(texts, ISSUER, [READER], ["other"], ["id-1"]) == set()


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_decides_everything(seed: int) -> None:
    """Two plays of a seed count the same."""
    assert played(seed) == played(seed)


def broken(seed: int) -> TenantsError | None:
    """Return which rule a seed breaks; None when it breaks none."""
    try:
        played(seed)
    except TenantsError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("mutant", "rules"), [("M21", ("T1", "T2")), ("M22", ("I2", "T1", "T2")), ("M23", ("T3", "all is as wanted"))]
)
def test_mutants_are_found(mutant: str, rules: tuple[str, ...]) -> None:
    """Code that mixes tenants, or lets one slow the others down, breaks a rule in one of the first worlds."""
    with mutated(mutant):
        found = next(filter(None, map(broken, range(30))))

    assert found.rule.startswith(rules)
    assert found.world.schedule.text(10)
