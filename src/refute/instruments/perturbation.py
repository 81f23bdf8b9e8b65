"""How far the loss rises in a ball around the weights: at worst (SAM, ASAM) and on average.

Balls have the radius rho in coordinates z that are scaled by T: theta + T z, T = diag of `perturbation_scale`. With
T = 1 these are Foret et al. 2021 (arXiv 2010.01412), eq. 2; with T of the size of the weights they are adaptive and do
not see rescalings that leave the function unchanged (Kwon et al. 2021, arXiv 2102.11600, section 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute.architectures import Weights
from refute.architectures.network import Network
from refute.errors import UsageError
from refute.instruments.interface import Flags
from refute.instruments.objective import Objective, objective
from refute.instruments.probes import UNCERTAIN, check_seeds, drawn, standard_error
from refute.losses import Loss
from refute.randomness import stream

Scale = Literal["none", "elementwise", "filter", "layer"]
Norm = Literal["l2", "linf"]

SHIFT = 0.01
"""eta of Kwon et al. 2021, section 4, added to every scale so that weights of 0 can move; it sees rescalings."""
TRAVEL = 2.5
"""All steps of an ascent together, in radii."""


def perturbation_scale(weights: Weights, kind: Scale, *, shift: float = SHIFT) -> Tensor:
    """T (replica, parameter): in which units each weight moves.

    "none": 1. "elementwise": |w| + shift. "filter": the norm of a kernel's row or filter (all that feeds one output)
    for each of its weights, |w| for biases and normalization, + shift (Kwon et al. 2021, section 3.1; Li et al. 2018,
    arXiv 1712.09913, section 4). "layer": the norm of the whole tensor + shift.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (2,), 2, depth=0)
    >>> weights = net.initialize([0])
    >>> _ = weights[net.kernels[0]].copy_(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    >>> perturbation_scale(weights, "filter", shift=0.0).tolist()  # two filters, two biases of 0
    [[5.0, 5.0, 1.0, 1.0, 0.0, 0.0]]
    """
    if kind not in ("none", "elementwise", "filter", "layer"):
        raise UsageError(f'kind must be "none", "elementwise", "filter" or "layer", {kind!r} came')
    if shift < 0:
        raise UsageError(f"shift must not be negative, {shift} came")
    if kind == "none":
        return torch.ones_like(weights.flat)
    if kind == "elementwise":
        return weights.flat.abs() + shift
    scales = []
    for slot in weights.slots:
        if slot.buffer:
            continue
        tensor = weights[slot.name]
        if kind == "layer":
            size = tensor.flatten(1).norm(dim=1, keepdim=True).expand_as(tensor.flatten(1))
        elif slot.kernel:
            rows = tensor.flatten(2)
            size = rows.norm(dim=2, keepdim=True).expand_as(rows).flatten(1)
        else:
            size = tensor.flatten(1).abs()
        scales.append(size)
    return torch.cat(scales, dim=1) + shift


@dataclass(frozen=True)
class SamSharpness:
    """`value` (replica,): largest rise of the loss that was found in the ball, mean over batches.

    `one_step` (replica,): that of the first-order step alone; `loss` (replica,): L(theta).

    Flags: "gradient vanishes" (a batch's first-order step has no direction), "weaker than one step" (the ascent found
    less than the first-order step, whose rise then counts), "not positive" (the loss rises nowhere it was tried), "not
    finite".
    """

    value: Tensor
    one_step: Tensor
    loss: Tensor
    flags: Flags


def sam_sharpness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    rho: float,
    norm: Norm = "l2",
    scale: Scale = "none",
    shift: float = SHIFT,
    steps: int = 1,
    starts: int = 1,
    seeds: Sequence[int] | None = None,
    batch: int | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> SamSharpness:
    """max over |z|_p <= rho of L(theta + T z) - L(theta), by one first-order step or projected gradient ascent.

    One step: z = rho T g / |T g|_2 ("l2", SAM and ASAM) or rho sign(T g) ("linf"). More: projected steps of 2.5 rho /
    steps from theta, and from random points of the ball.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`.
        rho: radius, above 0, in units of the weights (of T with a scale).
        norm: "l2" or "linf".
        scale, shift: T, see `perturbation_scale`; "elementwise" is ASAM.
        steps: 1 for the first-order step; 20 in Andriushchenko et al. 2023.
        starts: ascents, the first from theta, the others from random points.
        seeds: one per replica, needed for random points.
        batch: m-sharpness: the mean over batches of m examples, in their order, of what each finds for itself (Foret et
            al. 2021, section 3); None for all examples at once. 128 in Andriushchenko et al. 2023.

    Raises:
        ShapeError: as `hessian.curvature`; seeds that do not fit.
        UsageError: numbers out of range, or starts without seeds.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(net.weight, 2.0)
    >>> inputs, values = torch.tensor([[1.0]]), torch.ones(1, 1)  # L = (w - 1)^2 / 2 at w = 2
    >>> round(sam_sharpness(net, None, inputs, values, rho=0.5, loss="squared").value.item(), 4)
    0.625
    """
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = function.weights.flat
    if rho <= 0 or steps < 1 or starts < 1:
        raise UsageError(f"rho must be above 0, steps and starts at least 1, {rho}, {steps} and {starts} came")
    if norm not in ("l2", "linf"):
        raise UsageError(f'norm must be "l2" or "linf", {norm!r} came')
    if starts > 1 and seeds is None:
        raise UsageError("seeds must be given, one per replica, for more than one start")
    if seeds is not None:
        check_seeds(seeds, len(here))
    units = perturbation_scale(function.weights, scale, shift=shift)
    generators = [stream(seed, "sam-sharpness") for seed in seeds or ()]
    zeros = torch.zeros(len(here), dtype=torch.float64, device=here.device)
    value, one_step, level = zeros.clone(), zeros.clone(), zeros.clone()
    vanishes, weaker = zeros.bool(), zeros.bool()
    for part in function.parts(batch or function.examples):
        share = part.examples / function.examples
        base, slope = part.gradient(here)
        scaled = slope * units
        vanishes |= scaled.norm(dim=1) <= torch.finfo(here.dtype).tiny
        first = part.losses(here + units * rho * _direction(scaled, norm))
        best = torch.full_like(first, -torch.inf)
        for start in range(starts if steps > 1 else 0):
            z = torch.zeros_like(here) if start == 0 else rho * _in_ball(here, norm, generators)
            best = torch.maximum(best, _ascent(part, z, units, rho, norm, steps))
        weaker |= (best < first) & (steps > 1)
        one_step += share * (first - base)
        value += share * (torch.maximum(best, first) - base)
        level += share * base
    flags = {
        "gradient vanishes": vanishes,
        "weaker than one step": weaker,
        "not positive": value <= 0,
        "not finite": ~torch.isfinite(value),
    }
    return SamSharpness(value, one_step, level, flags)


@dataclass(frozen=True)
class AverageSharpness:
    """`value` (replica,): mean rise of the loss over random perturbations, and its `standard_error`; `loss` (replica,).

    Flags: "uncertain" (standard error above a tenth of |value|), "not finite".
    """

    value: Tensor
    standard_error: Tensor
    loss: Tensor
    flags: Flags


def average_sharpness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    rho: float | None = None,
    sigma: float | None = None,
    scale: Scale = "none",
    shift: float = SHIFT,
    draws: int = 50,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
    dtype: torch.dtype | None = None,
) -> AverageSharpness:
    """E L(theta + sigma T u) - L(theta), u standard normal; with rho, sigma = rho / sqrt(parameters), |sigma u| ~ rho.

    For small sigma this is sigma^2 tr(T A T) / 2. Every second draw is the mirror image of the one before, so that the
    slope cancels.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`.
        seeds: one per replica, of which its perturbations come.
        rho, sigma: size, above 0; give one of them.
        scale, shift: T, see `perturbation_scale`; "elementwise" with shift 0 gives noise of sd sigma |theta_i|.
        draws: perturbations, an even number.

    Raises:
        ShapeError: as `hessian.curvature`; seeds that do not fit.
        UsageError: numbers out of range, or not exactly one of rho and sigma.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> inputs, values = torch.tensor([[1.0]]), torch.ones(1, 1)  # L = (w - 1)^2 / 2
    >>> found = average_sharpness(net, None, inputs, values, seeds=[0], sigma=1.0, draws=2000, loss="squared")
    >>> abs(found.value.item() - 0.5) < 4 * found.standard_error.item()
    True
    """
    function = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = function.weights.flat
    check_seeds(seeds, len(here))
    if (rho is None) == (sigma is None):
        raise UsageError("give exactly one of rho and sigma")
    size = sigma if sigma is not None else (rho or 0.0) / math.sqrt(here.shape[1])
    if size <= 0 or draws < 2 or draws % 2:
        raise UsageError(
            f"rho or sigma must be above 0 and draws even, at least 2, {sigma if rho is None else rho} and {draws} came"
        )
    units = size * perturbation_scale(function.weights, scale, shift=shift)
    generators = [stream(seed, "average-sharpness") for seed in seeds]
    level = function.losses(here)
    pairs = []
    for _ in range(draws // 2):
        step = units * drawn("gaussian", here, generators)
        pairs.append((function.losses(here + step) + function.losses(here - step)) / 2 - level)
    each = torch.stack(pairs, dim=1)
    value, error = each.mean(dim=1), standard_error(each)
    flags = {"uncertain": ~(error <= UNCERTAIN * value.abs()), "not finite": ~torch.isfinite(value)}
    return AverageSharpness(value, error, level, flags)


def _ascent(part: Objective, z: Tensor, units: Tensor, rho: float, norm: Norm, steps: int) -> Tensor:
    here = part.weights.flat
    best = torch.full((len(here),), -torch.inf, dtype=torch.float64, device=here.device)
    for _ in range(steps):
        value, gradient = part.gradient(here + units * z)
        best = torch.maximum(best, value)
        z = _projected(z + (TRAVEL * rho / steps) * _direction(gradient * units, norm), rho, norm)
    return torch.maximum(best, part.losses(here + units * z))


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    if norm == "linf":
        return gradient.sign()
    length: Tensor = gradient.norm(dim=1, keepdim=True)
    return gradient / length.clamp(min=torch.finfo(gradient.dtype).tiny)


def _projected(z: Tensor, rho: float, norm: Norm) -> Tensor:
    if norm == "linf":
        return z.clamp(-rho, rho)
    length: Tensor = z.norm(dim=1, keepdim=True)
    return z * (rho / length.clamp(min=torch.finfo(z.dtype).tiny)).clamp(max=1)


def _in_ball(like: Tensor, norm: Norm, generators: Sequence[torch.Generator]) -> Tensor:
    """Uniform in the unit ball of the norm, (replica, parameter)."""
    count = like.shape[1]
    if norm == "linf":
        each = [2 * torch.rand(count, generator=g, dtype=torch.float64) - 1 for g in generators]
        return torch.stack(each).to(like)
    direction = _direction(drawn("gaussian", like, generators), norm)
    radius = [torch.rand(1, generator=g, dtype=torch.float64) ** (1 / count) for g in generators]
    return direction * torch.stack(radius).to(like)
