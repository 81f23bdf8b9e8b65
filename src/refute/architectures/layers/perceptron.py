"""Dense layers with relus between them, taken together on the CPU: all layers of a replica before the next replica.

`perceptrons` puts such layers in place of those that a chain has one after another; the numbers are the same, within
rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from refute.architectures import processor
from refute.architectures.layers import perceptron_kernels
from refute.architectures.layers.arrays import known
from refute.architectures.layers.axes import Integers
from refute.architectures.layers.dense import Dense
from refute.architectures.layers.elementwise import Flatten
from refute.architectures.layers.fused import RELU
from refute.architectures.layers.interface import Layer, Slot, Step, Tensors, room
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.renamed import bare, own_tensors
from refute.architectures.layers.small_products import LEAST, WIDEST
from refute.errors import ShapeError

PAYS = (processor.maker(), WIDEST) in (("AMD", 32), ("AMD", 64), ("Intel", 64))
"""Whether the loops are known to be faster than the library; other processors nobody measured."""
LARGE = 2**21
"""Weights of a layer above which the library is faster, or nobody measured it."""


@dataclass(frozen=True)
class Perceptron:
    """Dense layers with a relu behind each but the last. `dense`: the layers, perhaps under other names."""

    dense: tuple[Layer, ...]
    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in self.dense for slot in layer.slots())

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        for layer in self.dense[:-1]:
            inputs = torch.relu(layer.apply(inputs, weights, training))
        return self.dense[-1].apply(inputs, weights, training)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return PerceptronStep(self, weights, gradients, wanted=wanted)

    def evaluate(self, inputs: Tensor, weights: Tensors, *, shared: bool) -> Tensor:
        """Outputs (replica, example, output) of inputs (example, ...) that are `shared`, or (replica, example, ...).

        Raises:
            ShapeError: the weights take other inputs.
        """
        memory, places = _placed(self, weights)
        widths = _widths(self)
        examples = len(inputs) if shared else inputs.shape[1]
        if inputs.numel() != (1 if shared else len(places)) * examples * int(widths[0]):
            raise ShapeError(f"the weights are for {widths[0]} numbers an example, {tuple(inputs.shape)} came")
        outputs = torch.empty(len(places), examples, int(widths[-1]), dtype=inputs.dtype)
        apart = 0 if shared else examples * int(widths[0])
        read = _flat(inputs.contiguous())
        perceptron_kernels.evaluate(read, apart, memory, places, widths, examples, _flat(outputs))
        return outputs


def perceptrons(layers: Sequence[Layer], weights: Tensors) -> list[Layer]:
    """The layers, with a `Perceptron` in place of every run of dense layers and relus that the loops can take.

    >>> from refute.architectures.layers import Activation
    >>> flat = torch.zeros(1, 8 * 16 + 16 + 16 * 2 + 2)
    >>> tensors = {"a.weight": flat[:, :128].view(1, 16, 8), "a.bias": flat[:, 128:144]}
    >>> tensors |= {"b.weight": flat[:, 144:176].view(1, 2, 16), "b.bias": flat[:, 176:]}
    >>> chain = perceptrons([Dense("a", 8, 16), RELU, Dense("b", 16, 2), Activation("tanh")], tensors)
    >>> [type(layer).__name__ for layer in chain]
    ['Perceptron', 'Activation']
    """
    found: list[Layer] = []
    rest = list(layers)
    while rest:
        length = _run(rest)
        run = Perceptron(tuple(rest[:length:2]))
        if length > 1 and _one_memory([weights[slot.name] for slot in run.slots()]):
            found.append(run)
            rest = rest[length:]
        else:
            found.append(rest.pop(0))
    return found


def whole(layers: Sequence[Layer], weights: Tensors) -> Perceptron | None:
    """All of the layers, if they are one perceptron and perhaps such that flatten."""
    found = perceptrons([layer for layer in layers if not isinstance(layer, Flatten)], weights)
    return found[0] if len(found) == 1 and isinstance(found[0], Perceptron) else None


def _run(layers: Sequence[Layer]) -> int:
    """How many of the first layers are dense ones with relus between them, as the loops want them."""
    length = 0
    for place in range(0, len(layers), 2):
        dense = bare(layers[place])
        if not isinstance(dense, Dense) or (place and layers[place - 1] != RELU):
            break
        if dense.inputs % LEAST or dense.inputs * dense.outputs > LARGE:
            break
        length = place + 1
    return length


def _one_memory(tensors: Sequence[Tensor]) -> bool:
    """Whether the loops can take them: of one kind, and parts of one piece of memory, a replica's numbers together."""
    first = tensors[0]
    return all(
        known(each)
        and each.dtype == first.dtype
        and each.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and each[0].is_contiguous()
        for each in tensors
    )


class PerceptronStep:
    """Arrays and places as `perceptron_kernels` has them."""

    spare = True

    def __init__(self, layer: Perceptron, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted = wanted
        self.widths = _widths(layer)
        self.weights, self.places = _placed(layer, weights)
        self.into, self.into_places = _placed(layer, gradients)
        self.inputs = self.outputs = self.passed = torch.empty(0, dtype=weights[layer.slots()[0].name].dtype)
        self.hidden: Array = np.empty(0, self.weights.dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = self._fitting(inputs, int(self.widths[0]))
        replicas, examples, _ = inputs.shape
        self.outputs = room(self.outputs, (replicas, examples, int(self.widths[-1])), inputs)
        size = replicas * examples * int(self.widths[1:-1].sum())
        self.hidden = self.hidden if len(self.hidden) == size else np.empty(size, self.weights.dtype)
        read, written = _flat(self.inputs), _flat(self.outputs)
        perceptron_kernels.forward(read, self.weights, self.places, self.widths, examples, self.hidden, written)
        return self.outputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        if self.wanted:
            self.passed = room(self.passed, tuple(self.inputs.shape), gradient)
        nothing = np.empty(0, self.weights.dtype)
        self._back(gradient, keep, nothing, nothing)
        return self.passed if self.wanted else None

    def follow(self, gradient: Tensor, rate: Tensor, decay: Tensor | None, *, keep: float) -> None:
        """The backward pass and a step of gradient descent: v <- keep v + g + decay w, then w <- w - rate v.

        Args:
            gradient: (replica, example, output), of the outputs that `forward` gave last; g were bound to where v is.
            rate: (replica, 1), as is `decay`.
            decay: None for none.
            keep: 0 if there was no v before.
        """
        self._back(gradient, keep, *self._of_replicas(rate, decay))

    def descend(self, inputs: Tensor, targets: Tensor, rate: Tensor, decay: Tensor | None, *, keep: float) -> Tensor:
        """Whole steps of gradient descent, each as `follow` has it; gives the mean loss of each, (replica, step).

        Args:
            inputs: (replica, step * example, ...), those of the first step first.
            targets: labels (replica, step * example) below the number of outputs, and the loss is the cross-entropy;
                or values (replica, step * example, ...), as many as outputs, and it is the mean squared difference.
            rate: (replica, step).
            decay: (replica, 1), or None for none.
            keep: 0 if there was no v before.

        Raises:
            ShapeError: the weights take other inputs, or the values are not as many as the outputs.
        """
        examples = targets.shape[1] // rate.shape[1]
        losses = np.empty(rate.shape, self.weights.dtype)
        labels, values = np.empty(0, np.int64), np.empty(0, self.weights.dtype)
        if targets.is_floating_point():
            values = _flat(self._fitting(targets.flatten(2), int(self.widths[-1])))
        else:
            labels = _flat(targets.contiguous())
        perceptron_kernels.descend(
            _flat(self._fitting(inputs.flatten(2), int(self.widths[0]))), labels, values, self.weights, self.places,
            self.into, self.into_places, float(keep), self.widths, examples, *self._of_replicas(rate, decay),
            losses.reshape(-1),
        )  # fmt: skip
        return torch.from_numpy(losses)

    def _back(self, gradient: Tensor, keep: float, rate: Array, decay: Array) -> None:
        perceptron_kernels.backward(
            _flat(self.inputs), self.hidden, _flat(gradient.contiguous()), self.weights, self.places, self.into,
            self.into_places, float(keep), self.widths, gradient.shape[1], _flat(self.passed), rate, decay,
        )  # fmt: skip

    def _of_replicas(self, rate: Tensor, decay: Tensor | None) -> tuple[Array, Array]:
        rates = _flat(rate.to(self.inputs.dtype))
        decays = torch.zeros(len(rate), 1) if decay is None else decay
        return rates, _flat(decays.to(self.inputs.dtype))

    def _fitting(self, numbers: Tensor, each: int) -> Tensor:
        """Inputs or targets, contiguous; the loops would read past the end of others."""
        replicas = len(self.places)
        if len(numbers) != replicas or numbers.shape[2] != each or numbers.dtype != self.inputs.dtype:
            raise ShapeError(
                f"the weights are for ({replicas}, example, {each}) {self.inputs.dtype}, {tuple(numbers.shape)} "
                f"{numbers.dtype} came"
            )
        return numbers.contiguous()


def _widths(layer: Perceptron) -> Integers:
    """Numbers that the first layer reads, then those that each layer writes."""
    dense = [cast(Dense, bare(each)) for each in layer.dense]
    return np.array([dense[0].inputs, *(each.outputs for each in dense)], np.int64)


def _placed(layer: Perceptron, tensors: Tensors) -> tuple[Array, Integers]:
    """The memory that all of the tensors are parts of, and where each of them begins, (replica, layer, 2)."""
    slots = layer.slots()
    replicas = np.arange(len(tensors[slots[0].name]))
    places = np.full((len(replicas), len(layer.dense), 2), -1, np.int64)
    for place, each in enumerate(layer.dense):
        own = own_tensors(each, tensors)
        for kind, slot in enumerate(bare(each).slots()):
            tensor = own[slot.name]
            places[:, place, kind] = tensor.storage_offset() + replicas * tensor.stride(0)
    first = tensors[slots[0].name]
    memory = torch.empty(0, dtype=first.dtype).set_(first.untyped_storage())
    return memory.numpy(), places


def _flat(tensor: Tensor) -> Array:
    return tensor.detach().numpy().reshape(-1)
