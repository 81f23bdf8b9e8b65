"""Convolutions: small ones in compiled loops on the CPU (see `convolution_kernels`), others by torch (see `images`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        if not _compiled(self, weight, inputs):
            return _by_library(self, inputs, weight, bias)
        if not torch.is_grad_enabled():
            return as_replicas(_Loops(self, weight, bias).outputs(in_memory(inputs)))
        found: Tensor = _Differentiable.apply(self, inputs, weight, bias)  # type: ignore[no-untyped-call, unused-ignore]
        return found

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        of_inputs = not wanted or self.inputs % LEAST == 0
        if of_inputs and _compiled(self, weights[f"{self.name}.weight"]):
            return _CompiledStep(self, weights, gradients, wanted=wanted)
        return _LibraryStep(self, weights, gradients, wanted=wanted)


def _compiled(layer: Convolution, weight: Tensor, inputs: Tensor | None = None) -> bool:
    """Whether the compiled loops can do it and are fast at it."""
    fits = layer.outputs % LEAST == 0 and weight[0].numel() < LARGE and known(weight)
    return fits and (inputs is None or (known(inputs) and inputs.dtype == weight.dtype))


class _Loops:
    """The compiled loops of a layer, over arrays as `convolution_kernels` has them, but with their axes."""

    def __init__(self, layer: Convolution, weight: Tensor, bias: Tensor | None) -> None:
        self.layer, self.form = layer, (layer.size, layer.stride, layer.margin)
        self.weight = weight.detach().flatten(3).numpy()
        self.bias = None if bias is None else bias.detach()
        self.replicas, _, _, self.taps = self.weight.shape

    def outputs(self, inputs: Array, memory: Array | None = None) -> Array:
        _, examples, height, width, _ = inputs.shape
        axes = [forward_axis(side, *self.form) for side in (height, width)]
        tall, wide = (len(axis.counts) for axis in axes)
        found = _room(memory, (self.replicas, examples, tall, wide, self.layer.outputs), inputs)
        weight = np.empty((self.replicas, self.taps, self.layer.inputs, self.layer.outputs), inputs.dtype)
        convolution_kernels.tap_first(self.weight, False, weight)
        start = np.zeros((self.replicas, self.layer.outputs), inputs.dtype) if self.bias is None else self.bias.numpy()
        convolution_kernels.run(inputs, weight, start, found, axes)
        return found

    def of_weight(self, inputs: Array, gradient: Array) -> Array:
        """(replica, tap, in, out)."""
        found = np.empty((self.replicas, self.taps, self.layer.inputs, self.layer.outputs), inputs.dtype)
        convolution_kernels.gather(inputs, gradient, found, *self.form)
        return found

    def of_inputs(self, gradient: Array, shape: Shape, memory: Array | None = None) -> Array:
        """If the layer's inputs are a multiple of `LEAST`; `shape` is theirs."""
        axes = [backward_axis(side, *self.form) for side in shape[2:4]]
        found = _room(memory, shape, gradient)
        weight = np.empty((self.replicas, self.taps, self.layer.outputs, self.layer.inputs), gradient.dtype)
        convolution_kernels.tap_first(self.weight, True, weight)
        start = np.zeros((self.replicas, self.layer.inputs), gradient.dtype)
        convolution_kernels.run(gradient, weight, start, found, axes)
        return found


class _Differentiable(torch.autograd.Function):
    """The compiled loops where gradients are wanted; gradients of gradients go by torch's library."""

    @staticmethod
    def forward(ctx: Any, layer: Convolution, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(inputs, weight)
        return as_replicas(_Loops(layer, weight, bias).outputs(in_memory(inputs)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None, Tensor | None]:
        (inputs, weight), layer = ctx.saved_tensors, ctx.layer
        _, by_inputs, by_weight, by_bias = ctx.needs_input_grad
        of_inputs = of_weight = None
        of_bias = gradient.sum(dim=(1, 3, 4)) if by_bias else None
        again, small = torch.is_grad_enabled(), layer.inputs % LEAST != 0
        if again or (by_inputs and small):
            wanted = [by_inputs, by_weight and again]
            of_inputs, of_weight = _library_gradients(layer, gradient, inputs, weight, wanted)
        if not again:
            loops, read, of_outputs = _Loops(layer, weight, None), in_memory(inputs), in_memory(gradient)
            if by_weight:
                found = loops.of_weight(read, of_outputs).transpose(0, 3, 2, 1)
                of_weight = torch.from_numpy(found).reshape(weight.shape)
            if by_inputs and not small:
                of_inputs = as_replicas(loops.of_inputs(of_outputs, read.shape))
        return None, of_inputs, of_weight, of_bias


class _CompiledStep:
    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted = wanted
        self.weight_gradient = gradients[f"{layer.name}.weight"]
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.loops = _Loops(layer, weights[f"{layer.name}.weight"], bias)
        self.inputs: Array = np.empty(0)
        self.outputs: Array | None = None
        self.passed: Array | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = in_memory(inputs)
        self.outputs = self.loops.outputs(self.inputs, self.outputs)
        return as_replicas(self.outputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_outputs = in_memory(gradient)
        target = self.weight_gradient.flatten(3).numpy()
        convolution_kernels.tap_last(self.loops.of_weight(self.inputs, of_outputs), keep, target)
        if self.bias_gradient is not None:
            put(self.bias_gradient, _totals(gradient), keep=keep)
        if not self.wanted:
            return None
        self.passed = self.loops.of_inputs(of_outputs, self.inputs.shape, self.passed)
        return as_replicas(self.passed)


def _room(memory: Array | None, shape: Shape, like: Array) -> Array:
    """`memory` if it has that shape, else new memory."""
    return memory if memory is not None and memory.shape == shape else np.empty(shape, like.dtype)


def _by_library(layer: Convolution, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    parts = parts_of(inputs)
    together, maps = len(inputs) // len(parts), []
    for part in parts:
        own, shift = weight[part].flatten(0, 1), None if bias is None else bias[part].flatten()
        found = functional.conv2d(side_by_side(inputs[part]), own, shift, layer.stride, layer.margin, groups=together)
        maps.append(by_replica(found, together))
    return joined(maps)


def _library_gradients(
    layer: Convolution, gradient: Tensor, inputs: Tensor, weight: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Of the inputs and the weight, those that are wanted; they can be differentiated."""
    parts, of_inputs, of_weight = parts_of(gradient), [], []
    together = len(gradient) // len(parts)
    for part in parts:
        by_inputs, by_weight, _ = torch.ops.aten.convolution_backward(
            side_by_side(gradient[part]),
            side_by_side(inputs[part]),
            weight[part].flatten(0, 1),
            None,
            [layer.stride] * 2,
            [layer.margin] * 2,
            [1, 1],
            False,
            [0, 0],
            together,
            [*wanted, False],
        )
        if wanted[0]:
            of_inputs.append(by_replica(by_inputs, together))
        if wanted[1]:
            of_weight.append(by_weight.view(together, *weight.shape[1:]))
    return joined(of_inputs) if of_inputs else None, torch.cat(of_weight) if of_weight else None


class _LibraryStep:
    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.layer, self.wanted = layer, wanted
        self.weight, self.weight_gradient = weights[f"{layer.name}.weight"], gradients[f"{layer.name}.weight"]
        self.bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        self.inputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs if known(inputs) else by_replica(side_by_side(inputs), len(inputs))
        return _by_library(self.layer, self.inputs, self.weight, self.bias)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        wanted = [self.wanted, True]
        of_inputs, of_weight = _library_gradients(self.layer, gradient, self.inputs, self.weight, wanted)
        assert of_weight is not None, "wanted"
        put(self.weight_gradient, of_weight, keep=keep)
        if self.bias_gradient is not None:
            put(self.bias_gradient, _totals(gradient), keep=keep)
        return of_inputs


def _totals(gradient: Tensor) -> Tensor:
    """Its sum over examples and pixels, in a compiled loop where there is one."""
    if not known(gradient):
        return gradient.sum(dim=(1, 3, 4))
    total = np.empty((len(gradient), gradient.shape[2]))
    kernels.totals(rows_of(in_memory(gradient)), total)
    return torch.from_numpy(total).to(gradient.dtype)
