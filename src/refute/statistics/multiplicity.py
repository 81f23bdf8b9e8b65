"""Many p-values at once: Holm for verdicts, Benjamini-Hochberg for the map of many cells.

docs: statistics section 7.
"""

import numpy as np
from numpy.typing import ArrayLike

from refute.errors import JudgementError
from refute.statistics.checks import Floats, valid_effects


def holm(p: ArrayLike) -> Floats:
    """Holm-adjusted p-values, in the order given: below a with family-wise error a, under any dependence.

    Definition: over sorted p, max over j <= i of (K - j + 1) p_(j), at most 1.
    docs: statistics section 7 (Holm, 1979, Scand. J. Statist. 6, 65-70).

    Args:
        p: p-values in [0, 1].

    Raises:
        JudgementError: no p-values, or one outside [0, 1].

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = _p_values(p)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    return _put_back(steps, order)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Benjamini-Hochberg-adjusted p-values, in the order given: below q with false discovery rate q.

    Definition: over sorted p, min over j >= i of K p_(j) / j, at most 1.
    docs: statistics section 7 (Benjamini & Hochberg, 1995, J. R. Statist. Soc. B 57, 289-300).

    Args:
        p: p-values in [0, 1].

    Raises:
        JudgementError: no p-values, or one outside [0, 1].

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    values = _p_values(p)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * values.size / np.arange(1, values.size + 1)
    return _put_back(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _put_back(adjusted: Floats, order: "np.ndarray[tuple[int, ...], np.dtype[np.intp]]") -> Floats:
    result = np.empty_like(adjusted)
    result[order] = np.minimum(adjusted, 1.0)
    return result


def _p_values(p: ArrayLike) -> Floats:
    values = valid_effects(p, "p")
    if values.min() < 0 or values.max() > 1:
        wrong = values[(values < 0) | (values > 1)][0]
        raise JudgementError(f"p must lie in [0, 1], {wrong} came")
    return values
