"""A layer whose tensors go by other names."""

from dataclasses import dataclass, replace

from torch import Tensor

from refute.architectures.layers.interface import Layer, Slot, Step, Tensors


@dataclass(frozen=True)
class Renamed:
    """`names` are pairs of the layer's own name of a tensor and the one to be seen."""

    layer: Layer
    names: tuple[tuple[str, str], ...]

    @property
    def loops(self) -> bool:
        return self.layer.loops

    @property
    def groups(self) -> bool:
        return self.layer.groups

    @property
    def mixes(self) -> bool:
        return self.layer.mixes

    def slots(self) -> tuple[Slot, ...]:
        names = dict(self.names)
        return tuple(replace(slot, name=names[slot.name]) for slot in self.layer.slots())

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        return self.layer.apply(inputs, self.own(weights), training)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:
        return self.layer.bind(self.own(weights), self.own(gradients), wanted=wanted, spare=spare)

    def own(self, tensors: Tensors) -> Tensors:
        """The layer's tensors by its own names."""
        return {own: tensors[seen] for own, seen in self.names if seen in tensors}


def bare(layer: Layer) -> Layer:
    """The layer itself, without other names."""
    return layer.layer if isinstance(layer, Renamed) else layer


def own_tensors(layer: Layer, tensors: Tensors) -> Tensors:
    """Tensors by the names that `bare` of the layer has for them."""
    return layer.own(tensors) if isinstance(layer, Renamed) else tensors
