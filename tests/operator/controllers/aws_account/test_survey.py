"""Surveys: one list of an AWS account's roles finds drift, and only the roles that differ are reconciled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, OTHER_ROLE, ROLE, account_body, binding_body
from support.scenario_manager import ManagerScenario
from support.scenario_workflow import ENTRY, GITHUB, workflow_grant
from support.virtual_time import VirtualLoop
from trustbind.api.labels import RECONCILE_REQUESTED_AT
from trustbind.errors import AccessDeniedError, AwsError, ThrottledError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.source_policy import policy_name
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.cluster.cache import ClusterCache

OURS = build(ISSUER, OTHER_ROLE, WebIdentityKey("sts.amazonaws.com"), [Subject("team-a", "app")])
DENIED = AccessDeniedError("not authorized", code="AccessDenied", operation="iam:ListRoles")
EXPIRED = AccessDeniedError("expired", code="ExpiredToken", operation="iam:ListRoles")
THROTTLED = ThrottledError("Rate exceeded", code="Throttling", operation="iam:GetRole")
MINUTE = 60.0


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    yield made
    made.close()


def role(number: int, path: str = "/") -> RoleArn:
    """Return one of many roles."""
    return RoleArn("aws", ACCOUNT, path, f"role-{number:03}")


def has_roles(scene: ManagerScenario, count: int) -> list[RoleArn]:
    """Have so many roles, each with a binding."""
    roles = [role(number) for number in range(count)]
    for number, each in enumerate(roles):
        scene.aws.roles[each] = TrustDocument((OPS,))
        scene.has_binding(binding_body(f"b{number}", roleArn=str(each), serviceAccountNames=[f"a{number}"]))
    return roles


def begin(scene: ManagerScenario, account: dict[str, Any] | None = None) -> None:
    """Start the operator, wait until all is in order and surveyed once more, and forget the calls."""
    scene.has_account(account)
    scene.start(2.5 * MINUTE)
    scene.forget_calls()


def condition(scene: ManagerScenario) -> dict[str, Any]:
    """Return the AWSAccount's Surveyed condition; empty when there is none."""
    found = (c for c in scene.account_status()["conditions"] if c["type"] == "Surveyed")
    return next(found, {})


def reconciled(scene: ManagerScenario) -> list[str]:
    """Return the roles that were read, sorted."""
    return sorted({subject for operation, subject in scene.aws.log if operation == "GetRole"})


def test_the_first_survey_waits_for_the_roles_that_run(scene: ManagerScenario) -> None:
    """From cold, what is not written yet is no drift: each role is read once, and once more after its write."""
    scene.aws.latency = {"GetRole": 0.1, "UpdateAssumeRolePolicy": 2.0}
    roles = has_roles(scene, 20)
    scene.has_account()

    scene.start(MINUTE)

    assert scene.aws.operations.count("GetRole") == 2 * len(roles)
    assert scene.aws.operations.count("ListRoles") == 1


def test_the_first_survey_does_not_wait_for_ever(scene: ManagerScenario) -> None:
    """A role that takes long holds up the search for drift by the usual interval at most."""
    roles = has_roles(scene, 2)
    scene.aws.latency = {"UpdateAssumeRolePolicy": 10 * MINUTE}
    scene.has_account()

    scene.start(1.5 * MINUTE)

    assert scene.aws.operations.count("UpdateAssumeRolePolicy") == len(roles)
    assert scene.aws.operations.count("ListRoles") == 1


def test_what_metrics_show_of_drift_and_room(scene: ManagerScenario) -> None:
    """A role counts as drifted until a run mends it, and how full its trust policy is is known after a restart, too."""
    roles = has_roles(scene, 2)
    begin(scene)
    before = scene.manager.aws_state.fill()
    assert before.keys() == set(roles)
    assert all(0 < share < 1 for share in before.values())
    scene.stop()
    scene.start(2.5 * MINUTE)
    assert scene.manager.aws_state.fill() == before

    scene.aws.always["GetRole"] = THROTTLED
    scene.aws.roles[roles[0]] = TrustDocument((OPS,))
    scene.wait(1.5 * MINUTE)
    assert scene.manager.aws_state.drifted_roles() == {roles[0]}
    del scene.aws.always["GetRole"]
    scene.wait(10 * MINUTE)
    assert scene.manager.aws_state.drifted_roles() == frozenset()


def test_drifted_roles_alone_are_reconciled(scene: ManagerScenario) -> None:
    """Of many that are as wanted none is read; ListRoles is called once for each page."""
    scene.aws.page_size = 25
    roles = has_roles(scene, 100)
    begin(scene)
    drifted = roles[10:30]
    for each in drifted:
        scene.aws.roles[each] = TrustDocument((OPS,))

    scene.wait(MINUTE)

    assert reconciled(scene) == [str(each) for each in drifted]
    assert scene.aws.calls["ListRoles"] == 5  # with ROLE there are 101 roles
    assert all(scene.admitted(each) for each in roles)
    assert scene.telemetry.surveys == [(ACCOUNT, 5, 20)]
    assert scene.cluster.writes == []


def test_survey_at_the_start(scene: ManagerScenario) -> None:
    """What drifted while no operator ran is found at once, although the statuses say Ready."""
    roles = has_roles(scene, 5)
    begin(scene)
    scene.stop()
    scene.aws.roles[roles[2]] = TrustDocument((OPS,))
    scene.aws.forget_calls()

    assert scene.start(5.0) == 0
    assert reconciled(scene) == [str(roles[2])]
    assert scene.admitted(roles[2]) == ["a2"]


def test_unchanged_documents_are_not_decoded_again(scene: ManagerScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is decoded once; then its text alone is compared, until it changes."""
    roles = has_roles(scene, 10)
    begin(scene)
    parsed: list[str] = []
    parse = TrustDocument.parse

    def counting(text: str, **more: Any) -> TrustDocument:
        parsed.append(text)
        return parse(text, **more)

    monkeypatch.setattr(TrustDocument, "parse", counting)
    scene.wait(3 * MINUTE)
    assert parsed == []
    assert len(scene.telemetry.surveys) == 3

    scene.aws.roles.texts[roles[0]] = scene.aws.roles.texts[roles[0]].replace('"Ops"', '"Renamed"')
    scene.wait(2 * MINUTE)
    assert len(parsed) == 1
    assert reconciled(scene) == []


def test_absent_role(scene: ManagerScenario) -> None:
    """It is reconciled once, not at every survey; one that reappears is reconciled at once."""
    (gone,) = has_roles(scene, 1)
    begin(scene)
    del scene.aws.roles[gone]
    scene.wait(MINUTE)
    assert reconciled(scene) == [str(gone)]
    assert scene.ready("b0")[:2] == ("False", "RoleNotFound")
    scene.wait(20 * MINUTE)  # tries come every five minutes at last
    scene.forget_calls()
    tries = scene.aws.calls["GetRole"]
    scene.wait(4 * MINUTE)
    assert scene.aws.calls["GetRole"] - tries <= 2

    scene.aws.roles[gone] = TrustDocument((OPS,))
    scene.wait(MINUTE)
    assert scene.ready("b0")[0] == "True"
    assert scene.admitted(gone) == ["a0"]


def test_ungranted_bindings_of_absent_roles(scene: ManagerScenario) -> None:
    """Nothing is asked of AWS about their roles, by no survey."""
    scene.has_grants()
    for number in range(100):
        scene.has_binding(binding_body(f"b{number}", roleArn=str(role(number)), serviceAccountNames=[f"a{number}"]))
    scene.has_account(account_body(requireRoleConsent=True))
    scene.start(3 * MINUTE)

    operations = {"GetCallerIdentity", "GetAccountSummary", "ListRoles"}
    assert set(scene.aws.operations) == operations
    assert scene.ready("b42")[:2] == ("False", "NotGranted")
    assert scene.aws.provider == {"sts.amazonaws.com"}


def test_statements_that_no_binding_names(scene: ManagerScenario) -> None:
    """A finalizer was removed by force: the statements go, and foreign ones stay."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS, OURS))
    begin(scene)

    assert scene.sids(OTHER_ROLE) == ["Ops"]


def test_statements_of_a_role_whose_bindings_are_not_granted(scene: ManagerScenario) -> None:
    """They go as well, although the binding's status names none."""
    scene.has_grants()
    scene.has_binding(binding_body(roleArn=str(OTHER_ROLE)))
    begin(scene)
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS, OURS))
    scene.wait(MINUTE)

    assert scene.sids(OTHER_ROLE) == ["Ops"]


def test_role_that_trusted_nobody_else(scene: ManagerScenario) -> None:
    """IAM takes no empty policy; what is left in place of one is no reason to read the role at every survey."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OURS,))
    begin(scene)
    assert [s["Effect"] for s in scene.aws.roles[OTHER_ROLE].statements] == ["Deny"]

    scene.wait(3 * MINUTE)
    assert reconciled(scene) == []


def test_another_statement_beside_what_stands_for_nothing(scene: ManagerScenario) -> None:
    """What was left in place of an empty policy denies the cluster's tokens; it goes at the next survey."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OURS,))
    begin(scene)
    (denies,) = scene.aws.roles[OTHER_ROLE].statements
    by_hand = {**OURS, "Sid": "ByHand"}
    scene.aws.roles[OTHER_ROLE] = TrustDocument((denies, by_hand))

    scene.wait(1.2 * MINUTE)

    assert scene.sids(OTHER_ROLE) == ["ByHand"]


def test_list_is_denied(scene: ManagerScenario) -> None:
    """The AWSAccount says so, once; bindings go on, and drift is found by reading each role now and then."""
    scene.aws.always["ListRoles"] = DENIED
    scene.has_binding()
    scene.has_account()
    scene.start(5.0)
    assert (condition(scene)["status"], condition(scene)["reason"]) == ("False", "SurveyDenied")
    assert "iam:ListRoles" in condition(scene)["message"]
    assert scene.account_ready()[0] == "True"
    assert scene.ready()[0] == "True"

    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.wait(12 * MINUTE)
    assert scene.admitted() == ["app"]
    events = [t for kind, _, t in scene.cluster.events if kind == "AWSAccount" and t.type == "Surveyed"]
    assert [t.reason for t in events] == ["SurveyDenied"]

    scene.aws.always.clear()
    scene.wait(1.1 * MINUTE)
    assert condition(scene) == {}


def test_roles_outside_the_path(scene: ManagerScenario) -> None:
    """They are read alone at every survey, and the AWSAccount names one; others are not read."""
    inside, outside = role(1, "/apps/"), role(2)
    for each in (inside, outside):
        scene.aws.roles[each] = TrustDocument((OPS,))
        scene.has_binding(binding_body(each.name, roleArn=str(each), serviceAccountNames=[each.name]))
    begin(scene, account_body(rolePathPrefix="/apps/"))

    assert (condition(scene)["status"], condition(scene)["reason"]) == ("True", "RolesOutsidePath")
    assert str(outside) in condition(scene)["message"]
    scene.aws.roles[outside] = TrustDocument((OPS,))
    scene.wait(MINUTE)
    assert reconciled(scene) == [str(outside)]
    assert scene.admitted(outside) == [outside.name]
    assert {subject for operation, subject in scene.aws.log if operation == "ListRoles"} == {"/apps/"}


def test_no_drift_is_known_of_a_role_outside_the_path(scene: ManagerScenario) -> None:
    """So one failed read does not make its bindings not Ready."""
    outside = role(2)
    scene.aws.roles[outside] = TrustDocument((OPS,))
    scene.has_binding(binding_body(roleArn=str(outside)))
    begin(scene, account_body(rolePathPrefix="/apps/"))
    scene.aws.errors["GetRole"] = [THROTTLED]

    scene.wait(MINUTE)

    assert scene.telemetry.failures
    assert scene.cluster.writes == []


def test_repair_of_known_drift_fails(scene: ManagerScenario) -> None:
    """Then Ready is False at once: access is known to be gone."""
    scene.has_binding()
    begin(scene)
    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.aws.errors["GetRole"] = [THROTTLED]

    scene.wait(MINUTE)

    assert [(t.status, t.reason) for _, _, t in scene.cluster.events] == [
        ("False", "Throttled"),
        ("True", "TrustApplied"),
    ]


def test_provider_lost_a_client_id(scene: ManagerScenario) -> None:
    """The roles that need it run, and no others."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding(binding_body(audience="one"))
    scene.has_binding(binding_body("other", audience="two", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]))
    begin(scene)
    assert scene.aws.provider is not None
    scene.aws.provider.discard("one")

    scene.wait(MINUTE)

    assert "one" in scene.aws.provider
    assert reconciled(scene) == [str(ROLE)]


def test_repair_of_a_provider_fails(scene: ManagerScenario) -> None:
    """Ready is False at once, as nobody can use the role."""
    scene.has_binding()
    begin(scene)
    assert scene.aws.provider is not None
    scene.aws.provider.clear()
    scene.aws.errors["AddClientIDToOpenIDConnectProvider"] = [
        ThrottledError("Rate exceeded", code="Throttling", operation="iam:AddClientIDToOpenIDConnectProvider")
    ]

    scene.wait(MINUTE)

    assert [(t.status, t.reason) for _, _, t in scene.cluster.events] == [
        ("False", "Throttled"),
        ("True", "TrustApplied"),
    ]


def test_another_issuers_provider_may_not_be_read(scene: ManagerScenario) -> None:
    """Drift is found all the same."""
    scene.has_grants(workflow_grant())
    scene.has_binding(binding_body(federatedSubjects=[ENTRY]))
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding(binding_body("plain", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]))
    scene.aws.others[GITHUB.host_path] = {"sts.amazonaws.com"}
    begin(scene)
    scene.aws.always["GetOpenIDConnectProvider"] = AccessDeniedError(
        "not authorized", code="AccessDenied", operation="iam:GetOpenIDConnectProvider"
    )
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))

    scene.wait(MINUTE)

    assert scene.admitted(OTHER_ROLE) == ["x"]


def test_statement_for_another_issuer_is_removed(scene: ManagerScenario) -> None:
    """It is found by the survey that follows a look at the AWS account, too, which forgets what was known."""
    scene.has_grants(workflow_grant())
    scene.has_binding(binding_body(federatedSubjects=[ENTRY]))
    scene.aws.others[GITHUB.host_path] = {"sts.amazonaws.com"}
    begin(scene)
    whole = scene.aws.roles[ROLE]
    scene.aws.roles[ROLE] = TrustDocument(tuple(s for s in whole.statements if GITHUB.host_path not in str(s)))
    scene.pool.forget(scene.aws_account())

    scene.wait(MINUTE)

    assert scene.aws.roles[ROLE].meaning() == whole.meaning()


@pytest.mark.parametrize("manage", [True, False])
def test_statement_for_the_clusters_issuer_is_removed(scene: ManagerScenario, manage: bool) -> None:
    """With either value of `oidcProvider.manage`."""
    scene.has_binding()
    begin(scene, account_body(oidcProvider={"manage": manage}))
    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.pool.forget(scene.aws_account())

    scene.wait(MINUTE)

    assert scene.admitted() == ["app"]


def test_forgotten_facts_are_no_drift(scene: ManagerScenario) -> None:
    """A look at the AWS account forgets what was known of its providers; no role is reported as drifted for it."""
    scene.has_binding()
    begin(scene)
    scene.pool.forget(scene.aws_account())

    scene.wait(MINUTE)

    assert reconciled(scene) == []


def test_source_policy_is_edited(scene: ManagerScenario) -> None:
    """The source role runs, and its inline policy is as it was."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding(binding_body(method="AssumeRole", source={"roleArn": str(OTHER_ROLE)}))
    begin(scene)
    assert scene.ready()[0] == "True"
    scene.aws.policies[OTHER_ROLE, policy_name(ISSUER)] = '{"Version": "2012-10-17", "Statement": []}'

    scene.wait(MINUTE)

    assert scene.aws.targets(OTHER_ROLE) == frozenset({str(ROLE)})
    assert reconciled(scene) == [str(OTHER_ROLE)]


def test_tags_are_changed(scene: ManagerScenario) -> None:
    """Where roles have to consent, the role runs; a consent that is taken back revokes."""
    scene.aws.tags["trustbind.dev/namespaces"] = "team-a"
    scene.has_binding()
    begin(scene, account_body(requireRoleConsent=True))
    assert scene.admitted() == ["app"]
    assert reconciled(scene) == []
    scene.aws.tags.clear()

    scene.wait(MINUTE)

    assert scene.admitted() == []
    assert scene.ready()[:2] == ("False", "NoRoleConsent")
    scene.aws.tags["trustbind.dev/namespaces"] = "team-a"
    scene.wait(MINUTE + 1.0)
    assert scene.ready()[0] == "True"


def test_survey_that_outlives_its_account(scene: ManagerScenario) -> None:
    """An AWSAccount that goes meanwhile has no number any more: an alert on an old survey would never end."""
    begin(scene)
    scene.telemetry.surveys.clear()
    scene.aws.latency = {"ListRoles": 20.0}
    scene.wait(MINUTE - 20.0)  # the next survey is under way
    assert scene.aws.calls["ListRoles"] == 1
    scene.remove("AWSAccount", "prod", seconds=MINUTE)

    assert scene.cluster.get("AWSAccount", "prod") is None
    assert scene.telemetry.surveys == []


@pytest.mark.parametrize(("pages", "seconds"), [(1, 60.0), (6, 60.0), (12, 120.0), (30, 300.0)])
def test_interval_grows_with_pages(scene: ManagerScenario, pages: int, seconds: float) -> None:
    """Ten seconds a page, at least a minute: others need IAM, too."""
    scene.aws.page_size = 1
    for number in range(pages - 1):
        scene.aws.roles[role(number)] = TrustDocument((OPS,))
    scene.has_account()
    scene.start(1.0)
    assert len(scene.telemetry.surveys) == 1

    scene.wait(seconds - 2.0)
    assert len(scene.telemetry.surveys) == 1
    scene.wait(2.0)
    assert len(scene.telemetry.surveys) == 2


@pytest.mark.parametrize("error", [THROTTLED, EXPIRED])
def test_failed_survey(scene: ManagerScenario, error: AwsError) -> None:
    """It says nothing about any role, and the next one finds what there is; an expired session is dropped."""
    scene.has_binding()
    begin(scene)
    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.aws.errors["ListRoles"] = [error]

    scene.wait(MINUTE)
    assert reconciled(scene) == []
    assert condition(scene) == {}
    assert bool(scene.sessions.forgotten) is (error is EXPIRED)
    scene.wait(MINUTE)
    assert scene.admitted() == ["app"]


def test_event_loop_has_its_turn_between_roles(scene: ManagerScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a survey nor a look at the AWS account decides hundreds of bindings in one go."""
    has_roles(scene, 200)
    begin(scene)
    decided = before = 0
    steps: list[int] = []
    snapshot = ClusterCache.binding_snapshot
    turn: Callable[[VirtualLoop], None] = vars(asyncio.BaseEventLoop)["_run_once"]

    def counted(self: ClusterCache, *arguments: Any) -> Any:
        nonlocal decided
        decided += 1
        return snapshot(self, *arguments)

    def turned(self: VirtualLoop) -> None:
        nonlocal before
        steps.append(decided - before)
        before = decided
        turn(self)

    monkeypatch.setattr(ClusterCache, "binding_snapshot", counted)
    monkeypatch.setattr(VirtualLoop, "_run_once", turned)
    scene.edit("AWSAccount", "prod", 2 * MINUTE, metadata={"annotations": {RECONCILE_REQUESTED_AT: "now"}})

    assert decided > 400
    assert max(steps) <= 60
