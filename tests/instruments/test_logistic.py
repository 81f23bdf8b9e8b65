"""The solver of logistic regression: its derivatives, and minima that it must reach from far away."""

import pytest
import torch

from refute.instruments.logistic import LogisticProblem, minimize


def drawn(classes: int, *, weighted: bool = False, scale: float = 1.0) -> LogisticProblem:
    generator = torch.Generator().manual_seed(classes)
    x = scale * torch.randn(3, 50, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (3, 50), generator=generator)
    own = torch.nn.functional.one_hot(labels, classes)[..., 1:] if classes == 2 else torch.nn.functional.one_hot(labels)
    y = own.double().transpose(1, 2).unsqueeze(1)
    weights = torch.rand(3, 1, 1, 50, generator=generator, dtype=torch.float64) + 0.5 if weighted else None
    ones = torch.ones(3, 50, 1, dtype=torch.float64)
    return LogisticProblem(
        torch.cat([x, ones], dim=2), y, weights, torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    )


def objective(problem: LogisticProblem, at: torch.Tensor) -> torch.Tensor:
    """(replica, penalty)."""
    outputs = problem.outputs(at)
    if outputs.shape[2] == 1:
        each = torch.nn.functional.softplus(outputs) - problem.y * outputs
    else:
        each = -torch.log_softmax(outputs, dim=2) * problem.y
    return problem.weighted(each).sum(dim=(2, 3)) + (problem.shrinkage * at.square()).sum(dim=(2, 3)) / 2


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_and_minimum_by_autograd(classes: int, weighted: bool) -> None:
    problem = drawn(classes, weighted=weighted)
    generator = torch.Generator().manual_seed(0)
    at = torch.randn(3, 3, 1 if classes == 2 else classes, 5, generator=generator, dtype=torch.float64)
    leaf = at.clone().requires_grad_()
    (expected,) = torch.autograd.grad(objective(problem, leaf).sum(), leaf)
    found = problem.gradient(at, problem.shares(problem.outputs(at)))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    fitted = minimize(problem, 1e-11, 500)
    assert (fitted.gradient <= 1e-11).all()
    lowest = objective(problem, fitted.at)
    for _ in range(20):
        step = 0.1 * torch.randn(at.shape, generator=generator, dtype=torch.float64)
        assert (objective(problem, fitted.at + step) > lowest).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_inputs_of_any_scale(scale: float) -> None:
    fitted = minimize(drawn(4, scale=scale), 1e-8 * scale, 2000)
    assert (fitted.gradient <= 1e-8 * scale).all()


def test_intercepts_of_several_classes_sum_to_zero() -> None:
    fitted = minimize(drawn(4), 1e-11, 500)
    assert fitted.at.sum(dim=2).abs().max() < 1e-10


def test_the_factor_is_that_of_the_hessian_at_zero() -> None:
    problem = drawn(2)
    leaf = torch.zeros(5, dtype=torch.float64)

    def alone(coefficients: torch.Tensor) -> torch.Tensor:
        return objective(problem, coefficients.expand(3, 3, 1, 5))[1, 1]

    hessian = torch.autograd.functional.hessian(alone, leaf)
    factor = problem.preconditioner()[1, 1]
    assert torch.allclose(factor @ factor.T, hessian, rtol=1e-3, atol=1e-3 * hessian.diagonal().max().item())


def test_every_replica_and_penalty_stops_on_its_own() -> None:
    problem = drawn(4)
    together = minimize(problem, 1e-9, 500)
    assert len(together.steps.unique()) > 1
    for replica in range(3):
        for penalty in range(3):
            rows, columns = torch.tensor([replica]), torch.tensor([penalty])
            alone = minimize(problem.take(rows, columns), 1e-9, 500)
            assert torch.allclose(alone.at[0, 0], together.at[replica, penalty], atol=1e-5)
    assert (minimize(problem, 1e-9, 3).steps <= 3).all()
