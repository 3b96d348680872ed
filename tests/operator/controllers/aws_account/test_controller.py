"""One AWSAccount: can the operator get in, is the provider in order, is anything of ours left over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from support.operator_world import ACCOUNT, ISSUER, OPS, OTHER_ROLE, ROLE, World, account_body, binding_body
from trustbind.api.labels import ACCOUNT_FINALIZER, BINDING_FINALIZER
from trustbind.errors import AccessDeniedError, AwsError, ThrottledError, UnreachableError
from trustbind.identity.subjects import Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.trust_document import TrustDocument
from trustbind_operator.controllers.aws_account.controller import AccountWork
from trustbind_operator.controllers.context import Next

GOING = {"deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": [ACCOUNT_FINALIZER]}
OURS = build(ISSUER, ROLE, WebIdentityKey("sts.amazonaws.com"), [Subject("team-a", "app")])


class Scene(World):
    """A world with the work on its accounts."""

    def __init__(self) -> None:
        super().__init__()
        self.work = AccountWork(self.context)

    def run(self, name: str = "prod") -> tuple[Next, bool]:
        """Look at an account."""
        return asyncio.run(self.work.run(name))

    def stored_account(self, name: str = "prod") -> dict[str, Any]:
        """Return an account's stored status."""
        status: dict[str, Any] = self.cluster.objects[("AWSAccount", name)].get("status", {})
        return status


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a scene."""
    made = Scene()
    yield made
    made.accounts.close()


def test_in_order(scene: Scene) -> None:
    """Who we are there, the provider, the limit, and how much we have there."""
    scene.has_account()
    scene.has_binding(binding_body("a"))
    scene.has_binding(binding_body("b", roleArn=str(OTHER_ROLE)))
    scene.has_binding(binding_body("c", roleArn=str(OTHER_ROLE)))
    scene.has_binding(binding_body("elsewhere", roleArn="arn:aws:iam::111122223333:role/x"))

    assert scene.run() == (Next.RESYNC, False)

    status = scene.stored_account()
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
    assert scene.notes.accounts == [(ACCOUNT, "AccountReady", "")]


def test_second_look_writes_nothing(scene: Scene) -> None:
    """As after a restart."""
    scene.has_account()
    scene.run()
    scene.cluster.writes.clear()
    assert scene.run() == (Next.RESYNC, False)
    assert (scene.cluster.writes, len(scene.cluster.events)) == ([], 1)


def test_provider_is_kept_for_all_audiences_in_use(scene: Scene) -> None:
    """Those of live bindings."""
    scene.has_account()
    scene.has_binding(binding_body("a", audience="one"))
    scene.has_binding(binding_body("b", audience="two"))
    scene.has_binding(binding_body("c", audience="three", metadata={"deletionTimestamp": "2026-01-02T00:00:00Z"}))
    scene.run()
    assert scene.aws.provider == {"sts.amazonaws.com", "one", "two"}


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
    scene.doors.closed[ACCOUNT] = error

    assert scene.run() == (Next.RETRY, False)
    assert scene.account_ready()[:2] == ("False", reason)
    assert scene.notes.accounts[0][:2] == (ACCOUNT, reason)
    scene.doors.closed.clear()
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


def test_provider_may_not_be_made(scene: Scene) -> None:
    """The permission to give is named."""
    scene.aws.provider = None
    scene.aws.always["create_provider"] = AccessDeniedError(
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
    assert scene.doors.assumed == []


def test_gone(scene: Scene) -> None:
    """Nothing is done about an object that is not there."""
    assert scene.run("unknown") == (Next.NEVER, False)


def test_guard_of_roles_that_start_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one role's write is on its way the others wait for it, and see it done."""
    put_on = scene.cluster.guard_account

    async def slowly(body: Mapping[str, Any], *, on: bool) -> Mapping[str, Any] | None:
        await asyncio.sleep(0)
        return await put_on(body, on=on)

    async def together() -> None:
        await asyncio.gather(*(scene.work.guard(account) for _ in range(3)))

    monkeypatch.setattr(scene.cluster, "guard_account", slowly)
    scene.has_account()
    account = scene.account()
    asyncio.run(together())
    assert scene.cluster.writes == [("guard", "prod")]


def test_guard_is_put_on_once(scene: Scene) -> None:
    """And not on one that is going, or is gone."""
    scene.has_account()
    account = scene.account()
    asyncio.run(scene.work.guard(account))
    asyncio.run(scene.work.guard(account))
    assert scene.cluster.writes == [("guard", "prod")]
    scene.has_account(account_body(metadata={"deletionTimestamp": "2026-01-02T00:00:00Z"}))
    asyncio.run(scene.work.guard(account))
    scene.registry.drop_aws_account("prod")
    asyncio.run(scene.work.guard(account))
    assert scene.cluster.writes == [("guard", "prod")]


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
    for entry in list(scene.registry.bindings.values()):
        scene.registry.drop_binding(entry.ref)
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


def test_orphans(scene: Scene) -> None:
    """Roles with a statement of ours that no binding is about: a finalizer was removed by force."""
    scene.has_account()
    scene.aws.roles[ROLE] = scene.aws.roles[OTHER_ROLE] = TrustDocument((OPS, OURS))
    scene.has_binding()
    assert asyncio.run(scene.work.orphans(ACCOUNT)) == [OTHER_ROLE]
    assert asyncio.run(scene.work.orphans("111122223333")) == []


def test_orphans_cannot_be_looked_for(scene: Scene) -> None:
    """Then the caller is told."""
    scene.has_account()
    scene.aws.always["roles_with"] = AccessDeniedError("no", code="AccessDenied", operation="iam:ListRoles")
    with pytest.raises(AccessDeniedError):
        asyncio.run(scene.work.orphans(ACCOUNT))


def test_recount(scene: Scene) -> None:
    """Counts follow the bindings without asking AWS, for an account that is in order."""
    scene.has_account()
    assert not asyncio.run(scene.work.recount("prod"))
    scene.run()
    scene.aws.calls.clear()
    scene.has_binding()

    assert asyncio.run(scene.work.recount("prod"))

    assert (scene.stored_account()["bindings"], scene.stored_account()["callerArn"] != "") == (1, True)
    assert scene.aws.calls.total() == 0
    assert not asyncio.run(scene.work.recount("unknown"))
