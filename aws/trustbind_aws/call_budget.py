"""A budget of calls per account: IAM's own limits cannot be raised, and others in the account need them as well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Budget"]


class Budget:
    """A token bucket that makes the caller's thread wait.

    Args:
        per_second: calls in the long run.
        burst: calls at once after a quiet time.
        clock: monotonic seconds.
        sleep: waits.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = self._burst
        self._seen = clock()

    def take(self) -> None:
        """Take one call, waiting for it where none is left; first come, first served."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._per_second)
            self._seen = now
            self._tokens -= 1
            wait = -self._tokens / self._per_second if self._tokens < 0 else 0.0
        if wait:
            self._sleep(wait)
