"""A run of a role against the strict local AWS: which requests are sent, in which order, and what survives them."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from support.pipeline_scene import binding, owned, work
from support.target_account import MANAGER, ONE_TRY, OPEN, OPERATOR, OPS, ROLE, TARGET, as_root, trust
from trustbind.policy.trust_document import TrustDocument
from trustbind.reconcile.result import RoleResult
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.permits import ALWAYS, boottime
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_aws.role_pipeline import reconcile_role
from trustbind_aws.sessions import AwsSessions
from trustbind_localaws import LocalAws
from trustbind_localaws.state.faults import DroppedError

READ, WRITE = "GetRole", "UpdateAssumeRolePolicy"
FOREIGN: Final = {"Sid": "Foreign", **OPEN}
PACE: Final = WritePace(max_read_age=60.0, most_read_age=60.0, jitter=lambda: 0.0)
"""Whatever load the machine is under, no read is too old; see `test_role_pipeline` for reads that are."""


def run(*names: str) -> RoleResult:
    """Reconcile the role for bindings of these names, as an operator that has just started."""

    async def play() -> RoleResult:
        pool = AccountPool(AwsSessions("who", settings=ONE_TRY), boottime)
        bindings = [binding(name, roleArn=str(ROLE)) for name in names]
        each = work(*bindings, role=ROLE, manager_role=MANAGER.role, external_id=MANAGER.external_id)
        try:
            return await reconcile_role(pool, each, ALWAYS, PACE)
        finally:
            pool.abandon()

    return asyncio.run(play())


def operations(aws: LocalAws) -> list[str]:
    """Return the operations that the operator called about the role, in order."""
    return [call.operation for call in aws.calls() if call.operation in (READ, WRITE) and "assumed-role" in call.caller]


def stored() -> TrustDocument:
    """Return the role's trust policy."""
    found: Any = as_root().get_role(RoleName=ROLE.name)
    return TrustDocument.parse(found["Role"]["AssumeRolePolicyDocument"])


def add_foreign() -> None:
    """Add a statement to the trust policy as another writer."""
    present = stored()
    as_root().update_assume_role_policy(
        RoleName=ROLE.name, PolicyDocument=present.with_statements((*present.statements, FOREIGN)).to_json()
    )


def wanted(*statements: dict[str, Any]) -> Any:
    """Return what the trust policy has to mean."""
    return TrustDocument.parse(trust(*statements)).meaning()


def test_first_run_and_quiet_run(aws: LocalAws) -> None:
    """A first run enters the AWS account, creates the provider and writes once; the next one reads."""
    done = run("app")

    assert [call.operation for call in aws.calls()] == [
        "AssumeRole",
        "GetCallerIdentity",
        "GetCallerIdentity",  # of the identity that assumes
        "GetAccountSummary",
        "GetOpenIDConnectProvider",
        READ,
        "CreateOpenIDConnectProvider",
        READ,
        WRITE,
        READ,
    ]
    named = {call.operation for call in aws.calls()}
    by_account = {name: {call.account for call in aws.calls(operation=name)} for name in named}
    assert by_account.pop("AssumeRole") == {OPERATOR}
    assert by_account.pop("GetCallerIdentity") == {OPERATOR, TARGET}
    assert set().union(*by_account.values()) == {TARGET}
    assert done.written == 1
    assert stored().meaning() == wanted(OPS, owned("app", role=ROLE))
    aws.reset_calls()

    assert run("app").written == 0

    assert operations(aws) == [READ]


def test_throttled_write(aws: LocalAws) -> None:
    """The role is read again before the second request."""
    run("app")
    aws.throttle(TARGET, [WRITE], count=1)
    aws.reset_calls()

    run("app", "web")

    assert operations(aws) == [READ, WRITE, READ, WRITE, READ]


@pytest.mark.parametrize("takes_effect", [False, True])
def test_write_without_an_answer(aws: LocalAws, takes_effect: bool) -> None:
    """The role is read before anything else is sent; what another writer added meanwhile survives."""

    def drop(_account: str, _role: str) -> None:
        if takes_effect:
            document = TrustDocument.parse(trust(OPS, owned("app", role=ROLE)))
            as_root().update_assume_role_policy(RoleName=ROLE.name, PolicyDocument=document.to_json())
        add_foreign()
        raise DroppedError

    aws.before_write(drop)

    done = run("app")

    again = [] if takes_effect else [WRITE, READ]
    # The first read comes before the provider is created.
    assert operations(aws) == [READ, READ, WRITE, READ, *again]
    expected = [OPS, FOREIGN, owned("app", role=ROLE)]
    assert stored().meaning() == wanted(*expected)
    assert done.problem is None


def test_late_visibility(aws: LocalAws) -> None:
    """A write that shows late is confirmed, and not sent again."""
    aws.delay_visibility(calls=2)

    done = run("app")

    assert operations(aws)[-5:] == [READ, WRITE, READ, READ, READ]
    assert (done.written, done.problem) == (1, None)
