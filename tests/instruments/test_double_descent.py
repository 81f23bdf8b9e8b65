"""Peaks of known curves, against a search over all pairs; thresholds; selection in resamples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.errors import ShapeError, UsageError
from refute.instruments.double_descent import (
    double_descent,
    effective_complexity,
    fitting_position,
    interpolation_threshold,
    mean_descent,
)

WIDTHS = [1, 2, 4, 8, 16, 32, 64, 128]


def curves(seed: int = 0, rows: int = 5, points: int = 8) -> torch.Tensor:
    return torch.rand(rows, points, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smoothed(row: np.ndarray) -> np.ndarray:
    return np.array([row[0], *(np.median(row[i - 1 : i + 2]) for i in range(1, len(row) - 1)), row[-1]])


@pytest.mark.parametrize("smooth", [True, False])
def test_the_peak_is_the_largest_rise_and_meets_its_definition(smooth: bool) -> None:
    errors = curves(rows=40)
    found = double_descent(errors, WIDTHS, smooth=smooth)
    for row, values in enumerate(errors.numpy()):
        own = smoothed(values) if smooth else values
        rise = max(own[j] - own[i] for j in range(1, 8) for i in range(j))
        assert abs(found.drop_in[row].item() - rise) < 1e-15
        low, top = WIDTHS.index(int(found.first_minimum[row])), WIDTHS.index(int(found.peak[row]))
        assert low < top
        assert own[low] == own[:top].min()
        assert own[top] == own[low:].max() or rise <= 0
        assert abs(found.drop_out[row].item() - (own[top] - own[-1])) < 1e-15
        assert found.strong[row].item() == (own[-1] < own[low])
        assert found.smaller[row] == min(found.drop_in[row], found.drop_out[row])
        assert found.flags["peak at the last point"][row].item() == (top == 7)


def test_a_parabola_in_the_logarithm_is_located() -> None:
    x = np.array([0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 4.0])
    for centre in (0.75, 0.95, 1.1, 1.37):
        errors = 3 - (np.log(x) - math.log(centre)) ** 2 + 5 * (x == 0.25)
        found = double_descent(torch.tensor(errors)[None], x.tolist(), smooth=False)
        assert abs(found.location.item() - centre) < 1e-9


def test_a_falling_curve_has_no_rise() -> None:
    found = double_descent(torch.tensor([[8.0, 7, 6, 5, 4, 3, 2, 1], [1.0, 2, 3, 4, 5, 6, 7, 8]]), WIDTHS)
    assert found.flags["no rise"].tolist() == [True, False]
    assert found.flags["peak at the last point"].tolist() == [False, True]
    assert found.drop_in[0] < 0
    assert found.drop_out[1] == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
def test_units_change_only_units(seed: int, scale: float, shift: float) -> None:
    errors = curves(seed)
    found = double_descent(errors, WIDTHS)
    moved = double_descent(scale * errors + shift, [3 * w for w in WIDTHS])
    torch.testing.assert_close(moved.drop_in, scale * found.drop_in, rtol=1e-9, atol=1e-12)
    assert torch.equal(moved.peak, 3 * found.peak)
    torch.testing.assert_close(moved.location, 3 * found.location, rtol=1e-6, atol=0)


def test_the_mean_curve_and_its_resamples() -> None:
    shape = torch.tensor([9.0, 6.0, 5.0, 7.0, 9.0, 9.0, 5.0, 4.0])
    errors = shape + 0.1 * curves(1, rows=12)
    found = mean_descent(errors, WIDTHS, seed=0, draws=400)
    torch.testing.assert_close(found.estimate.drop_in, double_descent(errors.mean(dim=0)[None], WIDTHS).drop_in)
    low, high = found.intervals["drop_in"]
    assert low < found.estimate.drop_in.item() < high
    again = mean_descent(errors, WIDTHS, seed=0, draws=400)
    assert torch.equal(found.draws.drop_in, again.draws.drop_in)
    assert not torch.equal(found.draws.drop_in, mean_descent(errors, WIDTHS, seed=1, draws=400).draws.drop_in)
    assert found.draws.drop_in.std().item() == pytest.approx(_spread(shape, 12), rel=0.35)


def _spread(shape: torch.Tensor, seeds: int) -> float:
    found = [double_descent((shape + 0.1 * curves(9 + s, seeds)).mean(dim=0)[None], WIDTHS).drop_in for s in range(300)]
    return torch.stack(found).std().item()


def test_thresholds() -> None:
    rows = [[0.5, 0.3, 0.1, 0.0, 0.0], [0.5, 0.4, 0.3, 0.2, 0.2], [0.02, 0.0, 0.0, 0.0, 0.0]]
    errors = torch.tensor(rows, dtype=torch.float64)
    found = interpolation_threshold(errors, [1, 2, 4, 8, 16])
    expected = math.exp((math.log(4) + math.log(8)) / 2)
    assert abs(found.position[0].item() - expected) < 1e-12
    assert found.flags["never reached"].tolist() == [False, True, False]
    assert found.flags["reached at the first point"].tolist() == [False, False, True]
    assert fitting_position(errors, [1, 2, 4, 8, 16], share=0.6) == 8
    assert fitting_position(errors, [1, 2, 4, 8, 16]) == math.inf


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 4999))
def test_effective_complexity_finds_the_step(truth: int) -> None:
    tried = []

    def training_error(n: int) -> float:
        tried.append(n)
        return 0.02 if n <= truth else 0.3

    found = effective_complexity(training_error, low=5, high=5000, ratio=1.0001)
    assert found.samples == truth
    assert len(tried) == len(set(tried)) <= 20


def test_effective_complexity_outside_the_range() -> None:
    above = effective_complexity(lambda n: 0.0, low=10, high=100)
    below = effective_complexity(lambda n: 1.0, low=10, high=100)
    assert (above.samples, below.samples) == (100, 0)
    assert above.flags["above the range"].all()
    assert below.flags["below the range"].all()
    assert not above.flags["below the range"].any()


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="4 points or more"):
        double_descent(torch.ones(1, 3), [1, 2, 3])
    with pytest.raises(ShapeError, match="must ascend and be above 0"):
        double_descent(torch.ones(1, 4), [0, 1, 2, 3])
    with pytest.raises(ShapeError, match="finite"):
        double_descent(torch.full((1, 4), math.nan), [1, 2, 3, 4])
    with pytest.raises(ShapeError, match="at least 2"):
        mean_descent(torch.ones(1, 4), [1, 2, 3, 4], seed=0)
    with pytest.raises(UsageError, match="1 <= low < high"):
        effective_complexity(lambda n: 0.0, low=10, high=10)
