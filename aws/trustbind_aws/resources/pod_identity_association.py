"""The EKS Pod Identity associations of one namespace: list and describe, plan, write.

EKS has no conditional write, but every write names an association by its id. So an association that another owner has
put in the place of ours is not found, rather than changed. What EKS says of a write that came late is answered by a
new look.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from trustbind.errors import AwsError
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG
from trustbind.policy.pod_identity_association import Act, Association, Listed, Step, differs, is_ours
from trustbind.reconcile.association_plan import AssociationWork, NamespaceResult, NamespaceWork, plan_namespace
from trustbind_aws.eks import AssociationStore
from trustbind_aws.permits import DecisionChangedError, NotLeadingError, WriteGuard

__all__ = ["Found", "apply", "observe", "plan", "search"]

_ROUNDS: Final = 3
"""How often a namespace is planned because another writer was faster."""

_OVERTAKEN: Final = frozenset({"ResourceInUseException", "ResourceNotFoundException", "NotFoundException"})
"""EKS API reference, Errors of CreatePodIdentityAssociation, UpdatePodIdentityAssociation and TagResource."""

plan = plan_namespace


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        ours: associations of ours.
        foreign: the ids of those that were described and have another owner.
        listed: the id of each association by its service account.
    """

    ours: tuple[Association, ...]
    foreign: frozenset[str]
    listed: Mapping[Subject, str]


async def observe(store: AssociationStore, namespace: str, subjects: Collection[Subject]) -> tuple[Association, ...]:
    """Return the associations that service accounts of a namespace have.

    Raises:
        AwsError: a call failed.
    """
    listed = [each for each in await store.listed(namespace) if each.subject in subjects]
    found = [await store.described(each) for each in listed]
    return tuple(association for association in found if association is not None)


async def search(
    store: AssociationStore, issuer: Issuer, namespace: str = "", *, skips: Callable[[Listed], bool] = lambda _: False
) -> Found:
    """Return the associations of ours in a namespace, or in the whole cluster, except those that ``skips`` names.

    Raises:
        AwsError: a call failed.
    """
    listed = await store.listed(namespace)
    ours: list[Association] = []
    foreign: set[str] = set()
    for each in listed:
        association = None if skips(each) else await store.described(each)
        if association is None:
            continue
        if is_ours(association, issuer):
            ours.append(association)
        else:
            foreign.add(each.id)
    return Found(tuple(ours), frozenset(foreign), {each.subject: each.id for each in listed})


async def apply(
    store: AssociationStore,
    work: AssociationWork,
    here: NamespaceWork,
    guard: WriteGuard,
    is_claimed: Callable[[Subject], bool],
) -> NamespaceResult:
    """Bring the associations of one namespace to what is wanted.

    Args:
        store: of the cluster. No other run works on this namespace meanwhile.
        work: of the run.
        here: the namespace's part of it.
        guard: asked right before each write.
        is_claimed: asked right before each step that gives a service account the role: whether the role's bindings
            still want it.

    Returns:
        With `NamespaceResult.error` set when a write failed.

    Raises:
        NotLeadingError: nothing may be written.
        DecisionChangedError: what was decided does not hold any more.
        AwsError: a read failed.
    """
    written = 0
    result = NamespaceResult()
    for _ in range(_ROUNDS):
        present = {a.subject: a for a in await observe(store, here.namespace, here.concerned)}
        planned = plan(work, here, present.values())
        undone = {step.subject for step in planned.steps}
        overruled: set[Subject] = set()
        error: AwsError | None = None
        try:
            for step in planned.steps:
                if step.subject in here.wanted and not is_claimed(step.subject):
                    overruled.add(step.subject)
                elif work.may_write:
                    after = await _carry_out(store, str(work.role), step, guard)
                    present.pop(step.subject, None)
                    present.update({step.subject: after} if after is not None else {})
                    undone.discard(step.subject)
                    written += 1
        except (NotLeadingError, DecisionChangedError):
            raise
        except AwsError as failure:
            error = failure
        result = NamespaceResult(
            planned, tuple(present.values()), frozenset(undone), frozenset(overruled), written, error
        )
        if error is None or error.code not in _OVERTAKEN:
            break
    return result


async def _carry_out(store: AssociationStore, role: str, step: Step, guard: WriteGuard) -> Association | None:
    """Carry out a step; return the association as it is then, None when there is none of ours any more."""
    association, wish = step.association, step.wish
    if association is not None and step.act in {Act.DELETE, Act.REPLACE}:
        await store.delete(association, guard)
    if association is not None and step.act is Act.DISOWN:
        await store.untag(association, (OWNER_TAG, BINDING_TAG), guard)
    if wish is None:
        return None
    if association is None or step.act is Act.REPLACE:
        return await store.create(step.subject, role, wish, step.tags, guard)
    if differs(association, role, wish):
        association = await store.change(association, role, wish, guard)
    if step.tags:
        await store.tag(association, step.tags, guard)
    return replace(association, tags={**association.tags, **step.tags})
