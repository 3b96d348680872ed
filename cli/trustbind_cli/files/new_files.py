"""Files that a command writes for its user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trustbind.errors import InvalidValueError

__all__ = ["write_new"]


def write_new(folder: str, files: Mapping[str, str]) -> None:
    """Write texts into new files of ``--output-dir``; none is written where one of them exists.

    Args:
        folder: made where it does not exist.
        files: name to text.

    Raises:
        InvalidValueError: a file exists, or the folder cannot be written.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if found := sorted(name for name in files if (path / name).exists()):
            raise InvalidValueError(
                f"{path / found[0]} exists, and nothing is written over it; name another folder", field="--output-dir"
            )
        for name, text in files.items():
            with (path / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise InvalidValueError(f"{path} cannot be written: {error.strerror or error}", field="--output-dir") from None
