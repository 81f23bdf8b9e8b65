"""Stage-like learning: its problems, its initial weights, and its nets beside the exact solutions."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from refute.core import Cohort, make_trial
from refute.phenomena import stage_like_learning as entry
from refute.phenomena.stage_like_learning import PHENOMENON, trial

PILOT = 1000


def cohort(
    dataset: str, architecture: str, *, scale: float = 1e-3, blocks: int = 3, first: int = PILOT, **changes: Any
):
    levels = {"dataset": dataset, "architecture": architecture, "init": changes.pop("init", "gaussian")}
    settings = {**PHENOMENON.protocols["smoke"].settings, **changes}
    trials = tuple(
        make_trial(PHENOMENON, {**levels, "scale": scale}, block, settings) for block in range(first, first + blocks)
    )
    return Cohort(trials, levels, {"scale": (scale,) * blocks}, settings)


def test_the_tree_has_the_modes_of_its_levels() -> None:
    """K = Y^T Y counts shared ancestors: eigenvalues 15 (all), 7, 3 (twice), 1 (four times); items have weight 1/8."""
    covariance = entry.tree_covariance(3)
    assert covariance.shape == (15, 8)
    expected = np.sqrt(np.array([15, 7, 3, 3, 1, 1, 1, 1]) / 8)
    assert np.allclose(np.linalg.svd(covariance.numpy(), compute_uv=False), expected)
    assert np.allclose(covariance.norm(dim=0).numpy(), expected)
    gram = (covariance.T @ covariance).numpy()
    assert np.allclose(gram, np.diag(np.diag(gram)))


def test_condensed_examples_have_the_same_covariance() -> None:
    problem = entry._problem(cohort("digits", "linear-2"))
    small = entry._condensed(problem)
    assert small.inputs.shape == (3, 50, 50)
    for one in (problem, small):
        second = one.inputs.transpose(1, 2) @ one.inputs / one.inputs.shape[1]
        assert torch.allclose(second, torch.eye(50, dtype=torch.float64).expand(3, -1, -1), atol=1e-8)
    whole, condensed = (p.targets.transpose(1, 2) @ p.inputs / p.inputs.shape[1] for p in (problem, small))
    assert torch.allclose(whole, condensed, atol=1e-12)


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "aligned"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_initial_maps_have_the_norm_asked_for(init: str, depth: int) -> None:
    one = cohort("digits", f"linear-{depth}", init=init, scale=0.02)
    problem = entry._problem(one)
    weights = entry._initial_weights(one, problem, depth)
    product = entry._product(weights)
    assert torch.allclose(torch.linalg.matrix_norm(product, ord=2), 0.02 * problem.modes.values[:, 0])
    if init == "aligned":
        inner = problem.modes.left.transpose(1, 2) @ product @ problem.modes.right
        top = 0.02 * problem.modes.values[:, :1, None]
        assert torch.allclose(inner, top * torch.eye(inner.shape[1], dtype=torch.float64), atol=1e-9)


def test_aligned_two_layers_follow_the_formula_with_the_known_start() -> None:
    """No fit: u(t) = s e^(2st) / (e^(2st) - 1 + s/u0) with u0 = s_1/1000, and a step small enough."""
    one = cohort("tree", "linear-2", init="aligned", rate=0.02, steps=4000)
    problem = entry._problem(one)
    s, kept = problem.modes.values[0].numpy(), problem.kept[0].numpy()
    measured, (_, clock) = trial(one)["mode_strength"]
    t, u0 = np.array(clock) / s[0], s[0] / 1000
    growth = np.exp(2 * np.outer(s[kept], t))
    formula = growth / (growth - 1 + (s[kept] / u0)[:, None])
    assert np.abs(measured[0, kept].numpy() - formula).max() < 0.02


def test_one_layer_learns_all_modes_alike() -> None:
    found = trial(cohort("digits", "linear-1", steps=100))
    measured, (_, clock) = found["mode_strength"]
    kept = ~measured[..., 0].isnan()
    exponential = torch.from_numpy((1 - 0.9 ** (np.array(clock) / 0.1)).round(3))
    assert (measured[kept] - exponential).abs().max() < 0.01
    assert torch.allclose(found["stage_index"], torch.tensor(3.17, dtype=torch.float64), atol=0.02)
    assert found["time_slope"].abs().max() < 0.01
    assert found["law_excess"].isnan().all()


def test_two_layers_learn_in_stages_and_in_order() -> None:
    found = trial(cohort("tree", "linear-2"))
    assert (found["order_tau"] == -1).all()
    assert (found["stage_index"] < 0.8).all()
    assert (found["modes"] == 4).all()
    assert found["curve_error"].max() < 0.01
    aligned = trial(cohort("tree", "linear-2", init="aligned"))
    assert aligned["law_excess"].abs().max() < 0.02
    assert aligned["time_slope"] == pytest.approx([-0.83] * 3, abs=0.02)


def test_three_layers_follow_the_differential_equation() -> None:
    found = trial(cohort("tree", "linear-3", init="aligned", steps=2500))
    assert found["curve_error"].max() < 0.005
    assert (found["learned"] == 1).all()


def test_equal_modes_are_all_kept_and_learned_together() -> None:
    found = trial(cohort("equal", "linear-2"))
    assert (found["modes"] == entry.EQUAL_MODES).all()
    assert found["half_time_spread"].max() < 0.2
    assert found["order_tau"].eq(0).all()


def test_large_weights_show_no_stages() -> None:
    assert trial(cohort("digits", "linear-2", scale=1.0))["stage_index"].min() > 1.5


def test_nonlinear_nets_have_no_closed_form() -> None:
    found = trial(cohort("digits", "tanh-2", examples=300, width=32, rate=0.2, steps=300))
    assert found["curve_error"].isnan().all()
    assert found["law_excess"].isnan().all()
    assert (found["order_tau"] < -0.6).all()


@pytest.mark.parametrize("architecture", ["linear-2", "relu-2"])
def test_the_seed_alone_decides(architecture: str) -> None:
    settings = {"examples": 200, "steps": 200}
    together = trial(cohort("digits", architecture, **settings))
    again = trial(cohort("digits", architecture, **settings))
    alone = trial(cohort("digits", architecture, blocks=1, first=PILOT + 1, **settings))
    for name in ("initial_norm", "stage_index", "time_slope"):
        assert together[name].equal(again[name])
        assert together[name][1].item() == pytest.approx(alone[name][0].item(), rel=1e-3)
    assert len(set(together["time_slope"].tolist())) == 3


def test_too_few_modes_give_no_number() -> None:
    values = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    kept = torch.tensor([[True, True, True], [True, False, True]])
    first, second = entry._over_modes(entry._median, kept, values).tolist()
    assert first == 2.0
    assert math.isnan(second)
    assert entry._log_slope(values[0], values[0] ** 2).item() == pytest.approx(2.0)
