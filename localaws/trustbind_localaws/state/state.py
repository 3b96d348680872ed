"""Everything one local AWS holds, in one place."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from trustbind_localaws.protocol.query import AwsFailure
from trustbind_localaws.state.call_log import CallRecord, DecisionRecord
from trustbind_localaws.state.clock import Clock
from trustbind_localaws.state.credentials import Callers
from trustbind_localaws.state.eks_clusters import Clusters
from trustbind_localaws.state.eventual_consistency import Visibility
from trustbind_localaws.state.faults import Faults
from trustbind_localaws.state.moto_store import Storage
from trustbind_localaws.tokens.issuer_keys import Issuers

__all__ = ["Hook", "State"]

Hook = Callable[[str, str], None]
"""Called with account and role name."""

_KEPT: Final = 100_000
"""Records kept of calls and of decisions; benchmarks must not fill the memory. Counts go on beyond it."""


class Journal:
    """What happened: calls, counts and decisions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[CallRecord] = deque(maxlen=_KEPT)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._decisions: deque[DecisionRecord] = deque(maxlen=_KEPT)

    def add_call(self, record: CallRecord) -> None:
        """Note a call."""
        with self._lock:
            self._calls.append(record)
            self._counts[record.account, record.operation] += 1

    def calls(self) -> list[CallRecord]:
        """Return the calls, oldest first."""
        with self._lock:
            return list(self._calls)

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many calls there were by account and operation."""
        with self._lock:
            return Counter(self._counts)

    def forget_calls(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._calls.clear()
            self._counts.clear()

    def decisions(self) -> list[DecisionRecord]:
        """Return the decisions, oldest first."""
        with self._lock:
            return list(self._decisions)

    def forget_decisions(self) -> None:
        """Start the decisions log anew."""
        with self._lock:
            self._decisions.clear()

    @contextmanager
    def deciding(self, **facts: Any) -> Iterator[dict[str, Any]]:
        """Note the decision that the block takes: a refusal when it raises, else that access was given.

        Args:
            facts: fields of `DecisionRecord` known from the start; the block adds to them.
        """
        try:
            yield facts
        except AwsFailure as failure:
            evaluated = failure.code == "AccessDenied" and "reason" in facts
            reason = facts["reason"] if evaluated else failure.why or failure.message
            record = DecisionRecord(**(facts | {"reason": reason}), allowed=False, code=failure.code)
            raise
        else:
            record = DecisionRecord(**facts, allowed=True)
        finally:
            with self._lock:
                self._decisions.append(record)


class State:
    """The accounts, the callers, the faults and the journal of one local AWS.

    Args:
        source: returns the real time, in UTC; None for the system's clock.
    """

    def __init__(self, source: Callable[[], datetime] | None = None) -> None:
        self.clock = Clock(source) if source else Clock()
        self._start_over()

    def _start_over(self) -> None:
        self.storage = Storage()
        self.callers = Callers(self.storage, self.clock)
        self.visibility = Visibility(self.storage, self.clock)
        self.faults = Faults(self.clock)
        self.issuers = Issuers()
        self.clusters = Clusters()
        self.contexts: dict[str, dict[str, Any]] = {}
        self.journal = Journal()
        self._hook: Hook | None = None
        self._hook_times = 0
        self._hook_lock = threading.Lock()

    def reset(self) -> None:
        """Go back to an empty AWS without faults, issuers, sessions or history, at the real time."""
        self.clock.reset()
        self._start_over()

    def set_hook(self, hook: Hook | None, times: int) -> None:
        """Call ``hook`` before the next ``times`` writes of a trust policy."""
        with self._hook_lock:
            self._hook, self._hook_times = hook, times

    def run_hook(self, account: str, role_name: str) -> None:
        """Call the hook if one is due. No lock is held meanwhile, and its own writes do not call it again."""
        with self._hook_lock:
            if self._hook is None or self._hook_times <= 0:
                return
            self._hook_times -= 1
            hook = self._hook
        hook(account, role_name)
