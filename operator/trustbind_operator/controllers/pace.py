"""How often roles, AWSAccounts and surveys are due, and when each is due again after its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trustbind.backoff import Backoff
from trustbind.identity.arns import RoleArn
from trustbind_operator.controllers.context import Next

__all__ = ["AccountKey", "Delays", "Key", "Pace", "SurveyKey"]

_SECONDS_A_PAGE: Final = 10.0
"""Many clusters may share the IAM of an AWS account, so a survey of many pages comes less often."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how often; in seconds.

    Attributes:
        window: how long an enqueued role waits for more changes, which then share its run.
        resync: between two runs of a role that nothing happened to; up to a fifth more or less.
        survey: between two surveys of an AWS account; up to a tenth more or less, and at least 10 for each page.
        retry: the pauses after failed runs.
    """

    window: float = 0.2
    resync: float = 600.0
    survey: float = 60.0
    retry: Backoff = field(default=Backoff(2.0, 300.0))


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An AWSAccount object that is due."""

    name: str


@dataclass(frozen=True, slots=True)
class SurveyKey:
    """An AWS account that is due for a survey."""

    account_id: str


Key = RoleArn | AccountKey | SurveyKey


class Delays:
    """When a key is due again after its work.

    Args:
        pace: see `Pace`.
        jitter: gives 0 to 1.
    """

    def __init__(self, pace: Pace, jitter: Callable[[], float]) -> None:
        self._pace = pace
        self._jitter = jitter
        self._failures: dict[Key, int] = {}
        self._pages: dict[str, int] = {}
        """By AWS account id, the pages of its last survey."""

    def surveyed(self, account_id: str, pages: int) -> None:
        """Take note of how many pages a survey had."""
        self._pages[account_id] = pages

    def until(self, key: Key, due: Next) -> float | None:
        """Return the seconds until ``key`` is due again; None for never."""
        if due is Next.RETRY:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            return self._pace.retry.pause(failures, self._jitter())
        self._failures.pop(key, None)
        match due:
            case Next.NEVER:
                return None
            case Next.NOW:
                return self._pace.window
            case Next.SURVEY:
                pages = 0 if isinstance(key, AccountKey) else self._pages.get(key.account_id, 0)
                return max(self._pace.survey, pages * _SECONDS_A_PAGE) * (0.9 + 0.2 * self._jitter())
            case _:
                return self._pace.resync * (0.8 + 0.4 * self._jitter())
