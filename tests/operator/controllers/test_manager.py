"""What is due and when: delays after each outcome, and events that ask for a run now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.bodies import ACCOUNT, ISSUER, OPS, OTHER_ROLE, ROLE, account_body, binding_body, grant_body
from support.scenario_manager import ManagerScenario
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER, RECONCILE_REQUESTED_AT
from trustbind.errors import AccessDeniedError, AwsError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.pace import Pace

DENIED = AccessDeniedError("not authorized", code="AccessDenied", operation=f"iam:GetRole on {ROLE}")
STALE = {"Effect": "Allow", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE123"}, "Action": "sts:AssumeRole"}
REQUESTED = {"annotations": {RECONCILE_REQUESTED_AT: "2026-01-01T12:00:00Z"}}
RARE = Pace(survey=1e6)


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    yield made
    made.close()


def begin(scene: ManagerScenario, pace: Pace = RARE) -> None:
    """Start the operator with one binding in order, and forget the calls."""
    scene.pace = pace
    scene.has_account()
    scene.has_binding()
    scene.start()
    scene.forget_calls()


def runs(scene: ManagerScenario, seconds: float) -> int:
    """Let time pass; return how often the role was read in it."""
    scene.aws.forget_calls()
    scene.wait(seconds)
    return scene.aws.calls["GetRole"]


def test_quiet_role_runs_at_the_resync(scene: ManagerScenario) -> None:
    """And not before."""
    begin(scene)
    assert runs(scene, 560.0) == 0
    assert runs(scene, 40.0) == 1
    assert scene.cluster.writes == []


def test_failed_role_is_retried_ever_less_often(scene: ManagerScenario) -> None:
    """The pauses double up to five minutes; with the jitter of these tests three quarters of that."""
    begin(scene)
    scene.aws.always["GetRole"] = DENIED
    scene.edit("RoleBinding", "team-a/b", 0.5, metadata=REQUESTED)
    assert scene.ready()[:2] == ("False", "AccessDenied")

    assert [runs(scene, seconds) for seconds in (1.5, 3.0, 6.0, 12.0, 24.0)] == [1, 1, 1, 1, 1]
    scene.wait(1000.0)
    assert runs(scene, 2 * 225.0) == 2


def test_success_ends_the_retries(scene: ManagerScenario) -> None:
    """And the next failure begins with the first pause."""
    begin(scene)
    scene.aws.errors["GetRole"] = [DENIED, DENIED, DENIED]
    scene.edit("RoleBinding", "team-a/b", 30.0, metadata=REQUESTED)
    assert scene.ready()[0] == "True"
    assert runs(scene, 100.0) == 0


def test_refused_role_runs_at_the_pace_of_surveys(scene: ManagerScenario) -> None:
    """Only another writer can change what keeps it from being written."""
    scene.aws.roles[ROLE] = TrustDocument((OPS, STALE))
    scene.pace = Pace(survey=60.0)
    scene.aws.always["ListRoles"] = AccessDeniedError("no", code="AccessDenied", operation="iam:ListRoles")
    scene.has_account()
    scene.has_binding()
    scene.start(10.0)
    assert scene.ready()[:2] == ("False", "StalePrincipal")

    assert runs(scene, 300.0) == 5


def test_refused_role_recovers_by_a_survey(scene: ManagerScenario) -> None:
    """No write is sent while a foreign statement is in the way, and one as soon as a survey shows it corrected."""
    shared = "token.actions.githubusercontent.com"
    provider = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{shared}"}
    foreign = {"Effect": "Allow", "Principal": provider, "Action": "sts:AssumeRoleWithWebIdentity"}
    scene.aws.roles[ROLE] = TrustDocument((OPS, foreign))
    scene.pace = Pace(survey=60.0)
    scene.has_account()
    scene.has_binding()
    scene.start(200.0)
    assert scene.ready()[:2] == ("False", "ForeignStatementRefused")
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0

    scene.aws.roles[ROLE] = TrustDocument((OPS, foreign | {"Condition": {"StringLike": {f"{shared}:sub": "repo:o/*"}}}))
    scene.wait(75.0)

    assert scene.ready()[0] == "True"
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 1


def test_changed_decision_runs_again_at_once(scene: ManagerScenario) -> None:
    """Within the window of changes, with what is granted then."""
    begin(scene)
    scene.aws.after["GetRole"] = [lambda: scene.cache.drop_grant("all")]
    scene.edit("RoleBinding", "team-a/b", 2.0, spec={"serviceAccountNames": ["app", "new"]})

    assert scene.ready()[:2] == ("False", "NotGranted")
    assert scene.admitted() == []


def test_request_at_a_binding(scene: ManagerScenario) -> None:
    """One run, now, although nothing else changed."""
    begin(scene)

    scene.edit("RoleBinding", "team-a/b", 0.1, metadata=REQUESTED)

    assert scene.aws.calls["GetRole"] == 1
    assert runs(scene, 100.0) == 0
    assert scene.cluster.writes == []


def test_request_at_an_aws_account(scene: ManagerScenario) -> None:
    """A survey, now; and the AWS account is entered again."""
    begin(scene)

    scene.edit("AWSAccount", "prod", 1.0, metadata=REQUESTED)

    assert scene.aws.calls["ListRoles"] == 1
    assert scene.aws.calls["GetCallerIdentity"] == 1
    assert runs(scene, 100.0) == 0
    assert scene.aws.calls["ListRoles"] == 0


def test_request_together_with_a_change(scene: ManagerScenario) -> None:
    """The change counts, too: its roles run."""
    begin(scene)

    scene.edit("AWSAccount", "prod", 1.0, metadata=REQUESTED, spec={"trustPolicyLimit": 4096})

    assert scene.aws.calls["ListRoles"] == 1
    assert scene.aws.calls["GetRole"] == 1


def test_own_writes_are_no_news(scene: ManagerScenario) -> None:
    """Finalizers and statuses come back as events, and nothing runs for them."""
    begin(scene)
    scene.create(binding_body("new", serviceAccountNames=["new"]), 30.0)

    assert scene.admitted() == ["app", "new"]
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 1
    assert scene.aws.calls["GetRole"] == 2


def test_changes_within_the_window_share_a_run(scene: ManagerScenario) -> None:
    """One read before the write and one after it, for all of them."""
    begin(scene)
    for number in range(20):
        scene.create(binding_body(f"b{number}", serviceAccountNames=[f"a{number}"]), 0.005)
    scene.wait(30.0)

    assert len(scene.admitted()) == 21
    assert (scene.aws.calls["GetRole"], scene.aws.calls["UpdateAssumeRolePolicy"]) == (2, 1)


def test_deletion(scene: ManagerScenario) -> None:
    """The trust goes, then the object; its event needs no further run."""
    begin(scene)
    scene.remove("RoleBinding", "team-a/b", 10.0)

    assert not scene.exists()
    assert scene.sids() == ["Ops"]
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 1
    assert scene.aws.calls["GetRole"] == 2


def test_finalizer_that_was_removed_by_force(scene: ManagerScenario) -> None:
    """The object is gone, and its statement goes with the event."""
    begin(scene)
    scene.cluster.objects[("RoleBinding", "team-a/b")]["metadata"]["finalizers"] = []
    scene.remove("RoleBinding", "team-a/b", 10.0)

    assert scene.sids() == ["Ops"]


def test_finalizer_that_is_missing_is_put_back(scene: ManagerScenario) -> None:
    """Else the trust would outlive the object."""
    begin(scene)
    scene.edit("RoleBinding", "team-a/b", 10.0, metadata={"finalizers": []})

    assert scene.cluster.objects[("RoleBinding", "team-a/b")]["metadata"]["finalizers"] == [BINDING_FINALIZER]


def test_grant_that_changes_runs_those_alone_whose_decision_differs(scene: ManagerScenario) -> None:
    """Decisions are made for all, and nothing is asked of AWS for those that stay."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding(binding_body("other", "team-b", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]))
    begin(scene)

    scene.set_grants(grant_body(namespaces={"names": ["team-a"]}), seconds=10.0)

    assert scene.ready("other", "team-b")[:2] == ("False", "NotGranted")
    assert {subject for operation, subject in scene.aws.log if operation == "GetRole"} == {str(OTHER_ROLE)}


def test_aws_account_comes_and_goes(scene: ManagerScenario) -> None:
    """Bindings follow it; it is kept while one of them needs it."""
    scene.has_binding()
    scene.start(1.0)
    assert scene.ready()[1] == "AccountUnknown"
    scene.create(account_body(), 5.0)
    assert scene.ready()[0] == "True"
    assert scene.account_ready()[0] == "True"
    assert scene.account_status()["bindings"] == 1
    assert scene.cluster.objects[("AWSAccount", "prod")]["metadata"]["finalizers"] == [ACCOUNT_FINALIZER]

    scene.remove("AWSAccount", "prod", 5.0)
    assert scene.account_ready()[1] == "Pending"
    scene.remove("RoleBinding", "team-a/b", 5.0)
    assert not scene.exists()
    scene.wait(600.0)
    assert scene.cluster.get("AWSAccount", "prod") is None


def test_counts_of_an_aws_account(scene: ManagerScenario) -> None:
    """They follow the bindings, without a call."""
    begin(scene)
    scene.create(binding_body("new", "team-b", metadata={"finalizers": ["x"]}, roleArn="nonsense"), 5.0)
    scene.aws.forget_calls()
    scene.has_grants()
    scene.create(binding_body("more", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]), 5.0)

    assert (scene.account_status()["bindings"], scene.account_status()["roles"]) == (2, 2)
    assert scene.aws.calls.total() == 0


def test_role_that_could_not_be_reached_runs_when_its_account_is_ready(scene: ManagerScenario) -> None:
    """Its own retries may be minutes away."""
    begin(scene)
    scene.sessions.closed[ACCOUNT] = AccessDeniedError("no", code="AccessDenied", operation="sts:AssumeRole on x")
    scene.edit("AWSAccount", "prod", 400.0, spec={"externalId": "wrong"})
    assert scene.ready()[1] == "AccountAccessDenied"
    assert scene.account_ready()[1] == "AccountAccessDenied"
    scene.sessions.closed.clear()
    scene.edit("AWSAccount", "prod", 1.0, metadata={"annotations": {RECONCILE_REQUESTED_AT: "again"}})

    assert scene.account_ready()[0] == "True"
    assert scene.ready()[0] == "True"


def test_unexpected_error(scene: ManagerScenario) -> None:
    """It is counted, the key is retried, and other keys go on."""
    begin(scene)
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.aws.before["GetRole"] = [_fail]
    scene.edit("RoleBinding", "team-a/b", 0.5, metadata=REQUESTED)
    assert scene.telemetry.crashes == [str(ROLE)]

    scene.create(binding_body("other", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]), 1.0)
    assert scene.ready("other")[0] == "True"
    scene.edit("RoleBinding", "team-a/b", 5.0, spec={"serviceAccountNames": ["app", "new"]})
    assert scene.admitted() == ["app", "new"]
    assert scene.telemetry.metrics.registry.get_sample_value("trustbind_operator_unexpected_errors_total") == 1


def _fail() -> None:
    raise ValueError("a defect")


def test_restart_runs_nothing_that_is_in_step(scene: ManagerScenario) -> None:
    """One call enters the AWS account, and a survey compares every role."""
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS,))
    scene.has_binding(binding_body("other", roleArn=str(OTHER_ROLE), serviceAccountNames=["x"]))
    begin(scene)
    scene.stop()
    scene.forget_calls()

    assert scene.start(100.0) == 0
    assert scene.aws.calls["GetRole"] == 0
    assert scene.cluster.writes == []


def test_aws_error_that_nobody_knows(scene: ManagerScenario) -> None:
    """It is a failure of the role, and no crash."""
    begin(scene)
    scene.aws.errors["GetRole"] = [AwsError("odd", code="Odd", operation="iam:GetRole")]
    scene.edit("RoleBinding", "team-a/b", 0.5, metadata=REQUESTED)

    assert scene.telemetry.crashes == []
    assert scene.telemetry.failures[0][1] == "AwsFailed"


def test_more_bindings_than_a_namespace_may_have(scene: ManagerScenario) -> None:
    """The newcomer waits, and other namespaces do not; it is applied once an older one goes, or the grant says more."""
    scene.pace = RARE
    scene.has_account()
    scene.has_grants(grant_body(maxBindings=2))
    for number in range(2):
        scene.has_binding(binding_body(f"b{number}", created=f"2026-01-01T00:00:0{number}Z", profile=f"p{number}"))
    scene.start()
    scene.create(binding_body("c", created="2026-01-01T00:01:00Z", profile="c"), 5.0)
    scene.create(binding_body("c", "team-b", created="2026-01-01T00:01:00Z"), 5.0)

    assert scene.ready("c")[:2] == ("False", "TooManyBindings")
    assert "maxBindings in RoleGrant all" in scene.ready("c")[2]
    assert [scene.ready(name)[0] for name in ("b0", "b1")] == ["True", "True"]
    assert scene.ready("c", "team-b")[0] == "True"

    scene.remove("RoleBinding", "team-a/b0", 10.0)
    assert scene.ready("c")[0] == "True"
    scene.set_grants(grant_body(maxBindings=1), seconds=10.0)
    assert [scene.ready(name)[0] for name in ("b1", "c")] == ["True", "True"]  # they keep what they have


def test_more_service_accounts_than_a_namespace_may_bind(scene: ManagerScenario) -> None:
    """Those of all its bindings count."""
    scene.pace = RARE
    scene.has_account()
    scene.has_grants(grant_body(maxSubjects=3))
    scene.has_binding(binding_body("b", serviceAccountNames=["x", "y"], profile="b"))
    scene.start()
    scene.create(binding_body("c", created="2026-02-01T00:00:00Z", serviceAccountNames=["x", "y"], profile="c"), 5.0)

    assert scene.ready("b")[0] == "True"
    assert scene.ready("c")[:2] == ("False", "TooManyBindings")
    assert "4 service accounts in its RoleBindings, and its RoleGrants allow 3" in scene.ready("c")[2]
    scene.set_grants(grant_body(maxSubjects=4), seconds=10.0)
    assert scene.ready("c")[0] == "True"


def test_a_source_role_of_another_namespace(scene: ManagerScenario) -> None:
    """The newcomer is refused before anything is written for it, and gets the role once the older chain is gone."""
    base, one = "arn:aws:iam::444455556666:role/base", "arn:aws:iam::444455556666:role/one"
    scene.pace = RARE
    scene.has_account()
    scene.has_grants(
        grant_body("a", namespaces={"names": ["team-a"]}, roleArns=[base, one]),
        grant_body("b", namespaces={"names": ["team-b"]}, roleArns=[base]),
    )
    for arn in (base, one):
        scene.aws.roles[RoleArn.parse(arn)] = TrustDocument((OPS,))
    scene.has_binding(binding_body("b", roleArn=one, method="AssumeRole", source={"roleArn": base}))
    scene.start(10.0)
    assert scene.ready()[0] == "True"

    scene.create(binding_body("c", "team-b", created="2026-02-01T00:00:00Z", roleArn=base), 10.0)
    assert scene.ready("c", "team-b")[:2] == ("False", "SharedSourceRole")
    assert "team-b" not in str(scene.aws.roles[RoleArn.parse(base)].statements)

    scene.remove("RoleBinding", "team-a/b", 20.0)
    assert scene.ready("c", "team-b")[0] == "True"


def test_hand_written_subjects_of_the_source_role(scene: ManagerScenario) -> None:
    """They reach the target of the chain, so the binding tells it, until they are gone."""
    by_hand = build(ISSUER, OTHER_ROLE, WebIdentityKey("sts.amazonaws.com"), [Subject("ops", "admin")]) | {
        "Sid": "Hand"
    }
    scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS, by_hand))
    scene.has_account()
    scene.has_binding(binding_body(method="AssumeRole", source={"roleArn": str(OTHER_ROLE)}))
    scene.start(30.0)

    assert scene.ready()[0] == "True"
    (told,) = (c for c in scene.known().status["conditions"] if c["type"] == "HandWrittenSubjects")
    assert (told["status"], told["reason"]) == ("True", "HandWrittenSubjects")
    assert "system:serviceaccount:ops:admin" in told["message"]

    scene.aws.roles[OTHER_ROLE] = TrustDocument(
        tuple(s for s in scene.aws.roles[OTHER_ROLE].statements if s != by_hand)
    )
    scene.wait(1200.0)
    assert "HandWrittenSubjects" not in {c["type"] for c in scene.known().status["conditions"]}
