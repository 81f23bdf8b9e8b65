"""Sharpness-aware minimization (Foret et al. 2021, eq. 2-4), and its adaptive form (Kwon et al. 2021, algorithm 1)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from refute.algorithms.interface import Again, Algorithm, State, take
from refute.algorithms.sgd import SGD
from refute.architectures import Weights

SMALLEST_NORM = 1e-12
"""Shorter gradients are divided by this instead of their norm, so that a gradient of zeros means e = 0."""

ADAPTIVE_SHIFT = 0.01
"""eta of Kwon et al. 2021, section 4."""


@dataclass(frozen=True)
class SAM:
    """The inner algorithm's step at w, with the gradient of the same batch at w + e.

    e = rho g / ||g||_2, over all trained tensors of a replica; g is the gradient of the loss without weight decay.
    `adaptive` (ASAM): e = rho T^2 g / ||T g||_2 with T = |w| + 0.01, elementwise. `rho`: a number, or (replica, 1).
    """

    inner: Algorithm = field(default_factory=SGD)
    rho: float | Tensor = 0.05
    adaptive: bool = False

    def start(self, weights: Weights) -> State:
        scratch = {"scale": torch.empty_like(weights.flat)} if self.adaptive else {}
        return {**self.inner.start(weights), **scratch, "centre": torch.empty_like(weights.flat)}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:
        self._ascend(weights, gradient, state, again)
        return self.inner.direction(weights, gradient, state, decay, again)

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        self._ascend(weights, gradient, state, again)
        self.inner.step(weights, gradient, state, rate, decay, again)

    def take(self, replicas: slice) -> "SAM":
        return SAM(self.inner.take(replicas), take(self.rho, replicas), self.adaptive)

    def _ascend(self, weights: Weights, gradient: Tensor, state: State, again: Again) -> None:
        """From the gradient at w to that at w + e; the weights are the same afterwards, bit for bit."""
        state["centre"].copy_(weights.flat)
        if self.adaptive:
            scale = torch.abs(weights.flat, out=state["scale"]).add_(ADAPTIVE_SHIFT)
            length = gradient.mul_(scale).norm(dim=1, keepdim=True)
            gradient.mul_(scale)
        else:
            length = gradient.norm(dim=1, keepdim=True)
        weights.flat.addcmul_(gradient, self.rho / length.clamp_(min=SMALLEST_NORM))
        again()
        weights.flat.copy_(state["centre"])
