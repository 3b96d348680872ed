"""What happened in a world, for the report of a failure, and the error that a broken rule raises."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NoReturn

__all__ = ["BrokenRuleError", "Schedule"]

_KEPT: Final = 2000


class BrokenRuleError(AssertionError):
    """A rule of the simulation does not hold.

    Attributes:
        rule: its name.
    """

    def __init__(self, rule: str, problem: str) -> None:
        super().__init__(f"{rule}: {problem}")
        self.rule = rule


class Schedule:
    """The last steps of a world, and how often each kind of thing happened.

    Args:
        now: the virtual time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=_KEPT)
        self.counts: Counter[str] = Counter()
        self.broken: BrokenRuleError | None = None
        """The first rule that was broken; the code that broke it may have swallowed the error."""

    def add(self, actor: str, text: str) -> None:
        """Note a step."""
        self._lines.append((self._now(), actor, text))

    def count(self, what: str, by: int = 1) -> None:
        """Count something."""
        self.counts[what] += by

    def fail(self, rule: str, problem: str) -> NoReturn:
        """Note that a rule is broken, and raise.

        Raises:
            BrokenRuleError: always.
        """
        error = BrokenRuleError(rule, problem)
        self.add("RULE", str(error))
        if self.broken is None:
            self.broken = error
        raise error

    def text(self, lines: int = _KEPT) -> str:
        """Return the last lines."""
        return "\n".join(f"{at:9.3f}  {actor:<12} {text}" for at, actor, text in list(self._lines)[-lines:])
