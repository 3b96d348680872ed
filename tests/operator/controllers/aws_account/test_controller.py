"""One AWSAccount: can the operator enter the AWS account, and is the provider in order?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest

from support.bodies import ACCOUNT, OTHER_ROLE, account_body, binding_body, grant_body
from support.scenario_world import World
from trustbind.api.identity_context import IdentityContext
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.errors import AccessDeniedError, AwsError, ThrottledError, UnreachableError
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind_operator.controllers.aws_account.controller import AwsAccountController
from trustbind_operator.controllers.context import Next
from trustbind_operator.controllers.manager import Manager
from trustbind_operator.controllers.pace import Pace

GOING = {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": [ACCOUNT_FINALIZER]}


class Scene(World):
    """A world with the controller of its AWSAccounts."""

    def __init__(self) -> None:
        super().__init__()
        self.controller = AwsAccountController(self.context)

    def run(self, name: str = "prod") -> tuple[Next, bool]:
        """Reconcile an AWSAccount."""
        return self.play(self.controller.reconcile(name))


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a scene."""
    made = Scene()
    yield made
    made.close()


def test_in_order(scene: Scene) -> None:
    """Who we are there, the provider, the limit, and how much we have there."""
    scene.has_account()
    scene.has_binding(binding_body("a"))
    scene.has_binding(binding_body("b", roleArn=str(OTHER_ROLE)))
    scene.has_binding(binding_body("c", roleArn=str(OTHER_ROLE)))
    scene.has_binding(binding_body("elsewhere", roleArn="arn:aws:iam::111122223333:role/x"))

    assert scene.run() == (Next.RESYNC, False)

    status = scene.account_status()
    assert scene.account_ready()[:2] == ("True", "AccountReady")
    del status["conditions"]
    assert status == {
        "observedGeneration": 1,
        "callerArn": f"arn:aws:sts::{ACCOUNT}:assumed-role/manager/test",
        "providerArn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com/id/1",
        "trustPolicyLimit": 2048,
        "roles": 2,
        "bindings": 3,
    }
    assert [(kind, t.reason) for kind, _, t in scene.cluster.events] == [("AWSAccount", "AccountReady")]
    assert scene.telemetry.accounts == [(ACCOUNT, "AccountReady", "")]


def test_second_look_writes_nothing(scene: Scene) -> None:
    """As after a restart."""
    scene.has_account()
    scene.run()
    scene.cluster.writes.clear()
    assert scene.run() == (Next.RESYNC, False)
    assert (scene.cluster.writes, len(scene.cluster.events)) == ([], 1)


def test_provider_is_kept_for_all_audiences_in_use(scene: Scene) -> None:
    """Those of live bindings that are granted."""
    scene.has_account()
    scene.has_binding(binding_body("a", audience="one"))
    scene.has_binding(binding_body("b", audience="two", serviceAccountNames=["y"]))
    scene.has_binding(binding_body("c", audience="three", metadata={"deletionTimestamp": "2026-01-02T00:00:00Z"}))
    scene.run()
    assert scene.aws.provider == {"sts.amazonaws.com", "one", "two"}


def test_audience_of_what_is_not_granted(scene: Scene) -> None:
    """It takes none of the provider's hundred places, and opens no statement that asks for no audience."""
    scene.has_account()
    scene.has_grants(grant_body(namespaces={"names": ["team-b"]}))
    scene.has_binding(binding_body("a", audience="ungranted"))
    scene.has_binding(binding_body("b", "team-b", audience="granted"))
    scene.run()
    assert scene.aws.provider == {"sts.amazonaws.com", "granted"}


def test_not_leading(scene: Scene) -> None:
    """The provider is left alone, and the AWSAccount is not reported as Ready."""
    scene.aws.provider = None
    scene.has_account()
    scene.has_binding()
    scene.leads_until = -math.inf

    assert scene.run() == (Next.RETRY, False)
    assert scene.aws.provider is None
    assert scene.account_ready() == ("", "", "")


def test_no_provider_without_bindings(scene: Scene) -> None:
    """Nothing is made that nobody needs."""
    scene.aws.provider = None
    scene.has_account()
    scene.run()
    assert scene.account_ready()[0] == "True"
    assert scene.aws.provider is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AccessDeniedError("no", code="AccessDenied", operation="sts:AssumeRole on x"), "AccountAccessDenied"),
        (UnreachableError("no answer", operation="sts:AssumeRole on x"), "AccountUnreachable"),
        (ThrottledError("slow", code="Throttling", operation="sts:AssumeRole on x"), "Throttled"),
        (AwsError("odd", code="Odd", operation="sts:AssumeRole on x"), "AwsFailed"),
    ],
)
def test_no_way_in_and_back(scene: Scene, error: AwsError, reason: str) -> None:
    """It is told and tried again; once it works, the account's roles are looked at, since they were held up."""
    scene.has_account()
    scene.sessions.closed[ACCOUNT] = error

    assert scene.run() == (Next.RETRY, False)
    assert scene.account_ready()[:2] == ("False", reason)
    assert scene.telemetry.accounts[0][:2] == (ACCOUNT, reason)
    scene.sessions.closed.clear()
    assert scene.run() == (Next.RESYNC, True)
    assert scene.account_ready()[0] == "True"


def test_wrong_account(scene: Scene) -> None:
    """Credentials that lead elsewhere are told with what to set."""
    scene.has_account()
    scene.aws.account_id = "999999999999"
    assert scene.run() == (Next.RETRY, False)
    status, reason, message = scene.account_ready()
    assert (status, reason) == ("False", "AccountMismatch")
    assert "spec.managerRoleArn" in message


def test_provider_is_not_ours(scene: Scene) -> None:
    """What it lacks is told."""
    scene.has_account(account_body(oidcProvider={"manage": False}))
    scene.has_binding(binding_body(audience="other"))
    assert scene.run() == (Next.RETRY, False)
    status, reason, message = scene.account_ready()
    assert (status, reason) == ("False", "ProviderMissing")
    assert "lacks the client id other" in message


def test_identity_context(scene: Scene) -> None:
    """It is set with the look at the provider; under Observe the AWSAccount says that it differs."""
    wanted = {"subjectSourceKey": "sub", "subjectTypeValue": "workload"}
    scene.has_account(account_body(oidcProvider={"identityContext": wanted}, driftPolicy="Observe"))
    scene.has_binding()
    scene.run()
    status, reason, message = scene.account_ready()
    assert (status, reason) == ("False", "DriftObserved")
    assert "differs from spec.oidcProvider.identityContext" in message
    assert scene.aws.context is None
    scene.has_account(account_body(oidcProvider={"identityContext": wanted}))
    scene.run()
    assert scene.account_ready()[0] == "True"
    assert scene.aws.context == IdentityContext("sub", "workload")


def test_provider_may_not_be_made(scene: Scene) -> None:
    """The permission to give is named."""
    scene.aws.provider = None
    scene.aws.always["CreateOpenIDConnectProvider"] = AccessDeniedError(
        "not authorized", code="AccessDenied", operation="iam:CreateOpenIDConnectProvider for x"
    )
    scene.has_account()
    scene.has_binding()
    scene.run()
    _, reason, message = scene.account_ready()
    assert reason == "AccessDenied"
    assert "allow iam:CreateOpenIDConnectProvider" in message


def test_broken(scene: Scene) -> None:
    """An object that cannot be read says so, and is not tried again before it changes."""
    scene.has_account(account_body(managerRoleArn="nonsense"))
    assert scene.run() == (Next.NEVER, False)
    assert scene.account_ready()[:2] == ("False", "InvalidSpec")
    assert scene.aws.calls.total() == 0


def test_duplicate(scene: Scene) -> None:
    """Of two for one account the younger says which the older is, and is not worked through."""
    scene.has_account()
    scene.has_account(account_body("second", metadata={"creationTimestamp": "2026-03-01T00:00:00Z"}))
    assert scene.run("second") == (Next.RESYNC, False)
    _, reason, message = scene.account_ready("second")
    assert reason == "AccountDuplicate"
    assert "AWSAccount prod is older" in message
    assert scene.sessions.assumed == []


def test_gone(scene: Scene) -> None:
    """Nothing is done about an object that is not there."""
    assert scene.run("unknown") == (Next.NEVER, False)


def test_guard_of_roles_that_start_together(scene: Scene) -> None:
    """While one role's write is on its way the others wait for it, and see it done."""

    async def together() -> None:
        await asyncio.gather(*(scene.controller.guard(account) for _ in range(3)))

    scene.cluster.latency = lambda: 1.0
    scene.has_account()
    account = scene.aws_account()
    scene.play(together())
    assert scene.cluster.writes == [("add_finalizer", "prod")]


def test_guard_is_put_on_once(scene: Scene) -> None:
    """And not on one that is going, or is gone."""
    scene.has_account()
    account = scene.aws_account()
    scene.play(scene.controller.guard(account))
    scene.play(scene.controller.guard(account))
    assert scene.cluster.writes == [("add_finalizer", "prod")]
    scene.has_account(account_body(metadata={"deletionTimestamp": "2026-01-02T00:00:00Z"}))
    scene.play(scene.controller.guard(account))
    scene.cache.drop_aws_account("prod")
    scene.play(scene.controller.guard(account))
    assert scene.cluster.writes == [("add_finalizer", "prod")]


@pytest.mark.parametrize("count", [1, 2])
def test_deletion_waits_for_its_bindings(scene: Scene, count: int) -> None:
    """Without the account nothing could be revoked; it says how many hold it, and goes after them."""
    scene.has_account(account_body(metadata=GOING))
    for n in range(count):
        scene.has_binding(binding_body(f"b{n}", metadata={"finalizers": [BINDING_FINALIZER]}))

    assert scene.run() == (Next.RETRY, False)

    status, reason, message = scene.account_ready()
    assert (status, reason) == ("False", "Pending")
    assert f"its {count} binding" in message
    assert "team-a/b0" in message
    for entry in list(scene.cache.bindings.values()):
        scene.cache.drop_binding(entry.ref)
    assert scene.run() == (Next.NEVER, False)
    assert scene.cluster.get("AWSAccount", "prod") is None


def test_deletion_does_not_wait_for_bindings_without_trust(scene: Scene) -> None:
    """Those that never got our finalizer."""
    scene.has_account(account_body(metadata=GOING))
    scene.has_binding()
    assert scene.run() == (Next.NEVER, False)
    assert scene.cluster.get("AWSAccount", "prod") is None


def test_deletion_of_a_duplicate(scene: Scene) -> None:
    """It is not needed: the other one counts."""
    scene.has_account()
    scene.has_account(account_body("second", metadata={**GOING, "creationTimestamp": "2025-01-01T00:00:00Z"}))
    scene.has_binding(binding_body(metadata={"finalizers": [BINDING_FINALIZER]}))
    assert scene.run("second") == (Next.NEVER, False)
    assert scene.cluster.get("AWSAccount", "second") is None


def test_recount(scene: Scene) -> None:
    """Counts follow the bindings without asking AWS, for an account that is in order."""
    scene.has_account()
    assert not scene.play(scene.controller.recount("prod"))
    scene.run()
    scene.aws.forget_calls()
    scene.has_binding()

    assert scene.play(scene.controller.recount("prod"))

    assert (scene.account_status()["bindings"], scene.account_status()["callerArn"] != "") == (1, True)
    assert scene.aws.calls.total() == 0
    assert not scene.play(scene.controller.recount("unknown"))


def test_change_from_before_our_status_patch(scene: Scene) -> None:
    """Its event comes after the answer to the patch, and is older; what it brings counts, and our status stays."""
    guarded = {"finalizers": [ACCOUNT_FINALIZER]}
    scene.has_account(account_body(metadata=guarded))
    scene.run()
    (known,) = scene.cache.aws_accounts.values()
    assert known.ready_status == "True"

    async def event() -> None:
        body = account_body(requireRoleConsent=True, metadata=guarded)
        Manager(scene.context, pace=Pace()).account_seen(StoredAwsAccount.of(body))

    scene.play(event())

    (stored,) = scene.cache.aws_accounts.values()
    assert stored.account is not None
    assert stored.account.require_role_consent
    assert stored.status == known.status
