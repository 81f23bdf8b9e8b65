"""Networks whose tensors carry a leading replica axis, and the weights of a whole cohort.

All trained tensors of a cohort live in one buffer `flat` (replica, parameter), so that an optimizer step is a few
operations over one array; `weights["dense1.weight"]` is a view of it.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from refute.architectures.initialization import draw
from refute.architectures.layers import BATCH_NORM_MOMENTUM, FromModule, Layer, Slot
from refute.errors import ShapeError
from refute.randomness import stream

EVALUATION_BATCH = 2000
"""Examples per forward pass of an evaluation: large enough for full speed, small enough for any cohort's memory."""


@dataclass(frozen=True)
class Weights(Mapping[str, Tensor]):
    """The tensors of a cohort: name -> (replica, *shape). `flat` (replica, parameter) holds all trained ones."""

    slots: tuple[Slot, ...]
    flat: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def _views(self) -> dict[str, Tensor]:
        trained = [slot for slot in self.slots if not slot.buffer]
        sizes = [math.prod(slot.shape) for slot in trained]
        pieces = torch.split(self.flat, sizes, dim=1)
        views = {s.name: piece.view(len(self.flat), *s.shape) for s, piece in zip(trained, pieces, strict=True)}
        return {**views, **self.buffers}

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def replicas(self) -> int:
        return len(self.flat)

    def clone(self) -> "Weights":
        """A copy that shares no memory."""
        return Weights(self.slots, self.flat.clone(), {name: buffer.clone() for name, buffer in self.buffers.items()})

    def take(self, replicas: slice) -> "Weights":
        """Views of some replicas."""
        return Weights(self.slots, self.flat[replicas], {name: b[replicas] for name, b in self.buffers.items()})

    def replaced(self, names: Sequence[str], other: "Weights") -> "Weights":
        """A copy in which the named tensors come from `other`."""
        changed = self.clone()
        for name in names:
            changed[name].copy_(other[name])
        return changed

    def finite(self) -> Tensor:
        """Which replicas hold only finite numbers, bool (replica,)."""
        return torch.isfinite(self.flat).all(dim=1)


@dataclass(frozen=True)
class Network:
    """A chain of layers with its input shape (without batch) and number of outputs."""

    name: str
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    outputs: int
    initial: Callable[[int], Mapping[str, Tensor]] | None = None
    """For networks made from modules: seed -> tensors without the replica axis."""

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in self.layers for slot in layer.slots())

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the linear maps' weights, input side first; biases and normalization excluded."""
        return tuple(slot.name for slot in self.slots if slot.kernel)

    @property
    def units(self) -> dict[str, tuple[str, ...]]:
        """Weight layer (or residual block) -> names of all its tensors, biases and normalization included."""
        groups = itertools.groupby(self.slots, key=lambda slot: slot.name.split(".")[0])
        return {unit: tuple(slot.name for slot in slots) for unit, slots in groups}

    @property
    def mode(self) -> str:
        """ "looped" (one replica at a time, for convolutions and modules) or "stacked" (all at once, dense nets)."""
        return "looped" if any(layer.loops for layer in self.layers) else "stacked"

    def parameters(self) -> int:
        """Number of trained numbers of one replica."""
        return sum(math.prod(slot.shape) for slot in self.slots if not slot.buffer)

    def initialize(self, seeds: Sequence[int], *, purpose: str = "initialization", device: str = "cpu") -> Weights:
        """Weights (replica leading), each replica drawn from its own stream of (seed, purpose)."""
        drawn = [self._draw(seed, purpose) for seed in seeds]
        trained = [slot for slot in self.slots if not slot.buffer]
        rows = [torch.cat([tensors[slot.name].reshape(-1) for slot in trained]) for tensors in drawn]
        buffers = {
            slot.name: torch.stack([tensors[slot.name] for tensors in drawn]).to(device)
            for slot in self.slots
            if slot.buffer
        }
        return Weights(self.slots, torch.stack(rows).to(device), buffers)

    def _draw(self, seed: int, purpose: str) -> Mapping[str, Tensor]:
        generator = stream(seed, purpose)
        if self.initial is not None:
            return self.initial(generator.initial_seed())
        return {slot.name: draw(slot.law, slot.shape, generator) for slot in self.slots}

    def __call__(self, weights: Mapping[str, Tensor], inputs: Tensor, *, training: bool = False) -> Tensor:
        """Outputs (replica, batch, output) of inputs (replica, batch, *input_shape), all replicas in one pass."""
        activations = inputs
        for layer in self.layers:
            activations = layer.apply(activations, weights, training)
        return activations

    @torch.no_grad()
    def evaluate(self, weights: Weights, inputs: Tensor, *, batch: int = EVALUATION_BATCH) -> Tensor:
        """Outputs (replica, example, output), in evaluation mode.

        `inputs` is (example, *input_shape), shared by all replicas, or (replica, example, *input_shape).
        """
        shared = tuple(inputs.shape[1:]) == self.input_shape
        if not shared and tuple(inputs.shape[2:]) != self.input_shape:
            raise ShapeError(
                f"inputs of {self.name} must be (example, {', '.join(map(str, self.input_shape))}) or the same "
                f"after a replica axis, {tuple(inputs.shape)} came"
            )
        if self.mode == "looped":
            replicas = range(weights.replicas)
            each = (
                self._one_pass(weights.take(slice(r, r + 1)), inputs if shared else inputs[r : r + 1], shared, batch)
                for r in replicas
            )
            return torch.cat(list(each))
        return self._one_pass(weights, inputs, shared, batch)

    def _one_pass(self, weights: Weights, inputs: Tensor, shared: bool, batch: int) -> Tensor:
        if shared:
            inputs = inputs.unsqueeze(0).expand(weights.replicas, *inputs.shape)
        return torch.cat([self(weights, chunk) for chunk in torch.split(inputs, batch, dim=1)], dim=1)

    @staticmethod
    def from_module(
        make_module: Callable[[], torch.nn.Module], *, input_shape: tuple[int, ...], outputs: int, name: str = "module"
    ) -> "Network":
        """Any nn.Module factory as a network, in looped mode.

        The factory draws its weights from torch's global generator, which is seeded for each replica and put back.

        >>> net = Network.from_module(lambda: torch.nn.Linear(3, 2), input_shape=(3,), outputs=2)
        >>> net.evaluate(net.initialize([0, 1]), torch.zeros(5, 3)).shape
        torch.Size([2, 5, 2])
        """

        def initial(seed: int) -> Mapping[str, Tensor]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                module = make_module()
            named = (*module.named_parameters(), *module.named_buffers())
            return {name: tensor.detach().clone() for name, tensor in named}

        return Network(name, (FromModule(make_module()),), input_shape, outputs, initial)


def estimate_statistics(network: Network, weights: Weights, inputs: Tensor) -> Weights:
    """A copy whose running statistics are those of `inputs` (replica, example, *input_shape), one exact pass."""
    settled = weights.clone()
    if not settled.buffers:
        return settled
    replicas = [slice(r, r + 1) for r in range(weights.replicas)] if network.mode == "looped" else [slice(None)]
    with torch.no_grad():
        for replica in replicas:
            _settle(network.layers, settled.take(replica), inputs[replica])
    return settled


def _settle(layers: tuple[Layer, ...], weights: Weights, inputs: Tensor) -> None:
    """Set every running statistic to the batch statistic of one large batch, in place.

    A pass in training mode moves a statistic s to (1 - m) s + m b with b the batch's; from s = 0 it becomes m b.
    """
    statistics = [buffer for buffer in weights.buffers.values() if buffer.is_floating_point()]
    for buffer in statistics:
        buffer.zero_()
    activations = inputs
    for layer in layers:
        activations = layer.apply(activations, weights, True)
    for buffer in statistics:
        buffer.div_(BATCH_NORM_MOMENTUM)
