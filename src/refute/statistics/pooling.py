"""Over cells: random-effects mean, its interval, and what to expect in a new cell.

docs: statistics section 6.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from refute.errors import JudgementError
from refute.statistics.checks import Floats, planned_effects, valid_effects
from refute.statistics.regions import Region, Tails

LEAST_POOLED = 3
"""Fewer cells are not pooled (docs: statistics section 6)."""

LEAST_PREDICTION = 4
"""From this K on there is a prediction interval (docs: statistics section 6)."""

LEAST_SHARE = 5
"""From this K on the share of cells beyond the bound is estimated (docs: statistics section 6)."""

CONFIDENCE = 0.95
"""Of the pooled and prediction intervals (docs: statistics section 6)."""

TOLERANCE = 1e-12
"""Of tau^2, relative to the mean variance of the cells (docs: statistics section 6)."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The random-effects mean over K cells, in the unit of the effect."""

    k: int
    mean: float
    tau2: float
    """Variance of the true effects between cells, by REML."""
    q: float
    """Cochran's Q, weights 1/v."""
    i2: float
    """max(0, (Q - K + 1)/Q)."""
    se0: float
    """1 / sqrt(sum of weights), before Hartung-Knapp."""
    qh: float
    """sum(w (y - mu)^2) / (K - 1)."""
    low: float
    high: float
    prediction_low: float | None
    """Prediction interval for the true effect in a new cell, K >= 4; call it "about 90 %"."""
    prediction_high: float | None

    @property
    def se(self) -> float:
        """SE0 sqrt(max(1, qh)): Hartung-Knapp-Sidik-Jonkman with the max."""
        return self.se0 * math.sqrt(max(1.0, self.qh))

    def share(self, region: Region) -> float | None:
        """Estimated share of cells whose true effect lies in the region; None below K = 5.

        Definition: at least: Phi((mu - delta)/tau). docs: statistics section 6 (Mathur & VanderWeele, 2019).
        """
        if self.k < LEAST_SHARE:
            return None
        if self.tau2 == 0:
            return float(region.contains(self.mean))
        tau = math.sqrt(self.tau2)

        def above(bound: float) -> float:
            return float(special.ndtr((self.mean - bound) / tau))

        match region.kind:
            case "at_least":
                return above(region.bound)
            case "at_most":
                return 1 - above(region.bound)
            case "within":
                return above(-region.bound) - above(region.bound)

    def tails(self, region: Region) -> Tails:
        """One-sided p-values of the claim over cells, from t with K - 1 degrees (docs: statistics section 7)."""

        def above(bound: float) -> float:
            return float(special.stdtr(self.k - 1, (bound - self.mean) / self.se))

        def below(bound: float) -> float:
            return float(special.stdtr(self.k - 1, (self.mean - bound) / self.se))

        return region.tails(above, below)


def pool(means: ArrayLike, variances: ArrayLike) -> Pooled:
    """Pool K >= 3 independent cells by random effects: REML, Hartung-Knapp-Sidik-Jonkman with the max.

    Definition: w = 1/(v + tau^2), mu = sum(w y)/sum(w), SE = sqrt(max(1, qh)/sum(w)),
    interval mu +- t(.975; K-1) SE, prediction mu +- t(.975; K-2) sqrt(tau^2 + SE^2) from K = 4 on.
    docs: statistics section 6 (agrees with metafor `test="adhoc"`).

    Args:
        means: y_i, one mean per cell, in the unit of the effect.
        variances: v_i = s_i^2 / n_i, its squared standard error.

    Raises:
        JudgementError: fewer than 3 cells, lengths that differ, a variance that is not positive.

    >>> pooled = pool([0.2, 0.5, 0.35], [0.01, 0.02, 0.01])
    >>> round(pooled.mean, 4), round(pooled.low, 4), round(pooled.high, 4), pooled.prediction_low
    (0.3285, -0.0245, 0.6815, None)
    """
    y, v = valid_effects(means, "means"), valid_effects(variances, "variances")
    if y.size != v.size or y.size < LEAST_POOLED:
        raise JudgementError(f"means and variances must come from at least 3 cells, {y.size} and {v.size} came")
    if v.min() <= 0:
        raise JudgementError(f"variances must be positive, {v.min()} came")
    k = y.size
    tau2 = reml(y, v)
    w = 1 / (v + tau2)
    mean = float(w @ y / w.sum())
    se0 = float(1 / math.sqrt(w.sum()))
    qh = float(w @ (y - mean) ** 2) / (k - 1)
    q = float(((y - (y / v).sum() / (1 / v).sum()) ** 2 / v).sum())
    se = se0 * math.sqrt(max(1.0, qh))
    half = _t(k - 1) * se
    prediction = _t(k - 2) * math.sqrt(tau2 + se * se) if k >= LEAST_PREDICTION else None
    return Pooled(
        k=k,
        mean=mean,
        tau2=tau2,
        q=q,
        i2=max(0.0, (q - k + 1) / q) if q > 0 else 0.0,
        se0=se0,
        qh=qh,
        low=mean - half,
        high=mean + half,
        prediction_low=None if prediction is None else mean - prediction,
        prediction_high=None if prediction is None else mean + prediction,
    )


def reml(means: Floats, variances: Floats) -> float:
    """Variance of the true effects between cells: restricted maximum likelihood by Fisher scoring.

    Definition: start max(0, var(y) - mean v); step (y'PPy - tr P) / tr PP, halved until tau^2 >= 0.
    docs: statistics section 6 (Viechtbauer, 2005, J. Educ. Behav. Statist. 30, 261-293).

    >>> reml(np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    0.0
    """
    scale = float(variances.mean())
    tau2 = max(0.0, float(means.var(ddof=1)) - scale)
    differences = means[:, None] - means
    others = 1 - np.eye(means.size)
    for _ in range(1000):
        w = 1 / (variances + tau2)
        # P = W - w w' / sum(w) entry by entry: sums of powers of w cancel where one cell outweighs all others
        off = -np.outer(w, w / w.sum()) * others
        diagonal = -off.sum(axis=1)
        residual = -(off * differences).sum(axis=1)
        squares = float((off * off).sum() + diagonal @ diagonal)
        step = float(residual @ residual - diagonal.sum()) / squares
        while tau2 + step < 0:
            step /= 2
            if abs(step) < TOLERANCE * scale:
                step = -tau2
        tau2 += step
        if abs(step) <= TOLERANCE * (scale + tau2):
            break
    # Halving approaches 0 without reaching it.
    return tau2 if tau2 > 10 * TOLERANCE * scale else 0.0


def two_stage_pool(means: ArrayLike, variances: ArrayLike, groups: Sequence[Hashable]) -> Pooled:
    """Pool cells that share data sets: average the cells of each data set, then pool the data sets.

    Definition: per data set with A cells y = sum(y)/A and v = sum(v)/A^2; K = number of data sets.
    docs: statistics section 6, dependence (b).

    Args:
        means: one mean per cell.
        variances: its squared standard error.
        groups: the data set of each cell.

    Raises:
        JudgementError: lengths that differ, fewer than 3 data sets, a variance that is not positive.

    >>> two_stage_pool([0.1, 0.3, 0.5, 0.4], [0.01] * 4, ["mnist", "mnist", "cifar10", "digits"]).k
    3
    """
    y, v = valid_effects(means, "means"), valid_effects(variances, "variances")
    if not len(groups) == y.size == v.size:
        raise JudgementError(
            f"means, variances and groups must have one entry per cell, {y.size}, {v.size} and {len(groups)} came"
        )
    members: dict[Hashable, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    return pool(
        [float(y[cells].mean()) for cells in members.values()],
        [float(v[cells].sum()) / len(cells) ** 2 for cells in members.values()],
    )


def block_means(cells: Mapping[Hashable, ArrayLike]) -> Floats:
    """Average each block's effects over cells that share their seeds; then judge these means like one cell.

    Definition: per block the mean over cells; NaN if the block failed in any cell.
    docs: statistics section 6, dependence (a).

    Args:
        cells: per cell one number per planned block, NaN where it failed; all over the same blocks.

    Raises:
        JudgementError: no cells, or cells with different numbers of blocks.

    >>> block_means({"mnist": [1.0, 2.0], "digits": [3.0, 6.0]}).tolist()
    [2.0, 4.0]
    """
    arrays = [planned_effects(effects) for effects in cells.values()]
    lengths = sorted({array.size for array in arrays})
    if len(lengths) != 1:
        raise JudgementError(f"cells must be over the same blocks, numbers of blocks {lengths} came")
    means: Floats = np.mean(np.stack(arrays), axis=0)
    return means


def _t(df: int) -> float:
    return float(special.stdtrit(df, (1 + CONFIDENCE) / 2))
