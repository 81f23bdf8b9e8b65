"""Batch normalization, a maximum over squares and a relu, taken together on the CPU: fewer passes through memory.

`fused` puts such layers in place of those that a chain has one after another; the numbers are the same, within
rounding. As a normalization is monotone in each channel, the largest of its outputs is found among its inputs, and only
the quarter that is chosen is normalized.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from refute.architectures.layers import kernels
from refute.architectures.layers.arrays import as_replicas, in_memory, known, lanes_of, rows_of
from refute.architectures.layers.elementwise import Activation, MaxPool
from refute.architectures.layers.interface import Layer, Slot, Step, Tensors
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.normalization import BatchNorm
from refute.architectures.layers.normalizer import Normalizer
from refute.architectures.layers.renamed import bare

RELU = Activation("relu")


@dataclass(frozen=True)
class Fused:
    """A batch normalization, then a maximum over 2 x 2 squares, then a relu, as one; each of the first two may miss.

    Where the kernels can't be used (autograd, other devices), the layers are run one after another.
    """

    norm: Layer | None = None
    pool: MaxPool | None = None
    relu: Activation | None = None
    loops = False
    groups = True

    @property
    def parts(self) -> tuple[Layer, ...]:
        return tuple(part for part in (self.norm, self.pool, self.relu) if part is not None)

    @property
    def mixes(self) -> bool:
        return any(part.mixes for part in self.parts)

    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for part in self.parts for slot in part.slots())

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        if not training and not torch.is_grad_enabled() and known(inputs):
            return _FusedStep(self, weights, {}, wanted=False).evaluate(inputs)
        for part in self.parts:
            inputs = part.apply(inputs, weights, training)
        return inputs

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _FusedStep(self, weights, gradients, wanted=wanted)


def fused(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with `Fused` ones in place of those that can be taken together.

    >>> chain = fused([BatchNorm("norm", 4), Activation("relu"), MaxPool(), Activation("tanh")])
    >>> [type(layer).__name__ for layer in chain], [type(part).__name__ for part in chain[0].parts]
    (['Fused', 'Activation'], ['BatchNorm', 'MaxPool', 'Activation'])
    """
    found: list[Layer] = []
    rest = maxima_first(layers)
    while rest:
        norm = rest.pop(0) if _normalizes(rest[0]) else None
        pool = rest.pop(0) if rest and isinstance(rest[0], MaxPool) and rest[0].size == 2 else None
        relu = rest.pop(0) if rest and (norm or pool) and rest[0] == RELU else None
        assert pool is None or isinstance(pool, MaxPool)
        assert relu is None or isinstance(relu, Activation)
        found.append(Fused(norm, pool, relu) if norm or pool else rest.pop(0))
    return found


def takes(weights: Tensors) -> bool:
    """Whether networks with these weights can be trained with `Fused` layers."""
    return all(known(tensor) or not tensor.is_floating_point() for tensor in weights.values())


def maxima_first(layers: Sequence[Layer]) -> list[Layer]:
    """A relu after a maximum instead of before it: the same numbers and gradients, of a quarter of the pixels."""
    found = list(layers)
    for place in range(len(found) - 1):
        if found[place] == RELU and isinstance(found[place + 1], MaxPool):
            found[place], found[place + 1] = found[place + 1], found[place]
    return found


def _normalizes(layer: Layer) -> bool:
    return isinstance(bare(layer), BatchNorm)


class _FusedStep:
    """In arrays (replica, example, height, width, channel) of images, or (replica, example, feature).

    What belongs to a channel is (replica, channel).
    """

    spare = True

    def __init__(self, layer: Fused, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.norm = None if layer.norm is None else Normalizer(layer.norm, weights, gradients)
        self.pool, self.rectifies, self.wanted = layer.pool, layer.relu is not None, wanted
        nothing: Array = np.empty(0)
        self.inputs, self.passed = nothing, nothing  # and memory for their gradient
        self.chosen, self.places = nothing, nothing  # of every square

    def forward(self, inputs: Tensor) -> Tensor:
        return self._outputs(inputs, training=True)

    def evaluate(self, inputs: Tensor) -> Tensor:
        """Outputs in evaluation mode."""
        return self._outputs(inputs, training=False)

    def _outputs(self, inputs: Tensor, *, training: bool) -> Tensor:
        self.inputs = in_memory(inputs)
        if self.norm is not None:
            self.norm.settle(rows_of(self.inputs), training=training)
        self.chosen = self.inputs
        if self.pool is not None:
            self._choose(self.pool)
        if self.norm is None:
            return as_replicas(self.chosen)
        return self.norm.outputs(self.chosen, rectify=self.rectifies)

    def _choose(self, pool: MaxPool) -> None:
        """The largest of every square: where a normalization follows, of its outputs, else rectified if need be."""
        replicas, examples, height, width, channels = self.inputs.shape
        squares = (height + pool.ceil) // 2, (width + pool.ceil) // 2
        scale = np.ones((replicas, channels), self.inputs.dtype) if self.norm is None else self.norm.scale
        self.chosen = np.empty((replicas, examples, *squares, channels), self.inputs.dtype)
        self.places = np.empty(self.chosen.shape, np.uint8)
        images, chosen, places = (_one_after_another(each) for each in (self.inputs, self.chosen, self.places))
        kernels.extremes(images, scale, self.rectifies and self.norm is None, chosen, places)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_outputs = in_memory(gradient)
        if self.pool is not None and self.passed.shape != self.inputs.shape:
            self.passed = np.empty_like(self.inputs)
        if self.norm is None:
            kernels.spread(*(_one_after_another(each) for each in (of_outputs, self.places, self.passed)))
            return as_replicas(self.passed)
        norm, rows, of_rows = self.norm, rows_of(self.chosen), rows_of(of_outputs)
        total, product = norm.backward(rows, of_rows, rectify=self.rectifies, keep=keep)
        if not self.wanted:
            return None
        share, slope = norm.through_moments(total, product, self.inputs.size // norm.mean.size)
        if self.pool is None:
            kernels.of_inputs(rows, of_rows, *lanes_of(rows, norm.mean, norm.scale, share, slope))
            return as_replicas(of_outputs)
        lanes = lanes_of(rows_of(self.inputs), norm.mean, norm.scale, share, slope)
        arrays = self.inputs, of_outputs, self.places, self.passed
        images, of_squares, places, passed = (_one_after_another(each) for each in arrays)
        kernels.spread_of_inputs(images, of_squares, places, lanes, passed)
        return as_replicas(self.passed)


def _one_after_another(array: Array) -> Array:
    """(image, height, width, channel) of all replicas' images."""
    return array.reshape(-1, *array.shape[2:])
