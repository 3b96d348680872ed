"""What a benchmark is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from trustbind.errors import TrustbindError

__all__ = ["BenchmarkError", "Options", "Section"]


class BenchmarkError(TrustbindError):
    """Nothing can be measured; ``str()`` of it is one sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        quick: whether to be done in seconds, at the price of more noise.
        tell: shows one line of progress.
    """

    quick: bool
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Section:
    """What was measured.

    Attributes:
        tables: for people.
        data: the same and more, for ``--json``.
        notes: one sentence each: what was not measured, and what to mind.
    """

    tables: tuple[Table, ...]
    data: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
