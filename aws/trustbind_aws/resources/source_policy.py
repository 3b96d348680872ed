"""The permission of a source role to assume its targets, around the commit of its trust policy.

It is widened before anybody new may come in through the source role, and narrowed after those have gone who should.
Where IAM takes no longer policy, the targets that do not fit are left out, the newest first, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from trustbind.errors import AccessDeniedError, PolicyRejectedError
from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Issuer
from trustbind.policy.source_policy import policy_name, source_policy, targets_of
from trustbind_aws.client import NO_PERMISSION, AccountAccess

__all__ = ["SourcePermission"]

TOO_LONG: Final = "LimitExceeded"
"""IAM API reference, PutRolePolicy, Errors."""


class SourcePermission:
    """One role's inline policy of ours.

    Args:
        access: to the role's account.
        role: the role.
        issuer: the cluster's.
        targets: which roles it should be allowed to assume, those first that matter most; None: the role is no source,
            and its policies are left alone.
    """

    def __init__(self, access: AccountAccess, role: RoleArn, issuer: Issuer, targets: Iterable[RoleArn] | None) -> None:
        self._access = access
        self._role = role
        self._name = policy_name(issuer)
        self._ordered = [str(target) for target in targets or ()]
        self._wanted = None if targets is None else frozenset(self._ordered)
        self._there: frozenset[str] | None = frozenset()

    def widen(self) -> frozenset[RoleArn]:
        """See that the policy allows all that is wanted; what else it allows stays for now.

        Where nothing is wanted and the policy may not be read, it is left alone: who may not read it has not written
        it, and it should not keep trust from being revoked.

        Returns:
            The targets for which there is no room.

        Raises:
            AwsError: a call failed.
        """
        if self._wanted is None:
            return frozenset()
        try:
            self._there = targets_of(self._access.role_policy(self._role, self._name))
        except AccessDeniedError as error:
            if self._wanted or error.code not in NO_PERMISSION:
                raise
            self._wanted = None
            return frozenset()
        there = self._there or frozenset()
        new = [target for target in self._ordered if target not in there]
        if not new and self._there is not None:
            return frozenset()
        left_out = new[self._fitting(there, new) :]
        self._wanted -= frozenset(left_out)
        return frozenset(RoleArn.parse(target) for target in left_out)

    def narrow(self) -> None:
        """See that the policy allows nothing else.

        Raises:
            AwsError: a call failed.
        """
        if self._wanted is not None and self._there != self._wanted:
            self._write(self._wanted)

    def _fitting(self, there: frozenset[str], new: Sequence[str]) -> int:
        """Write as many of the new targets, the first ones, as IAM takes; return how many those are.

        IAM counts all inline policies of the role together, and only it knows how long the others are.
        """
        fits, too_many = 0, len(new) + 1
        tried = len(new)
        while fits + 1 < too_many:
            try:
                self._write(there.union(new[:tried]))
            except PolicyRejectedError as error:
                if error.code != TOO_LONG:
                    raise
                too_many = tried
            else:
                fits = tried
            tried = (fits + too_many) // 2
        return fits

    def _write(self, targets: frozenset[str]) -> None:
        policy = source_policy(RoleArn.parse(target) for target in targets)
        self._access.write_role_policy(self._role, self._name, policy)
        self._there = targets
