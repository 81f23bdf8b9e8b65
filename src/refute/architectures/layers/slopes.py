"""Rectifiers whose negative side has a slope of its own: leaky relu with any slope, and SELU."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refute.architectures.layers.interface import Slot, Step, Tensors
from refute.errors import UsageError

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Fixed point of mean 0 and variance 1 (Klambauer et al. 2017, eq. 14)."""


@dataclass(frozen=True)
class LeakyRelu:
    """max(x, slope x) with 0 < slope < 1 (Maas et al. 2013).

    >>> LeakyRelu(0.5).apply(torch.tensor([-2.0, 2.0]), {}, False).tolist()
    [-1.0, 2.0]
    """

    slope: float = 0.2
    loops = False
    groups = True
    mixes = False

    def __post_init__(self) -> None:
        if not 0 < self.slope < 1:
            raise UsageError(f"the slope of a leaky relu must lie between 0 and 1, {self.slope} came")

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        return torch.nn.functional.leaky_relu(inputs, self.slope)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _LeakyReluStep(self.slope, spare=spare)


class _LeakyReluStep:
    """The derivative is read off the outputs, which have the sign of the inputs."""

    spare = False

    def __init__(self, slope: float, *, spare: bool) -> None:
        self.slope, self.in_place = slope, spare
        self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.outputs = torch.nn.functional.leaky_relu(inputs, self.slope, inplace=self.in_place)
        return self.outputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        torch.ops.aten.leaky_relu_backward.grad_input(gradient, self.outputs, self.slope, True, grad_input=gradient)
        return gradient


@dataclass(frozen=True)
class Selu:
    """scale x for x > 0, else scale alpha (exp(x) - 1) (Klambauer et al. 2017, eq. 2)."""

    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        return torch.selu(inputs)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _SeluStep(spare=spare)


class _SeluStep:
    """The derivative of the negative side is output + scale alpha."""

    spare = False

    def __init__(self, *, spare: bool) -> None:
        self.in_place = spare
        self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.outputs = torch.selu_(inputs) if self.in_place else torch.selu(inputs)
        return self.outputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        backward: Any = torch.ops.aten.elu_backward.grad_input
        backward(gradient, SELU_ALPHA, SELU_SCALE, 1.0, True, self.outputs, grad_input=gradient)
        return gradient
