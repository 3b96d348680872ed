"""The time, which tests can move on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

__all__ = ["Clock"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Gives the time of the local AWS: the real one, plus what it was advanced by.

    Args:
        source: returns the real time, in UTC.
    """

    def __init__(self, source: Callable[[], datetime] = _utc_now) -> None:
        self._source = source
        self._offset = timedelta()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._source() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the time on."""
        self._offset += timedelta(seconds=seconds)

    def reset(self) -> None:
        """Go back to the real time."""
        self._offset = timedelta()
