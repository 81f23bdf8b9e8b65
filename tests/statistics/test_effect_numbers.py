"""From the numbers of one block to its one effect."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from refute import statistics

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@settings(max_examples=80, deadline=None)
@given(pairs)
def test_rank_correlations_agree_with_scipy(values):
    x, y = zip(*values, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert (statistics.spearman(x, y), statistics.kendall(x, y)) == (0.0, 0.0)
        return
    assert statistics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert statistics.kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("levels", [3, 4, 5, 6])
def test_quanta_are_the_smallest_steps_over_all_orders(levels):
    base = range(levels)
    for correlation, quantum in (
        (statistics.spearman, statistics.spearman_quantum(levels)),
        (statistics.kendall, statistics.kendall_quantum(levels)),
    ):
        reached = sorted({round(correlation(base, order), 12) for order in itertools.permutations(base)})
        steps = np.diff(reached) / quantum
        assert steps == pytest.approx(np.round(steps))
        # Sums of squared rank differences are even: between two orders rho moves by whole quanta.
        assert min(steps) == pytest.approx(1.0)


def test_a_perfect_order_is_exactly_one():
    assert statistics.spearman(range(9), range(9)) == 1.0
    assert statistics.spearman(range(9), range(0, -9, -1)) == -1.0


def test_slope_is_least_squares_and_undefined_without_spread():
    x, y = [1.0, 2.0, 4.0], [0.3, 0.1, 0.9]
    assert statistics.slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert math.isnan(statistics.slope([1, 1], [0, 2]))


def test_arms_are_averaged_inside_the_block():
    assert statistics.difference([1.0, 3.0], 1.5) == 0.5
    assert statistics.log_ratio([1.0, math.e**2], 1.0) == pytest.approx(1.0)


def test_rise_and_fall():
    assert statistics.rise_and_fall([1, 4, 2]) == 2.0
    assert statistics.rise_and_fall([1, 2, 3]) == 0.0
