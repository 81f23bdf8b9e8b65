"""Transforms against plain, independent computations."""

import pytest
import torch

from refute.datasets.transforms import average_pool, grayscale, label_noise, moments, standardize, subsample
from refute.errors import UsageError


def test_average_pool_is_the_mean_of_blocks() -> None:
    images = torch.rand(3, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    blocks = images.view(3, 2, 14, 2, 14, 2).mean(dim=(3, 5))
    torch.testing.assert_close(average_pool(images, 14), blocks, rtol=0, atol=1e-6)
    assert average_pool(images, 28).equal(images)
    for size in (0, 29):
        with pytest.raises(UsageError, match=rf"1\.\.28.*but is {size}"):
            average_pool(images, size)


def test_grayscale() -> None:
    images = torch.rand(4, 3, 5, 5)
    expected = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(grayscale(images)[:, 0], expected)
    assert grayscale(torch.ones(1, 3, 2, 2)).sub(1).abs().max() < 1e-6
    assert grayscale(images[:, :1]).equal(images[:, :1])


def test_standardize_gives_mean_0_and_deviation_1() -> None:
    images = torch.rand(3000, 3, 4, 4) * torch.tensor([1.0, 2.0, 0.0]).view(3, 1, 1) + 5
    seen = standardize(images, moments(images))
    deviation, mean = torch.std_mean(seen.double(), dim=(0, 2, 3), correction=0)
    assert mean.abs().max() < 1e-5
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1.0, 0.0]).double(), rtol=1e-5, atol=1e-6)
    reference = torch.std_mean(images.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(moments(images).deviation, reference[0])
    torch.testing.assert_close(moments(images).mean, reference[1])


def test_label_noise_share_is_exact_and_always_wrong() -> None:
    labels = torch.arange(1000).remainder(10).repeat(4, 1)
    noisy = label_noise(labels, [0.0, 0.1, 0.5, 1.0], 10, [7, 7, 8, 9], "noise")
    assert (noisy != labels).sum(1).tolist() == [0, 100, 500, 1000]
    assert noisy.min() >= 0
    assert noisy.max() <= 9


def test_label_noise_is_uniform_over_the_other_classes() -> None:
    labels = torch.full((1, 90_000), 3)
    counts = torch.bincount(label_noise(labels, [1.0], 10, [0], "noise")[0], minlength=10)
    assert counts[3] == 0
    others = counts[counts > 0]
    assert len(others) == 9
    assert (others - 10_000).abs().max() < 6 * (10_000 * 8 / 9) ** 0.5  # six standard deviations of a binomial count


def test_more_label_noise_keeps_the_wrong_labels() -> None:
    labels = torch.zeros(2, 200, dtype=torch.long)
    some, more = label_noise(labels, [0.2, 0.6], 5, [4, 4], "noise")
    changed = some != 0
    assert more[changed].equal(some[changed])


def test_label_noise_refusals() -> None:
    labels = torch.zeros(2, 10, dtype=torch.long)
    for shares in ([0.1], [0.1, 1.1], [-0.1, 0.0], [float("nan"), 0.0]):
        with pytest.raises(UsageError, match=r"2 shares in 0\.\.1"):
            label_noise(labels, shares, 10, [0, 1], "noise")
    with pytest.raises(UsageError, match="at least 2 classes"):
        label_noise(labels, [0.1, 0.0], 1, [0, 1], "noise")


@pytest.mark.parametrize("stratified", [False, True])
def test_subsample_is_disjoint_and_nested(stratified: bool) -> None:
    labels = torch.arange(500).remainder(7)
    large = subsample(labels, 300, 100, range(5), "subset", stratified=stratified)
    for train, validation in zip(large.train.tolist(), large.validation.tolist(), strict=True):
        assert len({*train, *validation}) == 400
    without = subsample(labels, 300, 0, range(5), "subset", stratified=stratified)
    assert without.train.equal(large.train)
    assert without.validation.shape == (5, 0)
    if not stratified:
        small = subsample(labels, 50, 0, range(5), "subset")
        assert small.train.equal(large.train[:, :50])


def test_subsample_depends_on_seed_and_purpose_only() -> None:
    labels = torch.arange(100).remainder(10)
    together = subsample(labels, 30, 10, [5, 6, 7], "subset")
    alone = subsample(labels, 30, 10, [6], "subset")
    assert together.train[1:2].equal(alone.train)
    assert together.validation[1:2].equal(alone.validation)
    assert not together.train[0].equal(together.train[1])
    assert not subsample(labels, 30, 10, [6], "other").train.equal(alone.train)


def test_stratified_subsample_keeps_class_shares() -> None:
    labels = torch.cat([torch.zeros(600), torch.ones(300), torch.full((100,), 2.0)]).long()
    drawn = subsample(labels, 55, 0, range(3), "subset", stratified=True)
    for row in drawn.train:
        counts = torch.bincount(labels[row], minlength=3).tolist()
        assert sum(counts) == 55
        assert all(abs(count - share) < 1 for count, share in zip(counts, (33, 16.5, 5.5), strict=True))
    plain = subsample(labels, 55, 0, range(20), "subset")
    assert len({tuple(torch.bincount(labels[row], minlength=3).tolist()) for row in plain.train}) > 1


def test_subsample_refusals() -> None:
    labels = torch.zeros(10, dtype=torch.long)
    for train, validation in ((0, 0), (11, 0), (8, 3), (5, -1)):
        with pytest.raises(UsageError, match=rf"at most 10.*they are {train} and {validation}"):
            subsample(labels, train, validation, [0], "subset")
