"""Rank association against scipy and scikit-learn, and against sums over all pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from refute.errors import ShapeError
from refute.instruments.association import (
    auroc,
    balanced_accuracy,
    best_threshold,
    partial_spearman,
    ranks,
    spearman,
)


def drawn(*shape: int, ties: bool = True, seed: int = 0) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (4 * values).round() if ties else values


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_and_correlation_against_scipy(ties: bool) -> None:
    x, y = drawn(4, 60, ties=ties), drawn(4, 60, ties=ties, seed=1) + drawn(4, 60, ties=ties)
    assert np.array_equal(ranks(x).numpy(), rankdata(x.numpy(), axis=1))
    expected = [spearmanr(a, b).statistic for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    torch.testing.assert_close(spearman(x, y), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


def test_partial_correlation_with_one_variable_in_closed_form() -> None:
    x, y, z = drawn(3, 80), drawn(3, 80, seed=1), drawn(3, 80, seed=2)
    x, y = x + z, y + z
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    expected = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)).sqrt()
    torch.testing.assert_close(partial_spearman(x, y, given=(z,)), expected, rtol=0, atol=1e-13)


def test_partial_correlation_with_groups_and_variables_by_regression() -> None:
    x, y, z = drawn(2, 90), drawn(2, 90, seed=1), drawn(2, 90, seed=2)
    groups = torch.arange(90) % 4
    found = partial_spearman(x + groups, y + groups, given=(z,), groups=groups)
    for replica in range(2):
        design = np.column_stack([np.eye(4)[groups.numpy()], rankdata(z[replica].numpy())])
        left = []
        for own in (x[replica] + groups, y[replica] + groups):
            target = rankdata(own.numpy())
            left.append(target - design @ np.linalg.lstsq(design, target, rcond=None)[0])
        assert abs(np.corrcoef(*left)[0, 1] - found[replica].item()) < 1e-12


def test_nothing_left_is_nan() -> None:
    x, y = drawn(1, 30), drawn(1, 30, seed=1)
    assert torch.isnan(partial_spearman(x, y, given=(x,))).all()
    assert torch.isnan(spearman(torch.ones(1, 5), torch.arange(5.0)[None])).all()


@pytest.mark.parametrize("ties", [False, True])
def test_area_and_its_error_against_all_pairs(ties: bool) -> None:
    positive = drawn(3, 70, ties=False, seed=3) > 0.3
    scores = drawn(3, 70, ties=ties) + positive
    found = auroc(scores, positive)
    for replica in range(3):
        own, mask = scores[replica], positive[replica]
        assert abs(found.value[replica].item() - roc_auc_score(mask.numpy(), own.numpy())) < 1e-14
        above, below = own[mask], own[~mask]
        kernel = (above[:, None] > below).double() + (above[:, None] == below).double() / 2
        variance = kernel.mean(dim=1).var() / len(above) + kernel.mean(dim=0).var() / len(below)
        assert abs(found.standard_error[replica].item() - variance.sqrt().item()) < 1e-14
    assert found.flags["fewer than 50 in a class"].all()


def test_an_area_without_a_class_is_nan_and_flagged() -> None:
    found = auroc(drawn(2, 10), torch.stack([torch.ones(10), torch.arange(10) % 2]).bool())
    assert found.flags["a class is empty"].tolist() == [True, False]
    assert torch.isnan(found.value).tolist() == [True, False]


def test_threshold_is_the_best_of_all() -> None:
    positive = drawn(4, 40, ties=False, seed=3) > 0
    scores = drawn(4, 40) + 2 * positive
    threshold = best_threshold(scores, positive)
    found = balanced_accuracy(scores, positive, threshold)
    for replica in range(4):
        truth = positive[replica].numpy()
        at = (scores[replica] > threshold[replica]).numpy()
        assert abs(balanced_accuracy_score(truth, at) - found[replica].item()) < 1e-14
        values = scores[replica].unique()
        middles = (values[1:] + values[:-1]) / 2
        every = [balanced_accuracy_score(truth, (scores[replica] > m).numpy()) for m in middles]
        assert abs(max(every) - found[replica].item()) < 1e-14


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(["exp", "cube", "scale"]))
def test_monotone_maps_change_nothing(seed: int, kind: str) -> None:
    x, y = drawn(2, 20, seed=seed), drawn(2, 20, seed=seed + 1)
    moved = {"exp": torch.exp(x / 3), "cube": x**3, "scale": 7 * x - 2}[kind]
    assert torch.equal(ranks(x), ranks(moved))
    assert torch.equal(auroc(x, y > 0).value.nan_to_num(), auroc(moved, y > 0).value.nan_to_num())


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="3 examples or more"):
        spearman(torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ShapeError, match="nan came"):
        spearman(torch.full((1, 4), torch.nan), torch.ones(1, 4))
    with pytest.raises(ShapeError, match="positive must be bool"):
        auroc(torch.ones(1, 4), torch.ones(4))
