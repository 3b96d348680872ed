"""How long to wait before another try: one value for every retry in the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Backoff"]

_MOST_DOUBLINGS: Final = 32  # beyond it a float says no more than the ceiling does


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling pauses with jitter, in seconds.

    Attributes:
        first: the pause before the second try.
        ceiling: the longest pause.
        tries: how many tries there are in all, the first one included; 0: no end.
        least: the share of a pause that jitter leaves at least, 0 to 1.
    """

    first: float
    ceiling: float
    tries: int = 0
    least: float = 0.5

    def pause(self, failures: int, jitter: float) -> float:
        """Return the pause after so many failures in a row, from 1.

        Args:
            failures: how many.
            jitter: 0 to 1, random.
        """
        doubled = self.first * 2.0 ** min(max(failures, 1) - 1, _MOST_DOUBLINGS)
        return min(self.ceiling, doubled) * (self.least + (1.0 - self.least) * jitter)

    def pauses(self, jitter: Callable[[], float]) -> Iterator[float]:
        """Yield the pause after each failure; ends when there is no further try."""
        failures = 1
        while not self.tries or failures < self.tries:
            yield self.pause(failures, jitter())
            failures += 1
