"""Which role's bindings want a service account now. A service account has one association, and two roles may want it.

Everything here runs on the event loop, and every value of a dictionary is immutable and replaced as a whole.
"""

from __future__ import annotations

from trustbind.identity.arns import RoleArn
from trustbind.identity.subjects import Subject

__all__ = ["ServiceAccountClaims"]


class ServiceAccountClaims:
    """See the module. The last role that claims a service account has it."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, Subject], RoleArn] = {}
        """By account id and service account."""
        self._subjects: dict[RoleArn, frozenset[Subject]] = {}
        """The same by role; a role without a claim is left out."""

    def replace(self, role: RoleArn, subjects: frozenset[Subject]) -> None:
        """Claim exactly these service accounts for a role."""
        for subject in self.of(role) - subjects:
            if self.has(role, subject):
                del self._roles[role.account_id, subject]
        self._roles.update({(role.account_id, subject): role for subject in subjects})
        if subjects:
            self._subjects[role] = subjects
        else:
            self._subjects.pop(role, None)

    def of(self, role: RoleArn) -> frozenset[Subject]:
        """Return what a role claimed last, whether another role has claimed some of it since or not."""
        return self._subjects.get(role, frozenset())

    def has(self, role: RoleArn, subject: Subject) -> bool:
        """Return whether a role has the claim of a service account."""
        return self._roles.get((role.account_id, subject)) == role
