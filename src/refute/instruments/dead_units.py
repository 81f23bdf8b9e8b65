"""Dead units: filters that no training input activates, and filters whose normalization has shrunk to nothing.

For filter j of a layer and input x, a_j(x) is the largest |activation| over positions, A_j its maximum over all inputs:

    inactive by activation  A_j < 1e-12
    inactive by scale       |gamma_j| < 1e-3, gamma the scale of its batch normalization
    selectivity             share of inputs with a_j(x) <= 1e-3 A_j, of active filters

Source: Mehta, Kim & Theobalt 2019 (arXiv 1811.12495), sections 3 and 5, as in the specification
implicit-filter-sparsity. Of a ReLU |a| = a; of functions with negative values |a| is what tells a silent filter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.activations import LayerOutputs, layer_outputs
from refute.instruments.features import ACTIVATIONS
from refute.instruments.interface import Flags, check_examples, own_examples, subject

SILENT = 1e-12
"""A_j below which a filter is inactive (specification)."""
SMALL_SCALE = 1e-3
"""|gamma_j| below which it is (the same)."""
FAINT = 1e-3
"""Share of A_j up to which an input does not activate a filter (the same)."""


@dataclass(frozen=True)
class FilterActivity:
    """By layer of filters (its name without ".weight"), input side first.

    `largest[name]` (replica, filter): A_j; `inactive[name]` bool: by activation; `small_scale[name]` bool: by scale,
    only of layers with batch normalization; `selectivity[name]` (replica, filter): nan for inactive filters. `sparsity`
    (replica,): inactive filters of all layers, in percent; `scale_sparsity` (replica,): the same by scale, over layers
    with batch normalization, nan without any; `layer_sparsity` (replica, layer). Flags: "a layer is silent" (nothing
    goes through: all of its filters are inactive), "criteria disagree" (the two sparsities by more than 2 points).
    """

    largest: Mapping[str, Tensor]
    inactive: Mapping[str, Tensor]
    small_scale: Mapping[str, Tensor]
    selectivity: Mapping[str, Tensor]
    sparsity: Tensor
    scale_sparsity: Tensor
    layer_sparsity: Tensor
    flags: Flags


@torch.no_grad()
def filter_activity(
    network: Network,
    weights: Weights,
    inputs: Tensor,
    *,
    silent: float = SILENT,
    small: float = SMALL_SCALE,
    faint: float = FAINT,
) -> FilterActivity:
    """Which filters (channels of convolutions, units of dense layers) are dead; the output layer has none.

    A filter is one of a dense layer or convolution that an elementwise function follows, after its normalization.

    Args:
        network: of refute's layers, residual blocks included.
        weights: of the cohort; running statistics normalize.
        inputs: the whole training set, (example, *input_shape) or (replica, example, *input_shape).
        silent, small, faint: the thresholds, see the head of this file.

    Raises:
        UsageError: a network without such layers.
        ShapeError: inputs do not fit the network.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8, normalization="batch")
    >>> weights = net.initialize([0])
    >>> _ = weights["dense1.gamma"][:, :2].zero_()
    >>> found = filter_activity(net, weights, torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    >>> found.sparsity.item(), found.scale_sparsity.item()
    (25.0, 25.0)
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs)
    x = own_examples(weights, network, inputs)
    chunks = torch.split(x, network.evaluation_batch, dim=1)
    each: dict[str, list[Tensor]] = {}
    for chunk in chunks:
        outputs = layer_outputs(network, weights, chunk, inside=True)
        for name, found in _filters(network, outputs).items():
            each.setdefault(name, []).append(found.flatten(3).abs().amax(dim=3) if found.ndim > 3 else found.abs())
    if not each:
        raise UsageError(f"{network.name} has no layer of filters with an elementwise function: nothing can be dead")
    reached = {name: torch.cat(parts, dim=1) for name, parts in each.items()}
    largest = {name: found.amax(dim=1) for name, found in reached.items()}
    inactive = {name: found < silent for name, found in largest.items()}
    selectivity = {
        name: (found <= faint * largest[name].unsqueeze(1)).double().mean(dim=1).masked_fill(inactive[name], torch.nan)
        for name, found in reached.items()
    }
    scales = {name: weights[f"{name}.gamma"].abs() < small for name in largest if f"{name}.gamma" in weights}
    sparsity, scale_sparsity = _percent(inactive, x), _percent(scales, x)
    by_layer = torch.stack([100 * dead.double().mean(dim=1) for dead in inactive.values()], dim=1)
    of_these = _percent({name: inactive[name] for name in scales}, x)
    flags = {
        "a layer is silent": (by_layer == 100).any(dim=1),
        "criteria disagree": (of_these - scale_sparsity).abs() > 2,
    }
    return FilterActivity(largest, inactive, scales, selectivity, sparsity, scale_sparsity, by_layer, flags)


def without_filters(network: Network, weights: Weights, dead: Mapping[str, Tensor]) -> Weights:
    """A copy in which some filters are removed: their kernel, bias, scale and shift are 0, and so is their output.

    What a filter that is inactive only by scale adds as a constant is removed too.

    Args:
        network: whose weights.
        weights: of the cohort.
        dead: layer -> bool (replica, filter), such as `FilterActivity.inactive`.

    Raises:
        ShapeError: an unknown layer, or a mask of another shape.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=2)
    >>> found = without_filters(net, net.initialize([0]), {"dense1": torch.tensor([[True, False]])})
    >>> found["dense1.weight"].abs().sum(dim=2).gt(0).tolist()
    [[False, True]]
    """
    changed = weights.clone()
    for layer, mask in dead.items():
        kernel = f"{layer}.weight"
        if kernel not in network.kernels or mask.shape != weights[kernel].shape[:2] or mask.dtype != torch.bool:
            raise ShapeError(f"dead must hold bool (replica, filter) for layers of {network.name}, {layer!r} does not")
        for name in (kernel, f"{layer}.bias", f"{layer}.gamma", f"{layer}.beta"):
            if name in changed:
                changed[name][mask] = 0
    return changed


def smallest_scales(network: Network, weights: Weights, count: Tensor) -> dict[str, Tensor]:
    """The filters of smallest |gamma| over all layers, layer -> bool (replica, filter): what to remove for comparison.

    Args:
        network: with batch normalization.
        weights: of the cohort.
        count: how many, (replica,).

    Raises:
        UsageError: no scales, or more filters wanted than there are.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=2, normalization="batch")
    >>> weights = net.initialize([0])
    >>> _ = weights["dense1.gamma"].copy_(torch.tensor([[0.5, -0.1]]))
    >>> smallest_scales(net, weights, torch.tensor([1]))
    {'dense1': tensor([[False,  True]])}
    """
    layers = [name.removesuffix(".gamma") for name in weights if name.endswith(".gamma")]
    if not layers:
        raise UsageError(f"{network.name} has no scales: it needs batch normalization with scale and shift")
    sizes = [weights[f"{layer}.gamma"].shape[1] for layer in layers]
    if int(count.max()) > sum(sizes):
        raise UsageError(f"count must be at most {sum(sizes)} (the filters), {int(count.max())} came")
    scales = torch.cat([weights[f"{layer}.gamma"].abs() for layer in layers], dim=1)
    place = scales.argsort(dim=1).argsort(dim=1)
    return dict(zip(layers, torch.split(place < count.to(place).unsqueeze(1), sizes, dim=1), strict=True))


def _filters(network: Network, outputs: LayerOutputs) -> dict[str, Tensor]:
    """Activations of every layer of filters: the first elementwise function after it, by the layer's name."""
    layers = {name.removesuffix(".weight") for name in network.kernels}
    found: dict[str, Tensor] = {}
    for name, kind in outputs.kinds.items():
        layer = name.rpartition(".")[0]
        if kind in ACTIVATIONS and layer in layers and layer not in found:
            found[layer] = outputs[name]
    return found


def _percent(masks: Mapping[str, Tensor], like: Tensor) -> Tensor:
    every: Sequence[Tensor] = list(masks.values())
    if not every:
        return torch.full((len(like),), torch.nan, dtype=torch.float64, device=like.device)
    return 100 * torch.cat(list(every), dim=1).double().mean(dim=1)
