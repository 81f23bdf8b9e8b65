"""Concentration against the definitions entry by entry, and what leaves it as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from refute.errors import ShapeError
from refute.instruments.concentration import concentration, saturated_share, type_means
from refute.instruments.features import projected

NAMES = ("taxi_euclidean", "hoyer", "gini", "entropy", "participation")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gini(x: np.ndarray) -> float:
    """Mean absolute difference of all pairs over twice the mean."""
    return float(np.abs(x[:, None] - x).mean() / (2 * x.mean()))


def test_every_measure_by_definition() -> None:
    vectors = drawn(2, 5, 9) ** 3
    found = concentration(vectors)
    for replica in range(2):
        for example in range(5):
            x = np.abs(vectors[replica, example].numpy())
            size = x.sum() / np.sqrt((x**2).sum())
            expected = (size, (3 - size) / 2, gini(x), entropy(x / x.sum()), (x**2).sum() ** 2 / (x**4).sum())
            for name, value in zip(NAMES, expected, strict=True):
                assert abs(getattr(found, name)[replica, example].item() - value) < 1e-12 * (1 + value), name


def test_gaussian_vectors_and_the_ends_of_the_range() -> None:
    found = concentration(drawn(1, 4000, 64))
    assert abs(found.taxi_euclidean.mean().item() / 8 - 0.8007) < 0.001  # the specification's number
    ends = concentration(torch.stack([torch.ones(16), torch.eye(16)[3]])[None])
    assert torch.allclose(ends.hoyer, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert torch.allclose(ends.gini, torch.tensor([[0.0, 15 / 16]], dtype=torch.float64))
    assert torch.allclose(ends.entropy.exp(), torch.tensor([[16.0, 1.0]], dtype=torch.float64))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_scale_signs_and_order_change_nothing_but_a_rotation_does(seed: int, scale: float) -> None:
    vectors = drawn(1, 3, 12, seed=seed) ** 3
    moved = -scale * vectors[:, :, torch.randperm(12, generator=torch.Generator().manual_seed(seed))]
    for name in NAMES:
        assert torch.allclose(getattr(concentration(vectors), name), getattr(concentration(moved), name), rtol=1e-10)
    spikes = torch.eye(12, dtype=torch.float64)[:3].unsqueeze(0)
    turned = concentration(projected(spikes, 12, seeds=[seed]))
    assert (turned.hoyer < 0.9).all()
    assert torch.allclose(turned.length, torch.ones(1, 3, dtype=torch.float64))


def test_vanishing_vectors_are_left_out() -> None:
    vectors = drawn(2, 3, 4)
    vectors[1] *= 1e-10
    vectors[0, 1] = 0
    found = concentration(vectors)
    assert found.flags["all vectors vanish"].tolist() == [False, True]
    assert found.flags["some vectors vanish"].tolist() == [True, True]
    assert torch.isnan(found.hoyer).tolist() == [[False, True, False], [True, True, True]]


def test_means_by_type() -> None:
    values, types = drawn(2, 400), torch.randint(0, 30, (400,), generator=torch.Generator().manual_seed(1))
    values[:, ::7] = torch.nan
    found = type_means(values, types, 32, often=10)
    for replica in range(2):
        for kind in range(32):
            own = values[replica, types == kind].numpy()
            own = own[~np.isnan(own)]
            assert found.counts[replica, kind] == len(own)
            assert found.kept[replica, kind] == (len(own) >= 10)
            if len(own) >= 10:
                assert abs(found.means[replica, kind].item() - own.mean()) < 1e-13
    assert found.flags["few types"].all()


def test_saturated_share() -> None:
    states = drawn(2, 50, 8).tanh()
    expected = [(np.abs(own.numpy()) > 0.9).mean() for own in states]
    assert np.allclose(saturated_share(states).numpy(), expected)


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="at least 2 entries"):
        concentration(torch.ones(1, 2, 1))
    with pytest.raises(ShapeError, match="vectors must be finite"):
        concentration(torch.full((1, 2, 3), torch.inf))
    with pytest.raises(ShapeError, match="types the same"):
        type_means(torch.ones(1, 3), torch.tensor([0, 1, 5]), 4)
