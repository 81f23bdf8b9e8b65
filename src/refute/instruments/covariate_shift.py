"""Internal covariate shift, by four definitions: what an update of the layers below does to a layer.

    D1  drift of moments: of the inputs a_i of layer i before and after an update, mu_j and sigma_j of every unit j over
        the examples: sqrt(mean_j (mu_j' - mu_j)^2 / (sigma_j^2 + 1e-8)) + sqrt(mean_j (ln sigma_j' - ln sigma_j)^2)
    D2  drift of distributions: sliced 1-Wasserstein distance of the two clouds of inputs, over random unit directions,
        divided by the total standard deviation sqrt(sum_j sigma_j^2) before
    D3  gradient shift: |G_i - G_i'|_2, G_i the gradient by W_i of the loss at (W_1, ..., W_L)(t) and G_i' that at
        (W_1, ..., W_{i-1})(t+1), (W_i, ..., W_L)(t), on the same batch; relative to |G_i|; and the cosine of the two
    D4  interference: (change of the loss when all layers are updated - sum of what single layers promise) / |sum|

Sources: Ioffe & Szegedy 2015 (arXiv 1502.03167), section 2 (D1, in words); Santurkar, Tsipras, Ilyas & Madry 2018
(arXiv 1805.11604), definition 2.1 (D3) and section 3.2 (smoothness along the gradient); the specification
internal-covariate-shift. Layers are those of `Network.units`: a kernel with its bias and normalization, or a residual
block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UnknownNameError, UsageError, did_you_mean
from refute.instruments.activations import layer_outputs
from refute.instruments.hessian import cast
from refute.instruments.interface import Flags, check_examples, own_examples
from refute.instruments.objective import objective
from refute.instruments.probes import check_seeds
from refute.losses import Loss
from refute.randomness import stream

FLOOR = 1e-8
"""Added to variances, so that silent units divide by no 0 (specification; here in the logarithm too)."""
DIRECTIONS = 64
"""Random unit directions of D2 (the same)."""
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Step lengths of the smoothness along the gradient, in learning rates (the same: from 1/4 to 4)."""


@dataclass(frozen=True)
class InputDrift:
    """D1 and D2 of the inputs of every layer, input side first, float64 (replica, layer).

    `layers`: names; `moments`: D1; `means`, `deviations`: its two terms; `distribution`: D2 and its standard error over
    directions, `distribution_error`. Flags: "a layer's inputs are constant" (D2 is nan there).
    """

    layers: tuple[str, ...]
    moments: Tensor
    means: Tensor
    deviations: Tensor
    distribution: Tensor
    distribution_error: Tensor
    flags: Flags


@dataclass(frozen=True)
class GradientShift:
    """D3 and D4.

    `layers`: names of those measured; `distance`, `relative`, `cosine` (replica, layer). `interference` (replica,): D4
    with promises to first order, G . (change of the weights); `joint_interference` (replica,): with the changes of the
    loss when one layer at a time is updated, nan unless all layers are measured. `change` (replica,): of the loss when
    all are updated; `predicted` (replica,): to first order. Flags: "gradient vanishes" (of a layer, whose relative
    shift and cosine are nan), "nothing predicted" (no change to first order: D4 is nan).
    """

    layers: tuple[str, ...]
    distance: Tensor
    relative: Tensor
    cosine: Tensor
    interference: Tensor
    joint_interference: Tensor
    change: Tensor
    predicted: Tensor
    flags: Flags


@dataclass(frozen=True)
class StepSmoothness:
    """Along the negative gradient at steps c x learning rate, each (replica,) unless said.

    `losses` (replica, factor); `loss_range`: largest - smallest of them; `gradient_changes` (replica, factor):
    |grad(w) - grad(w - c eta g)|; `gradient_range`: largest - smallest; `effective`: max over c of that change divided
    by the distance c eta |g|. Flags: "not finite", "gradient vanishes".
    """

    losses: Tensor
    loss_range: Tensor
    gradient_changes: Tensor
    gradient_range: Tensor
    effective: Tensor
    flags: Flags


@torch.no_grad()
def layer_inputs(network: Network, weights: Weights, inputs: Tensor, *, training: bool = False) -> dict[str, Tensor]:
    """a_i, what each layer of `Network.units` receives: name -> (replica, example, *shape), input side first.

    Args:
        network: a chain of layers.
        weights: of the cohort.
        inputs: (example, *input_shape), shared, or (replica, example, *input_shape).
        training: normalize with the statistics of these examples.

    Raises:
        ShapeError: inputs do not fit the network.
        UsageError: a module that is no chain of layers.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8)
    >>> {name: tuple(a.shape) for name, a in layer_inputs(net, net.initialize([0]), torch.zeros(5, 4)).items()}
    {'dense1': (1, 5, 4), 'output': (1, 5, 8)}
    """
    check_examples(network, weights, inputs)
    before = own_examples(weights, network, inputs)
    outputs = layer_outputs(network, weights, inputs, training=training)
    found: dict[str, Tensor] = {}
    for layer, output in zip(network.layers, outputs.values(), strict=True):
        own = {slot.name.split(".")[0] for slot in layer.slots()}
        if len(own) > 1:
            raise UsageError(f"{network.name} is no chain of layers: what stands inside a module has no known input")
        for unit in own:
            found.setdefault(unit, before)
        before = output
    return {unit: found[unit] for unit in network.units}


def input_drift(
    network: Network,
    before: Weights,
    after: Weights,
    inputs: Tensor,
    *,
    seeds: Sequence[int],
    directions: int = DIRECTIONS,
    training: bool = False,
) -> InputDrift:
    """D1 and D2 between two points of training, on a fixed probe set.

    A unit is an entry of a layer's input, of images a channel (its moments over examples and positions).

    Args:
        network: a chain of layers.
        before, after: weights of as many replicas.
        inputs: the probe set, (example, *input_shape) or (replica, example, *input_shape), 2 examples or more.
        seeds: one per replica, of which the directions of D2 come; the same for every pair of points.
        directions: how many.
        training: normalize with the statistics of these examples, as the training steps do.

    Raises:
        ShapeError: weights, inputs or seeds that do not fit.
        UsageError: no directions.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8)
    >>> weights, inputs = net.initialize([0]), torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> found = input_drift(net, weights, weights, inputs, seeds=[0])
    >>> found.layers, found.moments.tolist(), found.distribution.tolist()
    (('dense1', 'output'), [[0.0, 0.0]], [[0.0, 0.0]])
    """
    _check_pair(before, after)
    check_seeds(seeds, before.replicas)
    if directions < 2:
        raise UsageError(f"directions must be at least 2, {directions} came")
    one = layer_inputs(network, before, inputs, training=training)
    two = layer_inputs(network, after, inputs, training=training)
    if next(iter(one.values())).shape[1] < 2:
        raise ShapeError("inputs must hold at least 2 examples for moments, 1 came")
    drifts = [_moment_drift(one[name], two[name]) for name in one]
    sliced = [_sliced(one[name], two[name], seeds, directions) for name in one]
    means, deviations = (torch.stack(parts, dim=1) for parts in zip(*drifts, strict=True))
    distribution, error = (torch.stack(parts, dim=1) for parts in zip(*sliced, strict=True))
    flags = {"a layer's inputs are constant": ~torch.isfinite(distribution).all(dim=1)}
    return InputDrift(tuple(one), means + deviations, means, deviations, distribution, error, flags)


def gradient_shift(
    network: Network,
    before: Weights,
    after: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    layers: Sequence[str] | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = True,
    dtype: torch.dtype | None = None,
) -> GradientShift:
    """D3 of the chosen layers and D4 of the update as a whole, on the batch that the update was made of.

    Costs one gradient for each layer but the first, whose shift is 0 by definition, and for D4 one pass for each layer.

    Args:
        network: what is trained.
        before, after: weights at t and t + 1.
        inputs, labels: the batch, see `interface.loss_function`.
        layers: some of `Network.units`; all by default.
        loss: name or value, see `refute.losses`.
        training: normalize with the batch's statistics, as the update did.
        dtype: of the computation; that of the weights by default.

    Raises:
        ShapeError: weights, inputs or labels that do not fit.
        UnknownNameError: a layer that is not there.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8)
    >>> one, two = net.initialize([0]), net.initialize([1])
    >>> found = gradient_shift(net, one, two, torch.ones(5, 4), torch.zeros(5, dtype=torch.int64))
    >>> found.layers, found.distance[0, 0].item()
    (('dense1', 'output'), 0.0)
    """
    _check_pair(before, after)
    units = list(network.units)
    chosen = units if layers is None else list(layers)
    for name in chosen:
        if name not in units:
            raise UnknownNameError(f"{network.name} has no layer {name!r}: {did_you_mean(name, units)}")
    before, after = (cast(own, dtype or own.flat.dtype) for own in (before, after))
    at = objective(network, before, inputs, labels, loss=loss, training=training)
    level, gradient = at.gradient(before.flat)
    own = Weights(before.slots, gradient)
    trained = {name: [key for key in keys if key in own] for name, keys in network.units.items()}
    distance, relative, cosine = [], [], []
    for name in chosen:
        below = [key for unit in units[: units.index(name)] for key in trained[unit]]
        moved = own if not below else Weights(before.slots, at.gradient(before.replaced(below, after).flat)[1])
        one, two = (torch.cat([part[key].flatten(1) for key in trained[name]], dim=1).double() for part in (own, moved))
        distance.append((one - two).norm(dim=1))
        relative.append(distance[-1] / one.norm(dim=1))
        cosine.append(((one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1))).clamp(-1, 1))
    change = at.losses(after.flat) - level
    predicted = (gradient.double() * (after.flat.double() - before.flat)).sum(dim=1)
    joint = torch.full_like(change, torch.nan)
    if set(chosen) == set(units):
        alone = [at.losses(before.replaced(trained[name], after).flat) - level for name in units]
        promised = torch.stack(alone).sum(dim=0)
        joint = (change - promised) / promised.abs()
    flags = {
        "gradient vanishes": torch.isnan(torch.stack(relative)).any(dim=0),
        "nothing predicted": predicted == 0,
    }
    interference = torch.where(predicted == 0, torch.nan, (change - predicted) / predicted.abs())
    return GradientShift(
        tuple(chosen),
        torch.stack(distance, dim=1),
        torch.stack(relative, dim=1),
        torch.stack(cosine, dim=1),
        interference,
        joint,
        change,
        predicted,
        flags,
    )


def step_smoothness(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    learning_rate: float | Tensor,
    factors: Sequence[float] = FACTORS,
    loss: str | Loss = "cross-entropy",
    training: bool = True,
    dtype: torch.dtype | None = None,
) -> StepSmoothness:
    """How far loss and gradient vary over the steps that one might take.

    Args:
        network, weights, inputs, labels, loss, training, dtype: see `hessian.curvature`.
        learning_rate: eta, a number or (replica,), above 0.
        factors: c, above 0.

    Raises:
        ShapeError: as `hessian.curvature`.
        UsageError: a learning rate or factor that is not above 0, or no factors.

    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> inputs, values = torch.tensor([[2.0]]), torch.ones(1, 1)  # L = (2 w - 1)^2 / 2, of second derivative 4
    >>> round(step_smoothness(net, None, inputs, values, learning_rate=0.1, loss="squared").effective.item(), 4)
    4.0
    """
    if not factors or min(factors) <= 0 or bool((torch.as_tensor(learning_rate) <= 0).any()):
        raise UsageError(f"learning_rate and factors must be above 0, {learning_rate} and {tuple(factors)} came")
    at = objective(network, weights, inputs, labels, loss=loss, training=training, dtype=dtype)
    here = at.weights.flat
    _, gradient = at.gradient(here)
    rate = torch.as_tensor(learning_rate, dtype=here.dtype, device=here.device).expand(len(here)).unsqueeze(1)
    losses, changes, slopes = [], [], []
    for factor in factors:
        loss_there, gradient_there = at.gradient(here - factor * rate * gradient)
        change = (gradient_there.double() - gradient).norm(dim=1)
        losses.append(loss_there)
        changes.append(change)
        slopes.append(change / (factor * rate.squeeze(1).double() * gradient.double().norm(dim=1)))
    every, moved = torch.stack(losses, dim=1), torch.stack(changes, dim=1)
    flags = {
        "not finite": ~(torch.isfinite(every) & torch.isfinite(moved)).all(dim=1),
        "gradient vanishes": gradient.norm(dim=1) == 0,
    }
    return StepSmoothness(
        every,
        every.amax(dim=1) - every.amin(dim=1),
        moved,
        moved.amax(dim=1) - moved.amin(dim=1),
        torch.stack(slopes, dim=1).amax(dim=1),
        flags,
    )


def _moment_drift(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of D1, (replica,)."""
    means, variances = zip(*(_moments(part) for part in (one, two)), strict=True)
    drift = (means[1] - means[0]).square() / (variances[0] + FLOOR)
    stretch = ((variances[1] + FLOOR).log() - (variances[0] + FLOOR).log()) / 2
    return drift.mean(dim=1).sqrt(), stretch.square().mean(dim=1).sqrt()


def _moments(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every unit, (replica, unit); of maps, over positions too."""
    wide = activations.double()
    wide = wide.unsqueeze(2) if wide.ndim == 2 else wide
    wide = wide.flatten(3).transpose(2, 3).flatten(1, 2) if wide.ndim > 3 else wide
    return wide.mean(dim=1), wide.var(dim=1, correction=0)


def _sliced(one: Tensor, two: Tensor, seeds: Sequence[int], directions: int) -> tuple[Tensor, Tensor]:
    """D2 and its standard error over directions, (replica,)."""
    first, second = (part.flatten(2).double() for part in (one, two))
    size = first.shape[2]
    drawn = [
        torch.randn(size, directions, generator=stream(seed, f"directions-{size}"), dtype=torch.float64)
        for seed in seeds
    ]
    lines = torch.stack(drawn).to(first.device)
    lines = lines / lines.norm(dim=1, keepdim=True)
    projected = ((part @ lines).sort(dim=1).values for part in (first, second))
    a, b = projected
    each = (a - b).abs().mean(dim=1)
    scale = first.var(dim=1, correction=0).sum(dim=1).sqrt()
    scale = scale.masked_fill(scale == 0, torch.nan)
    return each.mean(dim=1) / scale, each.std(dim=1) / directions**0.5 / scale


def _check_pair(before: Weights, after: Weights) -> None:
    if before.flat.shape != after.flat.shape:
        raise ShapeError(
            f"before and after must be of one network and cohort, {tuple(before.flat.shape)} and "
            f"{tuple(after.flat.shape)} came"
        )
    for name, own in (("before", before), ("after", after)):
        if not bool(own.finite().all()):
            raise ShapeError(f"weights {name} the update must be finite: leave diverged replicas out")
