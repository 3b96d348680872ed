"""One role brought in order for all its bindings, over a cluster and an AWS in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.bodies import (
    ACCOUNT,
    OPS,
    OTHER_ROLE,
    ROLE,
    account_body,
    binding_body,
)
from support.scenario_role import RoleScenario
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.rollout import RoleProgress, Rollout
from trustbind_operator.controllers.context import Next


@pytest.fixture
def scene() -> Iterator[RoleScenario]:
    """Return a scene."""
    made = RoleScenario()
    yield made
    made.close()


def test_first_commit(scene: RoleScenario) -> None:
    """Finalizers first, then one write, then the status and one Event."""
    scene.has_binding()

    assert scene.run() is Next.RESYNC

    assert scene.trusted() == ["app"]
    assert scene.cluster.writes == [("add_finalizer", "team-a/b"), ("patch_status", "team-a/b")]
    assert set(scene.neighbours.guarded) == {"prod"}
    status, reason, message = scene.ready()
    assert (status, reason) == ("True", "TrustApplied")
    assert "trusts 1 service account of this binding" in message
    assert [(kind, name, t.type, t.status) for kind, name, t in scene.cluster.events] == [
        ("RoleBinding", "b", "Ready", "True")
    ]
    assert scene.stored()["lastAppliedTime"] == "2026-01-01T12:00:00Z"
    assert scene.telemetry.commits == [(ROLE, "written", 1, 1)]


def test_many_bindings_are_one_read_and_one_write(scene: RoleScenario) -> None:
    """The group commit: whatever their number, one read before the write and one after it."""
    scene.settled()
    for n in range(20):
        scene.has_binding(binding_body(f"b{n:02}", serviceAccountNames=[f"app{n:02}"]))

    scene.run()

    assert (scene.aws.calls["GetRole"], scene.aws.calls["UpdateAssumeRolePolicy"]) == (2, 1)
    assert len(scene.trusted()) == 21
    assert all(scene.ready(f"b{n:02}")[0] == "True" for n in range(20))


def test_nothing_to_do_writes_nothing(scene: RoleScenario) -> None:
    """Not to AWS, nor to Kubernetes; a restart neither."""
    scene.settled()
    assert scene.run() is Next.RESYNC
    scene.restart()
    assert scene.controller.is_in_step(ROLE)
    assert (scene.cluster.writes, scene.cluster.events, scene.aws.calls["UpdateAssumeRolePolicy"]) == ([], [], 0)
    assert scene.telemetry.commits == [(ROLE, "unchanged", 0, 1)]


def test_drift_is_repaired_quietly(scene: RoleScenario) -> None:
    """What somebody took out is put back, what is foreign stays; the binding was Ready all the time."""
    scene.settled()
    scene.aws.roles[ROLE] = TrustDocument((OPS,))

    scene.run()

    assert scene.trusted() == ["app"]
    assert scene.sids()[0] == "Ops"
    assert scene.cluster.events == []


def test_binding_that_changed_meanwhile_is_left_out(scene: RoleScenario) -> None:
    """One that could not get its finalizer waits; the others go on, and nothing is written for it."""
    scene.has_binding(binding_body("goes", serviceAccountNames=["x"]))
    scene.has_binding(binding_body("stays", serviceAccountNames=["y"]))
    scene.cluster.before_finalizer.append(lambda: scene.cluster.objects.pop(("RoleBinding", "team-a/goes")))

    scene.run()

    assert scene.trusted() == ["y"]
    assert ("patch_status", "team-a/goes") not in scene.cluster.writes


def test_binding_replaced_while_it_is_guarded(scene: RoleScenario) -> None:
    """The new object of that name is another binding."""
    scene.has_binding()
    replaced = binding_body(metadata={"uid": "another"})
    scene.cluster.before_finalizer.append(lambda: scene.cluster.put(replaced))

    scene.run()

    assert scene.trusted() == []
    assert BINDING_FINALIZER not in replaced["metadata"].get("finalizers", ())


def test_binding_that_comes_while_others_are_guarded(scene: RoleScenario) -> None:
    """It is taken along, with a finalizer of its own."""
    scene.has_binding(binding_body("a", serviceAccountNames=["x"]))
    scene.cluster.before_finalizer.append(lambda: scene.has_binding(binding_body("b", serviceAccountNames=["y"])))

    scene.run()

    assert scene.trusted() == ["x", "y"]
    assert all(scene.known(name).guarded for name in "ab")


def _withdraw(scene: RoleScenario) -> None:
    scene.has_grants()


def _break(scene: RoleScenario) -> None:
    scene.change(audience="a b")


def _unlabel(scene: RoleScenario) -> None:
    scene.change(serviceAccountSelector={"matchLabels": {"no": "body"}}, serviceAccountNames=None)


def _claim(scene: RoleScenario) -> None:
    older = binding_body("older", created="2025-01-01T00:00:00Z", roleArn=str(OTHER_ROLE))
    scene.has_binding(older)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_withdraw, "NotGranted"),
        (_break, "InvalidSpec"),
        (_unlabel, "NoSubjects"),
        (_claim, "ProfileConflict"),
    ],
)
def test_what_is_not_wanted_any_more_is_revoked(
    scene: RoleScenario, change: Callable[[RoleScenario], None], reason: str
) -> None:
    """And the binding says why, in conditions and one Event."""
    scene.settled()
    change(scene)

    scene.run()

    assert scene.trusted() == []
    assert scene.ready()[:2] == ("False", reason)
    assert "statementId" not in scene.stored()
    assert [(t.type, t.reason) for _, name, t in scene.cluster.events if name == "b"] == [("Ready", reason)]


def test_refused_from_the_start(scene: RoleScenario) -> None:
    """A binding that gets nothing gets no finalizer, and the role's account none for it; only an event changes that."""
    scene.has_grants()
    scene.has_binding()

    assert scene.run() is Next.NEVER

    assert scene.cluster.writes == [("patch_status", "team-a/b")]
    assert scene.neighbours.guarded == []
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0


def test_consent(scene: RoleScenario) -> None:
    """The role's own tag decides where the account asks for it, as it is at each look."""
    scene.has_account(account_body(requireRoleConsent=True))
    scene.has_binding()

    scene.run()
    assert scene.ready()[:2] == ("False", "NoRoleConsent")
    assert scene.trusted() == []
    scene.aws.tags["trustbind.dev/namespaces"] = "team-a"
    scene.run()
    assert scene.ready()[0] == "True"
    scene.aws.tags.clear()
    scene.run()
    assert scene.trusted() == []


def test_observe(scene: RoleScenario) -> None:
    """Nothing is written; the difference is told, and told again, until it is gone."""
    scene.has_account(account_body(driftPolicy="Observe"))
    scene.has_binding()

    assert scene.run() is Next.SURVEY

    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "DriftObserved")
    assert "added Trustbind" in message
    assert scene.telemetry.commits == [(ROLE, "DriftObserved", 0, 1)]


def test_observe_in_order(scene: RoleScenario) -> None:
    """What is as it should be is Ready, whoever wrote it; what was in order stays so beside what is not."""
    scene.settled()
    scene.aws.provider = {"sts.amazonaws.com", "other"}
    scene.has_account(account_body(driftPolicy="Observe"))
    scene.run()
    assert scene.ready()[0] == "True"

    scene.has_binding(binding_body("new", audience="other", serviceAccountNames=["y"]))
    scene.run()

    assert scene.ready()[0] == "True"
    assert scene.ready("new")[:2] == ("False", "DriftObserved")


def test_nobody_left(scene: RoleScenario) -> None:
    """A role without bindings is cleaned once more, and then left alone."""
    scene.settled()
    scene.cache.drop_binding(scene.known().ref)
    scene.controller.progress.left(ROLE)

    assert scene.run() is Next.NEVER
    assert scene.sids() == ["Ops"]
    del scene.aws.roles[ROLE]
    assert scene.run() is Next.NEVER


def test_gone_while_its_status_is_written(scene: RoleScenario) -> None:
    """Then there is nobody to tell."""
    scene.has_binding()
    scene.run()
    scene.change(audience="other")
    scene.cluster.events.clear()
    scene.cluster.objects.clear()
    scene.run()
    assert scene.cluster.events == []


def _status_gone(scene: RoleScenario) -> None:
    body = scene.cluster.objects[("RoleBinding", "team-a/b")]
    del body["status"]
    scene.change()


def _unguarded(scene: RoleScenario) -> None:
    scene.cluster.objects[("RoleBinding", "team-a/b")]["metadata"]["finalizers"] = []
    scene.change()


def _changed(scene: RoleScenario) -> None:
    scene.change(audience="other")


@pytest.mark.parametrize("change", [_status_gone, _unguarded, _changed, _withdraw, RoleScenario.delete])
def test_not_in_step(scene: RoleScenario, change: Callable[[RoleScenario], None]) -> None:
    """After a restart, whatever differs from what the status says is looked at."""
    scene.settled()
    change(scene)
    scene.restart()
    assert not scene.controller.is_in_step(ROLE)


def test_refused_bindings_are_in_step_with_their_reason(scene: RoleScenario) -> None:
    """They are not asked about again for that."""
    scene.has_grants()
    scene.settled()
    scene.restart()
    assert scene.controller.is_in_step(ROLE)
    assert not scene.controller.is_changed(scene.known())


def test_consent_of_a_source_role_that_waits(scene: RoleScenario) -> None:
    """A source role that refused a chain is read again once the chain is granted: only its tags say what holds."""
    source = RoleArn("aws", ACCOUNT, "/", "source")
    scene.aws.roles[source] = TrustDocument((OPS,))
    scene.has_account(account_body(requireRoleConsent=True))
    scene.has_binding(binding_body(method="AssumeRole", source={"roleArn": str(source)}, externalId="x-1"))
    (stored,) = scene.cache.bindings.values()
    refusal = (TrustReason.NO_CONSENT, "no tag")
    scene.controller.progress.rollouts[stored.uid] = Rollout({source: RoleProgress(refusal=refusal)})

    scene.run(source)

    assert scene.aws.calls["GetRole"] > 0
    assert scene.ready()[:2] == ("False", "NoRoleConsent")


def test_a_namespace_that_the_webhook_leaves_alone(scene: RoleScenario) -> None:
    """The binding is Ready, and says that pods there get no role; where the webhook is called, it says nothing."""
    scene.has_account()
    scene.has_binding()
    scene.cache.put_namespace("team-a", {"trustbind.dev/inject": "false"})
    scene.run()
    found = {c["type"]: c for c in scene.stored()["conditions"]}
    assert found["Ready"]["status"] == "True"
    assert (found["OutOfScope"]["status"], found["OutOfScope"]["reason"]) == ("True", "OutOfScope")
    assert "inject=false" in found["OutOfScope"]["message"]

    scene.cache.put_namespace("team-a", {})
    scene.run()
    assert "OutOfScope" not in {c["type"] for c in scene.stored()["conditions"]}
