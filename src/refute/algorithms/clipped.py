"""Gradient clipping (Pascanu et al. 2013, algorithm 1)."""

from dataclasses import dataclass

from torch import Tensor

from refute.algorithms.interface import Again, Algorithm, State, take
from refute.architectures import Weights


@dataclass(frozen=True)
class Clipped:
    """The inner algorithm with g <- g min(1, norm / ||g||_2), over all trained tensors of a replica.

    Weight decay comes after clipping. `norm`: a number, or (replica, 1).
    """

    inner: Algorithm
    norm: float | Tensor

    def start(self, weights: Weights) -> State:
        return self.inner.start(weights)

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:
        self._clip(gradient)
        return self.inner.direction(weights, gradient, state, decay, self._clipping(gradient, again))

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        self._clip(gradient)
        self.inner.step(weights, gradient, state, rate, decay, self._clipping(gradient, again))

    def take(self, replicas: slice) -> "Clipped":
        return Clipped(self.inner.take(replicas), take(self.norm, replicas))

    def _clip(self, gradient: Tensor) -> None:
        gradient.mul_((self.norm / gradient.norm(dim=1, keepdim=True)).clamp_(max=1))

    def _clipping(self, gradient: Tensor, again: Again) -> Again:
        def clipped() -> None:
            again()
            self._clip(gradient)

        return clipped
