"""Lengths and angles of updates."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from refute import architectures
from refute.architectures import Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import trusted
from refute.instruments.steps import relative_distance, step_angles, successive_cosines

SLOTS = architectures.build("mlp", (4,), 3, depth=0).slots


def snapshots(*points: list[list[float]]) -> list[Weights]:
    return [Weights(SLOTS, torch.tensor(point, dtype=torch.float64)) for point in points]


def test_angles_are_those_of_scipy() -> None:
    walk = torch.randn(6, 2, 15, dtype=torch.float64).cumsum(dim=0)
    found = step_angles([Weights(SLOTS, point) for point in walk])
    updates = np.diff(walk.numpy(), axis=0)
    for replica in range(2):
        expected = [1 - cosine(updates[t, replica], updates[t + 1, replica]) for t in range(4)]
        assert found.cosines[replica].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.allclose(found.angles, torch.rad2deg(found.cosines.arccos()))
    assert torch.allclose(successive_cosines(walk.diff(dim=0).transpose(0, 1)), found.cosines)
    assert bool(trusted(found).all())


def test_a_straight_walk_is_direct_and_a_return_is_not() -> None:
    straight = step_angles(snapshots([[0.0, 0]], [[1.0, 1]], [[3.0, 3]]))
    assert straight.directness.item() == pytest.approx(1)
    assert straight.angles.item() == pytest.approx(0, abs=1e-5)
    back = step_angles(snapshots([[0.0, 0]], [[1.0, 1]], [[0.0, 0]]))
    assert back.directness.item() == 0
    assert back.angles.item() == pytest.approx(180, abs=1e-5)
    assert back.distances.tolist() == [[math.sqrt(2), 0.0]]


def test_steps_without_a_direction_are_flagged() -> None:
    still = step_angles(snapshots([[0.0, 0]], [[1.0, 1]], [[1.0, 1]]))
    assert still.flags["no step"].all()
    assert still.cosines.isnan().all()
    tiny = step_angles(snapshots([[1.0, 1]], [[1.0 + 2e-16, 1]], [[2.0, 1]]))
    assert tiny.flags["lost in rounding"].all()


def test_distance_of_children() -> None:
    parent, one, two = snapshots([[0.0, 0]], [[3.0, 0]], [[0.0, 4]])
    assert relative_distance(parent, one, two).item() == pytest.approx(5 / 3.5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        step_angles(snapshots([[0.0]], [[1.0]]))
    with pytest.raises(ShapeError, match="one network and cohort"):
        step_angles(snapshots([[0.0]], [[1.0, 2.0]], [[1.0]]))
    with pytest.raises(ShapeError, match="2 steps or more"):
        successive_cosines(torch.zeros(1, 1, 3))
