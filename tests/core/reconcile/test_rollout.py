"""Chains: which claims are due in which role at each moment, and what the binding's status says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.bodies import ISSUER, OPS, ROLE, account_body, binding_body
from support.scenario_world import World
from trustbind.api.role_binding import Method
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import ChainKey, WebIdentityKey, build, sid_of
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import BindingDecision, decide
from trustbind.reconcile.observation import AccountFacts, Facts, RoleObservation
from trustbind.reconcile.outcome import BindingOutcome, chain_outcome, outcome_of, progress_of
from trustbind.reconcile.role_plan import RolePlan, RoleWork, plan_role
from trustbind.reconcile.rollout import NOT_STARTED, RoleProgress, Rollout

SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
CHAIN: dict[str, Any] = {"method": "AssumeRole", "source": {"roleArn": str(SOURCE)}, "externalId": "x-1"}
DELETED = {"deletionTimestamp": "2026-01-02T00:00:00Z"}
REFUSED = (TrustReason.NO_CONSENT, "no tag")
APPLIED = {"statementId": "Trustbind0000000000000000"}


def world() -> World:
    """Return a world in which both AWS accounts are described and everything is granted."""
    made = World()
    made.has_account()
    made.has_account(account_body("near", SOURCE.account_id))
    return made


class Chain:
    """One chain, and how far it has come.

    Attributes:
        rollout: how far.
    """

    def __init__(
        self, made: World, metadata: dict[str, Any] | None = None, status: dict[str, Any] | None = None
    ) -> None:
        self._world = made
        self._stored = made.has_binding(binding_body(metadata=metadata, status=status, **CHAIN))
        self.rollout = Rollout.of(self._stored)

    def decision(self, role: RoleArn) -> BindingDecision:
        """Return the decision for a role, with the claims that are due there now."""
        snapshot = self._world.cache.snapshot_of(self._stored, role, {self._stored.uid: self.rollout})
        (decision,) = decide(snapshot)
        return decision

    def keys(self, role: RoleArn) -> list[type]:
        """Return what kinds of claims are due in a role now."""
        return [type(claim.key) for claim in self.decision(role).claims]

    def runs(
        self, role: RoleArn, *, stands: bool, refusal: tuple[TrustReason, str] | None = None, failure: str = ""
    ) -> BindingOutcome:
        """Record a run of a role; return the outcome of the chain.

        Args:
            role: whose run.
            stands: whether the claims stand there after it.
            refusal: why the role itself refuses.
            failure: why the run failed.
        """
        decision = self.decision(role)
        if refusal is not None:
            decision = replace(decision, authorized=False, reason=refusal[0], message=refusal[1], claims=())
        outcome = BindingOutcome(
            authorized=True,
            authorization="granted",
            reason=TrustReason.ROLE_NOT_FOUND if failure else decision.reason,
            message=failure or "well",
            subjects=decision.subjects,
        )
        problem = (TrustReason.ROLE_NOT_FOUND, failure) if failure else None
        self.rollout = self.rollout.with_progress(role, RoleProgress(stands, refusal, problem))
        return chain_outcome(decision, role, outcome, self.rollout, ISSUER)


def planned(made: World, role: RoleArn, *decisions: BindingDecision) -> RolePlan:
    """Return the plan of a role whose trust policy is empty; nothing is known of its AWS account."""
    account = made.cache.aws_account(role.account_id)
    assert account is not None
    return plan_role(
        RoleWork(role, ISSUER, account, decisions), Facts(AccountFacts()), RoleObservation(TrustDocument(()))
    )


def test_far_end_first() -> None:
    """Nobody is trusted by the source role before the target role trusts it; then the chain is whole."""
    made = world()
    chain = Chain(made)
    assert chain.decision(ROLE).reason is None
    assert chain.keys(SOURCE) == []
    assert chain.keys(ROLE) == [ChainKey]
    assert planned(made, SOURCE, chain.decision(SOURCE)).targets == ()

    half = chain.runs(ROLE, stands=True)

    assert (half.reason, half.statement_id) == (TrustReason.PENDING, "")
    assert chain.keys(SOURCE) == [WebIdentityKey]
    assert planned(made, SOURCE, chain.decision(SOURCE)).targets == (ROLE,)
    whole = chain.runs(SOURCE, stands=True)
    assert whole.reason is None
    assert whole.statement_id == sid_of(ISSUER, ChainKey(SOURCE, "x-1"))
    assert str(SOURCE) in whole.message


def test_near_end_first() -> None:
    """A chain that is deleted keeps its far end until the near one is closed, and is released when both are."""
    chain = Chain(world(), DELETED, APPLIED)
    assert chain.keys(ROLE) == [ChainKey]
    assert chain.keys(SOURCE) == []

    half = chain.runs(SOURCE, stands=False)

    assert half.reason is TrustReason.PENDING
    assert half.may_linger
    assert f"target role {ROLE}" in half.message
    assert chain.keys(ROLE) == []
    over = BindingOutcome(None, "", TrustReason.REVOKED, "gone")
    decision = chain.decision(ROLE)
    assert chain_outcome(decision, ROLE, over, chain.rollout.with_progress(ROLE, RoleProgress()), ISSUER) == over


@pytest.mark.parametrize(("role", "name"), [(ROLE, "target"), (SOURCE, "source")])
def test_failure_names_the_role(role: RoleArn, name: str) -> None:
    """What fails in one role is in the status with that role's name, also after the other role's run."""
    chain = Chain(world())
    other = SOURCE if role == ROLE else ROLE

    failed = chain.runs(role, stands=False, failure="there is no role")

    assert (failed.reason, failed.message) == (TrustReason.ROLE_NOT_FOUND, f"{name} role {role}: there is no role")
    again = chain.runs(other, stands=other == ROLE)
    assert (again.reason, again.message) == (failed.reason, failed.message)


def test_consent_of_one_role_counts_for_both() -> None:
    """What one role refuses closes the other as well, and is asked for again when the role agrees."""
    chain = Chain(world())
    chain.runs(ROLE, stands=True)
    chain.runs(SOURCE, stands=True)

    chain.runs(ROLE, stands=True, refusal=REFUSED)

    assert chain.decision(SOURCE).reason is TrustReason.NO_CONSENT
    assert chain.keys(SOURCE) == []
    refused = replace(chain.decision(ROLE), authorized=False, reason=REFUSED[0], message=REFUSED[1])
    assert chain.rollout.step(refused, ROLE).claims  # until the near end is closed
    chain.runs(SOURCE, stands=False)
    assert chain.rollout.step(refused, ROLE).claims == ()
    chain.runs(ROLE, stands=False)
    assert chain.keys(ROLE) == [ChainKey]


def test_unmanaged_permission_and_others() -> None:
    """Policies of a role without a chain, or with one whose permission is managed elsewhere, are left alone."""
    made = world()
    unmanaged = made.has_binding(
        binding_body(**{**CHAIN, "source": {"roleArn": str(SOURCE), "managePermission": False}})
    )
    plain = made.has_binding(binding_body("plain", profile="p"))
    (chain,) = decide(made.cache.snapshot_of(unmanaged, SOURCE, {}))
    (other,) = decide(made.cache.snapshot_of(plain, ROLE, {}))

    assert planned(made, SOURCE, chain).targets == ()
    assert planned(made, ROLE, other).targets is None
    assert planned(made, SOURCE).targets == ()
    assert not plain.is_chain
    assert unmanaged.binding is not None
    assert unmanaged.binding.method is Method.ASSUME_ROLE
    assert NOT_STARTED.step(other, ROLE) is other


def test_account_of_the_source_is_needed() -> None:
    """A chain whose source account no AWSAccount describes says so."""
    made = World()
    made.has_account()

    decision = Chain(made).decision(ROLE)

    assert decision.reason is TrustReason.ACCOUNT_UNKNOWN
    assert SOURCE.account_id in decision.message


def test_a_new_binding_starts_from_nothing() -> None:
    """Its progress is what its own status says."""
    made = world()
    assert Rollout.of(made.has_binding(binding_body(**CHAIN))) == NOT_STARTED
    assert Rollout.of(made.has_binding(binding_body(status=APPLIED, **CHAIN))).standing == {ROLE, SOURCE}
    assert Rollout.of(made.has_binding(binding_body(status=APPLIED))) == NOT_STARTED


STALE: dict[str, Any] = {"Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}}


@pytest.mark.parametrize("edit", [STALE, {"Condition": {}}])
def test_revoked_chain_is_not_written_anew(edit: dict[str, Any]) -> None:
    """Its statement stays for the order of revocation only as it is built.

    IAM shows a deleted source role by its unique id; a statement that names it anew would admit another role.
    """
    made = world()
    decision = Chain(made, DELETED, APPLIED).decision(ROLE)
    (claim,) = decision.claims
    built = build(ISSUER, ROLE, claim.key)
    account = made.cache.aws_account(ROLE.account_id)
    assert account is not None
    work = RoleWork(ROLE, ISSUER, account, (decision,))

    def after(statement: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        document = TrustDocument((OPS, statement))
        trust = plan_role(work, Facts(AccountFacts()), RoleObservation(document)).trust
        return tuple(dict(s) for s in trust.document.statements)

    assert after(built) == (OPS, built)
    assert after(built | edit) == (OPS,)


def test_shared_statement_without_the_permission() -> None:
    """A chain that waits is not applied by another chain's subject, although its release has to count on that."""
    made = world()
    chain = Chain(made)
    decision = chain.decision(SOURCE)
    assert decision.claims == ()
    binding = decision.stored.binding
    assert binding is not None
    (claim,) = claims_on(SOURCE, binding, decision.subjects)
    document = TrustDocument((build(ISSUER, SOURCE, claim.key, claim.subjects),))
    account = made.cache.aws_account(SOURCE.account_id)
    assert account is not None
    work = RoleWork(SOURCE, ISSUER, account, (decision,))
    found = plan_role(work, Facts(AccountFacts()), RoleObservation(document))

    progress = progress_of(decision, found.decisions[0], found, None, ISSUER)

    assert found.waiting == {decision.stored.ref: ROLE}
    assert progress.stands
    rollout = chain.rollout.with_progress(SOURCE, progress).with_progress(ROLE, RoleProgress(stands=True))
    outcome = BindingOutcome(None, "granted", None, "well", decision.subjects)
    assert chain_outcome(decision, SOURCE, outcome, rollout, ISSUER).reason is TrustReason.PENDING
    applied = rollout.with_progress(SOURCE, RoleProgress(stands=True))
    assert chain_outcome(decision, SOURCE, outcome, applied, ISSUER).reason is None


@pytest.mark.parametrize("drift", ["Observe", "Repair"])
def test_release_waits_for_former_subjects(drift: str) -> None:
    """A chain was narrowed and then deleted, and nothing could be written: its statement has former subjects."""
    made = World()
    made.has_account()
    made.has_account(account_body("near", SOURCE.account_id, driftPolicy=drift))
    decision = Chain(made, DELETED, APPLIED).decision(SOURCE)
    binding = decision.stored.binding
    assert binding is not None
    (claim,) = claims_on(SOURCE, binding, decision.subjects)
    document = TrustDocument((OPS, build(ISSUER, SOURCE, claim.key, [Subject("team-a", "former")])))
    account = made.cache.aws_account(SOURCE.account_id)
    assert account is not None
    found = plan_role(RoleWork(SOURCE, ISSUER, account, (decision,)), Facts(AccountFacts()), RoleObservation(document))

    outcome = outcome_of(decision, found.trust, None, 0, ISSUER)
    progress = progress_of(decision, found.decisions[0], found, None, ISSUER)

    is_stopped = drift == "Observe"
    assert outcome.reason is (TrustReason.OBSERVED if is_stopped else TrustReason.REVOKED)
    assert (outcome.may_linger, progress.stands) == (is_stopped, is_stopped)
