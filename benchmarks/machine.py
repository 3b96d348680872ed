"""Which machine this is, and what a process costs it."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

__all__ = ["cpu_seconds", "facts", "load_average", "resident_mib"]

_PACKAGES: Final = ("trustbind", "fastapi", "httptools", "msgspec", "uvicorn", "uvloop")
_KIB_PER_MIB: Final = 1024


def facts() -> dict[str, Any]:
    """Return what a reader needs to know before he compares figures with those of another machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) / _KIB_PER_MIB**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def load_average() -> float:
    """Return how many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU, user and system, that a process and all its threads have taken so far.

    It is utime + stime of ``/proc/PID/stat``, which has hundredths of a second, read from the process' clock instead,
    which has nanoseconds (clock_getcpuclockid(3); the number is how Linux encodes it).
    """
    return time.clock_gettime((~pid << 3) | 2)


def resident_mib(pid: int) -> tuple[float, float]:
    """Return the memory that a process has in RAM: now, and at most so far; in MiB."""
    status = Path(f"/proc/{pid}/status")
    now, most = (int(_field(status, name).split()[0]) / _KIB_PER_MIB for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(most, 1)


def _field(file: Path, name: str) -> str:
    """Return the value of the first line ``name: value``; empty when there is none."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
