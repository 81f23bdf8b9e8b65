"""The first stage of nets for images of one channel: a convolution, batch normalization perhaps, and a maximum.

Most of such a net's activations are the outputs of its first convolution, which has nine weights for each of them:
writing and reading them takes longer than computing them. `stem_kernels` computes them square by square instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from refute.architectures.layers import stem_kernels
from refute.architectures.layers.arrays import as_replicas, in_memory, known, rows_of
from refute.architectures.layers.convolution import Convolution
from refute.architectures.layers.fused import Fused
from refute.architectures.layers.interface import Layer, Slot, Step, Tensors
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.normalizer import Normalizer
from refute.architectures.layers.renamed import bare, own_tensors
from refute.architectures.layers.stem_kernels import (
    BACKWARD_ROWS,
    BIAS,
    FIRST,
    FORWARD_ROWS,
    GRADIENTS,
    LANES,
    MEAN,
    SHARE,
    SIGN,
    SLOPE,
    SUMS,
    TAPS,
)
from refute.architectures.products import put


@dataclass(frozen=True)
class Stem:
    """A convolution of images of one channel and what is taken together behind it, a maximum among it.

    Gradients of its inputs can't be had. Images of odd height or width, and what the kernels don't know, go through
    the parts one after another.
    """

    convolution: Layer
    behind: Fused
    loops = True
    groups = True

    @property
    def parts(self) -> tuple[Layer, ...]:
        return self.convolution, *self.behind.parts

    @property
    def mixes(self) -> bool:
        return self.behind.mixes

    def slots(self) -> tuple[Slot, ...]:
        return self.convolution.slots() + self.behind.slots()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        if not training and not torch.is_grad_enabled() and known(inputs) and _even(inputs):
            return _StemStep(self, weights, {}).evaluate(inputs)
        return self.behind.apply(self.convolution.apply(inputs, weights, training), weights, training)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:
        assert not wanted
        return _StemStep(self, weights, gradients, _Apart(self, weights, gradients, spare=spare))


def stemmed(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of a net, as `fused` gives them, with a `Stem` first where there can be one.

    >>> from refute.architectures.layers import MaxPool
    >>> chain = stemmed([Convolution("conv1", 1, 16), Fused(pool=MaxPool()), Convolution("conv2", 16, 16)])
    >>> [type(layer).__name__ for layer in chain]
    ['Stem', 'Convolution']
    """
    if len(layers) < 2 or not isinstance(layers[1], Fused) or layers[1].pool is None:
        return list(layers)
    convolution = bare(layers[0])
    if not isinstance(convolution, Convolution):
        return list(layers)
    form = convolution.inputs, convolution.size, convolution.stride, convolution.margin
    fits = form == (1, 3, 1, 1) and convolution.outputs % LANES == 0
    return [Stem(layers[0], layers[1]), *layers[2:]] if fits else list(layers)


def _even(images: Tensor) -> bool:
    return images.shape[-1] % 2 == 0 and images.shape[-2] % 2 == 0


class _Apart:
    """The parts one after another."""

    def __init__(self, layer: Stem, weights: Tensors, gradients: Tensors, *, spare: bool) -> None:
        self.convolution = layer.convolution.bind(weights, gradients, wanted=False, spare=spare)
        self.behind = layer.behind.bind(weights, gradients, wanted=True, spare=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.behind.forward(self.convolution.forward(inputs))

    def backward(self, gradient: Tensor, *, keep: float) -> None:
        passed = self.behind.backward(gradient, keep=keep)
        assert passed is not None, "wanted when it was bound"
        self.convolution.backward(passed, keep=keep)


class _StemStep:
    """Arrays as `stem_kernels` has them, but with their axes. What belongs to a channel is (replica, channel)."""

    spare = True

    def __init__(self, layer: Stem, weights: Tensors, gradients: Tensors, apart: _Apart | None = None) -> None:
        self.apart, self.split = apart, False
        self.norm = None if layer.behind.norm is None else Normalizer(layer.behind.norm, weights, gradients)
        self.rectifies = layer.behind.relu is not None
        names = [slot.name for slot in bare(layer.convolution).slots()]
        weights, gradients = own_tensors(layer.convolution, weights), own_tensors(layer.convolution, gradients)
        self.weight, *self.bias = (weights[name].detach().numpy() for name in names)
        self.targets = [gradients[name] for name in names if gradients]
        self.replicas, self.channels = self.weight.shape[:2]
        nothing: Array = np.empty(0)
        self.images, self.chosen, self.places = nothing, nothing, nothing

    def forward(self, inputs: Tensor) -> Tensor:
        self.split = not _even(inputs)
        if self.split:
            assert self.apart is not None, "evaluated otherwise"
            return self.apart.forward(inputs)
        return self._outputs(inputs, training=True)

    def evaluate(self, inputs: Tensor) -> Tensor:
        """Outputs in evaluation mode."""
        return self._outputs(inputs, training=False)

    def _outputs(self, inputs: Tensor, *, training: bool) -> Tensor:
        pixels = in_memory(inputs)
        _, examples, height, width, _ = pixels.shape
        self.images = np.zeros((self.replicas, examples, height + 2, width + 2), pixels.dtype)
        self.images[:, :, 1:-1, 1:-1] = pixels[..., 0]
        shape = self.replicas, examples, height // 2, width // 2, self.channels
        self.chosen = np.empty(shape, pixels.dtype)
        self.places = np.empty(self.chosen.shape, np.uint8)
        lanes, first = self._lanes(FORWARD_ROWS, pixels.dtype), self._first()
        gamma = np.ones(()) if self.norm is None else self.norm.gamma
        lanes[:, :, SIGN] = _in_blocks(np.broadcast_to(np.sign(gamma), (self.replicas, self.channels)))
        lanes[:, :, FIRST] = _in_blocks(first)
        totals = np.zeros((*lanes.shape[:2], FORWARD_ROWS - SUMS, LANES))
        images, of_lanes, chosen, places, sums = _flat(self.images, lanes, self.chosen, self.places, totals)
        rectify = self.rectifies and self.norm is None
        stem_kernels.forward(images, of_lanes, chosen, places, sums, self._shape(), rectify)
        if self.norm is None:
            return as_replicas(self.chosen)
        if training:
            total, squares = totals.transpose(2, 0, 1, 3).reshape(2, *first.shape)
            self.norm.settle_by_sums(first, total, squares, examples * height * width)
        else:
            self.norm.settle(rows_of(self.chosen), training=False)
        return self.norm.outputs(self.chosen, rectify=self.rectifies)

    def backward(self, gradient: Tensor, *, keep: float) -> None:
        if self.split:
            assert self.apart is not None, "forward has asked"
            self.apart.backward(gradient, keep=keep)
            return
        of_outputs = in_memory(gradient)
        lanes = self._lanes(BACKWARD_ROWS, of_outputs.dtype)
        if self.norm is not None:
            rows, of_rows = rows_of(self.chosen), rows_of(of_outputs)
            total, product = self.norm.backward(rows, of_rows, rectify=self.rectifies, keep=keep)
            count = 4 * self.chosen.size // total.size
            share, slope = self.norm.through_moments(total, product, count)
            for row, values in ((MEAN, self.norm.mean), (SHARE, share), (SLOPE, slope)):
                lanes[:, :, row] = _in_blocks(values)
        totals = np.zeros((*lanes.shape[:2], BACKWARD_ROWS - GRADIENTS, LANES))
        images, of_lanes, of_chosen, places, sums = _flat(self.images, lanes, of_outputs, self.places, totals)
        stem_kernels.backward(images, of_lanes, of_chosen, places, sums, self._shape(), self.norm is not None)
        if self.norm is not None:
            totals *= _in_blocks(self.norm.scale)[:, :, None]
        of_weight, of_bias = np.split(totals.transpose(0, 1, 3, 2).astype(of_outputs.dtype), [TAPS], axis=-1)
        for target, found in zip(self.targets, (of_weight, of_bias), strict=False):
            put(target, torch.from_numpy(np.ascontiguousarray(found)).view(target.shape), keep=keep)

    def _lanes(self, rows: int, dtype: DTypeLike) -> Array:
        """(replica, block, row, lane) with weights and biases."""
        lanes = np.zeros((self.replicas, self.channels // LANES, rows, LANES), dtype)
        lanes[:, :, :TAPS] = self.weight.reshape(*lanes.shape[:2], LANES, TAPS).swapaxes(2, 3)
        if self.bias:
            lanes[:, :, BIAS] = _in_blocks(self.bias[0])
        return lanes

    @np.errstate(all="ignore")  # replicas that diverge
    def _first(self) -> Array:
        """Outputs of the convolution in the middle of the first example, (replica, channel)."""
        row, column = self.images.shape[2] // 2 - 1, self.images.shape[3] // 2 - 1
        patch = self.images[:, 0, row : row + 3, column : column + 3]
        found: Array = (self.weight[:, :, 0] * patch[:, None]).sum(axis=(2, 3))
        return found + self.bias[0] if self.bias else found

    def _shape(self) -> stem_kernels.Shape:
        replicas, examples, tall, wide, _ = self.chosen.shape
        return replicas, examples, tall, wide, self.channels // LANES


def _in_blocks(values: Array) -> Array:
    """(replica, block, lane) of (replica, channel)."""
    return values.reshape(len(values), -1, LANES)


def _flat(*arrays: Array) -> Iterator[Array]:
    """The same memory with one axis."""
    return (array.reshape(-1) for array in arrays)
