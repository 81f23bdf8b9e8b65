"""An nn.Module as a layer, all replicas at once (see `folding`)."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from refute.architectures.folding import (
    ByReplica,
    ByReplicaWhereRandom,
    Fold,
    NotFoldable,
    Order,
    Place,
    Twin,
    holding,
    written,
)
from refute.architectures.layers.interface import Differentiated, Slot, Step, Tensors
from refute.architectures.looped import Looped, channels_together, outputs_of, places_of, streams_of
from refute.architectures.twins import CONVOLUTIONS, Dropout, twin_of

SPREAD = 2**14
"""Numbers of a matrix (learned positions, for example) up to which it is repeated for every example."""
KNOWN_SHARE = 0.5
"""Share of the weights that must be in layers of known kind for a module to be folded."""


@dataclass(frozen=True, eq=False)
class Folded:
    """An nn.Module, all replicas at once, with the replica axis folded into the batch axis.

    `template` holds twins instead of torch's layers; `whole` are the tensors that its twins get with their replica
    axis, `spread` those repeated for every example, `constant` those that are the same for all replicas.
    `inside` names the modules that are run replica by replica in their place.
    """

    template: nn.Module
    slots_: tuple[Slot, ...]
    fold: Fold
    whole: tuple[tuple[Place, str], ...]
    spread: tuple[tuple[Place, str], ...]
    axes: int
    """Axes that scalars and vectors among the spread ones are given, that of the examples included."""
    constant: tuple[tuple[Place, str], ...]
    by_replica: tuple[ByReplica, ...]
    noisy: bool
    split: bool
    """Whether its code calls functions that draw random numbers."""
    inside: tuple[str, ...] = ()
    loops: bool = False
    mixes: bool = True
    momenta: Mapping[str, float] = field(default_factory=dict)
    channels_last: bool = False
    groups = False
    why = ""

    def slots(self) -> tuple[Slot, ...]:
        return self.slots_

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        if self.template.training != training:
            self.template.train(training)
        fold = self.fold
        fold.replicas, fold.batch = inputs.shape[:2]
        fold.streams = streams_of(weights, training) if self.noisy else None
        tensors = [(place, weights[name]) for place, name in self.whole]
        tensors += [(place, self._spread(weights[name])) for place, name in self.spread]
        tensors += [(place, weights[name][0]) for place, name in self.constant]
        for module in self.by_replica:
            module.stacked = weights
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # it would read the twins' weights
        try:
            with holding(tensors), ByReplicaWhereRandom(fold) if self.split else nullcontext():
                examples = inputs.flatten(0, 1)
                outputs = outputs_of(self.template(channels_together(examples) if self.channels_last else examples))
                written((place, tensor) for place, tensor in tensors if not tensor.requires_grad)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            fold.streams = None
            for module in self.by_replica:
                module.stacked = {}
        return fold.part(outputs)

    def _spread(self, tensor: Tensor) -> Tensor:
        """(replica * batch, ...) of (replica, 1, ...), of a scalar, a vector or a matrix for each replica."""
        if tensor.ndim <= 2 or tensor.shape[1] > 1:
            ones = [1] * max(1, self.axes - tensor.ndim + 1)
            tensor = tensor.view(len(tensor), *ones, *tensor.shape[1:])
        return tensor.expand(-1, self.fold.batch, *tensor.shape[2:]).flatten(0, 1)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return Differentiated(self, weights, gradients, wanted=wanted)


def folded(
    template: nn.Module, looped: Looped, orders: Mapping[str, Order], *, axes: int | None, matrices: bool = False
) -> Folded:
    """The module with twins in place of its layers; `template` is changed.

    `axes` is that of `Folded`; None spreads no tensor over examples. `matrices`: small matrices are spread, too.

    Raises:
        NotFoldable: too little of it is of known kind.
    """
    names = {(id(dictionary), key): name for (dictionary, key), name in places_of(template)}
    plan = _Plan(names, axes, SPREAD if matrices else 0)
    plan.visit(template, "")
    total = sum(math.prod(slot.shape) for slot in looped.slots() if not slot.buffer)
    unknown = {name for module in plan.unknown for _, name in module.places}
    share = sum(math.prod(slot.shape) for slot in looped.slots() if slot.name in unknown and not slot.buffer)
    if share > (1 - KNOWN_SHARE) * total:
        raise NotFoldable(f"{plan.inside[0]} owns weights, and what it does with them is not known")
    for name, order in orders.items():
        part = template.get_submodule(name)
        if isinstance(part, Dropout):
            part.order = order
    return Folded(
        template,
        looped.slots(),
        plan.fold,
        tuple(plan.whole),
        tuple(plan.spread),
        axes or 1,
        tuple(plan.constant),
        tuple(plan.by_replica),
        looped.noisy,
        split=False,
        inside=tuple(plan.inside),
        loops=plan.convolves,
        mixes=looped.mixes,
        momenta=looped.momenta,
        channels_last=looped.channels_last,
    )


class _Plan:
    """Walks a module's tree and puts twins in it."""

    def __init__(self, names: Mapping[tuple[int, str], str], axes: int | None, largest: int) -> None:
        self.fold, self.names, self.axes, self.largest = Fold(), names, axes, largest
        self.whole: list[tuple[Place, str]] = []
        self.spread: list[tuple[Place, str]] = []
        self.constant: list[tuple[Place, str]] = []
        self.by_replica: list[ByReplica] = []
        self.unknown: list[ByReplica] = []
        self.inside: list[str] = []
        self.convolves = False

    def visit(self, module: nn.Module, prefix: str) -> None:
        if isinstance(module, Twin | ByReplica):  # met before, in another place
            return
        twin = twin_of(module)
        own = [p for p in module._parameters.values() if p is not None]
        if twin is not None:
            _become(module, twin if issubclass(twin, type(module)) else type(twin.__name__, (twin, type(module)), {}))
            assert isinstance(module, Twin)
            module.fold, module.axis = self.fold, None
            self.whole += self._below(module)
        elif isinstance(module, CONVOLUTIONS):
            self.convolves = True
            self._alone(module)
        elif own and not all(self._can_be_spread(parameter) for parameter in own):
            if not prefix:
                raise NotFoldable(f"the module itself ({type(module).__name__}) owns weights")
            self.unknown.append(self._alone(module))
            self.inside.append(f"{prefix} ({self.unknown[-1].original.__name__})")
        elif self.axes is None and prefix and any(b is not None for b in module._buffers.values()):
            self.unknown.append(self._alone(module))
            self.inside.append(f"{prefix} ({self.unknown[-1].original.__name__})")
        else:
            self.spread += self._of(module._parameters)
            self.constant += self._of(module._buffers)
            for key, child in module.named_children():
                self.visit(child, f"{prefix}.{key}" if prefix else key)

    def _can_be_spread(self, tensor: Tensor) -> bool:
        """A large matrix for every example would be too much memory; what leads with 1 is meant to be repeated."""
        if tensor.ndim > 1:
            return self.axes is not None and (len(tensor) == 1 or tensor.numel() <= self.largest)
        return self.axes is not None and tensor.ndim < self.axes

    def _of(self, dictionary: dict[str, Any]) -> list[tuple[Place, str]]:
        return [((dictionary, key), self.names[id(dictionary), key]) for key, t in dictionary.items() if t is not None]

    def _below(self, module: nn.Module) -> list[tuple[Place, str]]:
        parts = module.modules()
        return [place for part in parts for d in (part._parameters, part._buffers) for place in self._of(d)]

    def _alone(self, module: nn.Module) -> ByReplica:
        original = type(module)
        places = tuple(self._below(module))
        self.whole += places  # other modules may ask for their type and device
        _become(module, type(f"{original.__name__}ByReplica", (ByReplica, original), {}))
        assert isinstance(module, ByReplica)
        module.fold, module.original, module.places = self.fold, original, places
        module.stacked, module.folded_inputs = {}, None
        self.by_replica.append(module)
        return module


def _become(module: nn.Module, kind: type[nn.Module]) -> None:
    """The same object with another class, so that its settings stay, and what refers to it."""
    try:
        module.__class__ = kind
    except TypeError as error:
        raise NotFoldable(f"{type(module).__name__} cannot be replaced: {error}") from error
