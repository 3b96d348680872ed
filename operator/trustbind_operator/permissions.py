"""The permission of a source role to assume its targets, around the commit of its trust policy.

It is widened before anybody new may come in through the source role, and narrowed after those have gone who should.
"""

from __future__ import annotations

from collections.abc import Iterable

from trustbind.arns import RoleArn
from trustbind.errors import AccessDeniedError
from trustbind.identities import Issuer
from trustbind.source_policies import policy_name, source_policy, targets_of
from trustbind_operator.iam import NO_PERMISSION, AccountAccess

__all__ = ["SourcePermission"]


class SourcePermission:
    """One role's inline policy of ours.

    Args:
        access: to the role's account.
        role: the role.
        issuer: the cluster's.
        targets: which roles it should be allowed to assume; None: the role is no source, and its policies are left
            alone.
    """

    def __init__(self, access: AccountAccess, role: RoleArn, issuer: Issuer, targets: Iterable[RoleArn] | None) -> None:
        self._access = access
        self._role = role
        self._name = policy_name(issuer)
        self._wanted = None if targets is None else frozenset(str(target) for target in targets)
        self._there: frozenset[str] | None = frozenset()

    def widen(self) -> None:
        """See that the policy allows all that is wanted; what else it allows stays for now.

        Where nothing is wanted and the policy may not be read, it is left alone: who may not read it has not written
        it, and it should not keep trust from being revoked.

        Raises:
            AwsError: a call failed.
        """
        if self._wanted is None:
            return
        try:
            self._there = targets_of(self._access.role_policy(self._role, self._name))
        except AccessDeniedError as error:
            if self._wanted or error.code not in NO_PERMISSION:
                raise
            self._wanted = None
            return
        if self._there is None or not self._wanted <= self._there:
            self._write(self._wanted | (self._there or frozenset()))

    def narrow(self) -> None:
        """See that the policy allows nothing else.

        Raises:
            AwsError: a call failed.
        """
        if self._wanted is not None and self._there != self._wanted:
            self._write(self._wanted)

    def _write(self, targets: frozenset[str]) -> None:
        policy = source_policy(RoleArn.parse(target) for target in targets)
        self._access.write_role_policy(self._role, self._name, policy)
        self._there = targets
