"""Results as rows: one row per number, one per point of a curve.

A scalar has no coordinates (axis0 and axis1 are null), a point of a curve has one or two. A trial without any number,
which can happen when it diverged, keeps one row whose quantity is null.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from refute.core import Curve, Result, Trial
from refute.errors import StoreError

SCHEMA = pa.schema(
    [
        ("trial", pa.string()),
        ("phenomenon", pa.string()),
        ("version", pa.int32()),
        ("levels", pa.string()),
        ("settings", pa.string()),
        ("block", pa.int64()),
        ("seed", pa.int64()),
        ("diverged", pa.bool_()),
        ("quantity", pa.string()),
        ("axis0", pa.float64()),
        ("axis1", pa.float64()),
        ("value", pa.float64()),
    ]
)
READ = ["trial", "diverged", "quantity", "axis0", "axis1", "value"]
"""The columns that a `Result` is made of."""

Row = tuple[str | None, float | None, float | None, float | None]
Coordinates = tuple[tuple[float, ...], ...]


def to_table(trials: Sequence[Trial], results: Iterable[Result]) -> pa.Table:
    """Rows of some trials; `results` may come in any order, one for each trial.

    Raises:
        StoreError: results are not those of the trials, or a curve has no points.
    """
    by_key = {result.key: result for result in results}
    strange = by_key.keys() ^ {trial.key for trial in trials}
    if strange:
        raise StoreError(f"expected one result for each of {len(trials)} trials, but {min(strange)} has no counterpart")
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for trial in trials:
        result = by_key[trial.key]
        rows = list(_rows(result)) or [(None, None, None, None)]
        once = {
            "trial": trial.key,
            "phenomenon": trial.phenomenon,
            "version": trial.version,
            "levels": json.dumps(dict(trial.levels), sort_keys=True),
            "settings": json.dumps(dict(trial.settings), sort_keys=True),
            "block": trial.block,
            "seed": trial.seed,
            "diverged": result.diverged,
        }
        for name, constant in once.items():
            columns[name] += [constant] * len(rows)
        for name, values in zip(("quantity", "axis0", "axis1", "value"), zip(*rows, strict=True), strict=True):
            columns[name] += values
    return pa.table(columns, schema=SCHEMA)


def from_table(table: pa.Table) -> dict[str, Result]:
    """Results by trial key, each number as it was stored; NaN stays NaN."""
    values: dict[str, dict[str, float]] = {}
    curves: dict[str, dict[str, Curve]] = {}
    diverged: dict[str, bool] = {}
    trials, quantities = _coded(table.column("trial")), _coded(table.column("quantity"))
    is_curve = table.column("axis0").is_valid().to_numpy()
    has_second = table.column("axis1").is_valid().to_numpy()
    first, second, numbers = (table.column(name).to_numpy() for name in ("axis0", "axis1", "value"))
    flags = table.column("diverged").to_numpy()
    known: dict[tuple[bytes, bytes], Coordinates] = {}
    for start, stop in _runs(trials.codes, quantities.codes, is_curve):
        key, quantity = trials.names[trials.codes[start]], quantities.names[quantities.codes[start]]
        assert key is not None
        diverged[key] = bool(flags[start])
        if quantity is None:
            continue
        if not is_curve[start]:
            values.setdefault(key, {})[quantity] = float(numbers[start])
            continue
        axes = first[start:stop], (second[start:stop] if has_second[start] else np.empty(0))
        name = axes[0].tobytes(), axes[1].tobytes()
        if name not in known:
            known[name] = _coordinates(*axes)
        curves.setdefault(key, {})[quantity] = Curve(known[name], tuple(numbers[start:stop].tolist()))
    return {key: Result(key, flag, values.get(key, {}), curves.get(key, {})) for key, flag in diverged.items()}


def _rows(result: Result) -> Iterator[Row]:
    for name, value in result.values.items():
        yield name, None, None, value
    for name, curve in result.curves.items():
        if not curve.values:
            raise StoreError(f"trial {result.key}, quantity '{name}': expected a curve, one without points came")
        for point, value in curve.points():
            yield name, point[0], point[1] if len(point) > 1 else None, value


class _Codes(NamedTuple):
    """A text column as whole numbers and the texts that they stand for."""

    codes: Any
    names: list[str | None]


def _coded(column: Any) -> _Codes:
    encoded = pa.chunked_array(column, type=pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    return _Codes(encoded.indices.to_numpy(), encoded.dictionary.to_pylist())


def _runs(*columns: Any) -> Iterator[tuple[int, int]]:
    """First row and last row + 1 of every stretch in which no column changes."""
    if len(columns[0]) == 0:
        return
    changes = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(columns[0])]
    yield from itertools.pairwise(cuts)


def _coordinates(first: Any, second: Any) -> Coordinates:
    """Coordinates of each axis from those of all points, row-major; they may repeat.

    A row is the shortest stretch of points after which the second coordinates repeat while the first has stood still.
    """
    if len(second) == 0:
        return (tuple(first.tolist()),)
    count = len(first)
    for width in (width for width in range(1, count + 1) if count % width == 0):
        rows, columns = first.reshape(-1, width), second.reshape(-1, width)
        if _same(rows, rows[:, :1]) and _same(columns, columns[:1]):
            return tuple(rows[:, 0].tolist()), tuple(columns[0].tolist())
    raise StoreError(f"{count} points of a curve with two axes form no grid")


def _same(a: Any, b: Any) -> bool:
    return bool(np.all((a == b) | (np.isnan(a) & np.isnan(b))))
