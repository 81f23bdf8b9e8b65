"""Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import State
from refute.architectures import Weights


@dataclass(frozen=True)
class Adam:
    """m, v: moving means of g and g^2, bias-corrected; w <- w - rate m / (sqrt(v) + epsilon).

    With `decoupled` (AdamW) weight decay shrinks the weights directly instead of entering the gradient.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decoupled: bool = False

    def start(self, weights: Weights) -> State:
        zeros = torch.zeros_like(weights.flat)
        return {"first": zeros, "second": zeros.clone(), "steps": torch.zeros((), dtype=torch.int64)}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor) -> Tensor:
        if not self.decoupled and decay.any():
            gradient.addcmul_(weights.flat, decay)
        steps = int(state["steps"].add_(1))
        first = state["first"].lerp_(gradient, 1 - self.beta1)
        second = state["second"].mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        scale = second.div(1 - self.beta2**steps).sqrt_().add_(self.epsilon)
        direction = first.div(scale).div_(1 - self.beta1**steps)
        if self.decoupled and decay.any():
            direction.addcmul_(weights.flat, decay)
        return direction

    def step(self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor) -> None:
        weights.flat.addcmul_(self.direction(weights, gradient, state, decay), rate, value=-1)
