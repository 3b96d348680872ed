"""The bindings of one role by EKS Pod Identity: bring their associations in order, and update every status.

Where the role's AWSAccount names no EKS cluster, only pods are changed, and the associations have another owner.

The unit is the role; an association belongs to a service account, which two roles may want one after the other. So each
role claims its service accounts right after its bindings were decided, a service account is given a role only while
that role claims it, and one namespace of a cluster is worked on by one role at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.association_outcome import (
    RELEASED,
    NamespaceReport,
    Seen,
    association_outcome,
    blocked_outcome,
    held_bindings,
    held_outcome,
    is_settled,
    may_keep_status,
    namespace_report,
    unmanaged_outcome,
)
from trustbind.reconcile.association_plan import (
    AssociationWork,
    association_work,
    may_have_more,
    named_subjects,
)
from trustbind.reconcile.decision import BindingDecision, with_consent
from trustbind.reconcile.failure_reasons import BELIEVED_FAILURES, OF_THE_ACCOUNT, TRANSIENT
from trustbind.reconcile.outcome import BindingOutcome
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.eks import EksAssociations
from trustbind_aws.permits import WriteGuard
from trustbind_operator.controllers.context import Next
from trustbind_operator.controllers.pod_identity.claims import ServiceAccountClaims
from trustbind_operator.controllers.pod_identity.inventory import AssociationInventory, OpenCluster
from trustbind_operator.controllers.role.report import BindingReport, of_associations
from trustbind_operator.metrics import Telemetry

__all__ = ["AccountDecisions", "BindingReports", "PodIdentityController"]


class BindingReports(Protocol):
    """Writes what was reached for a binding."""

    async def store(self, stored: StoredBinding, role: RoleArn, outcome: BindingOutcome) -> None:
        """Store a binding's status."""

    async def release(self, stored: StoredBinding, reason: TrustReason, message: str) -> None:
        """Remove our finalizer from a binding."""


AccountDecisions = Callable[[str], tuple[AwsAccount | None, Iterable[BindingDecision]]]
"""Returns, for an account id, its AWSAccount and the present decision for each of its bindings by EKS Pod Identity."""


class PodIdentityController:
    """See the module. No two runs for one role overlap.

    Everything here runs on the event loop, and every value of a dictionary is immutable and replaced as a whole.

    Args:
        reports: see `BindingReports`.
        decisions_in: see `AccountDecisions`.
        pool: the AWS accounts.
        issuer: the cluster's.
        telemetry: logs and metrics.
        doubt: called with an AWSAccount that has to be checked.
        open_cluster: returns access to a cluster's associations.
    """

    def __init__(
        self,
        reports: BindingReports,
        decisions_in: AccountDecisions,
        pool: AccountPool,
        issuer: Issuer,
        telemetry: Telemetry,
        doubt: Callable[[AwsAccount], None],
        open_cluster: OpenCluster = EksAssociations,
    ) -> None:
        self._reports = reports
        self._decisions_in = decisions_in
        self._pool = pool
        self._issuer = issuer
        self._telemetry = telemetry
        self._doubt = doubt
        self._inventory = AssociationInventory(pool, issuer, open_cluster)
        self._claims = ServiceAccountClaims()
        self._blocked: dict[str, tuple[RoleArn, BindingOutcome]] = {}
        """By uid, bindings by other methods whose release is blocked, since associations of theirs may be there."""
        self._failures: dict[RoleArn, int] = {}
        """How often in a row a role's run failed for a transient reason."""

    def claim(self, role: RoleArn, decisions: Iterable[BindingDecision]) -> None:
        """Claim the service accounts that the role's bindings want; to be called right after they were decided."""
        self._claims.replace(role, _wanted(decisions))

    def concerns(self, role: RoleArn, aws_account: AwsAccount | None) -> bool:
        """Return whether associations of the role are kept, or may be left from before."""
        has_cluster = aws_account is not None and aws_account.eks is not None
        return has_cluster or bool(self._claims.of(role) or self._inventory.known(role) or self._blocked)

    def blocks_release(self, stored: StoredBinding) -> tuple[RoleArn, BindingOutcome] | None:
        """Return what to store in place of a release; None when the binding may be released."""
        return self._blocked.get(stored.uid)

    async def clear(
        self,
        role: RoleArn,
        aws_account: AwsAccount | None,
        others: Collection[BindingDecision],
        own: Collection[BindingDecision],
        guard: WriteGuard,
    ) -> Next:
        """Delete what bindings left that were by EKS Pod Identity before; to be called before any is released.

        Args:
            role: which.
            aws_account: its AWS account.
            others: the decisions for its bindings by other methods, and for those that cannot be parsed.
            own: the decisions for its bindings by EKS Pod Identity, whose associations are left to `run`.
            guard: asked right before each write.

        Raises:
            NotLeadingError: nothing may be written.
            DecisionChangedError: what was decided does not hold any more.
        """
        before = {uid for uid, (blocking, _) in self._blocked.items() if blocking == role}
        former = [d for d in others if _is_former(d, role)]
        # A statement, or a status about the present spec, says that this was done before.
        doubted = before | {d.stored.uid for d in former if d.stored.is_respecified and not d.stored.statement_id}
        reports: Mapping[str, NamespaceReport] = {}
        if aws_account is not None and aws_account.eks is not None:
            namespaces = {d.stored.ref.namespace for d in (*others, *own) if d.stored.uid in doubted}
            unseen = await self._inventory.look(aws_account, aws_account.eks, namespaces)
            spared = self._claims.of(role).union(*(named_subjects(d) for d in own))
            namespaces = {d.stored.ref.namespace for d in former}
            going = {s for s in self._inventory.known(role) - spared if s.namespace in namespaces}
            work = association_work(role, self._issuer, aws_account, aws_account.eks, (), going)
            reports = await self._apply(work, unseen, guard)
        blocked: dict[str, tuple[RoleArn, BindingOutcome]] = {}
        for decision in former:
            report = reports.get(decision.stored.ref.namespace, NamespaceReport())
            is_unseen = report.result.is_unseen and decision.stored.uid in doubted
            if report.problem is not None and (report.result.undone or is_unseen):
                blocked[decision.stored.uid] = role, blocked_outcome(decision, *report.problem)
        for uid in before - blocked.keys():
            self._blocked.pop(uid, None)
        self._blocked.update(blocked)
        return Next.RETRY if any(r.result.undone or r.result.is_unseen for r in reports.values()) else Next.NEVER

    async def run(
        self,
        role: RoleArn,
        aws_account: AwsAccount | None,
        decisions: Collection[BindingDecision],
        seen: Seen,
        guard: WriteGuard,
        paused: str = "",
    ) -> tuple[Next, list[BindingReport]]:
        """Bring the associations of one role in order, and report on its bindings.

        Args:
            role: which.
            aws_account: its AWS account.
            decisions: for its bindings by EKS Pod Identity, oldest first.
            seen: the role as its run found it.
            guard: asked right before each write.
            paused: why nothing may be revoked now, so that no association is deleted; empty when it may.

        Returns:
            When the role is due again, and a report on each chain, whose other role has a part in it.

        Raises:
            NotLeadingError: nothing may be written.
            DecisionChangedError: what was decided does not hold any more.
        """
        cluster = aws_account.eks if aws_account is not None else None
        if aws_account is None or cluster is None:
            self._inventory.forget(role)
            outcomes = [(d, unmanaged_outcome(d, role, aws_account, seen, self._issuer)) for d in decisions]
            await self._report(role, outcomes)
            return Next.RESYNC if decisions else Next.NEVER, of_associations(
                role, outcomes, aws_account, seen, self._issuer
            )
        is_readable = seen.document is not None
        if is_readable:
            decisions = with_consent(decisions, aws_account, seen.tags)
        chains: list[BindingReport] = []
        if paused:
            decisions, kept = await self._keep(role, decisions, paused)
            chains = of_associations(role, kept, aws_account, seen, self._issuer)
        held = held_bindings(decisions, seen)
        doubted = {d.stored.ref.namespace for d in decisions if may_have_more(d)}
        unseen = await self._inventory.look(aws_account, cluster, doubted)
        known = self._inventory.known(role)
        work = association_work(
            role,
            self._issuer,
            aws_account,
            cluster,
            decisions,
            known,
            kept=held,
            creates=is_readable,
            deletes=not paused,
        )
        reports = await self._apply(work, unseen, guard)
        if decisions or work.namespaces:
            written = sum(report.result.written for report in reports.values())
            self._telemetry.associated(
                role, cluster.name, written, sum(len(h.wanted) for h in work.namespaces.values())
            )
        nothing = NamespaceReport()
        outcomes = [
            (
                d,
                held_outcome(d, held[d.stored.ref])
                if d.stored.ref in held
                else association_outcome(d, work, seen, reports.get(d.stored.ref.namespace, nothing)),
            )
            for d in decisions
        ]
        if paused:  # only the status lists what EKS has, and it has to survive a restart
            outcomes = [(d, replace(outcome, subjects=named_subjects(d))) for d, outcome in outcomes]
        due = self._due(role, outcomes, seen, reports.values())
        await self._report(role, outcomes, due)
        results = {namespace: report.result for namespace, report in reports.items()}
        chains += of_associations(role, outcomes, aws_account, seen, self._issuer, results, due)
        # Under Observe, what differs is no error: it differs until a user acts, and the bindings concerned say so.
        is_absent = seen.document is None and seen.reason is TrustReason.ROLE_NOT_FOUND
        in_order = all(report.result.error is None for report in reports.values())
        if in_order and is_absent:  # its trust policy is looked for, and its associations wait for that
            return Next.NEVER, chains
        in_order = in_order and (is_readable or not decisions)
        if not in_order or not all(is_settled(decision, outcome) for decision, outcome in outcomes):
            return Next.RETRY, chains
        return Next.RESYNC if decisions or self._inventory.known(role) else Next.NEVER, chains

    async def _keep(
        self, role: RoleArn, decisions: Iterable[BindingDecision], paused: str
    ) -> tuple[list[BindingDecision], list[tuple[BindingDecision, BindingOutcome]]]:
        """Report on the bindings whose associations stay although they are to go; return the others, and these."""
        kept = [d for d in decisions if d.cluster is None and d.stored.guarded and not d.retains]
        outcomes = []
        for d in kept:
            text = f"{d.message}; its associations stay: {paused}"
            subjects = named_subjects(d)
            reason = TrustReason.REVOCATION_PAUSED
            outcomes.append((d, BindingOutcome(d.authorized, d.message, reason, text, subjects, may_linger=True)))
        await self._report(role, outcomes)
        return [d for d in decisions if d not in kept], outcomes

    async def survey(self, account_id: str) -> frozenset[RoleArn]:
        """Return the roles whose associations may differ from what is wanted; see `AssociationInventory.survey`.

        Raises:
            AwsError: a call failed.
        """
        aws_account, decisions = self._decisions_in(account_id)
        if aws_account is None or aws_account.eks is None:
            return frozenset()
        wanted = {
            subject: decision.stored.binding.association_role
            for decision in decisions
            if decision.cluster is not None and decision.stored.binding is not None
            for subject in decision.subjects
        }
        return await self._inventory.survey(aws_account, aws_account.eks, wanted)

    async def _apply(
        self, work: AssociationWork, unseen: Mapping[str, AwsError], guard: WriteGuard
    ) -> Mapping[str, NamespaceReport]:
        """Work on every namespace; return the reports, after logs, metrics and the pool have them."""
        results = await self._inventory.reconcile(work, unseen, guard, partial(self._claims.has, work.role))
        reports = {namespace: namespace_report(work, namespace, result) for namespace, result in results.items()}
        for report in reports.values():
            error = report.result.error
            if error is None or report.problem is None:
                continue
            self._pool.refused(work.aws_account, error)
            if report.problem[0] in OF_THE_ACCOUNT and not error.operation.startswith("eks:"):
                self._doubt(work.aws_account)
        for reason, message in sorted({report.problem for report in reports.values() if report.problem is not None}):
            self._telemetry.failed(work.role, reason, message)
        return reports

    def _due(
        self,
        role: RoleArn,
        outcomes: Collection[tuple[BindingDecision, BindingOutcome]],
        seen: Seen,
        reports: Collection[NamespaceReport],
    ) -> frozenset[BindingRef]:
        """Return the bindings to report on; one keeps its status for the first transient failures in a row."""
        reasons = {report.problem[0] for report in reports if report.problem is not None}
        if seen.document is None:
            reasons.add(seen.reason)
        failures = 0 if TRANSIENT.isdisjoint(reasons) else self._failures.get(role, 0) + 1
        if failures:
            self._failures[role] = failures
        else:
            self._failures.pop(role, None)
        overruled = frozenset[Subject]().union(*(report.result.overruled for report in reports))
        return frozenset(
            decision.stored.ref
            for decision, outcome in outcomes
            # Where another role has the claim now, its run comes next, and then this role's again.
            if overruled.isdisjoint(decision.subjects)
            and not (failures < BELIEVED_FAILURES and may_keep_status(decision, outcome))
        )

    async def _report(
        self,
        role: RoleArn,
        outcomes: Iterable[tuple[BindingDecision, BindingOutcome]],
        due: Collection[BindingRef] | None = None,
    ) -> None:
        """Report on all bindings, or those that are ``due``, except chains."""

        async def report(decision: BindingDecision, outcome: BindingOutcome) -> None:
            if decision.stored.deleting and outcome.reason in RELEASED:
                await self._reports.release(decision.stored, outcome.reason, outcome.message)
            else:
                await self._reports.store(decision.stored, role, outcome)

        await asyncio.gather(
            *(report(d, o) for d, o in outcomes if not d.stored.is_chain and (due is None or d.stored.ref in due))
        )


def _wanted(decisions: Iterable[BindingDecision]) -> frozenset[Subject]:
    return frozenset(s for d in decisions if d.cluster is not None for s in d.subjects)


def _is_former(decision: BindingDecision, role: RoleArn) -> bool:
    """Return whether a binding by another method may have had associations with the role."""
    binding = decision.stored.binding
    return decision.stored.guarded and (binding is None or binding.role == role)
