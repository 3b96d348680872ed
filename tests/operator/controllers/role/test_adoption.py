"""Hand-written statements that bindings take over: recorded first, replaced in one write, written back on request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import ISSUER, OPS, ROLE, binding_body, grant_body
from support.scenario_manager import ManagerScenario
from trustbind.api.role_binding import DeletionPolicy
from trustbind.errors import AccessDeniedError
from trustbind.evaluation.model import Caller, PrincipalKind, Request
from trustbind.evaluation.policy import evaluate
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import WebIdentityKey, build, is_owned
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.binding.status_writer import StatusWriter

SUB, AUD = ISSUER.subject_key, ISSUER.audience_key
STS = "sts.amazonaws.com"
MINUTE = 60.0


def by_hand(*names: str, sid: str = "Terraform", **block: Any) -> dict[str, Any]:
    """Return a statement as Terraform writes it."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Federated": str(ISSUER.provider_for(ROLE))},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {SUB: [str(Subject("team-a", name)) for name in names], AUD: STS, **block}},
    }


GRANT = grant_body(allowAdopt=True)


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a running operator with an AWS account, an adopting grant, and a role with two hand-written statements."""
    made = ManagerScenario()
    made.aws.provider = {STS}
    made.aws.roles[ROLE] = TrustDocument((OPS, by_hand("app")))
    made.has_account()
    made.start()
    made.set_grants(GRANT, seconds=1.0)
    made.forget_calls()
    yield made
    made.close()


def adopting(name: str = "b", **spec: Any) -> dict[str, Any]:
    """Return a binding that adopts."""
    return binding_body(name, adopt="Equivalent", **spec)


def statements(scene: ManagerScenario) -> list[str]:
    """Return the Sids of the role, ours as ``ours``."""
    return ["ours" if is_owned(s, ISSUER) else str(s.get("Sid")) for s in scene.aws.roles[ROLE].statements]


def condition(scene: ManagerScenario, name: str = "b") -> tuple[str, str, str]:
    """Return status, reason and message of the condition Adopted; empty where there is none."""
    found = [c for c in scene.stored(name)["conditions"] if c["type"] == "Adopted"]
    return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")


def gets_in(scene: ManagerScenario, name: str) -> bool:
    """Return whether a service account gets the role now."""
    context = {SUB: (str(Subject("team-a", name)),), AUD: (STS,)}
    caller = Caller(PrincipalKind.FEDERATED, str(ISSUER.provider_for(ROLE)))
    document = scene.aws.roles[ROLE].to_json_object()
    return evaluate(document, Request(caller, "sts:AssumeRoleWithWebIdentity", context)).allowed


def forge(scene: ManagerScenario, statement: Any) -> None:
    """Let the binding's status list another statement than what was replaced."""
    body = scene.cluster.objects["RoleBinding", "team-a/b"]
    body["status"] = {**body["status"], "adopted": [{"statement": json.dumps(statement), "times": 1}]}
    scene.edit("RoleBinding", "team-a/b", 1.0)


def test_one_write_replaces(scene: ManagerScenario) -> None:
    """The statement goes and ours comes in the same write; the status has it."""
    scene.create(adopting(), MINUTE)

    assert statements(scene) == ["Ops", "ours"]
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 1
    assert scene.ready()[:2] == ("True", "TrustApplied")
    assert condition(scene)[:2] == ("True", "StatementsAdopted")
    (record,) = scene.stored()["adopted"]
    assert (json.loads(record["statement"]), record["times"]) == (by_hand("app"), 1)
    assert "pending" not in record


def test_it_is_recorded_before_the_write(scene: ManagerScenario) -> None:
    """When the write is sent, the stored status has the statement already."""
    seen: list[Any] = []

    def look() -> None:
        seen.append(scene.stored().get("adopted"))

    scene.aws.before["UpdateAssumeRolePolicy"] = [look]
    scene.create(adopting(), MINUTE)

    ((record,),) = seen
    assert json.loads(record["statement"]) == by_hand("app")
    assert record["pending"] is True


def test_nobody_is_without_the_role(scene: ManagerScenario) -> None:
    """At no write is the service account without its role, also where only one of both statements has room."""
    long = by_hand("app", *(f"a-rather-long-name-{n:03}" for n in range(18)))
    scene.aws.roles[ROLE] = TrustDocument((OPS, long))
    scene.aws.limit = scene.aws.roles[ROLE].size + 40
    names = ["app", *(f"a-rather-long-name-{n:03}" for n in range(18))]
    seen: list[bool] = []

    def look() -> None:
        seen.append(all(gets_in(scene, name) for name in names))

    scene.aws.before["UpdateAssumeRolePolicy"] = [look] * 5
    scene.aws.after["UpdateAssumeRolePolicy"] = [look] * 5
    scene.create(adopting(serviceAccountNames=names), 2 * MINUTE)

    assert statements(scene) == ["Ops", "ours"], scene.ready()
    assert seen
    assert all(seen)


def test_a_shared_statement_shrinks(scene: ManagerScenario) -> None:
    """Whom the binding does not name keeps the hand-written statement, until a binding takes it, too."""
    scene.aws.roles[ROLE] = TrustDocument((OPS, by_hand("app", "other", "third")))

    scene.create(adopting(), MINUTE)
    assert statements(scene) == ["Ops", "Terraform", "ours"]
    assert not any("app" in str(s) for s in scene.aws.roles[ROLE].statements if s.get("Sid") == "Terraform")
    assert all(gets_in(scene, name) for name in ("app", "other", "third"))

    scene.create(adopting("c", serviceAccountNames=["other", "third"], profile="c"), MINUTE)
    assert statements(scene) == ["Ops", "ours"]
    assert all(gets_in(scene, name) for name in ("app", "other", "third"))


def test_a_different_one_stays(scene: ManagerScenario) -> None:
    """The binding is Ready beside it, and says how it differs."""
    wide = by_hand("app", **{"aws:PrincipalOrgID": "o-1"})
    scene.aws.roles[ROLE] = TrustDocument((OPS, wide))

    scene.create(adopting(), MINUTE)

    assert statements(scene) == ["Ops", "Terraform", "ours"]
    assert scene.ready()[0] == "True"
    status, reason, message = condition(scene)
    assert (status, reason) == ("False", "AdoptionDiffers")
    assert "further conditions" in message
    assert "adopted" not in scene.stored()


def test_the_audiences_of_the_provider_decide(scene: ManagerScenario) -> None:
    """A statement without an audience is equal only while the provider accepts no other one; that is read anew."""
    old = by_hand("app")
    del old["Condition"]["StringEquals"][AUD]
    scene.aws.roles[ROLE] = TrustDocument((OPS, old))
    scene.create(binding_body("first", serviceAccountNames=["first"], profile="p"), MINUTE)
    scene.aws.provider = {STS, "vault"}

    scene.create(adopting(), 10.0)

    assert "Terraform" in statements(scene)
    assert "vault" in condition(scene)[2]


def test_it_needs_a_grant(scene: ManagerScenario) -> None:
    """Without allowAdopt nothing is written."""
    scene.set_grants(grant_body(), seconds=1.0)
    scene.create(adopting(), MINUTE)

    assert scene.ready()[1] == "NotGranted"
    assert "allowAdopt: true" in scene.ready()[2]
    assert statements(scene) == ["Ops", "Terraform"]


def test_observed_accounts_are_left_alone(scene: ManagerScenario) -> None:
    """With driftPolicy Observe, nothing is recorded or replaced."""
    scene.edit("AWSAccount", "prod", 1.0, spec={"driftPolicy": "Observe"})
    scene.create(adopting(), MINUTE)

    assert statements(scene) == ["Ops", "Terraform"]
    assert "adopted" not in scene.stored()
    assert scene.ready()[1] == "DriftObserved"


def test_a_nearly_full_role_is_observed(scene: ManagerScenario) -> None:
    """With driftPolicy Observe, what would be replaced makes room: the binding is not told that the policy is full."""
    scene.edit("AWSAccount", "prod", 1.0, spec={"driftPolicy": "Observe", "trustPolicyLimit": 600})
    scene.create(adopting(), MINUTE)

    assert scene.aws.roles[ROLE].size + 300 > 600
    assert scene.ready()[1] == "DriftObserved"


def test_written_back_by_its_owner(scene: ManagerScenario) -> None:
    """It is replaced again three times, and then stays, and the binding says so."""
    scene.create(adopting(), MINUTE)
    for times in (2, 3, 4):
        scene.aws.add_statement(ROLE, by_hand("app"))
        scene.wait(3 * MINUTE)
        assert statements(scene) == ["Ops", "ours"]
        assert [each["times"] for each in scene.stored()["adopted"]] == [times]
    scene.aws.add_statement(ROLE, by_hand("app"))
    scene.wait(3 * MINUTE)
    written = scene.aws.calls["UpdateAssumeRolePolicy"]
    scene.wait(10 * MINUTE)

    assert statements(scene) == ["Ops", "ours", "Terraform"]
    assert condition(scene)[:2] == ("False", "AdoptionContested")
    assert scene.ready()[0] == "True"
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == written


def test_a_write_that_fails_loses_nothing(scene: ManagerScenario) -> None:
    """Both statements are as they were, and the next run replaces."""
    denied = AccessDeniedError("not authorized", code="AccessDenied", operation="iam:UpdateAssumeRolePolicy")
    scene.aws.errors["UpdateAssumeRolePolicy"] = [denied]
    scene.create(adopting(), 1.0)
    assert statements(scene) == ["Ops", "Terraform"]
    assert scene.stored()["adopted"][0]["pending"] is True

    scene.wait(10 * MINUTE)
    assert statements(scene) == ["Ops", "ours"]
    assert [each["times"] for each in scene.stored()["adopted"]] == [1]
    assert condition(scene)[0] == "True"


def test_an_operator_that_stops_between(scene: ManagerScenario) -> None:
    """After a restart between record and write, the statement is replaced, and counted once."""
    denied = AccessDeniedError("not authorized", code="AccessDenied", operation="iam:UpdateAssumeRolePolicy")
    scene.aws.always["UpdateAssumeRolePolicy"] = denied
    scene.create(adopting(), 1.0)
    scene.stop()
    scene.aws.always.clear()
    scene.start(2 * MINUTE)

    assert statements(scene) == ["Ops", "ours"]
    assert [each["times"] for each in scene.stored()["adopted"]] == [1]


def test_restored(scene: ManagerScenario) -> None:
    """With Restore, the hand-written statement comes back in the write in which ours goes."""
    scene.create(adopting(deletionPolicy="Restore"), MINUTE)
    before = scene.aws.calls["UpdateAssumeRolePolicy"]

    scene.remove("RoleBinding", "team-a/b", MINUTE)

    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS, by_hand("app"))
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == before + 1
    assert [t.reason for _, _, t in scene.cluster.events][-1] == "TrustRestored"


@pytest.mark.parametrize(
    "forged",
    [
        by_hand("admin"),
        by_hand("app") | {"Principal": "*"},
        by_hand("app") | {"Principal": {"Federated": str(ISSUER.provider_for(ROLE)), "AWS": "999999999999"}},
        by_hand("app") | {"Effect": "Deny"},
        {"Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "sts:AssumeRole"},
        by_hand("app", sid="not a Sid"),
        build(ISSUER, ROLE, WebIdentityKey(STS), [Subject("team-a", "app")]),
        "nothing",
    ],
)
def test_a_forged_record_restores_nothing(scene: ManagerScenario, forged: Any) -> None:
    """A status is untrusted: what is wider than the binding's own, or what IAM would refuse, is not written."""
    scene.create(adopting(deletionPolicy="Restore"), MINUTE)
    forge(scene, forged)

    scene.remove("RoleBinding", "team-a/b", MINUTE)

    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS,)
    last = [t for _, _, t in scene.cluster.events][-1]
    assert last.reason == "TrustRevoked"
    assert "not " in last.message


def test_nothing_is_restored_without_a_grant(scene: ManagerScenario) -> None:
    """Where the grant went first, the trust is revoked and nothing comes back."""
    scene.create(adopting(deletionPolicy="Restore"), MINUTE)
    scene.set_grants(seconds=MINUTE)
    assert statements(scene) == ["Ops"]

    scene.remove("RoleBinding", "team-a/b", MINUTE)
    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_no_room_to_restore(scene: ManagerScenario) -> None:
    """What does not fit is not written back; the trust goes, and the Event says why."""
    scene.create(adopting(deletionPolicy="Restore"), MINUTE)
    padding = {"Sid": "Pad", "Effect": "Deny", "Principal": {"AWS": ["111122223333"]}, "Action": "sts:AssumeRole"}
    scene.aws.roles[ROLE] = scene.aws.roles[ROLE].with_statements((*scene.aws.roles[ROLE].statements, padding))
    longer = by_hand("app", **{"aws:PrincipalOrgID": "o-" + "1" * 300})
    forge(scene, longer)
    scene.aws.limit = scene.aws.roles[ROLE].size

    scene.edit("AWSAccount", "prod", 1.0, spec={"trustPolicyLimit": scene.aws.limit})
    scene.remove("RoleBinding", "team-a/b", MINUTE)

    assert not scene.exists()
    assert statements(scene) == ["Ops", "Pad"]
    assert "no room" in [t for _, _, t in scene.cluster.events][-1].message


def test_a_pause_adopts_nothing(scene: ManagerScenario) -> None:
    """While revocation is paused, statements stay; what was recorded before is replaced afterwards."""
    names = [f"x{n:02}" for n in range(30)]
    for name in names:
        scene.create(binding_body(name, serviceAccountNames=[name], profile=name))
    scene.wait(MINUTE)
    for name in names:
        scene.remove("RoleBinding", f"team-a/{name}")
    scene.wait(5.0)
    scene.create(adopting(), MINUTE)

    assert "Terraform" in statements(scene)
    scene.edit("AWSAccount", "prod", 5 * MINUTE, metadata={"annotations": {"trustbind.dev/revocation-allowed-at": "1"}})
    assert statements(scene) == ["Ops", "ours"]


def test_another_writer_between(scene: ManagerScenario) -> None:
    """What is written is planned on the document that was read: a changed statement is another one."""

    def widen() -> None:
        scene.aws.roles[ROLE] = TrustDocument((OPS, by_hand("app", "late")))

    scene.aws.before["GetRole"] = [lambda: None, widen]
    scene.create(adopting(), 2 * MINUTE)

    assert gets_in(scene, "late")
    assert statements(scene) == ["Ops", "Terraform", "ours"]


def test_uninstalled_with_restore(scene: ManagerScenario) -> None:
    """What was taken over is written back for every binding, whatever its deletionPolicy and its grants say."""
    scene.create(adopting(), MINUTE)
    scene.stop()
    scene.cache.leaving = DeletionPolicy.RESTORE
    scene.start(MINUTE)
    scene.set_grants(GRANT, seconds=1.0)

    scene.remove("RoleBinding", "team-a/b", MINUTE)

    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS, by_hand("app"))


def test_a_record_that_cannot_be_stored_holds_up_nobody(
    scene: ManagerScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team that keeps changing its binding delays that alone: others of the role are bound and revoked."""

    async def refused(*_: Any) -> bool:
        return False

    scene.create(binding_body("old", serviceAccountNames=["old"], profile="old"), 10.0)
    monkeypatch.setattr(StatusWriter, "record", refused)
    scene.create(adopting(), 10.0)
    scene.create(binding_body("new", "team-b", serviceAccountNames=["new"]), 10.0)
    scene.remove("RoleBinding", "team-a/old", 10.0)

    assert scene.admitted() == ["new"]
    assert not scene.exists("old")
    assert scene.ready("new", "team-b")[:2] == ("True", "TrustApplied")
    assert statements(scene) == ["Ops", "Terraform", "ours"]
    assert gets_in(scene, "app")

    monkeypatch.undo()
    scene.wait(5 * MINUTE)
    assert statements(scene) == ["Ops", "ours"]
    assert scene.admitted() == ["app", "new"]


@pytest.mark.parametrize(("ids", "stands"), [({STS}, ["Ops", "Terraform"]), ({STS, "vault"}, ["Ops"])])
def test_the_provider_is_read_before_anything_is_written_back(
    scene: ManagerScenario, ids: set[str], stands: list[str]
) -> None:
    """Which audiences it accepts by now decides what a statement without one means, and it may not be known."""
    old = by_hand("app")
    del old["Condition"]["StringEquals"][AUD]
    scene.aws.roles[ROLE] = TrustDocument((OPS, old))
    scene.create(adopting(deletionPolicy="Restore"), MINUTE)
    assert statements(scene) == ["Ops", "ours"]
    scene.aws.provider = ids
    scene.stop()
    scene.pool.forget(scene.aws_account())
    scene.start(0.0)

    scene.remove("RoleBinding", "team-a/b", MINUTE)

    assert statements(scene) == stands
