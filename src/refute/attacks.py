"""Adversarial examples: inputs moved a little, so that the loss rises. Trained on, they make adversarial training.

Inputs are (replica, batch, *shape). An attack sees the network through two functions of the inputs: `gradient_of` gives
the derivative of each example's loss by its own input, like inputs, and `loss_of` that loss, (replica, batch).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError

Gradient = Callable[[Tensor], Tensor]
EachLoss = Callable[[Tensor], Tensor]

STEPS_OF_RADIUS = 2.5
"""All steps of an attack together, in units of its radius, unless told (Madry et al. 2018, section 5.2)."""

SMALLEST_NORM = 1e-12
"""Shorter gradients are divided by this instead of their norm, so that a gradient of zeros means no step."""


class Attack(Protocol):
    """A way to move inputs."""

    def perturb(
        self, inputs: Tensor, gradient_of: Gradient, loss_of: EachLoss, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """Adversarial inputs, like `inputs`, in new memory; `generators`: one per replica, on the CPU."""
        ...

    def take(self, replicas: slice) -> "Attack":
        """The attack on some of the replicas."""
        ...


@dataclass(frozen=True)
class FGSM:
    """x + epsilon sign(g) (Goodfellow et al. 2015, section 4), clipped to low..high.

    `epsilon`: in units of the inputs, a number or one per replica, (replica,). `low`, `high`: range of the inputs, None
    for no bound. Raises `UsageError` if inputs lie outside.
    """

    epsilon: float | Tensor
    low: float | None = None
    high: float | None = None

    def perturb(
        self,
        inputs: Tensor,
        gradient_of: Gradient,
        loss_of: EachLoss,  # noqa: ARG002
        generators: Sequence[torch.Generator],  # noqa: ARG002
    ) -> Tensor:
        _require_range(inputs, self.low, self.high)
        step = gradient_of(inputs).sign() * _column(self.epsilon, inputs, "epsilon")
        return _clipped(inputs + step, self.low, self.high)

    def take(self, replicas: slice) -> "FGSM":
        return FGSM(_taken(self.epsilon, replicas), self.low, self.high)


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent on the negative loss (Madry et al. 2018, section 2.1).

    x <- P(x + step_size d(g)), `steps` times. "linf": d(g) = sign(g), P projects each number to within epsilon of the
    input it came from. "l2": d(g) = g / ||g||_2, P projects each example to the ball of radius epsilon about its input.
    Both then clip to low..high. `perturb` raises `UsageError` if the inputs lie outside and `ShapeError` if a vector or
    the generators are not one per replica.

    Attributes:
        epsilon: radius in units of the inputs, a number or one per replica, (replica,).
        norm: "linf" or "l2", over all of one input's numbers.
        step_size: as epsilon; 2.5 epsilon / steps by default.
        steps: gradients per restart.
        restarts: attempts; each example keeps that of the highest loss (`loss_of` is called only if there are several).
        random_start: start uniformly in the ball instead of at the input; several restarts need it.
        low, high: range of the inputs, None for no bound.
    """

    epsilon: float | Tensor
    norm: Literal["linf", "l2"] = "linf"
    step_size: float | Tensor | None = None
    steps: int = 10
    restarts: int = 1
    random_start: bool = True
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise UsageError(f'the norm of an attack should be "linf" or "l2", but is {self.norm!r}')
        if self.steps < 1 or self.restarts < 1:
            raise UsageError(f"steps and restarts should be at least 1, but are {self.steps} and {self.restarts}")
        if self.restarts > 1 and not self.random_start:
            raise UsageError(f"{self.restarts} restarts from the same place find the same: set random_start")

    def perturb(
        self, inputs: Tensor, gradient_of: Gradient, loss_of: EachLoss, generators: Sequence[torch.Generator]
    ) -> Tensor:
        if len(generators) != len(inputs):
            raise ShapeError(f"{len(inputs)} replicas need as many generators, but {len(generators)} came")
        _require_range(inputs, self.low, self.high)
        worst = self._attempt(inputs, gradient_of, generators)
        if self.restarts == 1:
            return worst
        highest = loss_of(worst)
        for _ in range(self.restarts - 1):
            found = self._attempt(inputs, gradient_of, generators)
            losses = loss_of(found)
            higher = losses > highest
            worst[higher], highest[higher] = found[higher], losses[higher]
        return worst

    def take(self, replicas: slice) -> "PGD":
        size = None if self.step_size is None else _taken(self.step_size, replicas)
        options = (self.steps, self.restarts, self.random_start, self.low, self.high)
        return PGD(_taken(self.epsilon, replicas), self.norm, size, *options)

    def _attempt(self, inputs: Tensor, gradient_of: Gradient, generators: Sequence[torch.Generator]) -> Tensor:
        radius = _column(self.epsilon, inputs, "epsilon")
        if self.step_size is None:
            size = radius * (STEPS_OF_RADIUS / self.steps)
        else:
            size = _column(self.step_size, inputs, "step_size")
        moved = inputs.clone()
        if self.random_start:
            moved += radius * self._in_unit_ball(inputs, generators)
            moved = _clipped(moved, self.low, self.high)
        for _ in range(self.steps):
            gradient = gradient_of(moved)
            direction = gradient.sign() if self.norm == "linf" else gradient / _norms(gradient).clamp(min=SMALLEST_NORM)
            moved = _clipped(self._projected(inputs, moved + size * direction, radius), self.low, self.high)
        return moved

    def _projected(self, inputs: Tensor, moved: Tensor, radius: Tensor) -> Tensor:
        if self.norm == "linf":
            return torch.minimum(torch.maximum(moved, inputs - radius), inputs + radius)
        away = moved - inputs
        return inputs + away * (radius / _norms(away).clamp(min=SMALLEST_NORM)).clamp(max=1)

    def _in_unit_ball(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Uniform in the unit ball of the norm, like inputs. In l2: uniform direction, radius U^(1/dimension)."""
        shape = inputs.shape[1:]
        if self.norm == "linf":
            drawn = torch.stack([torch.rand(shape, generator=generator) for generator in generators])
            return (2 * drawn - 1).to(inputs)
        directions = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        root = 1 / math.prod(shape[1:])
        # each replica's powers by themselves: the last few of an array are rounded otherwise than those before
        radii = torch.stack([torch.rand(shape[0], generator=generator) ** root for generator in generators])
        return (directions / _norms(directions) * _spread(radii, directions)).to(inputs)


def _norms(examples: Tensor) -> Tensor:
    """Euclidean norm of each example of (replica, batch, *shape), (replica, batch, 1, ...)."""
    return _spread(examples.flatten(2).norm(dim=2), examples)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(replica, batch) with as many axes as `like`."""
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))


def _clipped(inputs: Tensor, low: float | None, high: float | None) -> Tensor:
    return inputs if low is None and high is None else inputs.clamp_(low, high)


def _require_range(inputs: Tensor, low: float | None, high: float | None) -> None:
    lowest, highest = inputs.aminmax()
    if (low is not None and lowest < low) or (high is not None and highest > high):
        raise UsageError(
            f"an attack that clips to {low}..{high} needs inputs in that range, but they reach from {lowest:g} to "
            f"{highest:g}: give the range of the inputs as they are (after standardization), or None"
        )


def _column(value: float | Tensor, inputs: Tensor, name: str) -> Tensor:
    """A number, or one per replica, with as many axes as `inputs`."""
    vector = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device)
    if vector.ndim == 0:
        return vector
    if vector.shape != inputs.shape[:1]:
        raise ShapeError(f"{name} must be a number or {len(inputs)} numbers, {tuple(vector.shape)} came")
    return _spread(vector, inputs)


def _taken(value: float | Tensor, replicas: slice) -> float | Tensor:
    return value[replicas] if isinstance(value, Tensor) and value.ndim else value
