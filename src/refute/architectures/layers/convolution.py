"""Convolutions: replica by replica (`Network` then loops over replicas, so that each one stays in cache)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

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
    mixes = False

    @property
    def margin(self) -> int:
        """Zeros on each side of the image."""
        return self.size // 2 if self.padding is None else self.padding

    def slots(self) -> tuple[Slot, ...]:
        weight = Slot(f"{self.name}.weight", (self.outputs, self.inputs, self.size, self.size), self.law)
        return (weight, Slot(f"{self.name}.bias", (self.outputs,), "zeros")) if self.bias else (weight,)

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        kernels = weights[f"{self.name}.weight"]
        biases = weights[f"{self.name}.bias"] if self.bias else [None] * len(kernels)
        maps = [
            functional.conv2d(x, kernel, bias, stride=self.stride, padding=self.margin)
            for x, kernel, bias in zip(inputs, kernels, biases, strict=True)
        ]
        return joined(maps)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _ConvolutionStep(self, weights, gradients, wanted=wanted)


class _ConvolutionStep:
    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.weights, self.wanted = layer, weights, wanted
        self.kernels = weights[f"{layer.name}.weight"]
        self.kernel_gradients = gradients[f"{layer.name}.weight"]
        self.bias_gradients = gradients[f"{layer.name}.bias"] if layer.bias else None
        self.inputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return self.layer.apply(inputs, self.weights, True)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        stride, margin = [self.layer.stride] * 2, [self.layer.margin] * 2
        passed = []
        for replica, (g, x, kernel) in enumerate(zip(gradient, self.inputs, self.kernels, strict=True)):
            mask = [self.wanted, True, self.layer.bias]
            of_input, of_kernel, of_bias = torch.ops.aten.convolution_backward(
                g, x, kernel, [self.layer.outputs], stride, margin, [1, 1], False, [0, 0], 1, mask
            )
            put(self.kernel_gradients[replica], of_kernel, keep=keep)
            if self.bias_gradients is not None:
                put(self.bias_gradients[replica], of_bias, keep=keep)
            passed.append(of_input)
        return joined(passed) if self.wanted else None


def joined(parts: list[Tensor]) -> Tensor:
    """One tensor (replica, ...) of each replica's own; of one replica a view."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
