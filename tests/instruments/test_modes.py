"""Modes against dense algebra, crossing times and exact curves against closed forms and an independent integrator."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from refute.instruments.modes import (
    Modes,
    crossing_times,
    exact_curve,
    fit_exact_curves,
    half_times,
    mode_strengths,
    plateau_count,
    rates,
    separated,
    singular_modes,
    whiten,
)
from refute.randomness import stream

TIMES = torch.linspace(0, 60, 6001, dtype=torch.float64)[None]
STRENGTHS = torch.tensor([[1.0, 0.6, 0.35]], dtype=torch.float64)


def random(*shape: int, purpose: str = "test") -> torch.Tensor:
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def exact(values: torch.Tensor, start: float, depth: int) -> torch.Tensor:
    half = half_times(values, torch.full_like(values, start), depth)
    return exact_curve(rates(values, depth)[..., None] * (TIMES[:, None] - half[..., None]), depth)


def test_whitened_inputs_have_mean_zero_and_unit_covariance() -> None:
    inputs = random(2, 200, 6) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5, 0.2], dtype=torch.float64)) + 7
    white = whiten(inputs, components=4)
    assert white.mean(dim=1).abs().max() < 1e-12
    covariance = white.transpose(1, 2) @ white / 200
    assert torch.allclose(covariance, torch.eye(4, dtype=torch.float64).expand(2, -1, -1), atol=1e-10)


def test_directions_of_hardly_any_variance_are_zero() -> None:
    inputs = random(1, 300, 3) * torch.tensor([1.0, 1.0, 0.01], dtype=torch.float64)
    white = whiten(inputs, components=3)
    assert white[..., 2].abs().max() == 0
    assert white[..., 1].var() > 0.5


def test_singular_modes_rebuild_the_covariance() -> None:
    inputs, targets = random(2, 50, 7, purpose="x"), random(2, 50, 4, purpose="y")
    modes = singular_modes(inputs, targets)
    rebuilt = modes.left @ torch.diag_embed(modes.values) @ modes.right.transpose(1, 2)
    for replica in range(2):
        dense = np.einsum("ij,ik->jk", targets[replica].numpy(), inputs[replica].numpy()) / 50
        assert np.allclose(rebuilt[replica].numpy(), dense)
        assert np.allclose(modes.values[replica].numpy(), np.linalg.svd(dense, compute_uv=False))
    assert torch.allclose(mode_strengths(rebuilt, modes), modes.values)


def test_mode_strength_is_the_quadratic_form() -> None:
    left, right, maps = random(1, 3, 2, purpose="l"), random(1, 5, 2, purpose="r"), random(1, 3, 5, purpose="m")
    found = mode_strengths(maps, Modes(torch.ones(1, 2, dtype=torch.float64), left, right))[0]
    for mode in range(2):
        assert found[mode] == pytest.approx(float(left[0, :, mode] @ maps[0] @ right[0, :, mode]))


def test_close_and_weak_modes_are_left_out() -> None:
    values = torch.tensor([[1.0, 0.96, 0.951, 0.94, 0.5, 0.049], [2.0, 1.0, 0.99, 0.9, 0.2, 0.0]])
    assert separated(values).tolist() == [
        [True, False, False, True, True, False],
        [True, True, False, True, True, False],
    ]


def test_crossing_times_interpolate_and_say_when_there_is_none() -> None:
    curves = torch.tensor([[[0.0, 0.2, 0.8, 1.0], [0.7, 0.6, 0.9, 1.0], [0.0, 0.1, 0.2, 0.3]]])
    times = torch.tensor([[0.0, 2.0, 4.0, 6.0]])
    assert crossing_times(curves, times, 0.5)[0].tolist() == pytest.approx([3.0, 0.0, math.inf])
    assert crossing_times(curves, times, 0.2)[0, 0] == pytest.approx(2.0)


def test_two_layers_follow_the_papers_formula() -> None:
    """u(t) = s e^(2st) / (e^(2st) - 1 + s/u0), Saxe et al. 2014, equation 7 (with their tau = 1)."""
    u0 = 1e-3
    for mode, s in enumerate(STRENGTHS[0].tolist()):
        t = TIMES[0, :3000].numpy()
        growth = np.exp(2 * s * t)
        formula = growth / (growth - 1 + s / u0)
        assert np.allclose(exact(STRENGTHS, u0, 2)[0, mode, :3000].numpy(), formula, atol=1e-10)


def test_one_layer_is_an_exponential() -> None:
    curves = exact(STRENGTHS, 0.0, 1)
    assert torch.allclose(curves, (1 - torch.exp(-TIMES)).expand_as(curves[0])[None], atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_every_depth_solves_its_differential_equation(depth: int) -> None:
    """du/dt = D u^(2 - 2/D) (s - u), integrated by scipy."""
    u0 = 1e-3
    for mode, s in enumerate(STRENGTHS[0].tolist()):
        solved = solve_ivp(
            lambda _, u, s=s: depth * u ** (2 - 2 / depth) * (s - u),
            (0, 60),
            [u0],
            t_eval=TIMES[0].numpy(),
            rtol=1e-9,
            atol=1e-12,
            method="LSODA",
        )
        assert np.abs(solved.y[0] / s - exact(STRENGTHS, u0, depth)[0, mode].numpy()).max() < 1e-5


def test_stage_indices_of_theory() -> None:
    """Z = 0.64 for two layers with u0 = s/1000, 3.17 for one; t50 = 3.45/s and 0.69."""
    s = torch.ones(1, 1, dtype=torch.float64)
    for depth, start, half, stage in ((2, 1e-3, 3.453, 0.636), (1, 0.0, math.log(2), 3.170)):
        t10, t50, t90 = (crossing_times(exact(s, start, depth), TIMES, level).item() for level in (0.1, 0.5, 0.9))
        assert t50 == pytest.approx(half, abs=1e-3)
        assert (t90 - t10) / t50 == pytest.approx(stage, abs=1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_fit_finds_the_initial_strength(depth: int) -> None:
    start = 1e-2
    curves = exact(STRENGTHS, start, depth)
    fit = fit_exact_curves(curves, TIMES, STRENGTHS, depth)
    assert torch.allclose(fit.start * STRENGTHS, torch.full_like(STRENGTHS, start), rtol=1e-5)
    assert fit.error.max() < 1e-6


def test_the_fit_to_a_foreign_curve_is_the_nearest_one() -> None:
    """A minimum found by scipy's bounded search has the same distance."""
    curves = exact(STRENGTHS, 1e-3, 1)
    fit = fit_exact_curves(curves, TIMES, STRENGTHS, 2)
    time = TIMES[0].numpy()
    for mode, s in enumerate(STRENGTHS[0].tolist()):
        curve = curves[0, mode].numpy()
        used = time <= 2 * np.interp(0.9, curve, time)

        def distance(half: float, s: float = s, curve: Any = curve, used: Any = used) -> float:
            return float(np.linalg.norm((curve - 1 / (1 + np.exp(-2 * s * (time - half))))[used]))

        best = minimize_scalar(distance, bounds=(-5, 5), method="bounded", options={"xatol": 1e-8})
        assert fit.half_time[0, mode].item() == pytest.approx(best.x, abs=1e-3)
        assert fit.error[0, mode] > 0.04


def test_plateaus_are_counted() -> None:
    t = TIMES
    two_waits = 2 - torch.sigmoid(3 * (t - 8)) - torch.sigmoid(3 * (t - 30))
    three_waits = two_waits - torch.sigmoid(3 * (t - 50))
    assert plateau_count(torch.cat([two_waits, three_waits, torch.exp(-t)]), t.expand(3, -1)).tolist() == [1, 2, 0]
