"""Lines against scipy's linregress, power laws against curve_fit and by coverage of their standard errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.stats import linregress

from refute.errors import ShapeError, UsageError
from refute.instruments.curve_fits import line_fit, log_log_slope, power_law

SIZES = torch.tensor([100.0, 200, 400, 800, 1600, 3200, 6400, 12800], dtype=torch.float64)


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_lines_against_scipy() -> None:
    y = 3 - 0.4 * SIZES.log() + 0.2 * noise(4)
    found = line_fit(SIZES.log(), y)
    for row in range(4):
        expected = linregress(SIZES.log().numpy(), y[row].numpy())
        assert abs(found.slope[row].item() - expected.slope) < 1e-12
        assert abs(found.intercept[row].item() - expected.intercept) < 1e-11
        assert abs(found.slope_error[row].item() - expected.stderr) < 1e-12
        assert abs(found.intercept_error[row].item() - expected.intercept_stderr) < 1e-11
        assert abs(found.r_squared[row].item() - expected.rvalue**2) < 1e-12
    low, high = found.interval()
    assert ((low < found.slope) & (found.slope < high)).all()


def test_intervals_of_slopes_cover() -> None:
    found = line_fit(SIZES.log(), 1 + 2 * SIZES.log() + noise(4000))
    low, high = found.interval(level=0.9)
    assert abs(((low < 2) & (high > 2)).double().mean().item() - 0.9) < 0.015


def test_two_points_have_no_error() -> None:
    found = line_fit([1.0, 2.0], torch.tensor([[1.0, 3.0]]))
    assert found.slope.item() == 2
    assert torch.isnan(found.slope_error).all()
    assert found.flags["two points"].all()


def test_log_log_slope_looks_at_its_range_only() -> None:
    y = torch.where(SIZES < 1000, SIZES**0, 5 * SIZES**-1.5)[None]
    assert abs(log_log_slope(SIZES, y, low=1000).slope.item() + 1.5) < 1e-12
    with pytest.raises(UsageError, match="2 points or more between"):
        log_log_slope(SIZES, y, low=1e6)
    with pytest.raises(UsageError, match="above 0"):
        log_log_slope(SIZES, y - 1)


def test_power_law_without_floor_is_the_line_of_logarithms() -> None:
    y = 5 * SIZES**-0.35 * torch.exp(0.05 * noise(3))
    found, line = power_law(SIZES, y), log_log_slope(SIZES, y)
    torch.testing.assert_close(found.exponent, -line.slope, rtol=1e-8, atol=0)
    torch.testing.assert_close(found.amplitude, line.intercept.exp(), rtol=1e-7, atol=0)
    torch.testing.assert_close(found.exponent_error, line.slope_error, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.r_squared, line.r_squared, rtol=1e-8, atol=0)
    assert (found.floor == 0).all()


def test_power_law_with_floor_against_curve_fit() -> None:
    y = (5 * SIZES**-0.5 + 0.1) * torch.exp(0.02 * noise(3, seed=4))
    found = power_law(SIZES, y, floor=True)
    for row in range(3):
        best, covariance = curve_fit(
            lambda n, a, b, c: np.log(np.exp(a) * n**-b + c),
            SIZES.numpy(),
            y[row].log().numpy(),
            p0=[1.6, 0.5, 0.1],
            ftol=1e-14,
            xtol=1e-14,
        )
        assert abs(found.exponent[row].item() - best[1]) < 1e-5
        assert abs(found.floor[row].item() - best[2]) < 1e-6
        assert abs(found.amplitude[row].item() / math.exp(best[0]) - 1) < 1e-4
        assert abs(found.exponent_error[row].item() / math.sqrt(covariance[1, 1]) - 1) < 1e-3
        assert abs(found.floor_error[row].item() / math.sqrt(covariance[2, 2]) - 1) < 1e-3
    fitted = found(SIZES)
    assert (fitted / y - 1).abs().max() < 0.1


def test_given_standard_errors_are_units_and_not_rescaled() -> None:
    truth, errors = 5 * SIZES**-0.5 + 0.1, torch.full((300, 8), 0.003, dtype=torch.float64)
    found = power_law(SIZES, truth + 0.003 * noise(300, seed=5), floor=True, standard_errors=errors)
    inside = ((found.exponent - 0.5).abs() < 1.96 * found.exponent_error).double().mean().item()
    assert abs(inside - 0.95) < 0.05
    spread = found.exponent.std().item()
    assert abs(found.exponent_error.median().item() / spread - 1) < 0.2


def test_standard_errors_of_the_floor_are_the_spread() -> None:
    y = (5 * SIZES**-0.5 + 0.1) * torch.exp(0.02 * noise(300, seed=6))
    found = power_law(SIZES, y, floor=True)
    assert not found.flags["not converged"].any()
    assert 0.7 < found.floor_error.median().item() / found.floor.std().item() < 1.3
    assert abs(found.exponent.median().item() - 0.5) < 0.02


def test_flags() -> None:
    no_floor = power_law(SIZES, 5 * SIZES[None] ** -0.5 * (1 + 0.02 * noise(8, seed=1)), floor=True)
    told = no_floor.flags["floor at 0"] | (no_floor.floor > 0)
    assert told.all()
    assert no_floor.flags["floor at 0"].any()
    short = torch.tensor([100.0, 130, 170, 220, 300])
    assert power_law(short, 5 * short[None] ** -0.5).flags["x spans less than a factor of 4"].all()
    flat = power_law(SIZES, 0.3 * torch.exp(0.05 * noise(40)), floor=True)
    raised = flat.flags["floor and exponent not told apart"] | flat.flags["floor at 0"]
    assert raised.double().mean() > 0.7  # noise alone has an exponent twice its error in some curves
    assert (
        not power_law(SIZES, 5 * SIZES[None] ** -0.5 + 0.1, floor=True).flags["floor and exponent not told apart"].any()
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(0.01, 100))
def test_units_change_only_units(seed: int, of_x: float, of_y: float) -> None:
    y = (5 * SIZES**-0.5 + 0.1) * torch.exp(0.01 * noise(1, seed=seed))
    found, moved = power_law(SIZES, y, floor=True), power_law(of_x * SIZES, of_y * y, floor=True)
    torch.testing.assert_close(moved.exponent, found.exponent, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved.floor, of_y * found.floor, rtol=1e-3, atol=1e-6)


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="4 points or more"):
        power_law(SIZES[:3], torch.ones(1, 3), floor=True)
    with pytest.raises(UsageError, match="above 0"):
        power_law(SIZES, torch.zeros(1, 8))
    with pytest.raises(ShapeError, match="2 different numbers"):
        line_fit([1.0, 1.0], torch.ones(1, 2))
    with pytest.raises(ShapeError, match="finite"):
        line_fit([1.0, 2.0], torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ShapeError, match="standard_errors must be"):
        power_law(SIZES, torch.ones(1, 8), standard_errors=torch.zeros(1, 8))
