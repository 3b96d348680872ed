"""One AWS account in memory and the pipeline of its roles, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from support.fake_iam import FakeAccount, FakeSessions
from support.virtual_time import run_virtually
from trustbind.api.aws_account import AwsAccount
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import DEFAULT_AUDIENCE, Issuer, Subject
from trustbind.policy.owned_statement import WebIdentityKey, build
from trustbind.policy.trust_document import TrustDocument
from trustbind.reconcile.decision import decide
from trustbind.reconcile.result import RoleResult
from trustbind.reconcile.role_plan import RoleWork
from trustbind.reconcile.rollout import NOT_STARTED, Rollout
from trustbind.reconcile.snapshot import BindingSnapshot, RoleSnapshot, Surroundings
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.account_pool import AccountPool, Entered
from trustbind_aws.permits import ALWAYS, DecisionChangedError, NotLeadingError, WriteGuard
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_aws.role_pipeline import reconcile_role

__all__ = [
    "ACCOUNT",
    "ISSUER",
    "NOT_LEADING",
    "OPS",
    "ROLE",
    "TERRAFORM",
    "PipelineScene",
    "Refusing",
    "binding",
    "document",
    "owned",
    "work",
]

T = TypeVar("T")

ACCOUNT: Final = "444455556666"
ROLE: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/app")
ISSUER: Final = Issuer.parse("https://oidc.example.com/id/1")
OPS: Final = {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}
TERRAFORM: Final = {
    "Sid": "Terraform",
    "Effect": "Allow",
    "Principal": {"Service": "ec2.amazonaws.com"},
    "Action": "x:y",
}
_MANAGER: Final = RoleArn.parse(f"arn:aws:iam::{ACCOUNT}:role/manager")


def binding(
    name: str = "app",
    *,
    deleting: bool = False,
    status: Mapping[str, Any] | None = None,
    rollout: Rollout = NOT_STARTED,
    **spec: Any,
) -> BindingSnapshot:
    """Return the snapshot of a RoleBinding of team-a for the service account of its name."""
    metadata: dict[str, Any] = {"name": name, "namespace": "team-a", "uid": name, "generation": 1}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    body = {
        "apiVersion": "trustbind.dev/v1alpha1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "spec": {"roleArn": str(ROLE), "serviceAccountNames": [name], **spec},
        "status": dict(status or {}),
    }
    stored = StoredBinding.of(body)
    assert stored.binding is not None, stored.problem
    return BindingSnapshot(stored, (Subject("team-a", name),), rollout=rollout)


def work(*bindings: BindingSnapshot, role: RoleArn = ROLE, **account: Any) -> RoleWork:
    """Return what a run has to reach for these bindings; everything is granted.

    Args:
        bindings: oldest first.
        role: which.
        account: attributes of the AWSAccount.
    """
    aws_account = AwsAccount("prod", ACCOUNT, **{"manager_role": _MANAGER, **account})
    ids = {ACCOUNT} | {r.account_id for b in bindings for r in b.stored.roles}
    accounts = {account_id: replace(aws_account, account_id=account_id) for account_id in ids}
    snapshot = RoleSnapshot(role, Surroundings(ISSUER, None, accounts), bindings)
    return RoleWork(role, ISSUER, aws_account, decide(snapshot))


def owned(*accounts: str, issuer: Issuer = ISSUER, role: RoleArn = ROLE) -> dict[str, Any]:
    """Return the owned statement for these service accounts of team-a."""
    return build(issuer, role, WebIdentityKey(DEFAULT_AUDIENCE), [Subject("team-a", a) for a in accounts])


def document(*statements: Mapping[str, Any]) -> TrustDocument:
    """Return a trust document."""
    return TrustDocument(statements)


class Refusing:
    """A `WriteGuard` that raises, after it has permitted some writes.

    Attributes:
        asked: how often it was asked.
    """

    def __init__(self, error: Exception, permitted: int = 0) -> None:
        self._error = error
        self._permitted = permitted
        self.asked = 0

    def deadline(self) -> float:
        """Raise, or return no bound."""
        self.asked += 1
        if self.asked > self._permitted:
            raise self._error
        return float("inf")


NOT_LEADING: Final = (NotLeadingError("not leading"), DecisionChangedError("the decision changed"))


class PipelineScene:
    """See the module. The provider is there and lists the default audience; ``ROLE`` trusts ``OPS``.

    Attributes:
        account: the AWS account.
        pool: leads into it.
        jumped: seconds by which the clock of permits is ahead of the event loop's.
        pace: of the runs; without jitter.
    """

    def __init__(self) -> None:
        self.account = FakeAccount(ACCOUNT)
        self.account.clock = self.clock
        self.account.provider = {DEFAULT_AUDIENCE}
        self.account.roles[ROLE] = document(OPS)
        self.sessions = FakeSessions(self.account)
        self.pool = AccountPool(self.sessions, self.clock)
        self.jumped = 0.0
        self.pace = WritePace(jitter=lambda: 1.0, clock=self.clock)

    def clock(self) -> float:
        """Return the seconds of the clock that permits use."""
        return asyncio.get_running_loop().time() + self.jumped

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing of this process runs."""
        self.jumped += seconds

    def run(self, *works: RoleWork, guard: WriteGuard = ALWAYS) -> RoleResult:
        """Reconcile roles one after the other; return the last result."""

        async def play() -> RoleResult:
            results = [await reconcile_role(self.pool, each, guard, self.pace) for each in works]
            return results[-1]

        return run_virtually(play())

    def warm(self, *works: RoleWork) -> None:
        """Reconcile roles, and forget the calls."""
        self.run(*works)
        self.account.forget_calls()

    def play(self, steps: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in virtual time."""
        return run_virtually(steps)

    async def enter(self, each: RoleWork | None = None) -> Entered:
        """Enter the AWS account."""
        return await self.pool.enter((each or work()).aws_account)

    def operations(self, *left_out: str) -> list[str]:
        """Return the operations that were called, in order, without those of a first entry."""
        without: Iterable[str] = {"GetCallerIdentity", "GetAccountSummary", *left_out}
        return [operation for operation in self.account.operations if operation not in without]

    def foreign_write(self, statement: Mapping[str, Any] = TERRAFORM, role: RoleArn = ROLE) -> None:
        """Add a statement to a trust policy as another writer."""
        self.account.add_statement(role, statement)
