"""Layca: layer-level control of the rotation of weights (Carbonnelle & De Vleeschouwer 2019, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from refute.algorithms.interface import Again, Algorithm, State
from refute.algorithms.sgd import SGD
from refute.architectures import Weights

SMALLEST_STEP = 1e-7
"""A kernel whose step is shorter than this is left in place (official code)."""


@dataclass(frozen=True)
class Layca:
    """Every step turns each kernel by arctan(rate) and keeps its norm; nothing but kernels moves.

    Given the inner algorithm's step s for a kernel w: s <- s - (<s, w> / ||w||^2) w;  s <- s ||w|| / ||s||;
    w <- w - rate s;  w <- w scaled back to its norm. `rates` multiplies the rate of single kernels, by name, with a
    tensor (replica, 1). A kernel whose tangent step is no longer than `SMALLEST_STEP` stays in place; `idle`, a
    tensor (replica, 1) that the caller owns, counts such kernels over all steps.
    """

    inner: Algorithm = field(default_factory=SGD)
    rates: Mapping[str, Tensor] = field(default_factory=dict)
    idle: Tensor | None = None

    def start(self, weights: Weights) -> State:
        return self.inner.start(weights)

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:
        return self.inner.direction(weights, gradient, state, decay, again)

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        steps = Weights(weights.slots, self.direction(weights, gradient, state, decay, again))
        for slot in weights.slots:
            if slot.kernel:
                turned = rate * self.rates[slot.name] if slot.name in self.rates else rate
                stays = _turn(weights[slot.name].flatten(1), steps[slot.name].flatten(1), turned)
                if self.idle is not None:
                    self.idle.add_(stays)

    def take(self, replicas: slice) -> "Layca":
        rates = {name: rate[replicas] for name, rate in self.rates.items()}
        return Layca(self.inner.take(replicas), rates, None if self.idle is None else self.idle[replicas])


def _turn(kernel: Tensor, step: Tensor, rate: Tensor) -> Tensor:
    """Rotate `kernel` (replica, weight) by arctan(rate) against `step`; changes both; bool (replica, 1): who stayed."""
    norm = kernel.norm(dim=1, keepdim=True)
    along = (step * kernel).sum(dim=1, keepdim=True) / norm.square()
    tangent = step.addcmul_(kernel, along, value=-1)
    length = tangent.norm(dim=1, keepdim=True)
    stays: Tensor = length <= SMALLEST_STEP
    scale = (rate * norm / length).masked_fill(stays, 0.0)
    kernel.addcmul_(tangent, scale, value=-1)
    kernel.mul_(norm / kernel.norm(dim=1, keepdim=True))
    return stays
