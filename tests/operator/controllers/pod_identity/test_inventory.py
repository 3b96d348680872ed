"""Associations that no status names: found before a binding that they were made for is let go, or by a search."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.association_scene import APP, EKS, AssociationScene, pod_identity_body
from support.bodies import OTHER_ROLE, ROLE, account_body, binding_body
from trustbind.errors import AccessDeniedError, AwsError, NotFoundError, ThrottledError, UnreachableError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import STATEMENT
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.context import Next

LIST = "eks:ListPodIdentityAssociations of cluster blue"
DENIED = AccessDeniedError("not authorized", code="AccessDeniedException", operation=LIST)
THROTTLED = ThrottledError("Rate exceeded", code="ThrottlingException", operation=LIST)
UNREACHABLE = UnreachableError("no answer", operation=LIST)
MANY = 150
"""More accounts than a status lists."""


@pytest.fixture
def scene() -> Iterator[AssociationScene]:
    """Return a scene."""
    made = AssociationScene()
    yield made
    made.close()


def _select(scene: AssociationScene) -> None:
    """Have a binding that selects many accounts, none of which is selected any more; nothing is remembered of it."""
    scene.service_accounts["team-a"] = {f"a{n:03}": {"x": "y"} for n in range(MANY)}
    scene.settled(pod_identity_body(serviceAccountSelector={"matchLabels": {"x": "y"}}))
    assert len(scene.eks.roles()) == MANY
    scene.service_accounts["team-a"] = {}
    scene.restart()


def _lose_status(scene: AssociationScene) -> None:
    """Have a binding whose association was made, whose status was never written, and which names another account."""
    scene.settled()
    del scene.bodies["team-a/b"]["status"]
    scene.change(serviceAccountNames=["other"])
    scene.restart()


def _switch(scene: AssociationScene) -> None:
    """Have a binding that is by web identity since."""
    scene.settled()
    scene.restart()
    scene.change(method="WebIdentity")


def _break(scene: AssociationScene) -> None:
    """Have a binding that cannot be read any more."""
    scene.settled()
    scene.restart()
    scene.change(audience="a b")


@pytest.mark.parametrize("end", [_select, _lose_status, _switch, _break])
def test_nothing_is_left_of_a_binding_that_goes(
    scene: AssociationScene, end: Callable[[AssociationScene], None]
) -> None:
    """Not even what neither its spec nor its status names."""
    end(scene)
    scene.delete()
    scene.run()
    assert scene.eks.roles() == {}
    assert not scene.exists()


@pytest.mark.parametrize("end", [_select, _lose_status, _switch, _break])
@pytest.mark.parametrize("error", [DENIED, THROTTLED, UNREACHABLE])
def test_nobody_goes_before_all_is_known(
    scene: AssociationScene, end: Callable[[AssociationScene], None], error: AwsError
) -> None:
    """While EKS does not answer, the binding is kept and says so."""
    end(scene)
    scene.delete()
    scene.eks.errors["listed"] = [error] * 2
    assert scene.run() is Next.RETRY
    assert scene.exists()
    assert scene.ready()[2].startswith("its associations could not be deleted, so it is kept: ")
    scene.eks.errors.clear()
    scene.restart()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


@pytest.mark.parametrize("end", [_switch, _break])
def test_doubt_outlasts_a_status(scene: AssociationScene, end: Callable[[AssociationScene], None]) -> None:
    """The status of a live binding is about its trust, and written although EKS did not answer."""
    end(scene)
    for _ in range(2):
        scene.eks.errors["listed"] = [DENIED]
        assert scene.run() is Next.RETRY
    assert scene.ready()[0] == ("True" if end is _switch else "False")
    scene.delete()
    scene.eks.errors["listed"] = [DENIED]
    assert scene.run() is Next.RETRY
    assert scene.exists()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


@pytest.mark.parametrize("end", [_select, _lose_status, _switch])
def test_nobody_goes_before_the_last_one(scene: AssociationScene, end: Callable[[AssociationScene], None]) -> None:
    """Of several associations the last one counts, too, although nothing says whose it was."""
    end(scene)
    scene.delete()
    scene.eks.meanwhile["delete"] = [
        *[lambda: None] * (len(scene.eks.roles()) - 1),
        lambda: scene.eks.errors.update(delete=[DENIED] * 2),
    ]
    assert scene.run() is Next.RETRY
    assert scene.exists()
    scene.eks.errors["delete"] = [DENIED] * 2
    assert scene.run() is Next.RETRY
    assert scene.exists()
    scene.eks.errors.clear()
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


def _withdraw(scene: AssociationScene) -> None:
    scene.grants.clear()


@pytest.mark.parametrize(
    ("end", "then"), [(_select, None), (_select, _withdraw), (_lose_status, None), (_switch, None), (_break, None)]
)
def test_a_live_binding_loses_what_it_does_not_name(
    scene: AssociationScene, end: Callable[[AssociationScene], None], then: Callable[[AssociationScene], None] | None
) -> None:
    """At the first run after the restart, not only when it is deleted."""
    end(scene)
    if then is not None:
        then(scene)
    scene.run()
    assert set(scene.eks.roles()) <= {"team-a/other"}
    assert scene.exists()


def test_others_of_the_namespace_stay(scene: AssociationScene) -> None:
    """Those of other bindings of this role, of other roles and of somebody else; one look serves all roles."""
    scene.roles[OTHER_ROLE] = TrustDocument((STATEMENT,))
    scene.has_binding(pod_identity_body("other", serviceAccountNames=["other"], roleArn=str(OTHER_ROLE)))
    scene.run(OTHER_ROLE)
    scene.has_binding(pod_identity_body("same", serviceAccountNames=["same"]))
    scene.eks.has(Subject("team-a", "theirs"), ROLE)
    _switch(scene)
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert set(scene.eks.roles()) == {"team-a/other", "team-a/same", "team-a/theirs"}
    scene.eks.calls.clear()
    scene.delete("other")
    scene.run(OTHER_ROLE)
    assert set(scene.eks.roles()) == {"team-a/same", "team-a/theirs"}
    assert scene.eks.calls == {"listed": 1, "described": 1, "delete": 1}


def test_retained_beside_one_that_changed_its_method(scene: AssociationScene) -> None:
    """What the one leaves is not taken for the other's."""
    scene.has_binding(pod_identity_body("stays", serviceAccountNames=["stays"], deletionPolicy="Retain"))
    scene.settled()
    scene.change(method="WebIdentity")
    scene.delete("stays")
    scene.run()
    assert scene.eks.roles() == {"team-a/stays": str(ROLE)}
    assert scene.eks.there[Subject("team-a", "stays")].tags == {}
    assert scene.ready()[0] == "True"


def test_web_identity_asks_nothing_of_eks(scene: AssociationScene) -> None:
    """Neither a new binding, nor a changed one, nor one that goes, be it trusted or refused: its status shows it."""
    scene.settled(binding_body())
    scene.change(serviceAccountNames=["other"])
    scene.run()
    scene.restart()
    scene.delete()
    scene.run()
    assert not scene.exists()
    scene.settled(binding_body())
    scene.grants.clear()
    scene.run()
    assert "statementId" not in scene.stored()
    scene.restart()
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert scene.eks.calls == {}


def test_new_binding_is_no_reason_to_look_around(scene: AssociationScene) -> None:
    """However many associations its namespace has."""
    for n in range(20):
        scene.eks.has(Subject("team-a", f"other-{n}"), OTHER_ROLE, of="x")
    scene.has_binding(pod_identity_body())
    scene.run()
    assert scene.eks.calls == {"listed": 1, "create": 1}


def test_method_that_changes_while_nothing_is_written(scene: AssociationScene) -> None:
    """Under Observe the association stays, and so does the binding."""
    _switch(scene)
    scene.has_account(account_body(eks=EKS, driftPolicy="Observe"))
    scene.delete()
    assert scene.run() is Next.RETRY
    assert scene.exists()
    assert "delete the association of team-a/app" in scene.ready()[2]
    scene.has_account(account_body(eks=EKS))
    scene.run()
    assert not scene.exists()
    assert scene.eks.roles() == {}


def test_kept_one_goes_with_its_account(scene: AssociationScene) -> None:
    """Nobody can do anything about its association then."""
    _switch(scene)
    scene.delete()
    scene.eks.errors["listed"] = [DENIED]
    scene.run()
    assert scene.exists()
    scene.has_account(None)
    scene.run()
    assert not scene.exists()


def test_another_cluster_is_looked_at_anew(scene: AssociationScene) -> None:
    """What was seen in one says nothing of another, or of what happened while none was named."""
    _lose_status(scene)
    scene.run()
    assert set(scene.eks.roles()) == {"team-a/other"}
    for between in (EKS | {"clusterName": "green"}, None):
        scene.has_account(account_body(eks=between) if between else account_body())
        scene.run()
        scene.has_account(account_body(eks=EKS))
        scene.eks.has(APP, ROLE, of="b")
        scene.change()
        scene.run()
        assert set(scene.eks.roles()) == {"team-a/other"}


def test_search_and_survey_share_what_is_known_of_strangers(scene: AssociationScene) -> None:
    """Nobody asks twice about an association that is not ours."""
    scene.eks.has(Subject("team-a", "theirs"), OTHER_ROLE)
    scene.eks.has(Subject("team-b", "theirs"), OTHER_ROLE)
    _lose_status(scene)
    scene.survey()
    scene.eks.calls.clear()
    scene.run()
    assert scene.eks.calls == {"listed": 2, "described": 2, "delete": 1, "create": 1}


def test_orphans_are_found_and_deleted(scene: AssociationScene) -> None:
    """Ours that no binding wants, in any namespace; strangers are asked about once, and what is wanted never."""
    scene.settled()
    scene.eks.has(Subject("team-x", "gone"), OTHER_ROLE, of="b")
    scene.eks.has(Subject("team-a", "writer"), ROLE, of="b")
    foreign = scene.eks.has(Subject("team-x", "theirs"), OTHER_ROLE)
    scene.eks.has(Subject("team-y", "far"), "arn:aws:iam::111122223333:role/far", of="b")
    scene.eks.has(Subject("team-y", "odd"), "odd", of="b")
    found = scene.survey()
    assert found == {ROLE, OTHER_ROLE}
    assert scene.eks.calls == {"listed": 1, "described": 5}
    for role in sorted(found):
        scene.run(role)
    assert set(scene.eks.roles()) == {"team-a/app", "team-x/theirs", "team-y/far", "team-y/odd"}
    assert scene.eks.there[foreign.subject] == foreign
    scene.eks.calls.clear()
    assert scene.survey() == set()
    assert scene.eks.calls == {"listed": 1, "described": 2}


def test_orphans_where_nothing_is_written(scene: AssociationScene) -> None:
    """They are told at each resync, and not tried in between; they go once that is allowed."""
    scene.has_account(account_body(eks=EKS, driftPolicy="Observe"))
    scene.eks.has(Subject("team-x", "gone"), ROLE, of="b")
    assert scene.survey() == {ROLE}
    for _ in range(2):
        assert scene.run() is Next.RESYNC
    assert [reason for _, reason, _ in scene.notes.failures] == ["DriftObserved"] * 2
    scene.has_account(account_body(eks=EKS))
    scene.run()
    assert scene.eks.roles() == {}


def test_orphans_of_a_role_that_is_gone(scene: AssociationScene) -> None:
    """Nothing is left to come back for."""
    scene.eks.has(Subject("team-x", "gone"), OTHER_ROLE, of="b")
    assert scene.survey() == {OTHER_ROLE}
    assert scene.run(OTHER_ROLE) is Next.NEVER
    assert scene.eks.roles() == {}


def test_no_search_without_a_cluster(scene: AssociationScene) -> None:
    """Nor in an account that nobody describes."""
    scene.has_account(account_body())
    assert scene.survey() == set()
    assert scene.survey("111122223333") == set()
    assert scene.eks.calls == {}


def test_search_that_fails(scene: AssociationScene) -> None:
    """Whoever searches hears of it."""
    scene.eks.errors["listed"] = [NotFoundError("No cluster found", code="ResourceNotFoundException")]
    with pytest.raises(NotFoundError):
        scene.survey()
