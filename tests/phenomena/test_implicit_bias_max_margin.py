"""Implicit bias: its optimizers against autograd, its examples, its fits, and nets against their definition."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refute import architectures
from refute.core import Cohort, make_trial
from refute.instruments.max_margin import margin_alignment, max_margin
from refute.phenomena import implicit_bias_max_margin as entry
from refute.phenomena.implicit_bias_max_margin import PHENOMENON, trial

PILOT = 1000


def cohort(
    optimizer: str = "gd",
    *,
    pair: str = "3-8",
    step: float = entry.FAST,
    start: float = 0.0,
    blocks: int = 2,
    first: int = PILOT,
    **changes: Any,
) -> Cohort:
    shared = {
        "dataset": "digits",
        "pair": pair,
        "model": changes.pop("model", "linear"),
        "features": changes.pop("features", "pixels"),
        "optimizer": optimizer,
    }
    settings = {**PHENOMENON.protocols["smoke"].settings, "steps": 1000, "early": 100, "examples": 80, **changes}
    levels = {**shared, "step": step, "start": start}
    trials = tuple(make_trial(PHENOMENON, levels, block, settings) for block in range(first, first + blocks))
    return Cohort(trials, shared, {"step": (step,) * blocks, "start": (start,) * blocks}, settings)


def smoothness(examples: Tensor) -> float:
    """Largest eigenvalue of Z^T Z / 4n, by numpy."""
    z = examples.numpy()
    return float(np.linalg.eigvalsh(z.T @ z / (4 * len(z)))[-1])


def by_autograd(optimizer: str, examples: Tensor, start: Tensor, steps: int) -> Tensor:
    """The same training in plain PyTorch: w after all steps."""
    w = start.clone().requires_grad_()
    size = 2 * entry.FAST / smoothness(examples)
    absolute = 0.03 / float(examples.abs().sum(dim=1).max())
    adam = torch.optim.Adam([w], lr=absolute, betas=entry.ADAM[:2], eps=entry.ADAM[2])
    for _ in range(steps):
        margins = examples @ w
        loss = (1 - margins).square().mean() / 2 if optimizer == "squared" else torch.log1p(torch.exp(-margins)).mean()
        (w.grad,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            match optimizer:
                case "gd":
                    w -= size * w.grad
                case "squared":
                    w -= size / 4 * w.grad
                case "normalized":
                    w -= size * w.grad / loss
                case "sign":
                    w -= absolute * w.grad.sign()
                case "adam":
                    adam.step()
    return w.detach()


@pytest.mark.parametrize(
    ("optimizer", "steps"), [("gd", 150), ("squared", 150), ("normalized", 25), ("sign", 150), ("adam", 150)]
)
def test_steps_are_those_of_autograd(optimizer: str, steps: int) -> None:
    """Normalized steps: only 25, because before the data are fitted they double every rounding error in two steps."""
    one = cohort(optimizer, start=1.0, blocks=3)
    examples = entry._examples(one)
    course = entry._descend(one, examples, [10, steps])
    assert course.weights.shape == (3, 2, 65)
    for row in range(3):
        expected = by_autograd(optimizer, examples[row], entry._start(one, examples)[row], steps)
        assert torch.allclose(course.weights[row, 1], expected, rtol=1e-8, atol=1e-9)


def test_normalized_and_sign_steps_survive_losses_that_vanish() -> None:
    """One example: the margin grows by |z|^2 x step a step, far beyond where exp(-m) is 0."""
    z = torch.zeros(1, 1, 65, dtype=torch.float64)
    z[0, 0, :2] = torch.tensor([3.0, 4.0])
    found = entry._descend(cohort("normalized", blocks=1), z, [2000]).weights[0, 0]
    step = 2 * entry.FAST / (25 / 4)
    assert (z[0, 0] @ found).item() == pytest.approx(2000 * step * 25, rel=0.01)
    signs = entry._descend(cohort("sign", blocks=1, sign_step=7.0), z, [1500]).weights[0, 0]
    assert signs[:3].tolist() == pytest.approx([1500.0, 1500.0, 0.0])


def test_two_points_turn_toward_the_larger_margin() -> None:
    """z = (1, 3), (1, -1): w* = (1, 0); the differential equation's direction tends there, the loss as 1/t."""
    z = torch.zeros(1, 2, 65, dtype=torch.float64)
    z[0, :, :2] = torch.tensor([[1.0, 3.0], [1.0, -1.0]])
    best = max_margin(z)
    course = entry._descend(cohort(blocks=1), z, [10, 100, 1000, 10_000])
    degrees = [margin_alignment(z, course.weights[:, k], best).degrees.item() for k in range(4)]
    assert degrees == sorted(degrees, reverse=True)
    norm = course.weights[0].norm(dim=1)
    assert ((norm[3] - norm[2]) / math.log(10)).item() == pytest.approx(1.0, abs=0.05)


def test_squared_loss_ends_at_the_regression_solution() -> None:
    one = cohort("squared", blocks=1, examples=40)
    examples = entry._examples(one)[:, :8]
    found = entry._descend(one, examples, [200_000]).weights[0, 0]
    expected = np.linalg.lstsq(examples[0].numpy(), np.ones(8), rcond=None)[0]
    assert found.numpy() == pytest.approx(expected, abs=1e-6)


def test_examples_carry_labels_bias_and_pixels() -> None:
    one = cohort(pair="0-1")
    data, examples = entry._data(one), entry._examples(one)
    signs = examples[:, :, -1]
    assert torch.equal(signs, (2 * data.labels - 1).double())
    assert torch.equal(examples[..., :-1] * signs.unsqueeze(2), data.inputs.double()[data.index])
    assert (data.labels.double().mean(dim=1) - 0.5).abs().max() < 0.05
    flipped = entry._examples(cohort(pair="0-1", features="flipped"))
    assert ((flipped - examples).abs().sum(dim=2) > 0).double().mean(dim=1).tolist() == pytest.approx([0.1, 0.1])


def test_five_components_hold_the_most_variance_and_overlap() -> None:
    one = cohort(pair="1-8", features="components")
    inputs = entry._data(one).inputs.double()[entry._data(one).index]
    found = entry._components(inputs)
    assert found.shape == (2, 80, entry.COMPONENTS)
    for row in range(2):
        covariance = np.cov(inputs[row].numpy().T)
        assert found[row].numpy().var(axis=0, ddof=1) == pytest.approx(np.linalg.eigvalsh(covariance)[:-6:-1])
    assert max_margin(entry._examples(one)).flags["not separable"].any()


def test_the_moments_of_training() -> None:
    grid = entry._grid(1000)
    assert (grid[0], grid[-1]) == (1, 1000)
    assert {1, 10, 100, 1000} <= set(grid)
    assert [grid[place] for place in entry._window(grid, 100, 1000)][::10] == [100, 1000]
    assert len(entry._window(entry._grid(200_000), 20_000, 200_000)) == entry.PER_DECADE + 1


def test_lines_and_decades() -> None:
    x = torch.tensor([1.0, 2.0, 4.0])
    found = entry._line(x, torch.stack([3 * x - 1, -x]))
    assert found.slope.tolist() == pytest.approx([3.0, -1.0])
    assert found.intercept.tolist() == pytest.approx([-1.0, 0.0], abs=1e-6)
    right = torch.tensor([[True, True, True, True], [True, False, True, True], [True, True, True, False]])
    assert entry._decades_since([1, 10, 100, 1000], right).tolist() == pytest.approx([3.0, 1.0, 0.0])


def test_the_margin_of_a_net_is_homogeneous() -> None:
    data = entry._data(cohort(model="relu"))
    network = architectures.build("mlp", data.input_shape, 1, depth=1, width=8, bias=False)
    weights = network.initialize([0, 1])
    found = entry.normalized_margin(network, weights, data)
    for row in range(2):
        x, y = data.inputs[data.index[row]], 2 * data.labels[row] - 1
        hidden = torch.relu(x @ weights["dense1.weight"][row].T)
        margin = (y * (hidden @ weights["output.weight"][row].T).squeeze(1)).min() / weights.flat[row].square().sum()
        assert found[row].item() == pytest.approx(margin.item(), rel=1e-5)
    weights.flat.mul_(3.0)
    assert torch.allclose(entry.normalized_margin(network, weights, data), found, rtol=1e-5)


def test_gradient_descent_moves_as_the_theory_says() -> None:
    found = trial(cohort(pair="0-1", steps=20_000, early=1000))
    assert (found["decades_since_fit"] > 1).all()
    assert (found["gap"] < found["early_gap"]).all()
    assert (found["angle_drop"] > 0).all()
    assert found["loss_exponent_error"].abs().max() < 0.15
    assert found["norm_slope_error"].abs().max() < 0.3
    assert found["margin_growth"].isnan().all()
    curve, (clock,) = found["gap_curve"]
    assert curve[:, -1].tolist() == pytest.approx(found["gap"].tolist(), abs=1e-4)
    assert clock[-1] == 20_000


def test_equal_time_is_equal_step_size_times_steps() -> None:
    """Gradient flow: a quarter of the step size takes four times the steps."""
    slow = trial(cohort(pair="0-1", step=0.25, steps=8000))
    fast = trial(cohort(pair="0-1", step=0.5, steps=8000))
    assert slow["gap_at_equal_time"].tolist() == slow["gap"].tolist()
    assert fast["gap_at_equal_time"].tolist() == pytest.approx(slow["gap"].tolist(), abs=2e-3)
    assert not torch.allclose(fast["gap"], slow["gap"], atol=5e-3)


@pytest.mark.parametrize("model", ["linear", "relu"])
def test_the_seed_alone_decides(model: str) -> None:
    together, again = (trial(cohort(pair="0-1", model=model, start=1.0, blocks=3)) for _ in range(2))
    alone = trial(cohort(pair="0-1", model=model, start=1.0, blocks=1, first=PILOT + 1))
    for name in ("gap", "angle") if model == "linear" else ("margin_growth",):
        assert together[name].equal(again[name])
        assert together[name][1].item() == pytest.approx(alone[name][0].item(), rel=1e-4)
        assert len(set(together[name].tolist())) == 3
