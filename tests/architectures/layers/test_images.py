"""Images of all replicas side by side: the same numbers, and memory that stays in that order."""

import torch

from refute.architectures.layers.images import by_replica, side_by_side


def test_there_and_back_again() -> None:
    images = torch.randn(3, 4, 2, 5, 6)
    maps = side_by_side(images)
    assert maps.shape == (4, 6, 5, 6)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(maps[:, 2:4], images[1])
    again = by_replica(maps, 3)
    assert torch.equal(again, images)
    assert side_by_side(again).data_ptr() == maps.data_ptr()


def test_one_channel_is_laid_out_too() -> None:
    maps = side_by_side(torch.randn(3, 4, 1, 5, 6))
    assert maps.is_contiguous(memory_format=torch.channels_last)


def test_a_single_replica_is_not_copied() -> None:
    images = torch.randn(1, 4, 2, 5, 6)
    assert side_by_side(images).data_ptr() == images.data_ptr()
    assert torch.equal(by_replica(side_by_side(images), 1), images)
