"""One digest for the rows of a record, whatever files they lie in and in whatever order."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from refute.core import Results
from refute.records.canonical import content_hash


def rows_digest(keys: Iterable[str], results: Results) -> str:
    """Digest of the results of some trials; those that are not stored are left out.

    Definition: the content hash of the JSON object {trial key: content hash of its row}. A row says the trial's key,
    whether it diverged, its numbers by name, and its curves with coordinates and values; a number that JSON does not
    know is the text NaN, Infinity or -Infinity. A key is itself a hash of phenomenon, version, levels, settings and
    seed, so these are covered.

    Args:
        keys: of the trials, in any order; that of the plan reads each file of a lab once.
        results: by key.
    """
    return content_hash({key: content_hash(_row(key, results)) for key in keys if key in results})


def _row(key: str, results: Results) -> dict[str, Any]:
    result = results[key]
    return {
        "trial": key,
        "diverged": result.diverged,
        "values": {name: _known(value) for name, value in result.values.items()},
        "curves": {
            name: {"coordinates": [_all_known(axis) for axis in curve.coordinates], "values": _all_known(curve.values)}
            for name, curve in result.curves.items()
        },
    }


def _all_known(numbers: Sequence[float]) -> list[float | str]:
    return [number if math.isfinite(number) else _known(number) for number in numbers]


def _known(number: float) -> float | str:
    if math.isfinite(number):
        return float(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
