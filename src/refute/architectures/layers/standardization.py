"""Layers that standardize: the inputs by fixed numbers, or each example's activations by their own."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.architectures.layers.interface import Differentiated, Slot, Step, Tensors

LAYER_NORM_EPSILON = 1e-5
"""The default of Ba et al.'s method in every major framework."""


@dataclass(frozen=True)
class Standardize:
    """(x - mean) / deviation by channel, fixed, so that inputs stay in their own units, [0, 1] for pixels.

    Inputs (replica, batch, channel, height, width), or of one channel any shape.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        if len(self.mean) == 1:
            return (inputs - self.mean[0]) / self.deviation[0]
        mean, deviation = (inputs.new_tensor(each).view(-1, 1, 1) for each in (self.mean, self.deviation))
        return (inputs - mean) / deviation

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return Differentiated(self, weights, gradients, wanted=wanted)


@dataclass(frozen=True)
class LayerNorm:
    """gamma (x - m) / sqrt(v + 1e-5) + beta, m and v over the features of each example (Ba et al. 2016, eq. 4)."""

    name: str
    features: int
    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        scale = Slot(f"{self.name}.gamma", (self.features,), "ones")
        return scale, Slot(f"{self.name}.beta", (self.features,), "zeros")

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        normalized = functional.layer_norm(inputs, (self.features,), eps=LAYER_NORM_EPSILON)
        beta, gamma = (weights[f"{self.name}.{part}"].unsqueeze(1) for part in ("beta", "gamma"))
        return torch.addcmul(beta, normalized, gamma)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return Differentiated(self, weights, gradients, wanted=wanted)
