"""Many blocks at once are judged as one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refute import statistics
from refute.errors import JudgementError

NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.integers(-(10**6), 10**6).map(lambda n: n / 1000))
PAIRS = (
    (statistics.spearman_rows, statistics.spearman),
    (statistics.kendall_rows, statistics.kendall),
    (statistics.slope_rows, statistics.slope),
)


@pytest.mark.parametrize(("rows", "single"), PAIRS)
@given(data=st.data())
def test_rows_are_what_single_blocks_are(rows, single, data):
    blocks, levels = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 7))
    shape = st.lists(st.lists(NUMBERS, min_size=levels, max_size=levels), min_size=blocks, max_size=blocks)
    flags = st.lists(st.lists(st.booleans(), min_size=levels, max_size=levels), min_size=blocks, max_size=blocks)
    x, y, used = (np.array(data.draw(one)) for one in (shape, shape, flags))
    found = rows(x, y, used)
    for row in range(blocks):
        kept = used[row]
        expected = single(x[row][kept], y[row][kept]) if kept.sum() >= 2 else math.nan
        assert found[row] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_groups_of_rows_change_nothing(monkeypatch):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 50, 6))
    used = generator.random((50, 6)) > 0.2
    whole = statistics.spearman_rows(x, y, used)
    monkeypatch.setattr("refute.statistics.rows.PAIRS", 100)
    assert np.array_equal(statistics.spearman_rows(x, y, used), whole, equal_nan=True)


@pytest.mark.parametrize("rows", [rows for rows, _ in PAIRS])
def test_unlike_shapes_and_undefined_numbers_are_refused(rows):
    ones, flags = np.ones((2, 3)), np.ones((2, 3), bool)
    with pytest.raises(JudgementError, match="alike"):
        rows(ones, np.ones((2, 4)), flags)
    with pytest.raises(JudgementError, match="finite"):
        rows(ones * np.nan, ones, flags)
    assert np.isnan(rows(ones * np.nan, ones, ~flags)).all(), "what is not used does not matter"
