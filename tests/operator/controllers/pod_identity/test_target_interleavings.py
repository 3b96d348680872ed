"""Target roles of EKS Pod Identity, whose roles run at the same time with calls that take random times."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from support.bodies import ACCOUNT, OPS, account_body, grant_body
from support.boto_eks import BotoEks
from support.fake_iam import RandomLatency
from support.scenario_manager import ManagerScenario
from support.scenario_pod_identity import EKS, pod_identity_body
from trustbind.identity.arns import RoleArn
from trustbind.policy.owned_statement import external_ids_of
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument

BASE = RoleArn("aws", ACCOUNT, "/", "base")
NEAR, FAR = RoleArn("aws", ACCOUNT, "/", "near"), RoleArn("aws", ACCOUNT, "/", "far")
TARGETS = {"one": FAR, "two": FAR, "three": NEAR}
"""Name of binding and service account to target role; their associations have one role."""

LONG = 1800.0
"""Seconds until all is quiet; no resync or survey is needed."""


class Scene:
    """A running operator over the three roles and a cluster, in which neither resync nor survey comes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - to be repeatable, not to be secret
        self.eks = BotoEks()
        self.made = ManagerScenario()
        self.made.pace = type(self.made.pace)(resync=1e9, survey=1e9)
        self.aws = self.made.aws
        self.aws.clients["eks", EKS["region"]] = self.eks
        self.aws.roles[BASE] = TrustDocument((OPS, STATEMENT))
        for role in (NEAR, FAR):
            self.aws.roles[role] = TrustDocument((OPS,))
        self.made.has_account(account_body(eks=EKS))
        self.made.start()
        self.grant()
        self.aws.latency = RandomLatency(self.chance)
        self.made.cluster.latency = lambda: self.chance.choice((0.0, 0.01, 0.3, 2.0))

    def grant(self, seconds: float = 0.0) -> None:
        """Grant everything."""
        self.made.set_grants(grant_body(methods=["PodIdentity"]), seconds=seconds)

    def create(self) -> None:
        """Create the bindings, one shortly after the other."""
        for name, target in TARGETS.items():
            body = pod_identity_body(
                name, roleArn=str(BASE), targetRoleArn=str(target), serviceAccountNames=[name], profile=name
            )
            self.made.create(body, self.pause())

    def move(self, name: str, target: RoleArn) -> None:
        """Give a binding another target role."""
        self.made.edit("RoleBinding", f"team-a/{name}", self.pause(), spec={"targetRoleArn": str(target)})

    def pause(self) -> float:
        """Return a time between two events."""
        return self.chance.choice((0.0, 0.1, 1.0, 5.0))

    def trusted(self, role: RoleArn) -> set[str]:
        """Return the external ids that a role trusts."""
        return {i for statement in self.aws.roles[role].statements for i in external_ids_of(statement)}

    def assert_open(self) -> None:
        """Check that each association may go on to the target that it names now."""
        for association in self.eks.there.values():
            assert association["externalId"] in self.trusted(RoleArn.parse(association["targetRoleArn"]))

    def stays_open(self) -> None:
        """Let time pass, and check at each moment."""
        for _ in range(100):
            self.assert_open()
            self.made.wait(0.2)

    def assert_whole(self, targets: dict[str, RoleArn]) -> None:
        """Check that each binding is at its target, and nothing else is trusted or permitted."""
        assert {name: self.made.ready(name)[:2] for name in targets} == dict.fromkeys(targets, ("True", "TrustApplied"))
        ids = {a["serviceAccount"]: a["externalId"] for a in self.eks.there.values()}
        assert {a["serviceAccount"]: a["targetRoleArn"] for a in self.eks.there.values()} == {
            name: str(target) for name, target in targets.items()
        }
        for role in (NEAR, FAR):
            assert self.trusted(role) == {ids[name] for name, target in targets.items() if target == role}
        assert set(self.aws.targets(BASE) or ()) == {f"sts:TagSession {target}" for target in targets.values()}
        assert self.made.telemetry.crashes == []

    def assert_nothing_left(self) -> None:
        """Check that no association, trust or permission of ours is left."""
        assert (self.eks.there, self.trusted(NEAR), self.trusted(FAR)) == ({}, set(), set())
        assert not self.aws.targets(BASE)
        assert self.made.telemetry.crashes == []


@contextlib.contextmanager
def scenario(seed: int) -> Iterator[Scene]:
    """Yield a scene, and close it."""
    scene = Scene(seed)
    try:
        yield scene
    finally:
        scene.made.close()


@pytest.mark.parametrize("first", range(0, 30, 10))
def test_all_are_whole_in_the_end(first: int) -> None:
    """Whatever overlaps; then all are deleted, and nothing is left but what others wrote."""
    for seed in range(first, first + 10):
        with scenario(seed) as scene:
            scene.create()
            scene.made.wait(LONG)
            scene.assert_whole(TARGETS)

            for name in TARGETS:
                scene.made.remove("RoleBinding", f"team-a/{name}", scene.pause())
            scene.made.wait(LONG)
            assert not any(scene.made.exists(name) for name in TARGETS), seed
            scene.assert_nothing_left()


@pytest.mark.parametrize("first", range(0, 20, 10))
def test_targets_change_without_a_gap(first: int) -> None:
    """At each moment, an association may go on to the target that it names; also after a restart in between."""
    for seed in range(first, first + 10):
        with scenario(seed) as scene:
            scene.create()
            scene.made.wait(LONG)
            targets = dict(TARGETS)
            for _ in range(scene.chance.randint(1, 4)):
                name = scene.chance.choice(list(targets))
                targets[name] = NEAR if targets[name] == FAR else FAR
                scene.move(name, targets[name])
                scene.assert_open()
                if scene.chance.random() < 0.3:
                    scene.made.stop()
                    scene.made.start(scene.pause())
                    scene.stays_open()
            scene.stays_open()
            scene.made.wait(LONG)
            scene.assert_whole(targets)


@pytest.mark.parametrize("first", range(0, 20, 10))
def test_grant_comes_and_goes_meanwhile(first: int) -> None:
    """At any moment of the rollout; the last word counts in all roles."""
    for seed in range(first, first + 10):
        with scenario(seed) as scene:
            scene.create()
            for _ in range(scene.chance.randint(1, 3)):
                scene.made.set_grants(seconds=scene.chance.uniform(0.0, 10.0))
                scene.grant(scene.chance.uniform(0.0, 10.0))
            scene.made.wait(LONG)
            scene.assert_whole(TARGETS)

            scene.made.set_grants(seconds=LONG)
            assert {scene.made.ready(name)[1] for name in TARGETS} == {"NotGranted"}, seed
            scene.assert_nothing_left()
