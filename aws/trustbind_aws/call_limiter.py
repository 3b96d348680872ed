"""How many calls go into one AWS account: a budget of calls a second, and a few threads.

IAM's own limits cannot be raised, and others in the AWS account need them, too. Everything here runs on the event loop;
a thread gets values only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

__all__ = ["CallLimiter", "Slot"]

T = TypeVar("T")

THREADS: Final = 8
"""Calls of one AWS account at once; the budget of calls is the tighter bound."""


class Slot:
    """A thread of an AWS account's pool, and calls that are paid for.

    Args:
        calls: how many.
    """

    def __init__(self, calls: int) -> None:
        self._left = calls

    def spend(self) -> bool:
        """Take one of the calls; return False when none is left."""
        self._left -= 1
        return self._left >= 0


class CallLimiter:
    """See the module. One for each AWS account.

    Args:
        per_second: calls in the long run.
        burst: calls at once after a quiet time.
        name: of the threads.
        threads: calls at once.
    """

    def __init__(
        self, per_second: float = 1000.0, burst: int = 1000, name: str = "aws", threads: int = THREADS
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._name = name
        self._threads = threads
        self._free = asyncio.Semaphore(threads)
        self._tokens = self._burst
        self._seen: float | None = None
        self._pool: ThreadPoolExecutor | None = None

    @asynccontextmanager
    async def slot(self, calls: int) -> AsyncIterator[Slot]:
        """Wait for a thread and for ``calls`` calls of the budget; nothing in the slot waits for either again."""
        async with self._free:
            await self._take(calls)
            yield Slot(calls)

    @asynccontextmanager
    async def call(self, slot: Slot | None) -> AsyncIterator[None]:
        """Wait until one call may be sent: at once in a slot with calls left."""
        if slot is None:
            async with self.slot(1):
                yield
            return
        if not slot.spend():
            await self._take(1)
        yield

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads and return what it returns; for the holder of a slot."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def close(self) -> None:
        """End the threads, and wait for the calls that are under way: a write that was sent may still take effect."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    def abandon(self) -> None:
        """End the threads without waiting for the calls that are under way."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _take(self, calls: int) -> None:
        now = asyncio.get_running_loop().time()
        earned = 0.0 if self._seen is None else (now - self._seen) * self._per_second
        self._tokens = min(self._burst, self._tokens + earned)
        self._seen = now
        self._tokens -= calls
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._per_second)
