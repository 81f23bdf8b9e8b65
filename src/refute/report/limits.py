"""Limits maps: the cells of a claim as a grid, so that one sees where it holds and where it stops."""

from collections.abc import Sequence

from refute.core import CellResult
from refute.report import words
from refute.report.blocks import LimitsMap, MapCell

LEAST_CELLS = 4
"""A map of fewer cells shows less than their list."""


def limits_map(cells: Sequence[CellResult]) -> LimitsMap | None:
    """The map of a claim's cells; None when fewer than two factors vary, or there are few cells.

    The columns are the levels of the varying factor with the most levels (of several, the last), the rows all
    combinations of the others that there are. A place without a planned cell stays empty.
    """
    names = tuple(cells[0].levels) if cells else ()
    levels = {name: tuple(dict.fromkeys(cell.levels[name] for cell in cells)) for name in names}
    varying = [name for name in names if len(levels[name]) > 1]
    if len(varying) < 2 or len(cells) < LEAST_CELLS:
        return None
    across = max(reversed(varying), key=lambda name: len(levels[name]))
    down = [name for name in varying if name != across]
    rows: dict[str, dict[str, MapCell]] = {}
    for cell in cells:
        label = words.levels({name: cell.levels[name] for name in down})
        place = MapCell(verdict=cell.verdict, effect=words.rounded(cell.effect, cell.high - cell.low))
        rows.setdefault(label, {})[words.level(cell.levels[across])] = place
    columns = tuple(words.level(level) for level in levels[across])
    return LimitsMap(
        rows_name=words.listing([words.name_in_words(name) for name in down]),
        columns_name=words.name_in_words(across),
        columns=columns,
        rows=tuple((label, tuple(found.get(column) for column in columns)) for label, found in rows.items()),
    )
