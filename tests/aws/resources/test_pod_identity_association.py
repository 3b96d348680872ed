"""The associations of one namespace, over a cluster's associations in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from support.bodies import ISSUER, OTHER_ROLE, ROLE, account_body
from support.fake_eks import FakeEks
from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef
from trustbind.errors import AccessDeniedError, AwsError, ThrottledError
from trustbind.identity.subjects import Subject
from trustbind.policy.pod_identity_association import Wish
from trustbind.reconcile.association_plan import AssociationWork, NamespaceResult, NamespaceWork
from trustbind_aws.permits import ALWAYS, DecisionChangedError, WriteGuard
from trustbind_aws.resources.pod_identity_association import apply, observe, search

A, B, C = (Subject("team-a", name) for name in "abc")
ELSEWHERE = Subject("team-b", "a")
BINDING = BindingRef("team-a", "b")
THROTTLED = ThrottledError("Rate exceeded", code="ThrottlingException", operation="eks:Any")
LATE = AwsError("exists", code="ResourceInUseException", operation="eks:CreatePodIdentityAssociation")


def work_for(*wanted: Subject, goes: tuple[Subject, ...] = (), **spec: Any) -> tuple[AssociationWork, NamespaceWork]:
    """Return a run's work, and its part in namespace team-a."""
    here = NamespaceWork("team-a", frozenset((*wanted, *goes)), dict.fromkeys(wanted, Wish(BINDING)))
    account = AwsAccount.parse(account_body(eks={"clusterName": "blue", "region": "eu-central-1"}, **spec))
    assert account.eks is not None
    return AssociationWork(ROLE, ISSUER, account, account.eks, {"team-a": here}), here


def applied(
    eks: FakeEks,
    work: tuple[AssociationWork, NamespaceWork],
    guard: WriteGuard = ALWAYS,
    is_claimed: Callable[[Subject], bool] = lambda _: True,
) -> NamespaceResult:
    """Return the result of one run."""
    return asyncio.run(apply(eks, *work, guard, is_claimed))


def test_only_concerned_ones_are_described() -> None:
    """Of the namespace; one that was deleted since the list is not there."""
    eks = FakeEks()
    mine, gone = eks.has(A, ROLE, of="b"), eks.has(B, ROLE, of="b")
    eks.has(C, ROLE, of="b")
    eks.has(ELSEWHERE, ROLE, of="b")
    eks.meanwhile["described"] = [lambda: None, lambda: eks.there.pop(gone.subject)]
    assert asyncio.run(observe(eks, "team-a", {A, B, ELSEWHERE})) == (mine,)
    assert eks.calls == {"listed": 1, "described": 2}


def test_what_goes_goes_before_what_comes() -> None:
    """And the result says that nothing is left to do."""
    eks = FakeEks()
    eks.has(B, ROLE, of="b")
    eks.meanwhile["create"] = [lambda: eks.there[B]]
    with pytest.raises(KeyError):
        applied(eks, work_for(A, goes=(B,)))
    result = applied(eks, work_for(A, goes=(B,)))
    assert (result.undone, result.written, result.error) == (frozenset(), 1, None)
    assert eks.roles() == {"team-a/a": str(ROLE)}


def test_write_that_fails_keeps_what_was_done() -> None:
    """The rest is undone, and the next run finishes it."""
    eks = FakeEks()
    eks.meanwhile["create"] = [lambda: None, lambda: eks.errors.update(create=[THROTTLED])]
    result = applied(eks, work_for(A, B, C))
    assert (result.undone, result.written, result.error) == (frozenset({B, C}), 1, THROTTLED)
    assert applied(eks, work_for(A, B, C)).written == 2


def test_read_that_fails_is_raised() -> None:
    """Nothing is known then."""
    eks = FakeEks()
    eks.errors["described"] = [THROTTLED]
    eks.has(A, OTHER_ROLE, of="b")
    with pytest.raises(ThrottledError):
        applied(eks, work_for(A))
    assert eks.written == 0


def test_another_writer_is_faster_every_time() -> None:
    """It is looked at three times; then the error counts."""
    eks = FakeEks()
    eks.errors["create"] = [LATE] * 5
    result = applied(eks, work_for(A))
    assert (result.undone, result.error) == (frozenset({A}), LATE)
    assert eks.calls == {"listed": 3, "create": 3}


def test_foreign_one_in_the_place_of_ours_is_not_changed() -> None:
    """A write names the association that was read, by its id."""
    eks = FakeEks()

    def replaced() -> None:
        del eks.there[A]
        eks.has(A, OTHER_ROLE, {"owner": "ops"})

    for goes in (True, False):
        eks.has(A, ROLE if goes else OTHER_ROLE, of="b")
        eks.meanwhile = {"delete": [replaced], "change": [replaced]}
        result = applied(eks, work_for(goes=(A,)) if goes else work_for(A))
        assert eks.there[A].tags == {"owner": "ops"}
        assert set(result.planned.taken) == (set() if goes else {A})


def test_claim_that_is_lost_between_two_steps() -> None:
    """The claim is asked for before each step, so the later one is left to the other role."""
    eks = FakeEks()
    claims = {A, B}
    eks.meanwhile["create"] = [lambda: claims.discard(B)]
    result = applied(eks, work_for(A, B), is_claimed=claims.__contains__)
    assert (result.undone, result.overruled, result.written) == (frozenset({B}), frozenset({B}), 1)
    assert eks.roles() == {"team-a/a": str(ROLE)}


def test_nothing_is_written_under_observe() -> None:
    """The plan says what differs."""
    eks = FakeEks()
    eks.has(B, ROLE, of="b")
    result = applied(eks, work_for(A, goes=(B,), driftPolicy="Observe"))
    assert [str(step) for step in result.planned.steps] == [
        "delete the association of team-a/b",
        "create the association of team-a/a",
    ]
    assert (result.undone, eks.written) == (frozenset({A, B}), 0)


class _Changed:
    """A guard whose decision holds for one write."""

    def __init__(self) -> None:
        self.asked = 0

    def deadline(self) -> float:
        """Return no bound, once."""
        self.asked += 1
        if self.asked > 1:
            raise DecisionChangedError("decide again")
        return math.inf


def test_every_call_that_writes_asks_the_guard() -> None:
    """Also the second call of one step."""
    eks = FakeEks()
    eks.has(A, OTHER_ROLE, of="former")
    with pytest.raises(DecisionChangedError):
        applied(eks, work_for(A), _Changed())
    assert (eks.there[A].role, eks.calls["tag"]) == (str(ROLE), 0)


def test_search_skips_what_is_known() -> None:
    """And says which ones are foreign, and which were listed."""
    eks = FakeEks()
    mine, skipped, theirs = eks.has(A, ROLE, of="b"), eks.has(B, ROLE, of="b"), eks.has(ELSEWHERE, ROLE)
    found = asyncio.run(search(eks, ISSUER, skips=lambda each: each.subject == B))
    assert (found.ours, found.foreign) == ((mine,), frozenset({theirs.listed.id}))
    assert found.listed == {each.subject: each.listed.id for each in (mine, skipped, theirs)}
    eks.errors["described"] = [AccessDeniedError("no", code="AccessDeniedException")]
    with pytest.raises(AccessDeniedError):
        asyncio.run(search(eks, ISSUER, "team-a"))
