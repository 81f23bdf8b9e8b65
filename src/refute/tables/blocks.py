"""Rows of a table -> one effect per block and cell, whole columns at a time.

The effects are those of `refute.statistics`; what makes them wrong is refused by `refute.tables.refusals`. Rows are
placed by (cell, block) = unit and by slot: the arm of a contrast, the level along a factor, or the one slot there is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refute import statistics
from refute.core import Arm, Claim, Condition, Contrast, Level, RankCorrelation, Share, Slope, Value
from refute.errors import UsageError
from refute.tables import refusals
from refute.tables.frame import Codes, Floats, Frame
from refute.tables.places import Flags, Placed

ALPHA = statistics.ALPHA
"""Arms that differ in failures with a smaller McNemar p are named (docs/statistics.md, section 5, rule 3)."""


@dataclass(frozen=True, kw_only=True)
class CellBlocks:
    """What one cell of a claim comes down to."""

    key: tuple[Level, ...]
    blocks: tuple[Level, ...]
    """In their order; the first n of them are what a look at n blocks sees."""
    effects: Floats
    """One number per block; NaN where it failed."""
    slots: int
    """Levels along the factor, for the quantum of a rank correlation."""
    notes: tuple[str, ...] = ()


class Effects(NamedTuple):
    """All cells of a claim, and what the reader should know."""

    cells: tuple[CellBlocks, ...]
    warnings: tuple[str, ...]


def effects_of(
    frame: Frame,
    claim: Claim,
    *,
    block: str,
    repeats: Sequence[str] = (),
    missing_failed: bool = False,
    one_unit: bool = False,
) -> Effects:
    """One effect per block and cell of a claim, as `refute.judge` makes them from trials.

    Args:
        frame: the table; every name of the claim is one of its columns.
        claim: with levels as the table has them.
        block: the column that numbers the blocks.
        repeats: columns whose rows, inside one block and cell, are repeats of one measurement: averaged.
        missing_failed: whether a block that lacks an arm or a level counts as failed; otherwise it is refused.
        one_unit: whether the measured columns are known to be in one unit each; otherwise signs of more are refused.

    Raises:
        JudgementError: rows that would make the verdict wrong; says why, and the closest fix.
        UsageError: an effect that a table can't have (one that picks a level).
    """
    rows, slot, slots = _slots(frame, claim)
    refusals.check_filled(frame, (block, *claim.within), rows)
    refusals.check_numbers(frame, claim, rows)
    if not one_unit:
        refusals.check_units(frame, claim, rows)
    placed = _place(frame, claim, block, repeats, rows, slot, slots)
    needed, left_out = _needed(claim, placed)
    refusals.check_complete(frame, claim, block, placed, needed, missing_failed)
    effects = _numbers(claim, placed)
    labels = frame.levels(block).levels
    cells = []
    for code, key in enumerate(placed.cells):
        units = np.flatnonzero(placed.unit_cell == code)
        if not needed[code].any():
            continue
        cells.append(
            CellBlocks(
                key=key,
                blocks=tuple(labels[number] for number in placed.unit_block[units].tolist()),
                effects=effects[units],
                slots=int(needed[code].sum()),
                notes=_failure_note(claim, placed, units),
            )
        )
    refusals.check_blocks(frame, claim, block, [len(cell.blocks) for cell in cells])
    return Effects(tuple(cells), tuple(left_out))


# --- rows into places ---------------------------------------------------------------------------------------------


def _slots(frame: Frame, claim: Claim) -> tuple[Codes, Codes, tuple[str, ...]]:
    """Rows that enter, the slot of each, and the slots in words; a row enters once per arm that it belongs to."""
    chosen = np.ones(frame.rows, dtype=np.bool_)
    for name, levels in claim.among.items():
        chosen &= _has(frame, name, levels)
    match claim.effect:
        case Contrast(_, arms):
            if any(arm.pick for _, arm in arms):
                raise UsageError(
                    "an effect that picks a level can't be judged on a table; make a column of the picked rows"
                )
            inside = [np.flatnonzero(chosen & _in_arm(frame, arm)) for _, arm in arms]
            rows = np.concatenate(inside)
            slot = np.repeat(np.arange(len(arms)), [len(one) for one in inside])
            names = tuple(arm.in_words().replace(" = ", "=") for _, arm in arms)
        case RankCorrelation(along=along) | Slope(along=along):
            rows = np.flatnonzero(chosen)
            refusals.check_filled(frame, along, rows)
            combined = frame.combinations(along, rows)
            slot = combined.codes
            names = tuple(
                ", ".join(f"{n}={level}" for n, level in zip(along, levels, strict=True)) for levels in combined.levels
            )
        case _:
            rows = np.flatnonzero(chosen)
            slot = np.zeros(rows.size, dtype=np.int64)
            names = ("",)
    refusals.check_any(claim, rows)
    return rows, slot, names


def _has(frame: Frame, name: str, levels: Sequence[Level]) -> Flags:
    column = frame.levels(name)
    return np.isin(column.codes, [column.levels.index(level) for level in levels])


def _in_arm(frame: Frame, arm: Arm) -> Flags:
    inside = np.ones(frame.rows, dtype=np.bool_)
    for name, level in arm.levels.items():
        inside &= _has(frame, name, (level,))
    return inside


def _place(
    frame: Frame, claim: Claim, block: str, repeats: Sequence[str], rows: Codes, slot: Codes, slots: tuple[str, ...]
) -> Placed:
    blocks = frame.levels(block)
    cells = frame.combinations(claim.within, rows)
    units, unit = np.unique(cells.codes * len(blocks.levels) + blocks.codes[rows], return_inverse=True)
    places, place = np.unique(unit * len(slots) + slot, return_inverse=True)
    if places.size < rows.size:
        refusals.check_repeats(frame, claim, block, repeats, rows, place)

    shape = (units.size, len(slots))

    def every(flags: Flags) -> Flags:
        return _spread(np.bincount(place, ~flags, places.size) == 0, places, shape) > 0

    names = dict.fromkeys(_measured(claim))
    values = {name: _averaged(frame.numbers(name)[rows], place, places.size) for name in names}
    return Placed(
        unit_cell=units // len(blocks.levels),
        unit_block=units % len(blocks.levels),
        cells=cells.levels,
        slots=slots,
        present=every(np.ones(rows.size, dtype=np.bool_)),
        kept=every(_meets(frame, claim.keep, rows)),
        valid=every(_meets(frame, claim.where, rows)),
        values={name: _spread(found, places, shape, math.nan) for name, found in values.items()},
    )


def _spread(per_place: NDArray[Any], places: Codes, shape: tuple[int, int], empty: float = 0.0) -> Floats:
    spread = np.full(shape, empty)
    spread.flat[places] = per_place
    return spread


def _measured(claim: Claim) -> tuple[str, ...]:
    match claim.effect:
        case Value(quantity) | Contrast(quantity):
            return (quantity,)
        case Share(event):
            return (event.quantity,)
        case RankCorrelation(x, y) | Slope(x, y):
            return (x, y)


def _meets(frame: Frame, conditions: Sequence[Condition], rows: Codes) -> Flags:
    """Whether each row meets all conditions; an empty cell does not."""
    met = np.ones(rows.size, dtype=np.bool_)
    for condition in conditions:
        values = frame.numbers(condition.quantity)[rows]
        met &= (values >= condition.at_least) & (values <= condition.at_most)
    return met


def _averaged(values: Floats, place: Codes, places: int) -> Floats:
    """Mean of the repeats of each place, summed from the smallest on so that the order of rows changes nothing."""
    if places == place.size:
        placed = np.empty(places)
        placed[place] = values
        return placed
    order = np.lexsort((values, place))
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.bincount(place, minlength=places)
    averaged: Floats = np.add.reduceat(values[order], starts) / counts
    return averaged


def _needed(claim: Claim, placed: Placed) -> tuple[Flags, list[str]]:
    """Shape (cell, slot): the slots that every block of a cell must have; none for a cell that is left out."""
    needed = np.zeros((len(placed.cells), len(placed.slots)), dtype=np.bool_)
    np.logical_or.at(needed, placed.unit_cell, placed.present)
    match claim.effect:
        case Contrast():
            least = len(placed.slots)
        case RankCorrelation(minimum=minimum) | Slope(minimum=minimum):
            least = minimum
        case _:
            least = 1
    few = needed.sum(axis=1) < least
    refusals.check_some_cell(claim, placed.slots, needed, least)
    warnings = []
    for code in np.flatnonzero(few).tolist():
        has = ", ".join(name for name, there in zip(placed.slots, needed[code].tolist(), strict=True) if there)
        warnings.append(f"{refusals.cell_in_words(claim, placed.cells[code])} is left out: it only has {has}")
    needed[few] = False
    return needed, warnings


def _failure_note(claim: Claim, placed: Placed, units: Codes) -> tuple[str, ...]:
    if not isinstance(claim.effect, Contrast) or len(placed.slots) != 2:
        return ()
    found = placed.values[claim.effect.quantity][units]
    failed = ~(placed.present[units] & placed.kept[units] & placed.valid[units] & np.isfinite(found))
    p = statistics.mcnemar(failed[:, 0], failed[:, 1])
    if p >= ALPHA:
        return ()
    counts = " and ".join(f"{int(failed[:, arm].sum())} with {name}" for arm, name in enumerate(placed.slots))
    return (f"the arms differ in failures: {counts} of {len(units)} (McNemar p = {p:.2g})",)


# --- places into effects ------------------------------------------------------------------------------------------


def _numbers(claim: Claim, placed: Placed) -> Floats:
    """One effect per unit; NaN where a row failed its filter, is missing, or the effect is not defined."""
    used = placed.present & placed.kept
    passed = np.logical_and.reduce(placed.valid | ~used, axis=1)
    match claim.effect:
        case Value(quantity):
            effects = np.where(used, placed.values[quantity], math.nan)[:, 0]
        case Share(event):
            effects = _events(event, np.where(used, placed.values[event.quantity], math.nan)[:, 0])
        case Contrast(quantity, arms, log):
            effects = _contrast([weight for weight, _ in arms], np.where(used, placed.values[quantity], math.nan), log)
        case RankCorrelation(x, y, _, method, minimum):
            rank = statistics.spearman_rows if method == "spearman" else statistics.kendall_rows
            effects = _along(rank, placed.values[x], placed.values[y], used, minimum)
        case Slope(x, y, _, log, minimum):
            xs, ys = placed.values[x], placed.values[y]
            xs, ys = (_logarithms(xs), _logarithms(ys)) if log else (xs, ys)
            effects = _along(statistics.slope_rows, xs, ys, used, minimum)
    return np.where(passed & np.isfinite(effects), effects, math.nan)


def _events(event: Condition, values: Floats) -> Floats:
    happened = (values >= event.at_least) & (values <= event.at_most)
    return np.where(np.isnan(values), math.nan, happened.astype(np.float64))


def _contrast(weights: Sequence[float], values: Floats, log: bool) -> Floats:
    terms = _logarithms(values) if log else values
    total = np.zeros(len(terms))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite counts as failed
        for weight, term in zip(weights, terms.T, strict=True):
            total = total + weight * term
    return total


def _logarithms(values: Floats) -> Floats:
    """Logarithms; NaN where a value is not positive."""
    logs: Floats = np.log(np.where(values > 0, values, math.nan))
    return logs


def _along(
    number: Callable[[Floats, Floats, Flags], Floats], xs: Floats, ys: Floats, used: Flags, minimum: int
) -> Floats:
    """The number of every unit over its used levels; NaN where one of them is not defined, or they are too few."""
    finite = np.isfinite(xs) & np.isfinite(ys)
    defined = np.logical_and.reduce(finite | ~used, axis=1) & (used.sum(axis=1) >= minimum)
    return np.where(defined, number(xs, ys, used & defined[:, None]), math.nan)
