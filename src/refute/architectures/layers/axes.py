"""Which pixels a convolution brings together along one side of the images, for `convolution_kernels`."""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """Which pixels meet along one side of the images, and through which tap.

    `taps` (pixel, tap, 2): number of the tap among the weights and of the pixel read, in the order in which they are
    summed; `counts` (pixel,) how many there are. `runs` (run, 3): first pixel, distance and number of pixels that
    have the same taps, and read pixels `reading` apart. `dense`: a pixel's taps and what they read have no gaps.
    """

    taps: Integers
    counts: Integers
    runs: Integers
    reading: int
    dense: bool


@cache
def forward_axis(size: int, kernel: int, stride: int, margin: int) -> Axis:
    """Pixels of the outputs, which read those of inputs of that size.

    >>> axis = forward_axis(4, 3, 1, 1)
    >>> axis.counts.tolist(), axis.runs.tolist()
    ([2, 3, 3, 2], [[0, 1, 1], [1, 1, 2], [3, 1, 1]])
    """
    outputs = (size + 2 * margin - kernel) // stride + 1
    met = [
        [(k, y * stride + k - margin) for k in range(kernel) if 0 <= y * stride + k - margin < size]
        for y in range(outputs)
    ]
    return _axis(met, kernel, distance=1, reading=stride)


@cache
def backward_axis(size: int, kernel: int, stride: int, margin: int) -> Axis:
    """Pixels of the inputs, of that size, whose gradients read those of the outputs, through the weights turned around.

    >>> backward_axis(4, 3, 2, 1).taps[1].tolist()
    [[0, 0], [2, 1], [0, 0]]
    """
    outputs = (size + 2 * margin - kernel) // stride + 1
    met = [
        [
            (k, (x + margin - (kernel - 1 - k)) // stride)
            for k in range(kernel)
            if (x + margin - (kernel - 1 - k)) % stride == 0
            and 0 <= (x + margin - (kernel - 1 - k)) // stride < outputs
        ]
        for x in range(size)
    ]
    return _axis(met, kernel, distance=stride, reading=1)


def _axis(met: list[list[tuple[int, int]]], kernel: int, *, distance: int, reading: int) -> Axis:
    taps = np.zeros((len(met), kernel, 2), np.int64)
    for pixel, pairs in enumerate(met):
        taps[pixel, : len(pairs)] = np.array(pairs, np.int64).reshape(-1, 2)
    counts = np.array([len(pairs) for pairs in met], np.int64)
    runs: list[list[int]] = []
    left = dict.fromkeys(range(len(met)))
    while left:
        first = next(iter(left))
        last = first
        while last in left and met[last] == [(k, y + (last - first) // distance * reading) for k, y in met[first]]:
            del left[last]
            last += distance
        runs.append([first, distance, (last - first) // distance])
    dense = all(one[0] + 1 == two[0] for pairs in met for one, two in itertools.pairwise(pairs))
    return Axis(taps, counts, np.array(runs, np.int64), reading, dense)
