"""What is to be done about the associations of one role: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bodies import ISSUER, OTHER_ROLE, ROLE
from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG, tags_of
from trustbind.policy.pod_identity_association import (
    Act,
    Association,
    AssociationPlan,
    Listed,
    Wish,
    is_ours,
    plan_associations,
)

READER: Final = Subject("team-a", "reader")
WRITER: Final = Subject("team-a", "writer")
BINDING: Final = BindingRef("team-a", "b")
OURS: Final = tags_of(ISSUER, BINDING)
ANOTHER_CLUSTERS: Final = tags_of(Issuer.parse("https://oidc.example.com/id/2"), BINDING)


def there(subject: Subject, role: object = ROLE, tags: dict[str, str] | None = None) -> Association:
    """Return an association that is there."""
    return Association(Listed(f"a-{subject.name}", "arn", subject.namespace, subject.name), str(role), tags or {})


def planned(
    *present: Association, wanted: tuple[Subject, ...] = (), retained: tuple[Subject, ...] = ()
) -> AssociationPlan:
    """Return the plan for the role."""
    return plan_associations(str(ROLE), ISSUER, dict.fromkeys(wanted, Wish(BINDING)), present, retained)


def acts(plan: AssociationPlan) -> list[tuple[Act, str]]:
    """Return what is done to whom, in order."""
    return [(step.act, step.subject.name) for step in plan.steps]


def test_what_lacks_is_created() -> None:
    """With tags that say whose it is and for which binding."""
    plan = planned(wanted=(WRITER, READER))
    assert acts(plan) == [(Act.CREATE, "reader"), (Act.CREATE, "writer")]
    assert plan.steps[0].tags == {OWNER_TAG: OURS[OWNER_TAG], BINDING_TAG: "team-a/b"}
    assert str(plan.steps[0]) == "create the association of team-a/reader"


def test_what_is_there_stays() -> None:
    """Ours as it should be, with tags of other people's."""
    assert planned(there(READER, tags={**OURS, "cost": "7"}), wanted=(READER,)) == AssociationPlan()


@pytest.mark.parametrize(
    ("present", "tags"),
    [
        (there(READER, OTHER_ROLE, OURS), {}),
        (there(READER, tags=OURS | {BINDING_TAG: "team-a/gone"}), {BINDING_TAG: "team-a/b"}),
        (there(READER, OTHER_ROLE, {OWNER_TAG: OURS[OWNER_TAG]}), {BINDING_TAG: "team-a/b"}),
    ],
)
def test_ours_that_differs_is_changed(present: Association, tags: dict[str, str]) -> None:
    """In role, in tags, or in both; only the tags that differ are written."""
    (step,) = planned(present, wanted=(READER,)).steps
    assert (step.act, step.association, step.tags) == (Act.CHANGE, present, tags)


@pytest.mark.parametrize("tags", [{}, {BINDING_TAG: "team-a/b"}, ANOTHER_CLUSTERS])
def test_foreign_ones_are_left(tags: dict[str, str]) -> None:
    """Wanted or not, with this role or another; the same role is as good, another one is told."""
    same, other = there(READER, tags=tags), there(WRITER, OTHER_ROLE, tags)
    plan = planned(same, other, wanted=(READER, WRITER))
    assert plan == AssociationPlan((), {WRITER: other}, frozenset({READER}))
    assert planned(same, other) == AssociationPlan()
    assert not is_ours(same, ISSUER)


def test_a_target_role_is_what_pods_get() -> None:
    """It decides about a foreign association; where none is wanted, an update could not take ours away."""
    via, beyond = replace(there(READER, OTHER_ROLE), target=str(ROLE)), replace(there(WRITER), target=str(OTHER_ROLE))
    plan = planned(via, beyond, wanted=(READER, WRITER))
    assert plan == AssociationPlan((), {WRITER: beyond}, frozenset({READER}))
    ours = replace(there(READER, tags=OURS), target=str(OTHER_ROLE))
    (step,) = planned(ours, wanted=(READER,)).steps
    assert (step.act, step.tags) == (Act.REPLACE, OURS)
    assert acts(planned(ours)) == [(Act.DELETE, "reader")]


def test_target_session_tags_and_policy() -> None:
    """One of ours is changed where it differs; a session policy that is given up needs a new association."""
    policy = '{"Statement": []}'
    wish = Wish(BINDING, str(OTHER_ROLE), disable_session_tags=True, policy=policy)
    whole = replace(
        there(READER, tags=OURS),
        target=str(OTHER_ROLE),
        external_id="x",
        disable_session_tags=True,
        policy='{ "Statement" : [] }',
    )

    def acts_for(association: Association, wish: Wish = wish) -> list[tuple[Act, str]]:
        return acts(plan_associations(str(ROLE), ISSUER, {READER: wish}, [association]))

    assert acts_for(whole) == []
    assert acts_for(replace(whole, disable_session_tags=False)) == [(Act.CHANGE, "reader")]
    assert acts_for(replace(whole, policy="")) == [(Act.CHANGE, "reader")]
    assert acts_for(replace(whole, policy="no JSON")) == [(Act.CHANGE, "reader")]
    assert acts_for(whole, replace(wish, policy="")) == [(Act.REPLACE, "reader")]


def test_target_changes_only_once_it_trusts_the_association() -> None:
    """Unless EKS gave it no external id, so that nothing could trust it."""
    wish = Wish(BINDING, str(OTHER_ROLE))
    other = replace(there(READER, tags=OURS), target="arn:aws:iam::444455556666:role/before", external_id="x")
    held = plan_associations(str(ROLE), ISSUER, {READER: wish}, [other])
    assert held == AssociationPlan(held=frozenset({READER}))
    trusting = replace(wish, trusted=frozenset({"x"}))
    assert acts(plan_associations(str(ROLE), ISSUER, {READER: trusting}, [other])) == [(Act.CHANGE, "reader")]
    without = replace(other, external_id="")
    assert acts(plan_associations(str(ROLE), ISSUER, {READER: wish}, [without])) == [(Act.CHANGE, "reader")]


def test_foreign_association_has_to_have_the_target() -> None:
    """With another target, or by another role, it serves nobody."""
    wish = Wish(BINDING, str(OTHER_ROLE))
    same = replace(there(READER), target=str(OTHER_ROLE))
    by_another = replace(same, role="arn:aws:iam::444455556666:role/third")
    for association, shared in ((same, True), (there(READER), False), (by_another, False)):
        plan = plan_associations(str(ROLE), ISSUER, {READER: wish}, [association])
        assert (plan.steps, bool(plan.shared), bool(plan.taken)) == ((), shared, not shared)


def test_kept_association_stays_as_it_is() -> None:
    """Neither deleted nor made."""
    plan = plan_associations(str(ROLE), ISSUER, {}, [there(READER, tags=OURS)], kept=(READER, WRITER))
    assert plan == AssociationPlan()
    held = plan_associations(str(ROLE), ISSUER, {WRITER: Wish(BINDING)}, [], kept=(WRITER,))
    assert held == AssociationPlan()


def test_what_is_not_wanted_any_more_goes() -> None:
    """Before anything comes; ours with another role is that role's business."""
    plan = planned(there(WRITER, tags=OURS), there(Subject("team-a", "x"), OTHER_ROLE, OURS), wanted=(READER,))
    assert acts(plan) == [(Act.DELETE, "writer"), (Act.CREATE, "reader")]


def test_what_is_retained_is_disowned() -> None:
    """Unless somebody wants it."""
    assert acts(planned(there(READER, tags=OURS), retained=(READER,))) == [(Act.DISOWN, "reader")]
    assert planned(there(READER, tags=OURS), wanted=(READER,), retained=(READER,)) == AssociationPlan()


SUBJECTS: Final = st.sampled_from([Subject("team-a", name) for name in "abcd"])
ASSOCIATIONS: Final = st.lists(
    st.builds(there, SUBJECTS, st.sampled_from([ROLE, OTHER_ROLE]), st.sampled_from([OURS, {}, ANOTHER_CLUSTERS])),
    unique_by=lambda a: a.subject,
)


def carried_out(present: list[Association], plan: AssociationPlan) -> list[Association]:
    """Return what is there afterwards."""
    after = {a.subject: a for a in present}
    for step in plan.steps:
        if step.act is Act.DELETE:
            del after[step.subject]
        elif step.act is Act.DISOWN:
            after[step.subject] = there(step.subject, after[step.subject].role)
        else:
            tags = {**(step.association.tags if step.association else {}), **step.tags}
            after[step.subject] = there(step.subject, ROLE, tags)
    return list(after.values())


@given(ASSOCIATIONS, st.sets(SUBJECTS), st.sets(SUBJECTS))
def test_once_is_enough_and_foreign_ones_survive(
    present: list[Association], wanted: set[Subject], retained: set[Subject]
) -> None:
    """A second plan is empty, every foreign association is as it was, and who is wanted has this role or is told."""
    plan = planned(*present, wanted=tuple(wanted), retained=tuple(retained))
    after = carried_out(present, plan)
    again = planned(*after, wanted=tuple(wanted), retained=tuple(retained))
    assert again.steps == ()
    assert again.taken == plan.taken
    assert all(a in after for a in present if not is_ours(a, ISSUER))
    roles = {a.subject: a.role for a in after}
    assert all((roles[s] == str(ROLE)) != (s in plan.taken) for s in wanted)
    assert not any(is_ours(a, ISSUER) and a.role == str(ROLE) for a in after if a.subject not in wanted)
