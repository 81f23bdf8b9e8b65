"""What makes verdicts wrong is refused: each refusal says why, and names the closest fix.

docs: statistics sections 1 (one number per block) and 9 (traps).
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from refute.core import Claim, Contrast, Level, RankCorrelation, Share, Slope
from refute.errors import JudgementError, UsageError
from refute.tables.claims import event
from refute.tables.frame import Codes, Floats, Frame
from refute.tables.places import Flags, Placed

BLOCK_NAMES = (
    "seed", "randomseed", "rngseed", "randomstate", "replicate", "replica", "replication", "run", "trial", "block",
    "repetition", "rep",
)  # fmt: skip
"""What columns of blocks are usually called, the likeliest first."""
REPEAT_NAMES = ("epoch", "step", "iteration", "batch", "fold", "layer", "checkpoint", "example", "sample", "index")
"""What columns that number rows inside a block are usually called."""
FRACTIONS = re.compile(r"(.*acc|.*accuracy|auc|auroc|f1|precision|recall|top[15])", re.IGNORECASE)
"""Quantities that are written as a fraction or in percent, and in a sound run are not below 1 %."""
FEW_LEVELS = 50
"""A column of numbers with more levels is a measurement, not a setting."""
NAMED = 5
"""A message names at most this many blocks, columns or levels."""
IN_PERCENT_FROM = 1.5
LEAST_BLOCKS = 5
"""Shipped protocols start here (docs/statistics.md, section 2)."""


def cell_in_words(claim: Claim, key: Sequence[Level]) -> str:
    """A cell for a message: `cell data=mnist, net=mlp`."""
    levels = ", ".join(f"{name}={level}" for name, level in zip(claim.within, key, strict=True))
    return f"cell {levels}" if levels else "the table"


def check_block(frame: Frame, block: str | None) -> str:
    """A block column is named.

    Raises:
        UsageError: it is not; names the column that looks like one.
    """
    if block:
        return block
    likely = _likely_block(frame, ())
    fix = (
        f"if '{likely}' numbers the independent runs, add --block {likely}"
        if likely
        else "add a column that numbers the independent runs (their seed) and name it with --block"
    )
    raise UsageError(
        "no block column: without it rows of one run would count as independent evidence and every interval would be "
        f"too narrow; {fix} (columns: {_listed(frame.columns)})"
    )


def check_any(claim: Claim, rows: Codes) -> None:
    """Some row enters the claim."""
    if not rows.size:
        asked = "; ".join(f"{name} = {', '.join(map(str, levels))}" for name, levels in claim.among.items())
        raise JudgementError(f"no row has {asked or 'what the claim asks for'}; nothing can be judged")


def check_filled(frame: Frame, names: Sequence[str], rows: Codes) -> None:
    """Every row says which block, cell and level it belongs to."""
    for name in names:
        empty = rows[frame.levels(name).codes[rows] < 0]
        if empty.size:
            raise JudgementError(
                f"column '{name}' is empty in {_rows(empty)}: it must say where each row belongs; fill it in, or "
                "leave these rows out (a failed run keeps its row, with only the measured cell empty)"
            )


def check_numbers(frame: Frame, claim: Claim, rows: Codes) -> None:
    """The measured columns hold numbers of one unit; events are 0 or 1."""
    names: tuple[str, ...]
    match claim.effect:
        case Share(condition):
            names, quantity = (condition.quantity,), condition.quantity
            values = frame.numbers(quantity)[rows]
            wrong = rows[~(np.isnan(values) | (values == 0) | (values == 1))]
            if condition == event(quantity) and wrong.size:
                raise JudgementError(
                    f"the effect share needs a column of 0 and 1, {frame.numbers(quantity)[wrong[0]]:g} came in row "
                    f"{wrong[0] + 1} of '{quantity}'; say when the event happens, for example --of '{quantity} >= 0.5'"
                )
        case RankCorrelation(x, y) | Slope(x, y):
            names = (x, y)
        case effect:
            names = (effect.quantity,)
    for name in (*names, *(condition.quantity for condition in (*claim.where, *claim.keep))):
        frame.numbers(name)


def check_units(frame: Frame, claim: Claim, rows: Codes) -> None:
    """Every quantity is in one unit, as far as the table can show it.

    Raises:
        JudgementError: its unit column has several units, or fractions and percent seem to be mixed.
    """
    for name in claim.quantities():
        if name not in claim.along():
            _check_unit(frame, name, rows)


def _check_unit(frame: Frame, name: str, rows: Codes) -> None:
    wanted = {"unit", "units", f"{name}_unit", f"{name}.unit"}
    values = frame.numbers(name)[rows]
    filled = np.isfinite(values)
    for column in (column for column in frame.columns if column.casefold() in wanted):
        coded = frame.levels(column)
        found = sorted({str(coded.levels[code]) for code in np.unique(coded.codes[rows][filled]).tolist() if code >= 0})
        if len(found) > 1:
            raise JudgementError(
                f"column '{name}' mixes units: '{column}' has {', '.join(found)}; convert to one unit, or judge one: "
                f"--only {column}={found[0]}"
            )
    if not any(FRACTIONS.fullmatch(word) for word in re.split(r"[^A-Za-z0-9]+", name)):
        return
    fraction, percent = filled & (values > 0) & (values < 1), filled & (values > IN_PERCENT_FROM)
    if fraction.any() and percent.any():
        few, rest = (fraction, "percent") if fraction.sum() <= percent.sum() else (percent, "fractions")
        odd = int(np.flatnonzero(few)[0])
        raise JudgementError(
            f"column '{name}' seems to mix fractions and percent: {int(fraction.sum())} values lie between 0 and 1, "
            f"{int(percent.sum())} above {IN_PERCENT_FROM:g}; row {rows[odd] + 1} has {values[odd]:g} where most are "
            f"{rest}. Write all in one unit; if they are, say which: --unit percent"
        )


def check_repeats(frame: Frame, claim: Claim, block: str, repeats: Sequence[str], rows: Codes, place: Codes) -> None:
    """Several rows of one place are declared as repeats, which then tell them apart.

    Raises:
        JudgementError: they are not (pseudo-replication), or some trial stands in the table twice.
    """
    if repeats:
        check_filled(frame, repeats, rows)
        combined = frame.combinations(repeats, rows)
        place = np.unique(place * len(combined.levels) + combined.codes, return_inverse=True)[1]
    counts = np.bincount(place)
    if counts.max() == 1:
        return
    same = rows[place == int(np.argmax(counts > 1))]
    where = ", ".join(
        f"{name}={_level(frame, name, same[0])}"
        for name in dict.fromkeys((block, *claim.within, *claim.along(), *repeats))
    )
    varying = [name for name in frame.columns if name not in (block, *claim.within, *claim.along(), *repeats)]
    varying = [name for name in varying if np.unique(frame.levels(name).codes[same]).size > 1]
    if not varying:
        raise JudgementError(
            f"duplicated trials: {_rows(same)} are the same in every column ({where}); a copied row is no new "
            "evidence. Remove the copies, or let them be removed: --distinct"
        )
    settings = [name for name in varying if _is_setting(frame, claim, block, name)]
    if not settings:
        measured = _measured_in_words(frame, claim, same)
        raise JudgementError(
            f"duplicated trials: {_rows(same)} are all the trial {where}, with {measured}, and no setting tells them "
            "apart. Keep one of them; if they are runs of their own, give each its own "
            f"{block}; if they are repeats of one measurement, number them in a column and name it: --repeats COLUMN"
        )
    raise JudgementError(_pseudo_replication(frame, claim, settings, where, rows, len(same)))


def _pseudo_replication(
    frame: Frame, claim: Claim, settings: Sequence[str], where: str, rows: Codes, count: int
) -> str:
    inside = [name for name in settings if any(word in name.casefold() for word in REPEAT_NAMES)]
    names = inside or settings
    chosen = " ".join(f"--only {name}={_usual(frame, name, rows, last=bool(inside))}" for name in names)
    condition = (
        f"if {_listed(names)} {'is a condition' if len(names) == 1 else 'are conditions'}, judge within "
        f"{'it' if len(names) == 1 else 'them'} (--within {','.join((*claim.within, *names))}) or use one level "
        f"({chosen})"
    )
    repeats = f"if these rows are repeats of one measurement, say --repeats {','.join(names)} and they are averaged"
    first, second = (repeats, condition) if inside else (condition, repeats)
    return (
        f"several rows per block and cell: {count} rows have {where}; they differ in {_listed(settings)}. Rows of one "
        f"block are not independent, and counting them as blocks would make every interval too narrow "
        f"(pseudo-replication); {first}; {second}"
    )


def _usual(frame: Frame, name: str, rows: Codes, *, last: bool) -> Level:
    """The last level of a column, or the one that most rows have."""
    coded = frame.levels(name)
    return coded.levels[-1 if last else int(np.bincount(coded.codes[rows] + 1)[1:].argmax())]


def check_some_cell(claim: Claim, slots: Sequence[str], needed: Flags, least: int) -> None:
    """Some cell has what the effect compares."""
    if (needed.sum(axis=1) >= least).any():
        return
    if isinstance(claim.effect, Contrast):
        lacking = [name for name, there in zip(slots, np.logical_or.reduce(needed, axis=0), strict=True) if not there]
        if lacking:
            raise JudgementError(f"no row that enters has {', '.join(lacking)}: there is nothing to compare")
        raise JudgementError(
            f"no cell has both {' and '.join(slots)}: they can't be compared inside {' x '.join(claim.within)}; "
            "leave the column that separates them out of --within"
        )
    most = int(needed.sum(axis=1).max())
    raise JudgementError(
        f"the effect needs at least {least} levels of {' and '.join(claim.along())} per block, the table has {most}"
    )


def check_complete(frame: Frame, claim: Claim, block: str, placed: Placed, needed: Flags, missing_failed: bool) -> None:
    """Every block of a cell has all arms, or all levels along the factor.

    Raises:
        JudgementError: some have not: unpaired.
    """
    lacking = needed[placed.unit_cell] & ~placed.present
    units = np.flatnonzero(lacking.any(axis=1))
    if not units.size or missing_failed:
        return
    judged = needed[placed.unit_cell].any(axis=1)
    labels = frame.levels(block).levels
    if isinstance(claim.effect, Contrast) and not (placed.present.all(axis=1) & judged).any():
        other = _likely_block(frame, (block,))
        hint = f"is '{other}' the block (--block {other})? " if other else ""
        raise JudgementError(
            f"unpaired blocks: no {block} has both {' and '.join(placed.slots)}, and the effect is paired by block; "
            f"{hint}Else run both with the same seeds; if the runs are independent, number those of each side 0, 1, "
            "2 ... in the order they were started, in a new column, and name it with --block"
        )
    cell = placed.unit_cell[units[0]]
    here = units[placed.unit_cell[units] == cell]
    slot = int(np.flatnonzero(lacking[here[0]])[0])
    here = here[lacking[here, slot]]
    named = _listed([str(labels[number]) for number in placed.unit_block[here].tolist()])
    more = units.size - here.size
    elsewhere = f" ({more} more elsewhere)" if more else ""
    raise JudgementError(
        f"unpaired blocks: in {cell_in_words(claim, placed.cells[cell])}, {block} {named} has no row with "
        f"{placed.slots[slot]}{elsewhere}; the effect needs every side of a block. Run what is missing; if those runs "
        "failed, let the blocks count as failed: --missing-failed"
    )


def check_blocks(frame: Frame, claim: Claim, block: str, counts: Sequence[int]) -> None:
    """Some cell has more than one block."""
    if max(counts) > 1:
        return
    other = _likely_block(frame, (block, *claim.within, *claim.along()))
    hint = f"; is '{other}' the block (--block {other})?" if other else ""
    raise JudgementError(
        f"one block: every cell has a single {block}, so how much results vary from run to run can't be seen and "
        f"nothing can be judged; run at least {LEAST_BLOCKS} seeds{hint}"
    )


def confounded(frame: Frame, claim: Claim, block: str) -> list[str]:
    """Settings, other than the one compared, in which all rows of one side differ from all rows of the other."""
    if not isinstance(claim.effect, Contrast) or len(claim.effect.arms) != 2:
        return []
    sides = []
    for _, arm in claim.effect.arms:
        inside = np.ones(frame.rows, dtype=np.bool_)
        for name, level in arm.levels.items():
            column = frame.levels(name)
            inside &= column.codes == column.levels.index(level)
        sides.append(inside)
    found = []
    for name in frame.columns:
        if name in (block, *claim.within, *claim.along()) or not _is_setting(frame, claim, block, name):
            continue
        column = frame.levels(name)
        first, second = (np.unique(column.codes[inside]) for inside in sides)
        if first.size == second.size == 1 and first[0] != second[0] and min(first[0], second[0]) >= 0:
            levels = zip((first[0], second[0]), claim.effect.arms, strict=True)
            found.append(
                f"{name} ("
                + ", ".join(f"{column.levels[code]} where {arm.in_words()}" for code, (_, arm) in levels)
                + ")"
            )
    return [f"the two sides differ in more than the factor: {_listed(found)}"] if found else []


def _is_setting(frame: Frame, claim: Claim, block: str, name: str) -> bool:
    """Whether a column may be a condition: it has few levels, and each of them occurs in more than one block."""
    if name in claim.quantities():
        return False
    distinct, floating = frame.distinct(name), pa.types.is_floating(frame.table.column(name).type)
    if distinct >= frame.rows or (floating and distinct > FEW_LEVELS):
        return False
    blocks, levels = frame.levels(block), frame.levels(name)
    if len(blocks.levels) == 1:
        return True
    pairs = np.unique((levels.codes + 1) * (len(blocks.levels) + 1) + blocks.codes + 1)
    return int(np.bincount(pairs // (len(blocks.levels) + 1)).astype(np.int64)[1:].min(initial=2)) > 1


def _likely_block(frame: Frame, known: Sequence[str]) -> str | None:
    """The column, of those not yet known, that is most likely the block."""
    spelled = {
        "".join(letter for letter in name.rpartition(".")[2].casefold() if letter.isalnum()): name
        for name in frame.columns
        if name not in known
    }
    return next((spelled[name] for name in BLOCK_NAMES if name in spelled), None)


def _measured_in_words(frame: Frame, claim: Claim, rows: Codes) -> str:
    name = next(name for name in claim.quantities() if name not in claim.along())
    values: Floats = frame.numbers(name)[rows]
    return f"{name} {_listed([f'{value:g}' for value in values.tolist()])}"


def _level(frame: Frame, name: str, row: int) -> Level:
    coded = frame.levels(name)
    return coded.levels[int(coded.codes[row])]


def _rows(rows: Codes) -> str:
    numbers = [str(row + 1) for row in rows.tolist()]
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    return f"rows {_listed(numbers)}"


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:NAMED])
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return (
        " and ".join(part for part in (", ".join([*shown, *more][:-1]), [*shown, *more][-1]) if part) if shown else ""
    )
