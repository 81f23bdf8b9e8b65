"""Peaks of error curves, and the width at which nets begin to fit their training set.

Along log k: the first minimum W1, the peak behind it, and

    drop-in   E(peak) - E(W1)         drop-out   E(peak) - E(last)

with W1 = argmin of E before the peak and the peak the maximum of E from W1 on. Several pairs can meet this; the one
with the largest drop-in is taken, which is the largest rise of the curve.

Source: Nakkiran et al. 2020 (arXiv 1912.02292), sections 2, 5 and 6; specifications double-descent (peak statistic),
parameters-match-samples (location by a parabola in the logarithm), bias-variance-width (first width that fits).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags
from refute.instruments.modes import crossing_times
from refute.randomness import stream

FEWEST = 4
"""Points below which a curve can't fall, rise, and fall again around inner points."""
DRAWS = 1000


@dataclass(frozen=True)
class DoubleDescent:
    """Of each curve, float64 (replica,): `drop_in`, `drop_out`, in the unit of the errors; `smaller` of them;
    `first_minimum`, `peak`: positions on the grid; `location`: of the peak between grid points; `strong` bool: the
    last value lies below the first minimum (strong form). Flags: "no rise", "peak at the last point"."""

    drop_in: Tensor
    drop_out: Tensor
    smaller: Tensor
    first_minimum: Tensor
    peak: Tensor
    location: Tensor
    strong: Tensor
    flags: Flags


@dataclass(frozen=True)
class MeanDescent:
    """`estimate`: of the mean curve, as one replica; `draws`: of the mean curves of resampled replicas, (draw,) each,
    with the peak chosen anew in every draw; `intervals`: name -> percentiles (low, high)."""

    estimate: DoubleDescent
    draws: DoubleDescent
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Threshold:
    """`position` float64 (replica,): where training error reaches the level, inf if it never does. Flags: "never
    reached", "reached at the first point" (look at smaller ones)."""

    position: Tensor
    flags: Flags


@dataclass(frozen=True)
class EffectiveComplexity:
    """`samples`: the largest number that was fitted; `tried`: number -> training error. Flags, of one entry: "above
    the range" (all were fitted), "below the range" (none was)."""

    samples: int
    tried: dict[int, float]
    flags: Flags


def double_descent(errors: Tensor, positions: Sequence[float], *, smooth: bool = True) -> DoubleDescent:
    """Peak statistics of every curve by itself.

    A curve of pure noise has a drop-in as well: compare means of curves, or a claim's bound must allow for it.

    Args:
        errors: (replica, point), at 4 points or more.
        positions: widths, epochs, or samples per parameter: ascending and above 0.
        smooth: whether heights are those of running medians of 3 (the ends stay as they are).

    Raises:
        ShapeError: shapes that do not fit, numbers that are not finite, or positions that do not ascend.

    >>> found = double_descent(torch.tensor([[9.0, 5.0, 7.0, 8.0, 8.0, 4.0]]), [1, 2, 4, 8, 16, 32])
    >>> found.drop_in.item(), found.drop_out.item(), found.first_minimum.item(), found.peak.item(), found.strong.item()
    (1.0, 4.0, 4.0, 8.0, True)
    """
    at = _check(errors, positions)
    raw = errors.double()
    curve = raw.clone()
    if smooth:
        curve[:, 1:-1] = raw.unfold(1, 3, 1).median(dim=-1).values
    lowest, where = curve.cummin(dim=1)
    top = (curve[:, 1:] - lowest[:, :-1]).argmax(dim=1, keepdim=True) + 1
    bottom = where.gather(1, top - 1)
    peak, minimum = curve.gather(1, top).squeeze(1), curve.gather(1, bottom).squeeze(1)
    last = curve[:, -1]
    drop_in, drop_out = peak - minimum, peak - last
    return DoubleDescent(
        drop_in,
        drop_out,
        torch.minimum(drop_in, drop_out),
        at[bottom.squeeze(1)],
        at[top.squeeze(1)],
        _location(raw, at, top),
        last < minimum,
        {"no rise": drop_in <= 0, "peak at the last point": top.squeeze(1) == len(at) - 1},
    )


def mean_descent(
    errors: Tensor,
    positions: Sequence[float],
    *,
    seed: int,
    smooth: bool = True,
    draws: int = DRAWS,
    level: float = 0.95,
) -> MeanDescent:
    """Peak statistics of the mean over replicas, with intervals by resampling replicas.

    Args:
        errors, positions, smooth: see `double_descent`; 2 replicas or more, each the same grid with its own seed.
        seed: of the resampling.
        draws: resamples.
        level: of the intervals.

    Raises:
        ShapeError: as `double_descent`, or a single replica.

    >>> curves = torch.tensor([[9.0, 5.0, 8.0, 8.0, 4.0], [9.0, 6.0, 8.0, 8.0, 4.0]])
    >>> mean_descent(curves, [1, 2, 4, 8, 16], seed=0).intervals["drop_in"]
    (0.0, 0.0)
    """
    _check(errors, positions)
    if len(errors) < 2:
        raise ShapeError("a mean over replicas needs at least 2 of them, 1 came")
    chosen = torch.randint(0, len(errors), (draws, len(errors)), generator=stream(seed, "bootstrap"))
    means = errors.double()[chosen.to(errors.device)].mean(dim=1)
    drawn = double_descent(means, positions, smooth=smooth)
    tail = (1 - level) / 2
    intervals = {
        name: (float(torch.quantile(values, tail)), float(torch.quantile(values, 1 - tail)))
        for name, values in vars(drawn).items()
        if isinstance(values, Tensor) and values.is_floating_point()
    }
    mean = errors.double().mean(dim=0, keepdim=True)
    return MeanDescent(double_descent(mean, positions, smooth=smooth), drawn, intervals)


def interpolation_threshold(training_errors: Tensor, positions: Sequence[float], *, level: float = 0.05) -> Threshold:
    """Where training error first comes down to a level, interpolated linearly in log position.

    Args:
        training_errors: (replica, point), in the unit of the level.
        positions: ascending and above 0.
        level: 0.05 (k0 of double-descent) or 0.1 (its second one, and that of the effective complexity).

    Raises:
        ShapeError: as `double_descent`.

    >>> interpolation_threshold(torch.tensor([[0.4, 0.09, 0.01, 0.0]]), [1, 2, 8, 16]).position.round(decimals=4).item()
    4.0
    """
    at = _check(training_errors, positions, fewest=2)
    curves = -training_errors.double().unsqueeze(1)
    found = crossing_times(curves, at.log().expand(len(curves), -1), -level).squeeze(1).exp()
    first = training_errors[:, 0] <= level
    return Threshold(found, {"never reached": torch.isinf(found), "reached at the first point": first})


def fitting_position(training_errors: Tensor, positions: Sequence[float], *, share: float = 0.9) -> float:
    """The first position at which at least a share of the replicas has no training error, inf if there is none.

    >>> fitting_position(torch.tensor([[0.2, 0.0, 0.0], [0.1, 0.1, 0.0]]), [8, 16, 32])
    32.0
    """
    at = _check(training_errors, positions, fewest=1)
    fitted = (training_errors <= 0).double().mean(dim=0) >= share - 1e-12
    return float(at[fitted][0]) if bool(fitted.any()) else math.inf


def effective_complexity(
    training_error: Callable[[int], float], *, low: int, high: int, level: float = 0.1, ratio: float = 1.1
) -> EffectiveComplexity:
    """The largest number of samples that a training procedure still fits, by bisection in log n.

    Definition: max n with E[training error on n samples] <= level (Nakkiran et al. 2020, definition 1).

    Args:
        training_error: trains on n samples and gives the mean training error over seeds; it must not fall with n.
        low, high: the range looked at.
        level: training error that counts as fitted.
        ratio: the search ends when the bracket is this narrow.

    Raises:
        UsageError: an empty range, or a ratio of 1 or less.

    >>> effective_complexity(lambda n: 0.0 if n <= 300 else 0.5, low=10, high=5000, ratio=1.001).samples
    300
    """
    if not 1 <= low < high or ratio <= 1:
        raise UsageError(f"expected 1 <= low < high and a ratio above 1, {low}, {high} and {ratio} came")
    tried = {n: float(training_error(n)) for n in (low, high)}
    below, above = tried[low] > level, tried[high] <= level
    while not below and not above and high > low + 1 and high > ratio * low:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        tried[middle] = float(training_error(middle))
        low, high = (middle, high) if tried[middle] <= level else (low, middle)
    samples = 0 if below else high if above else low
    return EffectiveComplexity(
        samples, tried, {"above the range": torch.tensor([above]), "below the range": torch.tensor([below])}
    )


def _location(raw: Tensor, at: Tensor, top: Tensor) -> Tensor:
    """Vertex of the parabola in log position through the highest of the peak and its neighbours, and its neighbours."""
    points = len(at)
    around = (top + torch.arange(-1, 2, device=top.device)).clamp(0, points - 1)
    best = around.gather(1, raw.gather(1, around).argmax(dim=1, keepdim=True))
    inner = best.clamp(1, points - 2)
    places = inner + torch.arange(-1, 2, device=top.device)
    x, y = at.log()[places], raw.gather(1, places)
    left, right = x[:, 1] - x[:, 0], x[:, 2] - x[:, 1]
    rise, fall = (y[:, 1] - y[:, 0]) / left, (y[:, 1] - y[:, 2]) / right
    bend = rise + fall
    shift = (rise * right - fall * left) / (2 * bend.clamp(min=1e-300)) + 0.0
    vertex = x[:, 1] + shift.clamp(-left, right)
    inside = (best == inner).squeeze(1) & (rise >= 0) & (fall >= 0) & (bend > 0)
    return torch.where(inside, vertex.exp(), at[best.squeeze(1)])


def _check(errors: Tensor, positions: Sequence[float], *, fewest: int = FEWEST) -> Tensor:
    at = torch.tensor([float(position) for position in positions], dtype=torch.float64, device=errors.device)
    if errors.ndim != 2 or errors.shape[0] == 0 or errors.shape[1] != len(at) or len(at) < fewest:
        raise ShapeError(
            f"errors must be (replica, point) of {fewest} points or more, one per position; {tuple(errors.shape)} and "
            f"{len(at)} positions came"
        )
    if not bool(torch.isfinite(errors).all()):
        raise ShapeError("errors must be finite, some are nan or inf: leave diverged replicas out")
    if bool((at <= 0).any()) or bool((at.diff() <= 0).any()):
        raise ShapeError(f"positions must ascend and be above 0, {list(positions)} came")
    return at
