"""Representations: what a layer makes of every example, as one row of numbers, for instruments that compare them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.folded import Folded
from refute.architectures.layers import Dense, Layer, Residual
from refute.architectures.looped import Looped
from refute.errors import ShapeError, UsageError
from refute.instruments.activations import layer_outputs
from refute.instruments.interface import check_examples, own_examples, subject
from refute.instruments.probes import check_seeds
from refute.randomness import stream

After = Literal["nonlinearity", "map"]

INPUT = "input"
"""Name of layer 0, the inputs."""


@dataclass(frozen=True)
class LastLayer:
    """The last dense layer and what it works on, of every example.

    `features` (replica, example, feature): its inputs; `kernel` (replica, class, feature); `bias` (replica, class) or
    None; `outputs` (replica, example, class).
    """

    features: Tensor
    kernel: Tensor
    bias: Tensor | None
    outputs: Tensor


@torch.no_grad()
def representations(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    *,
    after: After = "nonlinearity",
    pool: int | None = None,
) -> dict[str, Tensor]:
    """phi_l(x) for l = 0 (the inputs), 1, ..., L (penultimate), and the outputs: name -> (replica, example, feature).

    Names as in `layer_outputs`; the inputs are "input", the network's outputs come last. Feature maps are flattened.
    Running statistics normalize, as in evaluation.

    Args:
        network: with `weights`, or a module alone; of what is no chain of layers every leaf inside is looked at.
        weights: of the cohort.
        inputs: (example, *input_shape), shared, or (replica, example, *input_shape).
        after: "nonlinearity", the outputs of activation functions and residual blocks; or "map", of dense layers and
            convolutions before them (and of residual blocks, whose sum is what a map would be).
        pool: feature maps are averaged over squares to at most pool x pool positions first; 1 averages over all.

    Raises:
        ShapeError: inputs do not fit the network.
        UsageError: an unknown `after`, or pool below 1.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=2, width=8)
    >>> found = representations(net, net.initialize([0, 1]), torch.zeros(5, 4))
    >>> {name: tuple(rows.shape) for name, rows in found.items()}
    {'input': (2, 5, 4), 'dense1.relu': (2, 5, 8), 'dense2.relu': (2, 5, 8), 'output': (2, 5, 3)}
    """
    if after not in ("nonlinearity", "map"):
        raise UsageError(f'after must be "nonlinearity" or "map", {after!r} came')
    if pool is not None and pool < 1:
        raise UsageError(f"pool must be at least 1 position, {pool} came")
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs)
    inside = any(isinstance(layer, Folded | Looped) for layer in network.layers)
    x = own_examples(weights, network, inputs)
    found: dict[str, list[Tensor]] = {INPUT: [_rows(x, pool)]}
    for chunk in torch.split(x, network.evaluation_batch, dim=1):
        outputs = layer_outputs(network, weights, chunk, inside=inside)
        last = list(outputs)[-1]
        for name, kind in outputs.kinds.items():
            if name == last or _kept(kind, after):
                found.setdefault(name, []).append(_rows(outputs[name], pool))
    return {name: torch.cat(parts, dim=1) for name, parts in found.items()}


def pooled(maps: Tensor, positions: int) -> Tensor:
    """Averages over squares, to at most `positions` x `positions` of them; of (..., channel, height, width).

    >>> pooled(torch.arange(16.0).view(1, 1, 1, 4, 4), 2).flatten().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """
    size = (min(positions, maps.shape[-2]), min(positions, maps.shape[-1]))
    averaged = torch.nn.functional.adaptive_avg_pool2d(maps.flatten(0, -4), size)
    return averaged.view(*maps.shape[:-2], *size)


@torch.no_grad()
def last_layer(network: Network, weights: Weights, inputs: Tensor) -> LastLayer:
    """Inputs, kernel, bias and outputs of the last layer, in evaluation mode.

    Args:
        network: a chain that ends in a dense layer.
        weights: of the cohort.
        inputs: (example, *input_shape), shared, or (replica, example, *input_shape).

    Raises:
        UsageError: the last layer is not dense.
        ShapeError: inputs do not fit the network.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8)
    >>> found = last_layer(net, net.initialize([0, 1]), torch.zeros(5, 4))
    >>> tuple(found.features.shape), tuple(found.kernel.shape), tuple(found.outputs.shape)
    ((2, 5, 8), (2, 3, 8), (2, 5, 3))
    """
    if isinstance(network, torch.nn.Module):
        raise UsageError("network must be a Network: make one of a module by Network.from_module")
    layer = network.layers[-1]
    if not isinstance(layer, Dense):
        raise UsageError(f"the last layer must be dense, {network.name} ends in {type(layer).__name__}")
    body = Network(network.name, network.layers[:-1], network.input_shape, layer.inputs)
    check_examples(network, weights, inputs)
    features = body.evaluate(weights, inputs.to(weights.flat.dtype)) if body.layers else inputs
    features = own_examples(weights, body, features) if not body.layers else features
    outputs = layer.apply(features, weights, False)
    bias = weights.get(f"{layer.name}.bias")
    return LastLayer(features, weights[f"{layer.name}.weight"], bias, outputs)


def projected(features: Tensor, size: int, *, seeds: Sequence[int]) -> Tensor:
    """x Q with Q (feature, size) a random orthonormal frame (uniform over all of them), (replica, example, size).

    The frame depends on the replica's seed and the number of features: layers of the same width get the same one.

    Args:
        features: (replica, example, feature).
        size: dimension of the subspace, at most the number of features.
        seeds: one per replica.

    Raises:
        ShapeError: seeds or features that do not fit.
        UsageError: a size out of range.

    >>> projected(torch.ones(1, 2, 5), 3, seeds=[0]).shape
    torch.Size([1, 2, 3])
    """
    check_features(features)
    check_seeds(seeds, len(features))
    width = features.shape[2]
    if not 1 <= size <= width:
        raise UsageError(f"size must be 1 to {width} (the features), {size} came")
    frames = []
    for seed in seeds:
        normal = torch.randn(width, size, generator=stream(seed, f"projection-{width}"), dtype=torch.float64)
        frame, triangle = torch.linalg.qr(normal)
        frames.append(frame * triangle.diagonal().sign())  # the sign makes the distribution uniform (Mezzadri 2007)
    return features @ torch.stack(frames).to(features)


def shuffled(labels: Tensor, *, seeds: Sequence[int], within: Tensor | None = None) -> Tensor:
    """Labels in random order, for null references: what a statistic is when labels say nothing. (replica, example).

    Args:
        labels: (replica, example), or (example,) for all replicas.
        seeds: one per replica.
        within: groups (replica, example) or (example,), whose members exchange labels among themselves only.

    Raises:
        ShapeError: seeds or groups that do not fit.

    >>> shuffled(torch.tensor([1, 1, 2, 2]), seeds=[0], within=torch.tensor([0, 0, 5, 5])).tolist()
    [[1, 1, 2, 2]]
    """
    own = labels.expand(len(seeds), -1) if labels.ndim == 1 else labels
    check_seeds(seeds, len(own))
    groups = torch.zeros_like(own) if within is None else within.expand_as(own)
    mixed = torch.empty_like(own)
    for replica, seed in enumerate(seeds):
        generator = stream(seed, "shuffled labels")
        for group in torch.unique(groups[replica]).tolist():
            members = (groups[replica] == group).nonzero().flatten()
            order = torch.randperm(len(members), generator=generator).to(members.device)
            mixed[replica, members] = own[replica, members[order]]
    return mixed


def check_features(features: Tensor, labels: Tensor | None = None, *, name: str = "features") -> None:
    """Refuse what is no representation: `features` (replica, example, feature) with labels (replica, example).

    `name` is the argument's in messages.

    Raises:
        ShapeError: other axes, nothing in them, numbers that are not finite, labels that do not fit.
    """
    if features.ndim != 3 or features.numel() == 0:
        raise ShapeError(f"{name} must be (replica, example, feature), none empty; {tuple(features.shape)} came")
    if not features.is_floating_point() or not bool(torch.isfinite(features).all()):
        raise ShapeError(f"{name} must be finite floating-point numbers; {features.dtype}, or nan or inf, came")
    if labels is not None and labels.shape != features.shape[:2]:
        raise ShapeError(f"labels must be {tuple(features.shape[:2])} like the {name}, {tuple(labels.shape)} came")
    if labels is not None and labels.is_floating_point():
        raise ShapeError(f"labels must be whole numbers, {labels.dtype} came")


def own_labels(labels: Tensor, features: Tensor) -> Tensor:
    """Labels (example,) of all replicas, or (replica, example), as the latter."""
    return labels.expand(len(features), -1) if labels.ndim == 1 else labels


def penultimate(found: Mapping[str, Tensor]) -> str:
    """Name of layer L of `representations`: the last one before the outputs."""
    return list(found)[-2]


def has_weights(layer: Layer) -> bool:
    """Whether it is a dense layer, convolution, module or residual block, not normalization."""
    return any(slot.kernel for slot in layer.slots())


def _kept(kind: str, after: After) -> bool:
    if kind == Residual.__name__:
        return True
    if after == "map":
        return kind in ("Dense", "Convolution", "Linear", "Conv2d", "Conv1d")
    return kind in ACTIVATIONS


ACTIVATIONS = frozenset(
    {"relu", "tanh", "sigmoid", "gelu", "softplus", "elu", "silu", "leaky-relu", "identity"}
    | {"ReLU", "Tanh", "Sigmoid", "GELU", "Softplus", "ELU", "SiLU", "LeakyReLU", "Identity"}
)
"""Kinds of layers that are elementwise functions, refute's own and PyTorch's."""


def _rows(outputs: Tensor, pool: int | None) -> Tensor:
    if pool is not None and outputs.ndim == 5:
        outputs = pooled(outputs, pool)
    return outputs.flatten(2).clone() if outputs.ndim > 2 else outputs.unsqueeze(2)
