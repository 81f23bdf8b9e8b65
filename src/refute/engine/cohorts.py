"""Cohorts: trials that share every looped level and setting are trained together."""

import itertools
import math
from collections.abc import Iterator, Sequence

from refute.core import Cohort, Level, Phenomenon, Trial


def divide(cohort: Cohort, pieces: int) -> list[Cohort]:
    """A cohort in pieces of nearly equal size."""
    return [
        Cohort(
            cohort.trials[a:b],
            cohort.looped,
            {name: levels[a:b] for name, levels in cohort.stacked.items()},
            cohort.settings,
            cohort.device,
        )
        for a, b in _cuts(len(cohort), pieces)
    ]


def cohorts(phenomenon: Phenomenon, trials: Sequence[Trial], *, size: int, device: str = "cpu") -> list[Cohort]:
    """Group trials by looped levels and settings, at most `size` replicas each, in groups of nearly equal size.

    How trials are packed changes no initial weight, no data order and no noise: these come from each trial's seed.
    """
    looped = [name for name, factor in phenomenon.factors.items() if factor.kind == "looped"]
    groups: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        shared = (*(trial.levels[name] for name in looped), *sorted(trial.settings.items()))
        groups.setdefault(shared, []).append(trial)
    packed = []
    for members in groups.values():
        pieces = math.ceil(len(members) / size)
        packed += [_cohort(phenomenon, looped, members[a:b], device) for a, b in _cuts(len(members), pieces)]
    return packed


def _cuts(count: int, pieces: int) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(count * piece // pieces for piece in range(pieces + 1))


def _cohort(phenomenon: Phenomenon, looped: Sequence[str], members: list[Trial], device: str) -> Cohort:
    shared: dict[str, Level] = {name: members[0].levels[name] for name in looped}
    stacked = {
        name: tuple(float(trial.levels[name]) for trial in members)
        for name, factor in phenomenon.factors.items()
        if factor.kind == "stacked"
    }
    return Cohort(tuple(members), shared, stacked, members[0].settings, device)
