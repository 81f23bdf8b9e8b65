"""Effective dimension against singular values by numpy, sums over distinct examples, and known spectra."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.errors import ShapeError, UsageError
from refute.instruments.effective_dimension import (
    dimension_profile,
    dimensions_of,
    effective_dimension,
    within_share,
)


def clouds(replicas: int = 2, per_class: int = 12, size: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat_interleave(per_class)[torch.randperm(3 * per_class, generator=generator)]
    spread = torch.linspace(0.2, 2.0, size, dtype=torch.float64)
    rows = torch.randn(replicas, len(labels), size, generator=generator, dtype=torch.float64) * spread
    return rows * (1 + labels.view(1, -1, 1)) + 10 * labels.view(1, -1, 1), labels


def by_numpy(rows: np.ndarray) -> dict[str, float]:
    """From singular values of the centred rows."""
    sigma = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    lam = sigma**2 / (len(rows) - 1)
    lam = lam[lam >= 1e-10 * lam[0]]
    p = lam / lam.sum()
    return {
        "participation": lam.sum() ** 2 / (lam**2).sum(),
        "singular": np.sqrt(lam).sum() ** 2 / lam.sum(),
        "entropy": float(np.exp(-(p * np.log(p)).sum())),
        "ninety": float(np.searchsorted(np.cumsum(p), 0.9) + 1),
        "stable": lam.sum() / lam[0],
    }


@pytest.mark.parametrize("size", [5, 40])
def test_all_definitions_by_singular_values(size: int) -> None:
    features, labels = clouds(size=size)
    found = effective_dimension(features, labels)
    assert (found.examples, found.ambient) == (12, size)
    for replica in range(2):
        for label in range(3):
            rows = features[replica, labels == label].numpy()
            for name, expected in by_numpy(rows).items():
                assert abs(found.values[name][replica, label].item() / expected - 1) < 1e-12
                halves = [by_numpy(part)[name] for part in (rows[:6], rows[6:])]
                assert np.allclose(found.halves[name][replica, label].numpy(), halves, rtol=1e-12)


def test_without_labels_all_examples_are_one_class_and_first_ones_are_taken() -> None:
    features, labels = clouds()
    whole = effective_dimension(features)
    assert whole.values["stable"].shape == (2, 1)
    assert abs(whole.values["entropy"][0, 0].item() / by_numpy(features[0].numpy())["entropy"] - 1) < 1e-12
    few = effective_dimension(features, labels, per_class=6)
    rows = features[1, labels == 2][:6].numpy()
    assert abs(few.values["participation"][1, 2].item() / by_numpy(rows)["participation"] - 1) < 1e-12


def test_labels_of_each_replica() -> None:
    features, labels = clouds()
    own = torch.stack([labels, labels.flip(0)])
    found = effective_dimension(features, own)
    alone = effective_dimension(features[1:], labels.flip(0))
    assert torch.allclose(found.values["entropy"][1:], alone.values["entropy"], rtol=1e-12)


def test_known_spectra() -> None:
    equal = dimensions_of(torch.ones(7))
    assert all(abs(value.item() - 7) < 1e-12 for value in equal.values())
    single = dimensions_of(torch.tensor([3.0, 0.0, 1e-12]))
    assert all(abs(value.item() - 1) < 1e-9 for value in single.values())


def test_few_examples_bias_the_participation_ratio_as_the_specification_says() -> None:
    rows = torch.randn(8, 200, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = effective_dimension(rows)
    assert abs(found.values["participation"].mean().item() - 512 * 200 / 713) < 1
    assert found.flags["few examples"].all()
    assert abs(found.extrapolated["participation"].mean().item() - 512) < 15
    assert abs(found.debiased.mean().item() - 512) < 10


def test_the_debiased_one_by_sums_over_distinct_examples() -> None:
    rows = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = rows[0]
    first, second = [], []
    for i, j, k, m in itertools.permutations(range(7), 4):
        first.append(float((x[i] - x[j]).square().sum() * (x[k] - x[m]).square().sum() / 4))
        second.append(float(((x[i] - x[j]) @ (x[k] - x[m])) ** 2 / 4))
    found = effective_dimension(rows).debiased.item()
    assert abs(found / (np.mean(first) / np.mean(second)) - 1) < 1e-12


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(1e-2, 1e2))
def test_rotation_shift_and_scale_change_nothing_but_stretching_does(seed: int, scale: float) -> None:
    features, labels = clouds(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    before, after = effective_dimension(features, labels), effective_dimension(scale * features @ turn - 3, labels)
    for name, values in before.values.items():
        assert torch.allclose(values, after.values[name], rtol=1e-7), name
    stretched = effective_dimension(features * torch.tensor([1e4, 1, 1, 1, 1], dtype=torch.float64), labels)
    assert (stretched.values["participation"] < before.values["participation"]).all()


def test_packing_changes_nothing() -> None:
    features, labels = clouds(replicas=3)
    assert torch.equal(
        effective_dimension(features, labels).values["entropy"][1:2],
        effective_dimension(features[1:2], labels).values["entropy"],
    )


def test_means_over_classes_and_their_error() -> None:
    features, labels = clouds()
    found = effective_dimension(features, labels)
    assert torch.allclose(found.log_mean("stable"), found.values["stable"].log().mean(dim=1))
    apart = (found.halves["stable"][..., 0] / found.halves["stable"][..., 1]).log()
    assert torch.allclose(found.log_error("stable"), (apart.square().sum(dim=1) / 4 / 9).sqrt())


def test_constant_features_are_flagged() -> None:
    features, labels = clouds()
    features[1] = 0.3
    found = effective_dimension(features.float(), labels)
    assert found.flags["no variance"].tolist() == [False, True]
    assert all(torch.isnan(values[1]).all() for values in found.values.values())


def test_profiles() -> None:
    found = dimension_profile(torch.tensor([[0.0, 1.0, 3.0, 2.5, 1.0], [2.0, 1.0, 1.5, 1.8, 1.9]]))
    assert torch.allclose(found.rise, torch.tensor([3.0, -0.1], dtype=torch.float64))
    assert torch.allclose(found.fall, torch.tensor([2.0, 0.0], dtype=torch.float64))
    assert found.peak.tolist() == [0.5, 1.0]
    slope = np.polyfit([0.5, 0.75, 1.0], [3.0, 2.5, 1.0], 1)[0]
    assert abs(found.late_slope[0].item() + slope) < 1e-12
    assert torch.isnan(found.late_slope[1])
    assert found.hump.tolist() == [True, False]
    assert found.flags["peak is the last layer"].tolist() == [False, True]


def test_the_share_within_classes_and_that_between_add_up() -> None:
    features, labels = clouds()
    means = torch.stack([features[:, labels == label].mean(dim=1) for label in range(3)], dim=1)
    between = (means - features.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2)) * 12
    total = (features - features.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    assert torch.allclose(within_share(features, labels), 1 - between / total, rtol=1e-12)


def test_refusals_name_what_is_wrong() -> None:
    features, labels = clouds()
    with pytest.raises(UsageError, match="per_class must be 4 to 12"):
        effective_dimension(features, labels, per_class=13)
    with pytest.raises(ShapeError, match="labels must be"):
        effective_dimension(features, labels[:4].expand(2, -1))
    with pytest.raises(ShapeError, match="features must be"):
        effective_dimension(features[0], labels)
    with pytest.raises(ShapeError, match="3 layers or more"):
        dimension_profile(torch.ones(2, 2))
