"""Run worlds by their seeds: ``python -m simulation --first 0 --seeds 300 --workers 2``; see README.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

from simulation.mutants import MUTANTS
from simulation.runs import hunted, outcomes


def _simulate(seeds: range, workers: int, *, with_tenants: bool | None) -> int:
    began = time.monotonic()
    counts: Counter[str] = Counter()
    broken = 0
    for outcome in outcomes(seeds, workers, with_tenants=with_tenants):
        counts += outcome.counts
        if outcome.problem:
            broken += 1
            print(f"\nseed {outcome.seed}: {outcome.problem}")
            if broken == 1 or len(seeds) == 1:
                print(outcome.schedule)
            print(f"replay: make simulate FIRST={outcome.seed} SEEDS=1{' TENANTS=1' if with_tenants else ''}")
    seconds = time.monotonic() - began
    print(f"\n{len(seeds)} seeds, {broken} broken, {len(seeds) / seconds:.1f} a second")
    for what, count in sorted(counts.items()):
        print(f"  {count:8} {what}")
    return 1 if broken else 0


def _mutations(seeds: range, workers: int, names: list[str]) -> int:
    """Look for each mutant until a seed finds it."""
    missed = 0
    for name, outcome in hunted(seeds, workers, names):
        if outcome is None:
            missed += 1
            print(f"{name}: NOT FOUND in {len(seeds)} seeds - {MUTANTS[name].text}")
        else:
            print(f"{name}: seed {outcome.seed}, {outcome.rule} - {MUTANTS[name].text}")
    return 1 if missed else 0


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulation")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=_at_least_one, default=300, help="how many")
    parser.add_argument("--workers", type=_at_least_one, default=1, help="processes")
    parser.add_argument("--tenants", action="store_true", help="play every seed with tenants, too")
    parser.add_argument("--mutants", nargs="*", help="look for mutants of the code: all, or these")
    options = parser.parse_args()
    if unknown := sorted(set(options.mutants or ()) - MUTANTS.keys()):
        parser.error(f"there is no mutant {', '.join(unknown)}; there are {', '.join(sorted(MUTANTS))}")
    seeds = range(options.first, options.first + options.seeds)
    if options.mutants is not None:
        return _mutations(seeds, options.workers, options.mutants or sorted(MUTANTS))
    return _simulate(seeds, options.workers, with_tenants=True if options.tenants else None)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of texts depends on it, and with it the order of what is enqueued.
        os.execve(  # noqa: S606 - the same program again
            sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    sys.exit(main())
