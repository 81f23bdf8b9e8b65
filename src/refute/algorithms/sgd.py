"""Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's momentum (Sutskever et al. 2013, eq. 3-4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import State
from refute.architectures import Weights


@dataclass(frozen=True)
class SGD:
    """v <- momentum v + g + decay w;  w <- w - rate v (Nesterov: w <- w - rate (g + decay w + momentum v))."""

    momentum: float = 0.0
    nesterov: bool = False

    def start(self, weights: Weights) -> State:
        return {"velocity": torch.zeros_like(weights.flat)} if self.momentum else {}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor) -> Tensor:
        if decay.any():
            gradient.addcmul_(weights.flat, decay)
        if not self.momentum:
            return gradient
        velocity = state["velocity"].mul_(self.momentum).add_(gradient)
        return gradient.add_(velocity, alpha=self.momentum) if self.nesterov else velocity

    def step(self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor) -> None:
        weights.flat.addcmul_(self.direction(weights, gradient, state, decay), rate, value=-1)
