"""Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.algorithms.interface import Again, State
from refute.architectures import Weights

FUSED_FROM = 10_000
"""Parameters of one replica from which torch's fused kernel, called once per replica, is faster on a CPU (measured)."""


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
        flat = weights.flat
        steps = torch.zeros(len(flat), 1, dtype=torch.float32, device=flat.device)
        return {"first": torch.zeros_like(flat), "second": torch.zeros_like(flat), "steps": steps}

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:  # noqa: ARG002
        if decay is not None and not self.decoupled:
            gradient.addcmul_(weights.flat, decay)
        # in float64: 1 - 0.999 has four digits in float32
        steps = state["steps"].add_(1).double()
        correction1, correction2 = 1 - self.beta1**steps, (1 - self.beta2**steps).sqrt_()
        first, second = state["first"].lerp_(gradient, 1 - self.beta1), state["second"]
        second.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        # m / c1 / (sqrt(v) / c2 + epsilon) = (c2 / c1) m / (sqrt(v) + c2 epsilon), c2 being a root already
        scale = torch.sqrt(second, out=gradient).add_((self.epsilon * correction2).to(gradient.dtype))
        torch.div(first, scale, out=gradient).mul_((correction2 / correction1).to(gradient.dtype))
        if decay is not None and self.decoupled:
            gradient.addcmul_(weights.flat, decay)
        return gradient

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        if weights.flat.device.type == "cpu" and weights.flat.shape[1] >= FUSED_FROM:
            self._fused_step(weights.flat, gradient, state, rate, decay)
        else:
            weights.flat.addcmul_(self.direction(weights, gradient, state, decay, again), rate, value=-1)

    def take(self, replicas: slice) -> "Adam":  # noqa: ARG002
        return self

    def _fused_step(self, flat: Tensor, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None) -> None:
        """The same in one pass over memory instead of eight: the kernel behind torch.optim.Adam(fused=True)."""
        fused = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        steps = state["steps"].add_(1)
        rates = rate.flatten().tolist()
        decays = [0.0] * len(flat) if decay is None else decay.flatten().tolist()
        for replica, (learning_rate, weight_decay) in enumerate(zip(rates, decays, strict=True)):
            fused(
                [flat[replica]],
                [gradient[replica]],
                [state["first"][replica]],
                [state["second"][replica]],
                [],
                [steps[replica]],
                lr=learning_rate,
                beta1=self.beta1,
                beta2=self.beta2,
                weight_decay=weight_decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )
