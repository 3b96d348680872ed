"""Asked right before each write for a role: do we lead, and does what was decided still hold?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from trustbind.policy.claim import Claim
from trustbind.reconcile.association_plan import wish_of
from trustbind.reconcile.decision import BindingDecision
from trustbind_aws.permits import DecisionChangedError

__all__ = ["DecisionGuard"]


class DecisionGuard:
    """`trustbind_aws.permits.WriteGuard` of one run.

    A run waits for finalizers, slots and answers after its decisions were made. Meanwhile a grant may have been
    withdrawn. So the decisions are made again where the cluster has changed, and a write is sent only while every claim
    that it is made of is still decided so, and while the AWSAccount is the same. What is granted in addition waits for
    the next run.

    Args:
        decisions: of the run.
        decide: makes the decisions again, from what is known now.
        is_same_account: returns whether the AWSAccount is still as it was.
        revision: returns the cache's revision.
        leads_until: see `Context`.
        may_revoke: returns whether anything may be revoked in the AWS account.
    """

    def __init__(
        self,
        decisions: Iterable[BindingDecision],
        decide: Callable[[], Iterable[BindingDecision]],
        is_same_account: Callable[[], bool],
        revision: Callable[[], int],
        leads_until: Callable[[], float],
        may_revoke: Callable[[], bool],
    ) -> None:
        self._claims = {d.stored.uid: d for d in decisions}
        self._decide = decide
        self._is_same_account = is_same_account
        self._revision = revision
        self._leads_until = leads_until
        self._checked = revision()
        self._may_revoke = may_revoke
        self._could_revoke = may_revoke()

    def deadline(self) -> float:
        """Return until when writes may be sent; see `WriteGuard`.

        Raises:
            DecisionChangedError: a claim is not decided so any more, the AWSAccount changed, or revocation was paused.
        """
        if self._could_revoke and not self._may_revoke():
            raise DecisionChangedError("revocation was paused in the AWS account")
        revision = self._revision()
        if revision != self._checked:
            if not self._is_same_account():
                raise DecisionChangedError("the AWSAccount has changed")
            now = {d.stored.uid: d for d in self._decide()}
            for uid, decision in self._claims.items():
                if not set(_wanted(decision)) <= set(_wanted(now.get(uid))):
                    raise DecisionChangedError(f"what RoleBinding {decision.stored.ref} may have has changed")
            self._checked = revision
        return self._leads_until()


def _wanted(decision: BindingDecision | None) -> Iterable[object]:
    """Return what a decision lets be written, piece by piece."""
    if decision is None:
        return
    if not decision.claims and decision.reason is None and not decision.stored.deleting:
        # A chain that waits for its other role keeps what stands of these.
        yield from ((decision.stored.uid, subject) for subject in decision.subjects)
    for claim in decision.claims:
        for piece in _pieces(claim):
            yield decision.only_keeps, decision.retains, decision.adopts, piece
    for claim in decision.restorable:
        yield from (("restorable", piece) for piece in _pieces(claim))
    if decision.cluster is not None:
        wish = wish_of(decision)
        yield from ((decision.cluster, replace(wish, trusted=_NOBODY), subject) for subject in decision.subjects)


_NOBODY: Final[frozenset[str]] = frozenset()
"""A target role that trusts less than before is seen by the run that moves an association there."""


def _pieces(claim: Claim) -> Iterable[object]:
    yield claim.key
    yield from ((claim.key, subject) for subject in claim.subjects)
