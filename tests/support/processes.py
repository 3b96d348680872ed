"""Our own processes in tests: started, waited for by what they say, stopped by their id."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

__all__ = ["Process", "eventually"]

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], what: str, *, seconds: float = 10.0, every: float = 0.02) -> T:
    """Return the first result of ``probe`` that is true.

    Raises:
        AssertionError: there was none within ``seconds``; ``what`` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


class Process:
    """A child process whose standard error is read line by line.

    Args:
        arguments: program and arguments.
        env: added to the environment; a value of None takes the variable out.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str | None] | None = None) -> None:
        environment = {**os.environ, **(env or {})}
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in environment.items() if value is not None},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    @property
    def pid(self) -> int:
        """The process' id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def line(self, wanted: Callable[[str], bool], *, seconds: float = 60.0) -> str:
        """Return the next line that is ``wanted``; those before it are passed over.

        Raises:
            AssertionError: there was none in time, or the process ended; with everything it said.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("the line did not come:\n" + "\n".join(self.output)) from None
            if line is None:
                raise AssertionError("the process ended first:\n" + "\n".join(self.output))
            if wanted(line):
                return line

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, *, seconds: float = 60.0) -> int:
        """Return the exit code.

        Raises:
            AssertionError: it has not ended in time.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("the process did not end:\n" + "\n".join(self.output)) from None
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.rstrip("\n")
            self.output.append(line)
            self._lines.put(line)
        self._lines.put(None)
