"""Fuzz: ``python -m fuzz --seconds 60 documents``; see README.md."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from fuzz.engine import fuzz_by_coverage, fuzz_plainly, has_atheris

_NAMES: Final = ("mutate", "validate", "documents", "grants", "objects", "manifests", "tokens")
"""Of the targets; they are imported by the process that fuzzes one, since only then their branches are seen."""

_SHOWN: Final = 40
"""Lines of a failed target's log that are printed."""

_TRIED = re.compile(r"(?:number_of_executed_units|^inputs): +([0-9]+)", re.MULTILINE)

_FOUND: Final = Path(__file__).parents[2] / "build" / "fuzz"


def _replay(name: str, files: list[Path]) -> int:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - see above

    for file in files:
        TARGETS[name].check(file.read_bytes())
        print(f"{name}: {file} passes")
    return 0


def _fuzz(name: str, options: argparse.Namespace) -> int:
    """Fuzz one target in this process."""
    folder = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if options.engine == "atheris":
        fuzz_by_coverage(name, options.seconds, options.seed, folder)
    tried = fuzz_plainly(name, options.seconds, options.seed, folder)
    print(f"inputs: {tried}")
    return 0


def _fuzz_all(names: list[str], options: argparse.Namespace) -> int:
    """Fuzz each target in a process of its own; return 1 when one found something."""
    failed: list[str] = []
    for name in names:
        print(f"=== {name}: {options.seconds} s, engine {options.engine}", flush=True)
        command = [sys.executable, "-m", "fuzz", name, "--here", f"--seconds={options.seconds}"]
        command += [f"--seed={options.seed}", f"--engine={options.engine}", f"--folder={options.folder}"]
        log = options.folder / name / "log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            done = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT)
        said = log.read_text(encoding="utf-8", errors="replace")
        if done.returncode:
            failed.append(name)
            lines = [line for line in said.splitlines() if not line.startswith(("#", "INFO:", "stat:"))]
            print("\n".join(lines[-_SHOWN:]))
        else:
            tried = _TRIED.search(said)
            print(f"{tried[1] if tried else 'all'} inputs, none failed", flush=True)
    for name in failed:
        print(f"{name}: FAILED; {options.folder / name} has the input, crash-*, and the log")
        print(f"replay: cd tests && python -m fuzz {name} --replay FILE")
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(_NAMES)}; all when none is named")
    parser.add_argument("--seconds", type=_at_least_one, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "plain"), default="atheris" if has_atheris() else "plain")
    parser.add_argument("--folder", type=Path, default=_FOUND, help="for what is found")
    parser.add_argument("--replay", type=Path, nargs="+", help="inputs to check again, of one target")
    parser.add_argument("--here", action="store_true", help="fuzz one target in this process")
    options = parser.parse_args()
    if unknown := sorted(set(options.targets) - set(_NAMES)):
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    names = options.targets or list(_NAMES)
    if (options.replay or options.here) and len(names) != 1:
        parser.error("name one target")
    if options.replay:
        return _replay(names[0], options.replay)
    return _fuzz(names[0], options) if options.here else _fuzz_all(names, options)


if __name__ == "__main__":
    sys.exit(main())
