"""Layers without weights that act on each number, or only reshape."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures.layers.images import divided, merged
from refute.architectures.layers.interface import Differentiated, Slot, Step, Tensors
from refute.errors import UnknownNameError, did_you_mean

FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": torch.nn.functional.gelu,
    "softplus": torch.nn.functional.softplus,
    "elu": torch.nn.functional.elu,
    "silu": torch.nn.functional.silu,
    "leaky-relu": torch.nn.functional.leaky_relu,
    "identity": lambda x: x,
}


@dataclass(frozen=True)
class Activation:
    """An elementwise function by name, see `FUNCTIONS`."""

    function: str
    loops = False
    groups = True
    mixes = False

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise UnknownNameError(
                f"unknown activation '{self.function}'; {did_you_mean(self.function, tuple(FUNCTIONS))}"
            )

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        return FUNCTIONS[self.function](inputs)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:
        match self.function:
            case "relu":
                return _ReluStep(spare=spare)
            case "tanh":
                return _TanhStep(spare=spare)
            case "identity":
                return _IdentityStep(spare=spare)
            case _:
                return Differentiated(self, weights, gradients, wanted=wanted)


class _ReluStep:
    """max(0, x), and its derivative read off its outputs."""

    spare = False

    def __init__(self, *, spare: bool) -> None:
        self.in_place = spare
        self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.in_place:
            self.outputs = inputs.relu_()
        else:
            self.outputs = torch.relu(inputs)
        return self.outputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        # comparisons and `where` are an order of magnitude slower than this one call
        torch.ops.aten.threshold_backward.grad_input(gradient, self.outputs, 0, grad_input=gradient)
        return gradient


class _TanhStep:
    spare = False

    def __init__(self, *, spare: bool) -> None:
        self.in_place = spare
        self.outputs = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.outputs = inputs.tanh_() if self.in_place else torch.tanh(inputs)
        return self.outputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        torch.ops.aten.tanh_backward.grad_input(gradient, self.outputs, grad_input=gradient)
        return gradient


class _IdentityStep:
    def __init__(self, *, spare: bool) -> None:
        self.spare = spare

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        return gradient


@dataclass(frozen=True)
class Flatten:
    """(replica, batch, ...) -> (replica, batch, feature)."""

    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        return inputs.flatten(2)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return FlattenStep(spare=spare)


class FlattenStep:
    """Reshapes."""

    def __init__(self, *, spare: bool) -> None:
        self.spare = spare
        self.inputs = self.passed = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return inputs.flatten(2)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        if self.inputs.is_contiguous():
            return gradient.reshape(self.inputs.shape)
        if self.passed.shape != self.inputs.shape:
            self.passed = torch.empty_like(self.inputs)  # in the memory order of the inputs
        return self.passed.copy_(gradient.reshape(self.inputs.shape))


@dataclass(frozen=True)
class GlobalAveragePool:
    """Mean over positions: (replica, batch, channel, height, width) -> (replica, batch, channel)."""

    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        return inputs.mean(dim=(-2, -1))

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _GlobalAveragePoolStep()


class _GlobalAveragePoolStep:
    spare = True

    def __init__(self) -> None:
        self.inputs = self.passed = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = inputs
        return inputs.mean(dim=(-2, -1))

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        if self.passed.shape != self.inputs.shape:
            self.passed = torch.empty_like(self.inputs)  # in the memory order of the inputs
        positions = self.inputs.shape[-2] * self.inputs.shape[-1]
        return self.passed.copy_((gradient / positions)[..., None, None].expand_as(self.passed))


@dataclass(frozen=True)
class MaxPool:
    """Maximum over squares of `size`, stride `size`; a margin that fills no square has a maximum of its own."""

    size: int = 2
    ceil: bool = True
    loops = False
    groups = True
    mixes = False

    def slots(self) -> tuple[Slot, ...]:
        return ()

    def apply(self, inputs: Tensor, weights: Tensors, training: bool) -> Tensor:  # noqa: ARG002
        pooled = torch.nn.functional.max_pool2d(merged(inputs), self.size, ceil_mode=self.ceil)
        return divided(pooled, inputs)

    def bind(self, weights: Tensors, gradients: Tensors, *, wanted: bool, spare: bool) -> Step:  # noqa: ARG002
        return _MaxPoolStep(self)


class _MaxPoolStep:
    spare = True

    def __init__(self, layer: MaxPool) -> None:
        self.size, self.ceil = [layer.size] * 2, layer.ceil
        self.inputs = self.indices = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs = merged(inputs)
        outputs, self.indices = torch.ops.aten.max_pool2d_with_indices(
            self.inputs, self.size, self.size, [0, 0], [1, 1], self.ceil
        )
        return divided(outputs, inputs)

    def backward(self, gradient: Tensor, *, keep: float) -> Tensor:  # noqa: ARG002
        passed: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            merged(gradient),
            self.inputs,
            self.size,
            self.size,
            [0, 0],
            [1, 1],
            self.ceil,
            self.indices,
        )
        return divided(passed, gradient)
