"""What a cluster wants in AWS, from files or from the cluster: whatever of trustbind's it does not name is swept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.reasons import TrustReason
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.missing import missing_objects

__all__ = ["Wanted"]

_SET = "RoleBindingSet "


@dataclass(frozen=True, slots=True)
class Wanted:
    """See the module.

    Attributes:
        issuer: whose statements are swept.
        bindings: all of them, each with its service accounts.
        aws_accounts: account id to how the AWS account is entered.
        service_accounts: all that the cluster has; None: not known.
        unknown: roles of which is not known what is wanted, each with a sentence.
        is_gone: whether the cluster is gone, so that nothing is wanted.
    """

    issuer: Issuer
    bindings: tuple[tuple[RoleBinding, tuple[Subject, ...]], ...] = ()
    aws_accounts: Mapping[str, AwsAccount] = field(default_factory=dict)
    service_accounts: frozenset[Subject] | None = None
    unknown: Mapping[RoleArn, str] = field(default_factory=dict)
    is_gone: bool = False

    @classmethod
    def of_files(cls, objects: Objects, issuer: Issuer) -> Wanted:
        """Return what the files want: they are the whole truth. Whether they have all service accounts is not known.

        Raises:
            InvalidValueError: for a RoleBindingSet of the files it is not known what it binds.
        """
        for described, why in objects.ignored:
            if described.startswith(_SET):
                raise InvalidValueError(
                    f"{described} is in the files, and what it binds is not known: {why}", field="-f"
                )
        missing = {
            role: refusal.message
            for role, refusals in missing_objects(objects).items()
            for refusal in refusals
            if refusal.reason is TrustReason.NO_SUBJECTS
        }
        return cls(issuer, _bindings(objects), objects.aws_accounts, unknown=missing)

    @classmethod
    def of_cluster(cls, objects: Objects, issuer: Issuer) -> Wanted:
        """Return what a cluster wants whose objects have all been read."""
        there = frozenset(Subject(namespace, name) for namespace, name in objects.accounts)
        return cls(issuer, _bindings(objects), objects.aws_accounts, there)

    @classmethod
    def nothing(cls, issuer: Issuer, aws_accounts: Mapping[str, AwsAccount]) -> Wanted:
        """Return what a cluster wants that is gone."""
        return cls(issuer, aws_accounts=aws_accounts, is_gone=True)

    @property
    def associated(self) -> frozenset[Subject]:
        """The service accounts that bindings want to have an EKS Pod Identity association."""
        return frozenset(s for b, subjects in self.bindings if b.method.uses_pod_identity_association for s in subjects)


def _bindings(objects: Objects) -> tuple[tuple[RoleBinding, tuple[Subject, ...]], ...]:
    return tuple((b, b.subjects(objects.labels_in(b.ref.namespace))) for b in objects.bindings)
