"""What is to be done about the associations of one role: planned from what is wanted and what is there.

EKS has one association for a service account of a cluster. Ours carry a tag that says so; any other one is foreign, and
is neither changed nor deleted. Pure.
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
    """What is done, as a word of messages."""

    DELETE = "delete"
    DISOWN = "leave"
    CHANGE = "change"
    REPLACE = "replace"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        act: what.
        subject: the service account.
        association: that is there; None when it is created.
        tags: that it gets; of one that is changed, those that differ.
    """

    act: Act
    subject: Subject
    association: Association | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.act} the association of {self.subject.namespace}/{self.subject.name}"


@dataclass(frozen=True, slots=True)
class AssociationPlan:
    """What is to be done.

    Attributes:
        steps: what goes first, then what changes, then what comes.
        taken: wanted accounts that have a foreign association with another role.
        lent: wanted accounts that have a foreign association with this role, which is as good.
    """

    steps: tuple[Step, ...] = ()
    taken: Mapping[Subject, Association] = field(default_factory=dict)
    lent: frozenset[Subject] = frozenset()


def plan_associations(
    role: str,
    issuer: Issuer,
    wanted: Mapping[Subject, BindingRef],
    present: Iterable[Association],
    retained: Collection[Subject] = (),
) -> AssociationPlan:
    """Return what is to be done so that exactly the wanted accounts are associated with ``role``.

    Args:
        role: the role's ARN.
        issuer: the cluster's.
        wanted: accounts, each with the binding that it is wanted for.
        present: the associations of those accounts, and of those that may have one no more. One of ours with another
            role is that role's business, unless the account is wanted here.
        retained: accounts whose association stays and is nobody's.
    """
    there = {association.subject: association for association in present}
    goes: list[Step] = []
    changes: list[Step] = []
    taken: dict[Subject, Association] = {}
    lent: set[Subject] = set()
    for subject, association in sorted(there.items()):
        binding = wanted.get(subject)
        ours = is_ours(association, issuer)
        if binding is None:
            if ours and association.role == role:
                goes.append(Step(Act.DISOWN if subject in retained else Act.DELETE, subject, association))
        elif not ours:
            if association.gives == role:
                lent.add(subject)
            else:
                taken[subject] = association
        else:
            tags = {k: v for k, v in tags_of(issuer, binding).items() if association.tags.get(k) != v}
            if association.target:  # an update cannot take it away
                changes.append(Step(Act.REPLACE, subject, association, tags_of(issuer, binding)))
            elif tags or association.role != role:
                changes.append(Step(Act.CHANGE, subject, association, tags))
    comes = [
        Step(Act.CREATE, subject, None, tags_of(issuer, binding))
        for subject, binding in sorted(wanted.items())
        if subject not in there
    ]
    return AssociationPlan((*goes, *changes, *comes), taken, frozenset(lent))


def is_ours(association: Association, issuer: Issuer) -> bool:
    """Return whether the cluster with this issuer made the association; decided by its tag alone."""
    return association.tags.get(OWNER_TAG) == owner_of(issuer)
