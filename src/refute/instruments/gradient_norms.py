"""How gradients and activations grow or die with depth, at any weights (mostly the initial ones).

    G_l    Frobenius norm of dL / dW_l;  G = sqrt(sum_l G_l^2) over kernels
    g_l    Frobenius norm of dL / d(pre-activation of layer l), over all examples together
    r      (|g_1| / |g_L|)^(1 / (L - 1)), growth per layer towards the input
    V_l    variance of the pre-activations of layer l over examples and entries

Everything is computed in float64: G_1 underflows float32 beyond about 20 layers with usual initializations.

Sources: Dai & Heckel 2019 (arXiv 1907.09539; G and G_1), the specifications channel-normalization-vanishing-gradients,
batch-norm-adversarial-vulnerability (r) and residual-initialization-sensitivity (V, ratios, cosines).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.activations import layer_outputs
from refute.instruments.hessian import cast, examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.probes import check_seeds
from refute.losses import Loss
from refute.randomness import stream


@dataclass(frozen=True)
class GradientNorms:
    """By kernel or dense layer or convolution, input side first, float64.

    `kernels`: names; `norms` (replica, kernel): G_l; `total` (replica,): G; `maps`: names of the layers whose outputs
    are pre-activations; `activation_norms` (replica, map): |g_l|; `variances` (replica, map): V_l; `growth` (replica,):
    r; `log_gradient_ratio`, `log_activation_gradient_ratio`, `log_variance_ratio` (replica,): ln(G_1 / G_L),
    ln(|g_1| / |g_L|) and ln(V_L / V_1); `balance` (replica,): min_l G_l / max_l G_l. Flags: "gradient vanishes" (some
    G_l is 0 even in float64), "not finite".
    """

    kernels: tuple[str, ...]
    norms: Tensor
    total: Tensor
    maps: tuple[str, ...]
    activation_norms: Tensor
    variances: Tensor
    growth: Tensor
    log_gradient_ratio: Tensor
    log_activation_gradient_ratio: Tensor
    log_variance_ratio: Tensor
    balance: Tensor
    flags: Flags


@dataclass(frozen=True)
class GradientCosines:
    """`value` (replica,): mean cosine of input gradients at nearby inputs, in [-1, 1], with its `standard_error` over
    examples; `each` (replica, example). Flags: "gradient vanishes" (at some example, whose cosine is nan and left
    out)."""

    value: Tensor
    standard_error: Tensor
    each: Tensor
    flags: Flags


def gradient_norms(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> GradientNorms:
    """Norms of gradients and variances of activations in every layer, of the mean loss over the examples.

    Args:
        network, weights, inputs, labels: see `interface.loss_function`; residual blocks are looked into.
        loss: name or value, see `refute.losses`; for the fit of one image "mean-squared" with values as labels.
        training: normalize with the statistics of these examples, as at initialization one should.

    Raises:
        ShapeError: inputs, labels or weights that do not fit.
        UsageError: fewer than 2 kernels; several replicas of a module that has to run replica by replica.

    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False))
    >>> for layer, value in zip(net, (3.0, 2.0)):
    ...     _ = torch.nn.init.constant_(layer.weight, value)
    >>> found = gradient_norms(net, None, torch.ones(1, 1), torch.full((1, 1), 5.0), loss="squared")
    >>> found.norms.tolist(), found.growth.item()  # f - y = 1; dL/dw1 = w2, dL/dw2 = w1
    ([[2.0, 3.0]], 2.0)
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    if len(network.kernels) < 2:
        raise UsageError(f"{network.name} has {len(network.kernels)} kernels: a profile over depth needs 2 or more")
    weights = cast(weights, torch.float64)
    x, y = examples_of(network, weights, inputs, labels)
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    found = layer_outputs(network, weights, x, training=training, differentiable=True, inside=True)
    maps = [name for name in found.kinds if f"{name}.weight" in network.kernels]
    outputs = list(found.values())[-1]
    with torch.enable_grad():
        mean = chosen.each(outputs, y).mean(dim=1).sum()
        by = [found.flat, *(found[name] for name in maps)]
        gradient, *by_maps = torch.autograd.grad(mean, by, allow_unused=True)
    if any(part is None for part in by_maps):
        raise UsageError(f"{network.name} runs replica by replica: give one at a time, weights.take(slice(r, r + 1))")
    parts = Weights(weights.slots, gradient)
    norms = torch.stack([parts[name].flatten(1).norm(dim=1) for name in network.kernels], dim=1)
    activation = torch.stack([part.flatten(1).norm(dim=1) for part in by_maps], dim=1)
    variances = torch.stack([found[name].detach().flatten(1).var(dim=1, correction=0) for name in maps], dim=1)
    ratio = (activation[:, 0] / activation[:, -1]).log()
    flags = {
        "gradient vanishes": (norms == 0).any(dim=1),
        "not finite": ~torch.isfinite(norms).all(dim=1),
    }
    return GradientNorms(
        network.kernels,
        norms,
        norms.square().sum(dim=1).sqrt(),
        tuple(maps),
        activation,
        variances,
        (ratio / max(len(maps) - 1, 1)).exp(),
        (norms[:, 0] / norms[:, -1]).log(),
        ratio,
        (variances[:, -1] / variances[:, 0]).log(),
        norms.amin(dim=1) / norms.amax(dim=1),
        flags,
    )


def growth_per_layer(log_norms: Tensor, depths: Sequence[float]) -> Tensor:
    """rho = exp(b), b the least-squares slope of ln G_1 on depth, float64 (replica,): below 1 decay, above 1 growth.

    Args:
        log_norms: ln G_1 of nets of several depths, (replica, depth).
        depths: theirs, two different ones or more.

    Raises:
        ShapeError: other axes, or equal depths.

    >>> growth_per_layer(torch.tensor([[0.0, -2.0, -4.0]]).mul(2.0**0.5).div(2.0**0.5), [2, 4, 6]).log().item()
    -1.0
    """
    x = torch.tensor(depths, dtype=torch.float64, device=log_norms.device)
    if log_norms.ndim != 2 or log_norms.shape[1] != len(x) or len(set(depths)) < 2:
        raise ShapeError(
            f"log_norms must be (replica, depth) of 2 depths or more, {tuple(log_norms.shape)}, {len(x)} depths came"
        )
    centred = x - x.mean()
    slope: Tensor = (log_norms.double() @ centred) / centred.square().sum()
    return slope.exp()


def gradient_cosines(
    network: Network,
    weights: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    distance: float = 0.01,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> GradientCosines:
    """cos(d loss / d x at x, the same at x + delta), delta random of length `distance` x |x|: 0 where it is shattered.

    Source: Balduzzi et al. 2017 (arXiv 1702.08591), sections 1 and 3, who correlate gradients at neighbouring inputs.

    Args:
        network, weights, inputs, labels, loss: see `interface.loss_function`.
        seeds: one per replica, of which the directions come.
        distance: length of the shift, as a share of the input's.
        training: normalize with the statistics of these examples.

    Raises:
        ShapeError: inputs, labels, weights or seeds that do not fit.
        UsageError: a distance not above 0.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8, activation="tanh")
    >>> inputs, labels = torch.ones(5, 4), torch.zeros(5, dtype=torch.int64)
    >>> gradient_cosines(net, net.initialize([0]), inputs, labels, seeds=[0]).value.item() > 0.99
    True
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    check_seeds(seeds, weights.replicas)
    if distance <= 0:
        raise UsageError(f"distance must be above 0, {distance} came")
    weights = cast(weights, torch.float64)
    x, y = examples_of(network, weights, inputs, labels)
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    shape = x.shape[1:]
    noise = torch.stack(
        [torch.randn(shape, generator=stream(seed, "gradient cosines"), dtype=torch.float64) for seed in seeds]
    ).to(x)
    step = noise.flatten(2) / noise.flatten(2).norm(dim=2, keepdim=True) * x.flatten(2).norm(dim=2, keepdim=True)

    def slopes(at: Tensor) -> Tensor:
        leaf = at.detach().clone().requires_grad_()
        buffers = {name: buffer.clone() for name, buffer in weights.buffers.items()}
        with torch.enable_grad():
            outputs = network(Weights(weights.slots, weights.flat, buffers), leaf, training=training)
            (found,) = torch.autograd.grad(chosen.each(outputs, y).sum(), leaf, materialize_grads=True)
        return found.flatten(2)

    one, two = slopes(x), slopes(x + distance * step.view_as(x))
    lengths = one.norm(dim=2) * two.norm(dim=2)
    gone = lengths == 0
    each = ((one * two).sum(dim=2) / lengths).clamp(-1, 1)
    count = (~gone).sum(dim=1)
    mean = each.nanmean(dim=1)
    spread = (each - mean.unsqueeze(1)).square().nansum(dim=1) / (count - 1)
    return GradientCosines(mean, (spread / count).sqrt(), each, {"gradient vanishes": gone.any(dim=1)})
