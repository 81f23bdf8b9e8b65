"""Convolutions: small ones in compiled loops on the CPU (see `convolution_kernels`), others by torch (see `images`)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.architectures.layers import convolution_kernels, kernels
from refute.architectures.layers.arrays import as_replicas, in_memory, known, rows_of
from refute.architectures.layers.axes import backward_axis, forward_axis
from refute.architectures.layers.convolution_kernels import LEAST
from refute.architectures.layers.images import by_replica, joined, parts_of, side_by_side
from refute.architectures.layers.interface import Shape, Slot, Step, Tensors
from refute.architectures.layers.kernels import Array
from refute.architectures.products import put

LARGE = 9 * 64 * 64
"""Weights of a layer from which on torch's library is as fast or faster: one reads them too often otherwise."""


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
        weight, bias = weights[f"{self.name}.weight"], weights[f"{self.name}.bias"] if self.bias else None
        if not torch.is_grad_enabled() and _compiled(self, weight, inputs):
            return _CompiledStep(self, weights, {}, wanted=False).forward(inputs)
        maps = [
            functional.conv2d(
                side_by_side(inputs[part]),
                weight[part].flatten(0, 1),
                None if bias is None else bias[part].flatten(),
                stride=self.stride,
                padding=self.margin,
                groups=len(weight[part]),
            )
            for part in parts_of(inputs)
        ]
        return joined([by_replica(each, len(inputs) // len(maps)) for each in maps])

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        of_inputs = not wanted or self.inputs % LEAST == 0
        if of_inputs and _compiled(self, weights[f"{self.name}.weight"]):
            return _CompiledStep(self, weights, gradients, wanted=wanted)
        return _LibraryStep(self, weights, gradients, wanted=wanted)


def _compiled(layer: Convolution, weight: Tensor, inputs: Tensor | None = None) -> bool:
    """Whether the compiled loops can do it and are fast at it."""
    fits = layer.outputs % LEAST == 0 and weight[0].numel() < LARGE and known(weight)
    return fits and (inputs is None or (known(inputs) and inputs.dtype == weight.dtype))


class _CompiledStep:
    """Arrays as `convolution_kernels` has them, but with their axes."""

    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.wanted = layer, wanted
        names = [slot.name for slot in layer.slots()]
        weight, *bias = (weights[name].detach() for name in names)
        self.targets = [gradients[name] for name in names if gradients]
        self.weight, self.bias = weight.flatten(3).numpy(), bias
        replicas, outputs, inputs, taps = self.weight.shape
        self.taps_first = np.empty((replicas, taps, inputs, outputs), self.weight.dtype)
        nothing = np.empty(0, self.weight.dtype)
        self.inputs, self.outputs, self.passed = nothing, nothing, nothing

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = in_memory(inputs)
        replicas, examples, *size, _ = self.inputs.shape
        axes = [forward_axis(side, *self._form()) for side in size]
        tall, wide = (len(axis.counts) for axis in axes)
        self.outputs = _room(self.outputs, (replicas, examples, tall, wide, self.layer.outputs))
        start = self.bias[0].numpy() if self.bias else np.zeros((replicas, self.layer.outputs), self.inputs.dtype)
        convolution_kernels.tap_first(self.weight, False, self.taps_first)
        convolution_kernels.run(self.inputs, self.taps_first, start, self.outputs, axes)
        return as_replicas(self.outputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_outputs = in_memory(gradient)
        weight_gradient, *bias_gradient = self.targets
        found = np.empty_like(self.taps_first)
        convolution_kernels.gather(self.inputs, of_outputs, found, *self._form())
        convolution_kernels.tap_last(found, keep, weight_gradient.flatten(3).numpy())
        for target in bias_gradient:
            total = np.empty((len(of_outputs), self.layer.outputs))
            kernels.totals(rows_of(of_outputs), total)
            put(target, torch.from_numpy(total).to(gradient.dtype), keep=keep)
        if not self.wanted:
            return None
        self.passed = _room(self.passed, self.inputs.shape)
        axes = [backward_axis(side, *self._form()) for side in self.inputs.shape[2:4]]
        turned = np.empty((*self.taps_first.shape[:2], self.layer.outputs, self.layer.inputs), self.inputs.dtype)
        convolution_kernels.tap_first(self.weight, True, turned)
        start = np.zeros((len(turned), self.layer.inputs), self.inputs.dtype)
        convolution_kernels.run(of_outputs, turned, start, self.passed, axes)
        return as_replicas(self.passed)

    def _form(self) -> tuple[int, int, int]:
        return self.layer.size, self.layer.stride, self.layer.margin


class _LibraryStep:
    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.wanted = layer, wanted
        self.weight, self.weight_gradient = weights[f"{layer.name}.weight"], gradients[f"{layer.name}.weight"]
        self.bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        self.sides = [layer.stride] * 2, [layer.margin] * 2, [1, 1]
        self.inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        parts = parts_of(inputs)
        self.inputs = [side_by_side(inputs[part]) for part in parts]
        together, outputs = len(inputs) // len(parts), []
        for part, own in zip(parts, self.inputs, strict=True):
            bias = None if self.bias is None else self.bias[part].flatten()
            maps = torch.conv2d(own, self.weight[part].flatten(0, 1), bias, *self.sides, together)
            outputs.append(by_replica(maps, together))
        return joined(outputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        parts, by_kernel, passed = parts_of(gradient), known(gradient), []
        together = len(gradient) // len(parts)
        for part, own in zip(parts, self.inputs, strict=True):
            weight = self.weight[part].flatten(0, 1)
            of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
                side_by_side(gradient[part]),
                own,
                weight,
                [len(weight)],
                *self.sides,
                False,
                [0, 0],
                together,
                [self.wanted, True, self.layer.bias and not by_kernel],
            )
            target = self.weight_gradient[part]
            put(target, of_weight.view(target.shape), keep=keep)
            if self.bias_gradient is not None:
                of_bias = _totals(gradient[part]) if by_kernel else of_bias
                target = self.bias_gradient[part]
                put(target, of_bias.view(target.shape), keep=keep)
            passed.append(of_input)
        return joined([by_replica(each, together) for each in passed]) if self.wanted else None


def _totals(gradient: Tensor) -> Tensor:
    """Its sum over examples and pixels; oneDNN would take two to three times as long, with the kernels' gradient."""
    total = np.empty((len(gradient), gradient.shape[2]))
    kernels.totals(rows_of(in_memory(gradient)), total)
    return torch.from_numpy(total).to(gradient.dtype)


def _room(memory: Array, shape: Shape) -> Array:
    return memory if memory.shape == shape else np.empty(shape, memory.dtype)
