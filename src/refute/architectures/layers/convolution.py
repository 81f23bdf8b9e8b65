"""Convolutions: of one replica, or of several at once in groups (see `images`; `Network.together` says how many)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.architectures.layers import kernels
from refute.architectures.layers.arrays import in_memory, known, rows_of
from refute.architectures.layers.images import by_replica, side_by_side
from refute.architectures.layers.interface import Slot, Step, Tensors
from refute.architectures.products import put


@dataclass(frozen=True)
class Convolution:
    """Two-dimensional convolution. `weight` (replica, out, in, size, size), `bias` (replica, out).

    `padding` is half of `size` (rounded down) by default, which keeps the image's size at stride 1.
    """

    name: str
    inputs: int
    outputs: int
    size: int = 3
    stride: int = 1
    law: str = "he-normal"
    bias: bool = True
    padding: int | None = None
    loops = True
    groups = True
    mixes = False

    @property
    def margin(self) -> int:
        """Zeros on each side of the image."""
        return self.size // 2 if self.padding is None else self.padding

    def slots(self) -> tuple[Slot, ...]:
        weight = Slot(f"{self.name}.weight", (self.outputs, self.inputs, self.size, self.size), self.law)
        return (weight, Slot(f"{self.name}.bias", (self.outputs,), "zeros")) if self.bias else (weight,)

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        kernels, replicas = weights[f"{self.name}.weight"].flatten(0, 1), len(inputs)
        bias = weights[f"{self.name}.bias"].flatten() if self.bias else None
        maps = functional.conv2d(
            side_by_side(inputs), kernels, bias, stride=self.stride, padding=self.margin, groups=replicas
        )
        return by_replica(maps, replicas)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _ConvolutionStep(self, weights, gradients, wanted=wanted)


class _ConvolutionStep:
    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.wanted = layer, wanted
        self.weight, self.weight_gradient = weights[f"{layer.name}.weight"], gradients[f"{layer.name}.weight"]
        self.bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        self.sides = [layer.stride] * 2, [layer.margin] * 2, [1, 1]
        self.inputs = self.kernels = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        replicas = len(inputs)
        self.inputs, self.kernels = side_by_side(inputs), self.weight.flatten(0, 1)
        bias = None if self.bias is None else self.bias.flatten()
        return by_replica(torch.conv2d(self.inputs, self.kernels, bias, *self.sides, replicas), replicas)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        replicas, by_kernel = len(gradient), known(gradient)
        of_input, of_kernel, of_bias = torch.ops.aten.convolution_backward(
            side_by_side(gradient),
            self.inputs,
            self.kernels,
            [len(self.kernels)],
            *self.sides,
            False,
            [0, 0],
            replicas,
            [self.wanted, True, self.layer.bias and not by_kernel],
        )
        put(self.weight_gradient, of_kernel.view(self.weight_gradient.shape), keep=keep)
        if self.bias_gradient is not None:
            of_bias = _totals(gradient) if by_kernel else of_bias
            put(self.bias_gradient, of_bias.view(self.bias_gradient.shape), keep=keep)
        return by_replica(of_input, replicas) if self.wanted else None


def _totals(gradient: Tensor) -> Tensor:
    """Its sum over examples and pixels; oneDNN would take two to three times as long, with the kernels' gradient."""
    rows = rows_of(in_memory(gradient), len(gradient))
    total = np.empty((1, gradient.shape[0] * gradient.shape[2]))
    kernels.totals(rows, total)
    return torch.from_numpy(total).to(gradient.dtype)
