"""Modules made of layers that refute has itself: translated, they get their hand-written backward passes."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refute.architectures.layers import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Renamed,
    Residual,
)
from refute.architectures.tracing import Branches, Named, Part, parts_of


@dataclass(frozen=True)
class _Rule:
    """How one kind of module is translated: its layers by name, or None for settings that refute does not have.

    `names` are the module's names of tensors and the layer's.
    """

    layers: Callable[..., tuple[Layer, ...] | None]
    names: Mapping[str, str]


def as_chain(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Layer, ...] | None:
    """The module as layers of refute, or None if it is not an nn.Sequential of such layers with such settings.

    Their tensors keep the module's names; counts of batches are left out.

    Args:
        module: on the CPU; its weights are not used.
        input_shape: of one example.

    >>> layers = as_chain(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)), (4,))
    >>> [slot.name for layer in layers[1:] for slot in layer.slots()]
    ['1.weight', '1.bias', '1.running_mean', '1.running_var', '2.weight', '2.bias']
    """
    parts = [Named(name, part) for name, part in _parts(module, "")]
    if _changed(module) or not all(type(part.module) in RULES for part in parts):
        return None
    if _tied([part.module for part in parts]):
        return None
    return _layers(parts, input_shape)


def followed(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Layer, ...] | None:
    """As `as_chain`, of any module whose code can be followed from layer to layer, with residual connections.

    That the layers do the same as the module is for the caller to try out (see `tracing`).

    >>> class Skipping(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.inside = nn.Linear(4, 4)
    ...     def forward(self, x):
    ...         return torch.relu(x + self.inside(x))
    >>> [type(layer).__name__ for layer in followed(Skipping(), (4,))]
    ['Residual', 'Activation']
    """
    parts = None if _changed(module) else parts_of(module)
    layers = _layers(parts, input_shape) if parts else None
    if layers is None:
        return None
    own = [slot.name for layer in layers for slot in layer.slots()]
    trained = {name for name, _ in module.named_parameters()}
    return layers if len(set(own)) == len(own) and trained <= set(own) else None


def _layers(parts: Sequence[Part], input_shape: tuple[int, ...]) -> tuple[Layer, ...] | None:
    """None where refute has no such layer, or the parts do not take such inputs."""
    try:
        return _translated(parts, torch.zeros(2, *input_shape))[0] if parts else None
    except (RuntimeError, _NoSuchLayerError):
        return None


class _NoSuchLayerError(Exception):
    """refute has no layer with these settings."""


def _translated(parts: Sequence[Part], activations: Tensor) -> tuple[tuple[Layer, ...], Tensor]:
    """The layers, and what comes out of them for these activations (example, ...)."""
    layers: list[Layer] = []
    for part, following in itertools.zip_longest(parts, parts[1:]):
        if isinstance(part, Branches):
            shortcut, _ = _translated(part.shortcut, activations)
            body, activations = _translated(part.body, activations)
            layers.append(Residual(body, shortcut, "identity"))
            continue
        rule = RULES.get(type(part.module))
        behind = following.module if isinstance(following, Named) else nn.Identity()
        found = rule.layers(part.module, part.name or "module", activations.ndim - 1, behind) if rule else None
        if rule is None or found is None:
            raise _NoSuchLayerError
        names = {ours: theirs for theirs, ours in rule.names.items()}
        layers += [_with_names(layer, part.name, names) for layer in found]
        activations = _after(part.module, activations)
    return tuple(layers), activations


def _with_names(layer: Layer, module: str, names: Mapping[str, str]) -> Layer:
    """The layer with the module's names for its tensors."""
    own = [slot.name for slot in layer.slots()]
    seen = [names[name.rpartition(".")[2]] for name in own]
    pairs = tuple((name, f"{module}.{key}" if module else key) for name, key in zip(own, seen, strict=True))
    return layer if all(name == other for name, other in pairs) else Renamed(layer, pairs)


def _changed(module: nn.Module) -> bool:
    """Whether something acts on it from outside: hooks, or weights that must not be trained."""
    hooks = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())
    return hooks or not all(parameter.requires_grad for parameter in module.parameters())


def _tied(parts: list[nn.Module]) -> bool:
    tensors = [id(tensor) for part in parts for tensor in part.parameters()]
    return len(set(tensors)) < len(tensors)


def _parts(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield prefix, module
        return
    for key, child in module._modules.items():
        assert child is not None
        yield from _parts(child, f"{prefix}.{key}" if prefix else key)


@torch.no_grad()
def _after(module: nn.Module, activations: Tensor) -> Tensor:
    training = module.training
    try:
        found: Tensor = module.eval()(activations)
    finally:
        module.train(training)
    return found


def _dense(module: nn.Linear, name: str, axes: int, _: nn.Module) -> tuple[Layer, ...] | None:
    fits = axes == 1
    return (Dense(name, module.in_features, module.out_features, bias=module.bias is not None),) if fits else None


def _convolution(module: nn.Conv2d, name: str, axes: int, _: nn.Module) -> tuple[Layer, ...] | None:
    size, stride, margin = module.kernel_size[0], module.stride[0], module.padding[0]
    squares = (module.kernel_size, module.stride, module.padding) == ((size,) * 2, (stride,) * 2, (margin,) * 2)
    plain = module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
    if axes != 3 or not squares or not plain or not isinstance(margin, int):
        return None
    channels = module.in_channels, module.out_channels
    return (Convolution(name, *channels, size, stride, bias=module.bias is not None, padding=margin),)


def _batch_norm(module: nn.BatchNorm2d, name: str, axes: int, _: nn.Module) -> tuple[Layer, ...] | None:
    standard = module.eps == BATCH_NORM_EPSILON and module.momentum == BATCH_NORM_MOMENTUM
    fits = standard and module.track_running_stats and axes in (1, 3)
    return (BatchNorm(name, module.num_features, affine=module.affine),) if fits else None


def _max_pool(module: nn.MaxPool2d, _: str, axes: int, __: nn.Module) -> tuple[Layer, ...] | None:
    size = module.kernel_size
    plain = module.padding in (0, (0, 0)) and module.dilation in (1, (1, 1)) and not module.return_indices
    fits = axes == 3 and isinstance(size, int) and module.stride in (size, (size, size)) and plain
    return (MaxPool(size, ceil=module.ceil_mode),) if fits and isinstance(size, int) else None


def _average(module: nn.AdaptiveAvgPool2d, _: str, axes: int, following: nn.Module) -> tuple[Layer, ...] | None:
    fits = axes == 3 and module.output_size in (1, (1, 1)) and type(following) is nn.Flatten
    return (GlobalAveragePool(),) if fits else None


def _flatten(module: nn.Flatten, _: str, __: int, ___: nn.Module) -> tuple[Layer, ...] | None:
    return (Flatten(),) if module.start_dim == 1 and module.end_dim == -1 else None


def _activation(function: str, **settings: float | str) -> _Rule:
    """An activation with these settings."""

    def layers(module: nn.Module, *_: object) -> tuple[Layer, ...] | None:
        fits = all(getattr(module, name) == value for name, value in settings.items())
        return (Activation(function),) if fits else None

    return _Rule(layers, {})


_AFFINE = {"weight": "weight", "bias": "bias"}
_STATISTICS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "running_mean",
    "running_var": "running_variance",
}

RULES: dict[type[nn.Module], _Rule] = {
    nn.Linear: _Rule(_dense, _AFFINE),
    nn.Conv2d: _Rule(_convolution, _AFFINE),
    nn.BatchNorm1d: _Rule(_batch_norm, _STATISTICS),
    nn.BatchNorm2d: _Rule(_batch_norm, _STATISTICS),
    nn.MaxPool2d: _Rule(_max_pool, {}),
    nn.AdaptiveAvgPool2d: _Rule(_average, {}),
    nn.Flatten: _Rule(_flatten, {}),
    nn.Identity: _Rule(lambda *_: (), {}),
    nn.Dropout: _Rule(lambda module, *_: () if module.p == 0.0 else None, {}),
    nn.ReLU: _activation("relu"),
    nn.Tanh: _activation("tanh"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.GELU: _activation("gelu", approximate="none"),
    nn.Softplus: _activation("softplus", beta=1.0, threshold=20.0),
    nn.ELU: _activation("elu", alpha=1.0),
    nn.SiLU: _activation("silu"),
    nn.LeakyReLU: _activation("leaky-relu", negative_slope=0.01),
}
"""Kind of module -> how it is translated. Another kind of layer is one more line."""
