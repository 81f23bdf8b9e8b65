"""Activations of all replicas as arrays in memory, for `kernels`, and back."""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from refute.architectures.layers.kernels import Array

LONG = 256
"""Numbers of one replica that the kernels' inner loops run over, about."""


def known(tensor: Tensor) -> bool:
    """Whether the kernels can take it."""
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def in_memory(activations: Tensor) -> Array:
    """The array, contiguous, of images (replica, example, height, width, channel); copied if need be."""
    if activations.ndim == 5:
        activations = activations.permute(0, 1, 3, 4, 2)
    return activations.detach().contiguous().numpy()


def as_replicas(array: Array) -> Tensor:
    """(replica, batch, ...) of what `in_memory` gives, the same memory."""
    found = torch.from_numpy(array)
    return found.permute(0, 1, 4, 2, 3) if array.ndim == 5 else found


def rows_of(array: Array) -> Array:
    """(replica, row, lane): as many pixels of an image, or examples, to a row as it takes to make it long."""
    count, channels = math.prod(array.shape[2:4]) if array.ndim == 5 else array.shape[1], array.shape[-1]
    return array.reshape(len(array), -1, _in_a_row(count, channels) * channels)


@cache
def _in_a_row(count: int, channels: int) -> int:
    """How many of `count` pixels."""
    return max(n for n in range(1, max(1, LONG // channels) + 1) if count % n == 0)


def lanes_of(rows: Array, *of_channels: Array) -> tuple[Array, ...]:
    """(replica, lane) of (replica, channel), for these rows."""
    found = []
    for each in of_channels:  # np.tile does the same in twice the time
        replicas, channels = each.shape
        repeated = np.empty((replicas, rows.shape[2] // channels, channels), each.dtype)
        repeated[:] = each[:, None]
        found.append(repeated.reshape(replicas, -1))
    return tuple(found)
