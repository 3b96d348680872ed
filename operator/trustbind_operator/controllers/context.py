"""What the controllers share: their collaborators, and when a thing is due again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, Protocol

from trustbind.api.webhook_scope import WebhookScope
from trustbind.identity.subjects import Issuer
from trustbind.reconcile.stored_aws_account import StoredAwsAccount
from trustbind.reconcile.stored_binding import StoredBinding
from trustbind_aws.account_pool import AccountPool
from trustbind_aws.resources.trust_policy import WritePace
from trustbind_operator.cluster.cache import ClusterCache
from trustbind_operator.cluster.conditions import Transition
from trustbind_operator.metrics import Telemetry

__all__ = ["Context", "Next", "Writer", "sooner"]


class Next(Enum):
    """When a thing is due again; what comes later here is due sooner."""

    NEVER = auto()
    RESYNC = auto()
    SURVEY = auto()
    RETRY = auto()
    NOW = auto()


class Writer(Protocol):
    """Writes to Kubernetes. A method that finds the object gone, or replaced, does nothing and returns None."""

    async def add_finalizer(self, stored: StoredBinding) -> StoredBinding | None:
        """Add our finalizer to a RoleBinding; return the object then."""

    async def remove_finalizer(self, stored: StoredBinding) -> None:
        """Remove our finalizer from a RoleBinding."""

    async def patch_status(self, stored: StoredBinding, status: Mapping[str, Any]) -> str | None:
        """Store a RoleBinding's status; return the object's resourceVersion then."""

    async def add_account_finalizer(self, stored: StoredAwsAccount) -> StoredAwsAccount | None:
        """Add our finalizer to an AWSAccount; return the object then."""

    async def remove_account_finalizer(self, stored: StoredAwsAccount) -> None:
        """Remove our finalizer from an AWSAccount."""

    async def patch_account_status(self, stored: StoredAwsAccount, status: Mapping[str, Any]) -> str | None:
        """Store an AWSAccount's status; return the object's resourceVersion then."""

    async def event(self, kind: str, metadata: Mapping[str, Any], transition: Transition) -> None:
        """Post an Event about an object; never fails."""


_EVERYWHERE: Final = WebhookScope()


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of every controller.

    Attributes:
        cache: what is known of the cluster.
        writer: writes to Kubernetes.
        pool: the AWS accounts.
        telemetry: logs and metrics.
        leads_until: returns until when writes to AWS may be sent, in seconds of `trustbind_aws.permits.boottime`.
        pace: see `WritePace`.
        now: the time, aware.
        scope: which pods the webhook is called for.
    """

    cache: ClusterCache
    writer: Writer
    pool: AccountPool
    telemetry: Telemetry
    leads_until: Callable[[], float]
    pace: WritePace
    now: Callable[[], datetime]
    scope: WebhookScope = _EVERYWHERE

    @property
    def issuer(self) -> Issuer:
        """The cluster's issuer."""
        return self.cache.issuer


def sooner(one: Next, other: Next) -> Next:
    """Return which of two comes first."""
    return max(one, other, key=lambda due: due.value)
