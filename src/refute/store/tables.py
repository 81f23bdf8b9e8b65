"""Results as rows: one row per number, one per point of a curve."""

import json
import math
from collections.abc import Iterable, Sequence

import pyarrow as pa

from refute.core import Curve, Result, Trial

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


def to_table(trials: Sequence[Trial], results: Iterable[Result]) -> pa.Table:
    """Rows of some trials; `results` may come in any order, one for each trial."""
    by_key = {result.key: result for result in results}
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for trial in trials:
        result = by_key[trial.key]
        rows = [(name, None, None, value) for name, value in result.values.items()]
        for name, curve in result.curves.items():
            rows += [
                (name, point[0], point[1] if len(point) > 1 else None, value)  # type: ignore[misc]
                for point, value in curve.points()
            ]
        count = len(rows)
        columns["trial"] += [trial.key] * count
        columns["phenomenon"] += [trial.phenomenon] * count
        columns["version"] += [trial.version] * count
        columns["levels"] += [json.dumps(dict(trial.levels), sort_keys=True)] * count
        columns["settings"] += [json.dumps(dict(trial.settings), sort_keys=True)] * count
        columns["block"] += [trial.block] * count
        columns["seed"] += [trial.seed] * count
        columns["diverged"] += [result.diverged] * count
        for name, values in zip(("quantity", "axis0", "axis1", "value"), zip(*rows, strict=True), strict=True):
            columns[name] += values
    return pa.table(columns, schema=SCHEMA)


def from_table(table: pa.Table) -> dict[str, Result]:
    """Results by trial key; the rows of one trial keep their order."""
    wanted = table.select(["trial", "diverged", "quantity", "axis0", "axis1", "value"])
    values: dict[str, dict[str, float]] = {}
    points: dict[str, dict[str, list[tuple[float | None, float | None, float]]]] = {}
    diverged: dict[str, bool] = {}
    for key, is_diverged, quantity, axis0, axis1, value in zip(
        *(column.to_pylist() for column in wanted.columns), strict=True
    ):
        diverged[key] = is_diverged
        number = math.nan if value is None else value
        if axis0 is None:
            values.setdefault(key, {})[quantity] = number
        else:
            points.setdefault(key, {}).setdefault(quantity, []).append((axis0, axis1, number))
    return {
        key: Result(
            key,
            diverged[key],
            values.get(key, {}),
            {quantity: _curve(rows) for quantity, rows in points.get(key, {}).items()},
        )
        for key in diverged
    }


def _curve(rows: Sequence[tuple[float | None, float | None, float]]) -> Curve:
    first = tuple(dict.fromkeys(row[0] for row in rows))
    second = tuple(dict.fromkeys(row[1] for row in rows))
    axes = (first,) if second == (None,) else (first, second)
    return Curve(axes, tuple(row[2] for row in rows))  # type: ignore[arg-type]
