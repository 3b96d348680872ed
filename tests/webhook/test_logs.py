"""The log: one event a line, in either form, and the libraries' own warnings in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from trustbind_runtime.logs import adopt_standard_logging, logger
from trustbind_runtime.settings import Log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("kubernetes").setLevel(logging.NOTSET)


def test_json_is_one_object_a_line() -> None:
    """Level and time are there, what has no form in JSON is written as text, and lower levels are left out."""
    stream = io.StringIO()
    log = logger(Log(), stream)
    log.debug("not shown")
    log.bind(resource="x").info("shown", value=1, odd=ValueError("text"))
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "shown", "level": "info", "resource": "x", "value": 1, "odd": "text"}


def test_console_is_for_people() -> None:
    """Without colours where there is no terminal."""
    stream = io.StringIO()
    logger(Log(format="console"), stream).warning("shown", value=1)
    assert "shown" in stream.getvalue()
    assert "value=1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_libraries_log_to_the_same_place() -> None:
    """Warnings with their logger's name, errors with their trace; information is left out."""
    stream = io.StringIO()
    adopt_standard_logging(logger(Log(), stream))
    library = logging.getLogger("some.library")
    library.info("not shown")
    library.warning("careful with %s", "this")
    try:
        int("inside")
    except ValueError:
        library.exception("failed")
    warning, error = map(json.loads, stream.getvalue().splitlines())
    assert (warning["event"], warning["logger"], warning["level"]) == (
        "careful with this",
        "some.library",
        "warning",
    )
    assert "ValueError: invalid literal" in error["exception"]
