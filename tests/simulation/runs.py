"""Run many worlds, in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from simulation.isolation import TenantsError, has_tenants, played
from simulation.mutants import MUTANTS, mutated
from simulation.schedule import Schedule
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


def outcome_of(seed: int, mutant: str = "", lines: int = _SHOWN, *, with_tenants: bool | None = None) -> Outcome:
    """Run a world, perhaps with a mutant of the code, and return its result.

    Args:
        seed: decides everything.
        mutant: name of a mutant; empty for none.
        lines: of the schedule that a failure shows.
        with_tenants: whether to play it with tenants, too; None: the seed decides.
    """
    world = World(seed)
    try:
        with mutated(mutant):
            world.run()
            counts = world.schedule.counts
            if has_tenants(seed) if with_tenants is None else with_tenants:
                counts = counts + played(seed)
    except AssertionError as error:
        rule = getattr(error, "rule", type(error).__name__)
        schedule: Schedule = error.world.schedule if isinstance(error, TenantsError) else world.schedule
        return Outcome(seed, str(error), rule, schedule.text(lines), schedule.counts)
    return Outcome(seed, counts=counts)


def _chunk(seeds: list[int], with_tenants: bool | None) -> list[Outcome]:
    return [outcome_of(seed, with_tenants=with_tenants) for seed in seeds]


def _hunt(name: str, seeds: range) -> tuple[str, Outcome | None]:
    """Return the first seed that finds a mutant."""
    with_tenants = MUTANTS[name].with_tenants or None
    outcomes = (outcome_of(seed, name, with_tenants=with_tenants) for seed in seeds)
    return name, next((o for o in outcomes if o.problem), None)


def outcomes(seeds: range, workers: int, *, with_tenants: bool | None = None) -> Iterator[Outcome]:
    """Yield the result of each world, in the order of the seeds; see `outcome_of`."""
    chunks = [list(seeds[at : at + _CHUNK]) for at in range(0, len(seeds), _CHUNK)]
    if workers == 1:
        for chunk in chunks:
            yield from _chunk(chunk, with_tenants)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for found in pool.imap(partial(_chunk, with_tenants=with_tenants), chunks):
            yield from found


def hunted(seeds: range, workers: int, names: Sequence[str]) -> list[tuple[str, Outcome | None]]:
    """Return each mutant with what the first seed says that finds it."""
    if workers == 1:
        return [_hunt(name, seeds) for name in names]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return pool.starmap(_hunt, [(name, seeds) for name in names], chunksize=1)
