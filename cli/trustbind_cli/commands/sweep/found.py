"""What there is to sweep, as values: role by role, association by association, and whether each was removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from trustbind.api.aws_account import AwsAccount, DriftPolicy
from trustbind.errors import TrustbindError
from trustbind.identity.arns import RoleArn
from trustbind.policy.plan import Refusal
from trustbind.policy.pod_identity_association import Act, Association, Step
from trustbind.policy.sweep import Sweep
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind.reconcile import association_outcome, role_plan

__all__ = ["AssociationSweep", "Found", "RoleSweep"]


@dataclass(frozen=True, slots=True)
class RoleSweep:
    """What is swept in one role.

    Attributes:
        role: which.
        aws_account: in which it is.
        document: its trust policy, as it was read.
        trust: what goes there.
        targets: what its inline policy of trustbind does not allow any more, as texts.
        kept: what was to go and is wanted by now, one sentence each.
        is_written: whether it was written.
        problem: why it could not be read or written; None when nothing was in the way.
    """

    role: RoleArn
    aws_account: AwsAccount
    document: TrustDocument
    trust: Sweep
    targets: frozenset[str] = frozenset()
    kept: tuple[str, ...] = ()
    is_written: bool = False
    problem: TrustbindError | None = None

    @property
    def is_due(self) -> bool:
        """Whether anything is to be written."""
        return not self.trust.plan.is_empty or bool(self.targets)

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing may be written: IAM would refuse it, or the AWS account is only observed. None when it may."""
        if self.trust.plan.blocked is not None or not self.is_due or not _is_observed(self.aws_account):
            return self.trust.plan.blocked
        if not self.trust.plan.is_empty:
            return role_plan.observed(self.aws_account, self.role, self.trust.plan)
        message = (
            f"AWSAccount {self.aws_account.name} has driftPolicy Observe, so nothing is written to the inline policy "
            f"of {self.role}; it differs: removed {', '.join(sorted(self.targets))}"
        )
        return Refusal(None, TrustReason.OBSERVED, message)


@dataclass(frozen=True, slots=True)
class AssociationSweep:
    """An EKS Pod Identity association of trustbind that no binding wants.

    Attributes:
        aws_account: of the EKS cluster.
        association: as it was described.
        kept: why it stays although it was to go; empty when it goes.
        is_written: whether it was deleted.
        problem: why not.
    """

    aws_account: AwsAccount
    association: Association
    kept: str = ""
    is_written: bool = False
    problem: TrustbindError | None = None

    @property
    def refusal(self) -> Refusal | None:
        """Why it may not be deleted: the AWS account is only observed. None when it may."""
        if self.kept or self.aws_account.eks is None or not _is_observed(self.aws_account):
            return None
        steps = [Step(Act.DELETE, self.association.subject, self.association)]
        message = association_outcome.observed(self.aws_account, self.aws_account.eks, steps)
        return Refusal(None, TrustReason.OBSERVED, message)


@dataclass(slots=True)
class Found:
    """What there is to sweep, and what could not be seen.

    Attributes:
        roles: those in which something goes, is in the way, or is worth a note.
        associations: see `AssociationSweep`.
        read: number of roles that were looked at.
        others: host and path of the issuers of other clusters whose trustbind wrote statements.
        unseen: what could not be seen, one sentence each.
    """

    roles: list[RoleSweep] = field(default_factory=list)
    associations: list[AssociationSweep] = field(default_factory=list)
    read: int = 0
    others: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether there is anything to remove."""
        return any(not each.kept for each in self.associations) or any(each.is_due for each in self.roles)

    @property
    def may_write(self) -> bool:
        """Whether some of it may be removed."""
        return any(each.refusal is None for each in self.associations) or any(
            each.is_due and each.refusal is None for each in self.roles
        )


def _is_observed(aws_account: AwsAccount) -> bool:
    return aws_account.drift_policy is DriftPolicy.OBSERVE
