"""One cell in its special situations: failures, looks lost, shares, equivalence, notes, sizes."""

import math

import numpy as np
import pytest
from scipy import special

from refute import statistics
from refute.statistics import Region, judge_cell
from refute.statistics.notes import SKEWED, TWO_GROUPS
from refute.statistics.sizes import noncentrality_limits

NAN = math.nan
LEAST = Region("at_least", 0.0)
DEFAULT = (5, 10, 20, 40)


def normal(n, mean, seed=0):
    x = np.random.default_rng(seed).normal(0, 1, n)
    return (x - x.mean()) / x.std(ddof=1) + mean


class TestNoInterval:
    def test_identical_blocks(self):
        cell = judge_cell([0.1] * 5, region=LEAST, looks=(5,))
        assert (cell.verdict, cell.reason) == (
            "inconclusive",
            "all blocks identical: does the seed reach the computation?",
        )
        assert math.isnan(cell.low)
        assert cell.hedges_g is None
        assert cell.seeds_needed is None
        assert (cell.p_supported, cell.p_refuted) == (1.0, 1.0)

    def test_rounding_does_not_make_identical_blocks_differ(self):
        cell = judge_cell([0.3, 0.1 + 0.2, 0.3, 0.3, 0.3], region=LEAST, looks=(5,))
        assert (cell.verdict, cell.sd) == ("inconclusive", 0.0)

    def test_identical_blocks_with_a_quantum_are_floored(self):
        cell = judge_cell([0.1] * 5, region=LEAST, looks=(5,), quantum=0.01)
        assert (cell.verdict, cell.sd, cell.skewness, cell.hedges_g) == ("supported", 0.005, 0.0, None)

    def test_fewer_than_three_blocks(self):
        cell = judge_cell([1.0, 2.0], region=LEAST, looks=(2,))
        assert (cell.verdict, cell.reason, cell.mean) == ("inconclusive", "fewer than 3 valid blocks", 1.5)

    def test_before_the_first_look(self):
        cell = judge_cell([1.0, 2.0, 3.0], region=LEAST, looks=DEFAULT)
        assert (cell.verdict, cell.looks, cell.mean) == ("untested", (), 2.0)
        assert cell.reason == "3 of the 5 blocks of the first look have been run"
        assert judge_cell([], region=LEAST, looks=DEFAULT).verdict == "untested"

    def test_no_valid_block(self):
        cell = judge_cell([NAN] * 5, region=LEAST, looks=(5,))
        assert (cell.verdict, cell.valid, cell.failed, cell.superiority) == ("untested", 0, 5, None)


class TestLooks:
    def test_rows_between_looks_are_not_judged(self):
        effects = normal(9, 0.3)
        assert [look.planned for look in judge_cell(effects, region=LEAST, looks=DEFAULT).looks] == [5]

    def test_a_look_not_taken_is_lost(self):
        effects = normal(20, 1.0)
        early = judge_cell(effects, region=LEAST, looks=DEFAULT)
        late = judge_cell(effects, region=LEAST, looks=DEFAULT, looks_taken=(20,))
        assert early.decided_at in (5, 10)
        assert (late.decided_at, late.level) == (20, 0.0125)
        assert late.p_supported == pytest.approx(4 * late.looks[0].p_supported)

    def test_frozen_though_a_later_interval_lies_on_the_other_side(self):
        effects = [1.0, 1.1, 0.9, 1.05, 0.95] + [-5.0, -5.1, -4.9, -5.2, -4.8] * 3
        cell = judge_cell(effects, region=LEAST, looks=(5, 20))
        assert (cell.verdict, cell.decided_at) == ("supported", 5)
        assert any("wholly on the other side" in note for note in cell.notes)
        assert cell.mean == pytest.approx(1.0)

    def test_range_clips_what_is_printed_only(self):
        effects = [1.0, 0.8, 0.9, 1.0, 1.0]
        cell = judge_cell(effects, region=LEAST, looks=(5,), bounds_range=(-1, 1))
        assert cell.high == 1.0
        assert cell.looks[0].high > 1.0


class TestFailures:
    def test_one_of_ten_is_survived_only_with_room(self):
        cell = judge_cell([NAN, *normal(9, 0.7)], region=LEAST, looks=(10,))
        clean = judge_cell(normal(9, 0.7), region=LEAST, looks=(9,))
        assert clean.verdict == "supported"
        assert cell.verdict == "inconclusive"
        assert cell.low < clean.low
        assert (cell.planned, cell.valid, cell.failed) == (10, 9, 1)

    def test_blocked_look_goes_on_and_the_last_one_is_untested(self):
        effects = [NAN, 1.0, 1.1, 0.9, 1.0]
        assert judge_cell(effects, region=LEAST, looks=(5, 10)).verdict == "inconclusive"
        cell = judge_cell(effects, region=LEAST, looks=(5,))
        assert (cell.verdict, cell.looks[0].blocked, cell.p_supported) == ("untested", True, 1.0)
        assert "4 of 5 blocks valid" in cell.reason

    def test_failed_blocks_of_a_share_count_both_ways(self):
        events = [1.0] * 19 + [NAN]
        cell = judge_cell(events, region=Region("at_least", 0.5), looks=(20,), share=True)
        expected = statistics.share_interval([1] * 19 + [0], level=0.05).low
        assert (cell.low, cell.high, cell.mean) == (expected, 1.0, 1.0)

    @pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (6, 0), (7, 2), (3, 3)])
    def test_mcnemar_by_counting(self, b, c):
        tails = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
        first, second = [True] * b + [False] * c, [False] * b + [True] * c
        assert statistics.mcnemar(first, second) == pytest.approx(min(1.0, 2 * tails))


# docs: statistics section 4: events that support / refute at looks 5, 10, 20, 40; None = impossible.
SHARE_TABLE = {
    0.5: ((None, None), (10, 0), (16, 4), (27, 13)),
    0.6: ((None, None), (10, 1), (18, 6), (31, 17)),
    0.7: ((None, 0), (None, 2), (19, 8), (34, 21)),
    0.75: ((None, 0), (None, 3), (20, 9), (36, 23)),
    0.8: ((None, 0), (None, 3), (20, 11), (38, 26)),
    0.9: ((None, 1), (None, 5), (None, 14), (40, 31)),
    0.95: ((None, 2), (None, 6), (None, 15), (None, 34)),
}


@pytest.mark.parametrize("p0", SHARE_TABLE)
def test_shares_decide_at_the_counts_of_the_table(p0):
    region = Region("at_least", p0)
    for n, expected in zip(DEFAULT, SHARE_TABLE[p0], strict=True):
        verdicts = [
            judge_cell([1] * x + [0] * (n - x), region=region, looks=DEFAULT, share=True, looks_taken=(n,)).verdict
            for x in range(n + 1)
        ]
        least = next((x for x, verdict in enumerate(verdicts) if verdict == "supported"), None)
        most = max((x for x, verdict in enumerate(verdicts) if verdict == "refuted"), default=None)
        assert (least, most) == expected


def test_share_bounds_that_no_outcome_can_support():
    assert statistics.share_blocks_needed(Region("at_least", 0.95), DEFAULT) == 72
    assert statistics.share_blocks_needed(Region("at_least", 0.99), DEFAULT) == 368
    assert statistics.share_blocks_needed(Region("at_most", 0.05), DEFAULT) == 72
    assert statistics.share_blocks_needed(Region("at_most", 0.5), DEFAULT) is None
    cell = judge_cell([1] * 40, region=Region("at_least", 0.95), looks=DEFAULT, share=True)
    assert cell.verdict == "inconclusive"
    assert "72 blocks" in cell.notes[0]


class TestNotes:
    def test_skew(self):
        effects = np.random.default_rng(1).exponential(1, 20) ** 2
        assert SKEWED in judge_cell(effects, region=LEAST, looks=(20,)).notes
        assert SKEWED not in judge_cell(normal(20, 0.0), region=LEAST, looks=(20,)).notes

    def test_two_groups(self):
        effects = [*normal(10, 0.0), *normal(10, 50.0)]
        assert TWO_GROUPS in judge_cell(effects, region=LEAST, looks=(20,)).notes

    def test_narrow_equivalence(self):
        notes = judge_cell(normal(20, 0.0), region=Region("within", 0.2), looks=(20,)).notes
        assert any("hardly ever" in note for note in notes)
        assert not judge_cell(normal(20, 0.0), region=Region("within", 0.5), looks=(20,)).notes


class TestSizes:
    @pytest.mark.parametrize("df", [2, 3, 4, 9, 39, 400])
    @pytest.mark.parametrize("t", [-12.0, -1.0, 0.0, 0.5, 2.0, 3.1, 8.0, 30.0])
    def test_noncentral_limits_against_brute_force(self, t, df):
        x = np.linspace(0, 15, 200_001)[1:]
        log_density = (df - 1) * np.log(x) - df * x * x / 2
        weights = np.exp(log_density - log_density.max())
        low, high = noncentrality_limits(t, df)
        cdf = [float(special.ndtr(t * x - d) @ weights / weights.sum()) for d in (low, high)]
        assert cdf == pytest.approx([0.975, 0.025], abs=1e-7)

    def test_noncentral_limits_far_out_follow_the_chi_distribution(self):
        low, high = noncentrality_limits(1e6, 4)
        expected = [1e6 * math.sqrt(2 * special.gammaincinv(2, p) / 4) for p in (0.025, 0.975)]
        assert [low, high] == pytest.approx(expected, rel=1e-6)

    def test_superiority_counts_ties_half(self):
        assert statistics.superiority([1, 1, 0, 0, -1]).value == pytest.approx(0.6)
        assert statistics.superiority([1] * 5)[1:] == pytest.approx((0.5655, 1.0), abs=1e-4)

    def test_seeds_needed_is_a_later_look(self):
        cell = judge_cell(normal(5, 0.6), region=LEAST, looks=DEFAULT)
        assert (cell.verdict, cell.seeds_needed) == ("inconclusive", 40)
        assert judge_cell(normal(40, 0.1), region=LEAST, looks=DEFAULT, looks_taken=(40,)).seeds_needed > 40
        assert judge_cell(normal(40, 9.0), region=LEAST, looks=DEFAULT).seeds_needed is None

    def test_beyond(self):
        cell = judge_cell([0.0, 0.5, 1.0, 1.5, 2.0], region=Region("at_most", 1.0), looks=(5,))
        assert cell.beyond == pytest.approx(0.6)
