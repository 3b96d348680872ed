"""Bindings that come to EKS Pod Identity from another method, and leave a statement in the role's trust policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.bodies import ROLE, account_body, binding_body
from support.scenario_pod_identity import EKS, PodIdentityScenario
from trustbind.errors import AccessDeniedError
from trustbind_operator.controllers.context import Next

UNREADABLE = AccessDeniedError("not authorized", code="AccessDenied", operation=f"iam:GetRole on {ROLE}")
STALE = {"Sid": "Stale", "Effect": "Allow", "Principal": {"AWS": "AROAABCDEFGHIJKLMNOPQ"}, "Action": "sts:AssumeRole"}


@pytest.fixture
def scene() -> Iterator[PodIdentityScenario]:
    """Return a scene."""
    made = PodIdentityScenario()
    yield made
    made.close()


def _has_account(scene: PodIdentityScenario, *, with_eks: bool, **spec: Any) -> None:
    scene.has_account(account_body(eks=EKS, **spec) if with_eks else account_body(**spec))


def _stale(scene: PodIdentityScenario) -> None:
    document = scene.aws.roles[ROLE]
    scene.aws.roles[ROLE] = document.with_statements([*document.statements, STALE])


def _no_writes(scene: PodIdentityScenario) -> None:
    scene.aws.always["UpdateAssumeRolePolicy"] = AccessDeniedError(
        "no", code="AccessDenied", operation="iam:UpdateAssumeRolePolicy"
    )


def _no_reads(scene: PodIdentityScenario) -> None:
    scene.aws.always["GetRole"] = UNREADABLE


def _observe(scene: PodIdentityScenario) -> None:
    _has_account(scene, with_eks=scene.aws_account().eks is not None, driftPolicy="Observe")


def _repair(scene: PodIdentityScenario) -> None:
    scene.aws.always.clear()
    _has_account(scene, with_eks=scene.aws_account().eks is not None)
    document = scene.aws.roles[ROLE]
    scene.aws.roles[ROLE] = document.with_statements([s for s in document.statements if s != STALE])


@pytest.mark.parametrize("eks", [True, False])
@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (_stale, "StalePrincipal"),
        (_no_writes, "AccessDenied"),
        (_no_reads, "AccessDenied"),
        (_observe, "DriftObserved"),
    ],
)
def test_trust_from_another_method(
    scene: PodIdentityScenario, trouble: Callable[[PodIdentityScenario], None], reason: str, *, eks: bool
) -> None:
    """While its statement cannot be taken back, a binding is neither Ready nor let go, whatever becomes of the rest."""
    _has_account(scene, with_eks=eks)
    scene.settled(binding_body())
    trouble(scene)
    scene.change(method="PodIdentity")
    for _ in range(2):
        assert scene.run() in {Next.RETRY, Next.SURVEY}
        assert scene.ready()[:2] == ("False", reason)
        assert "trust that it had by another method could not be revoked: " in scene.ready()[2]
    scene.restart()
    assert not scene.controller.is_in_step(ROLE)
    if eks:  # else nobody asks for a grant anew
        scene.has_grants()
        assert scene.run() in {Next.RETRY, Next.SURVEY}
        assert scene.ready()[1] == reason
        assert "; its trust could not be revoked: " in scene.ready()[2]
    scene.delete()
    assert scene.run() in {Next.RETRY, Next.SURVEY}
    assert scene.exists()
    assert scene.ready()[2].startswith("its trust could not be revoked, so it is kept: ")
    _repair(scene)
    scene.run()
    assert not scene.exists()
    assert scene.trusted() == []


def test_trust_from_another_method_goes(scene: PodIdentityScenario) -> None:
    """Then nothing of it is told."""
    scene.settled(binding_body())
    scene.change(method="PodIdentity")
    assert scene.run() is Next.RESYNC
    assert scene.trusted() == []
    assert scene.ready()[0] == "True"
    assert "statementId" not in scene.stored()


def test_trust_goes_with_the_role(scene: PodIdentityScenario) -> None:
    """A role that is gone trusts nobody."""
    scene.settled(binding_body())
    del scene.aws.roles[ROLE]
    scene.change(method="PodIdentity")
    scene.delete()
    scene.run()
    assert not scene.exists()


def test_trust_of_an_account_that_nobody_describes(scene: PodIdentityScenario) -> None:
    """What may be left there is told at the end."""
    scene.settled(binding_body())
    sid = scene.stored()["statementId"]
    scene.cache.drop_aws_account("prod")
    scene.change(method="PodIdentity")
    scene.run()
    assert scene.stored()["statementId"] == sid
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert sid in next(t.message for _, _, t in scene.cluster.events if t.reason == "AccountUnknown")
