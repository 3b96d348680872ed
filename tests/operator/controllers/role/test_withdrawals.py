"""What changes in the cluster between a role's decisions and a write: nothing is written that is not granted then."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

import pytest

from support.bodies import ACCOUNT, ROLE, account_body, binding_body, grant_body
from support.scenario_role import RoleScenario
from trustbind.identity.arns import RoleArn
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.context import Next

SELECTING = binding_body(serviceAccountSelector={})
FAR = RoleArn(ROLE.partition, ROLE.account_id, "/", "far")
WRITES = {
    "UpdateAssumeRolePolicy",
    "CreateOpenIDConnectProvider",
    "AddClientIDToOpenIDConnectProvider",
    "PutRolePolicy",
    "DeleteRolePolicy",
}


@pytest.fixture
def scene() -> Iterator[RoleScenario]:
    """Return a scenario."""
    made = RoleScenario()
    yield made
    made.close()


def written(scene: RoleScenario) -> set[str]:
    """Return the operations that wrote to AWS."""
    return WRITES & scene.aws.calls.keys()


def test_grant_is_withdrawn_after_the_read(scene: RoleScenario) -> None:
    """Nothing is written, and the role runs again."""
    scene.has_binding()
    scene.aws.after["GetRole"] = [scene.has_grants]

    assert scene.run() is Next.NOW
    assert written(scene) == set()
    assert scene.ready()[0] == ""

    scene.run()
    assert scene.ready()[:2] == ("False", "NotGranted")
    assert written(scene) == set()


def test_grant_is_withdrawn_before_the_provider_is_made(scene: RoleScenario) -> None:
    """The same holds for the OIDC provider."""
    scene.aws.provider = None
    scene.has_binding()
    scene.aws.after["GetRole"] = [scene.has_grants]

    assert scene.run() is Next.NOW
    assert scene.aws.provider is None


def test_grant_is_withdrawn_before_the_source_policy_is_written(scene: RoleScenario) -> None:
    """The same holds for the inline policy of a chain's source role."""
    scene.aws.roles[FAR] = TrustDocument(scene.aws.roles[ROLE].statements)
    scene.has_binding(binding_body(roleArn=str(FAR), method="AssumeRole", source={"roleArn": str(ROLE)}))
    scene.run(FAR)
    scene.forget_calls()
    scene.aws.after["GetRolePolicy"] = [scene.has_grants]

    assert scene.run(ROLE) is Next.NOW
    assert written(scene) == set()
    assert scene.aws.targets(ROLE) == frozenset()


@pytest.mark.parametrize("end", ["deleted", "narrowed"])
def test_waiting_chain_ends_after_the_read(scene: RoleScenario, end: str) -> None:
    """What a waiting chain keeps in its source role is not written once the chain is deleted or narrowed."""
    source = {"roleArn": str(ROLE)}
    scene.settled(binding_body("web", serviceAccountNames=["far"]))
    scene.change("web", serviceAccountNames=["app"])
    scene.has_binding(
        binding_body("chain", roleArn=str(FAR), method="AssumeRole", source=source, serviceAccountNames=["far"])
    )

    def change() -> None:
        if end == "deleted":
            scene.delete("chain")
        else:
            scene.change("chain", serviceAccountNames=["other"])

    scene.aws.after["GetRole"] = [change]

    assert scene.run() is Next.NOW
    assert written(scene) == set()
    scene.run()
    assert scene.trusted() == ["app"]


def test_binding_comes_after_the_read(scene: RoleScenario) -> None:
    """It does not stop the run, and waits for the next one."""
    scene.has_binding()
    new = binding_body("new", serviceAccountNames=["new"])
    scene.aws.after["GetRole"] = [lambda: scene.has_binding(new)]

    assert scene.run() is Next.RESYNC
    assert scene.trusted() == ["app"]
    scene.run()
    assert scene.trusted() == ["app", "new"]


def test_subject_comes_after_the_read(scene: RoleScenario) -> None:
    """Of the same binding: neither stops it."""
    scene.has_service_accounts("team-a", {"one": {}})
    scene.has_binding(SELECTING)
    scene.aws.after["GetRole"] = [lambda: scene.cache.put_service_account("team-a", "two", {})]

    assert scene.run() is Next.RESYNC
    assert scene.trusted() == ["one"]
    scene.run()
    assert scene.trusted() == ["one", "two"]


def test_subject_goes_after_the_read(scene: RoleScenario) -> None:
    """The run stops, and the next one writes without it."""
    scene.has_service_accounts("team-a", {"one": {}, "two": {}})
    scene.has_binding(SELECTING)
    scene.aws.after["GetRole"] = [lambda: scene.cache.put_service_account("team-a", "two", None)]

    assert scene.run() is Next.NOW
    assert written(scene) == set()
    scene.run()
    assert scene.trusted() == ["one"]


def test_binding_is_deleted_after_the_read(scene: RoleScenario) -> None:
    """The run stops; what others of the role are granted is written by the next one."""
    scene.has_binding()
    scene.has_binding(binding_body("other", serviceAccountNames=["other"]))
    scene.aws.after["GetRole"] = [scene.delete]

    assert scene.run() is Next.NOW
    assert written(scene) == set()
    scene.run()
    assert scene.trusted() == ["other"]


def _nothing_of_concern(scene: RoleScenario) -> None:
    scene.cache.put_namespace("team-b", {"a": "b"})


def test_change_of_no_concern_after_the_read(scene: RoleScenario) -> None:
    """It does not stop the run."""
    scene.has_binding()
    scene.aws.after["GetRole"] = [lambda: _nothing_of_concern(scene)]

    assert scene.run() is Next.RESYNC
    assert scene.trusted() == ["app"]


@pytest.mark.parametrize(
    "change",
    [
        lambda scene: scene.has_account(account_body(driftPolicy="Observe")),
        lambda scene: scene.cache.drop_aws_account("prod"),
    ],
    ids=["Observe", "gone"],
)
def test_aws_account_changes_after_the_read(scene: RoleScenario, change: Callable[[RoleScenario], object]) -> None:
    """What the AWSAccount says when the write is sent counts."""
    scene.has_binding()
    scene.aws.after["GetRole"] = [lambda: change(scene)]

    assert scene.run() is Next.NOW
    assert written(scene) == set()
    assert scene.sids() == ["Ops"]


def test_revoking_is_not_stopped(scene: RoleScenario) -> None:
    """By a grant that is withdrawn from another binding."""
    scene.settled()
    scene.delete()
    scene.aws.after["GetRole"] = [scene.has_grants]

    scene.run()

    assert scene.trusted() == []
    assert not scene.exists()


@pytest.mark.parametrize("provider", [None, {"sts.amazonaws.com"}])
def test_not_leading(scene: RoleScenario, provider: set[str] | None) -> None:
    """Nothing is written to AWS, no status says Ready, and the new leader finds what is left to do."""
    scene.aws.provider = provider
    scene.leads_until = -math.inf
    scene.has_binding()

    assert scene.run() is Next.RETRY
    assert written(scene) == set()
    assert scene.ready()[0] != "True"

    scene.leads_until = math.inf
    assert scene.run() is Next.RESYNC
    assert scene.ready()[0] == "True"


@pytest.mark.parametrize(("hooks", "when"), [("after", "GetRole"), ("before", "UpdateAssumeRolePolicy")])
def test_not_leading_any_more(scene: RoleScenario, hooks: str, when: str) -> None:
    """Leadership ends between read and write, or before the write is sent; a deletion is not reported as done."""
    scene.settled()
    scene.delete()
    scene.wait(20.0)
    scene.leads_until = scene.seconds() + 20.0 + 0.05  # the run begins in 20 seconds
    getattr(scene.aws, hooks)[when] = [lambda: asyncio.sleep(0.1)]

    assert scene.run() is Next.RETRY
    assert written(scene) == set()
    assert scene.trusted() == ["app"]
    assert scene.exists()


def test_nothing_is_asked_for_what_is_not_granted(scene: RoleScenario) -> None:
    """Not even whether the AWS account can be entered."""
    scene.has_grants()
    for number in range(100):
        role = f"arn:aws:iam::{ROLE.account_id}:role/absent-{number}"
        scene.has_binding(binding_body(f"b{number}", roleArn=role, serviceAccountNames=[f"a{number}"]))
        assert scene.run(RoleArn.parse(role)) is Next.NEVER

    assert scene.aws.calls.total() == 0
    assert scene.sessions.assumed == []
    assert scene.ready("b99")[:2] == ("False", "NotGranted")


def test_audience_of_what_is_not_granted(scene: RoleScenario) -> None:
    """It never becomes a client id of the OIDC provider; a granted binding of the same role gets its own."""
    scene.has_grants()
    scene.has_binding(binding_body(audience="ungranted"))
    scene.run()
    assert scene.aws.provider == {"sts.amazonaws.com"}

    scene.has_grants(grant_body(namespaces={"names": ["team-b"]}))
    scene.has_binding(binding_body("other", "team-b", audience="granted"))
    scene.run()
    assert scene.aws.provider == {"sts.amazonaws.com", "granted"}


def test_own_role_is_learned_at_the_entry(scene: RoleScenario) -> None:
    """AWS says who the operator is when an AWS account is entered, after the decision: nothing is written for it."""
    scene.sessions.caller_arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE.name}/pod"
    scene.has_binding()
    scene.run()
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0
    scene.run()
    assert scene.ready()[:2] == ("False", "ProtectedRole")
    assert scene.aws.calls["UpdateAssumeRolePolicy"] == 0
