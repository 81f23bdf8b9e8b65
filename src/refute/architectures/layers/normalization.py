"""Batch normalization (Ioffe & Szegedy 2015, algorithm 1), with statistics for each replica."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.architectures.layers.images import by_replica, joined, parts_of, side_by_side
from refute.architectures.layers.interface import Slot, Step, Tensors
from refute.architectures.products import put

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1
"""Both: the defaults of Ioffe & Szegedy's method in every major framework."""


@dataclass(frozen=True)
class BatchNorm:
    """Normalization over the batch (and positions), per replica and channel; statistics per replica."""

    name: str
    channels: int
    affine: bool = True
    loops = False
    groups = True
    mixes = True

    def slots(self) -> tuple[Slot, ...]:
        scale = Slot(f"{self.name}.gamma", (self.channels,), "ones")
        shift = Slot(f"{self.name}.beta", (self.channels,), "zeros")
        mean = Slot(f"{self.name}.running_mean", (self.channels,), "zeros", buffer=True)
        variance = Slot(f"{self.name}.running_variance", (self.channels,), "ones", buffer=True)
        return (scale, shift, mean, variance) if self.affine else (mean, variance)

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:
        own = {slot.name.rpartition(".")[2]: weights[slot.name] for slot in self.slots()}
        parts = parts_of(inputs) if inputs.ndim == 5 else [slice(None)]
        normalized = [
            functional.batch_norm(
                _merged(inputs[part]),
                own["running_mean"][part].view(-1),
                own["running_variance"][part].view(-1),
                own["gamma"][part].reshape(-1) if self.affine else None,
                own["beta"][part].reshape(-1) if self.affine else None,
                training=training,
                momentum=BATCH_NORM_MOMENTUM,
                eps=BATCH_NORM_EPSILON,
            )
            for part in parts
        ]
        return joined([by_replica(each, len(inputs) // len(parts)) for each in normalized])

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _BatchNormStep(self, weights, gradients, wanted=wanted)


class _BatchNormStep:
    spare = True

    def __init__(self, layer: BatchNorm, weights: Tensors, gradients: Tensors, *, wanted: bool) -> None:
        self.wanted, self.affine = wanted, layer.affine
        self.mean = weights[f"{layer.name}.running_mean"].view(-1)
        self.variance = weights[f"{layer.name}.running_variance"].view(-1)
        if layer.affine:
            self.gamma, self.gamma_gradient = weights[f"{layer.name}.gamma"], gradients[f"{layer.name}.gamma"]
            self.beta, self.beta_gradient = weights[f"{layer.name}.beta"], gradients[f"{layer.name}.beta"]
        self.inputs = self.batch_mean = self.batch_scale = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = _merged(inputs)
        gamma, beta = (self.gamma.reshape(-1), self.beta.reshape(-1)) if self.affine else (None, None)
        outputs, self.batch_mean, self.batch_scale = torch.native_batch_norm(
            self.inputs, gamma, beta, self.mean, self.variance, True, BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON
        )
        return by_replica(outputs, len(inputs))

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor | None:
        of_input, of_gamma, of_beta = torch.ops.aten.native_batch_norm_backward(
            _merged(gradient),
            self.inputs,
            self.gamma.reshape(-1) if self.affine else None,
            self.mean,
            self.variance,
            self.batch_mean,
            self.batch_scale,
            True,
            BATCH_NORM_EPSILON,
            [self.wanted, self.affine, self.affine],
        )
        if self.affine:
            for target, found in ((self.gamma_gradient, of_gamma), (self.beta_gradient, of_beta)):
                put(target, found.view(target.shape), keep=keep)
        return by_replica(of_input, len(gradient)) if self.wanted else None


def _merged(activations: Tensor) -> Tensor:
    """(replica, batch, channel, ...) -> (batch, replica * channel, ...): one fused call normalizes all replicas."""
    if activations.ndim == 5:
        return side_by_side(activations)
    return activations.squeeze(0) if len(activations) == 1 else activations.transpose(0, 1).flatten(1, 2)
