"""Curvature of the loss along the gradient and along a step.

Source: Littwin & Wolf 2019 (arXiv 2001.04878); specification of wide-nets-convex-path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError
from refute.instruments.eigenvalues import extremes
from refute.instruments.hessian import curvature
from refute.instruments.interface import Flags
from refute.instruments.objective import objective
from refute.losses import Loss

ROUNDINGS = 100.0
"""A difference below this many roundings of what it is taken of is noise."""


@dataclass(frozen=True)
class GradientCurvature:
    """Curvature along the gradient g, each (replica,); A = G + H as in `hessian`.

    `gradient_norm` |g|; `hessian` c = g^T A g / |g|^2; `gauss_newton` c_G and `residual` c_H = c - c_G, the same of G
    and H; `ratio` rho = |c_H| / c_G; `orthogonality` omega = |g^T H g| / (|g|^2 |H|_2), nan unless asked for. Flags:
    "gradient vanishes", "gauss-newton vanishes" (saturated: ratio means nothing), "norm not converged", "not finite".
    """

    gradient_norm: Tensor
    hessian: Tensor
    gauss_newton: Tensor
    residual: Tensor
    ratio: Tensor
    orthogonality: Tensor
    flags: Flags


def gradient_curvature(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int] | None = None,
    direction: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
) -> GradientCurvature:
    """Curvature along the full gradient (or another direction), and its Gauss-Newton and residual parts.

    Args:
        network, weights, inputs, labels, loss, training, dtype, chunk: see `hessian.curvature`.
        seeds: one per replica, for the Lanczos start that |H|_2 takes; without them there is no `orthogonality`.
        direction: (replica, parameter) instead of the gradient, such as a mini-batch gradient.

    Raises:
        ShapeError, UsageError: as `hessian.curvature`; a direction or seeds that do not fit.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.ones(2, 1)
    >>> round(gradient_curvature(net, None, inputs, values, loss="squared").hessian.item(), 4)
    4.5
    """
    at = curvature(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype, chunk=chunk)
    along = at.gradient if direction is None else direction.to(at.gradient)
    if along.shape != at.gradient.shape:
        raise ShapeError(f"direction must be {tuple(at.gradient.shape)} like the weights, {tuple(along.shape)} came")
    length = along.norm(dim=1)
    tiny = torch.finfo(along.dtype).tiny
    unit = along / length.clamp(min=tiny).unsqueeze(1)
    whole = (unit * at.product(unit)).sum(dim=1)
    gauss_newton = (unit * at.product(unit, "gauss-newton")).sum(dim=1)
    residual = whole - gauss_newton
    orthogonality, unconverged = torch.full_like(whole, torch.nan), torch.zeros_like(whole, dtype=torch.bool)
    if seeds is not None:
        ends = extremes(at, seeds=seeds, largest=1, smallest=1, matrix="residual")
        orthogonality = residual.abs() / ends.values.abs().amax(dim=1)
        unconverged = ends.flags["not converged"]
    weights_size = at.weights.flat.norm(dim=1)
    epsilon = torch.finfo(along.dtype).eps
    flags = {
        "gradient vanishes": length <= epsilon * weights_size.clamp(min=tiny),
        "gauss-newton vanishes": gauss_newton <= ROUNDINGS * epsilon * whole.abs(),
        "norm not converged": unconverged,
        "not finite": ~torch.isfinite(whole),
    }
    ratio = residual.abs() / gauss_newton
    return GradientCurvature(length, whole, gauss_newton, residual, ratio, orthogonality, flags)


@dataclass(frozen=True)
class StepCurvature:
    """`value` (replica,): second difference of the loss along a step; `losses` (replica, 3): at its start, middle and
    end, float64. Flags: "lost in rounding" (the difference is below what the losses resolve), "not finite"."""

    value: Tensor
    losses: Tensor
    flags: Flags


def step_curvature(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    step: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = torch.float64,
) -> StepCurvature:
    """kappa = [L(theta) - 2 L(theta + s/2) + L(theta + s)] / (|s|/2)^2 along a step s, such as -eta g.

    Args:
        network, weights, inputs, labels, loss, training: see `hessian.curvature`.
        step: (replica, parameter).
        dtype: what is computed in; None for that of the weights, in which a small step's difference drowns.

    Raises:
        ShapeError, UsageError: as `hessian.curvature`; a step that does not fit.

    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> inputs, values = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.ones(2, 1)
    >>> round(step_curvature(net, None, inputs, values, torch.tensor([[0.1, 0.0]]), loss="squared").value.item(), 4)
    4.5
    """
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = function.weights.flat
    if step.shape != here.shape:
        raise ShapeError(f"step must be {tuple(here.shape)} like the weights, {tuple(step.shape)} came")
    step = step.to(here)
    found = torch.stack([function.losses(here + share * step) for share in (0.0, 0.5, 1.0)], dim=1)
    difference = found[:, 0] - 2 * found[:, 1] + found[:, 2]
    noise = ROUNDINGS * torch.finfo(here.dtype).eps * found.abs().amax(dim=1)
    flags = {"lost in rounding": difference.abs() <= noise, "not finite": ~torch.isfinite(found).all(dim=1)}
    return StepCurvature(difference / (step.double().norm(dim=1) / 2) ** 2, found, flags)
