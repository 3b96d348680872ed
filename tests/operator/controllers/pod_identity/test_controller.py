"""Bindings by EKS Pod Identity: their associations are kept, over a cluster, an AWS and an EKS in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.agent_scene import APP, EKS, AgentScene, agent_body
from support.operator_world import ACCOUNT, OPS, OTHER_ROLE, ROLE, account_body, binding_body
from trustbind.api.aws_account import AwsAccount
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG, STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.account_pool import THREADS_PER_ACCOUNT
from trustbind_operator.controllers.context import Next

WRITER = Subject("team-a", "writer")
INJECTED = "pods get container credentials; the association with the role is EKS's"


@pytest.fixture
def scene() -> Iterator[AgentScene]:
    """Return a scene."""
    made = AgentScene()
    yield made
    made.accounts.close()


def test_first_association(scene: AgentScene) -> None:
    """Finalizers first, then the association with its tags, then the status and one Event; no trust is written."""
    scene.has_binding(agent_body())
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert set(scene.eks.there[APP].tags) == {OWNER_TAG, BINDING_TAG}
    assert scene.cluster.writes == [("guard", "team-a/b"), ("status", "team-a/b")]
    assert scene.guarded == ["prod"]
    message = f"EKS cluster blue in eu-central-1 associates 1 service account of this binding with {ROLE}"
    assert scene.ready() == ("True", "TrustApplied", message)
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustApplied"]
    assert scene.notes.associations == [(ROLE, "blue", 1, 1)]
    assert scene.aws.calls["write"] == 0
    assert scene.aws.calls["read"] == 1


def test_nothing_to_do_writes_nothing(scene: AgentScene) -> None:
    """Neither at the next look, nor after a restart, which trusts the status."""
    scene.settled()
    assert scene.run() is Next.RESYNC
    scene.restart()
    assert scene.work.is_in_step(ROLE)
    assert scene.run() is Next.RESYNC
    assert (scene.eks.written, scene.cluster.writes, scene.cluster.events) == (0, [], [])
    assert scene.eks.calls == {"listed": 2, "described": 2}


def test_only_what_matters_is_described(scene: AgentScene) -> None:
    """However many associations a namespace has."""
    for n in range(20):
        scene.eks.has(Subject("team-a", f"other-{n}"), OTHER_ROLE)
    scene.settled()
    scene.run()
    assert scene.eks.calls == {"listed": 1, "described": 1}


def test_binding_that_changed_meanwhile_is_left_out(scene: AgentScene) -> None:
    """One that could not get its finalizer waits, and nothing is made for it; the others go on."""
    scene.has_binding(agent_body("goes", serviceAccountNames=["x"]))
    scene.has_binding(agent_body("stays", serviceAccountNames=["y"]))

    def goes() -> None:
        assert scene.eks.calls == {}
        del scene.cluster.objects[("RoleBinding", "team-a/goes")]

    scene.cluster.before_guard.append(goes)
    scene.run()
    assert scene.eks.roles() == {"team-a/y": str(ROLE)}


def test_drift_is_repaired_quietly(scene: AgentScene) -> None:
    """Deleted, or moved to another role; the binding was Ready all the time."""
    scene.settled()
    del scene.eks.there[APP]
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    scene.eks.move(scene.eks.there[APP], str(OTHER_ROLE))
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert (scene.cluster.writes, scene.cluster.events) == ([], [])


def test_target_role_that_somebody_added(scene: AgentScene) -> None:
    """The association is made anew without it, with our tags."""
    scene.settled()
    before = scene.eks.there[APP]
    scene.eks.there[APP] = replace(before, target=str(OTHER_ROLE))
    scene.run()
    after = scene.eks.there[APP]
    assert (after.gives, after.tags, after.listed == before.listed) == (str(ROLE), before.tags, False)
    assert scene.cluster.writes == []


def test_accounts_that_are_selected(scene: AgentScene) -> None:
    """Associations follow labels; a selector that matches nobody is told so."""
    scene.registry.service_accounts["team-a"] = {"app": {"tier": "x"}, "writer": {"tier": "x"}, "other": {}}
    body = agent_body(serviceAccountSelector={"matchLabels": {"tier": "x"}})
    scene.settled(body)
    assert set(scene.eks.roles()) == {"team-a/app", "team-a/writer"}
    scene.registry.service_accounts["team-a"]["app"] = {}
    scene.restart()
    assert not scene.work.is_in_step(ROLE)
    scene.run()
    assert set(scene.eks.roles()) == {"team-a/writer"}
    scene.registry.service_accounts["team-a"]["writer"] = {}
    scene.run()
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", "NoSubjects")


def test_foreign_association_with_this_role(scene: AgentScene) -> None:
    """It is as good, is told, and stays as it is when the binding goes."""
    foreign = scene.eks.has(APP, ROLE)
    scene.settled()
    assert scene.ready()[2].endswith("; somebody else keeps the association of app, and it names the same role")
    scene.restart()
    assert scene.work.is_in_step(ROLE)
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.there == {APP: foreign}
    assert scene.eks.written == 0


def test_foreign_association_with_another_role(scene: AgentScene) -> None:
    """It is never changed; the message says where, and how it is deleted; then ours takes its place."""
    foreign = scene.eks.has(APP, OTHER_ROLE)
    scene.has_binding(agent_body(serviceAccountNames=["app", "writer"]))
    assert scene.run() is Next.RETRY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "AssociationTaken")
    assert f"EKS cluster blue associates service account team-a/app with {OTHER_ROLE} already" in message
    assert f"--cluster-name blue --region eu-central-1 --association-id {foreign.listed.id}" in message
    assert scene.eks.there[APP] == foreign
    assert scene.eks.roles()["team-a/writer"] == str(ROLE)
    del scene.eks.there[APP]
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"


def test_role_that_does_not_trust_eks(scene: AgentScene) -> None:
    """The association is made all the same, and the message has the statement that lacks; conditions count."""
    elsewhere = {**STATEMENT, "Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "team-b"}}}
    scene.aws.roles[ROLE] = TrustDocument((OPS, elsewhere))
    scene.has_binding(agent_body())
    assert scene.run() is Next.RETRY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "PodIdentityUntrusted")
    assert 'expects "team-b" but the request has "team-a"' in message
    assert '"Service": "pods.eks.amazonaws.com"' in message
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    scene.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT))
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"


def test_role_that_eks_refuses(scene: AgentScene) -> None:
    """EKS's own words about a trust policy say less than ours."""
    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.eks.errors["create"] = [AwsError("Trust policy is invalid", code="InvalidParameterException")] * 3
    scene.has_binding(agent_body())
    assert scene.run() is Next.RETRY
    assert scene.ready()[1] == "PodIdentityUntrusted"
    scene.aws.roles[ROLE] = TrustDocument((OPS, STATEMENT))
    for _ in range(2):  # the first of them may be over in a moment
        assert scene.run() is Next.RETRY
    assert scene.ready()[1:] == (
        "AwsFailed",
        "Trust policy is invalid (InvalidParameterException); it is tried again by itself",
    )


def _withdraw(scene: AgentScene) -> None:
    scene.registry.grants.clear()


def _break(scene: AgentScene) -> None:
    scene.change(audience="a b")


def _claim(scene: AgentScene) -> None:
    scene.has_binding(agent_body("older", created="2025-01-01T00:00:00Z", roleArn=str(OTHER_ROLE), profile="x"))


def _ask_consent(scene: AgentScene) -> None:
    scene.has_account(account_body(eks=EKS, requireRoleConsent=True))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_withdraw, "NotGranted"),
        (_claim, "ProfileConflict"),
        (_ask_consent, "NoRoleConsent"),
    ],
)
def test_what_is_not_wanted_any_more_goes(scene: AgentScene, change: Callable[[AgentScene], None], reason: str) -> None:
    """And the binding says why, in conditions and one Event."""
    scene.settled()
    change(scene)
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", reason)
    assert [t.reason for _, name, t in scene.cluster.events if name == "b"] == [reason]


def test_two_bindings_of_one_account(scene: AgentScene) -> None:
    """The association passes from one role to the other in whatever order the two roles are worked on."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((STATEMENT,))
    scene.settled()
    _claim(scene)
    scene.run(OTHER_ROLE)
    assert scene.eks.roles() == {"team-a/app": str(OTHER_ROLE)}
    assert scene.eks.there[APP].tags[BINDING_TAG] == "team-a/older"
    scene.run(ROLE)
    assert scene.eks.roles() == {"team-a/app": str(OTHER_ROLE)}
    assert scene.ready("older")[0] == "True"
    scene.delete("older")
    scene.run(OTHER_ROLE)
    assert scene.eks.roles() == {}
    scene.run(ROLE)
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}


def test_older_binding_that_comes_meanwhile(scene: AgentScene) -> None:
    """What was judged before it came writes nothing against it, nor a status; its turn comes again."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((STATEMENT,))

    def older() -> None:
        _claim(scene)
        entry = scene.known("older")
        scene.work.associations.claim(OTHER_ROLE, [v for v in scene.work._verdicts(OTHER_ROLE) if v.entry == entry])

    scene.eks.meanwhile["listed"] = [older]
    scene.has_binding(agent_body())
    scene.run(ROLE)
    assert scene.eks.written == 0
    assert ("status", "team-a/b") not in scene.cluster.writes


def test_observe(scene: AgentScene) -> None:
    """Nothing is written; the difference is told, also for a binding that goes, which is kept."""
    scene.settled()
    scene.has_account(account_body(eks=EKS, driftPolicy="Observe"))
    scene.change(serviceAccountNames=["writer"])
    assert scene.run() is Next.RETRY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "DriftObserved")
    assert message.endswith("it differs: delete the association of team-a/app, create the association of team-a/writer")
    scene.delete()
    assert scene.run() is Next.RETRY
    assert scene.exists()
    assert scene.ready()[2].startswith("its associations could not be deleted, so it is kept: AWSAccount prod has")
    assert scene.eks.written == 0


def test_many_bindings_of_a_role_are_listed_once(scene: AgentScene) -> None:
    """For each namespace, whatever their number."""
    for n in range(5):
        scene.has_binding(agent_body(f"b{n}", serviceAccountNames=[f"app-{n}"]))
    scene.has_binding(agent_body("elsewhere", "team-b"))
    scene.run()
    assert (scene.eks.calls["listed"], scene.eks.calls["create"]) == (2, 6)


def test_both_methods_on_one_role(scene: AgentScene) -> None:
    """The trust policy is for the one, the association for the other."""
    scene.has_binding(binding_body("web", serviceAccountNames=["web"]))
    scene.settled()
    assert scene.trusted() == ["web"]
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert scene.ready("web")[2] == f"{ROLE} trusts 1 service account of this binding"
    assert scene.ready()[2].startswith("EKS cluster blue")
    scene.restart()
    assert scene.work.is_in_step(ROLE)


@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceNotFoundException"])
def test_somebody_was_faster(scene: AgentScene, code: str) -> None:
    """What EKS says of a write that came late is answered by another look."""

    def created() -> None:
        scene.eks.has(APP, ROLE)

    scene.eks.meanwhile["create"] = [created]
    scene.eks.errors["create"] = [AwsError("too late", code=code, operation="eks:CreatePodIdentityAssociation")]
    scene.settled()
    assert "somebody else keeps the association of app" in scene.ready()[2]


def test_somebody_made_room_meanwhile(scene: AgentScene) -> None:
    """What the last look shows counts, not what an earlier one did."""
    scene.eks.has(APP, OTHER_ROLE)
    scene.eks.meanwhile["create"] = [lambda: scene.eks.there.pop(APP)]
    scene.eks.errors["create"] = [AwsError("too late", code="ResourceInUseException", operation="eks:Create")]
    scene.has_binding(agent_body(serviceAccountNames=["app", "writer"]))
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"
    assert scene.eks.roles() == {"team-a/app": str(ROLE), "team-a/writer": str(ROLE)}


def test_without_a_cluster(scene: AgentScene) -> None:
    """Only the pods are seen to, as without an AWSAccount; what was made before stays, and is told at the end."""
    scene.settled()
    scene.has_account(account_body())
    assert scene.run() is Next.RESYNC
    assert scene.ready() == ("True", "TrustApplied", INJECTED)
    scene.restart()
    assert scene.work.is_in_step(ROLE)
    scene.delete()
    scene.run()
    assert not scene.exists()
    (event,) = [t for _, _, t in scene.cluster.events if t.reason == "AccountUnknown"]
    assert "names no EKS cluster any more (spec.eks)" in event.message
    assert f"{OWNER_TAG}=" in event.message
    assert scene.eks.written == 0


def test_cluster_that_is_named_later(scene: AgentScene) -> None:
    """Then the binding is not in step, whether it was guarded before or not."""
    scene.has_account(account_body())
    scene.settled()
    assert scene.ready()[2] == INJECTED
    assert scene.cluster.get("RoleBinding", "team-a/b") is not None
    scene.has_account(account_body(eks=EKS))
    scene.restart()
    assert not scene.work.is_in_step(ROLE)
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    for other in ({"clusterName": "green"}, {"region": "eu-west-1"}):
        scene.has_account(account_body(eks=EKS | other))
        scene.restart()
        assert not scene.work.is_in_step(ROLE)


def _status_gone(scene: AgentScene) -> None:
    body = scene.cluster.objects[("RoleBinding", "team-a/b")]
    del body["status"]
    scene.change()


def _unguarded(scene: AgentScene) -> None:
    body = scene.cluster.objects[("RoleBinding", "team-a/b")]
    body["metadata"]["finalizers"] = []
    scene.has_binding(body)


def _changed(scene: AgentScene) -> None:
    scene.change(serviceAccountNames=["writer"])


@pytest.mark.parametrize("change", [_status_gone, _unguarded, _changed, _withdraw, AgentScene.delete, _break])
def test_not_in_step(scene: AgentScene, change: Callable[[AgentScene], Any]) -> None:
    """After a restart, whatever differs from what the status says is looked at."""
    scene.settled()
    change(scene)
    scene.restart()
    assert not scene.work.is_in_step(ROLE)


def test_namespace_that_is_slow_holds_no_threads(scene: AgentScene) -> None:
    """More roles than the account has threads wait for one namespace, and the account's other work goes on."""
    roles = [RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/r{n}") for n in range(THREADS_PER_ACCOUNT + 1)]
    for n, role in enumerate(roles):
        scene.aws.roles[role] = scene.aws.roles[ROLE]
        scene.has_binding(agent_body(f"b{n}", serviceAccountNames=[f"a{n}"], roleArn=str(role)))
    scene.has_binding(binding_body("web", "team-b"))
    answers = threading.Event()
    scene.eks.meanwhile["listed"] = [lambda: answers.wait(30)]

    async def guard(_account: AwsAccount) -> None:
        pass

    async def main() -> None:
        waiting = [asyncio.create_task(scene.work.run(role, guard)) for role in roles]
        while scene.aws.calls["read"] < len(roles):  # noqa: ASYNC110 - what threads count sets no event
            await asyncio.sleep(0.01)
        await asyncio.wait_for(scene.work.run(ROLE, guard), 10)
        assert not any(task.done() for task in waiting)
        answers.set()
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert scene.ready("web", "team-b")[0] == "True"
    assert len(scene.eks.roles()) == len(roles)
