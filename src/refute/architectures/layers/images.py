"""Images of all replicas where a library calculates.

On the CPU it takes one replica after another, so that none is rounded differently for the others' sake. Elsewhere it
takes all at once, the channels of all replicas side by side in every pixel: a convolution in groups, a maximum or a
normalization per channel. Such tensors keep their shape (replica, batch, channel, height, width); only the order in
memory is batch, height, width, replica, channel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from refute.architectures.layers.arrays import known


def parts_of(images: Tensor) -> list[slice]:
    """The replicas that are taken at once."""
    return [slice(r, r + 1) for r in range(len(images))] if known(images) else [slice(None)]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts (replica, batch, channel, height, width) as one, each pixel's channels together; one alone as it is."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.movedim(2, -1) for part in parts]).movedim(-1, 2)


def side_by_side(images: Tensor) -> Tensor:
    """(batch, replica * channel, height, width) of (replica, batch, channel, height, width).

    Nothing is copied if the memory has that order already, or if there is only one replica.
    """
    if len(images) == 1:
        return images.squeeze(0)
    return images.permute(1, 3, 4, 0, 2).contiguous().flatten(3).movedim(3, 1)


def by_replica(maps: Tensor, replicas: int) -> Tensor:
    """(replica, batch, channel, height, width) of (batch, replica * channel, height, width), the same memory."""
    if replicas == 1:
        return maps.unsqueeze(0)
    return maps.view(len(maps), replicas, maps.shape[1] // replicas, *maps.shape[2:]).movedim(1, 0)


def merged(images: Tensor) -> Tensor:
    """Images of all replicas as one batch, or side by side: for what takes every channel of an image by itself."""
    return images.flatten(0, 1) if known(images) else side_by_side(images)


def divided(maps: Tensor, like: Tensor) -> Tensor:
    """(replica, batch, channel, height, width) of what became of `merged` ones."""
    return maps.view(*like.shape[:2], *maps.shape[1:]) if known(like) else by_replica(maps, len(like))
