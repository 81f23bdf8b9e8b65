"""Singular values over training: the exact logistic growth of a symmetric factorization, order, flags, refusals."""

import math

import pytest
import torch

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast
from refute.instruments.singular_trajectories import end_to_end, singular_trajectories

STRENGTHS = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)


def descent(start: float, rate: float, steps: int) -> tuple[torch.Tensor, list[float]]:
    """Gradient descent on |U U^T - S|_F^2 / 2 from U_0 = sqrt(start) I; X (1, moment, 3, 3) and times."""
    goal = torch.diag(STRENGTHS)
    turn = torch.linalg.qr(torch.arange(9.0).view(3, 3).sin().double())[0]
    goal = turn @ goal @ turn.T
    u = math.sqrt(start) * torch.eye(3, dtype=torch.float64)
    kept = []
    for _ in range(steps):
        kept.append(u @ u.T)
        u = u - rate * 2 * (u @ u.T - goal) @ u
    return torch.stack(kept)[None], [rate * step for step in range(steps)]


def test_half_times_are_those_of_the_logistic_curve() -> None:
    """dx/dt = 4 x (s - x): half of s at t = ln(s / x_0 - 1) / (4 s)."""
    start = 1e-4
    matrices, times = descent(start, 1e-3, 4000)
    found = singular_trajectories(matrices, times)
    expected = torch.log(STRENGTHS / start - 1) / (4 * STRENGTHS)
    torch.testing.assert_close(found.half_times[0], expected, rtol=5e-3, atol=0)
    assert (found.half_times[0].diff() > 0).all()
    x = STRENGTHS / (1 + (STRENGTHS / start - 1) * torch.exp(-4 * STRENGTHS * times[1000]))
    torch.testing.assert_close(found.values[0, 1000], x.sort(descending=True).values, rtol=2e-2, atol=1e-5)
    torch.testing.assert_close(found.nuclear[0], torch.diagonal(matrices[0], dim1=1, dim2=2).sum(dim=1))
    assert abs(found.nuclear[0, -1].item() - 7) < 2e-3
    assert not any(raised.any() for raised in found.flags.values())


def test_rotations_and_packing_change_nothing() -> None:
    matrices, times = descent(1e-2, 1e-2, 200)
    turn = torch.linalg.qr(torch.arange(9.0).view(3, 3).cos().double())[0]
    both = torch.cat([matrices, turn @ matrices])
    found, alone = singular_trajectories(both, times), singular_trajectories(matrices, times)
    torch.testing.assert_close(found.values[0], found.values[1])
    torch.testing.assert_close(found.half_times[:1], alone.half_times, rtol=1e-12, atol=0)


def test_weak_components_have_no_time_and_movement_is_flagged() -> None:
    strengths = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.01]])
    found = singular_trajectories(torch.diag_embed(strengths)[None], [0.0, 1.0, 2.0])
    assert torch.isnan(found.half_times).tolist() == [[False, True]]
    matrices, times = descent(1e-4, 1e-2, 40)
    assert singular_trajectories(matrices, times).flags["still moving"].all()
    nothing = singular_trajectories(torch.zeros(1, 2, 3, 3), [0.0, 1.0])
    assert nothing.flags["zero at the end"].all()
    assert torch.isnan(nothing.half_times).all()


def test_end_to_end_is_what_the_net_computes_and_differentiable() -> None:
    network = architectures.build("linear", (4,), 3, depth=3, width=5)
    weights = cast(network.initialize([0, 1]), torch.float64)
    found = end_to_end(network, weights)
    by_hand = torch.stack(
        [weights["dense3.weight"][r] @ weights["dense2.weight"][r] @ weights["dense1.weight"][r] for r in range(2)]
    )
    torch.testing.assert_close(found, by_hand)
    inputs = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(network.evaluate(weights, inputs), inputs @ found.mT)
    weights.flat.requires_grad_()
    weights = type(weights)(weights.slots, weights.flat, weights.buffers)
    assert torch.autograd.grad(end_to_end(network, weights).sum(), weights.flat)[0].abs().sum() > 0


def test_refusals_name_what_is_wrong() -> None:
    network = architectures.build("mlp", (4,), 3, depth=1, width=5)
    with pytest.raises(UsageError, match="without biases"):
        end_to_end(network, network.initialize([0]))
    with pytest.raises(ShapeError, match="as many ascending times"):
        singular_trajectories(torch.ones(1, 2, 3, 3), [1.0, 0.0])
    with pytest.raises(ShapeError, match="finite"):
        singular_trajectories(torch.full((1, 1, 2, 2), math.nan), [0.0])
