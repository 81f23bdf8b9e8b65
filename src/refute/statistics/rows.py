"""Correlations and slopes of many blocks at once: one row per block, one column per level.

docs: statistics sections 1 and 4. Each row gives what `spearman`, `kendall` or `slope` give of its used numbers.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refute.errors import JudgementError
from refute.statistics.checks import Floats

Flags = NDArray[np.bool_]
PAIRS = 4_000_000
"""Pairs of numbers that are compared at once; more rows go in groups."""


def spearman_rows(x: Floats, y: Floats, used: Flags) -> Floats:
    """Spearman's rho of every row over its used columns; 0 where all x or all y are tied, NaN below two.

    Definition: twice the centred average rank of a number is how many are smaller minus how many are greater; rho is
    the correlation of these. docs: statistics section 4.

    Args:
        x, y: (row, column), finite wherever `used`.
        used: (row, column), which numbers belong to the row's block.

    Raises:
        JudgementError: shapes that differ, or a used number that is not finite.

    >>> one, flags = np.array([[1.0, 2, 3, 4]]), np.ones((1, 4), bool)
    >>> spearman_rows(one, np.array([[1.0, 3, 2, 4]]), flags).tolist()
    [0.8]
    """

    def rho(above: Floats, below: Floats) -> Floats:
        u, v = above.sum(axis=2), below.sum(axis=2)
        return _correlation((u * v).sum(axis=1), (u * u).sum(axis=1), (v * v).sum(axis=1))

    return _paired(rho, x, y, used)


def kendall_rows(x: Floats, y: Floats, used: Flags) -> Floats:
    """Kendall's tau-b of every row over its used columns; 0 where all x or all y are tied, NaN below two.

    Definition: (concordant - discordant pairs) / sqrt(pairs untied in x * pairs untied in y).

    Args and errors: as for `spearman_rows`.
    """

    def tau(above: Floats, below: Floats) -> Floats:
        total = [(one * other).sum(axis=(1, 2)) for one, other in ((above, below), (above, above), (below, below))]
        return _correlation(*total)

    return _paired(tau, x, y, used)


def slope_rows(x: Floats, y: Floats, used: Flags) -> Floats:
    """Least-squares slope of y over x in every row's used columns; NaN where x does not vary.

    Args and errors: as for `spearman_rows`.

    >>> slope_rows(np.array([[0.0, 1, 2]]), np.array([[1.0, 3, 5]]), np.ones((1, 3), bool)).tolist()
    [2.0]
    """
    _check(x, y, used)
    count = np.maximum(used.sum(axis=1, keepdims=True), 1)
    a, b = np.where(used, x, 0.0), np.where(used, y, 0.0)
    a = np.where(used, a - a.sum(axis=1, keepdims=True) / count, 0.0)
    b = np.where(used, b - b.sum(axis=1, keepdims=True) / count, 0.0)
    low, high = np.where(used, x, np.inf).min(axis=1), np.where(used, x, -np.inf).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(low < high, (a * b).sum(axis=1) / (a * a).sum(axis=1), np.nan)
    return found


def _paired(number: Callable[[Floats, Floats], Floats], x: Floats, y: Floats, used: Flags) -> Floats:
    """`number` of the signs of all differences, (row, column, column), rows in groups."""
    _check(x, y, used)
    found = np.full(len(used), np.nan)
    size = max(1, PAIRS // max(1, used.shape[1] ** 2))
    for start in range(0, len(used), size):
        part = slice(start, start + size)
        both = used[part, :, None] & used[part, None, :]
        found[part] = number(_signs(x[part], both), _signs(y[part], both))
    return np.where(used.sum(axis=1) >= 2, found, np.nan)


def _signs(values: Floats, both: Flags) -> Floats:
    greater, smaller = values[:, :, None] > values[:, None, :], values[:, :, None] < values[:, None, :]
    signs: Floats = ((greater & both).astype(np.int8) - (smaller & both).astype(np.int8)).astype(np.float64)
    return signs


def _correlation(product: Floats, first: Floats, second: Floats) -> Floats:
    spread = np.sqrt(first * second)
    return np.where(spread > 0, product / np.where(spread > 0, spread, 1.0), 0.0)


def _check(x: Floats, y: Floats, used: Flags) -> None:
    if not x.shape == y.shape == used.shape or used.ndim != 2:
        raise JudgementError(f"x, y and used must be (row, column) alike, {x.shape}, {y.shape}, {used.shape} came")
    if not (np.isfinite(x) | ~used).all() or not (np.isfinite(y) | ~used).all():
        raise JudgementError("x and y must be finite wherever used says so")
