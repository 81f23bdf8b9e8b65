"""The largest margin of a linear predictor: the hard-margin support vector machine, exactly, and how near others come.

With z_n = y_n x_n (labels -1 and 1; a bias is one more feature that is always 1): the L2 solution is
w* = argmin |w|^2 with z_n . w >= 1 for all n, its margin gamma* = 1 / |w*| = max_w min_n z_n . w / |w|_2. The
L-infinity margin is max_w min_n z_n . w / |w|_inf, what steepest descent in that norm (sign descent) approaches.
Source: Soudry et al. 2018 (arXiv 1710.10345), section 2; Gunasekar et al. 2018 (arXiv 1802.08246) for other norms.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags

ROUNDS = 50
TOLERANCE = 1e-6
"""How far a margin of the solution may lie below 1."""
SMALLEST = 1e-6
"""Margin, in units of the longest example, below which examples count as not separable."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MaxMargin:
    """`direction` (replica, feature): w*, smallest margin 1; `margin` (replica,): gamma* in the unit of the features;
    `supports` (replica,): examples with a positive multiplier. NaN, NaN and 0 where the flag "not separable" stands."""

    direction: Tensor
    margin: Tensor
    supports: Tensor
    flags: Flags


def max_margin(examples: Tensor, *, added: int = 500) -> MaxMargin:
    """The separating direction of largest L2 margin, by non-negative least squares.

    a = argmin over a >= 0 of |Z^T a|^2 + (1 - sum a)^2 gives w* = Z^T a / (1 - sum a): the equations of Karush, Kuhn
    and Tucker of both problems are the same. Examples enter as they violate their margin.

    Args:
        examples: z_n = y_n x_n, (replica, example, feature).
        added: examples that enter the problem at once; of many examples hardly any are support vectors.

    Raises:
        ShapeError: examples of another shape. UsageError: numbers that are not finite.

    >>> round(max_margin(torch.tensor([[[1.0, 0.0], [1.0, 2.0]]])).margin.item(), 6)
    1.0
    """
    _check(examples)
    found = [_solve(one, added) for one in examples.detach().cpu().double().numpy()]
    direction = torch.from_numpy(np.stack([one for one, _ in found])).to(examples.device)
    supports = torch.tensor([count for _, count in found], device=examples.device)
    margin = 1 / direction.norm(dim=1)
    return MaxMargin(direction, margin, supports, {"not separable": ~torch.isfinite(margin)})


def max_margin_infinity(examples: Tensor) -> Tensor:
    """max_w min_n z_n . w / |w|_inf (replica,), by linear programming; 0 where the examples are not separable.

    Args:
        examples: z_n = y_n x_n, (replica, example, feature).

    Raises:
        ShapeError: examples of another shape. UsageError: numbers that are not finite.

    >>> max_margin_infinity(torch.tensor([[[1.0, -2.0]]])).item()
    3.0
    """
    from scipy.optimize import linprog  # noqa: PLC0415 - slow to import

    _check(examples)
    found = []
    for one in examples.detach().cpu().double().numpy():
        count, features = one.shape
        cost = np.zeros(features + 1)
        cost[-1] = -1.0
        bounds = [(-1.0, 1.0)] * features + [(0.0, None)]
        solved = linprog(cost, A_ub=np.hstack([-one, np.ones((count, 1))]), b_ub=np.zeros(count), bounds=bounds)
        found.append(-solved.fun if solved.status == 0 else math.nan)
    return torch.tensor(found, dtype=torch.float64, device=examples.device)


@dataclass(frozen=True)
class MarginAlignment:
    """Of predictors w, each (replica,) float64: `gap` 1 - min_n z_n . w / (|w| gamma*), 0 at w*, above 1 while an
    example is on the wrong side; `degrees` between w and w*; `infinity_margin` min_n z_n . w / |w|_inf."""

    gap: Tensor
    degrees: Tensor
    infinity_margin: Tensor


def margin_alignment(examples: Tensor, weights: Tensor, best: MaxMargin) -> MarginAlignment:
    """How near predictors come to the largest margin.

    Args:
        examples: z_n = y_n x_n, (replica, example, feature).
        weights: w (replica, feature).
        best: of the same examples, see `max_margin`.

    Raises:
        ShapeError: shapes that do not belong together.

    >>> z = torch.tensor([[[1.0, 0.0], [1.0, 2.0]]])
    >>> round(margin_alignment(z, torch.tensor([[1.0, 1.0]]), max_margin(z)).degrees.item(), 3)
    45.0
    """
    if examples.dim() != 3 or weights.shape != (examples.shape[0], examples.shape[2]):
        raise ShapeError(
            f"expected examples (replica, example, feature) and weights (replica, feature), "
            f"{tuple(examples.shape)} and {tuple(weights.shape)} came"
        )
    z, w = examples.double(), weights.double()
    smallest = (z @ w.unsqueeze(2)).squeeze(2).amin(dim=1)
    length = w.norm(dim=1)
    unit, goal = w / length.unsqueeze(1), best.direction * best.margin.unsqueeze(1)
    half_chord = (unit - goal).norm(dim=1) / 2  # exact also at small angles, where the cosine is not
    return MarginAlignment(
        gap=1 - smallest / (length * best.margin),
        degrees=torch.rad2deg(2 * torch.asin(half_chord.clamp(max=1.0))),
        infinity_margin=smallest / w.abs().amax(dim=1),
    )


def _check(examples: Tensor) -> None:
    if examples.dim() != 3 or 0 in examples.shape:
        raise ShapeError(f"examples must be (replica, example, feature), {tuple(examples.shape)} came")
    if not bool(examples.isfinite().all()):
        raise UsageError("examples must be finite, some are nan or inf")


def _solve(examples: Array, added: int) -> tuple[Array, int]:
    """w* of one replica and its number of support vectors; NaN and 0 when there is none."""
    from scipy.optimize import nnls  # noqa: PLC0415 - slow to import

    longest = float(np.linalg.norm(examples, axis=1).max())
    nothing = np.full(examples.shape[1], math.nan), 0
    if longest == 0:
        return nothing
    z = examples / longest
    chosen = np.arange(min(added, len(z)))
    for _ in range(ROUNDS):
        system = np.vstack([z[chosen].T, np.ones(len(chosen))])
        try:
            multipliers, residual = nnls(system, np.eye(len(system))[-1], maxiter=10 * len(chosen) + 100)
        except RuntimeError:  # it gives up: the examples are separable barely or not at all
            return nothing
        if residual**2 < SMALLEST**2:  # 1 - sum a = residual^2 = 1 / (1 + |w*|^2)
            return nothing
        direction = _polished(z[chosen], multipliers)
        margins = z @ direction
        violating = margins < 1 - TOLERANCE
        violating[chosen] = False
        if not violating.any():
            sound = margins.min() > 1 - TOLERANCE and 1 / np.linalg.norm(direction) > SMALLEST
            return (direction / longest, int((multipliers > 0).sum())) if sound else nothing
        worst = np.argsort(margins)[:added]
        chosen = np.union1d(chosen[multipliers > 0], worst[violating[worst]])
    return nothing


def _polished(z: Array, multipliers: Array) -> Array:
    """The shortest w with margin 1 at the support vectors, if that is a solution, else what the multipliers give."""
    plain: Array = z.T @ multipliers / (1 - multipliers.sum())
    supports = multipliers > 0
    exact: Array = np.linalg.pinv(z[supports]) @ np.ones(int(supports.sum()))
    return exact if (z @ exact).min() >= (z @ plain).min() else plain
