"""Layers as frozen values: which tensors they own, and how they map activations of a whole cohort.

Activations lead with (replica, batch); weights lead with (replica). Dense layers are one batched matrix product over
all replicas; convolutions run replica by replica (`Network` then loops over replicas, so that each one stays in cache).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

Shape = tuple[int, ...]

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1
"""Both: the defaults of Ioffe & Szegedy's method in every major framework."""


@dataclass(frozen=True)
class Slot:
    """One tensor of a network, without its replica axis. A buffer is not trained (running statistics)."""

    name: str
    shape: Shape
    law: str
    buffer: bool = False

    @property
    def kernel(self) -> bool:
        """Whether it is the weight of a linear map (not a bias, not a normalization parameter)."""
        return not self.buffer and len(self.shape) >= 2


class Layer(Protocol):
    """What every layer can do; `loops` says that the layer wants one replica at a time."""

    @property
    def loops(self) -> bool: ...
    def slots(self) -> tuple[Slot, ...]: ...
    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor: ...


@dataclass(frozen=True)
class Dense:
    """y = x W^T + b. `weight` (replica, out, in), `bias` (replica, out)."""

    name: str
    inputs: int
    outputs: int
    law: str = "he-normal"
    bias: bool = True
    loops = False

    def slots(self) -> tuple[Slot, ...]:
        weight = Slot(f"{self.name}.weight", (self.outputs, self.inputs), self.law)
        return (weight, Slot(f"{self.name}.bias", (self.outputs,), "zeros")) if self.bias else (weight,)

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        kernel = weights[f"{self.name}.weight"].transpose(1, 2)
        if not self.bias:
            return torch.bmm(inputs, kernel)
        return torch.baddbmm(weights[f"{self.name}.bias"].unsqueeze(1), inputs, kernel)


@dataclass(frozen=True)
class Convolution:
    """Two-dimensional convolution. `weight` (replica, out, in, size, size), `bias` (replica, out)."""

    name: str
    inputs: int
    outputs: int
    size: int = 3
    stride: int = 1
    law: str = "he-normal"
    bias: bool = True
    loops = True

    def slots(self) -> tuple[Slot, ...]:
        weight = Slot(f"{self.name}.weight", (self.outputs, self.inputs, self.size, self.size), self.law)
        return (weight, Slot(f"{self.name}.bias", (self.outputs,), "zeros")) if self.bias else (weight,)

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        kernels = weights[f"{self.name}.weight"]
        biases = weights[f"{self.name}.bias"] if self.bias else [None] * len(kernels)
        maps = [
            functional.conv2d(x, kernel, bias, stride=self.stride, padding=self.size // 2)
            for x, kernel, bias in zip(inputs, kernels, biases, strict=True)
        ]
        return maps[0].unsqueeze(0) if len(maps) == 1 else torch.stack(maps)


@dataclass(frozen=True)
class BatchNorm:
    """Normalization over the batch (and positions), per replica and channel; statistics per replica."""

    name: str
    channels: int
    affine: bool = True
    loops = False

    def slots(self) -> tuple[Slot, ...]:
        scale = Slot(f"{self.name}.gamma", (self.channels,), "ones")
        shift = Slot(f"{self.name}.beta", (self.channels,), "zeros")
        mean = Slot(f"{self.name}.running_mean", (self.channels,), "zeros", buffer=True)
        variance = Slot(f"{self.name}.running_variance", (self.channels,), "ones", buffer=True)
        return (scale, shift, mean, variance) if self.affine else (mean, variance)

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:
        # (replica, batch, channel, ...) -> (batch, replica * channel, ...): one fused call normalizes all replicas.
        mixed = inputs.transpose(0, 1)
        merged = mixed.reshape(mixed.shape[0], -1, *mixed.shape[3:])
        normalized = functional.batch_norm(
            merged,
            weights[f"{self.name}.running_mean"].view(-1),
            weights[f"{self.name}.running_variance"].view(-1),
            weights[f"{self.name}.gamma"].reshape(-1) if self.affine else None,
            weights[f"{self.name}.beta"].reshape(-1) if self.affine else None,
            training=training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPSILON,
        )
        return normalized.view(mixed.shape).transpose(0, 1)


@dataclass(frozen=True)
class Activation:
    """An elementwise function: "relu", "tanh" or "identity"."""

    function: str
    loops = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        match self.function:
            case "relu":
                return torch.relu(inputs)
            case "tanh":
                return torch.tanh(inputs)
            case _:
                return inputs


@dataclass(frozen=True)
class MaxPool:
    """Maximum over squares of `size`, stride `size`."""

    size: int = 2
    loops = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        replicas, batch = inputs.shape[:2]
        pooled = functional.max_pool2d(inputs.flatten(0, 1), self.size, ceil_mode=True)
        return pooled.view(replicas, batch, *pooled.shape[1:])


@dataclass(frozen=True)
class GlobalAveragePool:
    """Mean over positions: (replica, batch, channel, height, width) -> (replica, batch, channel)."""

    loops = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        return inputs.mean(dim=(-2, -1))


@dataclass(frozen=True)
class Flatten:
    """(replica, batch, ...) -> (replica, batch, feature)."""

    loops = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:  # noqa: ARG002
        return inputs.flatten(2)


@dataclass(frozen=True)
class Residual:
    """x -> activation(body(x) + shortcut(x)); an empty shortcut is the identity."""

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    activation: str = "relu"

    @property
    def loops(self) -> bool:
        return any(layer.loops for layer in (*self.body, *self.shortcut))

    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for layer in (*self.body, *self.shortcut) for slot in layer.slots())

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:
        outputs, skipped = inputs, inputs
        for layer in self.body:
            outputs = layer.apply(outputs, weights, training)
        for layer in self.shortcut:
            skipped = layer.apply(skipped, weights, training)
        return Activation(self.activation).apply(outputs + skipped, weights, training)


@dataclass(frozen=True)
class FromModule:
    """Any nn.Module as one layer, run replica by replica on views of the cohort's weights.

    `template` is an instance whose own weights are never used; `initial` draws them (see `Network.from_module`).
    """

    template: torch.nn.Module
    loops = True

    def slots(self) -> tuple[Slot, ...]:
        parameters = [Slot(name, tuple(p.shape), "module") for name, p in self.template.named_parameters()]
        buffers = [Slot(name, tuple(b.shape), "module", buffer=True) for name, b in self.template.named_buffers()]
        return (*parameters, *buffers)

    def apply(self, inputs: Tensor, weights: Mapping[str, Tensor], training: bool) -> Tensor:
        names = [slot.name for slot in self.slots()]
        self.template.train(training)
        outputs = [
            torch.func.functional_call(self.template, {name: weights[name][replica] for name in names}, (x,))
            for replica, x in enumerate(inputs)
        ]
        return outputs[0].unsqueeze(0) if len(outputs) == 1 else torch.stack(outputs)
