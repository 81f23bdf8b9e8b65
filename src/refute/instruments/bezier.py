"""Curves of low loss between two weights: Bezier curves whose bends are trained, all replicas at once.

Source: Garipov et al. 2018 (arXiv 1802.10026), section 3: minimize E L(theta(a)), a uniform in [0, 1], over the
bends c_1 to c_{n-1} of theta(a) = sum_k binomial(n, k) (1 - a)^(n - k) a^k c_k, with c_0 and c_n the two weights; n is
2 there, 3 as well in the specification of sparse-training-difficulty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples
from refute.instruments.paths import interpolated, profile_of
from refute.instruments.probes import check_seeds
from refute.losses import Loss
from refute.randomness import stream

Optimizer = Literal["sgd", "adam"]

MOMENTUM = 0.9
ADAM_DECAYS, ADAM_EPSILON = (0.9, 0.999), 1e-8
"""Kingma & Ba 2015, algorithm 1."""
FALLING, POINTS = 0.99, 11
"""Training is not over when its last quarter lowers the mean loss over so many points to below this share."""


@dataclass(frozen=True)
class Curve:
    """Bezier curves from `first` to `second`, with `bends` (replica, bend, parameter) between them.

    `losses` (replica, step): of each training step's batch at its random point. Flags: "still falling" (train longer),
    "not finite". `at` gives the weights at a fraction, for `paths.profile_of(network, curve.at, ...)`.
    """

    first: Weights
    second: Weights
    bends: Tensor
    losses: Tensor
    flags: Flags

    def at(self, fraction: float | Tensor) -> Weights:
        """Weights at a fraction (a number or (replica,)) of the way; running statistics are those of the line."""
        line = interpolated(self.first, self.second, fraction)
        return Weights(line.slots, _point(self.first, self.second, self.bends, fraction), line.buffers)


@torch.no_grad()
def train_curve(
    network: Network,
    first: Weights,
    second: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    steps: int = 500,
    batch: int | None = 128,
    learning_rate: float = 0.01,
    optimizer: Optimizer = "adam",
    bends: int = 1,
    mask: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
) -> Curve:
    """Train the bends of a curve between two weights of every replica, from the straight line on.

    Every step draws one point a of the curve and one batch for each replica. Batch normalization uses the batch's
    statistics, as in training: estimate them anew when the curve is evaluated.

    Args:
        network: what is trained.
        first, second: the ends, which stay where they are.
        inputs: (example, *input_shape), or (replica, example, *input_shape).
        labels: (example,) or (replica, example), or values for losses that take them.
        seeds: one per replica, of which its points and the order of its examples come.
        steps: optimizer steps.
        batch: examples per step; None for all.
        learning_rate: falls to 0 along a quarter cosine, so that the last steps average over points.
        optimizer: "adam", or "sgd" with momentum 0.9.
        bends: control points between the ends; 1 is a quadratic curve, 2 a cubic one.
        mask: (replica, parameter), 1 where bends may leave the line and 0 where they may not (a sparse subspace).
        loss: see `refute.losses`.

    Raises:
        ShapeError: weights, examples, seeds or mask that do not fit.
        UsageError: numbers out of range, an unknown optimizer.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (2,), 2, depth=1, width=4)
    >>> one, two = net.initialize([0]), net.initialize([1])
    >>> curve = train_curve(net, one, two, torch.eye(2), torch.tensor([0, 1]), seeds=[0], steps=5)
    >>> curve.bends.shape, torch.equal(curve.at(0.0).flat, one.flat)
    (torch.Size([1, 1, 22]), True)
    """
    interpolated(first, second, 0.5)  # refuses ends that do not fit
    check_examples(network, first, inputs, labels)
    check_seeds(seeds, first.replicas)
    if min(steps, bends) < 1 or learning_rate <= 0 or (batch is not None and batch < 1):
        raise UsageError(
            f"steps, bends and batch must be at least 1 and learning_rate above 0, "
            f"{steps}, {bends}, {batch} and {learning_rate} came"
        )
    if optimizer not in ("sgd", "adam"):
        raise UsageError(f'optimizer must be "sgd" or "adam", {optimizer!r} came')
    if mask is not None and mask.shape != first.flat.shape:
        raise ShapeError(f"mask must be {tuple(first.flat.shape)} like the weights, {tuple(mask.shape)} came")
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    x, y = examples_of(network, first, inputs, labels)
    control = torch.stack([interpolated(first, second, k / (bends + 1)).flat for k in range(1, bends + 1)], dim=1)
    point = interpolated(first, second, 0.5).clone()
    gradient = torch.zeros_like(point.flat)
    chain = network.bind(point, gradient)
    generators = [stream(seed, "bezier") for seed in seeds]
    update = _Update(optimizer, torch.zeros_like(control), torch.zeros_like(control))
    found = torch.empty(first.replicas, steps, dtype=torch.float64, device=first.flat.device)
    late = torch.empty(0)
    for step in range(steps):
        if step == 3 * steps // 4:
            late = _level(network, Curve(first, second, control.clone(), found, {}), inputs, labels, chosen)
        drawn = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in generators])
        point.flat.copy_(_point(first, second, control, drawn))
        inputs_now, labels_now = _batch(x, y, batch, generators)
        value = chosen.value_and_gradient(chain.forward(inputs_now), labels_now)
        chain.backward(value.gradient / inputs_now.shape[1], keep=0)
        found[:, step] = value.each.double().mean(dim=1)
        if mask is not None:
            gradient.mul_(mask)
        shares = _bernstein(drawn.to(gradient), bends + 1)[:, 1:-1]
        rate = learning_rate * math.cos(math.pi / 2 * step / steps)
        update.take(control, shares.unsqueeze(2) * gradient.unsqueeze(1), rate, step + 1)
    last = _level(network, Curve(first, second, control, found, {}), inputs, labels, chosen)
    flags = {
        "still falling": last < FALLING * late,
        "not finite": ~(torch.isfinite(control).flatten(1).all(dim=1) & torch.isfinite(found).all(dim=1)),
    }
    return Curve(first, second, control, found, flags)


@dataclass(frozen=True)
class _Update:
    optimizer: Optimizer
    mean: Tensor
    square: Tensor

    def take(self, control: Tensor, gradient: Tensor, rate: float, number: int) -> None:
        if self.optimizer == "sgd":
            control.sub_(self.mean.mul_(MOMENTUM).add_(gradient), alpha=rate)
            return
        first, second = ADAM_DECAYS
        self.mean.lerp_(gradient, 1 - first)
        self.square.lerp_(gradient.square(), 1 - second)
        spread = (self.square / (1 - second**number)).sqrt_().add_(ADAM_EPSILON)
        control.addcdiv_(self.mean, spread, value=-rate / (1 - first**number))


def _level(network: Network, curve: Curve, inputs: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Mean loss over evenly spaced points, (replica,), with the statistics that training sees."""
    found = profile_of(network, curve.at, inputs, labels, points=POINTS, loss=loss, training=network.mixes)
    return found.losses.mean(dim=1)


def _bernstein(fraction: Tensor, degree: int) -> Tensor:
    """Weights of the control points, (replica, degree + 1), at fractions (replica,)."""
    terms = [math.comb(degree, k) * (1 - fraction) ** (degree - k) * fraction**k for k in range(degree + 1)]
    return torch.stack(terms, dim=1)


def _point(first: Weights, second: Weights, bends: Tensor, fraction: float | Tensor) -> Tensor:
    a = torch.as_tensor(fraction, dtype=torch.float64, device=bends.device).expand(len(bends))
    shares = _bernstein(a, bends.shape[1] + 1).to(bends)
    points = torch.cat([first.flat.unsqueeze(1), bends, second.flat.unsqueeze(1)], dim=1)
    return (shares.unsqueeze(1) @ points).squeeze(1)


def _batch(
    inputs: Tensor, labels: Tensor, batch: int | None, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """A batch per replica, drawn without replacement; all examples if there are no more."""
    count = inputs.shape[1]
    if batch is None or batch >= count:
        return inputs, labels
    chosen = [torch.randperm(count, generator=g)[:batch].to(inputs.device) for g in generators]
    own = [(x[index], y[index]) for x, y, index in zip(inputs, labels, chosen, strict=True)]
    return torch.stack([x for x, _ in own]), torch.stack([y for _, y in own])
