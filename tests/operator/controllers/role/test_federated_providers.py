"""Subjects of other issuers in one role: written beside the accounts, told when their provider is lacking, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, ROLE, account_body, binding_body, grant_body
from support.scenario_role import RoleScenario
from support.scenario_workflow import ENTRY, GITHUB, MAIN, workflow_scenario
from trustbind.errors import AccessDeniedError, PolicyRejectedError, ThrottledError
from trustbind.policy.owned_statement import is_retained
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile.decision import decide
from trustbind_operator.controllers.context import Next

scene = pytest.fixture(workflow_scenario)


def body(name: str = "b", **fields: Any) -> dict[str, Any]:
    """Return a binding that lets the workflows in too."""
    return binding_body(name, **({"federatedSubjects": [ENTRY]} | fields))


def let_in(scene: RoleScenario) -> list[str]:
    """Return the workflows that our statements let in."""
    found: list[str] = []
    for statement in scene.aws.roles[ROLE].statements:
        found += statement.get("Condition", {}).get("StringLike", {}).get(f"{GITHUB.host_path}:sub", [])
    return found


def conditions(scene: RoleScenario, name: str = "b") -> dict[str, tuple[str, str, str]]:
    """Return type to status, reason and message of a binding's conditions."""
    stored = scene.stored(name)["conditions"]
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in stored}


def test_let_in(scene: RoleScenario) -> None:
    """Accounts and workflows are let in by one commit, and the condition counts both."""
    scene.has_binding(body())

    assert scene.run() is Next.RESYNC

    assert scene.trusted() == ["app"]
    assert let_in(scene) == [MAIN]
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 1
    assert scene.ready() == (
        "True",
        "TrustApplied",
        f"{ROLE} trusts 1 service account and 1 subject of other issuers of this binding",
    )
    assert scene.controller.is_in_step(ROLE)


def test_not_granted(scene: RoleScenario) -> None:
    """A grant for accounts alone lets neither in: one grant has to cover all of a binding."""
    scene.has_grants(grant_body())
    scene.has_binding(body())

    scene.run()

    assert scene.ready()[:2] == ("False", "NotGranted")
    assert MAIN in scene.ready()[2]
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_grant_is_withdrawn(scene: RoleScenario) -> None:
    """What is granted no longer is revoked, the workflows with the accounts."""
    scene.settled(body())
    scene.has_grants(grant_body())

    scene.run()

    assert scene.ready()[:2] == ("False", "NotGranted")
    assert (scene.trusted(), let_in(scene)) == ([], [])


@pytest.mark.parametrize(
    ("present", "said"),
    [
        (None, f"account {ACCOUNT} has no OIDC provider for {GITHUB}"),
        ({"other"}, "lacks the client id sts.amazonaws.com"),
    ],
)
def test_provider_is_lacking(scene: RoleScenario, present: set[str] | None, said: str) -> None:
    """Accounts are let in, subjects too unless there is no provider at all, and the binding says what is lacking."""
    scene.aws.others = {} if present is None else {GITHUB.host_path: present}
    scene.has_binding(body())

    assert scene.run() is Next.SURVEY

    assert (scene.trusted(), let_in(scene)) == (["app"], [] if present is None else [MAIN])
    told = conditions(scene)
    assert told["Ready"][:2] == ("False", "ProviderMissing")
    assert said in told["Ready"][2]
    assert told["TrustApplied"][:2] == ("True", "TrustApplied")
    assert scene.stored()["statementId"]
    assert not scene.controller.is_in_step(ROLE)
    assert [e[2].reason for e in scene.cluster.events] == ["ProviderMissing"]

    scene.aws.others[GITHUB.host_path] = {"sts.amazonaws.com"}
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"
    assert let_in(scene) == [MAIN]


def test_provider_goes_later(scene: RoleScenario) -> None:
    """What stands is not taken away because the provider is; it is only told."""
    scene.settled(body())
    scene.aws.others = {}
    scene.today += timedelta(hours=1)
    scene.pool.forget(scene.aws_account())  # as it is done from time to time

    assert scene.run() is Next.SURVEY

    assert scene.ready()[:2] == ("False", "ProviderMissing")
    assert (scene.trusted(), let_in(scene)) == (["app"], [MAIN])
    assert scene.telemetry.commits[-1][1] == "unchanged"


def test_workflows_alone_without_a_provider(scene: RoleScenario) -> None:
    """Nothing is written for nobody, nothing of it is said to be applied, and it can be deleted."""
    scene.aws.others = {}
    scene.has_binding(body(serviceAccountNames=None))

    assert scene.run() is Next.SURVEY

    told = conditions(scene)
    assert {told["Ready"][:2], told["TrustApplied"][:2]} == {("False", "ProviderMissing")}
    assert scene.aws.roles[ROLE].statements == (OPS,)
    scene.delete()
    scene.run()
    assert not scene.exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AccessDeniedError("no", code="AccessDenied", operation="iam:GetOpenIDConnectProvider on x"), "AccessDenied"),
        (ThrottledError("Rate exceeded", code="Throttling", operation="iam:GetOpenIDConnectProvider"), "Throttled"),
    ],
)
def test_provider_cannot_be_looked_at(scene: RoleScenario, error: Exception, reason: str) -> None:
    """Only the binding that names another issuer is told; those of the same role go on."""
    scene.settled(binding_body("plain", serviceAccountNames=["web"]))
    scene.has_binding(body())
    scene.aws.always["GetOpenIDConnectProvider"] = error  # type: ignore[assignment] # AwsErrors, as the cases have them

    assert scene.run() is Next.SURVEY

    assert scene.ready("b")[:2] == ("False", reason)
    assert scene.ready("plain")[0] == "True"
    assert sorted(scene.trusted()) == ["app", "web"]


def test_provider_is_asked_once(scene: RoleScenario) -> None:
    """A provider that was seen in order is not asked of AWS again for each commit."""
    scene.settled(body())
    for number in range(3):
        scene.has_binding(body(f"more-{number}", serviceAccountNames=[f"a{number}"]))
        scene.run()

    assert scene.aws.calls["GetOpenIDConnectProvider"] == 0


def test_own_issuer(scene: RoleScenario) -> None:
    """The cluster's own accounts do not come in by a pattern, even where a grant names their issuer."""
    entry = {"issuer": ISSUER.url, "subjects": ["system:serviceaccount:*:admin"]}
    scene.has_grants(grant_body(federatedSubjects=[entry]))
    scene.has_binding(body(federatedSubjects=[entry]))

    scene.run()

    assert scene.ready()[:2] == ("False", "InvalidSpec")
    assert "this cluster's own issuer" in scene.ready()[2]
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_workflows_alone(scene: RoleScenario) -> None:
    """A binding without accounts lets the workflows in, and needs no provider of the cluster's."""
    scene.aws.provider = None
    scene.has_binding(body(serviceAccountNames=None))

    assert scene.run() is Next.RESYNC

    assert (scene.trusted(), let_in(scene)) == ([], [MAIN])
    assert scene.ready() == ("True", "TrustApplied", f"{ROLE} trusts 1 subject of other issuers of this binding")
    assert scene.aws.provider is None
    assert scene.controller.is_in_step(ROLE)
    scene.delete()
    scene.run()
    assert not scene.exists()
    assert let_in(scene) == []


def test_a_selector_that_selects_nobody_any_more(scene: RoleScenario) -> None:
    """The workflows do not depend on accounts that come and go."""
    scene.has_service_accounts("team-a", {"app": {"tier": "web"}})
    scene.settled(body(serviceAccountNames=None, serviceAccountSelector={"matchLabels": {"tier": "web"}}))
    assert (scene.trusted(), let_in(scene)) == (["app"], [MAIN])
    scene.has_service_accounts("team-a", {})

    scene.run()

    assert (scene.trusted(), let_in(scene)) == ([], [MAIN])
    assert scene.ready()[0] == "True"


def test_taken_out_of_the_binding(scene: RoleScenario) -> None:
    """Without the entry the workflows are let in no more, and the accounts are."""
    scene.settled(body())
    scene.change(federatedSubjects=None)

    scene.run()

    assert (scene.trusted(), let_in(scene)) == (["app"], [])
    assert scene.ready()[0] == "True"


def test_shared_by_two_bindings(scene: RoleScenario) -> None:
    """What another binding asks for as well stays when one goes."""
    scene.settled(body())
    scene.has_binding(body("other", serviceAccountNames=["web"]))
    scene.run()

    scene.delete("b")
    scene.run()

    assert not scene.exists("b")
    assert (scene.trusted(), let_in(scene)) == (["web"], [MAIN])


def test_deleted(scene: RoleScenario) -> None:
    """The binding goes when both are gone from the trust policy."""
    scene.settled(body())
    scene.delete()

    scene.run()

    assert not scene.exists()
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_kept_while_workflows_are_let_in(scene: RoleScenario) -> None:
    """A binding whose accounts are gone from the policy, by whomever, is kept until the workflows are gone as well."""
    scene.settled(body())
    left = [s for s in scene.aws.roles[ROLE].statements if "StringLike" in s.get("Condition", {})]
    assert len(left) == 1
    scene.aws.roles[ROLE] = TrustDocument((OPS, *left))
    scene.aws.always["UpdateAssumeRolePolicy"] = PolicyRejectedError("broken", code="MalformedPolicyDocument")
    scene.delete()

    scene.run()
    assert scene.exists()
    assert scene.ready()[:2] == ("False", "PolicyRejected")

    scene.aws.always.clear()
    scene.run()
    assert not scene.exists()
    assert let_in(scene) == []


def test_retained(scene: RoleScenario) -> None:
    """With Retain both stay, in statements of their own."""
    scene.settled(body(deletionPolicy="Retain"))
    scene.delete()

    scene.run()

    assert not scene.exists()
    kept = [s for s in scene.aws.roles[ROLE].statements if s != OPS]
    assert [is_retained(s, ISSUER) for s in kept] == [True, True]
    assert let_in(scene) == [MAIN]


def test_observed(scene: RoleScenario) -> None:
    """An account that is only watched is not written to, for workflows neither."""
    scene.has_account(account_body(driftPolicy="Observe"))
    scene.aws.provider = {"sts.amazonaws.com"}
    scene.has_binding(body())

    scene.run()

    assert scene.ready()[:2] == ("False", "DriftObserved")
    assert scene.aws.roles[ROLE].statements == (OPS,)


def test_only_with_web_identity(scene: RoleScenario) -> None:
    """What no schema would let through is told as what it is."""
    stored = scene.has_binding(body(method="PodIdentity"))

    (decision,) = decide(scene.cache.snapshot_of(stored, ROLE, {}))

    assert decision.reason is TrustReason.INVALID_SPEC
    assert "goes only with method WebIdentity" in decision.message
