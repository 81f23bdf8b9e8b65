"""Pooling, multiplicity and the overall verdict."""

import math

import numpy as np
import pytest

from refute import statistics
from refute.statistics import Region, judge_cell, judge_cells, train_on

LEAST = Region("at_least", 0.0)


def cell(mean, n=10, sd=1.0, looks=None, region=LEAST):
    x = np.random.default_rng(n).normal(0, 1, n)
    return judge_cell(sd * (x - x.mean()) / x.std(ddof=1) + mean, region=region, looks=looks or (n,))


def over(*means, **kwargs):
    cells = {f"c{i}": cell(mean) for i, mean in enumerate(means)}
    return judge_cells(cells, region=LEAST, **kwargs)


class TestPooling:
    def test_equal_variances_have_a_closed_form(self):
        """With equal v, REML gives tau^2 = max(0, var(y) - v) and mu is the plain mean."""
        y = np.array([0.1, 0.9, 0.4, 1.3])
        pooled = statistics.pool(y, [0.05] * 4)
        assert pooled.tau2 == pytest.approx(y.var(ddof=1) - 0.05, rel=1e-9)
        assert pooled.mean == pytest.approx(y.mean())
        assert pooled.se == pytest.approx(y.std(ddof=1) / 2)
        assert statistics.pool(y, [5.0] * 4).tau2 == 0.0

    def test_one_cell_may_be_known_far_better_than_all_others(self):
        """Weights of 26 orders of magnitude: two cells decide, the third is but a point."""
        y, v = [0.0183, 8.6e-7, 0.0106], [2.9e-7, 5.7, 6.2e-27]
        pooled = statistics.pool(y, v)
        assert all(math.isfinite(x) for x in (pooled.mean, pooled.tau2, pooled.low, pooled.high))
        nearly = statistics.pool(y, [2.9e-7, 5.7, 6.2e-15])
        assert (pooled.mean, pooled.tau2) == pytest.approx((nearly.mean, nearly.tau2), rel=1e-6)

    def test_reml_maximizes_the_restricted_likelihood(self):
        y, v = np.array([0.2, 1.5, -0.3, 0.8, 2.2]), np.array([0.1, 0.4, 0.05, 0.9, 0.2])

        def likelihood(tau2):
            w = 1 / (v + tau2)
            mu = w @ y / w.sum()
            return np.log(w).sum() / 2 - np.log(w.sum()) / 2 - w @ (y - mu) ** 2 / 2

        best = statistics.pool(y, v).tau2
        step = 1e-4
        assert likelihood(best) > max(likelihood(best - step), likelihood(best + step))

    @pytest.mark.parametrize("unit", [1e-8, 1e6])
    def test_unit_and_zero_point_do_not_matter(self, unit):
        y, v = np.array([0.2, 1.5, -0.3, 0.8]), np.array([0.1, 0.4, 0.05, 0.9])
        one, other = statistics.pool(y, v), statistics.pool(unit * (y + 3), unit**2 * v)
        assert other.low == pytest.approx(unit * (one.low + 3))
        assert other.tau2 == pytest.approx(unit**2 * one.tau2)

    def test_k_decides_what_is_said(self):
        k3, k4, k5 = (statistics.pool(np.arange(k), np.ones(k)) for k in (3, 4, 5))
        assert (k3.prediction_low, k3.share(LEAST), k4.share(LEAST)) == (None, None, None)
        assert k4.prediction_low is not None
        assert 0 < k5.share(LEAST) < 1
        shares = [k5.share(Region(kind, 1.0)) for kind in ("at_least", "at_most")]
        assert sum(shares) == pytest.approx(1.0)
        assert statistics.pool([1.0] * 5, [1.0] * 5).share(LEAST) == 1.0

    def test_two_stages_average_the_cells_of_a_data_set(self):
        groups = ["a", "a", "b", "c", "c", "c"]
        y, v = np.array([1.0, 3, 2, 0, 1, 5]), np.array([0.1, 0.3, 0.2, 0.3, 0.3, 0.3])
        expected = statistics.pool([2.0, 2.0, 2.0], [0.1, 0.2, 0.1])
        assert statistics.two_stage_pool(y, v, groups) == expected

    def test_block_means_fail_where_any_cell_failed(self):
        means = statistics.block_means({"a": [1.0, math.nan], "b": [3.0, 1.0]})
        assert means[0] == 2.0
        assert math.isnan(means[1])


class TestMultiplicity:
    def test_holm_is_the_step_down_rule(self):
        p = np.random.default_rng(0).uniform(0, 0.1, 12)
        adjusted = statistics.holm(p)
        for a in (0.01, 0.05, 0.1, 0.3):
            rejected = set()
            for rank, index in enumerate(np.argsort(p)):
                if p[index] * (len(p) - rank) >= a:
                    break
                rejected.add(index)
            assert rejected == set(np.flatnonzero(adjusted < a))

    def test_bh_lies_between_raw_and_holm(self):
        p = np.random.default_rng(1).uniform(0, 1, 30)
        bh = statistics.benjamini_hochberg(p)
        assert (p <= bh).all()
        assert (bh <= statistics.holm(p)).all()


class TestOverall:
    def test_supported_in_every_cell(self):
        result = over(1.5, 2.0, 1.8, 1.9)
        assert (result.verdict, result.everywhere, result.expected_in_new_cell) == ("supported", True, True)
        assert result.sentence == "supported in every cell (4 of 4), expected in a new cell"

    def test_supported_on_average(self):
        result = over(1.5, 1.6, 1.4, 0.5)
        assert (result.verdict, result.everywhere, result.undecided) == ("supported", False, ("c3",))
        assert result.sentence.startswith("supported on average (mean over cells 1.25")
        assert "3 of 4 cells supported, none refuted; 1 undecided" in result.sentence

    def test_refuted_is_the_mirror(self):
        assert over(-1.5, -2.0).verdict == "refuted"
        assert over(-1.5, -1.6, -1.4, -0.5).verdict == "refuted"

    def test_limited_names_the_cells(self):
        result = over(2.0, 0.1, -2.0)
        assert (result.verdict, result.holds, result.fails) == ("limited", ("c0",), ("c2",))
        assert result.sentence == ("holds in c0, does not hold in c2 (1 of 3 cells supported, 1 refuted; 1 undecided)")

    def test_two_cells_are_not_pooled(self):
        result = over(2.0, 0.1)
        assert (result.verdict, result.pooled) == ("inconclusive", None)
        assert result.p_supported == max(cell(2.0).p_supported, cell(0.1).p_supported)

    def test_untested_cells_stay_in_holm_and_out_of_the_rest(self):
        lost = judge_cell([math.nan] * 5, region=LEAST, looks=(5,))
        result = judge_cells({"good": cell(2.0), "lost": lost}, region=LEAST)
        assert (result.verdict, result.holm_supported["lost"]) == ("supported", 1.0)
        assert result.holm_supported["good"] == pytest.approx(2 * cell(2.0).p_supported)
        assert result.sentence == "supported in every tested cell (1 of 2); 1 untested"
        assert judge_cells({"lost": lost}, region=LEAST).verdict == "untested"

    def test_cells_without_an_interval_are_named(self):
        same = judge_cell([1.0] * 5, region=LEAST, looks=(5,))
        cells = {"a": cell(2.0), "b": cell(2.1), "c": cell(1.9), ("d", 1): same}
        result = judge_cells(cells, region=LEAST)
        assert (result.unpooled, result.pooled.k) == ((("d", 1),), 3)
        assert "d 1" in result.notes[0]

    def test_groups_pool_data_sets(self):
        cells = {(data, net): cell(1 + net / 10) for data in "abc" for net in range(2)}
        result = judge_cells(cells, region=LEAST, groups={key: key[0] for key in cells})
        assert result.pooled.k == 3
        assert judge_cells(cells, region=LEAST, groups=dict.fromkeys(cells, "one")).pooled is None

    def test_shares_are_not_pooled(self):
        region = Region("at_least", 0.2)
        cells = {i: judge_cell([1] * 10, region=region, looks=(10,), share=True) for i in range(4)}
        result = judge_cells(cells, region=region, share=True)
        assert (result.verdict, result.pooled, result.unpooled) == ("supported", None, ())

    def test_contested_cells_are_trained_on(self):
        looks = (5, 10, 20)
        weak, strong = cell(1.9, 5, looks=looks), cell(-20.0, 5, looks=looks)
        assert (weak.verdict, strong.verdict) == ("supported", "refuted")
        assert train_on({"weak": weak}) == set()
        many = {f"more{i}": weak for i in range(6)}
        assert train_on({"strong": strong, **many}) == set(many)
        assert train_on({"done": cell(0.0, 20, looks=looks)}) == set()
        assert train_on({}) == set()
