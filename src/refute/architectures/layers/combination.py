"""Layers made of layers: residual blocks, and the chain that a network is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures.layers.elementwise import Activation, FlattenStep
from refute.architectures.layers.fused import fused, maxima_first, takes
from refute.architectures.layers.interface import Layer, Slot, Step, Tensors
from refute.architectures.layers.perceptron import PAYS, PerceptronStep, perceptrons
from refute.architectures.layers.stem import stemmed


@dataclass(frozen=True)
class Residual:
    """x -> activation(scale * body(x) + shortcut(x)); an empty shortcut is the identity."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    activation: str = "relu"
    scale: float = 1.0

    @property
    def loops(self) -> bool:
        return any(layer.loops for layer in (*self.body, *self.shortcut))

    @property
    def groups(self) -> bool:
        return all(layer.groups for layer in (*self.body, *self.shortcut))

    @property
    def mixes(self) -> bool:
        return any(layer.mixes for layer in (*self.body, *self.shortcut))

    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in (*self.body, *self.shortcut) for slot in layer.slots())

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        outputs, skipped = inputs, inputs
        for layer in self.body:
            outputs = layer.apply(outputs, weights, training)
        for layer in self.shortcut:
            skipped = layer.apply(skipped, weights, training)
        summed = outputs + skipped if self.scale == 1 else torch.add(skipped, outputs, alpha=self.scale)
        return Activation(self.activation).apply(summed, weights, training)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _ResidualStep(self, weights, gradients, wanted=wanted)


class _ResidualStep:
    def __init__(self, layer: Residual, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted, self.scale = wanted, layer.scale
        self.body = Chain(layer.body, weights, gradients, wanted=wanted, spare=False)
        self.shortcut = Chain(layer.shortcut, weights, gradients, wanted=wanted, spare=False)
        self.activation = Activation(layer.activation).bind(weights, gradients, wanted=True, spare=True)
        self.spare = self.activation.spare

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, skipped = self.body.forward(inputs), self.shortcut.forward(inputs)
        outputs = outputs if self.scale == 1 else outputs * self.scale
        return self.activation.forward(
            outputs.add_(skipped) if self.body.spare or self.scale != 1 else outputs + skipped
        )

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_sum = self.activation.backward(gradient, keep=keep)
        assert of_sum is not None, "wanted when it was bound"
        of_body = self.body.backward(
            of_sum * self.scale, keep=keep
        )  # a copy: either branch may overwrite what it is given
        of_shortcut = self.shortcut.backward(of_sum, keep=keep)
        return None if of_body is None or of_shortcut is None else of_body.add_(of_shortcut)


class Chain:
    """Layers one after another, bound to the weights of some replicas: the step of a whole network."""

    def __init__(
        self, layers: Sequence[Layer], weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool
    ) -> None:
        self.steps: list[Step] = []
        if takes(weights):
            layers = fused(layers)
            layers = layers if wanted else stemmed(layers)
            layers = perceptrons(layers, weights) if PAYS else layers
        else:
            layers = maxima_first(layers)
        self.first = len(layers)  # the first step that anyone wants gradients from
        for position, layer in enumerate(layers):
            self.steps.append(layer.bind(weights, gradients, wanted=wanted, spare=spare))
            wanted = wanted or any(not slot.buffer for slot in layer.slots())
            if wanted:
                self.first = min(self.first, position)
            spare = self.steps[-1].spare
        self.spare = spare

    def forward(self, inputs: Tensor) -> Tensor:
        for step in self.steps:
            inputs = step.forward(inputs)
        return inputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        passed: Tensor | None = gradient
        for step in reversed(self.steps[self.first :]):
            assert passed is not None, "wanted by the step before"
            passed = step.backward(passed, keep=keep)
        return passed

    @property
    def perceptron(self) -> PerceptronStep | None:
        """The only step that does more than reshape, if it is a perceptron's."""
        found = [step for step in self.steps if not isinstance(step, FlattenStep)]
        return found[0] if len(found) == 1 and isinstance(found[0], PerceptronStep) else None
