"""Sharpness-aware minimization against its formulas, with autograd in float64, one replica at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from refute.algorithms import SAM, SGD
from refute.architectures import Weights
from refute.architectures.layers import Slot

SIZE, RATE, DECAY = 6, 0.1, 0.05
RHOS = (0.3, 0.0, 1.5)


def bumpy(w: Tensor) -> Tensor:
    places = torch.arange(1, SIZE + 1, dtype=w.dtype)
    return torch.cos(places * w).sum() + (w * places.flip(0)).sum().square() / 20


def slope(w: Tensor) -> Tensor:
    leaf = w.detach().requires_grad_()
    return torch.autograd.grad(bumpy(leaf), leaf)[0]


def plain(w: Tensor, rho: float) -> Tensor:
    g = slope(w)
    return slope(w + rho * g / g.norm())


def adaptive(w: Tensor, rho: float) -> Tensor:
    g, t = slope(w), w.abs() + 0.01
    return slope(w + rho * t**2 * g / (t * g).norm())


@pytest.mark.parametrize(("is_adaptive", "reference"), [(False, plain), (True, adaptive)], ids=["sam", "asam"])
def test_steps_follow_the_formula(is_adaptive: bool, reference: Callable[[Tensor, float], Tensor]) -> None:
    start = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, gradient = Weights((Slot("w", (SIZE,), "zeros"),), start.clone()), torch.zeros_like(start)

    def again() -> None:
        gradient.copy_(torch.stack([slope(w) for w in weights.flat]))

    rhos = torch.tensor(RHOS, dtype=torch.float64)[:, None]
    algorithm = SAM(SGD(0.9), rhos, adaptive=is_adaptive)
    state = algorithm.start(weights)
    rate, decay = torch.full_like(rhos, RATE), torch.full_like(rhos, DECAY)
    for _ in range(3):
        again()
        algorithm.step(weights, gradient, state, rate, decay, again)
    for replica, rho in enumerate(RHOS):
        w, velocity = start[replica], torch.zeros(SIZE, dtype=torch.float64)
        for _ in range(3):
            velocity = 0.9 * velocity + reference(w, rho) + DECAY * w
            w = w - RATE * velocity
        torch.testing.assert_close(weights.flat[replica], w)


def test_a_gradient_of_zeros_moves_nothing() -> None:
    weights = Weights((Slot("w", (2,), "zeros"),), torch.ones(1, 2))
    algorithm = SAM()
    algorithm.step(weights, torch.zeros(1, 2), algorithm.start(weights), torch.ones(1, 1), None, lambda: None)
    assert torch.equal(weights.flat, torch.ones(1, 2))
