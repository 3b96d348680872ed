"""Exit codes of every command."""

from __future__ import annotations

from typing import Final

__all__ = ["DONE", "FAILED", "INTERRUPTED", "UNKNOWN", "WRONG"]

DONE: Final = 0
"""Nothing is wrong."""
FAILED: Final = 1
"""The answer is no, something is refused, or AWS refused it."""
WRONG: Final = 2
"""The command line or a file is wrong."""
UNKNOWN: Final = 3
"""What could be seen is not enough to tell."""
INTERRUPTED: Final = 130
"""After Ctrl-C: 128 and the number of the signal, as a shell has it."""
