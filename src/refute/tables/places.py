"""Where the rows of a claim stand: by unit (cell and block) and by slot (arm, or level along a factor)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refute.core import Level
from refute.tables.frame import Codes, Floats

Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The rows of a claim; flags and values have the shape (unit, slot)."""

    unit_cell: Codes
    """Per unit the position of its cell in `cells`."""
    unit_block: Codes
    """Per unit the position of its block among the levels of the block column."""
    cells: tuple[tuple[Level, ...], ...]
    slots: tuple[str, ...]
    """In words, for messages."""
    present: Flags
    """There is a row."""
    kept: Flags
    """It meets the claim's `keep`."""
    valid: Flags
    """It meets the claim's validity filter `where`."""
    values: dict[str, Floats]
    """Quantity -> its numbers, NaN where empty or absent."""
