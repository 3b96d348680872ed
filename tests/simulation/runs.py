"""Run many worlds, in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from simulation.mutants import mutated
from simulation.world import World

__all__ = ["Outcome", "hunted", "outcomes"]

_CHUNK = 25
_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one world."""

    seed: int
    problem: str = ""
    rule: str = ""
    schedule: str = ""
    counts: Counter[str] = field(default_factory=Counter)


def outcome_of(seed: int, mutant: str = "", lines: int = _SHOWN) -> Outcome:
    """Run a world, perhaps with a mutant of the code, and return its result."""
    world = World(seed)
    try:
        with mutated(mutant):
            world.run()
    except AssertionError as error:
        rule = getattr(error, "rule", type(error).__name__)
        return Outcome(seed, str(error), rule, world.schedule.text(lines), world.schedule.counts)
    return Outcome(seed, counts=world.schedule.counts)


def _chunk(seeds: list[int]) -> list[Outcome]:
    return [outcome_of(seed) for seed in seeds]


def _hunt(name: str, seeds: range) -> tuple[str, Outcome | None]:
    """Return the first seed that finds a mutant."""
    return name, next((o for o in (outcome_of(seed, name) for seed in seeds) if o.problem), None)


def outcomes(seeds: range, workers: int) -> Iterator[Outcome]:
    """Yield the result of each world, in the order of the seeds."""
    chunks = [list(seeds[at : at + _CHUNK]) for at in range(0, len(seeds), _CHUNK)]
    if workers == 1:
        for chunk in chunks:
            yield from _chunk(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for found in pool.imap(_chunk, chunks):
            yield from found


def hunted(seeds: range, workers: int, names: Sequence[str]) -> list[tuple[str, Outcome | None]]:
    """Return each mutant with what the first seed says that finds it."""
    if workers == 1:
        return [_hunt(name, seeds) for name in names]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.starmap(_hunt, [(name, seeds) for name in names], chunksize=1)
