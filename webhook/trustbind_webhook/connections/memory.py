"""Two words to the C library, so that memory comes back after a burst, and one to the kernel about open files."""

from __future__ import annotations

import ctypes
import resource
from typing import Any, Final

__all__ = ["keep_returning", "raise_file_limit", "trim"]

_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_MMAP_BYTES: Final = 128 * 1024
"""glibc's own default. Left alone, glibc raises it to the size of whatever is freed, up to 32 MiB (mallopt(3)); then
buffers of connections and bodies come from the heap, whose middle is never given back."""

_SPARE_FILES: Final = 256
"""Open files besides connections: watches, live reads, metrics, certificates."""


def _library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None


def keep_returning() -> None:
    """Let large blocks go back to the kernel as soon as they are freed; nothing where the library is not glibc."""
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def trim() -> None:
    """Give the heap's free pages back to the kernel; nothing where the library is not glibc."""
    malloc_trim = getattr(_library(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def raise_file_limit(connections: int) -> int:
    """Allow this process as many open files as it needs; return how many connections there can be.

    Some container runtimes start processes with 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return min(connections, max(1, soft - _SPARE_FILES))
    return connections
