"""Everything that the cluster says about one role, as one frozen value.

A snapshot is taken on the event loop, from the cache (or from files), and is all that `decision` reads. Service
accounts are resolved when it is taken, so that no later step asks the cache again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trustbind.api.aws_account import AwsAccount
from trustbind.api.conflicts import Rival
from trustbind.api.role_binding import DeletionPolicy, NamespacePattern
from trustbind.api.role_grant import RoleGrant
from trustbind.identity.arns import RoleArn, RoleName
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reasons import TrustReason
from trustbind.reconcile.rollout import NOT_STARTED, Rollout
from trustbind.reconcile.stored_binding import StoredBinding

__all__ = ["BindingSnapshot", "Rank", "RoleSnapshot", "Surroundings"]

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rank:
    """What the older live bindings of a namespace come to.

    Attributes:
        bindings: their number.
        subjects: the service accounts that they name or select, each counted for each binding.
    """

    bindings: int = 0
    subjects: int = 0


@dataclass(frozen=True, slots=True)
class BindingSnapshot:
    """One binding and what decides about it.

    Attributes:
        stored: the object.
        subjects: the service accounts that it names or selects; empty when it cannot be parsed.
        rival: the oldest live binding of its namespace that has its profile for one of its service accounts.
        namespace_labels: of its namespace.
        rollout: how far a chain has come; see `Rollout`.
        rank: what older live bindings of its namespace there are; see `Rank`.
        unsafe: why trust by its pattern is not safe now; None: it is, or it has no pattern.
        revokes_unsafe: whether such trust is revoked then; else what stands stays, and nothing new is granted.
        former_pattern: the pattern that was granted last, where that is another one; see `SetPattern`.
        source_conflict: why it may not share a source role; see `shared_source`. Empty: it may.
    """

    stored: StoredBinding
    subjects: tuple[Subject, ...] = ()
    rival: Rival | None = None
    namespace_labels: Labels = field(default_factory=dict)
    rollout: Rollout = NOT_STARTED
    rank: Rank = Rank()
    source_conflict: str = ""
    unsafe: tuple[TrustReason, str] | None = None
    revokes_unsafe: bool = False
    former_pattern: NamespacePattern | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides about every binding.

    Attributes:
        issuer: the cluster's.
        grants: all RoleGrants; None: all is granted (``apply`` without grants in its files: its user decides).
        aws_accounts: account id to the AWSAccount that counts.
        own_role: the role that the operator runs as; None: it runs as none, or has asked for nothing yet.
        leaving: what becomes of the trust of every binding that is deleted, whatever it and its grants say, while
            trustbind is being uninstalled; None: it is not.
    """

    issuer: Issuer
    grants: tuple[RoleGrant, ...] | None
    aws_accounts: Mapping[str, AwsAccount]
    own_role: RoleName | None = None
    leaving: DeletionPolicy | None = None

    @property
    def most_bindings(self) -> int:
        """How many bindings a namespace may have by any grant."""
        return max((grant.max_bindings for grant in self.grants or ()), default=0)


@dataclass(frozen=True, slots=True)
class RoleSnapshot:
    """Everything that the cluster says about one role.

    Attributes:
        role: which.
        around: see `Surroundings`.
        bindings: all bindings that name the role, oldest first; as the source of chains, those of every namespace.
    """

    role: RoleArn
    around: Surroundings
    bindings: tuple[BindingSnapshot, ...] = ()

    @property
    def issuer(self) -> Issuer:
        """The cluster's issuer."""
        return self.around.issuer

    @property
    def aws_account(self) -> AwsAccount | None:
        """How the role's AWS account is reached; None when no AWSAccount describes it."""
        return self.around.aws_accounts.get(self.role.account_id)
