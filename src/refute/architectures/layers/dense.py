"""Dense layers: one matrix product for each replica."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import products
from refute.architectures.layers.interface import Slot, Step, Tensors, room


@dataclass(frozen=True)
class Dense:
    """y = x W^T + b. `weight` (replica, out, in), `bias` (replica, out)."""

    name: str
    inputs: int
    outputs: int
    law: str = "he-normal"
    bias: bool = True
    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        weight = Slot(f"{self.name}.weight", (self.outputs, self.inputs), self.law)
        return (weight, Slot(f"{self.name}.bias", (self.outputs,), "zeros")) if self.bias else (weight,)

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        bias = weights[f"{self.name}.bias"] if self.bias else None
        return products.linear(inputs, weights[f"{self.name}.weight"], bias)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _DenseStep(self, weights, gradients, wanted=wanted)


class _DenseStep:
    spare = True

    def __init__(self, layer: Dense, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted = wanted
        self.weight, self.weight_gradient = weights[f"{layer.name}.weight"], gradients[f"{layer.name}.weight"]
        self.bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        self.inputs = self.outputs = self.passed = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        self.outputs = room(self.outputs, (*inputs.shape[:2], self.weight.shape[1]), inputs)
        return products.linear(inputs, self.weight, self.bias, self.outputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        products.weight_gradient(gradient, self.inputs, self.weight_gradient, keep=keep)
        if self.bias_gradient is not None:
            products.put(self.bias_gradient, gradient.sum(1), keep=keep)
        if not self.wanted:
            return None
        self.passed = room(self.passed, tuple(self.inputs.shape), gradient)
        return products.input_gradient(gradient, self.weight, self.passed)
