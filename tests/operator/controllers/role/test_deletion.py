"""A binding that is deleted: its trust goes first, or stays where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.bodies import (
    ISSUER,
    OPS,
    ROLE,
    account_body,
    binding_body,
    grant_body,
)
from support.scenario_role import RoleScenario
from trustbind.api.role_binding import DeletionPolicy
from trustbind.errors import (
    AccessDeniedError,
    AwsError,
    PolicyRejectedError,
    ThrottledError,
    UnreachableError,
)
from trustbind.policy.owned_statement import WebIdentityKey, owner_prefix, retained_sid
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.context import Next

_RETAINED = retained_sid(ISSUER, WebIdentityKey("sts.amazonaws.com"))

THROTTLED = ThrottledError("Rate exceeded", code="Throttling", operation=f"iam:GetRole on {ROLE}")
DENIED = AccessDeniedError("not authorized", code="AccessDenied", operation=f"iam:GetRole on {ROLE}")
REJECTED = PolicyRejectedError("This policy contains broken syntax", code="MalformedPolicyDocument")
UNREACHABLE = UnreachableError("no answer", operation=f"iam:GetRole on {ROLE}")
STALE = {"Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}, "Action": "sts:AssumeRole"}


@pytest.fixture
def scene() -> Iterator[RoleScenario]:
    """Return a scene."""
    made = RoleScenario()
    yield made
    made.close()


def test_deleted(scene: RoleScenario) -> None:
    """The trust goes first, then the finalizer; one Event tells."""
    scene.settled()
    scene.delete()

    scene.run()

    assert scene.trusted() == []
    assert scene.sids() == ["Ops"]
    assert not scene.exists()
    assert [(t.status, t.reason) for _, _, t in scene.cluster.events] == [("True", "TrustRevoked")]
    assert scene.writer.was_released("uid-team-a-b")


def test_deleted_before_anything_was_written(scene: RoleScenario) -> None:
    """A binding without our finalizer goes by itself: nothing is done to it."""
    scene.has_binding()
    scene.delete()
    scene.run()
    assert (scene.cluster.writes, scene.cluster.events, scene.aws.calls["UpdateAssumeRolePolicy"]) == ([], [], 0)


def test_last_binding_of_a_role_of_ours_alone(scene: RoleScenario) -> None:
    """IAM takes no empty policy; what is left lets nobody in."""
    scene.aws.roles[ROLE] = TrustDocument(())
    scene.settled()
    scene.delete()
    scene.run()
    assert [s["Effect"] for s in scene.aws.roles[ROLE].statements] == ["Deny"]
    assert not scene.exists()


def test_retained(scene: RoleScenario) -> None:
    """The trust stays in a statement of its own, which later runs keep, and goes with the grant."""
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.delete()

    scene.run()

    assert not scene.exists()
    assert scene.sids() == ["Ops", _RETAINED]
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustRetained"]
    scene.run()
    assert scene.sids() == ["Ops", _RETAINED]
    scene.has_grants(grant_body(allowRetain=False))
    scene.run()
    assert scene.sids() == ["Ops"]


@pytest.mark.parametrize("method", ["GetRole", "UpdateAssumeRolePolicy"])
def test_retained_after_a_failure(scene: RoleScenario, method: str) -> None:
    """One failed call does not turn what is to stay into what is to go."""
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.delete()
    scene.aws.errors[method] = [DENIED]

    scene.run()
    assert scene.exists()
    scene.run()

    assert not scene.exists()
    assert scene.sids() == ["Ops", _RETAINED]


def test_deletion_grants_nothing_new(scene: RoleScenario) -> None:
    """A binding that is widened past its grant and deleted in the same instant leaves only what was granted."""
    scene.has_grants(grant_body(serviceAccountNames=["app"]))
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.change(serviceAccountNames=["admin", "app"])
    scene.delete()

    scene.run()

    assert not scene.exists()
    (kept,) = (s for s in scene.aws.roles[ROLE].statements if s != OPS)
    assert kept["Sid"] == _RETAINED
    assert kept["Condition"]["StringEquals"][ISSUER.subject_key] == ["system:serviceaccount:team-a:app"]


def test_nothing_is_retained_that_was_taken_back(scene: RoleScenario) -> None:
    """Trust whose grant is gone goes, also when its revoking failed first and the binding was deleted then."""
    scene.settled(binding_body(deletionPolicy="Retain"))
    scene.has_grants()
    scene.aws.errors["UpdateAssumeRolePolicy"] = [DENIED, DENIED]
    scene.run()
    scene.delete()
    scene.run()
    assert scene.exists()

    scene.run()

    assert not scene.exists()
    assert scene.sids() == ["Ops"]


@pytest.mark.parametrize("error", [DENIED, THROTTLED, UNREACHABLE, REJECTED])
def test_deletion_waits_for_revoking(scene: RoleScenario, error: AwsError) -> None:
    """While AWS does not let us, the binding is kept and says what to do; once it does, it goes."""
    scene.settled()
    scene.delete()
    scene.aws.always["UpdateAssumeRolePolicy"] = error

    assert scene.run() is Next.RETRY

    assert scene.exists()
    status, _, message = scene.ready()
    assert status == "False"
    assert message.startswith("its trust could not be revoked, so it is kept: ")
    assert scene.stored()["statementId"]
    scene.aws.always.clear()
    scene.run()
    assert not scene.exists()


@pytest.mark.parametrize(("policy", "reason"), [("Observe", "DriftObserved"), ("Repair", "StalePrincipal")])
def test_deletion_waits_for_permission_to_write(scene: RoleScenario, policy: str, reason: str) -> None:
    """Where nothing may be written, or IAM would refuse it, the statement is still there, and so is the binding."""
    scene.settled()
    if policy == "Observe":
        scene.has_account(account_body(driftPolicy=policy))
    else:
        scene.aws.roles[ROLE] = TrustDocument((*scene.aws.roles[ROLE].statements, STALE))
    scene.delete()

    scene.run()

    assert scene.exists()
    assert scene.ready()[:2] == ("False", reason)
    scene.aws.roles[ROLE] = TrustDocument((OPS,))  # somebody did it by hand
    scene.run()
    assert not scene.exists()


def test_deleted_with_its_role(scene: RoleScenario) -> None:
    """Where there is no role there is no trust."""
    scene.settled()
    scene.delete()
    del scene.aws.roles[ROLE]

    assert scene.run() is not Next.RESYNC

    assert not scene.exists()
    assert "there is no role" in scene.cluster.events[0][2].message


def test_deleted_without_its_account(scene: RoleScenario) -> None:
    """Nobody can revoke it: the binding goes, and the Event says what may be left and where."""
    scene.settled()
    scene.cache.drop_aws_account("prod")
    scene.delete()

    scene.run()

    assert not scene.exists()
    ((_, _, event),) = scene.cluster.events
    assert (event.reason, event.is_warning) == ("AccountUnknown", True)
    assert owner_prefix(ISSUER) in event.message
    assert scene.trusted() == ["app"]


@pytest.mark.parametrize(
    ("leaving", "own", "sids"),
    [
        (DeletionPolicy.RETAIN, "Revoke", ["Ops", _RETAINED]),
        (DeletionPolicy.REVOKE, "Retain", ["Ops"]),
        (DeletionPolicy.RESTORE, "Retain", ["Ops"]),
        (None, "Revoke", ["Ops"]),
    ],
)
def test_while_trustbind_is_uninstalled(
    scene: RoleScenario, leaving: DeletionPolicy | None, own: str, sids: list[str]
) -> None:
    """The setting decides, whatever the binding says, and although its grants may go first."""
    scene.has_account()
    scene.has_binding(binding_body(deletionPolicy=own))
    scene.run()
    scene.cache.leaving = leaving
    scene.has_grants()
    scene.delete()

    scene.run()

    assert scene.sids() == sids
    assert not scene.exists()
    scene.run()
    assert scene.sids() == sids
