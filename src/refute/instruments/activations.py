"""What every layer of a network puts out, for a whole cohort: the ground that instruments of layers stand on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.folded import Folded
from refute.architectures.layers import Activation, Layer, Renamed, Residual
from refute.architectures.looped import Looped
from refute.architectures.network import channels_together
from refute.errors import ShapeError, UnknownNameError, did_you_mean
from refute.instruments.interface import check_examples, own_examples, subject


@dataclass(frozen=True)
class LayerOutputs(Mapping[str, Tensor]):
    """Outputs after each layer in the order of the layers: name -> (replica, example, *shape).

    Attributes:
        outputs: the mapping itself.
        kinds: name -> what the layer is: "Dense", "Convolution", "BatchNorm", "relu", "Residual", ...; of what stands
            inside a module, the name of its class.
        flat: the weights (replica, parameter); where a graph was recorded, what outputs can be differentiated by.
    """

    outputs: Mapping[str, Tensor]
    kinds: Mapping[str, str]
    flat: Tensor

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.outputs:
            raise UnknownNameError(f"there is no layer {name!r}: {did_you_mean(name, tuple(self.outputs))}")
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def of_kind(self, *kinds: str) -> dict[str, Tensor]:
        """Those after layers of some kinds, for example "relu", or "Dense" and "Convolution" (pre-activations)."""
        return {name: self.outputs[name] for name in self.outputs if self.kinds[name] in kinds}


def layer_outputs(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    *,
    training: bool = False,
    differentiable: bool = False,
    inside: bool = False,
) -> LayerOutputs:
    """a_1, ..., a_L of every replica: a_l = layer_l(a_{l-1}), a_0 the inputs, one entry for each of `Network.layers`.

    Names are those of the weights ("dense1"), then of what follows them ("dense1.batchnorm", "dense1.relu"); layers
    before the first weights go by their kind ("flatten"). The last entry is the network's output.

    Args:
        network: with `weights`, or a module alone.
        weights: of the cohort; never changed, running statistics included.
        inputs: (example, *input_shape), shared, or (replica, example, *input_shape). If they require a gradient and
            `differentiable` is set, outputs can be differentiated by them too.
        training: normalize with the batch's statistics instead of the running ones, and draw noise.
        differentiable: record a graph from `LayerOutputs.flat` on, so that `torch.autograd.grad` gives derivatives of
            anything made of the outputs by the weights, or by other outputs. Outputs of a replica depend on its own
            weights alone: the gradient of a sum over replicas holds each one's.
        inside: also what stands inside residual blocks ("block1.conv1", "block1.conv1.relu", then "block1"), and every
            leaf of a module that is not a chain of refute's layers, under the module's own names, as first called.
            (Where such a module runs replica by replica, several replicas have no derivatives by what is inside.)

    Raises:
        ShapeError: inputs do not fit the network; a leaf's outputs do not lead with the examples.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=1, width=8)
    >>> found = layer_outputs(net, net.initialize([0, 1]), torch.zeros(5, 4))
    >>> {name: tuple(output.shape) for name, output in found.items()}
    {'flatten': (2, 5, 4), 'dense1': (2, 5, 8), 'dense1.relu': (2, 5, 8), 'output': (2, 5, 3)}
    """
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs)
    x = inputs.to(weights.flat.dtype) if inputs.is_floating_point() else inputs
    x = own_examples(weights, network, channels_together(x) if network.channels_last else x)
    flat = weights.flat
    if differentiable and not flat.requires_grad:
        flat = flat.detach().clone().requires_grad_()
    buffers = {name: buffer.clone() for name, buffer in weights.buffers.items()}
    walk = _Walk(Weights(weights.slots, flat, buffers), training, inside)
    with torch.set_grad_enabled(differentiable):
        walk.through(network.layers, x)
    return LayerOutputs(walk.outputs, walk.kinds, flat)


@dataclass
class _Walk:
    """Layers applied one after another, their outputs kept."""

    weights: Weights
    training: bool
    inside: bool
    outputs: dict[str, Tensor] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def through(self, layers: tuple[Layer, ...], activations: Tensor, unit: str = "") -> Tensor:
        for layer in layers:
            own = _unit(layer)
            unit = own or unit
            if self.inside and isinstance(layer, Residual):
                activations = self._residual(layer, activations)
            elif self.inside and isinstance(layer, Folded | Looped):
                with self._hooked(layer, activations):
                    activations = layer.apply(activations, self.weights, self.training)
                self._keep(f"{unit}.output" if unit in self.outputs else unit, "module", activations)
                continue
            else:
                activations = layer.apply(activations, self.weights, self.training)
            self._keep(_name(layer, own, unit, self.outputs), _kind(layer), activations)
        return activations

    def _residual(self, layer: Residual, inputs: Tensor) -> Tensor:
        body = self.through(layer.body, inputs)
        skipped = self.through(layer.shortcut, inputs) if layer.shortcut else inputs
        return Activation(layer.activation).apply(body + skipped, self.weights, self.training)

    def _keep(self, name: str, kind: str, output: Tensor) -> None:
        free, count = name, 1
        while free in self.outputs:
            count += 1
            free = f"{name}.{count}"
        self.outputs[free], self.kinds[free] = output, kind

    @contextmanager
    def _hooked(self, layer: Folded | Looped, inputs: Tensor) -> Iterator[None]:
        """Keeps what each leaf of the module puts out: all replicas at once, or one after the other."""
        replicas, examples = inputs.shape[:2]
        together = 1 if isinstance(layer, Looped) else replicas
        leaves = {name: m for name, m in layer.template.named_modules() if name and not any(m.children())}
        calls: dict[str, list[Tensor]] = {}

        def kept(name: str, output: object) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            if len(output) != together * examples:
                raise ShapeError(
                    f"outputs of {name} should lead with {together * examples} examples, but are {tuple(output.shape)}:"
                    " leave `inside` out"
                )
            apart = output.view(together, examples, *output.shape[1:])
            calls.setdefault(name, []).append(apart)
            return apart.flatten(0, 1).clone()  # layers after it work in place, and depend on what is kept

        handles = [
            module.register_forward_hook(lambda _module, _inputs, output, name=name: kept(name, output))
            for name, module in leaves.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        for name, found in calls.items():
            each = len(found) // (replicas // together)
            for call in range(each):
                one = found[call::each]
                self._keep(name, _class(leaves[name]), one[0] if len(one) == 1 else torch.cat(one))


def _unit(layer: Layer) -> str:
    """Name of the weights a layer owns, without the tensor's; of a block what its tensors share."""
    names = [slot.name.rpartition(".")[0] for slot in layer.slots()]
    if isinstance(layer, Folded | Looped):
        return "module"
    if isinstance(layer, Residual):
        return names[0].split(".")[0]
    return names[0] if names else ""


def _name(layer: Layer, own: str, unit: str, taken: Mapping[str, Tensor]) -> str:
    if own and own not in taken:
        return own
    kind = _kind(layer).lower()
    return f"{unit}.{kind}" if unit else kind


def _kind(layer: Layer) -> str:
    if isinstance(layer, Renamed):
        return _kind(layer.layer)
    return layer.function if isinstance(layer, Activation) else type(layer).__name__


def _class(module: torch.nn.Module) -> str:
    return type(module).__name__.removesuffix("ByReplica")
