"""What must hold for every cell, whatever its numbers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refute.statistics import Region, hull_interval, judge_cell, share_interval
from refute.statistics.intervals import Sample
from refute.statistics.shares import Count

# Whole hundredths: rounding cannot decide between two verdicts.
numbers = st.integers(-300, 300).map(lambda whole: whole / 100)
samples = st.lists(numbers, min_size=3, max_size=12)
schedules = st.sampled_from([(5,), (10,), (5, 10), (5, 10, 20), (4, 9, 15)])
with_failures = st.lists(st.one_of(numbers, numbers, numbers, numbers, st.just(math.nan)), min_size=1, max_size=20)
kinds = st.sampled_from(["at_least", "at_most", "within"])
bounds = st.integers(1, 150).map(lambda whole: whole / 100 + 0.0037)
quanta = st.sampled_from([0.0, 0.01, 0.5])
fast = settings(max_examples=60, deadline=None)


def numbers_of(cell):
    looks = [(look.low, look.high, look.p_supported, look.p_refuted) for look in cell.looks]
    return [cell.mean, cell.sd, cell.low, cell.high, cell.p_supported, cell.p_refuted, *sum(looks, ())]


@fast
@given(with_failures, kinds, bounds, schedules, quanta, st.randoms(use_true_random=False))
def test_order_of_blocks_between_two_looks_does_not_matter(effects, kind, bound, looks, quantum, random):
    shuffled = []
    for start, end in zip((0, *looks), (*looks, len(effects)), strict=True):
        part = effects[start:end]
        random.shuffle(part)
        shuffled += part
    one = judge_cell(effects, region=Region(kind, bound), looks=looks, quantum=quantum)
    other = judge_cell(shuffled, region=Region(kind, bound), looks=looks, quantum=quantum)
    assert (one.verdict, one.decided_at) == (other.verdict, other.decided_at)
    assert numbers_of(one) == pytest.approx(numbers_of(other), rel=1e-6, abs=1e-9, nan_ok=True)


@fast
@given(with_failures, kinds, bounds, schedules, quanta, st.sampled_from([1e-9, 0.125, 3.0, 1e6]))
def test_the_unit_does_not_matter(effects, kind, bound, looks, quantum, unit):
    one = judge_cell(effects, region=Region(kind, bound), looks=looks, quantum=quantum)
    scaled = [effect * unit for effect in effects]
    other = judge_cell(scaled, region=Region(kind, bound * unit), looks=looks, quantum=quantum * unit)
    assert (one.verdict, one.decided_at) == (other.verdict, other.decided_at)
    assert (one.p_supported, one.p_refuted) == pytest.approx((other.p_supported, other.p_refuted), rel=1e-5, abs=1e-12)
    assert one.low * unit == pytest.approx(other.low, rel=1e-6, abs=1e-9 * unit, nan_ok=True)
    assert one.seeds_needed == other.seeds_needed or one.seeds_needed == pytest.approx(other.seeds_needed, abs=1)


@fast
@given(with_failures, st.sampled_from(["at_least", "at_most"]), bounds, schedules, quanta, st.sampled_from([-7.0, 4.5]))
def test_the_zero_point_does_not_matter(effects, kind, bound, looks, quantum, shift):
    one = judge_cell(effects, region=Region(kind, bound), looks=looks, quantum=quantum)
    moved = [effect + shift for effect in effects]
    other = judge_cell(moved, region=Region(kind, bound + shift), looks=looks, quantum=quantum)
    assert (one.verdict, one.decided_at) == (other.verdict, other.decided_at)
    assert (one.p_supported, one.p_refuted) == pytest.approx((other.p_supported, other.p_refuted), rel=1e-5, abs=1e-10)


@fast
@given(with_failures, bounds, schedules, quanta)
def test_other_sides_mirror(effects, bound, looks, quantum):
    negated = [-effect for effect in effects]
    least = judge_cell(effects, region=Region("at_least", bound), looks=looks, quantum=quantum)
    negative = judge_cell(negated, region=Region("at_most", -bound), looks=looks, quantum=quantum)
    opposite = judge_cell(effects, region=Region("at_most", bound), looks=looks, quantum=quantum)
    assert (least.verdict, least.decided_at) == (negative.verdict, negative.decided_at)
    assert (least.low, least.high) == pytest.approx((-negative.high, -negative.low), nan_ok=True)
    assert least.p_supported == pytest.approx(negative.p_supported)
    swapped = {"supported": "refuted", "refuted": "supported"}
    assert opposite.verdict == swapped.get(least.verdict, least.verdict)
    assert (least.p_supported, least.p_refuted) == (opposite.p_refuted, opposite.p_supported)


@fast
@given(samples, bounds, quanta, st.sampled_from([0.00625, 0.0125, 0.05]))
def test_interval_and_p_value_are_dual(effects, bound, quantum, level):
    sample = Sample.of(np.array(effects), quantum)
    assume(sample.reason is None)
    low, high = sample.limits(level)
    assume(min(abs(low - bound), abs(high - bound)) > 1e-7 * sample.sd)
    assert (low > bound) == (sample.p_above(bound) < level)
    assert (high < bound) == (sample.p_below(bound) < level)


@fast
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 99), st.sampled_from([0.00625, 0.025]))
def test_share_interval_and_p_value_are_dual(events, percent, level):
    count = Count.of(np.array(events, dtype=float))
    low, high = count.limits(level)
    assert 0 <= low <= count.mean <= high <= 1
    assert (low > percent / 100) == (count.p_above(percent / 100) < level)
    assert (high < percent / 100) == (count.p_below(percent / 100) < level)


@fast
@given(samples, st.sampled_from([0.00625, 0.05]))
def test_hull_holds_the_t_interval_and_widens_with_confidence(effects, level):
    narrow, wide = hull_interval(effects, level=level), hull_interval(effects, level=level / 2)
    if narrow.reason is None:
        assert narrow.low < narrow.mean < narrow.high
        assert wide.low <= narrow.low < narrow.high <= wide.high


@fast
@given(with_failures, kinds, bounds, schedules)
def test_verdict_exactly_when_the_sequential_p_is_below_the_level(effects, kind, bound, looks):
    cell = judge_cell(effects, region=Region(kind, bound), looks=looks)
    if cell.decided_at == (cell.looks[-1].planned if cell.looks else None) or cell.decided_at is None:
        assert (cell.verdict == "supported") == (cell.p_supported < 0.05)
        assert (cell.verdict == "refuted") == (cell.p_refuted < 0.05)


@fast
@given(with_failures, kinds, bounds)
def test_more_blocks_never_thaw_a_verdict(effects, kind, bound):
    region, looks = Region(kind, bound), (3, 6, 12)
    verdicts = [judge_cell(effects[:n], region=region, looks=looks) for n in range(1, len(effects) + 1)]
    decided = [cell for cell in verdicts if cell.decided_at is not None]
    assert len({(cell.verdict, cell.decided_at) for cell in decided}) <= 1
    assert len(decided) in (0, len(verdicts) - (decided[0].decided_at - 1 if decided else 0))


def test_share_is_the_brute_force_interval():
    """Limits are where the binomial tails, summed term by term, equal the level."""
    n, x, level = 20, 16, 0.0125

    def tail(p, counts):
        return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)

    interval = share_interval([1] * x + [0] * (n - x), level=level)
    assert tail(interval.low, range(x, n + 1)) == pytest.approx(level)
    assert tail(interval.high, range(x + 1)) == pytest.approx(level)
