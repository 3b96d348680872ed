"""The bindings of one role by EKS Pod Identity: their associations are kept, and each is told what came of it.

Where the role's AWSAccount names no EKS cluster, only the pods are seen to, and the associations are somebody else's.

The unit is the role, as everywhere; an association belongs to a service account, for which two roles may follow each
other. So each role claims its accounts as soon as its bindings have been judged, a write is made only while the claim
is that role's, and one namespace of a cluster is worked on by one role at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from trustbind.api.aws_account import AwsAccount, DriftPolicy, EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity import BINDING_TAG, OWNER_TAG, owner_of
from trustbind.policy.pod_identity_association import Act, Association, Step, plan_associations
from trustbind.reasons import TrustReason
from trustbind_aws.account_pool import MismatchError
from trustbind_aws.eks import AssociationStore
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import SHOWN_SUBJECTS, BindingOutcome, ready_condition
from trustbind_operator.controllers.binding.decision import Verdict, judge, with_consent
from trustbind_operator.controllers.binding.failure_reasons import (
    BELIEVED_FAILURES,
    OF_THE_ACCOUNT,
    TRANSIENT,
    association_failure,
)
from trustbind_operator.controllers.context import Context, Next
from trustbind_operator.controllers.pod_identity.inventory import AssociationSurvey
from trustbind_operator.controllers.pod_identity.outcome import (
    INJECTED_ONLY,
    Result,
    Seen,
    Teller,
    Wish,
    accounts_of,
    kept_for,
    observed,
    trust_left,
)

__all__ = ["AssociationWork"]

Store = Callable[[BindingEntry, RoleArn, BindingOutcome], Awaitable[None]]
Release = Callable[[BindingEntry, TrustReason, str], Awaitable[None]]

_ROUNDS: Final = 3
"""How often a namespace is listed again because somebody else wrote in it meanwhile."""

_GOING: Final = frozenset({TrustReason.REVOKED, TrustReason.RETAINED})

_OVERTAKEN: Final = frozenset({"ResourceInUseException", "ResourceNotFoundException", "NotFoundException"})


class AssociationWork:
    """See the module. No two runs for one role overlap.

    Args:
        context: the world around.
        store: writes a binding's status.
        release: lets a binding go.
        doubted: takes names of AWSAccounts that there was trouble with.
    """

    def __init__(self, context: Context, store: Store, release: Release, doubted: set[str]) -> None:
        self._context = context
        self._store = store
        self._release = release
        self._doubted = doubted
        self._claims: dict[tuple[str, Subject], RoleArn] = {}
        """Account id and service account to the role whose bindings want it."""
        self._claimed: dict[RoleArn, set[Subject]] = {}
        """The same from the other side, roles without a claim left out."""
        self._known: dict[RoleArn, set[Subject]] = {}
        """Accounts that have, or may have, an association of ours with the role."""
        self.kept: dict[BindingRef, tuple[RoleArn, BindingOutcome]] = {}
        """Bindings by other methods that must not be let go, since associations of theirs may be there."""
        self._failures: dict[RoleArn, int] = {}
        self._survey = AssociationSurvey(context)

    def claim(self, role: RoleArn, verdicts: Iterable[Verdict]) -> None:
        """Take note of what the role's bindings want now; to be called right after they were judged."""
        wanted = {s for v in verdicts if v.cluster is not None for s in v.subjects}
        for subject in self._claimed.pop(role, set()) - wanted:
            if self._claims.get((role.account_id, subject)) == role:
                del self._claims[role.account_id, subject]
        if wanted:
            self._claimed[role] = wanted
            self._claims.update({(role.account_id, subject): role for subject in wanted})

    async def clear(
        self, role: RoleArn, account: AwsAccount | None, others: list[Verdict], by_agent: list[Verdict]
    ) -> Next:
        """Delete what bindings left that were by EKS Pod Identity before; to be called before any of them is let go.

        Args:
            role: which.
            account: that it belongs to.
            others: verdicts on its bindings by other methods, and on unreadable ones.
            by_agent: verdicts on those by EKS Pod Identity; what is theirs is left to `run`.
        """
        refs = {verdict.entry.ref for verdict in (*others, *by_agent)}
        before = {ref for ref in refs if ref in self.kept and self.kept[ref][0] == role}
        for ref in before:
            del self.kept[ref]
        if account is None or account.eks is None:
            return Next.NEVER
        former = [v for v in others if v.entry.guarded and (v.entry.binding is None or v.entry.binding.role == role)]
        # A statement of its own, or a status about this spec, says that this was done: EKS is not asked for nothing.
        doubted = before | {
            v.entry.ref for v in former if _is_respecified(v.entry) and not v.entry.status.get("statementId")
        }
        unknown = await self._look_around(account, account.eks, {ref.namespace for ref in doubted})
        namespaces = {v.entry.ref.namespace for v in former}
        spared = self._claimed.get(role, set()) | {s for v in by_agent for s in accounts_of(v)}
        going = {s for s in self._known.get(role, set()) - spared if s.namespace in namespaces}
        if not going and not unknown:
            return Next.NEVER
        wish = Wish({}, set(), going, set())
        result = await self._bring_about(role, account, account.eks, wish, unknown)
        self._remember(role, wish, result)
        troubles = self._troubles(role, account, account.eks, result)
        undone = {subject.namespace for subject in result.undone}
        for verdict in former:
            ref = verdict.entry.ref
            if ref.namespace in undone or (ref in doubted and ref.namespace in unknown):
                self.kept[ref] = role, kept_for(verdict, *troubles[ref.namespace])
        return Next.RETRY if undone or unknown else Next.NEVER

    async def run(self, role: RoleArn, account: AwsAccount | None, verdicts: list[Verdict], seen: Seen) -> Next:
        """Bring the associations of one role in order.

        Args:
            role: which.
            account: that it belongs to.
            verdicts: on its bindings by EKS Pod Identity.
            seen: the role as it is.
        """
        cluster = account.eks if account is not None else None
        if account is None or cluster is None:
            self._known.pop(role, None)
            self._survey.forget(role.account_id)
            for verdict in verdicts:
                await self._untended(role, account, verdict, seen)
            return Next.RESYNC if verdicts else Next.NEVER
        if seen.document is not None:
            verdicts = with_consent(verdicts, account, seen.tags)
        doubted = {v.entry.ref.namespace for v in verdicts if _is_doubtful(v)}
        unknown = await self._look_around(account, cluster, doubted)
        wish = self._wish(role, verdicts, readable=seen.document is not None)
        result = await self._bring_about(role, account, cluster, wish, unknown)
        self._remember(role, wish, result)
        troubles = self._troubles(role, account, cluster, result)
        if verdicts or wish.looked_at:
            self._context.observer.associated(role, cluster.name, result.written, len(wish.wanted))
        teller = Teller(role, account, cluster, self._context.issuer, seen, wish, result, troubles)
        busy = {reason for reason, _ in troubles.values()} | ({seen.reason} if seen.document is None else set())
        if not busy.isdisjoint(TRANSIENT):
            self._failures[role] = self._failures.get(role, 0) + 1
        else:
            self._failures.pop(role, None)
        # What differs where nothing is written differs until somebody acts, and a binding that waits for that says so.
        in_order = not result.errors and (seen.document is not None or not verdicts)
        told = [(verdict, teller.outcome(verdict)) for verdict in verdicts]
        # Of an account that another role has claimed since, that role's turn is still to come, and then this one's.
        await asyncio.gather(
            *(self._conclude(role, v, outcome) for v, outcome in told if result.overruled.isdisjoint(v.subjects))
        )
        if not in_order or not all(_is_settled(verdict, outcome) for verdict, outcome in told):
            return Next.RETRY
        return Next.RESYNC if verdicts or self._known.get(role) else Next.NEVER

    async def orphans(self, account_id: str) -> set[RoleArn]:
        """Return roles that have associations of ours which no binding wants; `run` of such a role deletes them.

        Raises:
            AwsError: the cluster's associations cannot be listed.
        """
        registry = self._context.registry
        account = registry.aws_account(account_id)
        cluster = account.eks if account is not None else None
        if account is None or cluster is None:
            return set()
        wanted: set[Subject] = set()
        for entry in list(registry.bindings.values()):
            binding = entry.binding
            if (
                binding is not None
                and binding.method.uses_pod_identity_association
                and binding.role.account_id == account_id
                and (verdict := judge(entry, registry, binding.role)).cluster is not None
            ):
                wanted.update(verdict.subjects)
        found = await self._survey.unwanted(account, cluster, wanted)
        return self._found(account_id, found)

    # --- the work in EKS ------------------------------------------------------------------------------------------

    async def _bring_about(
        self, role: RoleArn, account: AwsAccount, cluster: EksCluster, wish: Wish, unknown: Mapping[str, AwsError]
    ) -> Result:
        """Do what can be done, except in namespaces of which nobody knows what is there."""
        result = Result(set(wish.looked_at), unknown=set(unknown), errors=dict(unknown))
        namespaces = {subject.namespace for subject in wish.looked_at} - result.unknown
        _, errors = await self._survey.in_each(
            account, namespaces, lambda namespace: self._in_namespace(namespace, role, account, cluster, wish, result)
        )
        result.errors.update(errors)
        return result

    async def _look_around(
        self, account: AwsAccount, cluster: EksCluster, namespaces: Iterable[str]
    ) -> Mapping[str, AwsError]:
        """Remember every association of ours in some namespaces; return where and why that failed."""
        found, errors = await self._survey.survey(account, cluster, namespaces)
        self._found(account.account_id, found)
        return errors

    def _found(self, account_id: str, associations: Iterable[Association]) -> set[RoleArn]:
        """Remember associations of ours; return their roles."""
        roles: set[RoleArn] = set()
        for association in associations:
            try:
                role = RoleArn.parse(association.role)
            except InvalidValueError:
                continue
            if role.account_id == account_id:
                self._known.setdefault(role, set()).add(association.subject)
                roles.add(role)
        return roles

    def _in_namespace(
        self, namespace: str, role: RoleArn, account: AwsAccount, cluster: EksCluster, wish: Wish, result: Result
    ) -> None:
        store = self._survey.store(account, cluster)
        issuer = self._context.issuer
        wanted = {s: ref for s, ref in wish.wanted.items() if s.namespace == namespace}
        looked_at = {s for s in wish.looked_at if s.namespace == namespace}
        for last in (*(False,) * (_ROUNDS - 1), True):
            found = [store.described(each) for each in store.listed(namespace) if each.subject in looked_at]
            present = [association for association in found if association is not None]
            planned = plan_associations(str(role), issuer, wanted, present, wish.retained)
            steps = {step.subject: step for step in planned.steps}
            ours = {s for s in steps if s not in wanted or self._claims.get((role.account_id, s)) == role}
            result.planned(namespace, planned, overruled=steps.keys() - ours)
            if account.drift_policy is DriftPolicy.OBSERVE:
                result.differs |= {subject: steps[subject] for subject in ours}
                return
            try:
                for step in planned.steps:
                    if step.subject in ours:
                        _carry_out(store, str(role), step)
                        result.written += 1
                        result.undone.discard(step.subject)
            except AwsError as error:
                if last or error.code not in _OVERTAKEN:
                    raise
                continue
            return

    # --- before and after -----------------------------------------------------------------------------------------

    def _wish(self, role: RoleArn, verdicts: list[Verdict], *, readable: bool) -> Wish:
        """Return what is to be brought about; of a role that cannot be read, only what goes."""
        wanted: dict[Subject, BindingRef] = {}
        for verdict in verdicts:
            if verdict.cluster is not None:
                for subject in verdict.subjects:
                    wanted.setdefault(subject, verdict.entry.ref)
        retained = {s for v in verdicts if v.retains for s in v.subjects}
        named = {s for v in verdicts if v.entry.guarded for s in accounts_of(v)}
        looked_at = self._known.get(role, set()) | named
        if not readable:
            return Wish({}, retained, looked_at - wanted.keys(), named)
        return Wish(wanted, retained, looked_at | wanted.keys(), named)

    def _remember(self, role: RoleArn, wish: Wish, result: Result) -> None:
        untouched = self._known.get(role, set()) - wish.looked_at
        known = untouched | result.undone | (wish.wanted.keys() - result.taken.keys() - result.lent)
        if known:
            self._known[role] = known
        else:
            self._known.pop(role, None)

    def _troubles(
        self, role: RoleArn, account: AwsAccount, cluster: EksCluster, result: Result
    ) -> dict[str, tuple[TrustReason, str]]:
        """Return, by namespace, what is in the way of everything that is not as it should be."""
        context = self._context
        troubles: dict[str, tuple[TrustReason, str]] = {}
        for namespace, error in result.errors.items():
            context.accounts.refused(account, error)
            troubles[namespace] = (
                (TrustReason.ACCOUNT_MISMATCH, error.problem)
                if isinstance(error, MismatchError)
                else association_failure(account, cluster, role, error)
            )
            if troubles[namespace][0] in OF_THE_ACCOUNT and not error.operation.startswith("eks:"):
                self._doubted.add(account.name)
        differing: dict[str, list[Step]] = {}
        for subject, step in sorted(result.differs.items()):
            differing.setdefault(subject.namespace, []).append(step)
        for namespace, steps in differing.items():
            troubles.setdefault(namespace, (TrustReason.OBSERVED, observed(account, cluster, steps)))
        for reason, message in sorted(set(troubles.values())):
            context.observer.failed(role, reason, message)
        return troubles

    async def _conclude(self, role: RoleArn, verdict: Verdict, outcome: BindingOutcome) -> None:
        """Tell one binding what came of it."""
        if verdict.entry.deleting and outcome.reason in _GOING:
            await self._release(verdict.entry, outcome.reason, outcome.message)
        elif not self._is_believed(role, verdict, outcome):
            await self._store(verdict.entry, role, outcome)

    def _is_believed(self, role: RoleArn, verdict: Verdict, outcome: BindingOutcome) -> bool:
        """Return whether a binding keeps its status although nobody could look; one that is newly refused does not."""
        entry = verdict.entry
        ready = ready_condition(entry.status)
        return (
            outcome.reason in TRANSIENT
            and self._failures.get(role, 0) < BELIEVED_FAILURES
            and ready is not None
            and entry.status.get("observedGeneration") == entry.generation
            and (verdict.reason is None or ready.get("status") != "True")
        )

    async def _untended(self, role: RoleArn, account: AwsAccount | None, verdict: Verdict, seen: Seen) -> None:
        """Deal with a binding whose associations nobody keeps, or keeps any more."""
        entry = verdict.entry
        if account is not None and (lingering := trust_left(verdict, seen)) is not None:
            await self._store(entry, role, lingering)
            return
        statement = entry.status.get("statementId")
        if entry.deleting:
            where = (
                f"no AWSAccount describes {role.account_id} any more"
                if account is None
                else f"AWSAccount {account.name} names no EKS cluster any more (spec.eks)"
            )
            left = (
                f"{where}, so associations of this binding may be left there; they have the tag "
                f"{OWNER_TAG}={owner_of(self._context.issuer)}"
            )
            if account is None and statement:
                left += f"; so may its statement {statement} in the trust policy of {role}"
            await self._release(entry, TrustReason.ACCOUNT_UNKNOWN, left)
            return
        message = verdict.message if verdict.reason is not None else INJECTED_ONLY
        outcome = BindingOutcome(verdict.authorized, verdict.message, verdict.reason, message, verdict.subjects)
        # A statement from another method is not forgotten while nobody can take it back.
        await self._store(entry, role, replace(outcome, may_linger=account is None))


def _carry_out(store: AssociationStore, role: str, step: Step) -> None:
    association = step.association
    if association is not None and step.act is Act.REPLACE:
        store.delete(association)
    if association is None or step.act is Act.REPLACE:
        store.create(step.subject.namespace, step.subject.name, role, step.tags)
    elif step.act is Act.DELETE:
        store.delete(association)
    elif step.act is Act.DISOWN:
        store.untag(association, (OWNER_TAG, BINDING_TAG))
    else:
        if association.role != role:
            store.move(association, role)
        if step.tags:
            store.tag(association, step.tags)


def _is_respecified(entry: BindingEntry) -> bool:
    """Return whether the binding's status is about another spec than its own; one that is new has none.

    Kubernetes counts a deletion as a generation, too (apiserver, registry/generic/registry/store.go, markAsDeleting). A
    status of that one is of a binding that was kept, perhaps for what is asked here.
    """
    generation = entry.generation - 1 if entry.deleting else entry.generation
    return entry.binding is None or entry.status.get("observedGeneration", 1) != generation


def _is_doubtful(verdict: Verdict) -> bool:
    """Return whether more may be there for a binding than it names, and its status says that it named."""
    entry = verdict.entry
    listed = len(entry.status.get("subjects") or ())
    return entry.guarded and (
        entry.deleting or verdict.reason is not None or listed >= SHOWN_SUBJECTS or _is_respecified(entry)
    )


def _is_settled(verdict: Verdict, outcome: BindingOutcome) -> bool:
    """Return whether a binding is as it should be, or is refused for what only its user or a grant can change."""
    return outcome.reason in {None, verdict.reason, *_GOING}
