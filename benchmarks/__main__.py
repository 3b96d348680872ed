"""``python -m benchmarks``: measure, print, and write down."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console

from benchmarks import machine, micro, operator, tenancy, webhook
from benchmarks.section import Options, Section
from trustbind.errors import TrustbindError

_SECTIONS: Final[dict[str, Callable[[Options], Section]]] = {
    "webhook": webhook.measure,
    "operator": operator.measure,
    "micro": micro.measure,
    "tenancy": tenancy.measure,
}

_WIDTH: Final = 120
"""Characters of a line when the output goes into a file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections and return the exit code: 0, or 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure trustbind on this machine.")
    parser.add_argument("--only", choices=tuple(_SECTIONS), help="this section alone")
    parser.add_argument("--quick", action="store_true", help="be done within some minutes; more noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)  # so that what was started is stopped
    console, errors = Console(emoji=False), Console(stderr=True)
    if not console.is_terminal:
        console.width = _WIDTH
    if platform.system() != "Linux":
        errors.print("benchmarks: they read /proc and the clocks of processes, and need Linux")
        return 1
    started, before = time.monotonic(), machine.load_average()
    facts = machine.facts()
    report: dict[str, Any] = {"machine": facts, "quick": options.quick}
    try:
        with errors.status("starting") as status:
            how = Options(quick=options.quick, tell=status.update)
            chosen = [options.only] if options.only else list(_SECTIONS)
            sections = {name: _SECTIONS[name](how) for name in chosen}
    except TrustbindError as error:
        errors.print(f"benchmarks: {error}", markup=False, highlight=False)
        return 1
    took = time.monotonic() - started
    report |= {name: section.data for name, section in sections.items()}
    report |= {"load_average": [before, machine.load_average()], "seconds": round(took, 1)}
    _print(console, sections, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _print(console: Console, sections: dict[str, Section], report: dict[str, Any]) -> None:
    for section in sections.values():
        for table in section.tables:
            console.print(table)
            console.print()
    facts = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    before, after = report["load_average"]
    lines = [
        f"{facts['date']}: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['kernel']}",
        f"Python {facts['python']}, {packages}",
        f"Load average {before} before, {after} after; this took {report['seconds']} s",
        *(note for section in sections.values() for note in section.notes),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
