"""Networks whose tensors carry a leading replica axis, and the weights of a whole cohort.

All trained tensors of a cohort live in one buffer `flat` (replica, parameter), so that an optimizer step is a few
operations over one array; `weights["dense1.weight"]` is a view of it.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from refute.architectures.chains import as_chain
from refute.architectures.folded import Folded
from refute.architectures.initialization import draw
from refute.architectures.layers import (
    BATCH_NORM_MOMENTUM,
    Chain,
    Convolution,
    Layer,
    Slot,
    fused,
    stemmed,
    whole,
)
from refute.architectures.layers.arrays import known
from refute.architectures.layers.perceptron import PAYS
from refute.architectures.layers.renamed import bare
from refute.architectures.looped import Looped, MakeModule, made
from refute.architectures.looped import draw as draw_module
from refute.architectures.modules import as_layers
from refute.errors import ShapeError, UsageError
from refute.randomness import stream

EVALUATION_BATCH = {"stacked": 1000, "looped": 256, "modules": 250}
"""Examples per forward pass of an evaluation: many enough for full speed, few enough to stay in cache."""
EVALUATION_BYTES = 2 * 2**20
"""What all layers of the replicas of a pass may put out, about."""
GROUP_BYTES = 4 * 2**20
"""What the widest layer of a convolutional net may put out for the replicas of a pass."""
MOST_TOGETHER = 32
"""Replicas of a convolutional net in a pass, at most: more of them gain nothing."""


@dataclass(frozen=True)
class Weights(Mapping[str, Tensor]):
    """The tensors of a cohort: name -> (replica, *shape). `flat` (replica, parameter) holds all trained ones."""

    slots: tuple[Slot, ...]
    flat: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def _views(self) -> dict[str, Tensor]:
        trained = [slot for slot in self.slots if not slot.buffer]
        sizes = [math.prod(slot.shape) for slot in trained]
        pieces = torch.split(self.flat, sizes, dim=1)
        views = {s.name: piece.view(len(self.flat), *s.shape) for s, piece in zip(trained, pieces, strict=True)}
        return {**views, **self.buffers}

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    @property
    def replicas(self) -> int:
        return len(self.flat)

    def clone(self) -> "Weights":
        """A copy that shares no memory."""
        return Weights(self.slots, self.flat.clone(), {name: buffer.clone() for name, buffer in self.buffers.items()})

    def copy_(self, other: "Weights") -> None:
        """Take over the values of `other`, in place."""
        self.flat.copy_(other.flat)
        for name, buffer in self.buffers.items():
            buffer.copy_(other.buffers[name])

    def take(self, replicas: slice) -> "Weights":
        """Views of some replicas."""
        return Weights(self.slots, self.flat[replicas], {name: b[replicas] for name, b in self.buffers.items()})

    def replaced(self, names: Sequence[str], other: "Weights") -> "Weights":
        """A copy in which the named tensors come from `other`."""
        changed = self.clone()
        for name in names:
            changed[name].copy_(other[name])
        return changed

    def finite(self) -> Tensor:
        """Which replicas hold only finite numbers, bool (replica,)."""
        return torch.isfinite(self.flat).all(dim=1)


@dataclass(frozen=True)
class Network:
    """A chain of layers with its input shape (without batch) and number of outputs."""

    name: str
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    outputs: int
    initial: Callable[[int], Mapping[str, Tensor]] | None = None
    """For networks made from modules: seed -> tensors without the replica axis."""

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in self.layers for slot in layer.slots())

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the linear maps' weights, input side first; biases and normalization excluded."""
        return tuple(slot.name for slot in self.slots if slot.kernel)

    @property
    def units(self) -> dict[str, tuple[str, ...]]:
        """Weight layer (or residual block) -> names of all its tensors, biases and normalization included."""
        groups = itertools.groupby(self.slots, key=lambda slot: slot.name.split(".")[0])
        units = {unit: tuple(slots) for unit, slots in groups}
        return {
            unit: tuple(slot.name for slot in slots)
            for unit, slots in units.items()
            if not all(slot.buffer for slot in slots)
        }

    @property
    def mode(self) -> str:
        """ "looped" (one replica at a time, for convolutions and modules) or "stacked" (all at once, dense nets)."""
        return "looped" if any(layer.loops for layer in self.layers) else "stacked"

    @property
    def how(self) -> str:
        """How it is run, in words: by layers of refute's own, by a module for all replicas at once, or one by one.

        >>> Network.from_module(lambda: torch.nn.Linear(3, 2), input_shape=(3,), outputs=2).how
        "refute's own layers: Dense"
        """
        if self.by_autograd:
            return "the module itself, all replicas at once (torch.vmap)"
        why = [layer.why for layer in self.layers if isinstance(layer, Looped)]
        if why:
            return f"the module itself, replica by replica: {why[0]}"
        return f"refute's own layers: {', '.join(type(bare(layer)).__name__ for layer in self.layers)}"

    @property
    def evaluation_batch(self) -> int:
        """Examples per forward pass of an evaluation."""
        modules = self.mode == "stacked" and any(isinstance(layer, Folded) for layer in self.layers)
        return EVALUATION_BATCH["modules" if modules else self.mode]

    @property
    def mixes(self) -> bool:
        """Whether in training an example's output depends on the other examples of its batch (batch normalization)."""
        return any(layer.mixes for layer in self.layers)

    @property
    def channels_last(self) -> bool:
        """Whether images are best kept with their channels together in memory."""
        return any(isinstance(layer, Convolution) for layer in self.layers)

    @cached_property
    def _together(self) -> list[Layer]:
        return stemmed(fused(self.layers))

    @cached_property
    def widest(self) -> int:
        """How many numbers the layer with the most outputs puts out for one example."""
        weights = {slot.name: torch.empty(1, *slot.shape, device="meta") for slot in self.slots}
        activations, widest = torch.empty(1, 1, *self.input_shape, device="meta"), 0
        for layer in self.layers:
            activations = layer.apply(activations, weights, False)
            widest = max(widest, activations.numel())
        return widest

    @property
    def by_autograd(self) -> bool:
        """Whether it has modules that torch's automatic differentiation trains, all replicas at once."""
        return any(isinstance(layer, Folded) for layer in self.layers)

    def together(self, batch: int, device: str = "cpu") -> int:
        """How many replicas of a net that loops should share a pass over `batch` examples each, at least 1.

        Several if all layers that loop are convolutions and the images so small that a group of replicas stays in
        cache. How many changes no bit of a result, but that functions other than relu, and on processors other than
        Intel's the products that torch makes for a module, may round the last one by their place in memory. Other
        devices do not care, and take all replicas at once.
        """
        if device != "cpu" or self.mode != "looped" or not all(layer.groups for layer in self.layers):
            return 1
        number = GROUP_BYTES // (4 * self.widest * batch)
        return min(int(number), MOST_TOGETHER) if number > 1 else 1

    def parameters(self) -> int:
        """Number of trained numbers of one replica."""
        return sum(math.prod(slot.shape) for slot in self.slots if not slot.buffer)

    def initialize(self, seeds: Sequence[int], *, purpose: str = "initialization", device: str = "cpu") -> Weights:
        """Weights (replica leading), each replica drawn from its own stream of (seed, purpose).

        Raises:
            UsageError: there are no seeds.
        """
        if not len(seeds):
            raise UsageError(f"weights of {self.name} are drawn from one seed for each replica, but no seeds came")
        trained, others = ([slot.name for slot in self.slots if slot.buffer is kind] for kind in (False, True))
        flat, buffers = torch.empty(0), []
        for place, seed in enumerate(seeds):  # one by one: the next replica is drawn where the last one was
            tensors = self._draw(seed, purpose)
            row = torch.cat([tensors[name].reshape(-1) for name in trained])
            flat = flat if place else row.new_empty(len(seeds), len(row))
            flat[place] = row
            buffers.append({name: tensors[name] for name in others})
        stacked = {name: torch.stack([each[name] for each in buffers]).to(device) for name in others}
        return Weights(self.slots, flat.to(device), stacked)

    def _draw(self, seed: int, purpose: str) -> Mapping[str, Tensor]:
        generator = stream(seed, purpose)
        if self.initial is not None:
            return self.initial(generator.initial_seed())
        return {slot.name: draw(slot.law, slot.shape, generator) for slot in self.slots}

    def __call__(self, weights: Mapping[str, Tensor], inputs: Tensor, *, training: bool = False) -> Tensor:
        """Outputs (replica, batch, output) of inputs (replica, batch, *input_shape), all replicas in one pass."""
        activations = inputs
        for layer in self._together:
            activations = layer.apply(activations, weights, training)
        return activations

    def bind(self, weights: Weights, gradient: Tensor) -> Chain:
        """The network in training, over these weights; its backward pass fills `gradient` (replica, parameter)."""
        return Chain(self.layers, weights, Weights(weights.slots, gradient), wanted=False, spare=False)

    @torch.no_grad()
    def activation_bytes(self, weights: Weights, inputs: Tensor) -> int:
        """Bytes that one example of one replica keeps for the backward pass, measured on `inputs` (1, example, ...).

        On the CPU, wherever they are: elsewhere it can't be seen what is kept.
        """
        first = weights.take(slice(0, 1)).clone()
        first = Weights(first.slots, first.flat.cpu(), {name: b.cpu() for name, b in first.buffers.items()})
        inputs = inputs.cpu()
        own = {
            first.flat.untyped_storage().data_ptr(),
            *(b.untyped_storage().data_ptr() for b in first.buffers.values()),
        }
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            memory = tensor.untyped_storage()
            if memory.data_ptr() not in own:
                kept[memory.data_ptr()] = memory.nbytes()
            return tensor

        first.flat.requires_grad_()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = self(first, inputs, training=True)
        del outputs
        return sum(kept.values()) // inputs.shape[1]

    @torch.no_grad()
    def evaluate(self, weights: Weights, inputs: Tensor, *, batch: int | None = None) -> Tensor:
        """Outputs (replica, example, output), in evaluation mode.

        `inputs` is (example, *input_shape), shared by all replicas, or (replica, example, *input_shape).
        """
        batch = batch or self.evaluation_batch
        shared = tuple(inputs.shape[1:]) == self.input_shape
        if not shared and tuple(inputs.shape[2:]) != self.input_shape:
            raise ShapeError(
                f"inputs of {self.name} must be (example, {', '.join(map(str, self.input_shape))}) or the same "
                f"after a replica axis, {tuple(inputs.shape)} came"
            )
        perceptron = whole(self.layers, weights) if PAYS else None
        if perceptron and known(inputs) and inputs.dtype == weights.flat.dtype:
            return perceptron.evaluate(inputs, weights, shared=shared)
        size = self._evaluated_together(weights, batch)
        groups = shares(weights.replicas, size)
        passes = [self._one_pass(weights.take(g), inputs if shared else inputs[g], shared, batch) for g in groups]
        return passes[0] if len(passes) == 1 else torch.cat(passes)

    def _evaluated_together(self, weights: Weights, batch: int) -> int:
        """Replicas to a pass, so that what they hand from layer to layer stays in cache."""
        if weights.flat.device.type != "cpu":
            return weights.replicas
        if self.mode == "looped":
            return self.together(batch)
        units = max(1, sum(slot.shape[0] for slot in self.slots if slot.kernel))
        return max(1, EVALUATION_BYTES // (units * batch * weights.flat.element_size()))

    def _one_pass(self, weights: Weights, inputs: Tensor, shared: bool, batch: int) -> Tensor:
        if self.channels_last:
            inputs = channels_together(inputs)
        if shared:
            inputs = inputs.unsqueeze(0).expand(weights.replicas, *inputs.shape)
        return torch.cat([self(weights, chunk) for chunk in torch.split(inputs, batch, dim=1)], dim=1)

    @staticmethod
    def from_module(
        make_module: MakeModule,
        *,
        input_shape: tuple[int, ...],
        outputs: int,
        name: str = "module",
        input_dtype: torch.dtype | None = None,
        examples: Tensor | None = None,
        fold: bool = True,
    ) -> "Network":
        """Any nn.Module factory as a network.

        A chain (nn.Sequential) of layers that refute has itself becomes these layers, and so does a module whose code
        runs through such layers and residual connections. Other modules run all replicas at once where they can, else
        one by one (`why` of the layer then says what stood in the way). That one way gives the same numbers as another
        is tried out here, in float64.

        The factory draws its weights from torch's global generator, which is seeded for each replica and put back.

        Args:
            make_module: makes an instance, with new weights each time.
            input_shape: of one example.
            outputs: how many numbers the module gives for an example.
            name: for messages.
            input_dtype: type of the inputs, when it can't be found out by trying.
            examples: inputs (example, *input_shape) to try both ways with; random by default.
            fold: False runs replicas one by one in any case.

        Raises:
            UsageError: the module takes no such inputs, or gives no tensor.

        >>> net = Network.from_module(lambda: torch.nn.Linear(3, 2), input_shape=(3,), outputs=2)
        >>> net.evaluate(net.initialize([0, 1]), torch.zeros(5, 3)).shape
        torch.Size([2, 5, 2])
        """
        layers = as_chain(made(make_module, 0), input_shape) if fold else None
        if layers is None:
            layers = as_layers(make_module, input_shape, input_dtype=input_dtype, examples=examples, fold=fold)
        return Network(name, layers, input_shape, outputs, lambda seed: draw_module(make_module, seed))


def shares(replicas: int, size: int) -> list[slice]:
    """Groups of at most `size` replicas, as equal as can be.

    >>> [group.stop - group.start for group in shares(7, 3)]
    [3, 2, 2]
    """
    number = -(-replicas // size)
    cuts = [-(-replicas * group // number) for group in range(number + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


def channels_together(images: Tensor) -> Tensor:
    """(..., channel, height, width), the same numbers with the channels of each pixel side by side in memory."""
    if images.shape[-3] == 1:  # nothing moves, but the strides must say so
        return images.squeeze(-3).contiguous().unsqueeze(-1).movedim(-1, -3)
    return images.movedim(-3, -1).contiguous().movedim(-1, -3)


def estimate_statistics(network: Network, weights: Weights, inputs: Tensor) -> Weights:
    """A copy whose running statistics are those of `inputs` (replica, example, *input_shape), one exact pass."""
    settled = weights.clone()
    if not settled.buffers:
        return settled
    replicas = [slice(r, r + 1) for r in range(weights.replicas)] if network.mode == "looped" else [slice(None)]
    with torch.no_grad():
        for replica in replicas:
            _settle(network.layers, settled.take(replica), inputs[replica])
    return settled


def _settle(layers: tuple[Layer, ...], weights: Weights, inputs: Tensor) -> None:
    """Set every running statistic to the batch statistic of one large batch, in place.

    A pass in training mode moves a statistic s to (1 - m) s + m b with b the batch's; from s = 0 it becomes m b.
    """
    momenta: dict[str, float] = {}
    for layer in layers:
        own = getattr(layer, "momenta", None)  # modules know theirs; our own layers have one for all
        momenta |= {s.name: BATCH_NORM_MOMENTUM for s in layer.slots() if s.buffer} if own is None else own
    for name in momenta:
        weights.buffers[name].zero_()
    activations = inputs
    for layer in layers:
        activations = layer.apply(activations, weights, True)
    for name, momentum in momenta.items():
        weights.buffers[name].div_(momentum)
