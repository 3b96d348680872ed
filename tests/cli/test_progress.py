"""A line for a person who waits, and nothing for a program that reads."""

from __future__ import annotations

import sys

import pytest

from trustbind_cli.progress import Progress


@pytest.mark.parametrize(("is_terminal", "printed"), [(True, "\r\x1b[Kfirst\r\x1b[Ksecond\r\x1b[K"), (False, "")])
def test_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool, printed: str
) -> None:
    """Each text takes the place of the one before, and at the end the line is empty."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress = Progress()

    progress.say("first")
    progress.say("second")
    progress.end()

    assert capsys.readouterr() == ("", printed)
