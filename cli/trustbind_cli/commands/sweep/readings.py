"""What is wanted, read again while a sweep writes.

Between the first reading and a write lie the list of all roles and a person who reads. A binding that is created
meanwhile finds its trust there, has nothing to write, and would lose it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from trustbind.errors import TrustbindError
from trustbind_cli.commands.sweep.wanted import Wanted

__all__ = ["MAX_READING_AGE", "Readings", "UnreadError"]

MAX_READING_AGE: Final = 30.0
"""Seconds after which what is wanted is read again before a write. One reading lists the cluster's objects in pages,
which takes seconds in a large cluster; the operator needs about as long to write what a new binding asks for."""


class UnreadError(TrustbindError):
    """What is wanted could not be read again, so nothing more may be removed."""


class Readings:
    """All readings of what is wanted: what one of them wants is not removed.

    Args:
        first: what the plan was made on.
        read: reads it again.
        clock: monotonic seconds.
    """

    def __init__(self, first: Wanted, read: Callable[[], Awaitable[Wanted]], clock: Callable[[], float]) -> None:
        self._wanted = first
        self._read = read
        self._clock = clock
        self._read_at: float | None = None

    async def wanted(self) -> Wanted:
        """Return what any reading wants, the last of which is at most `MAX_READING_AGE` seconds old.

        Raises:
            UnreadError: it could not be read again.
        """
        if self._read_at is None or self._clock() - self._read_at > MAX_READING_AGE:
            asked_at = self._clock()
            try:
                self._wanted = self._wanted.also(await self._read())
            except TrustbindError as error:
                raise UnreadError(
                    f"what is wanted, right before a write, so nothing more is removed: {error}"
                ) from error
            self._read_at = asked_at
        return self._wanted
