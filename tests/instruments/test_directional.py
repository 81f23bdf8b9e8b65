"""Curvature along the gradient and along steps."""

import pytest
import torch
from small_nets import case, dense_gauss_newton, dense_hessians, loss_of

from refute import architectures
from refute.errors import ShapeError
from refute.instruments.directional import gradient_curvature, step_curvature
from refute.instruments.hessian import cast, curvature
from refute.instruments.interface import trusted

MADE = case(activation="tanh")
ARGUMENTS = (MADE.network, MADE.weights, MADE.inputs, MADE.labels)


def test_curvature_along_the_gradient_and_its_parts() -> None:
    hessian, gauss_newton = dense_hessians(MADE), dense_gauss_newton(MADE)
    residual = hessian - gauss_newton
    found = gradient_curvature(*ARGUMENTS, seeds=MADE.seeds)
    g = torch.stack([torch.autograd.functional.jacobian(loss_of(MADE, r), MADE.weights.flat[r]) for r in range(3)])
    unit = g / g.norm(dim=1, keepdim=True)
    along = [torch.einsum("ri,rij,rj->r", unit, matrix, unit) for matrix in (hessian, gauss_newton, residual)]
    assert torch.allclose(found.gradient_norm, g.norm(dim=1), atol=1e-13)
    assert torch.allclose(found.hessian, along[0], atol=1e-12)
    assert torch.allclose(found.gauss_newton, along[1], atol=1e-12)
    assert torch.allclose(found.residual, along[2], atol=1e-12)
    assert torch.allclose(found.ratio, along[2].abs() / along[1], rtol=1e-9)
    norm = torch.linalg.matrix_norm(residual, ord=2)
    assert torch.allclose(found.orthogonality, along[2].abs() / norm, rtol=1e-4)
    assert bool(trusted(found).all())


def test_another_direction() -> None:
    direction = torch.randn_like(MADE.weights.flat)
    found = gradient_curvature(*ARGUMENTS, direction=3 * direction)
    expected = torch.einsum("ri,rij,rj->r", direction, dense_hessians(MADE), direction)
    assert torch.allclose(found.hessian, expected / direction.square().sum(dim=1), atol=1e-12)
    assert found.orthogonality.isnan().all()


def test_relu_nets_in_a_random_direction_have_no_residual_on_average() -> None:
    """The diagonal of the residual part is 0 for relu: only off-diagonal terms are left (specification, pitfalls)."""
    made = case()
    at = curvature(made.network, made.weights, made.inputs, made.labels)
    identity = torch.eye(at.parameters, dtype=torch.float64).expand(3, -1, -1)
    diagonal = torch.diagonal(at.product(identity, "residual"), dim1=1, dim2=2)
    assert torch.allclose(diagonal, torch.zeros_like(diagonal), atol=1e-13)


def test_a_vanishing_gradient_is_flagged() -> None:
    network = architectures.build("mlp", (2,), 2, depth=0)
    weights = cast(network.initialize([0]), torch.float64)
    weights.flat.copy_(torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]))  # outputs are the targets
    inputs = torch.eye(2, dtype=torch.float64)
    found = gradient_curvature(network, weights, inputs, torch.tensor([0, 1]), loss="squared")
    assert found.flags["gradient vanishes"].all()


def test_saturated_outputs_are_flagged() -> None:
    made = case(activation="tanh", replicas=1)
    made.weights.flat.mul_(300)
    labels = made.network.evaluate(made.weights, made.inputs)[0].argmax(dim=1)
    found = gradient_curvature(made.network, made.weights, made.inputs, labels)
    assert found.flags["gauss-newton vanishes"].all() or found.flags["gradient vanishes"].all()


def test_step_curvature_is_that_of_a_quadratic_loss_exactly() -> None:
    network = architectures.build("mlp", (3,), 2, depth=0)
    weights = cast(network.initialize([0, 1]), torch.float64)
    inputs, labels = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    at = curvature(network, weights, inputs, labels, loss="squared")
    step = -0.7 * at.gradient
    found = step_curvature(network, weights, inputs, labels, step, loss="squared")
    along = (step * at.product(step)).sum(dim=1) / step.square().sum(dim=1)
    assert torch.allclose(found.value, along, rtol=1e-9)
    assert bool(trusted(found).all())


def test_step_curvature_tends_to_the_curvature_along_the_gradient() -> None:
    along = gradient_curvature(*ARGUMENTS).hessian
    gradient = curvature(*ARGUMENTS).gradient
    gaps = [
        (step_curvature(*ARGUMENTS, -size * gradient).value - along).abs().amax().item() for size in (0.1, 0.01, 0.001)
    ]
    assert gaps[1] < 0.2 * gaps[0]
    assert gaps[2] < 0.2 * gaps[1]


def test_steps_lost_in_rounding_are_flagged() -> None:
    gradient = curvature(*ARGUMENTS).gradient
    assert step_curvature(*ARGUMENTS, -1e-9 * gradient).flags["lost in rounding"].all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="direction must be"):
        gradient_curvature(*ARGUMENTS, direction=torch.ones(1, 2))
    with pytest.raises(ShapeError, match="step must be"):
        step_curvature(*ARGUMENTS, torch.ones(1, 2))
