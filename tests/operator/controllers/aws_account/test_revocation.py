"""The brake on mass revocation, with a running manager over a cluster and an AWS in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, OTHER_ROLE, binding_body, grant_body
from support.scenario_manager import ManagerScenario
from trustbind.api.labels import BINDING_FINALIZER, REVOCATION_ALLOWED_AT
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.pace import Pace

COUNT = 100
RARE = Pace(survey=1e6)


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    yield made
    made.close()


def role(number: int) -> RoleArn:
    """Return one of many roles, ten bindings each."""
    return RoleArn("aws", ACCOUNT, "/", f"role-{number // 10}")


def body(number: int, **fields: Any) -> dict[str, Any]:
    """Return one of many bindings, each of one service account; every second one is of another namespace."""
    namespace = "team-b" if number % 2 else "team-a"
    return binding_body(
        f"b{number}", namespace, roleArn=str(role(number)), serviceAccountNames=[f"a{number}"], **fields
    )


def name(number: int) -> str:
    """Return namespace and name of such a binding."""
    return f"{'team-b' if number % 2 else 'team-a'}/b{number}"


def begin(scene: ManagerScenario, pace: Pace = RARE, count: int = COUNT) -> None:
    """Start the operator with many bindings in order."""
    scene.pace = pace
    scene.has_account()
    for number in range(count):
        scene.aws.roles[role(number)] = TrustDocument((OPS,))
        scene.has_binding(body(number))
    scene.start()
    assert trusted(scene) == count


def trusted(scene: ManagerScenario) -> int:
    """Return how many service accounts all roles trust."""
    return sum(len(scene.admitted(each)) for each in list(scene.aws.roles))


def paused(scene: ManagerScenario) -> str:
    """Return the message of the AWSAccount's condition; empty without one."""
    found = [c for c in scene.account_status().get("conditions", ()) if c["type"] == "RevocationPaused"]
    assert all((c["status"], c["reason"]) == ("True", "MassRevocation") for c in found)
    return str(found[0]["message"]) if found else ""


def allow(scene: ManagerScenario, value: str, seconds: float = 20.0) -> None:
    """Change the annotation as an administrator does."""
    scene.edit("AWSAccount", "prod", seconds, metadata={"annotations": {REVOCATION_ALLOWED_AT: value}})


def held(scene: ManagerScenario) -> float | None:
    """Return the metric."""
    return scene.telemetry.metrics.registry.get_sample_value(
        "trustbind_operator_paused_revocations", {"account": ACCOUNT}
    )


def test_grants_that_are_withdrawn_from_all(scene: ManagerScenario) -> None:
    """Nothing is revoked until the grants are back; conditions, the metric and the log say so."""
    begin(scene)
    scene.set_grants(seconds=20.0)

    assert trusted(scene) == COUNT
    assert "100 of 100 subjects" in paused(scene)
    assert f"kubectl annotate awsaccount prod --overwrite {REVOCATION_ALLOWED_AT}=" in paused(scene)
    status, reason, message = scene.ready("b0")
    assert (status, reason) == ("False", "RevocationPaused")
    assert "no RoleGrant" in message
    assert held(scene) == COUNT
    assert scene.telemetry.log.getvalue().count("revocation paused") == 1
    assert [t.is_warning for kind, _, t in scene.cluster.events if kind == "AWSAccount"][-1:] == [True]

    scene.set_grants(grant_body(), seconds=20.0)
    assert trusted(scene) == COUNT
    assert paused(scene) == ""
    assert scene.ready("b0")[0] == "True"
    assert held(scene) == 0


def test_bindings_that_are_deleted_at_once(scene: ManagerScenario) -> None:
    """Their finalizers stay, with a condition; an administrator lets them go."""
    begin(scene)
    for number in range(60):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)

    assert trusted(scene) == COUNT
    assert scene.ready("b0")[:2] == ("False", "RevocationPaused")
    assert "60 of 100" in paused(scene)
    scene.wait(3600.0)
    assert trusted(scene) == COUNT

    allow(scene, "now")
    assert trusted(scene) == 40
    assert not scene.exists("b0")
    assert paused(scene) == ""


def test_end_of_a_pause_reads_the_roles_alone_that_waited(scene: ManagerScenario) -> None:
    """Not every role of the AWS account."""
    begin(scene)
    for number in range(30):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    scene.aws.forget_calls()
    allow(scene, "now")

    assert trusted(scene) == 70
    assert {subject for operation, subject in scene.aws.log if operation == "GetRole"} == {
        str(role(number)) for number in range(30)
    }


def test_allowance_is_for_what_waits_now(scene: ManagerScenario) -> None:
    """What is to go later is counted again, and the old value of the annotation allows nothing."""
    begin(scene)
    allow(scene, "before", 1.0)
    for number in range(50):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    assert "50 of 100" in paused(scene)
    assert scene.account_status()["revocationAllowedAt"] == "before"
    allow(scene, "once")
    assert trusted(scene) == 50

    scene.set_grants(seconds=20.0)
    assert trusted(scene) == 50
    assert "50 of 50" in paused(scene)
    allow(scene, "twice")
    assert trusted(scene) == 0


def test_deletions_one_by_one(scene: ManagerScenario) -> None:
    """They are not held up, however many they are in the end."""
    begin(scene)
    for number in range(90):
        scene.remove("RoleBinding", name(number), 12.0)

    assert trusted(scene) == 10
    assert paused(scene) == ""


def test_deletions_within_a_window(scene: ManagerScenario) -> None:
    """Those that went a moment before count; the rest waits, also when the window is over."""
    begin(scene)
    for number in range(40):
        scene.remove("RoleBinding", name(number), 1.0)
    scene.wait(600.0)

    assert trusted(scene) == COUNT - 20
    assert "20 of 100 subjects of this AWS account are to be revoked, 20 more were revoked" in paused(scene)


def test_few_subjects(scene: ManagerScenario) -> None:
    """Ten may always go."""
    begin(scene, count=10)
    scene.set_grants(seconds=20.0)

    assert trusted(scene) == 0
    assert paused(scene) == ""


@pytest.mark.parametrize("what", ["labels", "accounts", "namespaces"])
def test_other_objects_that_go(scene: ManagerScenario, what: str) -> None:
    """Service accounts, their labels and those of namespaces take trust as well, without a change of a binding."""
    names = [f"a{number}" for number in range(30)]
    selector = {"matchLabels": {"app": "x"}}
    scene.has_grants(grant_body(namespaces={"selector": {"matchLabels": {"team": "a"}}}))
    scene.has_service_accounts("team-a", {each: {"app": "x"} for each in names})
    scene.cache.put_namespace("team-a", {"team": "a"})
    scene.has_account()
    scene.has_binding(binding_body(serviceAccountSelector=selector))
    scene.pace = RARE
    scene.aws.limit = 16_384
    scene.start()
    assert trusted(scene) == 30

    def go(labels: dict[str, str] | None) -> None:
        for each in names:
            scene.router.service_account("team-a", each, labels)

    def happen(is_back: bool) -> None:
        if what == "namespaces":
            scene.router.namespace("team-a", {"team": "a"} if is_back else {})
        else:
            go({"app": "x"} if is_back else {} if what == "labels" else None)

    scene.play(_call(lambda: happen(is_back=False)))
    scene.wait(20.0)
    assert trusted(scene) == 30
    assert "30 of 30" in paused(scene)
    assert len(scene.stored()["subjects"]) == 30

    scene.play(_call(lambda: happen(is_back=True)))
    scene.wait(20.0)
    assert (trusted(scene), paused(scene)) == (30, "")
    assert scene.ready()[0] == "True"


async def _call(what: Any) -> None:
    what()


def test_what_is_granted_goes_on(scene: ManagerScenario) -> None:
    """New bindings are added to the same roles, also where a binding of theirs waits to be revoked."""
    begin(scene)
    for number in range(0, 100, 2):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    scene.create(binding_body("new", "team-b", roleArn=str(role(0)), serviceAccountNames=["new"]), 10.0)
    scene.edit("RoleBinding", name(1), 10.0, spec={"serviceAccountNames": ["a1", "more"]})
    scene.create(binding_body("first", "team-b", serviceAccountNames=["first"]), 10.0)

    assert scene.ready("new", "team-b")[0] == scene.ready("b1", "team-b")[0] == "True"
    assert trusted(scene) == COUNT + 3
    assert scene.admitted() == ["first"]


def test_single_deletion_waits_with_the_others(scene: ManagerScenario) -> None:
    """Nothing at all is revoked while revocation is paused."""
    begin(scene)
    for number in range(50):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    scene.remove("RoleBinding", name(99), 20.0)

    assert scene.exists("b99", "team-b")
    assert trusted(scene) == COUNT


def test_bindings_that_come_back_under_other_names(scene: ManagerScenario) -> None:
    """Then nobody loses anything, and the deleted objects go."""
    begin(scene)
    for number in range(50):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    for number in range(50):
        again = body(number)
        again["metadata"] |= {"name": f"again{number}", "uid": f"uid-again{number}"}
        scene.create(again)
    scene.wait(20.0)

    assert trusted(scene) == COUNT
    assert paused(scene) == ""
    assert not any(scene.exists(f"b{number}", "team-b" if number % 2 else "team-a") for number in range(50))


def test_restart_while_revocation_is_paused(scene: ManagerScenario) -> None:
    """The next process knows it from the AWSAccount, even for what a new window would allow."""
    begin(scene)
    for number in range(22):
        scene.remove("RoleBinding", name(number), 1.0)
    scene.wait(30.0)
    left = trusted(scene)
    assert "of" in paused(scene)
    scene.stop()
    scene.start(600.0)
    assert trusted(scene) == left
    assert paused(scene) != ""

    scene.stop()
    scene.cluster.change("AWSAccount", "prod", metadata={"annotations": {REVOCATION_ALLOWED_AT: "meanwhile"}})
    scene.has_account(scene.cluster.objects[("AWSAccount", "prod")])
    scene.start(30.0)
    assert trusted(scene) == COUNT - 22
    assert paused(scene) == ""


@pytest.mark.parametrize("how", ["grants", "deleted", "forced"])
def test_what_went_while_no_operator_ran(scene: ManagerScenario, how: str) -> None:
    """A restart finds it by statuses, and by the first survey what no object tells of."""
    begin(scene, Pace())
    scene.stop()
    for number in range(COUNT):
        ref = scene.known(*reversed(name(number).split("/"))).ref
        if how == "deleted":
            scene.delete(ref.name, ref.namespace)
        elif how == "forced":
            del scene.cluster.objects[("RoleBinding", str(ref))]
            scene.cache.drop_binding(ref)
    if how == "grants":
        scene.has_grants()
    scene.start(200.0)

    assert trusted(scene) == COUNT
    assert "100 of 100" in paused(scene)
    allow(scene, "now", 100.0)
    assert trusted(scene) == 0


def test_finalizers_that_are_removed_by_force(scene: ManagerScenario) -> None:
    """The objects are gone at once, and their trust waits."""
    begin(scene)
    for number in range(COUNT):
        scene.cluster.objects[("RoleBinding", name(number))]["metadata"]["finalizers"] = []
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)
    assert trusted(scene) == COUNT
    assert "100 of 100" in paused(scene)
    allow(scene, "now")
    assert trusted(scene) == 0


def test_list_that_comes_back_empty(scene: ManagerScenario) -> None:
    """Nothing is revoked, however little it is; what the list shows again is as before."""
    begin(scene, count=3)
    bodies = [scene.cluster.objects[("RoleBinding", name(number))] for number in range(3)]
    account = [scene.cluster.objects[("AWSAccount", "prod")]]
    empty: dict[str, Any] = {"RoleBinding": bodies, "RoleGrant": [], "AWSAccount": account}

    scene.play(_call(lambda: scene.router.listed(scene.router.known(), empty)))
    scene.wait(100.0)
    assert trusted(scene) == 3
    assert "3 of 3" in paused(scene)

    full = {**empty, "RoleGrant": [grant_body()], "AWSAccount": [scene.cluster.objects[("AWSAccount", "prod")]]}
    full["RoleBinding"] = [scene.cluster.objects[("RoleBinding", name(number))] for number in range(3)]
    scene.play(_call(lambda: scene.router.listed(scene.router.known(), full)))
    scene.wait(20.0)
    assert (trusted(scene), paused(scene)) == (3, "")


def test_chains(scene: ManagerScenario) -> None:
    """Both roles of each, and the permission of the source role, stay."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_account()
    scene.pace = RARE
    for number in range(15):
        scene.aws.roles[role(10 * number)] = TrustDocument((OPS,))
        chain: dict[str, Any] = {"method": "AssumeRole", "source": {"roleArn": str(OTHER_ROLE)}}
        target = str(role(10 * number))
        scene.has_binding(binding_body(f"c{number}", roleArn=target, serviceAccountNames=[f"a{number}"], **chain))
    scene.start(60.0)
    assert len(scene.aws.targets(OTHER_ROLE) or ()) == 15
    before = dict(scene.aws.roles.texts)

    scene.set_grants(seconds=60.0)
    assert scene.aws.roles.texts == before
    assert len(scene.aws.targets(OTHER_ROLE) or ()) == 15
    assert "30 of 30" in paused(scene)
    allow(scene, "now", 60.0)
    assert trusted(scene) == 0
    assert not scene.aws.targets(OTHER_ROLE)


def test_pause_that_begins_while_a_role_is_read(scene: ManagerScenario) -> None:
    """What was planned before is not written."""
    begin(scene)

    def withdraw() -> None:
        for known, stored in list(scene.cache.grants.items()):
            scene.router.grant_gone(known, stored.uid)
        scene.manager.reconsider()

    scene.aws.after["GetRole"] = [withdraw]
    scene.remove("RoleBinding", name(0), 20.0)
    assert trusted(scene) == COUNT
    assert BINDING_FINALIZER in scene.cluster.objects[("RoleBinding", name(0))]["metadata"]["finalizers"]


def test_another_aws_account_goes_on(scene: ManagerScenario) -> None:
    """A pause is of one AWS account."""
    begin(scene)
    scene.set_grants(grant_body(roleArns=[f"arn:aws:iam::{ACCOUNT}:role/app"]), seconds=20.0)
    assert paused(scene) != ""
    assert scene.manager.pause("999988887777") == ""


@pytest.mark.parametrize(("adopted", "is_held"), [(False, True), (True, False)])
def test_restore_is_no_way_around_the_brake(scene: ManagerScenario, adopted: bool, is_held: bool) -> None:
    """With ``Restore``, only who is in a recorded statement keeps the role; the others are revoked, and counted."""
    scene.has_grants(grant_body(allowAdopt=True))
    scene.has_account()
    record = [{"statement": json.dumps(_by_hand(number)), "times": 1} if adopted else {} for number in range(COUNT)]
    for number in range(COUNT):
        scene.aws.roles[role(number)] = TrustDocument((OPS,))
        wish = body(number, adopt="Equivalent", deletionPolicy="Restore")
        scene.has_binding(wish | ({"status": {"adopted": [record[number]]}} if adopted else {}))
    scene.pace = RARE
    scene.start()
    assert trusted(scene) == COUNT

    for number in range(COUNT):
        scene.remove("RoleBinding", name(number))
    scene.wait(20.0)

    assert bool(paused(scene)) is is_held
    assert trusted(scene) == (COUNT if is_held else 0)


def _by_hand(number: int) -> dict[str, Any]:
    """Return the statement that one of the bindings took over."""
    namespace = name(number).partition("/")[0]
    return {
        "Sid": f"Hand{number}",
        "Effect": "Allow",
        "Principal": {"Federated": str(ISSUER.provider_for(role(number)))},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {
                ISSUER.audience_key: "sts.amazonaws.com",
                ISSUER.subject_key: f"system:serviceaccount:{namespace}:a{number}",
            }
        },
    }
