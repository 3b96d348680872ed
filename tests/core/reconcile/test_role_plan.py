"""What one run of a role does, and what stays of bindings that cannot be written now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import AccessDeniedError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.claim import claims_on
from trustbind.policy.owned_statement import build, is_owned, subjects_of
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import decide
from trustbind.reconcile.observation import AccountFacts, Facts, RoleObservation
from trustbind.reconcile.outcome import progress_of
from trustbind.reconcile.role_plan import (
    EnsureProvider,
    NarrowSourcePolicy,
    RolePlan,
    RoleWork,
    WidenSourcePolicy,
    WriteTrustPolicy,
    plan_role,
    unread_providers,
)
from trustbind.reconcile.rollout import NOT_STARTED, RoleProgress, Rollout
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding

ISSUER = Issuer.parse("https://oidc.example.com/id/1")
SOURCE = RoleArn.parse("arn:aws:iam::111122223333:role/base")
TARGET = RoleArn.parse("arn:aws:iam::111122223333:role/target")
ACCOUNT = AwsAccount("a", "111122223333")
PROVIDER = ISSUER.provider_for(SOURCE)
AUDIENCE = "sts.amazonaws.com"
FOREIGN = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}

OPEN = Rollout({TARGET: RoleProgress(stands=True)})
FULL_OPEN = Rollout({TARGET: RoleProgress(stands=True), SOURCE: RoleProgress(stands=True)})


def binding(name: str = "b", *accounts: str, **spec: Any) -> RoleBinding:
    """Return a binding of the source role, or a chain over it."""
    spec = {"roleArn": str(SOURCE), "serviceAccountNames": list(accounts or ("reader",))} | spec
    return RoleBinding.parse(
        {
            "apiVersion": "trustbind.dev/v1alpha1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
        }
    )


def chain(name: str = "c", *accounts: str, **spec: Any) -> RoleBinding:
    """Return a chain over the source role."""
    return binding(
        name, *accounts, roleArn=str(TARGET), method="AssumeRole", source={"roleArn": str(SOURCE)}, profile=name, **spec
    )


def work(*bindings: RoleBinding, role: RoleArn = SOURCE, rollout: Rollout = OPEN, **account: Any) -> RoleWork:
    """Return the work on a role without any grants asked for."""
    aws_account = replace(ACCOUNT, **account)
    snapshot = RoleSnapshot(
        role,
        Surroundings(ISSUER, None, {ACCOUNT.account_id: aws_account}),
        tuple(
            BindingSnapshot(
                StoredBinding.of_file(each),
                each.subjects({}),
                rollout=rollout if each.source is not None else NOT_STARTED,
            )
            for each in bindings
        ),
    )
    return RoleWork(role, ISSUER, aws_account, decide(snapshot))


def holding(*bindings: RoleBinding, role: RoleArn = SOURCE) -> RoleObservation:
    """Return the role with a foreign statement and everything that these bindings claim."""
    statements = [FOREIGN] + [
        build(ISSUER, role, claim.key, claim.subjects)
        for each in bindings
        for claim in claims_on(role, each, each.subjects({}))
    ]
    return RoleObservation(TrustDocument.parse({"Version": "2012-10-17", "Statement": statements}))


def facts(*targets: RoleArn, audiences: frozenset[str] | None = frozenset({AUDIENCE}), **more: Any) -> Facts:
    """Return facts with the cluster's provider and what the source role's policy allows."""
    return Facts(AccountFacts(2048, {PROVIDER: audiences}, {SOURCE: frozenset(map(str, targets))}), **more)


def admitted(plan: RolePlan) -> set[str]:
    """Return the service accounts that the planned document admits."""
    owned = [s for s in plan.trust.document.statements if is_owned(s, ISSUER)]
    return {subject.rpartition(":")[2] for s in owned for subject in subjects_of(s, ISSUER)}


LACKING: dict[str, tuple[dict[str, Any], Facts]] = {
    "not ours": ({"manage_provider": False}, facts(audiences=None)),
    "cannot be made": ({}, facts(audiences=None, failures={PROVIDER: AccessDeniedError("no", operation="iam:Create")})),
}


@pytest.mark.parametrize("case", LACKING)
def test_provider_is_missing(case: str) -> None:
    """Without the OIDC provider a binding gets nothing new, keeps what stands, and a removed one is revoked."""
    account, known = LACKING[case]

    plan = plan_role(work(binding("b", "reader", "writer"), **account), known, holding(binding("b", "reader", "gone")))

    assert admitted(plan) == {"reader"}
    assert [d.stored.ref.name for d in plan.held] == ["b"]
    assert plan.trust.applied == {}
    assert plan.steps == (WriteTrustPolicy(),)


def test_provider_of_what_does_not_fit() -> None:
    """No OIDC provider is made for a statement that is not written."""
    plan = plan_role(work(binding(), trust_policy_limit=10), facts(audiences=None), holding())

    assert [r.reason for r in plan.trust.refusals] == [TrustReason.TRUST_POLICY_FULL]
    assert plan.steps == ()


def test_provider_of_what_stands() -> None:
    """The OIDC provider of a statement that stands is made again, though nothing else can be written."""
    plan = plan_role(work(binding()), facts(audiences=None), holding(binding()))

    assert plan.steps == (EnsureProvider(PROVIDER, (AUDIENCE,)),)


def test_permission_comes_first() -> None:
    """The source role's policy is widened before its trust policy is written, also where it was seen to be empty."""
    plan = plan_role(work(chain()), facts(), holding())

    assert plan.steps == (WidenSourcePolicy((TARGET,)), WriteTrustPolicy())


@pytest.mark.parametrize(("allowed", "targets"), [((), ()), ((TARGET,), (TARGET,))])
def test_chain_waits_for_its_target(allowed: tuple[RoleArn, ...], targets: tuple[RoleArn, ...]) -> None:
    """A chain whose target role does not trust the source role gets nothing new, and keeps what stands."""
    asked = work(chain("c", "reader", "writer"), rollout=NOT_STARTED)

    plan = plan_role(asked, facts(*allowed), holding(chain("c", "reader")))

    assert admitted(plan) == {"reader"}
    assert plan.waiting == {asked.decisions[0].stored.ref: TARGET}
    assert (plan.targets, plan.steps) == (targets, ())
    assert plan.trust.applied == {}


def test_refused_chain_is_revoked_from_the_near_end() -> None:
    """The target role keeps a refused chain as long as the source role has it, and adds nothing for it."""
    refused = work(chain("c"), role=TARGET, rollout=FULL_OPEN)
    decisions = (replace(refused.decisions[0], reason=TrustReason.NOT_GRANTED, authorized=False),)
    refused = replace(refused, decisions=decisions)

    standing = plan_role(refused, facts(), holding(chain("c"), role=TARGET))
    absent = plan_role(refused, facts(), holding(role=TARGET))

    assert standing.waiting == absent.waiting == {decisions[0].stored.ref: SOURCE}
    assert standing.steps == absent.steps == ()


def test_no_room_in_the_source_policy() -> None:
    """A chain for whose target the policy has no room keeps what stands, and gets nothing new."""
    known = facts(no_room=frozenset({TARGET}))

    plan = plan_role(work(chain("c", "reader", "writer")), known, holding(chain("c", "reader")))

    assert admitted(plan) == {"reader"}
    assert [r.reason for r in plan.trust.refusals] == [TrustReason.SOURCE_POLICY_FULL]
    assert plan.targets == ()


def test_permission_goes_last() -> None:
    """The policy is narrowed once the trust policy holds nobody of the chain."""
    asked = work(binding())
    asked = replace(asked, decisions=())

    first = plan_role(asked, facts(TARGET), holding(chain()))
    then = plan_role(asked, facts(TARGET), holding())

    assert first.steps == (WriteTrustPolicy(),)
    assert then.steps == (NarrowSourcePolicy(()),)


def test_observed() -> None:
    """With driftPolicy Observe the missing OIDC provider is no step, and the message names the policy."""
    asked = work(binding(), drift_policy=DriftPolicy.OBSERVE)

    plan = plan_role(asked, facts(audiences=None), holding())

    assert plan.steps == ()
    assert "AWSAccount a has driftPolicy Observe" in str(plan.lacking)


@pytest.mark.parametrize(
    ("there", "stands"),
    [
        pytest.param((chain(),), True, id="written"),
        pytest.param((), True, id="to be written"),
    ],
)
def test_progress_of_an_open_chain(there: tuple[RoleBinding, ...], stands: bool) -> None:
    """A chain stands in a role whose planned document holds all of it."""
    asked = work(chain())
    plan = plan_role(asked, facts(TARGET), holding(*there))

    assert progress_of(asked.decisions[0], plan.decisions[0], plan, None, ISSUER).stands is stands


def test_progress_of_a_refused_chain() -> None:
    """What another binding has in common with a refused chain is no part of that chain."""
    asked = work(chain("c"), binding("plain"))
    refused = replace(asked.decisions[0], reason=TrustReason.NOT_GRANTED, claims=())
    asked = replace(asked, decisions=(refused, asked.decisions[1]))
    plan = plan_role(asked, facts(), holding(binding("plain")))

    assert admitted(plan) == {"reader"}
    assert progress_of(refused, plan.decisions[0], plan, None, ISSUER) == RoleProgress(stands=False)


def test_progress_keeps_the_refusal_of_a_role() -> None:
    """A role that does not consent refuses the chain for its other role."""
    asked = work(chain(), require_role_consent=True)
    plan = plan_role(asked, facts(), holding())

    progress = progress_of(asked.decisions[0], plan.decisions[0], plan, None, ISSUER)

    assert progress.refusal is not None
    assert progress.refusal[0] is TrustReason.NO_CONSENT


@pytest.mark.parametrize(("is_restoring", "unread"), [(True, (PROVIDER,)), (False, ())])
def test_a_provider_is_read_before_a_hand_written_statement_is_written_back(
    *, is_restoring: bool, unread: tuple[Any, ...]
) -> None:
    """What a statement without an audience means is decided by the client ids of the provider, unknown yet."""
    going = work(binding())
    decision = going.decisions[0]
    restorable = decision.claims if is_restoring else ()
    going = replace(going, decisions=(replace(decision, claims=(), restorable=restorable),))

    assert unread_providers(going, Facts(AccountFacts(2048, {}, {}))) == unread
