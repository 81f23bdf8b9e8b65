"""Images of all replicas in one call: channels of all replicas side by side in every pixel.

A convolution in groups, a maximum or a normalization per channel then takes all replicas at once, and so does every
elementwise operation. Such tensors keep their shape (replica, batch, channel, height, width); only the order in memory
is batch, height, width, replica, channel.
"""

from torch import Tensor


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
