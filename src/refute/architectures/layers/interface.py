"""What every layer can do.

A layer is a frozen value that knows which tensors it owns and how it maps the activations of a whole cohort: `apply`
is its definition, for evaluation and for instruments that differentiate. For training it is bound to the weights of
some replicas: a `Step` keeps what its backward pass needs, writes gradients where the optimizer reads them, and uses
its memory again from step to step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refute.architectures.products import put

Shape = tuple[int, ...]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Slot:
    """One tensor of a network, without its replica axis. A buffer is not trained (running statistics)."""

    name: str
    shape: Shape
    law: str
    buffer: bool = False

    @property
    def kernel(self) -> bool:
        """Whether it is the weight of a linear map (not a bias, not a normalization parameter)."""
        return not self.buffer and len(self.shape) >= 2


class Step(Protocol):
    """A layer in training, bound to the weights of some replicas. Called with gradients switched off."""

    @property
    def spare(self) -> bool:
        """Whether whoever gets the outputs may overwrite them."""
        ...

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the replicas; valid until the next call."""
        ...

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        """Put the gradients of the layer's weights in place; give that of its inputs if it is wanted.

        `gradient` is that of the outputs of the last `forward`, and may be overwritten. `keep`: a gradient g turns what
        is in its place, h, into keep h + g: 0 overwrites it, 1 adds to it, a momentum makes a velocity of it.
        """
        ...


class Layer(Protocol):
    """A layer. Activations lead with (replica, batch), weights with (replica)."""

    @property
    def loops(self) -> bool:
        """Whether it wants one replica at a time."""
        ...

    @property
    def groups(self) -> bool:
        """Whether it takes small groups of replicas all the same, if their activations stay in cache."""
        ...

    @property
    def mixes(self) -> bool:
        """Whether in training an example's output depends on the other examples of its batch."""
        ...

    def slots(self) -> tuple[Slot, ...]:
        """The tensors it owns."""
        ...

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        """Outputs (replica, batch, ...) of inputs (replica, batch, ...)."""
        ...

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:
        """A step over these weights. `wanted`: gradients of the inputs are; `spare`: inputs may be overwritten."""
        ...


class Differentiated:
    """The step of a layer that has no backward pass of its own: automatic differentiation of its `apply`."""

    spare = False

    def __init__(self, layer: Layer, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.wanted = layer, wanted
        names = [slot.name for slot in layer.slots()]
        trained = {slot.name for slot in layer.slots() if not slot.buffer}
        self.weights = {name: weights[name].detach().requires_grad_(name in trained) for name in names}
        self.leaves = [self.weights[name] for name in names if name in trained]
        self.targets = [gradients[name] for name in names if name in trained]
        self.inputs = self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs.detach().requires_grad_(self.wanted)
        with torch.enable_grad():
            self.outputs = self.layer.apply(self.inputs, self.weights, True)
        return self.outputs.detach()

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        sources = [*self.leaves, self.inputs] if self.wanted else self.leaves
        found = torch.autograd.grad(self.outputs, sources, gradient, allow_unused=True)
        for target, of_weight in zip(self.targets, found, strict=False):
            put(target, torch.zeros_like(target) if of_weight is None else of_weight, keep=keep)
        return found[-1] if self.wanted else None


def room(memory: Tensor, shape: Shape, like: Tensor) -> Tensor:
    """`memory` if it has that shape, else new memory like `like`."""
    return memory if memory.shape == shape else torch.empty(shape, dtype=like.dtype, device=like.device)
