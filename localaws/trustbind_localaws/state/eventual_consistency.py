"""Eventual consistency, on demand: a trust policy that was written shows only after some reads or some time.

IAM's changes take seconds to show everywhere (IAM User Guide, "Changes that I make are not always immediately
visible"). Counting reads makes that exact, so that tests need no sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trustbind_localaws.rules.trust_policy import replace_principal
from trustbind_localaws.state.clock import Clock
from trustbind_localaws.state.moto_store import Role, Storage

__all__ = ["Visibility"]


@dataclass(slots=True)
class _Pending:
    role: Role
    document: str
    reads: int
    until: datetime


class Visibility:
    """Decides which document a read shows. moto holds the visible one; what waits is here."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._reads = 0
        self._seconds = 0.0
        self._pending: dict[str, _Pending] = {}

    def delay(self, *, calls: int = 0, seconds: float = 0.0) -> None:
        """Let every later write wait until the role was read ``calls`` times and ``seconds`` have passed."""
        with self._storage.lock:
            self._reads, self._seconds = calls, seconds

    def write(self, role: Role, document: str) -> None:
        """Store a document, now or, where a delay is set, later. The last of several waiting ones wins."""
        with self._storage.lock:
            self._settle(role)
            if not self._reads and not self._seconds:
                self._pending.pop(role.id, None)
                role.assume_role_policy_document = document
                return
            until = self._clock.now() + timedelta(seconds=self._seconds)
            self._pending[role.id] = _Pending(role, document, self._reads, until)

    def read(self, role: Role) -> str:
        """Return the document that a read sees now, and count the read."""
        with self._storage.lock:
            self._settle(role)
            document = role.assume_role_policy_document
            if pending := self._pending.get(role.id):
                pending.reads = max(0, pending.reads - 1)
            return document

    def settle(self) -> None:
        """Make visible whatever has waited long enough; for reads that show many roles, which do not count."""
        with self._storage.lock:
            for pending in list(self._pending.values()):
                self._settle(pending.role)

    def forget_principal(self, arn: str, stale_id: str) -> None:
        """Show ``stale_id`` instead of ``arn`` in what waits too."""
        with self._storage.lock:
            for pending in self._pending.values():
                if arn in pending.document:
                    pending.document = replace_principal(pending.document, arn, stale_id)

    def forget_role(self, role_id: str) -> None:
        """Drop what waits for a role that is gone."""
        with self._storage.lock:
            self._pending.pop(role_id, None)

    def _settle(self, role: Role) -> None:
        pending = self._pending.get(role.id)
        if pending and not pending.reads and self._clock.now() >= pending.until:
            role.assume_role_policy_document = pending.document
            del self._pending[role.id]
