"""The two streams of the command line: safe to write to, for any text and any reader."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

__all__ = ["note", "output_problem", "prepare_streams", "use_no_color", "uses_color", "without_control"]

_OBEYED: Final = (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0))
_CONTROL: Final = {0x0D: None, **dict.fromkeys(_OBEYED, "\ufffd")}
"""Characters that a terminal obeys (ECMA-48, C0 and C1) instead of showing; a name from a cluster or a policy may hold
them. Line breaks and tabs are left, and what stands for the others is as wide as they are for a table."""

_state: Final = {"color": True}


def use_no_color(*, wanted: bool) -> None:
    """Set whether ``--no-color`` was given."""
    _state["color"] = not wanted


def uses_color() -> bool:
    """Return whether ``--no-color`` was not given; NO_COLOR and terminals are rich's to see."""
    return _state["color"]


def without_control(text: str) -> str:
    """Return a text without the characters that a terminal obeys."""
    return text.translate(_CONTROL)


class _Stream(io.FileIO):
    """A stream whose reader may go away (``| head``): what comes after is dropped, and the command runs to its end.

    So the exit code is the command's, and what it had begun to write elsewhere is whole. A full disk is no different.

    Attributes:
        problem: why something was dropped; empty: nothing was, or nobody wanted it.
    """

    problem = ""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type] # typeshed's Buffer is not importable before 3.12
        except BrokenPipeError:
            pass
        except OSError as error:
            self.problem = error.strerror or type(error).__name__
        return memoryview(data).nbytes  # type: ignore[arg-type] # as above


def prepare_streams() -> None:
    r"""Let both streams outlive their readers, and show a lone surrogate as its escape, ``\ud800``.

    A policy or a token may hold a surrogate as a JSON escape, and no encoding has bytes for it. In JSON the escape
    means it. Streams that are not the process's own, as in tests, are left alone. A stream that the caller closed leads
    nowhere, and no file that is opened later gets its number.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            _open_nowhere(number)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the process ends
            continue
        if not isinstance(stream, io.TextIOWrapper):
            continue
        try:
            is_own = stream.fileno() == number
        except (OSError, ValueError):
            is_own = False
        if not is_own:
            stream.reconfigure(errors="backslashreplace")
            continue
        stream.flush()
        raw = _Stream(number, "w", closefd=False)
        buffered = io.BufferedWriter(raw)
        wrapper = io.TextIOWrapper(
            buffered, stream.encoding, "backslashreplace", line_buffering=name == "stderr" or raw.isatty()
        )
        setattr(sys, name, wrapper)


def output_problem() -> str:
    """Return why not all of standard output was written; empty when it was, or its reader went away."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.problem if isinstance(raw, _Stream) else ""


def _open_nowhere(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_WRONLY)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def note(message: str) -> None:
    """Say something to the person; a token that was given in the wrong place is not shown."""
    from trustbind.evaluation.token_claims import without_tokens  # noqa: PLC0415 - --help needs none of it

    print(without_control(without_tokens(message)), file=sys.stderr)
