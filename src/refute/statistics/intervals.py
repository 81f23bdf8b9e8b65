"""One cell at one look: mean, spread and skewness of the blocks, and the hull of the t and Hall's skewness-corrected t.

docs: statistics section 2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from refute.statistics.checks import Floats, check_level, check_quantum, valid_effects

LEAST_BLOCKS = 3
"""Fewer valid blocks have no interval (docs: statistics section 2)."""

SYMMETRIC = 1e-8
"""Below this skewness Hall's correction is the identity (docs: statistics section 2)."""

ROUNDING = 1e-12
"""Effects whose range is below this share of the largest differ by float64 rounding only: a difference of two
quantities loses four digits when it is 1e-4 of them."""

IDENTICAL = "all blocks identical: does the seed reach the computation?"
TOO_FEW = "fewer than 3 valid blocks"


@dataclass(frozen=True)
class CellInterval:
    """The interval of one cell at one one-sided level; `low` and `high` are NaN when there is a `reason`."""

    n: int
    mean: float
    sd: float
    skewness: float
    low: float
    high: float
    reason: str | None = None


@dataclass(frozen=True)
class Sample:
    """The valid blocks of a cell, reduced to what section 2 needs: n, m, s (n-1, floored) and adjusted skewness g."""

    n: int
    mean: float
    sd: float
    skewness: float
    floored: bool
    reason: str | None

    @classmethod
    def of(cls, effects: Floats, quantum: float = 0.0) -> "Sample":
        """Reduce the effects of the valid blocks.

        Definition: g = sqrt(n(n-1))/(n-2) * m3/m2^1.5; if s < q/2 then s = q/2 and g = 0. docs: statistics section 2.
        """
        n = effects.size
        if n == 0:
            return cls(0, math.nan, math.nan, math.nan, False, TOO_FEW)
        mean = float(effects.mean())
        # Rounding must not make identical blocks look different.
        least, most = float(effects.min()), float(effects.max())
        sd = 0.0 if most - least <= ROUNDING * max(abs(least), abs(most)) else float(effects.std(ddof=1))
        if n < LEAST_BLOCKS:
            return cls(n, mean, sd if n > 1 else math.nan, math.nan, False, TOO_FEW)
        if sd < quantum / 2:
            return cls(n, mean, quantum / 2, 0.0, True, None)
        if sd == 0:
            return cls(n, mean, 0.0, 0.0, False, IDENTICAL)
        z = (effects - mean) / sd
        square = z * z
        # Products instead of powers: this runs for every look of every cell.
        skewness = math.sqrt(n * (n - 1)) / (n - 2) * float((square * z).mean()) / float(square.mean()) ** 1.5
        return cls(n, mean, sd, skewness, False, None)

    def limits(self, level: float) -> tuple[float, float]:
        """Lower and upper limit of the hull at a one-sided level; NaN when there is no interval."""
        if self.reason is not None:
            return math.nan, math.nan
        c = -float(special.stdtrit(self.n - 1, level)) / math.sqrt(self.n)
        low = self.mean - self.sd * max(c, self._hall(c))
        high = self.mean - self.sd * min(-c, self._hall(-c))
        return low, high

    def p_above(self, bound: float) -> float:
        """p-value of "the true mean is above the bound", p_up; 1 without an interval (docs: statistics section 2)."""
        if self.reason is not None:
            return 1.0
        t, h = self._studentized(bound)
        return float(special.stdtr(self.n - 1, -math.sqrt(self.n) * min(t, h)))

    def p_below(self, bound: float) -> float:
        """p-value of "the true mean is below the bound", p_down; 1 without an interval (docs: statistics section 2)."""
        if self.reason is not None:
            return 1.0
        t, h = self._studentized(bound)
        return float(special.stdtr(self.n - 1, math.sqrt(self.n) * max(t, h)))

    def _hall(self, u: float) -> float:
        """H(u) = (3/g)(cbrt(1 + g(u - g/(6n))) - 1)."""
        g = self.skewness
        if abs(g) < SYMMETRIC:
            return u
        return 3 / g * (float(np.cbrt(1 + g * (u - g / (6 * self.n)))) - 1)

    def _studentized(self, bound: float) -> tuple[float, float]:
        """T = (m - delta)/s and h = T + g T^2/3 + g^2 T^3/27 + g/(6n), the inverse of H."""
        t = (self.mean - bound) / self.sd
        g = self.skewness
        if abs(g) < SYMMETRIC:
            return t, t
        return t, t + g * t * t / 3 + g * g * t * t * t / 27 + g / (6 * self.n)


def hull_interval(effects: ArrayLike, *, level: float, quantum: float = 0.0) -> CellInterval:
    """The interval of one cell: the hull of the t interval and Hall's skewness-corrected t interval.

    Definition: with c = t(1-a; n-1)/sqrt(n) and H(u) = (3/g)(cbrt(1 + g(u - g/(6n))) - 1),
    low = min(m - c s, m - s H(c)) and high = max(m + c s, m - s H(-c)).
    docs: statistics section 2 (Hall, 1992, J. R. Statist. Soc. B 54, 221-228).

    Args:
        effects: one finite number per valid block, in the unit of the effect.
        level: one-sided level a; the interval has confidence 1 - 2a.
        quantum: smallest possible step of the effect, 0 when continuous.

    Raises:
        JudgementError: no effects, or one that is not finite.
        UsageError, DefinitionError: a level or quantum that makes no sense.

    >>> interval = hull_interval([0.065, 0.09, 0.078, 0.043, 0.103], level=0.0125)
    >>> round(interval.low, 7), round(interval.high, 6)
    (0.0231804, 0.111947)
    """
    sample = Sample.of(valid_effects(effects), check_quantum(quantum))
    low, high = sample.limits(check_level(level))
    return CellInterval(sample.n, sample.mean, sample.sd, sample.skewness, low, high, sample.reason)
