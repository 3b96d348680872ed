"""Mutants of the code under test: each takes a safeguard away that the simulation must miss.

A mutant is a function that changes modules for the time of one world.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

import trustbind.migration.adoption as adopting
import trustbind.policy.plan as planning
import trustbind.reconcile.decision as deciding
import trustbind.reconcile.role_plan as role_planning
from trustbind.api.role_binding import RoleBinding
from trustbind.api.role_grant import RoleGrant
from trustbind.errors import AwsError, ThrottledError, UnreachableError
from trustbind.policy import owned_statement
from trustbind.policy.claim import claims_on
from trustbind.policy.retention import Retention
from trustbind.reconcile import adoption
from trustbind.reconcile.observation import RoleObservation
from trustbind.reconcile.rollout import Rollout
from trustbind_aws.permits import StaleReadError, WritePermit
from trustbind_aws.resources import trust_policy
from trustbind_aws.resources.trust_policy import Attempt, Status, WritePace
from trustbind_operator.cluster.cache import Objects
from trustbind_operator.controllers.aws_account.coordinator import AwsAccountCoordinator
from trustbind_operator.controllers.context import Next
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.controllers.role import controller, progress
from trustbind_operator.controllers.role.guard import DecisionGuard
from trustbind_operator.controllers.workqueue import Place
from trustbind_operator.events.event_router import EventRouter

__all__ = ["MUTANTS", "Mutant", "mutated"]

Patches = Callable[[], list[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant.

    Attributes:
        text: what it does.
        patches: returns the patches that make it.
        with_tenants: whether only the worlds with tenants can miss it, so that each seed is played with them.
    """

    text: str
    patches: Patches
    with_tenants: bool = False


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """Run with a mutant; with an empty name, with none."""
    with contextlib.ExitStack() as stack:
        for each in MUTANTS[name].patches() if name else ():
            stack.enter_context(each)
        yield


def _resend(errors: type[AwsError]) -> Patches:
    """Return patches that send a document again after an error, without another read."""
    real = trust_policy.apply

    async def apply(api: Any, role: Any, plan: Any, guard: Any, max_age: float, pace: WritePace) -> Attempt:
        class Resending:
            limiter = api.limiter

            async def role(self, arn: Any, slot: Any) -> RoleObservation:
                seen: RoleObservation = await api.role(arn, slot)
                return seen

            async def write_trust_policy(self, arn: Any, document: str, permit: WritePermit, slot: Any) -> None:
                try:
                    await api.write_trust_policy(arn, document, permit, slot)
                except errors as error:
                    if isinstance(error, StaleReadError):
                        raise
                    await asyncio.sleep(0.2)
                    await api.write_trust_policy(arn, document, replace(permit, max_age=math.inf), slot)

        return await real(Resending(), role, plan, guard, max_age, pace)  # type: ignore[arg-type] # a part of it

    return lambda: [patch.object(trust_policy, "apply", apply)]


def _read_before_slot() -> list[Any]:
    async def apply(api: Any, role: Any, plan: Any, guard: Any, max_age: float, pace: WritePace) -> Attempt:
        del max_age
        seen = await api.role(role)
        planned = plan(seen)
        if not planned.steps or not isinstance(planned.steps[0], role_planning.WriteTrustPolicy):
            return Attempt(seen, planned, Status.OTHER_STEP if planned.steps else Status.UNCHANGED)
        async with api.limiter.slot(1) as slot:
            permit = WritePermit(guard.deadline(), seen.answered_at, math.inf, pace.clock)
            await api.write_trust_policy(role, planned.trust.document.to_json(), permit, slot)
        return Attempt(seen, planned, Status.WRITTEN)

    return [patch.object(trust_policy, "apply", apply)]


def _unconfirmed() -> list[Any]:
    async def confirm(api: Any, planned: Any, pace: WritePace) -> tuple[RoleObservation, None]:
        del api, pace
        await asyncio.sleep(0)
        return RoleObservation(planned.document), None

    return [patch.object(trust_policy, "confirm", confirm)]


def _without_deadline() -> list[Any]:
    real = DecisionGuard.deadline

    def deadline(self: DecisionGuard) -> float:
        real(self)
        return math.inf

    return [patch.object(DecisionGuard, "deadline", deadline)]


def _no_survey() -> list[Any]:
    async def survey(self: AwsAccountCoordinator, key: Any) -> Next:
        del self, key
        await asyncio.sleep(0)
        return Next.SURVEY

    return [patch.object(AwsAccountCoordinator, "survey", survey)]


def _retain_all() -> list[Any]:
    return [
        patch.object(deciding, "_still_granted", lambda snapshot, binding, _around: (binding, tuple(snapshot.subjects)))
    ]


def _retained_for_ever() -> list[Any]:
    return [patch.object(Retention, "kept", lambda _self, claim: claim)]


def _all_at_once() -> list[Any]:
    def step(self: Rollout, decision: Any, role: Any) -> Any:
        del self
        binding = decision.stored.binding
        if binding is None or not decision.stored.is_chain:
            return decision
        is_due = decision.reason is None and not decision.stored.deleting
        return replace(decision, claims=claims_on(role, binding, decision.subjects) if is_due else ())

    return [patch.object(Rollout, "step", step)]


def _drop_foreign() -> list[Any]:
    real = planning._compose

    def compose(current: Any, desired: Any, claims: Any, record: Any) -> Any:
        document, changes = real(current, desired, claims, record)
        kept = [s for s in document.statements if not str(s.get("Sid", "")).endswith("7")]
        return (document.with_statements(kept), changes) if changes and kept else (document, changes)

    return [patch.object(planning, "_compose", compose)]


def _unrecorded() -> list[Any]:
    real = adoption.adoption

    def unrecorded(*arguments: Any, **_: Any) -> Any:
        return real(*arguments, needs_record=False)

    return [patch.object(role_planning, "adoption", unrecorded)]


def _grants_of_any_namespace() -> list[Any]:
    real = RoleGrant.uncovered

    def uncovered(self: RoleGrant, binding: RoleBinding, accounts: Any, labels: Any) -> str:
        return real(replace(self, namespaces=(binding.ref.namespace,)), binding, accounts, labels)

    return [patch.object(RoleGrant, "uncovered", uncovered)]


def _all_roles_at_each_event() -> list[Any]:
    real = Manager.binding_seen

    def binding_seen(self: Manager, stored: Any) -> None:
        real(self, stored)
        self.enqueue_all(self._cache.roles(), self._pace.window)

    return [
        patch.object(Manager, "binding_seen", binding_seen),
        patch("trustbind_operator.controllers.manager.queue_as", lambda _: None),
        patch.object(Manager, "_place", lambda _self, key: Place(getattr(key, "account_id", key))),
    ]


MUTANTS: Final = {
    "M01": Mutant("a throttled write is sent again without another read", _resend(ThrottledError)),
    "M02": Mutant("an unanswered write is sent again without another read", _resend(UnreachableError)),
    "M03": Mutant("the role is read before the slot and its budget are waited for", _read_before_slot),
    "M04": Mutant(
        "the age of a read is not looked at", lambda: [patch.object(WritePace, "read_age", lambda _s, _n: math.inf)]
    ),
    "M05": Mutant("a permit has no deadline", _without_deadline),
    "M06": Mutant(
        "the decision is not made again before a write",
        lambda: [patch.object(DecisionGuard, "deadline", lambda self: self._leads_until())],
    ),
    "M07": Mutant("a write is not confirmed before a release", _unconfirmed),
    "M08": Mutant(
        "the other role of a chain is not enqueued", lambda: [patch.object(Manager, "enqueue", lambda _s, _r: None)]
    ),
    "M10": Mutant("there is no survey", _no_survey),
    "M11": Mutant("the grants of retained bindings are not asked again", _retain_all),
    "M12": Mutant("both roles of a chain are written at once", _all_at_once),
    "M13": Mutant(
        "what a revoked chain keeps is written anew",
        lambda: [patch.object(role_planning, "_without_edited", lambda _d, _i, _r, claims: (list(claims), ()))],
    ),
    "M14": Mutant("some foreign statements are left out", _drop_foreign),
    "M15": Mutant(
        "finalizers do not come first", lambda: [patch.object(controller, "_lacks_finalizer", lambda _decision: False)]
    ),
    "M16": Mutant("an old event replaces a newer state", lambda: [patch.object(Objects, "is_old", lambda *_: False)]),
    "M17": Mutant("complete lists are ignored", lambda: [patch.object(EventRouter, "listed", lambda *_: None)]),
    "M18": Mutant(
        "a status that another writer changed is not looked at",
        lambda: [patch("trustbind_operator.controllers.binding.status_writer.StatusWriter.is_own", lambda *_: True)],
    ),
    "M19": Mutant(
        "a restarted operator releases a chain after one role",
        lambda: [patch.object(Rollout, "of", classmethod(lambda cls, _stored: cls()))],
    ),
    "M20": Mutant(
        "a chain is not held for its former source role",
        lambda: [patch.object(progress.Progress, "_note_former", lambda *_: None)],
    ),
    "M21": Mutant("a grant counts for every namespace", _grants_of_any_namespace, with_tenants=True),
    "M22": Mutant(
        "a further condition replaces what the statement states itself",
        lambda: [patch.object(owned_statement, "check_conditions", lambda _issuer, _key: None)],
        with_tenants=True,
    ),
    "M23": Mutant(
        "an event of any binding lets every role run, in one queue", _all_roles_at_each_event, with_tenants=True
    ),
    "M24": Mutant("what deleted bindings left stays for ever", _retained_for_ever),
    "M25": Mutant("a statement is replaced before a status has it", _unrecorded),
    "M26": Mutant(
        "a statement is replaced whatever its audience",
        lambda: [
            patch.object(adopting, "_accepted", lambda _reading, _ids: frozenset({"sts.amazonaws.com"})),
            patch.object(adopting, "_compared", lambda *_: (True, True)),
        ],
    ),
    "M27": Mutant(
        "a recorded statement is written back as it was",
        lambda: [patch.object(adoption, "restored_part", lambda _role, statement, *_: (statement, ""))],
    ),
}
"""By name."""
