"""What ``pip install trustbind`` leaves out: the servers, and the local AWS of the demo."""

from __future__ import annotations

from trustbind.errors import InvalidValueError

__all__ = ["without_extra"]


def without_extra(command: str, extra: str, error: ImportError) -> InvalidValueError:
    """Return the error to raise where a command's packages are not installed.

    Args:
        command: which.
        extra: of the distribution, with the packages.
        error: which one is missing.
    """
    return InvalidValueError(
        f"'trustbind {command}' needs the extra '{extra}' ({error}); pip install 'trustbind[{extra}]'"
    )
