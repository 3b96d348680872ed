"""The plan of one role's EKS Pod Identity associations: from what is wanted and what is there to steps. Pure.

EKS has one association for a service account of a cluster. Ours carry a tag with the cluster's issuer; any other one is
foreign, and is neither changed nor deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from trustbind.api.role_binding import BindingRef
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity import OWNER_TAG, owner_of, tags_of

__all__ = ["Act", "Association", "AssociationPlan", "Listed", "Step", "is_ours", "plan_associations"]


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
        target: the ARN of the role that EKS goes on to from there; empty: none. We never ask for one.
    """

    listed: Listed
    role: str
    tags: Mapping[str, str] = field(default_factory=dict)
    target: str = ""

    @property
    def subject(self) -> Subject:
        """The service account."""
        return self.listed.subject

    @property
    def gives(self) -> str:
        """The ARN of the role that pods end up with."""
        return self.target or self.role


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
    """

    act: Act
    subject: Subject
    association: Association | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.act} the association of {self.subject.namespace}/{self.subject.name}"


@dataclass(frozen=True, slots=True)
class AssociationPlan:
    """The steps, and the foreign associations that keep a wanted one from being made.

    Attributes:
        steps: deletions, then changes, then creations.
        taken: wanted service accounts that have a foreign association with another role.
        shared: wanted service accounts that have a foreign association with this role, which serves the binding.
    """

    steps: tuple[Step, ...] = ()
    taken: Mapping[Subject, Association] = field(default_factory=dict)
    shared: frozenset[Subject] = frozenset()


def plan_associations(
    role: str,
    issuer: Issuer,
    wanted: Mapping[Subject, BindingRef],
    present: Iterable[Association],
    retained: Collection[Subject] = (),
) -> AssociationPlan:
    """Return the steps after which exactly the wanted service accounts are associated with ``role``.

    Args:
        role: the role's ARN.
        issuer: the cluster's.
        wanted: service accounts, each with the binding that it is wanted for.
        present: the associations of those service accounts, and of those that may have to lose theirs. One of ours with
            another role is left to that role's run, unless its service account is wanted here.
        retained: service accounts whose association stays and loses our tags.
    """
    there = {association.subject: association for association in present}
    deletions: list[Step] = []
    changes: list[Step] = []
    taken: dict[Subject, Association] = {}
    shared: set[Subject] = set()
    for subject, association in sorted(there.items()):
        binding = wanted.get(subject)
        ours = is_ours(association, issuer)
        if binding is None:
            if ours and association.role == role:
                deletions.append(Step(Act.DISOWN if subject in retained else Act.DELETE, subject, association))
        elif not ours:
            if association.gives == role:
                shared.add(subject)
            else:
                taken[subject] = association
        else:
            tags = {k: v for k, v in tags_of(issuer, binding).items() if association.tags.get(k) != v}
            if association.target:  # an update cannot take it away
                changes.append(Step(Act.REPLACE, subject, association, tags_of(issuer, binding)))
            elif tags or association.role != role:
                changes.append(Step(Act.CHANGE, subject, association, tags))
    creations = [
        Step(Act.CREATE, subject, None, tags_of(issuer, binding))
        for subject, binding in sorted(wanted.items())
        if subject not in there
    ]
    return AssociationPlan((*deletions, *changes, *creations), taken, frozenset(shared))


def is_ours(association: Association, issuer: Issuer) -> bool:
    """Return whether the cluster with this issuer made the association; decided by its tag alone."""
    return association.tags.get(OWNER_TAG) == owner_of(issuer)
