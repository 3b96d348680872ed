"""What a finding is: a code and a name for a thing that a command can find. The table is in `trustbind.findings`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["PAGE", "FindingKind", "FindingSeverity"]

PAGE: Final = "docs/reference/findings.md"
"""Where each finding is explained."""


class FindingSeverity(StrEnum):
    """How bad it is; ``--fail-on`` compares with it."""

    ERROR = "error"
    """Something does not work, or AWS refuses it."""
    WARNING = "warning"
    """Something works, and probably not as its author wants."""
    INFO = "info"
    """Good to know."""


@dataclass(frozen=True, slots=True)
class FindingKind:
    """What a command can find.

    Attributes:
        code: ``TB`` and three digits.
        name: one word; no two codes share one.
        severity: see `FindingSeverity`.
        what: what is wrong, in one or two sentences.
        remedy: what to do.
        source: where AWS or Kubernetes documents it; empty where that adds nothing.
    """

    code: str
    name: str
    severity: FindingSeverity
    what: str
    remedy: str
    source: str = ""

    @property
    def anchor(self) -> str:
        """Where `PAGE` explains it."""
        return f"{PAGE}#{self.code.lower()}-{self.name.lower()}"
