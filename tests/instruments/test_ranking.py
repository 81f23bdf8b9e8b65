"""Kendall's tau_b against scipy, ties included."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from refute.instruments import kendall_tau

numbers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9)


@given(numbers)
def test_tau_b_is_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = torch.tensor(pairs, dtype=torch.float64).T
    ours = kendall_tau(x[None], y[None]).item()
    if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        assert ours == 0
    else:
        assert ours == pytest.approx(kendalltau(x.numpy(), y.numpy()).statistic, abs=1e-12)
