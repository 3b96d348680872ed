"""When a write may be sent: while we lead, on a read that is fresh, for a decision that still holds.

A write of IAM replaces a whole document and carries no version, so other writers are safe only while little time is
between the answer of our read and the sending of our write. A permit carries the bounds as plain numbers into the
thread that sends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from trustbind.errors import AwsError

__all__ = [
    "ALWAYS",
    "DecisionChangedError",
    "NotLeadingError",
    "StaleReadError",
    "WriteGuard",
    "WritePermit",
    "boottime",
]

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine is suspended, where the system has such a clock (Linux, clock_gettime(2))."""


def boottime() -> float:
    """Return the seconds of a clock that never goes back, and goes on while the machine is suspended."""
    return time.clock_gettime(_CLOCK)


class NotLeadingError(AwsError):
    """This process may not write any more: its Lease was not renewed in time."""


class StaleReadError(AwsError):
    """Too much time has passed since the document was read; read it again."""


class DecisionChangedError(AwsError):
    """What was decided does not hold any more; decide again."""


class WriteGuard(Protocol):
    """Asked right before each write."""

    def deadline(self) -> float:
        """Return until when writes may be sent, in seconds of `boottime`.

        Raises:
            NotLeadingError: none may be sent.
            DecisionChangedError: what was decided does not hold any more.
        """


class _Always:
    """For a caller that no other process competes with."""

    def deadline(self) -> float:
        """Return no bound."""
        return math.inf


ALWAYS: Final[WriteGuard] = _Always()


@dataclass(frozen=True, slots=True)
class WritePermit:
    """Permission to send one write.

    Attributes:
        until: the guard's deadline.
        read_at: when the answer arrived that the write is based on; None for a write that replaces no document.
        max_age: seconds from there to the sending of the write.
        clock: see `boottime`.
    """

    until: float
    read_at: float | None = None
    max_age: float = math.inf
    clock: Callable[[], float] = boottime

    def check(self, operation: str) -> None:
        """Check that the write may be sent now; called in the thread that sends, and by nothing before it.

        Raises:
            NotLeadingError: the guard's deadline is over.
            StaleReadError: the read is too old.
        """
        now = self.clock()
        if now >= self.until:
            raise NotLeadingError(
                "this operator's Lease was not renewed in time, so it does not write", operation=operation
            )
        if self.read_at is not None and now - self.read_at > self.max_age:
            age = 1000 * (now - self.read_at)
            raise StaleReadError(
                f"the document was read {age:.0f} ms ago, and may be {1000 * self.max_age:.0f} ms old",
                operation=operation,
            )
