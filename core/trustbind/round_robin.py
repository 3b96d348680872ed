"""Queues that take turns: one item of each, so that a long queue delays the others by one item a turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["RoundRobin"]

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """See the module. Within one queue, first come, first served; each step takes constant time on average.

    Args:
        is_waiting: returns whether an item still waits; one that does not leaves its queue without a turn.
    """

    def __init__(self, is_waiting: Callable[[T], bool]) -> None:
        self._is_waiting = is_waiting
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()
        """By name; the first queue has the next turn. A queue without an item is not here, so that it has no place."""

    def add(self, name: str, item: T) -> None:
        """Put an item at the end of the queue of that name."""
        self._queues.setdefault(name, deque()).append(item)

    def first(self) -> tuple[str, T] | None:
        """Return whose turn it is, and the item; None when nothing waits."""
        while self._queues:
            name, queue = next(iter(self._queues.items()))
            while queue and not self._is_waiting(queue[0]):
                queue.popleft()
            if queue:
                return name, queue[0]
            del self._queues[name]
        return None

    def take(self) -> None:
        """Remove what `first` returned; its queue has its next turn after all others."""
        name, queue = next(iter(self._queues.items()))
        queue.popleft()
        self._queues.move_to_end(name)
        if not queue:
            del self._queues[name]
