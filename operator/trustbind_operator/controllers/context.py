"""What the work on roles and on accounts shares: the world around it, and when a thing is due again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Protocol

from trustbind.api.aws_account import EksCluster
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind_aws.account_pool import Accounts
from trustbind_aws.client import AccountAccess
from trustbind_aws.eks import AssociationStore, EksAccess
from trustbind_aws.resources.trust_policy import Patience
from trustbind_operator.cluster.cache import BindingEntry, Registry
from trustbind_operator.cluster.conditions import Transition

__all__ = ["Cluster", "Context", "Next", "Observer", "is_deleting", "sooner", "stamp"]


class Next(Enum):
    """When a thing is due again; what comes later here is due sooner."""

    NEVER = auto()
    RESYNC = auto()
    RETRY = auto()


class Cluster(Protocol):
    """What reconciliation does to Kubernetes. A method that finds the object gone does nothing and returns None."""

    async def guard(self, entry: BindingEntry) -> Mapping[str, Any] | None:
        """Add our finalizer; return the object as it is then."""

    async def release(self, entry: BindingEntry) -> Mapping[str, Any] | None:
        """Take our finalizer off."""

    async def binding_status(self, entry: BindingEntry, status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Store a binding's status; return the object as it is then."""

    async def account_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Store an AWSAccount's status; return the object as it is then."""

    async def guard_account(self, body: Mapping[str, Any], *, on: bool) -> Mapping[str, Any] | None:
        """Add our finalizer to an AWSAccount, or take it off."""

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Post an Event about an object; never fails."""


class Observer(Protocol):
    """Takes note for logs and metrics."""

    def committed(self, role: RoleArn, outcome: str, written: int, bindings: int) -> None:
        """One role was worked on."""

    def associated(self, role: RoleArn, cluster: str, written: int, accounts: int) -> None:
        """The associations of one role were looked at; ``accounts`` want one."""

    def failed(self, role: RoleArn, reason: str, message: str) -> None:
        """One role could not be brought in order."""

    def account(self, account_id: str, reason: str, message: str) -> None:
        """One account was looked at."""

    def crashed(self, key: str) -> None:
        """An unexpected exception is being handled; log it with its trace."""


@dataclass(frozen=True, slots=True)
class Context:
    """The world around the work.

    Attributes:
        registry: what is known of the cluster.
        cluster: effects on Kubernetes.
        accounts: ways into AWS.
        issuer: the cluster's.
        observer: logs and metrics.
        patience: how long to believe in a write.
        now: the time, aware.
        open_cluster: returns the way to a cluster's associations.
    """

    registry: Registry
    cluster: Cluster
    accounts: Accounts
    issuer: Issuer
    observer: Observer
    patience: Patience
    now: Callable[[], datetime]
    open_cluster: Callable[[AccountAccess, EksCluster], AssociationStore] = EksAccess


def sooner(one: Next, other: Next) -> Next:
    """Return which of two comes first."""
    return max(one, other, key=lambda due: due.value)


def is_deleting(body: Mapping[str, Any]) -> bool:
    """Return whether an object's deletion was asked for."""
    return bool(body["metadata"].get("deletionTimestamp"))


def stamp(now: datetime) -> str:
    """Return a time as the API writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
