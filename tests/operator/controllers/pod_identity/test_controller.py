"""Bindings by EKS Pod Identity: their associations are kept, over a cluster, an AWS and an EKS in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.association_scene import APP, EKS, AssociationScene, pod_identity_body
from support.bodies import ACCOUNT, OPS, OTHER_ROLE, ROLE, account_body
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG, STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.call_limiter import THREADS
from trustbind_aws.permits import NotLeadingError
from trustbind_operator.controllers.context import Next

WRITER = Subject("team-a", "writer")
INJECTED = "pods get container credentials; the association with the role is EKS's"


@pytest.fixture
def scene() -> Iterator[AssociationScene]:
    """Return a scene."""
    made = AssociationScene()
    yield made
    made.close()


def test_first_association(scene: AssociationScene) -> None:
    """The association with its tags, then the status, whose change is one Event."""
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert set(scene.eks.there[APP].tags) == {OWNER_TAG, BINDING_TAG}
    assert scene.writes == [("status", "team-a/b")]
    message = f"EKS cluster blue in eu-central-1 associates 1 service account of this binding with {ROLE}"
    assert scene.ready() == ("True", "TrustApplied", message)
    assert [t.reason for _, t in scene.events] == ["TrustApplied"]
    assert scene.notes.associations == [(ROLE, "blue", 1, 1)]


def test_nothing_to_do_writes_nothing(scene: AssociationScene) -> None:
    """Neither at the next look, nor after a restart, which trusts the status."""
    scene.settled()
    assert scene.run() is Next.RESYNC
    scene.restart()
    assert scene.is_in_step()
    assert scene.run() is Next.RESYNC
    assert (scene.eks.written, scene.writes, scene.events) == (0, [], [])
    assert scene.eks.calls == {"listed": 2, "described": 2}


def test_only_what_matters_is_described(scene: AssociationScene) -> None:
    """However many associations a namespace has."""
    for n in range(20):
        scene.eks.has(Subject("team-a", f"other-{n}"), OTHER_ROLE)
    scene.settled()
    scene.run()
    assert scene.eks.calls == {"listed": 1, "described": 1}


def test_drift_is_repaired_quietly(scene: AssociationScene) -> None:
    """Deleted, or moved to another role; the binding was Ready all the time."""
    scene.settled()
    del scene.eks.there[APP]
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    scene.eks.there[APP] = replace(scene.eks.there[APP], role=str(OTHER_ROLE))
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert (scene.writes, scene.events) == ([], [])


def test_target_role_that_another_writer_added(scene: AssociationScene) -> None:
    """The association is made anew without it, with our tags."""
    scene.settled()
    before = scene.eks.there[APP]
    scene.eks.there[APP] = replace(before, target=str(OTHER_ROLE))
    scene.run()
    after = scene.eks.there[APP]
    assert (after.gives, after.tags, after.listed == before.listed) == (str(ROLE), before.tags, False)
    assert scene.writes == []


def test_accounts_that_are_selected(scene: AssociationScene) -> None:
    """Associations follow labels; a selector that matches nobody is told so."""
    scene.service_accounts["team-a"] = {"app": {"tier": "x"}, "writer": {"tier": "x"}, "other": {}}
    body = pod_identity_body(serviceAccountSelector={"matchLabels": {"tier": "x"}})
    scene.settled(body)
    assert set(scene.eks.roles()) == {"team-a/app", "team-a/writer"}
    scene.service_accounts["team-a"]["app"] = {}
    scene.restart()
    assert not scene.is_in_step()
    scene.run()
    assert set(scene.eks.roles()) == {"team-a/writer"}
    scene.service_accounts["team-a"]["writer"] = {}
    scene.run()
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", "NoSubjects")


def test_foreign_association_with_this_role(scene: AssociationScene) -> None:
    """It is as good, is told, and stays as it is when the binding goes."""
    foreign = scene.eks.has(APP, ROLE)
    scene.settled()
    assert scene.ready()[2].endswith("; another owner keeps the association of app, and it names the same role")
    scene.restart()
    assert scene.is_in_step()
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.there == {APP: foreign}
    assert scene.eks.written == 0


def test_foreign_association_with_another_role(scene: AssociationScene) -> None:
    """It is never changed; the message says where, and how it is deleted; then ours takes its place."""
    foreign = scene.eks.has(APP, OTHER_ROLE)
    scene.has_binding(pod_identity_body(serviceAccountNames=["app", "writer"]))
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


def test_role_that_does_not_trust_eks(scene: AssociationScene) -> None:
    """The association is made all the same, and the message has the statement that lacks; conditions count."""
    elsewhere = {**STATEMENT, "Condition": {"StringEquals": {"aws:RequestTag/kubernetes-namespace": "team-b"}}}
    scene.roles[ROLE] = TrustDocument((OPS, elsewhere))
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RETRY
    status, reason, message = scene.ready()
    assert (status, reason) == ("False", "PodIdentityUntrusted")
    assert 'expects "team-b" but the request has "team-a"' in message
    assert '"Service": "pods.eks.amazonaws.com"' in message
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    scene.roles[ROLE] = TrustDocument((OPS, STATEMENT))
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"


def test_role_that_eks_refuses(scene: AssociationScene) -> None:
    """EKS's own words about a trust policy say less than ours."""
    scene.roles[ROLE] = TrustDocument((OPS,))
    scene.eks.errors["create"] = [AwsError("Trust policy is invalid", code="InvalidParameterException")] * 3
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RETRY
    assert scene.ready()[1] == "PodIdentityUntrusted"
    scene.roles[ROLE] = TrustDocument((OPS, STATEMENT))
    for _ in range(2):  # the first of them may be over in a moment
        assert scene.run() is Next.RETRY
    assert scene.ready()[1:] == (
        "AwsFailed",
        "Trust policy is invalid (InvalidParameterException); trustbind retries automatically",
    )


def _withdraw(scene: AssociationScene) -> None:
    scene.grants.clear()


def _break(scene: AssociationScene) -> None:
    scene.change(audience="a b")


def _claim(scene: AssociationScene) -> None:
    scene.has_binding(pod_identity_body("older", created="2025-01-01T00:00:00Z", roleArn=str(OTHER_ROLE), profile="x"))


def _ask_consent(scene: AssociationScene) -> None:
    scene.has_account(account_body(eks=EKS, requireRoleConsent=True))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_withdraw, "NotGranted"),
        (_claim, "ProfileConflict"),
        (_ask_consent, "NoRoleConsent"),
    ],
)
def test_what_is_not_wanted_any_more_goes(
    scene: AssociationScene, change: Callable[[AssociationScene], None], reason: str
) -> None:
    """And the binding says why, in conditions and one Event."""
    scene.settled()
    change(scene)
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", reason)
    assert [t.reason for name, t in scene.events if name == "b"] == [reason]


def test_two_bindings_of_one_account(scene: AssociationScene) -> None:
    """The association passes from one role to the other in whatever order the two roles are worked on."""
    scene.roles[OTHER_ROLE] = TrustDocument((STATEMENT,))
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


def test_older_binding_that_comes_meanwhile(scene: AssociationScene) -> None:
    """What was judged before it came writes nothing against it, nor a status; its turn comes again."""
    scene.roles[OTHER_ROLE] = TrustDocument((STATEMENT,))

    def older() -> None:
        _claim(scene)
        scene.controller.claim(OTHER_ROLE, [d for d in scene.decide(OTHER_ROLE) if d.stored.ref.name == "older"])

    scene.eks.meanwhile["listed"] = [older]
    scene.has_binding(pod_identity_body())
    scene.run(ROLE)
    assert scene.eks.written == 0
    assert ("status", "team-a/b") not in scene.writes


def test_observe(scene: AssociationScene) -> None:
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


def test_many_bindings_of_a_role_are_listed_once(scene: AssociationScene) -> None:
    """For each namespace, whatever their number."""
    for n in range(5):
        scene.has_binding(pod_identity_body(f"b{n}", serviceAccountNames=[f"app-{n}"]))
    scene.has_binding(pod_identity_body("elsewhere", "team-b"))
    scene.run()
    assert (scene.eks.calls["listed"], scene.eks.calls["create"]) == (2, 6)


@pytest.mark.parametrize("code", ["ResourceInUseException", "ResourceNotFoundException"])
def test_another_writer_was_faster(scene: AssociationScene, code: str) -> None:
    """What EKS says of a write that came late is answered by another look."""

    def created() -> None:
        scene.eks.has(APP, ROLE)

    scene.eks.meanwhile["create"] = [created]
    scene.eks.errors["create"] = [AwsError("too late", code=code, operation="eks:CreatePodIdentityAssociation")]
    scene.settled()
    assert "another owner keeps the association of app" in scene.ready()[2]


def test_another_writer_made_room_meanwhile(scene: AssociationScene) -> None:
    """What the last look shows counts, not what an earlier one did."""
    scene.eks.has(APP, OTHER_ROLE)
    scene.eks.meanwhile["create"] = [lambda: scene.eks.there.pop(APP)]
    scene.eks.errors["create"] = [AwsError("too late", code="ResourceInUseException", operation="eks:Create")]
    scene.has_binding(pod_identity_body(serviceAccountNames=["app", "writer"]))
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"
    assert scene.eks.roles() == {"team-a/app": str(ROLE), "team-a/writer": str(ROLE)}


def test_without_a_cluster(scene: AssociationScene) -> None:
    """Only the pods are seen to, as without an AWSAccount; what was made before stays, and is told at the end."""
    scene.settled()
    scene.has_account(account_body())
    assert scene.run() is Next.RESYNC
    assert scene.ready() == ("True", "TrustApplied", INJECTED)
    scene.restart()
    assert scene.is_in_step()
    scene.delete()
    scene.run()
    assert not scene.exists()
    (event,) = [t for _, t in scene.events if t.reason == "AccountUnknown"]
    assert "names no EKS cluster any more (spec.eks)" in event.message
    assert f"{OWNER_TAG}=" in event.message
    assert scene.eks.written == 0


def test_cluster_that_is_named_later(scene: AssociationScene) -> None:
    """Then the binding is not in step, whether it was guarded before or not."""
    scene.has_account(account_body())
    scene.settled()
    assert scene.ready()[2] == INJECTED
    assert scene.exists()
    scene.has_account(account_body(eks=EKS))
    scene.restart()
    assert not scene.is_in_step()
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    for other in ({"clusterName": "green"}, {"region": "eu-west-1"}):
        scene.has_account(account_body(eks=EKS | other))
        scene.restart()
        assert not scene.is_in_step()


def _status_gone(scene: AssociationScene) -> None:
    body = scene.bodies["team-a/b"]
    del body["status"]
    scene.change()


def _unguarded(scene: AssociationScene) -> None:
    body = scene.bodies["team-a/b"]
    body["metadata"]["finalizers"] = []
    scene.has_binding(body)


def _changed(scene: AssociationScene) -> None:
    scene.change(serviceAccountNames=["writer"])


@pytest.mark.parametrize("change", [_status_gone, _unguarded, _changed, _withdraw, AssociationScene.delete, _break])
def test_not_in_step(scene: AssociationScene, change: Callable[[AssociationScene], Any]) -> None:
    """After a restart, whatever differs from what the status says is looked at."""
    scene.settled()
    change(scene)
    scene.restart()
    assert not scene.is_in_step()


def test_slow_namespace_stops_no_other(scene: AssociationScene) -> None:
    """Runs of many roles wait for one namespace, and runs elsewhere in the AWS account go on."""
    roles = [RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/r{n}") for n in range(2 * THREADS)]
    for n, role in enumerate(roles):
        scene.roles[role] = scene.roles[ROLE]
        scene.has_binding(pod_identity_body(f"b{n}", serviceAccountNames=[f"a{n}"], roleArn=str(role)))
    scene.has_binding(pod_identity_body("web", "team-b"))
    answers = asyncio.Event()
    scene.eks.meanwhile["listed"] = [answers.wait]

    async def play() -> None:
        waiting = [asyncio.create_task(scene.reconcile(role)) for role in roles]
        await asyncio.sleep(1)
        await asyncio.wait_for(scene.reconcile(ROLE), 10)
        assert scene.eks.calls["listed"] == 2  # one run in each namespace
        assert not any(task.done() for task in waiting)
        answers.set()
        await asyncio.gather(*waiting)

    scene.play(play())
    assert scene.ready("web", "team-b")[0] == "True"
    assert len(scene.eks.roles()) == len(roles) + 1


class _Lost:
    """A guard of a process that lost its Lease after so many writes."""

    def __init__(self, writes: int) -> None:
        self._left = writes

    def deadline(self) -> float:
        """Return no bound while writes are left."""
        self._left -= 1
        if self._left < 0:
            raise NotLeadingError("the Lease was lost")
        return math.inf


def test_every_write_asks_the_guard(scene: AssociationScene) -> None:
    """A run that may not write any more ends at once, reports nothing, and what it wrote before is known."""
    scene.service_accounts["team-a"] = {"app": {"tier": "x"}, "writer": {"tier": "x"}}
    scene.has_binding(pod_identity_body(serviceAccountSelector={"matchLabels": {"tier": "x"}}))
    with pytest.raises(NotLeadingError):
        scene.run(guard=_Lost(1))
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert scene.writes == []
    scene.service_accounts["team-a"]["app"] = {}
    scene.run()
    assert scene.eks.roles() == {"team-a/writer": str(ROLE)}
    scene.change(method="WebIdentity")
    with pytest.raises(NotLeadingError):
        scene.run(guard=_Lost(0))
    assert scene.eks.roles() == {"team-a/writer": str(ROLE)}
