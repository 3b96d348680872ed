"""The chain of checks in causal order, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trustbind.diagnosis import checks_aws, checks_beyond, checks_cluster, checks_pod, checks_token
from trustbind.diagnosis.error_text import ErrorClass
from trustbind.diagnosis.model import Case, Check, Outcome, State

__all__ = ["CHECKS", "Diagnosis", "Link", "diagnose"]

CHECKS: Final[tuple[Check, ...]] = (
    *checks_cluster.CHECKS,
    *checks_pod.CHECKS,
    *checks_token.CHECKS,
    *checks_aws.CHECKS,
    *checks_beyond.CHECKS,
)
"""Every check, by number."""

_FIRST: Final = 29
_CAUSES: Final = (32, 35)
"""These say why the trust policy does not allow the exchange, so they come before the checks that say only that."""

_ORDER: Final = tuple(sorted(CHECKS, key=lambda check: (_FIRST, 0) if check.number in _CAUSES else (check.number, 1)))


@dataclass(frozen=True, slots=True)
class Link:
    """A check and what it found."""

    check: Check
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came out.

    Attributes:
        links: every check, by number.
        error: the kind of error that was asked about; None where none was given.
        cause: the first broken link that explains the error; None where no link is broken.
    """

    links: tuple[Link, ...]
    error: ErrorClass | None
    cause: Link | None

    def of(self, state: State) -> tuple[Link, ...]:
        """Return the links in a state."""
        return tuple(link for link in self.links if link.outcome.state is state)


def diagnose(case: Case, *, goes_on: bool = False) -> Diagnosis:
    """Look at the chain, and stop at the first broken link that explains the error.

    A broken link that does not explain the error is reported, and the chain goes on.

    Args:
        case: what to look at.
        goes_on: whether the rest is looked at as well.
    """
    found: dict[int, Link] = {}
    cause: Link | None = None
    for check in _order(case):
        if cause is not None and not goes_on:
            found[check.number] = Link(check, Outcome(State.NOT_LOOKED_AT, f"after {cause.check.code}"))
            continue
        link = Link(check, check.look(case))
        found[check.number] = link
        explains = case.error is None or check.number in case.error.checks
        if cause is None and link.outcome.state is State.BROKEN and explains:
            cause = link
    return Diagnosis(tuple(found[number] for number in sorted(found)), case.error, cause)


def _order(case: Case) -> Iterator[Check]:
    """Yield the checks; where the workload's own call was denied, what says so comes before what comes earlier.

    A session of the service account's role proves that everything before holds.
    """
    error, role = case.error, case.wanted.role
    proven = error is not None and error.name == "PermissionDenied" and role is not None and error.is_session_of(role)
    if proven:
        yield from sorted(CHECKS, key=lambda check: check.number not in {37, 39})
    else:
        yield from _ORDER
