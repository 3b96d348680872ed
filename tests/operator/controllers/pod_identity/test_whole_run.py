"""Bindings by EKS Pod Identity through the whole run of a role: finalizers, trust policy, Events."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.bodies import ROLE, binding_body
from support.scenario_pod_identity import APP, PodIdentityScenario, pod_identity_body
from trustbind.errors import AccessDeniedError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG
from trustbind_operator.controllers.context import Next

LIST = "eks:ListPodIdentityAssociations of cluster blue"
DENIED = AccessDeniedError("not authorized", code="AccessDeniedException", operation=LIST)


@pytest.fixture
def scene() -> Iterator[PodIdentityScenario]:
    """Return a scene."""
    made = PodIdentityScenario()
    yield made
    made.close()


def test_first_association(scene: PodIdentityScenario) -> None:
    """Finalizers first, then the association with its tags, then the status and one Event; no trust is written."""
    scene.has_binding(pod_identity_body())
    assert scene.run() is Next.RESYNC
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert set(scene.eks.there[APP].tags) == {OWNER_TAG, BINDING_TAG}
    assert scene.cluster.writes == [("add_finalizer", "team-a/b"), ("patch_status", "team-a/b")]
    assert set(scene.neighbours.guarded) == {"prod"}
    message = f"EKS cluster blue in eu-central-1 associates 1 service account of this binding with {ROLE}"
    assert scene.ready() == ("True", "TrustApplied", message)
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustApplied"]
    assert scene.telemetry.associations == [(ROLE, "blue", 1, 1)]
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0
    assert scene.aws.calls["GetRole"] == 1


def test_binding_that_changed_meanwhile_is_left_out(scene: PodIdentityScenario) -> None:
    """One that could not get its finalizer waits, and nothing is made for it; the others go on."""
    scene.has_binding(pod_identity_body("goes", serviceAccountNames=["x"]))
    scene.has_binding(pod_identity_body("stays", serviceAccountNames=["y"]))

    def goes() -> None:
        assert scene.eks.calls == {}
        del scene.cluster.objects[("RoleBinding", "team-a/goes")]

    scene.cluster.before_finalizer.append(goes)
    scene.run()
    assert scene.eks.roles() == {"team-a/y": str(ROLE)}


def test_both_methods_on_one_role(scene: PodIdentityScenario) -> None:
    """The trust policy is for the one, the association for the other."""
    scene.has_binding(binding_body("web", serviceAccountNames=["web"]))
    scene.settled()
    assert scene.trusted() == ["web"]
    assert scene.eks.roles() == {"team-a/app": str(ROLE)}
    assert scene.ready("web")[2] == f"{ROLE} trusts 1 service account of this binding"
    assert scene.ready()[2].startswith("EKS cluster blue")
    scene.restart()
    assert scene.controller.is_in_step(ROLE)


def test_retained(scene: PodIdentityScenario) -> None:
    """The association stays and is nobody's: the next binding finds a foreign one."""
    scene.settled(pod_identity_body(deletionPolicy="Retain"))
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.there[APP].role == str(ROLE)
    assert scene.eks.there[APP].tags == {}
    assert [t.reason for _, _, t in scene.cluster.events] == ["TrustRetained"]
    assert scene.trusted() == []


def _switch(scene: PodIdentityScenario) -> None:
    """Have a binding that is by web identity since."""
    scene.settled()
    scene.restart()
    scene.change(method="WebIdentity")


def _break(scene: PodIdentityScenario) -> None:
    """Have a binding that cannot be read any more."""
    scene.settled()
    scene.restart()
    scene.change(audience="a b")


@pytest.mark.parametrize("end", [_switch, _break])
def test_doubt_outlasts_a_status(scene: PodIdentityScenario, end: Callable[[PodIdentityScenario], None]) -> None:
    """The status of a live binding is about its trust, and written although EKS did not answer."""
    end(scene)
    for _ in range(2):
        scene.eks.errors["listed"] = [DENIED]
        assert scene.run() is Next.RETRY
    assert scene.trusted() == (["app"] if end is _switch else [])
    scene.delete()
    scene.eks.errors["listed"] = [DENIED]
    assert scene.run() is Next.RETRY
    assert scene.exists()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


def test_retained_beside_one_that_changed_its_method(scene: PodIdentityScenario) -> None:
    """What the one leaves is not taken for the other's."""
    scene.has_binding(pod_identity_body("stays", serviceAccountNames=["stays"], deletionPolicy="Retain"))
    scene.settled()
    scene.change(method="WebIdentity")
    scene.delete("stays")
    scene.run()
    assert scene.eks.roles() == {"team-a/stays": str(ROLE)}
    assert scene.eks.there[Subject("team-a", "stays")].tags == {}
    assert scene.trusted() == ["app"]


def test_kept_one_goes_with_its_account(scene: PodIdentityScenario) -> None:
    """Nobody can do anything about its association then."""
    _switch(scene)
    scene.delete()
    scene.eks.errors["listed"] = [DENIED]
    scene.run()
    assert scene.exists()
    scene.cache.drop_aws_account("prod")
    scene.run()
    assert not scene.exists()


def test_nothing_is_deleted_while_revocation_is_paused(scene: PodIdentityScenario) -> None:
    """Of what is refused, deleted or shrunk, every association stays and the status goes on to name it."""
    scene.has_binding(pod_identity_body("gone", serviceAccountNames=["gone"]))
    scene.has_binding(pod_identity_body("shrinks", serviceAccountNames=["stays", "goes"]))
    scene.run()
    there = {"team-a/gone", "team-a/stays", "team-a/goes"}
    assert set(scene.eks.roles()) == there
    scene.neighbours.paused = "revocation is paused"
    scene.delete("gone")
    scene.change("shrinks", serviceAccountNames=["stays"])
    scene.has_binding(pod_identity_body("new", serviceAccountNames=["new"]))
    scene.run()

    assert set(scene.eks.roles()) == {*there, "team-a/new"}
    assert scene.exists("gone")
    assert scene.ready("gone")[:2] == ("False", "RevocationPaused")
    assert "its associations stay: revocation is paused" in scene.ready("gone")[2]
    assert scene.stored("shrinks")["subjects"] == [f"system:serviceaccount:team-a:{name}" for name in ("goes", "stays")]

    scene.restart()
    scene.run()
    assert set(scene.eks.roles()) == {*there, "team-a/new"}
    scene.neighbours.paused = ""
    scene.run()
    assert set(scene.eks.roles()) == {"team-a/stays", "team-a/new"}
    assert scene.ready("new")[0] == scene.ready("shrinks")[0] == "True"


def test_refused_while_revocation_is_paused(scene: PodIdentityScenario) -> None:
    """The condition says both; after a restart the association still counts as standing."""
    scene.has_binding(pod_identity_body())
    scene.run()
    scene.neighbours.paused = "revocation is paused"
    scene.has_grants()
    for _ in range(2):
        scene.run()
        assert scene.eks.roles() == {"team-a/app": str(ROLE)}
        assert scene.ready()[:2] == ("False", "RevocationPaused")
        scene.restart()
    scene.neighbours.paused = ""
    scene.run()
    assert scene.eks.roles() == {}
    assert scene.ready()[:2] == ("False", "NotGranted")
