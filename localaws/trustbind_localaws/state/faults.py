"""What can be made to go wrong: throttling, denial, and accounts that do not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from trustbind_localaws.protocol.query import AwsFailure
from trustbind_localaws.state.clock import Clock

__all__ = ["ANY", "DroppedError", "Faults"]

ANY = "*"
"""Every account, or every operation."""


class DroppedError(Exception):
    """The connection is closed without an answer."""


@dataclass(slots=True)
class _Throttle:
    account: str
    operations: frozenset[str]
    count: int | None
    rate: float | None
    tokens: float
    filled: datetime


@dataclass(slots=True)
class _Silence:
    account: str
    operations: frozenset[str]
    count: int


class Faults:
    """The faults that are set, and the check that every call goes through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._throttles: list[_Throttle] = []
        self._denials: list[tuple[str, frozenset[str]]] = []
        self._unreachable: set[str] = set()
        self._silences: list[_Silence] = []

    def throttle(
        self, account: str, operations: Iterable[str], *, count: int | None = None, rate: float | None = None
    ) -> None:
        """Answer ``Throttling`` to the next ``count`` matching calls, or to all beyond ``rate`` per second.

        A rate is a token bucket that holds one second's worth, as IAM's and STS's are. With neither, every
        matching call is throttled until `clear`.
        """
        with self._lock:
            self._throttles.append(
                _Throttle(account, _names(operations), count, rate, max(rate or 0.0, 1.0), self._clock.now())
            )

    def deny(self, account: str, operations: Iterable[str]) -> None:
        """Answer ``AccessDenied`` to matching calls, as a service control policy would, until `clear`."""
        with self._lock:
            self._denials.append((account, _names(operations)))

    def unreachable(self, account: str, *, on: bool = True) -> None:
        """Close the connection of every call of or into this account, or stop doing so."""
        with self._lock:
            (self._unreachable.add if on else self._unreachable.discard)(account)

    def silence(self, account: str, operations: Iterable[str], *, count: int) -> None:
        """Close the connection of the next ``count`` matching calls after they took effect, without an answer."""
        with self._lock:
            self._silences.append(_Silence(account, _names(operations), count))

    def check_silence(self, account: str, operation: str) -> None:
        """Let the answer to a call that took effect go out.

        Raises:
            DroppedError: the answer is to be lost.
        """
        with self._lock:
            for silence in self._silences:
                if silence.count > 0 and _concerns(silence.account, silence.operations, [account], operation):
                    silence.count -= 1
                    raise DroppedError

    def clear(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._silences.clear()
            self._throttles.clear()
            self._denials.clear()
            self._unreachable.clear()

    def check(self, accounts: Sequence[str], operation: str, caller: str, service: str) -> None:
        """Let a call through.

        Args:
            accounts: the caller's, and for AssumeRole also the role's.
            operation: such as ``GetRole``.
            caller: ARN, for messages.
            service: such as ``iam``, for messages.

        Raises:
            DroppedError: an account is unreachable.
            AwsFailure: the call is throttled or denied.
        """
        with self._lock:
            if self._unreachable.intersection((*accounts, ANY)):
                raise DroppedError
            for throttle in self._throttles:
                if _concerns(throttle.account, throttle.operations, accounts, operation) and self._takes(throttle):
                    raise AwsFailure("Throttling", "Rate exceeded")
            for account, operations in self._denials:
                if _concerns(account, operations, accounts, operation):
                    raise AwsFailure(
                        "AccessDenied",
                        f"User: {caller or 'anonymous'} is not authorized to perform: {service}:{operation} "
                        "with an explicit deny in a service control policy",
                    )

    def _takes(self, throttle: _Throttle) -> bool:
        """Return whether this call is one of those to be throttled."""
        if throttle.rate is not None:
            now = self._clock.now()
            elapsed = (now - throttle.filled).total_seconds()
            throttle.tokens = min(max(throttle.rate, 1.0), throttle.tokens + elapsed * throttle.rate)
            throttle.filled = now
            if throttle.tokens >= 1:
                throttle.tokens -= 1
                return False
            return True
        if throttle.count is None:
            return True
        if throttle.count <= 0:
            return False
        throttle.count -= 1
        return True


def _names(operations: Iterable[str]) -> frozenset[str]:
    listed = [operations] if isinstance(operations, str) else operations
    return frozenset(name.rpartition(":")[2] for name in listed)


def _concerns(account: str, operations: frozenset[str], accounts: Sequence[str], operation: str) -> bool:
    return (account == ANY or account in accounts) and bool(operations & {operation, ANY})
