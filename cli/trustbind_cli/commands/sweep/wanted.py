"""What a cluster wants in AWS, from files or from the cluster: whatever of trustbind's it does not name is swept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trustbind.api.aws_account import AwsAccount
from trustbind.api.role_binding import BindingRef, RoleBinding
from trustbind.errors import InvalidValueError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer, Subject
from trustbind.policy.sweep import Scope, Sweep, SweepReason, Swept, claims_of, sweep
from trustbind.policy.trust_document import TrustDocument
from trustbind.reasons import TrustReason
from trustbind_cli.files.manifests import Objects
from trustbind_cli.files.missing import missing_objects
from trustbind_cli.files.snapshot import roles_of

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
        selecting: namespaces with a binding by EKS Pod Identity that selects service accounts of which not all may be
            known, each with the binding.
        files: the service accounts that the files have, which need not be all; None: they are not from files.
        is_gone: whether the cluster is gone, so that nothing is wanted.
        note: what a person should read about it; empty: nothing.
    """

    issuer: Issuer
    bindings: tuple[tuple[RoleBinding, tuple[Subject, ...]], ...] = ()
    aws_accounts: Mapping[str, AwsAccount] = field(default_factory=dict)
    service_accounts: frozenset[Subject] | None = None
    unknown: Mapping[RoleArn, str] = field(default_factory=dict)
    selecting: Mapping[str, BindingRef] = field(default_factory=dict)
    files: frozenset[Subject] | None = None
    is_gone: bool = False
    note: str = ""

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
        selecting = {
            binding.ref.namespace: binding.ref
            for binding in objects.bindings
            if binding.method.uses_pod_identity_association and binding.selector is not None
        }
        return cls(
            issuer,
            _bindings(objects),
            objects.aws_accounts,
            unknown=missing,
            selecting=selecting,
            files=_there(objects),
        )

    @classmethod
    def of_cluster(cls, objects: Objects, issuer: Issuer) -> Wanted:
        """Return what a cluster wants whose objects have all been read."""
        return cls(issuer, _bindings(objects), objects.aws_accounts, _there(objects))

    @classmethod
    def nothing(cls, issuer: Issuer, aws_accounts: Mapping[str, AwsAccount], note: str = "") -> Wanted:
        """Return what a cluster wants that is gone."""
        return cls(issuer, aws_accounts=aws_accounts, is_gone=True, note=note)

    def also(self, later: Wanted) -> Wanted:
        """Return what this reading or a later one wants: so only what both call unwanted is removed.

        How an AWS account is entered, the later one says.

        Raises:
            InvalidValueError: the later one is of another issuer.
        """
        if (self.issuer, self.is_gone) != (later.issuer, later.is_gone):
            raise InvalidValueError(f"the cluster has the issuer {later.issuer} by now, and not {self.issuer}")
        known = self.service_accounts, later.service_accounts
        return Wanted(
            self.issuer,
            tuple(dict.fromkeys((*self.bindings, *later.bindings))),
            {**self.aws_accounts, **later.aws_accounts},
            None if known[0] is None or known[1] is None else known[0] | known[1],
            {**self.unknown, **later.unknown},
            {**self.selecting, **later.selecting},
            self.files,
            self.is_gone,
            self.note,
        )

    def swept(self, role: RoleArn, document: TrustDocument, *, retained: bool) -> Sweep:
        """Return what goes of a role's trust policy; see `trustbind.policy.sweep.sweep`.

        Args:
            role: whose trust policy.
            document: as it was read.
            retained: whether what deleted bindings left is swept, too.
        """
        scope = Scope(self.is_gone, retained, self.service_accounts)
        return sweep(role, document, self.issuer, claims_of(role, self.bindings), scope)

    def unsure(self, role: RoleArn, swept: Iterable[Swept]) -> str:
        """Return why it is not known whether what goes of a role is wanted; empty where it is not.

        A binding of files may select service accounts that the files do not have.
        """
        if self.files is None:
            return ""
        lost = {name for each in swept if each.reason is SweepReason.UNBOUND for name in each.names}
        lost -= set(map(str, self.files))
        for binding, _ in self.bindings:
            if binding.selector is None or role not in roles_of(binding):
                continue
            prefix = f"system:serviceaccount:{binding.ref.namespace}:"
            if names := sorted(name.removeprefix(prefix) for name in lost if name.startswith(prefix)):
                return (
                    f"RoleBinding {binding.ref} selects service accounts, and the files do not have "
                    f"{', '.join(names)}, which the role trusts, so nothing is removed there; add them with -f, or run "
                    "sweep on the live cluster"
                )
        return ""

    def account(self, role: RoleArn) -> AwsAccount:
        """Return how the AWS account of a role is entered; without an AWSAccount, by the caller's own credentials."""
        return self.aws_accounts.get(role.account_id) or AwsAccount(role.account_id, role.account_id)

    @property
    def associated(self) -> frozenset[Subject]:
        """The service accounts that bindings want to have an EKS Pod Identity association."""
        return frozenset(s for b, subjects in self.bindings if b.method.uses_pod_identity_association for s in subjects)


def _there(objects: Objects) -> frozenset[Subject]:
    return frozenset(Subject(namespace, name) for namespace, name in objects.accounts)


def _bindings(objects: Objects) -> tuple[tuple[RoleBinding, tuple[Subject, ...]], ...]:
    return tuple((b, b.subjects(objects.labels_in(b.ref.namespace))) for b in objects.bindings)
