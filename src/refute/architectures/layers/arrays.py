"""Activations of all replicas as arrays in memory, for `kernels`, and back."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from refute.architectures.layers.images import by_replica, side_by_side
from refute.architectures.layers.kernels import Array

LONG = 256
"""Numbers of one replica that the kernels' inner loops run over, about."""


def known(tensor: Tensor) -> bool:
    """Whether the kernels can take it."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def in_memory(activations: Tensor) -> Array:
    """The array, contiguous; copied if need be."""
    if activations.ndim == 5:
        activations = side_by_side(activations).permute(0, 2, 3, 1)
    return activations.detach().contiguous().numpy()


def as_replicas(array: Array, replicas: int) -> Tensor:
    """(replica, batch, ...) of what `in_memory` gives, the same memory."""
    found = torch.from_numpy(array)
    return by_replica(found.permute(0, 3, 1, 2), replicas) if array.ndim == 4 else found


def rows_of(array: Array, replicas: int) -> Array:
    """(group, row, lane): as many pixels or examples to a row as it takes to make it long.

    How many does not depend on the number of replicas, so that packing them differently changes no bit.
    """
    images = array.ndim == 4
    count = array.shape[1] * array.shape[2] if images else array.shape[1]
    channels = array.shape[-1] // replicas if images else array.shape[-1]
    return array.reshape(1 if images else replicas, -1, _in_a_row(count, channels) * array.shape[-1])


@cache
def _in_a_row(count: int, channels: int) -> int:
    """How many of `count` pixels."""
    return max(n for n in range(1, max(1, LONG // channels) + 1) if count % n == 0)


def lanes_of(rows: Array, *of_channels: Array) -> tuple[Array, ...]:
    """(group, lane) of (group, channel), for these rows."""
    return tuple(np.tile(each, (1, rows.shape[2] // each.shape[1])) for each in of_channels)
