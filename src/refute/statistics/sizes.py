"""Sizes to print beside a verdict, never compared with the bound: Hedges' g, superiority, seeds still needed.

docs: statistics section 8; seeds still needed: section 3.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from refute.errors import JudgementError
from refute.statistics.checks import Floats, valid_effects
from refute.statistics.intervals import LEAST_BLOCKS
from refute.statistics.regions import Region

TAIL = 0.025
"""Each side of the 95 % intervals of this file (docs: statistics section 8)."""

Z = float(special.ndtri(1 - TAIL))

POWER_Z = 0.84
"""Normal quantile of power .8 (docs: statistics section 3, seeds still needed)."""

NODES = 160
"""Gauss-Legendre nodes: the integrands are smooth on this scale (agrees with brute force to 1e-9)."""


REACH = 9.0
"""Where a standard normal is cut off."""


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def hedges_correction(n: int) -> float:
    """The factor that takes the small-sample bias off m/s.

    Definition: J = Gamma((n-1)/2) / (Gamma((n-2)/2) sqrt((n-1)/2)). docs: statistics section 8.

    >>> [round(hedges_correction(n), 3) for n in (5, 10, 20, 40)]
    [0.798, 0.914, 0.96, 0.981]
    """
    return math.exp(math.lgamma((n - 1) / 2) - math.lgamma((n - 2) / 2)) / math.sqrt((n - 1) / 2)


def hedges_g(mean: float, sd: float, n: int) -> Estimate:
    """Standardized mean of the blocks, corrected for small samples, with its 95 % interval.

    Definition: g = J m/s; limits: J/sqrt(n) times the noncentralities d with P(t' <= sqrt(n) m/s | d) = .975, .025.
    docs: statistics section 8.

    Args:
        mean, sd: of the valid blocks, in the unit of the effect; the sd is not floored.
        n: valid blocks, at least 3.

    Raises:
        JudgementError: fewer than 3 blocks, or an sd that is not positive.

    >>> [round(number, 4) for number in hedges_g(0.0758, 0.0231236, 5)]
    [2.6155, 0.743, 4.4814]
    """
    if n < LEAST_BLOCKS or not sd > 0:
        raise JudgementError(f"Hedges' g needs at least {LEAST_BLOCKS} blocks and a positive sd, n={n}, sd={sd} came")
    factor = hedges_correction(n)
    standardized = mean / sd
    low, high = noncentrality_limits(math.sqrt(n) * standardized, n - 1)
    return Estimate(factor * standardized, factor * low / math.sqrt(n), factor * high / math.sqrt(n))


def noncentral_t_cdf(t: float, df: int, noncentrality: Floats) -> tuple[Floats, Floats]:
    """P(t' <= t | d) and minus its derivative in d, for each noncentrality d.

    Definition: with x = sqrt(chi2_v / v) independent of a standard normal z, t' = (z + d)/x, so
    P = E_x[Phi(t x - d)] = E_z[P(x >= (d + z)/t)] (t > 0). The first is smooth in x for small t, the second in z for
    large t. docs: statistics section 8 (the usual series fails far out).
    """
    d = noncentrality[:, None]
    x, weights = _chi_nodes(df)
    if abs(t) < math.sqrt(2 * df):
        shifted = t * x - d
        return special.ndtr(shifted) @ weights, np.exp(-shifted * shifted / 2) @ weights / math.sqrt(2 * math.pi)
    # A negative t mirrors: P(t' <= t | d) = 1 - P(t' <= -t | -d). Where d + z < 0 the probability is 1: that part is
    # in closed form, and the rest is smooth.
    d = math.copysign(1.0, t) * d
    edge = np.clip(-d, -REACH, REACH)
    nodes, legendre = _legendre()
    z = edge + (REACH - edge) * (nodes + 1) / 2
    normal = legendre * np.exp(-z * z / 2) * (REACH - edge) / (2 * math.sqrt(2 * math.pi))
    ratio = np.maximum((d + z) / abs(t), 0.0)
    inside = special.chdtrc(df, df * ratio * ratio) * normal
    cdf = special.ndtr(edge[:, 0]) + inside.sum(axis=1)
    # Integration by parts: d/dd E[S(d + z)] = E[z S(d + z)].
    density = np.exp(-(edge[:, 0] ** 2) / 2) / math.sqrt(2 * math.pi) - (z * inside).sum(axis=1)
    return (cdf, density) if t > 0 else (1 - cdf, density)


def noncentrality_limits(t: float, df: int) -> tuple[float, float]:
    """The noncentralities d with P(t' <= t | d) = .975 and .025: a 95 % interval for d (docs: statistics section 8).

    Newton's method on the normal scale, where the distribution function is nearly a straight line in d.
    """
    target = np.array([Z, -Z])
    d = t - target * math.sqrt(1 + t * t / (2 * df))
    for _ in range(50):
        cdf, density = noncentral_t_cdf(t, df, d)
        probit = special.ndtri(np.clip(cdf, 1e-12, 1 - 1e-12))
        step = (probit - target) * np.exp(-probit * probit / 2) / math.sqrt(2 * math.pi) / np.maximum(density, 1e-300)
        # A step of more than two standard errors would leave the region where the line is a good guide.
        limit = 2 * math.sqrt(1 + t * t / (2 * df))
        step = np.clip(step, -limit, limit)
        d = d + step
        if bool((np.abs(step) <= 1e-10 * (1 + np.abs(d))).all()):
            break
    return float(d[0]), float(d[1])


def superiority(effects: ArrayLike) -> Estimate:
    """Share of blocks with a positive effect, half for ties, with its 95 % Wilson interval.

    docs: statistics section 8 (Wilson, 1927, J. Am. Statist. Assoc. 22, 209-212).

    Args:
        effects: one finite number per valid block.

    Raises:
        JudgementError: no effects, or one that is not finite.

    >>> [round(number, 3) for number in superiority([1, 2, 0, -1])]
    [0.625, 0.219, 0.908]
    """
    array = valid_effects(effects)
    n = array.size
    share = float((array > 0).sum() + 0.5 * (array == 0).sum()) / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def beyond(effects: ArrayLike, region: Region) -> float:
    """Share of blocks whose own effect lies in the claim's region, the bound included (docs: statistics section 8).

    >>> beyond([0.01, 0.02, 0.05, 0.07], Region("at_least", 0.02))
    0.75
    """
    array = valid_effects(effects)
    return sum(region.contains(effect) for effect in array.tolist()) / array.size


def seeds_needed(mean: float, sd: float, n: int, region: Region, looks: Sequence[int], planned: int) -> int | None:
    """A rough guess how many blocks would decide an inconclusive cell; None when nothing can be said.

    Definition: ((t(.975; n-1) + 0.84) s / |m - delta|)^2, rounded up to the next planned look after the present one.
    docs: statistics section 3, "Seeds still needed".

    Args:
        mean, sd, n: of the valid blocks.
        region: of the claim.
        looks: planned looks, in blocks.
        planned: blocks planned at the present look.

    >>> seeds_needed(0.0332, 0.010663, 5, Region("at_least", 0.02), (5, 10, 20), 5)
    10
    """
    distance = region.distance(mean)
    if n < 2 or not distance > 0 or not sd > 0:
        return None
    guess = ((-float(special.stdtrit(n - 1, TAIL)) + POWER_Z) * sd / distance) ** 2
    if guess > 1e9:
        return None
    blocks = max(math.ceil(guess), planned + 1)
    return next((look for look in looks if look >= blocks), blocks)


@lru_cache
def _legendre() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights


@lru_cache(maxsize=512)
def _chi_nodes(df: int) -> tuple[Floats, Floats]:
    """Nodes and probabilities of sqrt(chi2_v / v), tails of 1e-16 cut off."""
    nodes, weights = _legendre()
    low = math.sqrt(2 * float(special.gammaincinv(df / 2, 1e-16)) / df)
    high = math.sqrt(2 * float(special.gammainccinv(df / 2, 1e-16)) / df)
    x = low + (high - low) * (nodes + 1) / 2
    log_density = (df - 1) * np.log(x) - df * x * x / 2
    density = weights * np.exp(log_density - log_density.max())
    return x, density / density.sum()
