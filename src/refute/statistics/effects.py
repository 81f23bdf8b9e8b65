"""From the numbers of one block to its one effect.

docs: statistics section 1 (one number per block) and section 4 (correlations).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from refute.errors import JudgementError
from refute.statistics.checks import Floats, paired, valid_effects


def difference(first: ArrayLike, second: ArrayLike) -> float:
    """Mean of the first arm minus mean of the second, inside one block.

    Definition: mean(a) - mean(b). docs: statistics section 1.

    Args:
        first, second: one number or several of each arm, in the same unit.

    Raises:
        JudgementError: no numbers, or one that is not finite.

    >>> difference(3.0, [1.0, 2.0])
    1.5
    """
    return float(_numbers(first, "first").mean() - _numbers(second, "second").mean())


def log_ratio(first: ArrayLike, second: ArrayLike) -> float:
    """Natural logarithm of first over second, for positive quantities over orders of magnitude.

    Definition: mean(ln a) - mean(ln b). docs: statistics section 1.

    Args:
        first, second: one positive number or several of each arm, in the same unit.

    Raises:
        JudgementError: no numbers, or one that is not finite and positive.

    >>> round(log_ratio(2.0, 1.0), 4)
    0.6931
    """
    a, b = _numbers(first, "first"), _numbers(second, "second")
    least = min(a.min(), b.min())
    if least <= 0:
        raise JudgementError(f"first and second of a log ratio must be positive, {least} came")
    return float(np.log(a).mean() - np.log(b).mean())


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Least-squares slope of y over x inside one block; NaN (a failed block) when x does not vary.

    Definition: sum((x - mean x)(y - mean y)) / sum((x - mean x)^2). docs: statistics section 1.

    Args:
        x, y: equally many numbers, at least two.

    Raises:
        JudgementError: lengths that differ, fewer than two numbers, or one that is not finite.

    >>> slope([0, 1, 2], [1, 3, 5])
    2.0
    """
    a, b = paired(x, y, 2)
    if a.min() == a.max():
        return math.nan
    centred = a - a.mean()
    return float(centred @ (b - b.mean()) / (centred @ centred))


def average_ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, ties sharing their average.

    >>> average_ranks([10, 30, 10, 20]).tolist()
    [1.5, 4.0, 1.5, 3.0]
    """
    _, inverse, counts = np.unique(valid_effects(values, "values"), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Raw Spearman rank correlation inside one block; 0 when all x or all y are tied.

    Definition: Pearson correlation of the average ranks. docs: statistics section 4 (no Fisher z).

    Args:
        x, y: equally many numbers, one per level of the factor, at least two.

    Raises:
        JudgementError: lengths that differ, fewer than two numbers, or one that is not finite.

    >>> spearman([1, 2, 3, 4], [1, 3, 2, 4])
    0.8
    """
    a, b = paired(x, y, 2)
    # Twice the centred ranks are whole numbers, so the sums are exact and rho of a perfect order is exactly 1.
    u, v = 2 * average_ranks(a) - (a.size + 1), 2 * average_ranks(b) - (a.size + 1)
    spread = math.sqrt(float(u @ u) * float(v @ v))
    return float(u @ v) / spread if spread > 0 else 0.0


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b inside one block; 0 when all x or all y are tied.

    Definition: (concordant - discordant pairs) / sqrt(pairs untied in x * pairs untied in y).
    docs: statistics section 4 (judged like Spearman's rho).

    Args:
        x, y: equally many numbers, one per level of the factor, at least two.

    Raises:
        JudgementError: lengths that differ, fewer than two numbers, or one that is not finite.

    >>> round(kendall([1, 2, 3, 4], [1, 3, 2, 4]), 4)
    0.6667
    """
    a, b = paired(x, y, 2)
    upper = np.triu_indices(a.size, 1)
    u, v = np.sign(a[upper[0]] - a[upper[1]]), np.sign(b[upper[0]] - b[upper[1]])
    spread = math.sqrt(float(u @ u) * float(v @ v))
    return float(u @ v) / spread if spread > 0 else 0.0


def spearman_quantum(levels: int) -> float:
    """Smallest step of Spearman's rho over k untied levels.

    Definition: 12 / (k (k^2 - 1)). docs: statistics section 1.

    >>> round(1 / spearman_quantum(7))
    28
    """
    _check_levels(levels)
    return 12 / (levels * (levels**2 - 1))


def kendall_quantum(levels: int) -> float:
    """Smallest step of Kendall's tau over k untied levels: one swapped pair.

    Definition: 4 / (k (k - 1)). docs: statistics section 1.

    >>> kendall_quantum(5)
    0.2
    """
    _check_levels(levels)
    return 4 / (levels * (levels - 1))


def rise_and_fall(values: ArrayLike) -> float:
    """How far an ordered curve rises above both of its ends; 0 when it is highest at an end.

    Definition: max(y) - max(y_1, y_k). docs: statistics section 1.

    Args:
        values: the curve in the order of its levels, in the unit of y.

    Raises:
        JudgementError: no values, or one that is not finite.

    >>> rise_and_fall([0.2, 0.5, 0.3])
    0.2
    """
    y = valid_effects(values, "values")
    return float(y.max() - max(y[0], y[-1]))


def _numbers(values: ArrayLike, name: str) -> Floats:
    return valid_effects(np.atleast_1d(np.asarray(values, dtype=np.float64)), name)


def _check_levels(levels: int) -> None:
    if levels < 2:
        raise JudgementError(f"levels of a rank correlation must be at least 2, {levels} came")
