"""The first 300 worlds keep every rule; ``make simulate`` runs more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_CHUNK = 50


@pytest.mark.parametrize("first", range(0, 300, _CHUNK))
def test_worlds(first: int) -> None:
    """Each world is played in a process of its own kind: what comes first in a set of texts depends on it."""
    command = [sys.executable, "-m", "simulation", "--first", str(first), "--seeds", str(_CHUNK)]

    done = subprocess.run(
        command, cwd=_TESTS, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{_CHUNK} seeds, 0 broken" in done.stdout
    assert "trust writes" in done.stdout
    assert "worlds with a hostile tenant" in done.stdout
