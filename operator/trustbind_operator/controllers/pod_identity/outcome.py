"""What came of the bindings by EKS Pod Identity of one role: from a run's result to a sentence for each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from trustbind.api.aws_account import AwsAccount, EksCluster
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AwsError, InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.pod_identity import untrusted
from trustbind.policy.pod_identity_association import Association, AssociationPlan, Step
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind_operator.cluster.cache import BindingEntry
from trustbind_operator.cluster.conditions import BindingOutcome, is_in_step, ready_condition
from trustbind_operator.controllers.binding.decision import Verdict

__all__ = [
    "INJECTED_ONLY",
    "Result",
    "Seen",
    "Teller",
    "Wish",
    "accounts_of",
    "is_by_agent",
    "is_left_in_step",
    "kept_for",
    "observed",
    "trust_left",
]

INJECTED_ONLY: Final = "pods get container credentials; the association with the role is EKS's"
"""What a binding is told of which only the pods are seen to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The role as its commit found it.

    Attributes:
        document: its trust policy; None when it could not be read.
        tags: its tags.
        reason: why it could not be read.
        message: the sentence about that.
        problem: why its trust policy is not as it should be, though it could be read; None when it is.
    """

    document: TrustDocument | None
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: TrustReason = TrustReason.AWS_FAILED
    message: str = ""
    problem: tuple[TrustReason, str] | None = None

    def left(self, entry: BindingEntry) -> tuple[TrustReason, str] | None:
        """Return why a statement that a binding had by another method may stand still; None when none does."""
        if not entry.status.get("statementId") or (self.document is None and self.reason is TrustReason.ROLE_NOT_FOUND):
            return None
        return self.problem if self.document is not None else (self.reason, self.message)


@dataclass(slots=True)
class Wish:
    """What one run is to bring about: plain values, since a thread reads them.

    Attributes:
        wanted: accounts and the binding of each.
        retained: accounts whose association is left.
        looked_at: all accounts that may have an association of ours with the role, or should.
        named: accounts that the role's bindings name, or named by their statuses.
    """

    wanted: dict[Subject, BindingRef]
    retained: set[Subject]
    looked_at: set[Subject]
    named: set[Subject]


@dataclass(slots=True)
class Result:
    """What came of it.

    Attributes:
        undone: accounts whose association is not as it should be.
        differs: of these, what would be done where nothing is written.
        overruled: accounts that another role has claimed since.
        taken: see `AssociationPlan`.
        lent: see `AssociationPlan`.
        written: calls that changed something.
        unknown: namespaces of which nobody could see what of ours is there.
        errors: by namespace, what stopped the rest there.
    """

    undone: set[Subject]
    differs: dict[Subject, Step] = field(default_factory=dict)
    overruled: set[Subject] = field(default_factory=set)
    taken: dict[Subject, Association] = field(default_factory=dict)
    lent: set[Subject] = field(default_factory=set)
    written: int = 0
    unknown: set[str] = field(default_factory=set)
    errors: dict[str, AwsError] = field(default_factory=dict)

    def planned(self, namespace: str, plan: AssociationPlan, *, overruled: Collection[Subject]) -> None:
        """Take note of a plan for a namespace, which may not be the first one."""
        self.undone = _elsewhere(self.undone, namespace) | {step.subject for step in plan.steps}
        self.overruled = _elsewhere(self.overruled, namespace) | set(overruled)
        self.lent = _elsewhere(self.lent, namespace) | plan.lent
        self.taken = {s: a for s, a in self.taken.items() if s.namespace != namespace} | dict(plan.taken)


@dataclass(frozen=True, slots=True)
class Teller:
    """What came of each binding of one run. Pure.

    Attributes:
        troubles: by namespace, what is in the way of what is not as it should be there.
    """

    role: RoleArn
    account: AwsAccount
    cluster: EksCluster
    issuer: Issuer
    seen: Seen
    wish: Wish
    result: Result
    troubles: Mapping[str, tuple[TrustReason, str]]

    def outcome(self, verdict: Verdict) -> BindingOutcome:
        """Return what came of one binding."""
        sentence = verdict.message
        held_up = self._held_up(verdict)
        left = trust_left(verdict, self.seen)
        if verdict.entry.deleting:
            if held_up is not None:
                return kept_for(verdict, *held_up)
            if left is not None:
                return left
            reason = TrustReason.RETAINED if verdict.retains else TrustReason.REVOKED
            text = f"the associations of {self.role} in EKS cluster {self.cluster.name} are as they should be"
            return BindingOutcome(None, "", reason, text)
        if verdict.reason is not None:
            if held_up is not None:
                reason, message = held_up
                text = f"{sentence}; its associations could not be deleted: {message}"
                return BindingOutcome(verdict.authorized, sentence, reason, text, accounts_of(verdict), may_linger=True)
            if left is not None:
                return left
            return BindingOutcome(verdict.authorized, sentence, verdict.reason, sentence, verdict.subjects)
        if left is not None:
            return left
        problem = self._problem(verdict, held_up)
        if problem is not None:
            return BindingOutcome(verdict.authorized, sentence, *problem, accounts_of(verdict))
        text = _applied(self.role, self.cluster, len(verdict.subjects))
        lent = sorted(s.name for s in verdict.subjects if s in self.result.lent)
        if lent:
            text += f"; somebody else keeps the association of {', '.join(lent)}, and it names the same role"
        return BindingOutcome(verdict.authorized, sentence, None, text, verdict.subjects)

    def _held_up(self, verdict: Verdict) -> tuple[TrustReason, str] | None:
        """Return why the binding's associations are not as they should be; None when they are."""
        concerned = set(accounts_of(verdict)) if verdict.entry.guarded or verdict.cluster is not None else set()
        undone = self.result.undone | self.result.differs.keys()
        if concerned & undone or (self._is_going(verdict) and self._has_strays(verdict.entry.ref.namespace)):
            return self.troubles.get(verdict.entry.ref.namespace)
        return None

    def _has_strays(self, namespace: str) -> bool:
        """Return whether something in a namespace should have gone, or may have to, and nobody knows for which binding.

        It may have been for any binding that goes; one that is let go early would leave it.
        """
        left = (self.result.undone | self.result.differs.keys()) - self.wish.wanted.keys() - self.wish.named
        return namespace in self.result.unknown or any(subject.namespace == namespace for subject in left)

    @staticmethod
    def _is_going(verdict: Verdict) -> bool:
        return verdict.entry.guarded and (verdict.entry.deleting or verdict.reason is not None)

    def _problem(self, verdict: Verdict, held_up: tuple[TrustReason, str] | None) -> tuple[TrustReason, str] | None:
        document = self.seen.document
        if document is None:
            return self.seen.reason, self.seen.message
        closed = untrusted(document, self.role, self.cluster, verdict.subjects)
        error = self.result.errors.get(verdict.entry.ref.namespace)
        # EKS looks at the trust policy, too, and says less about it.
        if closed and (held_up is None or (error is not None and error.code == "InvalidParameterException")):
            held_up = (TrustReason.UNTRUSTED, closed)
        if taken := [self.result.taken[s] for s in verdict.subjects if s in self.result.taken]:
            return TrustReason.ASSOCIATION_TAKEN, self._taken(taken)
        return held_up

    def _taken(self, taken: list[Association]) -> str:
        first = taken[0]
        where = f"{first.subject.namespace}/{first.subject.name}"
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        return (
            f"EKS cluster {self.cluster.name} associates service account {where}{more} with {first.gives} already, and "
            f"somebody else made that association; delete it (aws eks delete-pod-identity-association --cluster-name "
            f"{self.cluster.name} --region {self.cluster.region} --association-id {first.listed.id}), or take the "
            "account out of this binding"
        )


def kept_for(verdict: Verdict, reason: TrustReason, message: str) -> BindingOutcome:
    """Return the outcome of a binding that cannot be let go because of its associations."""
    text = f"its associations could not be deleted, so it is kept: {message}"
    return BindingOutcome(None, "", reason, text, accounts_of(verdict), may_linger=True)


def trust_left(verdict: Verdict, seen: Seen) -> BindingOutcome | None:
    """Return the outcome of a binding whose statement from another method may stand still; None when none does."""
    left = seen.left(verdict.entry)
    if left is None:
        return None
    reason, message = left
    if verdict.entry.deleting:
        text = f"its trust could not be revoked, so it is kept: {message}"
        return BindingOutcome(None, "", reason, text, accounts_of(verdict), may_linger=True)
    text = f"the trust that it had by another method could not be revoked: {message}"
    if verdict.reason is not None:
        text = f"{verdict.message}; its trust could not be revoked: {message}"
    return BindingOutcome(verdict.authorized, verdict.message, reason, text, accounts_of(verdict), may_linger=True)


def is_by_agent(verdict: Verdict) -> bool:
    """Return whether EKS's agent gives the credentials; then nothing of the binding is in a trust policy."""
    binding = verdict.entry.binding
    return binding is not None and binding.method.uses_pod_identity_association


def is_left_in_step(entry: BindingEntry, verdict: Verdict, issuer: Issuer) -> bool:
    """Return whether the status of a binding by EKS Pod Identity says that it was left in order."""
    ready = ready_condition(entry.status) or {}
    if verdict.cluster is not None and entry.binding is not None:
        expected = _applied(entry.binding.role, verdict.cluster, len(verdict.subjects))
        return (
            entry.guarded
            and is_in_step(entry.status, entry.generation, issuer, verdict.subjects, "")
            and str(ready.get("message")).startswith(expected)
        )
    told = (TrustReason.APPLIED.value, INJECTED_ONLY) if verdict.reason is None else (verdict.reason, verdict.message)
    return (
        (ready.get("reason"), ready.get("message")) == told
        and entry.status.get("observedGeneration") == entry.generation
        and "statementId" not in entry.status
    )


def _elsewhere(subjects: Collection[Subject], namespace: str) -> set[Subject]:
    return {subject for subject in subjects if subject.namespace != namespace}


def observed(account: AwsAccount, cluster: EksCluster, steps: Iterable[Step]) -> str:
    """Return the sentence about steps that are not taken where nothing is written."""
    what = ", ".join(str(step) for step in steps)
    return (
        f"AWSAccount {account.name} has driftPolicy Observe, so no association is written in EKS cluster "
        f"{cluster.name}; it differs: {what}"
    )


def _applied(role: RoleArn, cluster: EksCluster, count: int) -> str:
    plural = "" if count == 1 else "s"
    where = f"EKS cluster {cluster.name} in {cluster.region}"
    return f"{where} associates {count} service account{plural} of this binding with {role}"


def accounts_of(verdict: Verdict) -> tuple[Subject, ...]:
    """Return the accounts that a binding names, and those of its namespace that its status says it named.

    Whoever may write a status must not reach the accounts of others by it.
    """
    named = set(verdict.subjects)
    for text in verdict.entry.status.get("subjects") or ():
        try:
            subject = Subject.parse(str(text))
        except InvalidValueError:
            continue
        if subject.namespace == verdict.entry.ref.namespace:
            named.add(subject)
    return tuple(sorted(named))
