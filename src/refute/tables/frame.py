"""Columns of a table as the judge reads them: as levels of a factor, or as numbers of one unit."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from refute.core import Level
from refute.errors import JudgementError, UsageError, did_you_mean

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
WITH_UNIT = re.compile(rf"(?P<number>{NUMBER.pattern})\s*(?P<unit>[^\d\s.,+-][^\d]*)?")
EMPTY = frozenset({"", "nan", "na", "n/a", "none", "null", "-"})
"""Text that stands for an empty cell in a column of numbers."""


class Coded(NamedTuple):
    """A column as a factor: per row the position of its level, -1 where the cell is empty."""

    codes: Codes
    levels: tuple[Level, ...]
    """In their order: numbers by size, text with its numbers by size (run2 before run10)."""


class Combinations(NamedTuple):
    """Several columns as one factor: per row the position of its combination."""

    codes: Codes
    levels: tuple[tuple[Level, ...], ...]


@dataclass(frozen=True)
class Frame:
    """A table whose columns are read once, when they are asked for."""

    table: pa.Table
    _coded: dict[str, Coded] = field(default_factory=dict)
    _numbers: dict[str, Floats] = field(default_factory=dict)
    _distinct: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.table.column_names)

    def levels(self, name: str) -> Coded:
        """A column as a factor; numbers that are stored as text count as numbers."""
        if name not in self._coded:
            self._coded[name] = _coded(name, self.table.column(name))
        return self._coded[name]

    def numbers(self, name: str) -> Floats:
        """A column as numbers, NaN where the cell is empty.

        Raises:
            JudgementError: a cell holds text, or the cells have different units.
        """
        if name not in self._numbers:
            self._numbers[name] = _numbers(name, self.table.column(name))
        return self._numbers[name]

    def distinct(self, name: str) -> int:
        """How many different values a column has, counted without reading it as a factor."""
        if name not in self._distinct:
            try:
                self._distinct[name] = int(pyarrow.compute.count_distinct(self.table.column(name)).as_py())
            except pa.ArrowNotImplementedError:
                self._distinct[name] = self.rows
        return self._distinct[name]

    def combinations(self, names: Sequence[str], rows: Codes) -> Combinations:
        """The combinations of levels that occur in some rows, in the order of the columns' levels."""
        codes, levels = np.zeros(rows.size, dtype=np.int64), ((),)
        found: tuple[tuple[Level, ...], ...] = levels
        for name in names:
            column = self.levels(name)
            size = max(1, len(column.levels))
            present, codes = np.unique(codes * size + column.codes[rows], return_inverse=True)
            found = tuple((*found[code // size], column.levels[code % size]) for code in present.tolist())
        return Combinations(codes, found)

    def level(self, name: str, wanted: Level) -> Level:
        """The level of a column that a text or number means.

        Raises:
            UsageError: there is no such level; names the nearest.
        """
        levels = self.levels(name).levels
        number = _number(str(wanted))
        for level in levels:
            if level == wanted or str(level) == str(wanted):
                return level
            if isinstance(level, bool) and str(level).casefold() == str(wanted).casefold():
                return level
            if (
                number is not None
                and isinstance(level, int | float)
                and not isinstance(level, bool)
                and level == number
            ):
                return level
        raise UsageError(
            f"column '{name}' has no level '{wanted}'; {did_you_mean(str(wanted), [str(v) for v in levels])}"
        )

    def without_copies(self) -> "Frame":
        """The table without rows that repeat an earlier one in every column."""
        rows = np.arange(self.rows)
        codes = np.zeros(self.rows, dtype=np.int64)
        for name in self.columns:
            column = self.levels(name)
            _, codes = np.unique(codes * (len(column.levels) + 1) + column.codes + 1, return_inverse=True)
        _, first = np.unique(codes, return_index=True)
        return self if first.size == rows.size else Frame(self.table.take(np.sort(first)))


def natural(level: Level) -> tuple[int, Any]:
    """Sort key: numbers by size, then text with the numbers inside it by size."""
    if isinstance(level, str):
        return 1, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", level)]
    return 0, level


def _coded(name: str, column: pa.ChunkedArray) -> Coded:
    try:
        encoded = column.combine_chunks().dictionary_encode()
    except (pa.ArrowException, NotImplementedError) as error:
        raise JudgementError(f"column '{name}' holds {column.type}; expected numbers or text") from error
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    raw = encoded.dictionary.to_pylist() if pa.types.is_dictionary(encoded.type) else []
    values = _one_type([_level(value) for value in raw])
    ordered = sorted({value for value in values if value is not None}, key=natural)
    position = {level: code for code, level in enumerate(ordered)}
    lookup = np.asarray([-1 if value is None else position[value] for value in values] + [-1], dtype=np.int64)
    if not raw:
        return Coded(np.full(len(column), -1, dtype=np.int64), ())
    indices = pyarrow.compute.fill_null(encoded.indices, len(raw)).to_numpy(zero_copy_only=False)
    return Coded(lookup[indices.astype(np.int64)], tuple(ordered))


def _level(value: Any) -> Level | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value.strip() or None
    return value if isinstance(value, bool | int | float) else str(value)


def _one_type(values: list[Level | None]) -> list[Level | None]:
    """Text that is a number everywhere becomes numbers, and numbers that are whole everywhere become integers."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        numbers = [None if value is None else _number(str(value)) for value in values]
        if any(number is None and value is not None for number, value in zip(numbers, values, strict=True)):
            return values
        values, present = list(numbers), [number for number in numbers if number is not None]
    if present and all(isinstance(value, float) and value.is_integer() for value in present):
        return [None if value is None else int(value) for value in values]
    return values


def _number(text: str) -> float | None:
    stripped = text.strip()
    return float(stripped) if NUMBER.fullmatch(stripped) else None


def _numbers(name: str, column: pa.ChunkedArray) -> Floats:
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), math.nan)
    if pa.types.is_string(kind):
        return _parsed(name, column)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    if not (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        raise JudgementError(f"column '{name}' must hold numbers, {kind} came")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _parsed(name: str, column: pa.ChunkedArray) -> Floats:
    """Numbers from text such as "0.93" or "93 %", all of one unit."""
    texts = column.to_pylist()
    known = {text: _with_unit(text) for text in dict.fromkeys(texts)}
    wrong = next((text for text, found in known.items() if found is None), None)
    if wrong is not None:
        raise JudgementError(
            f"column '{name}' must hold numbers, '{wrong}' came in row {texts.index(wrong) + 1}; "
            "leave the cell empty where a run failed"
        )
    counted = Counter(found[1] for text in texts if (found := known[text]) is not None and not math.isnan(found[0]))
    if len(counted) > 1:
        parts = " and ".join(
            f"{count} in '{unit}'" if unit else f"{count} without unit" for unit, count in counted.items()
        )
        raise JudgementError(f"column '{name}' mixes units: {parts}; write all numbers in one unit")
    return np.asarray([math.nan if (found := known[text]) is None else found[0] for text in texts])


def _with_unit(text: str | None) -> tuple[float, str] | None:
    if text is None or text.strip().casefold() in EMPTY:
        return math.nan, ""
    if text.strip().casefold().lstrip("+-") in ("inf", "infinity"):
        return math.inf, ""
    match = WITH_UNIT.fullmatch(text.strip())
    return (float(match["number"]), (match["unit"] or "").strip()) if match else None
