"""The plan of one role's EKS Pod Identity associations: from what is wanted and what is there to steps. Pure.

EKS has one association for a service account of a cluster. Ours carry a tag with the cluster's issuer; any other one is
foreign, and is neither changed nor deleted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity import OWNER_TAG, owner_of, tags_of

__all__ = ["Act", "Association", "AssociationPlan", "Listed", "Step", "Wish", "differs", "is_ours", "plan_associations"]


@dataclass(frozen=True, slots=True)
class Listed:
    """An association as a list shows it."""

    id: str
    arn: str
    namespace: str
    service_account: str

    @property
    def subject(self) -> Subject:
        """The service account."""
        return Subject(self.namespace, self.service_account)


@dataclass(frozen=True, slots=True)
class Association:
    """An association whole.

    Attributes:
        listed: which.
        role: the ARN of the role that EKS assumes.
        tags: all of them.
        target: the ARN of the role that EKS goes on to from there; empty: none.
        external_id: what EKS sends when it assumes the target; made by EKS.
        disable_session_tags: whether EKS adds no session tags.
        policy: the session policy as a text; empty: none.
    """

    listed: Listed
    role: str
    tags: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    external_id: str = ""
    disable_session_tags: bool = False
    policy: str = ""

    @property
    def subject(self) -> Subject:
        """The service account."""
        return self.listed.subject

    @property
    def gives(self) -> str:
        """The ARN of the role that pods end up with."""
        return self.target or self.role


@dataclass(frozen=True, slots=True)
class Wish:
    """What the association of one service account is to be, beside its role.

    Attributes:
        binding: the binding that it is wanted for.
        target: the ARN of the target role; empty: none.
        disable_session_tags: whether EKS adds no session tags.
        policy: the session policy as a text; empty: none.
        trusted: the external ids that the target role trusts by now. An association changes its target only then, so
            that pods are not without a role meanwhile.
    """

    binding: BindingRef
    target: str = ""
    disable_session_tags: bool = False
    policy: str = ""
    trusted: frozenset[str] = frozenset()


class Act(StrEnum):
    """What a step does, as a word of messages."""

    DELETE = "delete"
    DISOWN = "leave"
    CHANGE = "change"
    REPLACE = "replace"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class Step:
    """One write of an association.

    Attributes:
        act: what it does.
        subject: the service account.
        association: the present one; None when it is created.
        tags: the tags that it gets; of one that is changed, those that differ.
        wish: what it is to be; None when it goes.
    """

    act: Act
    subject: Subject
    association: Association | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    wish: Wish | None = None

    def __str__(self) -> str:
        return f"{self.act} the association of {self.subject.namespace}/{self.subject.name}"


@dataclass(frozen=True, slots=True)
class AssociationPlan:
    """The steps, and the foreign associations that keep a wanted one from being made.

    Attributes:
        steps: deletions, then changes, then creations.
        taken: wanted service accounts that have a foreign association with another role.
        shared: wanted service accounts that have a foreign association with this role, which serves the binding.
        held: wanted service accounts whose association keeps its target until the new one trusts it.
    """

    steps: tuple[Step, ...] = ()
    taken: Mapping[Subject, Association] = field(default_factory=dict)
    shared: frozenset[Subject] = frozenset()
    held: frozenset[Subject] = frozenset()


def plan_associations(
    role: str,
    issuer: Issuer,
    wanted: Mapping[Subject, Wish],
    present: Iterable[Association],
    retained: Collection[Subject] = (),
    kept: Collection[Subject] = (),
) -> AssociationPlan:
    """Return the steps after which exactly the wanted service accounts are associated with ``role``.

    Args:
        role: the role's ARN.
        issuer: the cluster's.
        wanted: service accounts, each with what its association is to be.
        present: the associations of those service accounts, and of those that may have to lose theirs. One of ours with
            another role is left to that role's run, unless its service account is wanted here.
        retained: service accounts whose association stays and loses our tags.
        kept: service accounts whose association stays as it is for now.
    """
    there = {association.subject: association for association in present}
    deletions: list[Step] = []
    changes: list[Step] = []
    taken: dict[Subject, Association] = {}
    shared: set[Subject] = set()
    held: set[Subject] = set()
    for subject, association in sorted(there.items()):
        wish = wanted.get(subject)
        ours = is_ours(association, issuer)
        if wish is None:
            if ours and association.role == role and subject not in kept:
                deletions.append(Step(Act.DISOWN if subject in retained else Act.DELETE, subject, association))
        elif not ours:
            if _serves(association, role, wish):
                shared.add(subject)
            else:
                taken[subject] = association
        elif _waits(association, role, wish):
            held.add(subject)
        elif (step := _change(association, role, issuer, wish)) is not None:
            changes.append(step)
    creations = [
        Step(Act.CREATE, subject, None, tags_of(issuer, wish.binding), wish)
        for subject, wish in sorted(wanted.items(), key=lambda item: item[0])
        if subject not in there and subject not in kept
    ]
    return AssociationPlan((*deletions, *changes, *creations), taken, frozenset(shared), frozenset(held))


def _serves(association: Association, role: str, wish: Wish) -> bool:
    """Return whether another owner's association gives pods what is wanted."""
    if wish.target:
        return (association.role, association.target) == (role, wish.target)
    return association.gives == role


def _waits(association: Association, role: str, wish: Wish) -> bool:
    """Return whether the association keeps its target for now: the new one does not trust it yet."""
    return (
        bool(wish.target)
        and association.role == role
        and association.target != wish.target
        and bool(association.external_id)
        and association.external_id not in wish.trusted
    )


def _change(association: Association, role: str, issuer: Issuer, wish: Wish) -> Step | None:
    """Return the step after which an association of ours is as wanted; None when it is."""
    wanted_tags = tags_of(issuer, wish.binding)
    gives_up = (association.target and not wish.target) or (association.policy and not wish.policy)
    if gives_up:  # an update names what it changes, so it takes neither away
        return Step(Act.REPLACE, association.subject, association, wanted_tags, wish)
    tags = {key: value for key, value in wanted_tags.items() if association.tags.get(key) != value}
    return (
        None
        if not tags and not differs(association, role, wish)
        else Step(Act.CHANGE, association.subject, association, tags, wish)
    )


def _same_policy(text: str, other: str) -> bool:
    """Return whether two session policies are the same JSON; EKS need not keep white space."""
    if text == other:
        return True
    try:
        return bool(json.loads(text) == json.loads(other))
    except ValueError:
        return False


def differs(association: Association, role: str, wish: Wish) -> bool:
    """Return whether anything but the tags of an association has to be changed."""
    return (association.role, association.target, association.disable_session_tags) != (
        role,
        wish.target,
        wish.disable_session_tags,
    ) or not _same_policy(association.policy, wish.policy)


def is_ours(association: Association, issuer: Issuer) -> bool:
    """Return whether the cluster with this issuer made the association; decided by its tag alone."""
    return association.tags.get(OWNER_TAG) == owner_of(issuer)
