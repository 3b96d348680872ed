"""Bindings by EKS Pod Identity that end, and EKS or IAM when they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from support.association_scene import APP, EKS, AssociationScene, pod_identity_body
from support.bodies import OPS, OTHER_ROLE, ROLE, account_body
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, ThrottledError, UnreachableError
from trustbind.identity.subjects import Subject
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.context import Next

LIST = "eks:ListPodIdentityAssociations of cluster blue"
DENIED = AccessDeniedError("not authorized", code="AccessDeniedException", operation=LIST)
THROTTLED = ThrottledError("Rate exceeded", code="ThrottlingException", operation=LIST)
UNREACHABLE = UnreachableError("no answer", operation=LIST)
NO_CLUSTER = NotFoundError("No cluster found", code="ResourceNotFoundException", operation=LIST)
UNREADABLE = AccessDeniedError("not authorized", code="AccessDenied", operation=f"iam:GetRole on {ROLE}")


@pytest.fixture
def scene() -> Iterator[AssociationScene]:
    """Return a scene."""
    made = AssociationScene()
    yield made
    made.close()


def test_deleted(scene: AssociationScene) -> None:
    """The association goes first, then the finalizer; one Event tells."""
    scene.settled()
    scene.delete()
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {}
    assert not scene.exists()
    assert [(t.status, t.reason) for _, t in scene.events] == [("True", "TrustRevoked")]
    assert scene.writes == [("release", "team-a/b")]


def test_deleted_after_a_restart(scene: AssociationScene) -> None:
    """What the status says it named goes as well as what it names."""
    scene.settled(pod_identity_body(serviceAccountNames=["app", "writer"]))
    scene.change(serviceAccountNames=["writer"])
    scene.delete()
    scene.restart()
    scene.run()
    assert scene.eks.roles() == {}
    assert not scene.exists()


def test_deleted_before_anything_was_made(scene: AssociationScene) -> None:
    """A binding without our finalizer goes by itself: nothing is asked of EKS for it."""
    scene.has_binding(pod_identity_body())
    scene.delete()
    scene.run()
    assert scene.eks.calls == {}
    assert scene.writes == []


def test_retained(scene: AssociationScene) -> None:
    """The association stays and is nobody's: the next binding finds a foreign one."""
    scene.settled(pod_identity_body(deletionPolicy="Retain"))
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.there[APP].role == str(ROLE)
    assert scene.eks.there[APP].tags == {}
    assert [t.reason for _, t in scene.events] == ["TrustRetained"]


def test_retained_only_while_granted(scene: AssociationScene) -> None:
    """Whoever lost the grant keeps nothing."""
    scene.settled(pod_identity_body(deletionPolicy="Retain"))
    scene.grants.clear()
    scene.eks.errors["delete"] = [DENIED]
    scene.run()
    assert scene.ready()[1] == "AccessDenied"
    assert scene.ready()[2].startswith("no RoleGrant")
    assert "its associations could not be deleted" in scene.ready()[2]
    scene.delete()
    scene.run()
    assert scene.eks.roles() == {}


def test_lost_grant_is_not_forgotten(scene: AssociationScene) -> None:
    """Nor when something else is in the way meanwhile, before which nobody asks for grants."""
    scene.settled(pod_identity_body(deletionPolicy="Retain", created="2026-01-05T00:00:00Z"))
    scene.grants.clear()
    scene.eks.errors["delete"] = [DENIED] * 2
    scene.run()
    scene.has_binding(pod_identity_body("older"))
    scene.run()
    assert scene.ready()[2].startswith("the older RoleBinding team-a/older has")
    scene.delete()
    scene.run()
    assert scene.eks.roles() == {}


def _forge(scene: AssociationScene, name: str, *subjects: Subject) -> None:
    scene.bodies[f"team-a/{name}"]["status"]["subjects"] = [str(s) for s in subjects]


def test_status_reaches_no_other_namespace(scene: AssociationScene) -> None:
    """Nor is anything retained for which only a status says that it was the binding's."""
    victim, former = Subject("team-b", "victim"), Subject("team-a", "former")
    scene.has_binding(pod_identity_body("former", serviceAccountNames=["former"]))
    scene.settled(pod_identity_body("victim", "team-b", serviceAccountNames=["victim"]))
    scene.has_binding(pod_identity_body("forged", deletionPolicy="Retain"))
    scene.run()
    _forge(scene, "forged", victim, former)
    scene.delete("forged")
    scene.grants["all"] = replace(scene.grants["all"], service_account_names=("app",))
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert scene.eks.there[APP].tags == {}


def test_another_binding_wants_the_same(scene: AssociationScene) -> None:
    """The association passes to it, by its tag, when the older one of the same role goes."""
    scene.settled()
    scene.has_binding(pod_identity_body("next", created="2026-02-01T00:00:00Z"))
    scene.delete()
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert scene.eks.there[APP].tags["trustbind.dev/binding"] == "team-a/next"
    assert not scene.exists()
    assert scene.ready("next")[0] == "True"


@pytest.mark.parametrize("error", [DENIED, THROTTLED, UNREACHABLE, NO_CLUSTER])
def test_end_that_fails(scene: AssociationScene, error: AwsError) -> None:
    """Nobody is let go whose association may be there; the next try does it, after a restart, too."""
    scene.settled()
    scene.delete()
    scene.eks.errors["listed"] = [error]
    assert scene.run() is Next.RETRY
    assert scene.exists()
    assert scene.ready()[2].startswith("its associations could not be deleted, so it is kept: ")
    assert scene.stored()["subjects"] == ["system:serviceaccount:team-a:app"]
    scene.restart()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


def test_role_that_is_gone(scene: AssociationScene) -> None:
    """A live binding says so, and a deleted one goes with its association all the same. The survey finds a new role."""
    scene.settled()
    del scene.roles[ROLE]
    assert scene.run() is Next.NEVER
    assert scene.ready()[:2] == ("False", "RoleNotFound")
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


def test_role_that_cannot_be_read(scene: AssociationScene) -> None:
    """Nothing is made for a role of which nobody knows whom it trusts; what is to go goes."""
    scene.settled(pod_identity_body("old"))
    scene.has_binding(pod_identity_body("new", serviceAccountNames=["writer"]))
    scene.delete("old")
    scene.unreadable = UNREADABLE
    assert scene.run() is Next.RETRY
    assert scene.eks.roles() == {}
    assert scene.ready("new")[1] == "AccessDenied"
    assert "allow iam:GetRole" in scene.ready("new")[2]


@pytest.mark.parametrize(
    ("error", "reason", "remedy"),
    [
        (DENIED, "AccessDenied", "eks:ListPodIdentityAssociations, and to associate"),
        (THROTTLED, "Throttled", "trustbind retries automatically"),
        (UNREACHABLE, "AccountUnreachable", "trustbind retries automatically"),
        (NO_CLUSTER, "EksClusterNotFound", "correct spec.eks of AWSAccount prod"),
    ],
)
def test_failures_are_told(scene: AssociationScene, error: AwsError, reason: str, remedy: str) -> None:
    """In the condition of a new binding at once, and to the observer."""
    scene.eks.errors["listed"] = [error]
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RETRY
    assert scene.ready()[:2] == ("False", reason)
    assert remedy in scene.ready()[2]
    assert [r for _, r, _ in scene.notes.failures] == [reason]
    assert scene.doubted == set()  # the account is fine as far as anybody knows
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"


def test_one_that_was_in_order_is_believed(scene: AssociationScene) -> None:
    """Busy for a moment changes no status; busy three times in a row does."""
    scene.settled()
    scene.eks.errors["listed"] = [THROTTLED] * 3
    for _ in range(2):
        assert scene.run() is Next.RETRY
        assert scene.ready()[0] == "True"
    scene.run()
    assert scene.ready()[:2] == ("False", "Throttled")


def _withdraw(scene: AssociationScene) -> None:
    scene.grants.clear()


def _take(scene: AssociationScene) -> None:
    scene.eks.there[APP] = replace(scene.eks.there[APP], role=str(OTHER_ROLE), tags={})


def _keep(scene: AssociationScene) -> None:
    scene.delete()
    scene.eks.errors["listed"] = [DENIED]


@pytest.mark.parametrize("change", [_withdraw, _take, _keep])
def test_one_that_is_not_in_order_keeps_its_reason(
    scene: AssociationScene, change: Callable[[AssociationScene], None]
) -> None:
    """A moment says nothing about what is in the way, and is told to nobody."""
    scene.settled()
    change(scene)
    scene.run()
    before = scene.stored()
    scene.events.clear()
    scene.eks.errors["listed"] = [THROTTLED] * 3
    for _ in range(2):
        assert scene.run() is Next.RETRY
        assert scene.stored() == before
    assert scene.events == []
    scene.run()
    assert scene.ready()[:2] == ("False", "Throttled")


def test_refusal_is_told_whatever_else_fails(scene: AssociationScene) -> None:
    """Or it would not be known when the binding is deleted."""
    scene.settled()
    scene.grants.clear()
    scene.eks.errors["listed"] = [THROTTLED]
    scene.run()
    assert scene.ready()[:2] == ("False", "Throttled")
    assert scene.ready()[2].startswith("no RoleGrant")


def test_lasting_failure_does_not_count_as_a_busy_moment(scene: AssociationScene) -> None:
    """Of two bindings in two namespaces, the one that is in order is believed as long as ever."""
    scene.settled()
    scene.has_binding(pod_identity_body("denied", "team-b"))
    for _ in range(3):
        scene.eks.errors["create"] = [DENIED]
        scene.run()
    scene.eks.errors["listed"] = [THROTTLED]
    scene.run()
    assert scene.ready()[0] == "True"


def test_unreadable_role_is_believed_no_longer(scene: AssociationScene) -> None:
    """The same for a role that IAM does not show."""
    scene.settled()
    scene.read_errors = [ThrottledError("Rate exceeded", operation=f"iam:GetRole on {ROLE}")] * 3
    for expected in ("True", "True", "False"):
        scene.run()
        assert scene.ready()[0] == expected
    scene.run()
    assert scene.ready()[0] == "True"


def test_what_was_done_before_a_failure_is_told_as_done(scene: AssociationScene) -> None:
    """Bindings of one role fare differently, and the account that failed is known after it."""
    scene.has_binding(pod_identity_body("one", serviceAccountNames=["a"]))
    scene.has_binding(pod_identity_body("two", serviceAccountNames=["b"]))
    scene.eks.meanwhile["create"] = [lambda: None, lambda: scene.eks.errors.update(create=[DENIED])]
    assert scene.run() is Next.RETRY
    assert scene.ready("one")[0] == "True"
    assert scene.ready("two")[:2] == ("False", "AccessDenied")
    assert scene.eks.roles() == {"team-a/a": str(ROLE)}


def test_what_keeps_an_association_from_being_made_is_told_before_the_trust(scene: AssociationScene) -> None:
    """One thing after the other: without the association, nobody comes to the role's trust policy."""
    scene.roles[ROLE] = TrustDocument((OPS,))
    scene.eks.errors["create"] = [DENIED]
    scene.has_binding(pod_identity_body())
    scene.run()
    assert scene.ready()[1] == "AccessDenied"
    scene.run()
    assert scene.ready()[1] == "PodIdentityUntrusted"


def test_account_that_cannot_be_entered(scene: AssociationScene) -> None:
    """The reason is the account's."""
    scene.sessions.closed = AccessDeniedError("no", code="AccessDenied", operation="sts:AssumeRole on manager")
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RETRY
    assert scene.ready()[:2] == ("False", "AccountAccessDenied")
    assert scene.doubted == {"prod"}
    assert scene.eks.calls == {}


def test_credentials_of_another_account(scene: AssociationScene) -> None:
    """That is told as such for what is to go, too."""
    scene.settled()
    scene.delete()
    scene.sessions.account_id = "111122223333"
    scene.has_account(account_body(eks=EKS, externalId="other"))
    assert scene.run() is Next.RETRY
    assert scene.exists()
    assert scene.ready()[1] == "AccountMismatch"


def test_association_that_vanishes_while_it_is_looked_at(scene: AssociationScene) -> None:
    """It is made again."""
    scene.settled()
    scene.eks.meanwhile["described"] = [scene.eks.there.clear]
    scene.run()
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}


def test_role_without_bindings_is_looked_at_until_it_is_clean(scene: AssociationScene) -> None:
    """A search found something, EKS refused once, and then all is gone."""
    scene.eks.has(Subject("team-x", "gone"), OTHER_ROLE, of="b")
    scene.roles[OTHER_ROLE] = scene.roles[ROLE]
    assert scene.survey() == {OTHER_ROLE}
    scene.eks.errors["delete"] = [THROTTLED]
    assert scene.run(OTHER_ROLE) is Next.RETRY
    assert scene.run(OTHER_ROLE) is Next.NEVER
    assert scene.eks.roles() == {}


def test_what_fails_in_one_namespace_stops_no_other(scene: AssociationScene) -> None:
    """What has to go goes in every namespace, and each binding is told what came of its own."""
    scene.settled(pod_identity_body("zed", "team-z"))
    scene.grants["all"] = replace(scene.grants["all"], selector=None, namespaces=("team-a",))
    scene.has_binding(pod_identity_body())
    scene.eks.errors["create"] = [DENIED]
    assert scene.run() is Next.RETRY
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", "AccessDenied")
    assert scene.ready("zed", "team-z")[:2] == ("False", "NotGranted")


def test_no_answer_is_not_waited_for_in_each_namespace(scene: AssociationScene) -> None:
    """The bindings of all of them are told."""
    for namespace in ("team-a", "team-b", "team-c"):
        scene.has_binding(pod_identity_body(namespace=namespace))
    scene.eks.errors["listed"] = [UNREACHABLE]
    assert scene.run() is Next.RETRY
    assert scene.eks.calls == {"listed": 1}
    assert [r for _, r, _ in scene.notes.failures] == ["AccountUnreachable"]
    assert {scene.ready(namespace=n)[1] for n in ("team-a", "team-b", "team-c")} == {"AccountUnreachable"}
