"""What one namespace's bindings cost: nothing in AWS without a grant, and with one, no more than its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.bodies import ACCOUNT, OPS, OTHER_ROLE, ROLE, account_body, binding_body, grant_body
from support.fake_iam import FakeAccount
from support.scenario_manager import ManagerScenario
from trustbind.api.labels import BINDING_FINALIZER
from trustbind.errors import AccessDeniedError
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.call_limiter import CallLimiter
from trustbind_operator.controllers.pace import Pace

HOUR = 3600.0
TEAM_B = grant_body(namespaces={"names": ["team-b"]})
DENIED = AccessDeniedError("not authorized", code="AccessDenied", operation="iam:ListRoles")

_OF_THE_ACCOUNT = {"GetCallerIdentity", "GetAccountSummary", "GetOpenIDConnectProvider", "ListRoles"}
"""Calls of the look at an AWSAccount and of its surveys, whatever is bound."""


@pytest.fixture
def scene() -> Iterator[ManagerScenario]:
    """Return a scenario; a test starts it."""
    made = ManagerScenario()
    yield made
    made.close()


def absent(number: int) -> str:
    """Return the ARN of a role that does not exist."""
    return f"arn:aws:iam::{ACCOUNT}:role/absent-{number}"


def hostile(number: int, **fields: Any) -> dict[str, Any]:
    """Return a binding of team-a on a role of its own that does not exist."""
    return binding_body(f"b{number}", **{"roleArn": absent(number), "serviceAccountNames": [f"a{number}"], **fields})


def limited(scene: ManagerScenario, per_second: float, burst: int) -> None:
    """Let calls into the AWS account have a budget."""
    scene.pool = AccountPool(scene.sessions, scene.seconds, lambda _: CallLimiter(per_second, burst))
    scene.context = replace(scene.context, pool=scene.pool)


def calls_with(prepare: Callable[[ManagerScenario], None]) -> Counter[str]:
    """Return the calls of some minutes in which team-b is granted a role, and ``prepare`` lets team-a do something."""
    scene = ManagerScenario()
    scene.has_grants(TEAM_B)
    scene.has_account()
    scene.has_binding(binding_body("b", "team-b"))
    scene.start()
    prepare(scene)
    scene.wait(400.0 - scene.seconds() % 100.0)
    assert scene.ready("b", "team-b")[0] == "True"
    assert scene.aws.provider == {"sts.amazonaws.com"}
    calls = Counter(scene.aws.calls)
    scene.close()
    return Counter({name: count for name, count in calls.items() if name not in _OF_THE_ACCOUNT})


def _create(scene: ManagerScenario) -> None:
    for number in range(1000):
        scene.create(hostile(number))


def _create_and_delete(scene: ManagerScenario) -> None:
    for number in range(300):
        scene.create(hostile(number), 0.3)
        scene.remove("RoleBinding", f"team-a/b{number}")


def _change_sources(scene: ManagerScenario) -> None:
    for number in range(100):
        chain = {"method": "AssumeRole", "source": {"roleArn": absent(1000 + number)}}
        scene.create(hostile(number, **chain), 0.3)
        scene.edit("RoleBinding", f"team-a/b{number}", 0.3, spec={"source": {"roleArn": absent(2000 + number)}})


def _put_our_finalizer(scene: ManagerScenario) -> None:
    for number in range(300):
        scene.create(hostile(number, metadata={"finalizers": [BINDING_FINALIZER]}), 0.01)
    scene.wait(1.0)
    for number in range(300):
        scene.remove("RoleBinding", f"team-a/b{number}", 0.01)
    scene.wait(5.0)
    assert not any(scene.exists(f"b{number}") for number in range(300))


def _bind_the_granted_role(scene: ManagerScenario) -> None:
    for number in range(100):
        scene.create(hostile(number, roleArn=str(OTHER_ROLE), audience=f"audience-{number}"), 0.3)


def _use_pod_identity(scene: ManagerScenario) -> None:
    for number in range(300):
        scene.create(hostile(number, method="PodIdentity"), 0.01)


@pytest.mark.parametrize(
    "prepare",
    [_create, _create_and_delete, _change_sources, _put_our_finalizer, _bind_the_granted_role, _use_pod_identity],
)
def test_nothing_that_is_not_granted_is_asked_for_in_aws(prepare: Callable[[ManagerScenario], None]) -> None:
    """Some minutes with a namespace's ungranted bindings have the same calls as some without."""
    assert calls_with(prepare) == calls_with(lambda scene: scene.wait(0))


def test_absent_role_is_not_read_again(scene: ManagerScenario) -> None:
    """Then it waits for the survey, which lists it once it exists."""
    scene.has_account()
    for number in range(100):
        scene.has_binding(hostile(number))
    scene.start()
    assert scene.aws.calls["GetRole"] <= 200  # the first survey may come between
    scene.forget_calls()
    scene.wait(HOUR)
    assert scene.aws.calls["GetRole"] == 0
    assert scene.ready("b7")[1] == "RoleNotFound"

    scene.aws.roles[RoleArn.parse(absent(7))] = TrustDocument((OPS,))
    scene.wait(70.0)
    assert scene.ready("b7")[0] == "True"
    assert {subject for operation, subject in scene.aws.log if operation == "GetRole"} == {absent(7)}


def test_role_that_comes_again_unchanged(scene: ManagerScenario) -> None:
    """Its statement stands already, so the list alone would show nothing to do."""
    scene.has_account()
    scene.has_binding()
    scene.start(90.0)
    document = scene.aws.roles[ROLE]
    del scene.aws.roles[ROLE]
    scene.wait(90.0)
    assert scene.ready()[1] == "RoleNotFound"
    scene.aws.roles[ROLE] = document
    scene.wait(90.0)
    assert scene.ready()[0] == "True"


@pytest.mark.parametrize("by_path", [False, True])
def test_absent_role_that_no_survey_lists(scene: ManagerScenario, *, by_path: bool) -> None:
    """It is looked for ever less often, at most every five minutes."""
    if by_path:
        scene.has_account(account_body(rolePathPrefix="/teams/"))
    else:
        scene.aws.always["ListRoles"] = DENIED
        scene.has_account()
    scene.has_binding(hostile(1))
    scene.start(HOUR)
    scene.aws.forget_calls()
    scene.wait(HOUR)
    assert 10 <= scene.aws.calls["GetRole"] <= 24
    scene.aws.roles[RoleArn.parse(absent(1))] = TrustDocument((OPS,))
    scene.wait(310.0)
    assert scene.ready("b1")[0] == "True"


def test_absent_role_when_surveys_end(scene: ManagerScenario) -> None:
    """From then on it is looked for."""
    scene.has_account()
    scene.has_binding(hostile(1))
    scene.start(90.0)
    scene.aws.always["ListRoles"] = DENIED
    scene.aws.roles[RoleArn.parse(absent(1))] = TrustDocument((OPS,))
    scene.wait(90.0)
    assert scene.ready("b1")[0] == "True"


def test_full_trust_policy_waits_for_the_survey(scene: ManagerScenario) -> None:
    """It is not read again and again; room in it, or a higher quota, is found."""
    full = {**OPS, "Condition": {"StringEquals": {"sts:ExternalId": "x" * 1900}}}
    scene.aws.roles[ROLE] = TrustDocument((full,))
    scene.has_account()
    scene.has_binding()
    scene.start(90.0)
    assert scene.ready()[1] == "TrustPolicyFull"
    scene.aws.forget_calls()
    scene.wait(400.0)
    assert scene.aws.calls["GetRole"] == 0

    scene.aws.roles[ROLE] = TrustDocument((OPS,))
    scene.wait(70.0)
    assert scene.ready()[0] == "True"


def test_full_trust_policy_and_a_higher_quota(scene: ManagerScenario) -> None:
    """The look at the AWSAccount reads the quota, and the next survey finds what fits."""
    full = {**OPS, "Condition": {"StringEquals": {"sts:ExternalId": "x" * 1900}}}
    scene.aws.roles[ROLE] = TrustDocument((full,))
    scene.pace = Pace(resync=300.0)
    scene.has_account()
    scene.has_binding()
    scene.start()
    assert scene.ready()[1] == "TrustPolicyFull"
    scene.aws.limit = 4096
    scene.wait(500.0)
    assert scene.ready()[0] == "True"


def test_missing_provider_waits_for_the_aws_account(scene: ManagerScenario) -> None:
    """The AWSAccount is not Ready and is retried; its roles are not read meanwhile."""
    scene.aws.provider = None
    scene.has_account(account_body(oidcProvider={"manage": False}))
    for number in range(50):
        role = RoleArn.parse(absent(number))
        scene.aws.roles[role] = TrustDocument((OPS,))
        scene.has_binding(hostile(number))
    scene.start(90.0)
    assert scene.ready("b0")[1] == "ProviderMissing"
    scene.aws.forget_calls()
    scene.wait(360.0)
    assert scene.aws.calls["GetRole"] == 0

    scene.aws.provider = {"sts.amazonaws.com"}
    scene.wait(310.0)
    assert {scene.ready(f"b{number}")[0] for number in range(50)} == {"True"}


def test_another_namespace_waits_for_its_turn_alone(scene: ManagerScenario) -> None:
    """A thousand granted bindings on absent roles delay the only one of another namespace by a few runs."""
    limited(scene, 15.0, 100)
    scene.aws.latency["GetRole"] = 0.02
    scene.has_account()
    scene.start(5.0)
    for number in range(1000):
        scene.create(hostile(number))
    scene.wait(3.0)
    before = scene.aws.calls["GetRole"]
    scene.create(binding_body("b", "team-b"))
    while scene.ready("b", "team-b")[0] != "True":
        scene.wait(0.1)

    assert before < 300
    read = [subject for operation, subject in scene.aws.log if operation == "GetRole"][before:]
    window = read.index(str(ROLE))
    assert window <= 8  # within the commit window and its turn
    assert len(read) <= 20  # until it is Ready


def test_revocation_waits_for_its_own_namespace_alone(scene: ManagerScenario) -> None:
    """A withdrawn binding of another namespace goes before the queue."""
    limited(scene, 15.0, 100)
    scene.aws.latency["GetRole"] = 0.02
    scene.has_account()
    scene.has_binding(binding_body("b", "team-b"))
    scene.start(5.0)
    for number in range(1000):
        scene.create(hostile(number))
    scene.wait(3.0)
    before = scene.aws.calls["GetRole"]
    scene.remove("RoleBinding", "team-b/b")
    while scene.exists("b", "team-b"):
        scene.wait(0.1)

    assert scene.admitted() == []
    assert scene.aws.calls["GetRole"] - before <= 20


def test_role_of_both_namespaces_waits_for_the_quieter_one(scene: ManagerScenario) -> None:
    """A busy namespace does not draw a role that another one is bound to as well into its own queue."""
    limited(scene, 15.0, 100)
    scene.aws.latency["GetRole"] = 0.02
    scene.has_account()
    scene.has_binding(hostile(5000, roleArn=str(ROLE)))
    scene.has_binding(binding_body("b", "team-b"))
    scene.start(5.0)
    for number in range(1000):
        scene.create(hostile(number))
    scene.wait(3.0)
    before = scene.aws.calls["GetRole"]
    scene.edit("RoleBinding", "team-a/b5000", spec={"serviceAccountNames": ["new"]})
    scene.edit("RoleBinding", "team-b/b", spec={"serviceAccountNames": ["new"]})
    while scene.ready("b", "team-b")[0] != "True" or len(scene.admitted()) != 2:
        scene.wait(0.1)

    assert scene.aws.calls["GetRole"] - before <= 20


def test_aws_accounts_do_not_wait_for_each_other(scene: ManagerScenario) -> None:
    """One that answers slowly, with thousands of roles, delays nothing in another one."""
    other = FakeAccount("777788889999")
    other.latency["GetRole"] = 600.0
    other.provider = {"sts.amazonaws.com"}
    scene.sessions.accounts[other.account_id] = other
    scene.has_account()
    scene.has_account(account_body("slow", other.account_id))
    scene.start(5.0)
    for number in range(2500):
        slow = f"arn:aws:iam::{other.account_id}:role/slow-{number}"
        scene.create(hostile(number, roleArn=slow))
    scene.wait(30.0)
    scene.create(binding_body("b", "team-a"), 10.0)

    assert scene.ready()[0] == "True"
