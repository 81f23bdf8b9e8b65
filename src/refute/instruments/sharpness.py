"""Keskar's epsilon-sharpness: how far the loss rises in a small box around the weights.

    phi = 100 (max_{y in C} L(theta + B y) - L(theta)) / (1 + L(theta)),   C = {|y_i| <= epsilon (|(B^+ theta)_i| + 1)}

with B the identity, or a random matrix (parameter x dimension) whose pseudo-inverse is B^+.

Source: Keskar et al. 2017 (arXiv 1609.04836), section 2.2.2, metric 2.1. The maximum is not concave: what is found is a
lower bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.interface import Flags
from refute.instruments.objective import Objective, objective
from refute.instruments.probes import check_seeds
from refute.losses import Loss
from refute.randomness import stream

TRAVEL = 2.5
"""All steps of an ascent together, in half-widths of the box (specification of sharp-minima)."""

Method = Literal["ascent", "l-bfgs-b"]


@dataclass(frozen=True)
class EpsilonSharpness:
    """`value` (replica,): phi, in percent; `loss` and `worst` (replica,): L(theta) and the largest loss found.

    `one_step` (replica,): phi at the corner of the box that the gradient at theta points to. Flags: "weaker than one
    step" (the ascents found less than that corner, which is then the value), "starts disagree" (the best start's rise
    is above twice the median one: more starts may find more), "not finite".
    """

    value: Tensor
    loss: Tensor
    worst: Tensor
    one_step: Tensor
    flags: Flags


def epsilon_sharpness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    epsilon: float = 1e-3,
    dimension: int | None = None,
    method: Method = "ascent",
    steps: int | None = None,
    starts: int = 3,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> EpsilonSharpness:
    """Epsilon-sharpness of every replica, by default in the full space; Keskar et al. took epsilon 1e-3 and 5e-4.

    Every start is uniform in the box: at a minimum the gradient is about 0 and says nothing.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`.
        seeds: one per replica, of which its starts and its random matrix come.
        epsilon: size of the box, above 0.
        dimension: of a random subspace (100 in the paper), whose directions have standard normal entries; None for the
            full space.
        method: "ascent", projected sign ascent of all replicas at once, y <- P(y + b sign(gradient) 2.5 / steps), b the
            half-widths; or "l-bfgs-b", the paper's, one replica after the other.
        steps: of the ascent (20 by default), or iterations of L-BFGS-B (10).
        starts: attempts; the largest loss of any counts.

    Raises:
        ShapeError: seeds that do not fit; see also `hessian.curvature`.
        UsageError: epsilon, dimension, steps or starts out of range, or an unknown method.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(net.weight)
    >>> inputs, values = torch.tensor([[1.0]]), torch.ones(1, 1)  # L = (w - 1)^2 / 2, at its minimum w = 1
    >>> found = epsilon_sharpness(net, None, inputs, values, seeds=[0], epsilon=0.5, loss="squared")
    >>> round(found.value.item(), 3)  # w = 2 or 0: the loss is 1/2
    50.0
    """
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = function.weights.flat
    check_seeds(seeds, len(here))
    if epsilon <= 0 or starts < 1 or (steps is not None and steps < 1):
        raise UsageError(f"epsilon must be above 0, steps and starts at least 1, {epsilon}, {steps}, {starts} came")
    if dimension is not None and not 1 <= dimension <= here.shape[1]:
        raise UsageError(f"dimension must be 1 to {here.shape[1]} (the parameters), {dimension} came")
    if method not in ("ascent", "l-bfgs-b"):
        raise UsageError(f'method must be "ascent" or "l-bfgs-b", {method!r} came')
    generators = [stream(seed, "epsilon-sharpness") for seed in seeds]
    box = _box(here, epsilon, dimension, generators)
    level, slope = function.gradient(here)
    corner = function.losses(here + box.out(box.half * box.back(slope).sign()))
    found = []
    for _ in range(starts):
        noise = torch.stack([torch.rand(box.half.shape[1], generator=g, dtype=torch.float64) for g in generators])
        start = box.half * (2 * noise - 1).to(box.half)
        if method == "ascent":
            found.append(_ascent(function, start, box, steps or 20))
        else:
            found.append(_quasi_newton(function, start, box, steps or 10))
    each = torch.stack(found, dim=1)
    best = each.amax(dim=1)
    worst = torch.maximum(torch.maximum(best, corner), level)
    flags = {
        "weaker than one step": best < corner,
        "starts disagree": best - level > 2 * (each.median(dim=1).values - level),
        "not finite": ~torch.isfinite(worst),
    }
    return EpsilonSharpness(
        100 * (worst - level) / (1 + level), level, worst, 100 * (corner - level) / (1 + level), flags
    )


@dataclass(frozen=True)
class _Box:
    """Half-widths `half` (replica, coordinate), and B (replica, parameter, coordinate), None for the identity."""

    half: Tensor
    matrix: Tensor | None

    def out(self, y: Tensor) -> Tensor:
        return y if self.matrix is None else (self.matrix @ y.unsqueeze(2)).squeeze(2)

    def back(self, gradient: Tensor) -> Tensor:
        return gradient if self.matrix is None else (self.matrix.transpose(1, 2) @ gradient.unsqueeze(2)).squeeze(2)

    def take(self, replicas: slice) -> "_Box":
        return _Box(self.half[replicas], None if self.matrix is None else self.matrix[replicas])


def _box(here: Tensor, epsilon: float, dimension: int | None, generators: Sequence[torch.Generator]) -> _Box:
    if dimension is None:
        return _Box(epsilon * (here.abs() + 1), None)
    drawn = [torch.randn(here.shape[1], dimension, generator=g, dtype=torch.float64) for g in generators]
    matrix = torch.stack(drawn).to(here)
    own = torch.linalg.lstsq(matrix, here.unsqueeze(2)).solution.squeeze(2)
    return _Box(epsilon * (own.abs() + 1), matrix)


def _ascent(function: Objective, start: Tensor, box: _Box, steps: int) -> Tensor:
    here, y, half = function.weights.flat, start, box.half
    best = torch.full((len(here),), -torch.inf, dtype=torch.float64, device=here.device)
    for _ in range(steps):
        value, gradient = function.gradient(here + box.out(y))
        best = torch.maximum(best, value)
        y = torch.maximum(torch.minimum(y + half * box.back(gradient).sign() * (TRAVEL / steps), half), -half)
    return torch.maximum(best, function.losses(here + box.out(y)))


def _quasi_newton(function: Objective, start: Tensor, box: _Box, steps: int) -> Tensor:
    replicas = [slice(replica, replica + 1) for replica in range(len(start))]
    best = [_quasi_newton_alone(function.take(r), start[r], box.take(r), steps) for r in replicas]
    return torch.tensor(best, dtype=torch.float64, device=start.device)


def _quasi_newton_alone(function: Objective, start: Tensor, box: _Box, steps: int) -> float:
    """Largest loss that L-BFGS-B meets; coordinates in half-widths, so that its tolerances have a meaning."""
    from scipy.optimize import minimize  # noqa: PLC0415 - slow to import

    here, half = function.weights.flat, box.half
    seen = []

    def cost(shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        y = torch.from_numpy(shares).to(half) * half
        value, gradient = function.gradient(here + box.out(y))
        seen.append(value.item())
        return -value.item(), -(box.back(gradient) * half)[0].double().cpu().numpy()

    minimize(
        cost,
        (start / half)[0].double().cpu().numpy(),
        method="L-BFGS-B",
        jac=True,
        bounds=[(-1, 1)] * half.shape[1],
        options={"maxiter": steps, "ftol": 0.0, "gtol": 0.0},
    )
    return max(seen)
