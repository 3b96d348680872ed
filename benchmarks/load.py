"""Load over TLS from a few kept-alive connections: wrk where it is installed, else a small client of ours."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop

from benchmarks.section import BenchmarkError

__all__ = ["CONNECTIONS", "Load", "Sample", "find_load"]

CONNECTIONS: Final = 8
"""As many as an API server under load uses, and enough to keep any server here busy."""

_PATH: Final = "/mutate?timeout=10s"
"""As an API server asks."""

_PATIENCE_SECONDS: Final = 30
"""After which a load counts as hung."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one load came to.

    Attributes:
        requests: answered.
        errors: connections that failed, and answers of another status than 200.
        seconds: it took.
        p50_ms: median latency.
        p99_ms: the 99th percentile.
    """

    requests: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Load(Protocol):
    """Sends one body again and again, each connection as soon as it has its answer."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    def run(self, port: int, body: Path, seconds: int) -> Sample:
        """Load 127.0.0.1 for ``seconds`` with the body in a file.

        Raises:
            BenchmarkError: nothing was measured.
        """


def find_load() -> Load:
    """Return wrk when it is there; it takes far less of the machine than a client in Python."""
    program = shutil.which("wrk")
    return _Wrk(program) if program else _Client()


class _Wrk:
    name = "wrk"

    def __init__(self, program: str) -> None:
        self._program = program

    def run(self, port: int, body: Path, seconds: int) -> Sample:
        script = Path(__file__).with_name("load.lua")
        options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
        command = [
            self._program,
            *options,
            "--script",
            str(script),
            f"https://127.0.0.1:{port}{_PATH}",
            "--",
            str(body),
        ]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + _PATIENCE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"wrk did not end within {seconds + _PATIENCE_SECONDS} s") from None
        found = re.search(r"^RESULT (\{.*\})$", result.stdout, re.MULTILINE)
        if found is None:
            raise BenchmarkError(f"wrk measured nothing: {(result.stderr or result.stdout).strip()[-300:]}")
        values: dict[str, Any] = json.loads(found[1])
        return Sample(**values)


class _Client:
    name = "asyncio client"

    def run(self, port: int, body: Path, seconds: int) -> Sample:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._run(port, body.read_bytes(), seconds))

    async def _run(self, port: int, body: bytes, seconds: int) -> Sample:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # as wrk; who it is was checked before
        head = (
            f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        latencies: list[float] = []
        errors = 0

        async def connection(end: float) -> None:
            nonlocal errors
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                while (sent := time.perf_counter()) < end:
                    writer.write(request)
                    answer = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
                    await reader.readexactly(int(length[1]) if length else 0)
                    errors += not answer.startswith(b"HTTP/1.1 200 ")
                    latencies.append(time.perf_counter() - sent)
                writer.transport.abort()
            except (OSError, EOFError):
                errors += 1

        started = time.perf_counter()
        async with asyncio.timeout(seconds + _PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(connection(started + seconds))
        took = time.perf_counter() - started
        if len(latencies) < CONNECTIONS:
            raise BenchmarkError(f"nothing was measured on port {port}: {errors} errors")
        percentiles = statistics.quantiles(latencies, n=100)
        return Sample(len(latencies), errors, took, percentiles[49] * 1e3, percentiles[98] * 1e3)
