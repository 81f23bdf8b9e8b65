"""Shares of blocks in which an event happens: exact intervals and p-values (Clopper-Pearson).

docs: statistics section 4, "Share".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from refute.errors import DefinitionError
from refute.statistics.checks import Floats, check_events, check_level, valid_effects
from refute.statistics.intervals import CellInterval
from refute.statistics.looks import look_levels
from refute.statistics.regions import Region

NO_BLOCKS = "no valid block"


@dataclass(frozen=True)
class Count:
    """The valid blocks of a share claim: x events in n blocks; answers the same questions as a `Sample`."""

    n: int
    events: int

    floored = False
    """An exact interval needs no floor."""

    @classmethod
    def of(cls, events: Floats) -> "Count":
        """Count the events of the valid blocks (1 = it happened, 0 = it did not)."""
        return cls(events.size, int(events.sum()))

    @property
    def reason(self) -> str | None:
        return None if self.n else NO_BLOCKS

    @property
    def mean(self) -> float:
        return self.events / self.n if self.n else math.nan

    @property
    def sd(self) -> float:
        """Standard deviation of the events (n-1)."""
        return math.sqrt(self.n * self.mean * (1 - self.mean) / (self.n - 1)) if self.n > 1 else math.nan

    @property
    def skewness(self) -> float:
        """Not used: the exact interval needs no correction."""
        return math.nan

    def limits(self, level: float) -> tuple[float, float]:
        """Beta^-1(a; x, n-x+1) and Beta^-1(1-a; x+1, n-x); 0 and 1 at the ends, NaN without blocks."""
        x, n = self.events, self.n
        if n == 0:
            return math.nan, math.nan
        low = float(special.betaincinv(x, n - x + 1, level)) if x > 0 else 0.0
        high = float(special.betainccinv(x + 1, n - x, level)) if x < n else 1.0
        return low, high

    def p_above(self, bound: float) -> float:
        """P(X >= x) under Bin(n, bound)."""
        return float(special.betainc(self.events, self.n - self.events + 1, bound)) if self.events > 0 else 1.0

    def p_below(self, bound: float) -> float:
        """P(X <= x) under Bin(n, bound)."""
        x, n = self.events, self.n
        return float(special.betainc(n - x, x + 1, 1 - bound)) if x < n else 1.0


def share_interval(events: ArrayLike, *, level: float) -> CellInterval:
    """The exact interval of the share of blocks in which an event happens (Clopper-Pearson).

    docs: statistics section 4, "Share" (Clopper & Pearson, 1934, Biometrika 26, 404-413).

    Args:
        events: per valid block 1 if the event happened, else 0.
        level: one-sided level a; the interval has confidence of at least 1 - 2a.

    Raises:
        JudgementError: no events, or a value other than 0 and 1.
        UsageError: a level outside (0, 0.5).

    >>> interval = share_interval([1] * 20, level=0.0125)
    >>> interval.mean, round(interval.low, 5), interval.high
    (1.0, 0.80324, 1.0)
    """
    count = Count.of(check_events(valid_effects(events, "events")))
    low, high = count.limits(check_level(level))
    return CellInterval(count.n, count.mean, count.sd, count.skewness, low, high)


def check_share_region(region: Region) -> None:
    """A share lies in [0, 1], and "within" says nothing about it."""
    if region.kind == "within" or not 0 <= region.bound <= 1:
        raise DefinitionError(f"region of a share must be at_least or at_most a bound in [0, 1], {region} came")


def share_blocks_needed(region: Region, looks: Sequence[int]) -> int | None:
    """The number of blocks a bound on a share needs before any outcome could support it; None when the looks do.

    Definition: n events in n blocks support at most a^(1/n), so n = ceil(ln(a_L) / ln(p0)) with a_L the level of the
    last look (at most: 1 - p0). A bound of 1 (at most: 0) needs infinitely many, given as 0.
    docs: statistics section 4, "Share".

    Args:
        region: at_least or at_most a bound in [0, 1].
        looks: planned looks, in blocks.

    >>> share_blocks_needed(Region("at_least", 0.95), (5, 10, 20, 40))
    72
    >>> share_blocks_needed(Region("at_least", 0.9), (5, 10, 20, 40)) is None
    True
    """
    check_share_region(region)
    p0 = region.bound if region.kind == "at_least" else 1 - region.bound
    levels = look_levels(looks)
    if p0 < max(float(np.power(level, 1 / look)) for level, look in zip(levels, looks, strict=True)):
        return None
    return math.ceil(math.log(levels[-1]) / math.log(p0)) if p0 < 1 else 0
