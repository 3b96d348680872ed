"""How many live reads there may be: for each namespace, and in all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Bucket", "NamespaceBuckets", "Rate"]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, so many a second in the long run."""

    per_second: float
    burst: int

    def at_most(self, share: float, whole: Rate) -> Rate:
        """Return this rate, or where that is less, a share of ``whole``."""
        return Rate(min(self.per_second, whole.per_second * share), min(self.burst, max(1, int(whole.burst * share))))


class Bucket:
    """A token bucket."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._left = float(rate.burst)
        self._at = clock()

    @property
    def is_full(self) -> bool:
        """Whether it is as good as new."""
        return self._filled() >= self._rate.burst

    def has(self) -> bool:
        """Return whether one more is allowed."""
        return self._filled() >= 1

    def take(self) -> bool:
        """Return whether one more is allowed, and count it."""
        if not self.has():
            return False
        self._left -= 1
        return True

    def _filled(self) -> float:
        now = self._clock()
        self._left = min(float(self._rate.burst), self._left + (now - self._at) * self._rate.per_second)
        self._at = now
        return self._left


class NamespaceBuckets:
    """A bucket for each namespace and one for all, so that one namespace cannot use up what the others need.

    A bucket that is full again is forgotten: there are as many as the bucket for all lets through in the time that one
    takes to fill.

    Args:
        each: rate of one namespace; at most half of ``total`` is used.
        total: rate of all.
        clock: seconds from anywhere, never going back.
    """

    def __init__(self, each: Rate, total: Rate, clock: Callable[[], float]) -> None:
        self._each = each.at_most(0.5, total)
        self._clock = clock
        self._total = Bucket(total, clock)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, namespace: str) -> bool:
        """Return whether one more is allowed for ``namespace``, and count it."""
        bucket = self._buckets.get(namespace) or Bucket(self._each, self._clock)
        if not bucket.has() or not self._total.take():
            return False
        bucket.take()
        self._buckets[namespace] = bucket
        self._buckets.move_to_end(namespace)
        while next(iter(self._buckets.values())).is_full:
            self._buckets.popitem(last=False)
        return True
