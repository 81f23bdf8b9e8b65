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
from refute.architectures.layers.images import by_replica, joined, parts_of, side_by_side
from refute.architectures.layers.interface import Shape, Slot, Step, Tensors
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.small_products import LEAST, WIDEST
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
        if not _compiled(weight, inputs):
            return _by_library(self, inputs, weight, bias)
        if not torch.is_grad_enabled():
            return _by_loops(self, inputs, weight, bias)
        found: Tensor = _Differentiable.apply(self, inputs, weight, bias)  # type: ignore[no-untyped-call, unused-ignore]
        return found

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        if _compiled(weights[f"{self.name}.weight"]):
            return CompiledStep(self, weights, gradients, wanted=wanted)
        return LibraryStep(self, weights, gradients, wanted=wanted)


def _compiled(weight: Tensor, inputs: Tensor | None = None) -> bool:
    """Whether the compiled loops can do it and are fast at it."""
    fits = weight[0].numel() < LARGE and known(weight)
    return fits and (inputs is None or (known(inputs) and inputs.dtype == weight.dtype))


class _Loops:
    """The compiled loops of a layer, over arrays as `convolution_kernels` has them, but with their axes.

    Channels that are missing to a multiple of `LEAST` are added to what is written, and left out of what is given.
    Images of few channels get their margin of zeros, so that all pixels are alike: long loops cost less than zeros.

    If `LEAST` channels are written, two pixels beside one another are taken for one with twice as many: a kernel of one
    more column, half of whose outer columns is zero, that moves on by two. A register is full then, so that twelve
    products do what were eighteen of 3 x 3. A number that is not finite reaches one pixel more for it.
    """

    def __init__(self, layer: Convolution, weight: Tensor, bias: Tensor | None) -> None:
        self.layer, self.margin = layer, layer.margin if layer.inputs < LEAST else 0  # that is added
        self.form = layer.size, layer.stride, layer.margin - self.margin
        self.weight = _by_taps(weight)
        self.bias = None if bias is None else bias.detach().numpy()
        self.replicas, _, _, self.taps = self.weight.shape
        nothing: Array = np.empty(0, self.weight.dtype)
        self.outputs, self.passed = nothing, nothing  # memory for them

    def forward(self, inputs: Array) -> Tensor:
        """Outputs, of inputs with their `widened` margin; valid until the next call."""
        _, examples, height, width, channels = inputs.shape
        (size, stride, margin), written = self.form, _whole(self.layer.outputs)
        down, along = (forward_axis(side, *self.form) for side in (height, width))
        tall, wide = len(down.counts), len(along.counts)
        self.outputs = outputs = _room(self.outputs, (self.replicas, examples, tall, wide, written))
        weight = np.zeros((self.replicas, self.taps, channels, written), inputs.dtype)
        convolution_kernels.tap_first(self.weight, False, weight)
        start = np.zeros((self.replicas, written), inputs.dtype)
        start[:, : self.layer.outputs] = 0 if self.bias is None else self.bias
        if _pairs(written, stride, wide, inputs):
            weight, start, outputs = _paired(weight, size), np.tile(start, 2), _by_pairs(outputs)
            along = forward_axis(width, size + 1, 2, margin)
        convolution_kernels.run(inputs, weight, start, outputs, (down, along))
        return as_replicas(self.outputs)[:, :, : self.layer.outputs]

    def widened(self, inputs: Array) -> Array:
        if self.margin == 0:
            return inputs
        side = slice(self.margin, -self.margin)
        replicas, examples, height, width, channels = inputs.shape
        found = np.zeros(
            (replicas, examples, height + 2 * self.margin, width + 2 * self.margin, channels), inputs.dtype
        )
        found[:, :, side, side] = inputs
        return found

    def of_weight(self, inputs: Array, gradient: Array) -> Array:
        """(replica, tap, in, out), perhaps with more `out` than there are; of inputs with their `widened` margin."""
        outputs, written, (size, stride, margin) = self.layer.outputs, _whole(self.layer.outputs), self.form
        if written > outputs:
            whole = np.zeros((*gradient.shape[:4], written), gradient.dtype)
            whole[..., :outputs] = gradient
            gradient = whole
        if _pairs(written, stride, gradient.shape[3], inputs):
            found = np.empty((self.replicas, size, size + 1, self.layer.inputs, 2 * written), inputs.dtype)
            convolution_kernels.gather(inputs, _by_pairs(gradient), found, (size, size + 1), (1, 2), margin)
            summed: Array = found[:, :, :-1, :, :written] + found[:, :, 1:, :, written:]
            return summed.reshape(self.replicas, self.taps, self.layer.inputs, written)
        found = np.empty((self.replicas, self.taps, self.layer.inputs, written), inputs.dtype)
        convolution_kernels.gather(inputs, gradient, found, (size, size), (stride, stride), margin)
        return found

    def of_inputs(self, gradient: Array, size: Sequence[int]) -> Tensor:
        """`size` is the height and width of the inputs; valid until the next call."""
        kernel, stride, margin = self.layer.size, self.layer.stride, self.layer.margin
        written = _whole(self.layer.inputs)
        down, along = (backward_axis(side, kernel, stride, margin) for side in size)
        self.passed = passed = _room(self.passed, (*gradient.shape[:2], *size, written))
        weight = np.zeros((self.replicas, self.taps, self.layer.outputs, written), gradient.dtype)
        convolution_kernels.tap_first(self.weight, True, weight)
        if _pairs(written, stride, size[1], gradient):
            weight, passed = _paired(weight, kernel), _by_pairs(passed)
            along = forward_axis(gradient.shape[3], kernel + 1, 2, kernel - 1 - margin)
        start = np.zeros((self.replicas, passed.shape[4]), gradient.dtype)
        convolution_kernels.run(gradient, weight, start, passed, (down, along))
        return as_replicas(self.passed)[:, :, : self.layer.inputs]


def _by_taps(weight: Tensor) -> Array:
    """(replica, out, in, tap), the same memory."""
    return weight.detach().view(*weight.shape[:3], -1).numpy()


def _pairs(written: int, stride: int, wide: int, read: Array) -> bool:
    """Whether two of `wide` pixels of a row are taken for one."""
    half_full = written * read.itemsize < WIDEST
    return half_full and written == LEAST and stride == 1 and wide % 2 == 0


def _paired(weight: Array, size: int) -> Array:
    """(replica, tap, in, both pixels' out) of weights (replica, tap, in, out): a column of taps more."""
    replicas, _, channels, written = weight.shape
    own = weight.reshape(replicas, size, size, channels, written)
    both = np.zeros((replicas, size, size + 1, channels, 2 * written), weight.dtype)
    both[:, :, :-1, :, :written], both[:, :, 1:, :, written:] = own, own
    return both.reshape(replicas, -1, channels, 2 * written)


def _by_pairs(images: Array) -> Array:
    """Two pixels of a row as one, the same memory."""
    replicas, examples, tall, wide, channels = images.shape
    return images.reshape(replicas, examples, tall, wide // 2, 2 * channels)


def _whole(channels: int) -> int:
    return channels + -channels % LEAST


def _room(memory: Array, shape: Shape) -> Array:
    """`memory` if it has that shape, else new memory."""
    return memory if memory.shape == shape else np.empty(shape, memory.dtype)


def _by_loops(layer: Convolution, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    loops = _Loops(layer, weight, bias)
    return loops.forward(loops.widened(in_memory(inputs)))


class _Differentiable(torch.autograd.Function):
    """The compiled loops where gradients are wanted; gradients of gradients go by torch's library."""

    @staticmethod
    def forward(ctx: Any, layer: Convolution, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(inputs, weight)
        return _by_loops(layer, inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None, Tensor | None]:
        (inputs, weight), layer = ctx.saved_tensors, ctx.layer
        _, by_inputs, by_weight, by_bias = ctx.needs_input_grad
        of_inputs = of_weight = None
        of_bias = gradient.sum(dim=(1, 3, 4)) if by_bias else None
        if torch.is_grad_enabled():  # they will be differentiated in turn
            of_inputs, of_weight = _library_gradients(layer, gradient, inputs, weight, [by_inputs, by_weight])
            return None, of_inputs, of_weight, of_bias
        loops, read, of_outputs = _Loops(layer, weight, None), in_memory(inputs), in_memory(gradient)
        if by_weight:
            found = loops.of_weight(loops.widened(read), of_outputs)[..., : layer.outputs].transpose(0, 3, 2, 1)
            of_weight = torch.from_numpy(found).reshape(weight.shape)
        if by_inputs:
            of_inputs = loops.of_inputs(of_outputs, read.shape[2:4])
        return None, of_inputs, of_weight, of_bias


class CompiledStep:
    """By the compiled loops."""

    spare = True

    def __init__(self, layer: Convolution, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted = wanted
        self.weight_gradient = gradients[f"{layer.name}.weight"]
        self.bias_gradient = gradients[f"{layer.name}.bias"] if layer.bias else None
        bias = weights[f"{layer.name}.bias"] if layer.bias else None
        self.loops = _Loops(layer, weights[f"{layer.name}.weight"], bias)
        self.inputs: Array = np.empty(0)
        self.size: Sequence[int] = ()

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs, self.size = self.loops.widened(in_memory(inputs)), inputs.shape[3:]
        return self.loops.forward(self.inputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_outputs = in_memory(gradient)
        found = self.loops.of_weight(self.inputs, of_outputs)
        convolution_kernels.tap_last(found, keep, _by_taps(self.weight_gradient))
        if self.bias_gradient is not None:
            put(self.bias_gradient, _totals(as_replicas(of_outputs)), keep=keep)
        return self.loops.of_inputs(of_outputs, self.size) if self.wanted else None


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


class LibraryStep:
    """By torch."""

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
