"""The replica axis folded into the batch axis: what lets a user's own code run all replicas at once.

The code sees activations (replica * batch, ...), replicas outermost, and needs no change. Only layers that own weights
or draw random numbers must know better: each is replaced by a twin (see `twins`), a subclass of its own class, which
parts the replicas, applies to each its own weights (replica, ...) and folds them again. A module of unknown kind that
owns weights is run replica by replica in its place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as trees

from refute.architectures.noise import Streams

SHARED = -1


class NotFoldable(Exception):  # noqa: N818
    """Why a module cannot be folded."""


@dataclass(eq=False)
class Fold:
    """What the twins of one module share during a pass."""

    replicas: int = 1
    batch: int = 1
    streams: Streams | None = None
    recording: bool = False
    """Whether it is now being found out which inputs are folded and which are the same for all examples."""
    inside: bool = False
    """Whether one replica's code runs on its own slices."""

    def seems_folded(self, tensor: Tensor) -> bool:
        return tensor.ndim > 0 and len(tensor) > 0 and len(tensor) % (self.replicas * self.batch) == 0

    def axis_of(self, tensor: Tensor) -> int:
        """Where the examples seem to be."""
        if self.seems_folded(tensor):
            return 0
        return 1 if tensor.ndim > 1 and self.seems_folded(tensor[0]) else SHARED

    def part(self, tensor: Tensor) -> Tensor:
        """(replica * n, ...) -> (replica, n, ...)."""
        if self.replicas == 1:  # strides of axes with one entry stay, which say that channels are last
            return tensor.unsqueeze(0)
        return tensor.view(self.replicas, len(tensor) // self.replicas, *tensor.shape[1:])

    def pieces(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """(n, ...) of every replica."""
        return (tensor,) if self.replicas == 1 else torch.split(tensor, len(tensor) // self.replicas)

    def each(self, function: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
        """`function` of every replica's slices, folded."""
        if self.replicas == 1:
            return function(*(None if t is None else t.squeeze(0) for t in tensors))
        slices = zip(*([None] * self.replicas if t is None else alone(t) for t in tensors), strict=True)
        return torch.cat([function(*pieces) for pieces in slices])

    @contextmanager
    def alone(self, replica: int) -> Iterator[None]:
        """Code runs on one replica's slices, and draws from its stream."""
        before, self.inside = self.inside, True
        try:
            if self.streams is None or before:
                yield
            else:
                with self.streams.of(replica):
                    yield
        finally:
            self.inside = before

    def drawn(self, replica: int) -> torch.Generator:
        assert self.streams is not None, "a pass in training brings streams"
        return self.streams.generators[replica]

    def is_own(self, generator: torch.Generator | None) -> bool:
        """Whether it is that of a replica: what draws from it has parted the replicas already."""
        return self.streams is not None and any(generator is own for own in self.streams.generators)


def alone(stacked: Tensor) -> tuple[Tensor, ...]:
    """Every replica's own of (replica, ...), in a way whose derivative copies nothing for a single replica."""
    return (stacked.squeeze(0),) if len(stacked) == 1 else stacked.unbind(0)


class Twin(nn.Module):
    """What all twins share.

    `axis` is that of the examples in its inputs: 0, 1 where time comes first, or `SHARED` for what is the same for all
    replicas and examples. It is found out when the module is first run both ways; None before.
    """

    fold: Fold
    axis: int | None

    def weights(self, name: str) -> Tensor | None:
        """(replica, ...), handed in for this pass."""
        return self._parameters.get(name)

    def part(self, inputs: Tensor) -> Tensor:
        """(replica, n, ...) of folded inputs; of shared ones (replica, ...), the same for each."""
        if self.fold.recording or self.axis is None:
            axis = self.fold.axis_of(inputs)
            if self.axis is not None and axis != self.axis:
                raise NotFoldable(
                    f"inputs of {type(self).__name__} have their examples now in one place, now in another"
                )
            self.axis = axis
        if self.axis == SHARED:
            return inputs.unsqueeze(0).expand(self.fold.replicas, *inputs.shape)
        return self.fold.part(inputs if self.axis == 0 else inputs.transpose(0, 1))

    def join(self, outputs: Tensor) -> Tensor:
        """The inverse of `part`; what was shared is repeated for every example."""
        if self.axis != SHARED:
            return self.turned(outputs.squeeze(0) if len(outputs) == 1 else outputs.flatten(0, 1))
        outputs = outputs if outputs.shape[1] == 1 else outputs.unsqueeze(1)
        return outputs.expand(-1, self.fold.batch, *outputs.shape[2:]).flatten(0, 1)

    def turned(self, folded: Tensor) -> Tensor:
        """(replica * n, ...) with its axes in the order of the inputs."""
        return folded.transpose(0, 1) if self.axis == 1 else folded


Order = tuple[int, ...]
"""Axes from the one with the largest stride in memory to the one with the smallest."""


def order_of(tensor: Tensor) -> Order:
    """That of memory laid out like the tensor's."""
    strides = torch.empty_like(tensor, device="meta").stride()
    return tuple(sorted(range(tensor.ndim), key=lambda axis: -strides[axis]))


def dropped(
    inputs: Tensor,
    probability: float,
    fold: Fold,
    *,
    own_axes: int | None = None,
    order: Order | None = None,
    time_first: bool = False,
) -> Tensor:
    """Dropout (Srivastava et al. 2014) of (replica * n, ...), every mask from its replica's stream.

    The leading `own_axes` of the mask have numbers of their own (all by default). `order`: torch fills a mask in the
    order of its memory, which for a replica alone may differ from that of the folded inputs. `time_first`: a replica
    alone has its first two axes the other way round.
    """
    if probability == 0.0:
        return inputs
    shape = fold.part(inputs).shape[1:]
    if time_first:
        shape = torch.Size((shape[1], shape[0], *shape[2:]))
    if own_axes is not None:
        shape = torch.Size((*shape[:own_axes], *[1] * (len(shape) - own_axes)))
    order = order or tuple(range(len(shape)))
    inverse = [order.index(axis) for axis in range(len(shape))]
    masks = []
    for replica in range(fold.replicas):
        mask = torch.empty([shape[axis] for axis in order], dtype=inputs.dtype).permute(inverse)
        mask.bernoulli_(1 - probability, generator=fold.drawn(replica))
        masks.append(mask.transpose(0, 1) if time_first else mask)
    mask = masks[0] if len(masks) == 1 else torch.cat(masks)
    return inputs * mask.to(inputs.device).div_(1 - probability if probability < 1.0 else 1.0)


Place = tuple[dict[str, Any], str]
"""A module's dictionary of parameters or buffers, and a key of it."""


@contextmanager
def holding(tensors: Iterable[tuple[Place, Tensor]]) -> Iterator[None]:
    """Tensors stand in for a module's own during a pass."""
    given = list(tensors)
    before = [place[key] for (place, key), _ in given]
    try:
        for (place, key), tensor in given:
            place[key] = tensor
        yield
    finally:
        for ((place, key), _), own in zip(given, before, strict=True):
            place[key] = own


def written(tensors: Iterable[tuple[Place, Tensor]]) -> None:
    """Values of buffers that a pass has replaced, rather than changed, are copied to the tensors handed in."""
    for (place, key), tensor in tensors:
        if place[key] is not tensor:
            tensor.copy_(place[key].detach())


class ByReplica(nn.Module):
    """Any module, run replica by replica with its own class's code."""

    fold: Fold
    original: type[nn.Module]
    places: tuple[tuple[Place, str], ...]
    stacked: Mapping[str, Tensor]
    """Set for a pass: name -> (replica, ...)."""
    folded_inputs: tuple[bool, ...] | None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        leaves, form = trees.tree_flatten((args, kwargs))
        if self.fold.recording or self.folded_inputs is None:
            folded = tuple(isinstance(leaf, Tensor) and self.fold.seems_folded(leaf) for leaf in leaves)
            if self.folded_inputs is not None and folded != self.folded_inputs:
                raise NotFoldable(f"{self.original.__name__} is called in several ways")
            self.folded_inputs = folded
        inputs = [
            self.fold.pieces(leaf) if is_folded else [leaf] * self.fold.replicas
            for leaf, is_folded in zip(leaves, self.folded_inputs, strict=True)
        ]
        stacked = {name: alone(self.stacked[name]) for _, name in self.places}
        outputs = []
        for replica in range(self.fold.replicas):
            own = [(place, stacked[name][replica]) for place, name in self.places]
            given, named = trees.tree_unflatten([leaf[replica] for leaf in inputs], form)
            with holding(own), self.fold.alone(replica):
                outputs.append(self.original.forward(self, *given, **named))
                written((place, tensor) for place, tensor in own if not tensor.requires_grad)
        return joined_trees(outputs)


def joined_trees(outputs: list[Any]) -> Any:
    """Outputs of each replica, whatever they are made of, with their tensors joined along the first axis."""
    if len(outputs) == 1:
        return outputs[0]
    flat = [trees.tree_flatten(output) for output in outputs]
    leaves = [
        torch.cat(list(group)) if isinstance(group[0], Tensor) else group[0]
        for group in zip(*(leaves for leaves, _ in flat), strict=True)
    ]
    return trees.tree_unflatten(leaves, flat[0][1])


_DRAWING = {
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
    functional.rrelu,
    functional.scaled_dot_product_attention,
    torch.dropout,
    torch.bernoulli,
    torch.rand_like,
    torch.randn_like,
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.normal_,
    Tensor.uniform_,
}


class ByReplicaWhereRandom(TorchFunctionMode):
    """Functions that draw random numbers are called replica by replica, each with its replica's stream."""

    def __init__(self, fold: Fold) -> None:
        super().__init__()
        self.fold = fold

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _DRAWING or self.fold.inside or self.fold.is_own(kwargs.get("generator")):
            return func(*args, **kwargs)
        leaves, form = trees.tree_flatten((args, kwargs))
        tensors = [isinstance(leaf, Tensor) and self.fold.seems_folded(leaf) for leaf in leaves]
        if not any(tensors):
            return func(*args, **kwargs)
        inputs = [
            self.fold.pieces(leaf) if is_folded else [leaf] * self.fold.replicas
            for leaf, is_folded in zip(leaves, tensors, strict=True)
        ]
        outputs = []
        for replica in range(self.fold.replicas):
            given, named = trees.tree_unflatten([leaf[replica] for leaf in inputs], form)
            with self.fold.alone(replica):
                outputs.append(func(*given, **named))
        in_place = func.__name__.endswith("_")
        return args[0] if in_place else joined_trees(outputs)
