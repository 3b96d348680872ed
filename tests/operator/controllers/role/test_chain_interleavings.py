"""Chains whose two roles run at the same time, with calls that take random times: no wake-up is lost."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, binding_body, grant_body
from support.fake_iam import RandomLatency
from support.scenario_manager import ManagerScenario
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import is_owned
from trustbind.policy.trust_document import TrustDocument

SOURCE = RoleArn("aws", ACCOUNT, "/", "source")
NEAR, FAR = RoleArn("aws", ACCOUNT, "/", "near"), RoleArn("aws", ACCOUNT, "/", "far")
CHAINS = {"one": FAR, "two": FAR, "three": NEAR}
"""Name to target role; they have one source role, and two of them one target role."""

ROLES = (SOURCE, NEAR, FAR)
LONG = 1800.0
"""Seconds until all is quiet; failures and denials are retried within it, and no resync or survey is needed."""


@contextlib.contextmanager
def scenario(seed: int) -> Iterator[tuple[ManagerScenario, random.Random]]:
    """Yield a running operator over roles with a foreign statement, in which neither resync nor survey comes."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable, not to be secret
    made = ManagerScenario()
    made.pace = type(made.pace)(resync=1e9, survey=1e9)
    for role in ROLES:
        made.aws.roles[role] = TrustDocument((OPS,))
    made.has_account()
    made.start()
    made.aws.latency = RandomLatency(chance)
    made.cluster.latency = lambda: chance.choice((0.0, 0.01, 0.3, 2.0))
    try:
        yield made, chance
    finally:
        made.close()


def create(made: ManagerScenario, chance: random.Random) -> None:
    """Create the chains, one shortly after the other."""
    for name, target in CHAINS.items():
        body = binding_body(
            name,
            roleArn=str(target),
            method="AssumeRole",
            source={"roleArn": str(SOURCE)},
            externalId=f"{name}-1",
            serviceAccountNames=[name],
        )
        made.create(body, chance.choice((0.0, 0.1, 1.0, 5.0)))


def owned(made: ManagerScenario, role: RoleArn) -> int:
    """Return how many statements of ours a role has."""
    return sum(is_owned(statement, ISSUER) for statement in made.aws.roles[role].statements)


def assert_whole(made: ManagerScenario) -> None:
    """Check that every chain stands at both ends, and says so."""
    assert {name: made.ready(name)[:2] for name in CHAINS} == dict.fromkeys(CHAINS, ("True", "TrustApplied"))
    assert made.admitted(SOURCE) == sorted(CHAINS)
    assert (owned(made, FAR), owned(made, NEAR)) == (2, 1)
    assert made.aws.targets(SOURCE) == frozenset(map(str, (NEAR, FAR)))


def assert_nothing_left(made: ManagerScenario) -> None:
    """Check that no chain stands at either end."""
    assert [owned(made, role) for role in ROLES] == [0, 0, 0]
    assert not made.aws.targets(SOURCE)


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_both_ends_stand_in_the_end(first: int) -> None:
    """Whatever overlaps; then all are deleted, and nothing is left but what others wrote."""
    for seed in range(first, first + 25):
        with scenario(seed) as (made, chance):
            create(made, chance)
            made.wait(LONG)
            assert_whole(made)
            assert made.telemetry.crashes == []

            for name in CHAINS:
                made.remove("RoleBinding", f"team-a/{name}", chance.choice((0.0, 0.1, 1.0, 5.0)))
            made.wait(LONG)
            assert not any(made.exists(name) for name in CHAINS), seed
            assert_nothing_left(made)
            assert made.sids(SOURCE) == made.sids(FAR) == ["Ops"]


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_grant_comes_and_goes_meanwhile(first: int) -> None:
    """At any moment of the rollout; the last word counts at both ends."""
    for seed in range(first, first + 25):
        with scenario(seed) as (made, chance):
            create(made, chance)
            for _ in range(chance.randint(1, 3)):
                made.set_grants(seconds=chance.uniform(0.0, 10.0))
                made.set_grants(grant_body(), seconds=chance.uniform(0.0, 10.0))
            made.wait(LONG)
            assert_whole(made)

            made.set_grants(seconds=LONG)
            assert {made.ready(name)[1] for name in CHAINS} == {"NotGranted"}, seed
            assert_nothing_left(made)
            assert made.telemetry.crashes == []
