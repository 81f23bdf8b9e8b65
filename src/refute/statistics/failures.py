"""Blocks that failed: when they forbid a decision, and how a verdict must survive them.

docs: statistics section 5.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from refute.errors import JudgementError
from refute.statistics.checks import Floats
from refute.statistics.intervals import Sample
from refute.statistics.regions import Region, Tails
from refute.statistics.shares import Count

MOST_FAILED_PERCENT = 10
"""With more failed blocks than this a look decides nothing (docs: statistics section 5, rule 1)."""


class Judged(NamedTuple):
    """Interval and p-values of one look, after the failed blocks had their say."""

    low: float
    high: float
    tails: Tails


def too_many_failed(failed: int, planned: int) -> bool:
    """Whether more than 10 % of the planned blocks failed (docs: statistics section 5, rule 1).

    >>> too_many_failed(2, 20), too_many_failed(3, 20)
    (False, True)
    """
    return 100 * failed > MOST_FAILED_PERCENT * planned


def summary(effects: Floats, quantum: float, share: bool) -> Sample | Count:
    """What the valid blocks say: a `Sample`, or a `Count` for a share claim."""
    return Count.of(effects) if share else Sample.of(effects, quantum)


def surviving(valid: Floats, failed: int, region: Region, level: float, quantum: float, share: bool) -> Judged:
    """Interval and p-values that hold even if the failed blocks went badly.

    Definition: three samples: valid blocks only; failed blocks set to the smallest valid effect; to the largest.
    low = min(valid, smallest), high = max(valid, largest), p_up = max(valid, smallest), p_down = max(valid, largest).
    The events of a share have known extremes, so there failed blocks are set to 0 and to 1.
    docs: statistics section 5, rule 2.

    Args:
        valid: effects of the valid blocks, in the unit of the effect.
        failed: number of planned blocks that failed.
        region: of the claim.
        level: one-sided level of this look.
        quantum: smallest step of the effect.
        share: whether the effects are events.
    """
    alone = summary(valid, quantum, share)
    if failed == 0 or alone.reason is not None:
        return Judged(*alone.limits(level), region.tails(alone.p_above, alone.p_below))
    least, most = (0.0, 1.0) if share else (valid.min(), valid.max())
    downwards = summary(np.append(valid, np.full(failed, least)), quantum, share)
    upwards = summary(np.append(valid, np.full(failed, most)), quantum, share)
    tails = region.tails(
        lambda bound: max(alone.p_above(bound), downwards.p_above(bound)),
        lambda bound: max(alone.p_below(bound), upwards.p_below(bound)),
    )
    low, high = alone.limits(level)
    return Judged(min(low, downwards.limits(level)[0]), max(high, upwards.limits(level)[1]), tails)


def mcnemar(first_failed: ArrayLike, second_failed: ArrayLike) -> float:
    """Exact two-sided p-value that two arms fail equally often, paired by block (McNemar).

    Definition: b blocks failed only in the first arm, c only in the second;
    p = min(1, 2 P(Bin(b+c, 1/2) <= min(b, c))).
    docs: statistics section 5, rule 3 (the page says so when p < .05).

    Args:
        first_failed, second_failed: per planned block whether that arm failed.

    Raises:
        JudgementError: the arms do not have the same blocks.

    >>> mcnemar([True] * 6 + [False] * 4, [False] * 10)
    0.03125
    """
    first, second = np.asarray(first_failed, dtype=bool), np.asarray(second_failed, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise JudgementError(
            f"first_failed and second_failed must be over the same blocks, shapes {first.shape} and {second.shape} came"
        )
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    unequal = only_first + only_second
    return min(1.0, 2 * float(special.bdtr(min(only_first, only_second), unequal, 0.5))) if unequal else 1.0
