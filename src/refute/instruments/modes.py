"""Singular modes of a data set: how strong they are, when a net learns each one, and the exact curves of linear nets.

Source: Saxe, McClelland & Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
networks", sections 1.1 to 1.3. Time is learning rate x step, the loss (1/2) mean |y - f(x)|^2, the inputs white.
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_VARIANCE = 1e-3
"""Input directions below this share of the largest variance are noise that whitening would blow up (specification)."""
WEAKEST = 0.05
"""Modes below this share of the strongest one are left out, and modes within 5 % of the last one kept (the same)."""
DEEP_PLATEAU = 0.3
"""A plateau lies below this share of the two maxima of the learning speed beside it (specification)."""
SMALLEST_PEAK = 0.01
"""Maxima below this share of the highest are rounding or the last bend of a curve, not the learning of a mode."""
LOGIT_END, LOGIT_STEP = 30.0, 0.002
"""Table of the exact curve: from v = 1e-13 to 1 - 1e-13; the trapezoid rule's error is below 1e-6 of the time."""


class Modes(NamedTuple):
    """Sigma_yx = U S V^T: `values` s_a (replica, mode), descending; `left` (replica, output, mode); `right`
    (replica, input, mode)."""

    values: Tensor
    left: Tensor
    right: Tensor


class Fit(NamedTuple):
    """The exact curve nearest to a measured one, each (replica, mode): where it passes 1/2, the initial strength
    u_0 / s that says the same, and the relative L2 distance."""

    half_time: Tensor
    start: Tensor
    error: Tensor


def whiten(inputs: Tensor, *, components: int, least: float = LEAST_VARIANCE) -> Tensor:
    """Centred principal components of variance 1, (replica, example, component), of inputs (replica, example, input).

    Definition: z_k = q_k^T (x - mean) / sqrt(lambda_k), q_k the k-th eigenvector of the covariance; 0 where lambda_k
    is below `least` x lambda_1, so that every replica has the same number of components.
    """
    centred = inputs - inputs.mean(dim=1, keepdim=True)
    variances, directions = torch.linalg.eigh(centred.transpose(1, 2) @ centred / centred.shape[1])
    variances, directions = (part.flip(-1)[..., :components] for part in (variances, directions))
    kept = variances >= least * variances[:, :1]
    scale = torch.where(kept, variances.clamp(min=torch.finfo(inputs.dtype).tiny).rsqrt(), 0.0)
    white: Tensor = centred @ (directions * scale.unsqueeze(1))
    return white


def singular_modes(inputs: Tensor, targets: Tensor) -> Modes:
    """The modes of Sigma_yx = mean over examples of y x^T; both arguments (replica, example, ...) and centred."""
    left, values, right = torch.linalg.svd(targets.transpose(1, 2) @ inputs / inputs.shape[1], full_matrices=False)
    return Modes(values, left, right.transpose(1, 2))


def separated(values: Tensor, *, weakest: float = WEAKEST, gap: float = WEAKEST) -> Tensor:
    """Which modes are strong and apart enough to have an order, bool (replica, mode), from descending values.

    A mode is kept when s_a >= weakest x s_1 and s_a <= (1 - gap) x the last mode kept.

    >>> separated(torch.tensor([[1.0, 0.98, 0.9, 0.01]])).tolist()
    [[True, False, True, False]]
    """
    kept = torch.zeros_like(values, dtype=torch.bool)
    last = torch.full_like(values[:, 0], math.inf)
    for mode in range(values.shape[1]):
        value = values[:, mode]
        kept[:, mode] = (value > weakest * values[:, 0]) & (value <= (1 - gap) * last)
        last = torch.where(kept[:, mode], value, last)
    return kept


def mode_strengths(maps: Tensor, modes: Modes) -> Tensor:
    """u_a = U_a^T M V_a of maps (replica, output, input); of a non-linear net M = Cov(f(x), x). (replica, mode)."""
    return ((modes.left.transpose(1, 2) @ maps) * modes.right.transpose(1, 2)).sum(dim=-1)


def crossing_times(curves: Tensor, times: Tensor, level: float) -> Tensor:
    """First time at which a curve reaches the level, by linear interpolation; infinity where it never does.

    Args:
        curves: (replica, mode, step).
        times: of the steps, ascending, (replica, step).
        level: the height; a curve that starts above it crosses at the first time.

    >>> crossing_times(torch.tensor([[[0.0, 0.4, 0.8]]]), torch.tensor([[0.0, 1.0, 2.0]]), 0.5).tolist()
    [[1.25]]
    """
    above = curves >= level
    after = above.to(torch.int8).argmax(dim=-1, keepdim=True)
    before = (after - 1).clamp(min=0)
    wide = times.unsqueeze(1).expand_as(curves)
    high, low = curves.gather(-1, after), curves.gather(-1, before)
    share = torch.where(after > 0, (level - low) / torch.where(high > low, high - low, 1.0), 0.0)
    crossed = wide.gather(-1, before) + share * (wide.gather(-1, after) - wide.gather(-1, before))
    return torch.where(above.any(dim=-1), crossed.squeeze(-1), math.inf)


def rates(values: Tensor, depth: int) -> Tensor:
    """D s^(2 - 2/D), the pace of a mode in a balanced linear net of D matrices: rate x time has one curve for all s."""
    return depth * values ** (2 - 2 / depth)


def exact_curve(elapsed: Tensor, depth: int) -> Tensor:
    """v = u/s of a balanced linear net of `depth` matrices, `elapsed` = rate x (t - t50) after it passed 1/2.

    Definition: dv/d(elapsed) = v^(2 - 2/D) (1 - v), v(0) = 1/2: for D = 1 it is 1 - exp(-elapsed)/2, for D = 2 the
    logistic function, else found by integrating d(elapsed)/d logit(v) = v^(2/D - 1) once on a fine grid.

    >>> exact_curve(torch.tensor([0.0, 2.0]), 2).tolist() == torch.tensor([0.0, 2.0]).sigmoid().tolist()
    True
    """
    if depth == 1:
        return 1 - torch.exp(-elapsed) / 2
    if depth == 2:
        return torch.sigmoid(elapsed)
    time, logit = _table(depth)
    shape, flat = elapsed.shape, elapsed.detach().cpu().double().numpy().ravel()
    return torch.from_numpy(np.interp(flat, time, logit)).view(shape).to(elapsed).sigmoid()


def half_times(values: Tensor, start: Tensor, depth: int) -> Tensor:
    """t50 of the exact curves that start at u_0 = `start` (in the unit of `values`), (replica, mode)."""
    share = start / values
    if depth == 1:
        return torch.log(2 * (1 - share)) / rates(values, depth)
    if depth == 2:
        return -torch.logit(share) / rates(values, depth)
    time, logit = _table(depth)
    found = np.interp(torch.logit(share).cpu().double().numpy().ravel(), logit, time)
    return -torch.from_numpy(found).view(share.shape).to(values) / rates(values, depth)


def fit_exact_curves(curves: Tensor, times: Tensor, values: Tensor, depth: int, *, rounds: int = 30) -> Fit:
    """The exact curve with the one free number (u_0, or as well t50) that fits each mode's curve best.

    Least squares over the times up to twice t90, so that the flat end does not flatter; solved by Gauss-Newton steps
    from the measured t50, which converge to any accuracy where a grid of u_0 would not.

    Args:
        curves: v_a = u_a / s_a, (replica, mode, step).
        times: (replica, step).
        values: s_a, (replica, mode).
        depth: number of weight matrices.
        rounds: Gauss-Newton steps.
    """
    pace, late = rates(values, depth), 2 * crossing_times(curves, times, 0.9)
    used = (times.unsqueeze(1) <= late.unsqueeze(-1)).to(curves)
    half = crossing_times(curves, times, 0.5)
    for _ in range(rounds):
        theory = exact_curve(pace.unsqueeze(-1) * (times.unsqueeze(1) - half.unsqueeze(-1)), depth)
        slope = -pace.unsqueeze(-1) * theory.clamp(min=0) ** (2 - 2 / depth) * (1 - theory)
        half = half + (used * (curves - theory) * slope).sum(dim=-1) / (used * slope.square()).sum(dim=-1)
    theory = exact_curve(pace.unsqueeze(-1) * (times.unsqueeze(1) - half.unsqueeze(-1)), depth)
    error = (used * (curves - theory).square()).sum(dim=-1) / (used * theory.square()).sum(dim=-1)
    return Fit(half, exact_curve(-pace * half, depth), error.sqrt())


def plateau_count(losses: Tensor, times: Tensor, *, points: int = 400) -> Tensor:
    """Number of plateaus of loss curves (replica, step), without knowledge of modes; (replica,).

    Definition: minima of |dL / d log t| between two neighbouring maxima that lie below 30 % of the lower of them.
    """
    counts = [float(_plateaus(*pair, points)) for pair in zip(losses, times, strict=True)]
    return torch.tensor(counts, device=losses.device)


def _plateaus(losses: Tensor, times: Tensor, points: int) -> int:
    time, loss = times.double().cpu().numpy(), losses.double().cpu().numpy()
    grid = np.geomspace(time[time > 0][0], time[-1], points)
    speed = np.abs(np.gradient(np.interp(grid, time, loss), np.log(grid)))
    inner = np.flatnonzero((speed[1:-1] > speed[:-2]) & (speed[1:-1] >= speed[2:])) + 1
    peaks = [peak for peak in inner if speed[peak] >= SMALLEST_PEAK * speed.max()]
    valleys = [(speed[a:b].min(), min(speed[a], speed[b])) for a, b in itertools.pairwise(peaks)]
    return sum(low < DEEP_PLATEAU * peak for low, peak in valleys)


@lru_cache(maxsize=8)
def _table(depth: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rate x time since v = 1/2, logit of v), both ascending."""
    logit = np.arange(-LOGIT_END, LOGIT_END + LOGIT_STEP / 2, LOGIT_STEP)
    pace = (1 + np.exp(-logit)) ** (1 - 2 / depth)
    time = np.concatenate([[0.0], np.cumsum((pace[1:] + pace[:-1]) / 2 * LOGIT_STEP)])
    return time - np.interp(0.0, logit, time), logit
