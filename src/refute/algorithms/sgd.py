"""Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's momentum (Sutskever et al. 2013, eq. 3-4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import Again, State, take
from refute.architectures import Weights


@dataclass(frozen=True)
class SGD:
    """v <- momentum v + g + decay w;  w <- w - rate v (Nesterov: w <- w - rate (g + decay w + momentum v)).

    `momentum`: a number, or (replica, 1).
    """

    momentum: float | Tensor = 0.0
    nesterov: bool = False

    def start(self, weights: Weights) -> State:
        return {"velocity": torch.zeros_like(weights.flat)} if self._moves else {}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:  # noqa: ARG002
        found = self._direction(weights, gradient, state, decay)
        return gradient if found is gradient else gradient.copy_(found)

    def step(
        self,
        weights: Weights,
        gradient: Tensor,
        state: State,
        rate: Tensor,
        decay: Tensor | None,
        again: Again,  # noqa: ARG002
    ) -> None:
        weights.flat.addcmul_(self._direction(weights, gradient, state, decay), rate, value=-1)

    @property
    def plain(self) -> bool:
        """Whether a step is v <- momentum v + g + decay w, w <- w - rate v with one momentum for all replicas."""
        return not self.nesterov and not isinstance(self.momentum, Tensor)

    @property
    def gathers(self) -> bool:
        """Whether gradients may go straight into the velocity, v <- momentum v + g; `follow` is then the rest."""
        return self._moves and self.plain

    def follow(self, weights: Weights, velocity: Tensor, rate: Tensor, decay: Tensor | None) -> None:
        """Move the weights once the gradient is in the velocity."""
        if decay is not None:
            velocity.addcmul_(weights.flat, decay)
        weights.flat.addcmul_(velocity, rate, value=-1)

    def take(self, replicas: slice) -> "SGD":
        return SGD(take(self.momentum, replicas), self.nesterov)

    @property
    def _moves(self) -> bool:
        return isinstance(self.momentum, Tensor) or self.momentum != 0

    def _direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None) -> Tensor:
        """`gradient`, overwritten, or the velocity itself."""
        if decay is not None:
            gradient.addcmul_(weights.flat, decay)
        if not self._moves:
            return gradient
        velocity = state["velocity"]
        if isinstance(self.momentum, Tensor):
            velocity.mul_(self.momentum).add_(gradient)
            return gradient.addcmul_(velocity, self.momentum) if self.nesterov else velocity
        torch.add(gradient, velocity, alpha=self.momentum, out=velocity)
        return gradient.add_(velocity, alpha=self.momentum) if self.nesterov else velocity
