"""Clipping by the norm, per replica, also of the second gradient that SAM asks for."""

import pytest
import torch
from torch import Tensor

from refute.algorithms import SAM, SGD, Clipped
from refute.architectures import Weights
from refute.architectures.layers import Slot


def step(algorithm: Clipped, gradient: Tensor, decay: Tensor | None = None) -> Tensor:
    """How far the weights, all ones, moved against the gradient at rate 1."""
    weights = Weights((Slot("w", (2,), "zeros"),), torch.ones_like(gradient))
    buffer = gradient.clone()
    again = lambda: buffer.copy_(gradient)
    algorithm.step(weights, buffer, algorithm.start(weights), torch.ones(len(gradient), 1), decay, again)
    return 1 - weights.flat


GRADIENT = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])


@pytest.mark.parametrize("inner", [SGD(), SAM(rho=0.1)], ids=["sgd", "sam"])
def test_only_long_gradients_are_shortened(inner: SGD | SAM) -> None:
    moved = step(Clipped(inner, 1.0), GRADIENT)
    torch.testing.assert_close(moved, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))


def test_the_norm_may_differ_between_replicas_and_decay_is_not_clipped() -> None:
    norms = torch.tensor([[2.5], [0.1], [1.0]])
    torch.testing.assert_close(
        step(Clipped(SGD(), norms), GRADIENT, torch.full((3, 1), 0.5)),
        torch.tensor([[1.5, 2.0], [0.06, 0.08], [0.0, 0.0]]) + 0.5,
    )


def test_it_is_what_torch_clips() -> None:
    gradient = torch.randn(4, 2, generator=torch.Generator().manual_seed(1)) * 3
    expected = []
    for row in gradient:
        single = torch.zeros(2, requires_grad=True)
        single.grad = row.clone()
        torch.nn.utils.clip_grad_norm_([single], 1.0)
        expected.append(single.grad)
    torch.testing.assert_close(step(Clipped(SGD(), 1.0), gradient), torch.stack(expected), rtol=1e-5, atol=1e-5)
