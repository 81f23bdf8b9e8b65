"""What must not matter does not, and what must turn the verdict does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.core import Verdict
from refute.tables import judge_table, make_claim

OPPOSITE = {"supported": "refuted", "refuted": "supported"}
finite = st.floats(-3, 3).map(lambda x: round(x, 3))
pairs = st.lists(st.lists(st.tuples(finite, finite), min_size=5, max_size=12), min_size=1, max_size=4)
"""Cells of blocks of the two sides of a comparison."""


def columns(cells: list[list[tuple[float, float]]], scale: float = 1.0) -> dict[str, list[Any]]:
    rows = [
        (cell, seed, arm, scale * values[i])
        for cell, blocks in enumerate(cells)
        for seed, values in enumerate(blocks)
        for i, arm in enumerate("ab")
    ]
    return {name: [row[i] for row in rows] for i, name in enumerate(("cell", "seed", "arm", "y"))}


def verdict(
    table: dict[str, list[Any]], across: str = "arm=a,b", looks: tuple[int, ...] = (), **bound: float
) -> Verdict:
    claim = make_claim(of="y", across=across, within="cell", **bound)  # type: ignore[arg-type]
    return judge_table(table, claim, block="seed", looks=looks).verdicts[0]


def words(found: Verdict) -> list[str]:
    return [found.verdict, *(cell.verdict for cell in found.cells)]


@settings(deadline=None, max_examples=60)
@given(pairs, st.randoms(use_true_random=False), st.sampled_from([(), (5, 10)]))
def test_the_order_of_rows_changes_nothing(cells: Any, random: Any, looks: tuple[int, ...]) -> None:
    table = columns(cells)
    order = list(range(len(table["y"])))
    random.shuffle(order)
    shuffled = {name: [column[i] for i in order] for name, column in table.items()}
    one, other = verdict(table, looks=looks, at_least=0.1), verdict(shuffled, looks=looks, at_least=0.1)
    assert repr((one.cells, one.pooled, one.sentence)) == repr((other.cells, other.pooled, other.sentence))


@settings(deadline=None, max_examples=60)
@given(pairs, st.sampled_from([0.5, 2.0, 1024.0]), st.sampled_from(["at_least", "at_most", "within_bound"]))
def test_the_unit_changes_nothing(cells: Any, scale: float, bound: str) -> None:
    """Powers of two scale without rounding, so not even the last digit may move."""
    one, other = verdict(columns(cells), **{bound: 0.25}), verdict(columns(cells, scale), **{bound: 0.25 * scale})
    assert words(one) == words(other)
    for mine, scaled in zip(one.cells, other.cells, strict=True):
        assert scaled.low == pytest.approx(mine.low * scale, rel=1e-9, nan_ok=True)
        assert scaled.p_supported == pytest.approx(mine.p_supported, rel=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(pairs, st.sampled_from([(), (5, 10)]))
def test_swapping_the_sides_flips_the_verdict(cells: Any, looks: tuple[int, ...]) -> None:
    one = verdict(columns(cells), looks=looks, at_least=0.0)
    other = verdict(columns(cells), across="arm=b,a", looks=looks, at_least=0.0)
    assert words(other) == [OPPOSITE.get(word, word) for word in words(one)]
    mirrored = verdict(columns(cells), across="arm=b,a", looks=looks, at_most=-0.25)
    assert words(mirrored) == words(verdict(columns(cells), looks=looks, at_least=0.25))
    within = verdict(columns(cells), across="arm=b,a", looks=looks, within_bound=0.25)
    assert words(within) == words(verdict(columns(cells), looks=looks, within_bound=0.25))


@settings(deadline=None, max_examples=60)
@given(pairs, st.integers(2, 4))
def test_more_of_the_same_evidence_never_weakens_it(cells: Any, times: int) -> None:
    """The same blocks again, as new blocks: what was decided in a cell stays, with a p-value that is no larger."""
    one = verdict(columns(cells), at_least=0.25)
    more = verdict(columns([blocks * times for blocks in cells]), at_least=0.25)
    for mine, repeated in zip(one.cells, more.cells, strict=True):
        if mine.verdict in OPPOSITE:
            assert repeated.verdict == mine.verdict
            assert min(repeated.p_supported, repeated.p_refuted) <= min(mine.p_supported, mine.p_refuted)


@settings(deadline=None, max_examples=60)
@given(pairs, st.lists(st.tuples(finite, finite), min_size=1, max_size=10))
def test_a_verdict_reached_at_a_look_is_never_taken_back(cells: Any, later: Any) -> None:
    looks = (5, 10, 20)
    one = verdict(columns(cells), looks=looks, at_least=0.25)
    more = verdict(columns([[*blocks, *later] for blocks in cells]), looks=looks, at_least=0.25)
    for mine, grown in zip(one.cells, more.cells, strict=True):
        if mine.verdict in OPPOSITE:
            assert (grown.verdict, grown.low, grown.high) == (mine.verdict, mine.low, mine.high)


def test_levels_in_another_spelling_are_the_same_levels() -> None:
    random = np.random.default_rng(0)
    rates = [rate for _ in range(6) for rate in (0.001, 0.01, 0.1, 1.0)]
    table = {"seed": [seed for seed in range(6) for _ in range(4)], "rate": rates, "y": random.normal(rates, 0.2)}
    claim = make_claim(of="y", along="rate", at_least=0.2)
    spelled = {**table, "rate": [("1e-3", "0.010", ".1", "1")[i % 4] for i in range(24)]}
    one, other = judge_table(table, claim, block="seed"), judge_table(spelled, claim, block="seed")
    assert one.verdicts[0].cells == other.verdicts[0].cells
