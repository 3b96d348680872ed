"""What deleted bindings left is found by surveys, shown on the AWSAccount, and goes with its grant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.bodies import ISSUER, OPS, OTHER_ROLE, ROLE, account_body, binding_body, grant_body
from support.scenario_manager import ManagerScenario
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import WebIdentityKey, retained, retained_sid
from trustbind.policy.trust_document import TrustDocument

KEY = WebIdentityKey("sts.amazonaws.com")
SID = retained_sid(ISSUER, KEY)
MINUTE = 60.0


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    yield made
    made.close()


def left(*names: str) -> TrustDocument:
    """Return a trust policy in which deleted bindings left service accounts of team-a."""
    return TrustDocument((OPS, retained(ISSUER, OTHER_ROLE, KEY, [Subject("team-a", name) for name in names])))


def shown(scene: ManagerScenario) -> tuple[int, list[str]]:
    """Return what the AWSAccount says: how many, and whom it names."""
    status = scene.account_status()
    return status.get("retainedSubjects", 0), [entry["subject"].split(":")[-1] for entry in status.get("retained", [])]


def test_found_after_a_restart(scene: ManagerScenario) -> None:
    """No object speaks for it, and it is shown all the same; a role that no binding names is not read for it."""
    scene.aws.roles[OTHER_ROLE] = left("b", "a")
    scene.has_account()
    scene.start(2 * MINUTE)

    assert shown(scene) == (2, ["a", "b"])
    assert scene.account_status()["retained"][0] == {
        "roleArn": str(OTHER_ROLE),
        "subject": "system:serviceaccount:team-a:a",
    }
    scene.forget_calls()
    scene.wait(5 * MINUTE)
    assert scene.aws.calls["GetRole"] == 0
    assert scene.cluster.writes == []


def test_it_goes_with_the_grant(scene: ManagerScenario) -> None:
    """Within a survey of the grant's end it is revoked, and shown no more one survey later."""
    scene.has_binding(binding_body(deletionPolicy="Retain"))
    scene.has_account()
    scene.start(2 * MINUTE)
    scene.remove("RoleBinding", "team-a/b", seconds=2 * MINUTE)
    assert scene.sids(ROLE) == ["Ops", SID]
    assert shown(scene) == (1, ["app"])

    scene.set_grants(grant_body(allowRetain=False), seconds=2.5 * MINUTE)

    assert scene.sids(ROLE) == ["Ops"]
    assert shown(scene) == (0, [])
    assert "retained" not in scene.account_status()


def test_a_part_of_it_goes(scene: ManagerScenario) -> None:
    """A grant is looked for for each subject alone, also in a role that no binding names."""
    scene.aws.roles[OTHER_ROLE] = left("a", "b", "c")
    scene.has_grants(grant_body(serviceAccountNames=["b"]))
    scene.has_account()
    scene.start(2.5 * MINUTE)

    assert scene.aws.roles[OTHER_ROLE] == left("b")
    assert shown(scene) == (1, ["b"])


def test_a_namespace_is_deleted(scene: ManagerScenario) -> None:
    """What its bindings left goes: the owner of a new namespace with that name may be another team."""
    scene.aws.roles[OTHER_ROLE] = left("a")
    scene.has_account()
    scene.start(2 * MINUTE)
    scene.cache.put_namespace("team-a", None)
    scene.wait(2 * MINUTE)

    assert scene.sids(OTHER_ROLE) == ["Ops"]


def test_the_role_takes_its_consent_back(scene: ManagerScenario) -> None:
    """Its tags are asked about what is retained, too, whether a binding names it or not."""
    scene.aws.roles[OTHER_ROLE] = left("a")
    scene.aws.tags = {"trustbind.dev/namespaces": "team-a"}
    scene.has_account(account_body(requireRoleConsent=True))
    scene.start(3 * MINUTE)
    assert scene.sids(OTHER_ROLE) == ["Ops", SID]

    scene.aws.tags = {}
    scene.wait(2 * MINUTE)

    assert scene.sids(OTHER_ROLE) == ["Ops"]


def test_fifty_are_listed(scene: ManagerScenario) -> None:
    """All are counted."""
    scene.aws.roles[OTHER_ROLE] = left(*(f"a{number:02}" for number in range(60)))
    scene.has_account(account_body(trustPolicyLimit=16384))
    scene.start(2 * MINUTE)

    count, names = shown(scene)
    assert (count, len(names), names[0], names[-1]) == (60, 50, "a00", "a49")


def test_many_are_not_revoked_at_once(scene: ManagerScenario) -> None:
    """The brake on mass revocation holds for what is retained, too."""
    scene.aws.roles[OTHER_ROLE] = left(*(f"a{number:02}" for number in range(60)))
    scene.has_account(account_body(trustPolicyLimit=16384))
    scene.start(2 * MINUTE)
    scene.set_grants(seconds=3 * MINUTE)

    assert scene.sids(OTHER_ROLE) == ["Ops", SID]
    paused = [c["reason"] for c in scene.account_status()["conditions"] if c["type"] == "RevocationPaused"]
    assert paused == ["MassRevocation"]
