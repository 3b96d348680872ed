"""What a command is doing, for a person who waits."""

from __future__ import annotations

import sys

__all__ = ["Progress"]


class Progress:
    """A line on standard error that is written over, where that is a terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Write a text over the line."""
        if self._is_shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line empty."""
        self.say("")
