"""Lines of a file's documents, for messages."""

from __future__ import annotations

from pathlib import Path

import yaml

from trustbind_cli.files.sources import STANDARD_INPUT

__all__ = ["first_lines"]


def first_lines(name: str) -> list[int]:
    """Return the first line of each document of a file, from 1; none where it cannot be read again."""
    if name == STANDARD_INPUT or not Path(name).is_file():
        return []
    text = Path(name).read_text(encoding="utf-8-sig")
    return [node.start_mark.line + 1 for node in yaml.compose_all(text, Loader=yaml.CSafeLoader)]
