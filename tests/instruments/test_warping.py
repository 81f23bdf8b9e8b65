"""Warps against scipy.ndimage, closed forms, and the rotation of refute.augmentation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from refute.augmentation import rotate
from refute.errors import ShapeError
from refute.instruments.warping import warp


def pictures(height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-180, 180), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.7, 1.4), st.sampled_from([(9, 9), (8, 11)])
)
def test_it_is_the_affine_map_of_scipy(degrees: float, right: float, down: float, zoom: float, shape: tuple[int, int]):
    images = pictures(*shape)
    pose = torch.tensor([degrees, right, down], dtype=torch.float64)
    ours = warp(images, pose.expand(3, 3), zoom=torch.full((3,), zoom, dtype=torch.float64))
    angle, centre = math.radians(degrees), (np.array(shape) - 1) / 2
    # (row, column), rows go down; the old place of the new place p is c + R^T (p - c - move) / zoom
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    back = turn.T / zoom
    offset = centre - back @ (centre + np.array([down, right]))
    expected = np.stack(
        [
            [ndimage.affine_transform(channel, back, offset, order=1, mode="grid-constant") for channel in image]
            for image in images.numpy()
        ]
    )
    assert np.abs((ours - torch.from_numpy(expected)).numpy()).max() < 1e-9


def test_rotation_is_that_of_the_augmentation() -> None:
    images = pictures(8, 11)
    degrees = torch.tensor([10.0, -75.0, 133.0], dtype=torch.float64)
    poses = torch.zeros(3, 3, dtype=torch.float64)
    poses[:, 0] = degrees
    assert torch.allclose(warp(images, poses), rotate(images[None], degrees)[0], atol=1e-12)


def test_nothing_and_whole_pixels_are_exact() -> None:
    images = pictures()
    assert torch.allclose(warp(images, torch.zeros(3)), images, atol=1e-12)
    moved = warp(images, torch.tensor([0.0, 2.0, -1.0]))
    assert torch.allclose(moved[..., :-1, 2:], images[..., 1:, :-2], atol=1e-12)
    assert torch.allclose(moved[..., -1, :], torch.zeros(3, 2, 9, dtype=torch.float64), atol=1e-12)
    edge = warp(images, torch.tensor([0.0, 2.0, 0.0]), padding="border")
    assert torch.allclose(edge[..., 0], images[..., 0], atol=1e-12)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="images must be"):
        warp(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ShapeError, match="poses must be"):
        warp(pictures(), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="zoom must be"):
        warp(pictures(), torch.zeros(3), zoom=torch.ones(2))
