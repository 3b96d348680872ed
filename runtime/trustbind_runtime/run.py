"""What both halves do around their work: logs, the event loop, and one sentence when they cannot go on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import prometheus_client
import uvloop

from trustbind_runtime.logs import Logger, adopt_standard_logging, logger
from trustbind_runtime.settings import Log

__all__ = ["run_process"]


def run_process(
    name: str, log: Log, serve: Callable[[Logger], Coroutine[Any, Any, None]], problems: tuple[type[Exception], ...]
) -> str:
    """Run ``serve`` to its end on an event loop of its own.

    Args:
        name: of the command, for the sentence.
        log: its settings.
        serve: takes the log.
        problems: errors whose text is a sentence for the user; any other one is a defect and is raised.

    Returns:
        What went wrong, which was also written to standard error; empty when nothing did.
    """
    to = logger(log)
    adopt_standard_logging(to)
    # A second series for every counter, which nobody reads.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # the library leaves it untyped
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(to))
    except problems as error:
        sys.stderr.write(f"trustbind {name}: {error}\n")
        return str(error) or type(error).__name__
    return ""
