"""Explained information against scikit-learn, known tables, and the truth of large samples."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from refute.errors import ShapeError, UsageError
from refute.instruments.explained_information import explained_information


def noisy(labels: torch.Tensor, wrong: float, classes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    other = (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes
    return torch.where(torch.rand(labels.shape, generator=generator) < wrong, other, labels)


def labels_of(n: int, classes: int) -> torch.Tensor:
    return torch.randint(0, classes, (n,), generator=torch.Generator().manual_seed(9))


def test_plain_parts_against_scikit_learn() -> None:
    y = labels_of(5000, 3)
    f, other = noisy(y, 0.2, 3, 1), noisy(y, 0.4, 3, 2)
    found = explained_information(f[None], other, y, classes=3)

    def cells(*parts: torch.Tensor) -> int:
        return len({tuple(row) for row in torch.stack(parts).T.tolist()})

    correction = 1 / (2 * 5000 * math.log(2))
    plain = mutual_info_score(f.numpy(), y.numpy()) / math.log(2)
    total = plain + correction * (cells(f) + cells(y) - cells(f, y) - 1)
    assert abs(found.total.item() - total) < 1e-12
    conditional = 0.0
    for value in range(3):
        inside = (other == value).numpy()
        conditional += inside.mean() * mutual_info_score(f.numpy()[inside], y.numpy()[inside]) / math.log(2)
    conditional += correction * (cells(f, other) + cells(y, other) - cells(f, other, y) - cells(other))
    assert abs(found.explained.item() - (total - conditional)) < 1e-12


def test_a_copy_explains_everything_and_noise_nothing() -> None:
    y = labels_of(40_000, 4)
    f = noisy(y, 0.3, 4, 1)
    noise = torch.randint(0, 4, y.shape, generator=torch.Generator().manual_seed(5))
    assert abs(explained_information(f[None], f, y, classes=4).share.item() - 1) < 2e-3
    assert abs(explained_information(f[None], noise, y, classes=4).share.item()) < 2e-3
    assert explained_information(noise[None], f, y, classes=4).flags["predictions say nothing of the labels"].all()


def test_standard_errors_are_the_spread() -> None:
    rows = []
    for seed in range(300):
        y = torch.randint(0, 2, (500,), generator=torch.Generator().manual_seed(seed))
        other = noisy(y, 0.25, 2, 1000 + seed)
        f = torch.where(
            torch.rand(500, generator=torch.Generator().manual_seed(7 + seed)) < 0.5, other, noisy(y, 0.1, 2, seed)
        )
        found = explained_information(f[None], other, y, classes=2)
        rows.append(
            [found.explained.item(), found.explained_error.item(), found.share.item(), found.share_error.item()]
        )
    table = np.array(rows)
    assert 0.85 < np.sqrt(np.mean(table[:, 1] ** 2)) / table[:, 0].std() < 1.15
    assert 0.85 < np.sqrt(np.mean(table[:, 3] ** 2)) / table[:, 2].std() < 1.15


def test_checkpoints_and_packing() -> None:
    y = labels_of(3000, 3)
    moments = torch.stack([torch.stack([noisy(y, wrong, 3, seed) for wrong in (0.6, 0.3)]) for seed in (1, 2)])
    other = torch.stack([noisy(y, 0.3, 3, 8), noisy(y, 0.3, 3, 9)])
    found = explained_information(moments, other, y, classes=3)
    assert found.share.shape == (2, 2)
    alone = explained_information(moments[1, 0][None], other[1:], y, classes=3)
    assert alone.share.item() == found.share[1, 0].item()
    assert (found.total[:, 1] > found.total[:, 0]).all()


def test_small_tables_are_flagged_and_bad_input_refused() -> None:
    y = labels_of(100, 10)
    assert explained_information(y[None], y, y, classes=10).flags["too few examples for the table"].all()
    with pytest.raises(UsageError, match="whole numbers of 0 to 4"):
        explained_information(y[None], y, y, classes=5)
    with pytest.raises(ShapeError, match="labels must be"):
        explained_information(y[None], y, y[:5], classes=10)
    with pytest.raises(ShapeError, match="predictions must be"):
        explained_information(y, y, y, classes=10)
