"""Results -> entries: flat records of levels, numbers and points of curves, from which figures are made."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refute.core import Curve, Level, Phenomenon, Result, Trial

LONGEST_CURVE = 100
"""Points kept along one axis of a curve: more can't be told apart in a panel of 340 pixels."""
LARGEST = 1e100
"""Numbers beyond it are not drawn: the arithmetic of axes overflows."""


@dataclass(frozen=True)
class Entry:
    """A trial, or one point of its curves: names (factors, quantities, axes) with their values."""

    block: int
    values: Mapping[str, Level]

    def number(self, name: str) -> float:
        """A finite number, or NaN for anything that can't be drawn."""
        value = self.values.get(name, math.nan)
        if isinstance(value, str):
            return math.nan
        return float(value) if abs(value) <= LARGEST else math.nan


def selected(
    trials: Sequence[Trial], results: Mapping[str, Result], among: Mapping[str, tuple[Level, ...]]
) -> list[tuple[Trial, Result]]:
    """Trials of a figure with their results: those among the wanted levels, run, and not diverged."""
    return [
        (trial, results[trial.key])
        for trial in trials
        if trial.key in results
        and not results[trial.key].diverged
        and all(trial.levels[name] in wanted for name, wanted in among.items())
    ]


def entries(
    phenomenon: Phenomenon, rows: Sequence[tuple[Trial, Result]], names: Sequence[str], *, log: bool = False
) -> Iterator[Entry]:
    """One entry per trial; where `names` has curves, one per point that they share.

    Args:
        phenomenon: it knows the axes of its curves.
        rows: trials with results.
        names: the quantities, factors and axes that the figure speaks of.
        log: thin long curves evenly on a logarithmic axis.
    """
    axes = {name: phenomenon.quantities[name].axes for name in names if name in phenomenon.quantities}
    curved = sorted((name for name in axes if axes[name]), key=lambda name: -len(axes[name]))
    for trial, result in rows:
        flat: dict[str, Level] = {**trial.levels, **result.values}
        if not curved:
            yield Entry(trial.block, flat)
            continue
        curves = {name: _points(result.curves[name], log) for name in curved if name in result.curves}
        if len(curves) == len(curved):
            for coordinates in curves[curved[0]]:
                point = dict(zip(axes[curved[0]], coordinates, strict=True))
                found = {name: curves[name].get(tuple(point.get(a, math.nan) for a in axes[name])) for name in curved}
                if all(value is not None for value in found.values()):
                    yield Entry(trial.block, {**flat, **point, **found})  # type: ignore[dict-item]


def _points(curve: Curve, log: bool) -> dict[tuple[float, ...], float]:
    """Coordinates -> value of a curve, thinned along each axis."""
    kept = [kept_positions(len(axis), log=log) for axis in curve.coordinates]
    if len(kept) == 1:
        axis = curve.coordinates[0]
        return {(axis[i],): curve.values[i] for i in kept[0]}
    first, second = curve.coordinates
    return {(first[i], second[j]): curve.values[i * len(second) + j] for i in kept[0] for j in kept[1]}


def kept_positions(length: int, *, log: bool = False, limit: int = LONGEST_CURVE) -> list[int]:
    """Positions kept of a long axis, ends included, evenly spaced on the axis' scale.

    >>> kept_positions(10, limit=4)
    [0, 3, 6, 9]
    """
    if length <= limit:
        return list(range(length))
    spaced = np.geomspace(1, length, limit) - 1 if log else np.linspace(0, length - 1, limit)
    return [int(position) for position in np.unique(np.round(spaced).astype(int))]


def distinct(values: Sequence[Level]) -> list[Level]:
    """Different levels: sorted when all are numbers, else in the order in which they come."""
    unique = list(dict.fromkeys(values))
    return sorted(unique, key=float) if all(not isinstance(value, str) for value in unique) else unique


def numeric(values: Sequence[Level]) -> bool:
    """Whether all levels are numbers."""
    return all(isinstance(value, int | float) for value in values)
