"""Bindings that are to be decided again, a few of one namespace at a time.

Something around many bindings has changed: a grant, a namespace's labels, the service accounts that a selector selects.
All decisions at once would keep the event loop from the Lease, the probes and every other namespace.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from trustbind.api.role_binding import BindingRef

__all__ = ["DecisionQueue"]

SLICE: Final = 10
"""Decisions for one namespace until the event loop and the next namespace have their turn."""

_REST_SECONDS: Final = 0.001
"""For each decision of a namespace, from the end of its round until the next may begin. So a namespace whose service
accounts change all the time takes a small share of the CPU, and one of few bindings waits for a moment only."""


class DecisionQueue:
    """See the module. Namespaces take turns.

    Args:
        namespaces: returns the namespaces that have bindings.
        bindings: returns the bindings of one namespace.
        decide: decides one binding again; must not raise.
    """

    def __init__(
        self,
        namespaces: Callable[[], Iterable[str]],
        bindings: Callable[[str], Iterable[BindingRef]],
        decide: Callable[[BindingRef], None],
    ) -> None:
        self._namespaces = namespaces
        self._bindings = bindings
        self._decide = decide
        self._turns: deque[str] = deque()
        self._left: dict[str, list[BindingRef]] = {}
        """Of each namespace in ``_turns``, the bindings that are not decided yet, the first one last."""
        self._resting: set[str] = set()
        self._again: set[str] = set()
        """Namespaces for which something has changed since their round began."""
        self._wake = asyncio.Event()

    def add(self, namespaces: Iterable[str] | None = None) -> None:
        """Let all bindings of some namespaces be decided again.

        Args:
            namespaces: which; None for all.
        """
        for namespace in sorted(self._namespaces() if namespaces is None else namespaces):
            if namespace in self._left or namespace in self._resting:
                self._again.add(namespace)
                continue
            refs = sorted(self._bindings(namespace), key=lambda ref: ref.name, reverse=True)
            if refs:
                self._left[namespace] = refs
                self._turns.append(namespace)
        if self._turns:
            self._wake.set()

    async def run(self) -> None:
        """Decide until cancelled."""
        decided: dict[str, int] = {}
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._turns:
                namespace = self._turns.popleft()
                refs = self._left[namespace]
                for _ in range(min(SLICE, len(refs))):
                    self._decide(refs.pop())
                    decided[namespace] = decided.get(namespace, 0) + 1
                if refs:
                    self._turns.append(namespace)
                else:
                    self._rest(namespace, decided.pop(namespace))
                await asyncio.sleep(0)

    def _rest(self, namespace: str, decided: int) -> None:
        del self._left[namespace]
        self._resting.add(namespace)
        asyncio.get_running_loop().call_later(decided * _REST_SECONDS, self._rested, namespace)

    def _rested(self, namespace: str) -> None:
        self._resting.discard(namespace)
        if namespace in self._again:
            self._again.discard(namespace)
            self.add((namespace,))
