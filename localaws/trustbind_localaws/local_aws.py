"""`LocalAws`: the server as an object, with its knobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from trustbind.identity.arns import account_of
from trustbind_localaws.http.control_api import Admin
from trustbind_localaws.http.dispatcher import Dispatcher
from trustbind_localaws.http.server import Server
from trustbind_localaws.seed import seed
from trustbind_localaws.state.call_log import CallRecord, DecisionRecord
from trustbind_localaws.state.state import Hook, State

__all__ = ["LocalAws"]


class LocalAws:
    """IAM, STS and EKS's associations on 127.0.0.1, strict where AWS is strict.

    Point an SDK at `url` (``AWS_ENDPOINT_URL``). An access key that is a 12-digit account id acts as the root of
    that account, with any secret: signatures are not verified. Several instances may run in one process; they
    share nothing.

    Args:
        port: where to listen; 0 for a free one.
        now: returns the real time, in UTC; None for the system's clock.
    """

    def __init__(self, port: int = 0, *, now: Callable[[], datetime] | None = None) -> None:
        self._port = port
        self._state = State(now)
        self._dispatcher = Dispatcher(self._state)
        self._server: Server | None = None

    def start(self) -> Self:
        """Listen, in a thread of its own; returns when calls are answered.

        Raises:
            OSError: the port is taken.
            RuntimeError: it runs already.
        """
        if self._server is not None:
            raise RuntimeError("this LocalAws runs already; stop it first")
        self._server = Server(self._port, self._dispatcher, Admin(self))
        self._server.start()
        return self

    def stop(self) -> None:
        """Close every connection and stop listening; what is stored stays."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it listens.

        Raises:
            RuntimeError: it does not run.
        """
        if self._server is None:
            raise RuntimeError("this LocalAws does not run; start it first")
        return self._server.port

    @property
    def url(self) -> str:
        """What ``AWS_ENDPOINT_URL`` is to be."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Go back to an empty AWS: no roles, sessions, issuers, faults or records, and the real time."""
        self._state.reset()

    def seed(self, accounts: Mapping[str, Any]) -> None:
        """Create what an accounts file describes; see `trustbind_localaws.seed`.

        Raises:
            ValueError: an entry is malformed, or IAM refuses it.
        """
        seed(self._state, self._dispatcher, accounts)

    def register_issuer(self, issuer_url: str, jwks: Mapping[str, Any]) -> None:
        """Trust these keys for tokens of an issuer; AWS would fetch them.

        Raises:
            ValueError: the key set cannot be used.
        """
        self._state.issuers.register(issuer_url, jwks)

    def create_cluster(self, account: str, region: str, name: str) -> None:
        """Let an EKS cluster be there; it is only a name.

        Raises:
            ValueError: that is no account id.
        """
        self._state.clusters.places.add((account_of(account), region, name))

    def set_quota(self, account: str, characters: int) -> None:
        """Set how long a trust policy may be in an account, white space apart."""
        self._state.storage.set_quota(account_of(account), characters)

    @property
    def decisions(self) -> list[DecisionRecord]:
        """Every decision of AssumeRole and AssumeRoleWithWebIdentity, with its reason; oldest first."""
        return self._state.journal.decisions()

    def forget_decisions(self) -> None:
        """Empty `decisions`."""
        self._state.journal.forget_decisions()

    def calls(self, account: str = "", operation: str = "") -> list[CallRecord]:
        """Return the calls, oldest first; only those of an account or operation where one is given."""
        return [
            record
            for record in self._state.journal.calls()
            if account in ("", record.account) and operation in ("", record.operation)
        ]

    def call_counts(self) -> Counter[tuple[str, str]]:
        """Return how many calls there were, by account and operation."""
        return self._state.journal.counts()

    def reset_calls(self) -> None:
        """Start counting calls anew."""
        self._state.journal.forget_calls()

    def throttle(
        self,
        account: str = "*",
        operations: Iterable[str] = ("*",),
        *,
        count: int | None = None,
        rate: float | None = None,
    ) -> None:
        """Answer ``Throttling`` to the next ``count`` matching calls, or to all beyond ``rate`` per second."""
        self._state.faults.throttle(account, operations, count=count, rate=rate)

    def deny(self, account: str = "*", operations: Iterable[str] = ("*",)) -> None:
        """Answer ``AccessDenied`` to matching calls, as a service control policy would."""
        self._state.faults.deny(account, operations)

    def unreachable(self, account: str = "*", *, on: bool = True) -> None:
        """Close the connection of every call of or into an account, or stop doing so."""
        self._state.faults.unreachable(account, on=on)

    def silence(self, account: str = "*", operations: Iterable[str] = ("*",), *, count: int) -> None:
        """Close the connection of the next ``count`` matching calls after they took effect, without an answer."""
        self._state.faults.silence(account, operations, count=count)

    def delay_visibility(self, *, calls: int = 0, seconds: float = 0.0) -> None:
        """Let later writes of trust policies show only after ``calls`` reads of the role and ``seconds``.

        A GetRole and an evaluation by STS are a read each; ListRoles is none. Zeros end the delay for later
        writes.
        """
        self._state.visibility.delay(calls=calls, seconds=seconds)

    def before_write(self, hook: Hook | None, *, times: int = 1) -> None:
        """Call ``hook(account, role_name)`` right before the next ``times`` UpdateAssumeRolePolicy take effect.

        The hook may itself write through the API, which does not call it again beyond ``times``.
        """
        self._state.set_hook(hook, times)

    def clear_faults(self) -> None:
        """End throttling, denial, unreachability and delays, and forget the hook."""
        self._state.faults.clear()
        self._state.visibility.delay()
        self._state.set_hook(None, 0)

    def advance(self, seconds: float) -> None:
        """Move the time of this AWS on, so that tokens and sessions expire without waiting."""
        self._state.clock.advance(seconds)

    def as_json(self, records: Iterable[CallRecord | DecisionRecord]) -> list[dict[str, Any]]:
        """Return records as JSON has them."""
        return [asdict(record) for record in records]
