"""Loops over activations, compiled by numba: a normalization or a maximum in one or two passes through memory.

torch takes two to four times as many, and keeps eight bytes for each maximum instead of one (benchmarks/NOTES.md).

Arrays are contiguous, float32 or float64. Rows (replica, row, lane) may hold several pixels: a lane is a channel of one
of `lanes / channels` pixels, so that short rows of few channels become long ones. Every channel of every replica is
summed by itself and in the order of the rows, whatever stands beside it: packing replicas differently changes no bit.

Inner loops write to few arrays, because the compiler proves before each of them that these do not overlap others.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Array = NDArray[Any]

NEWEST_SOURCE = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
"""When a module of this folder was changed last."""


def compiled(function: Function, *, contract: bool = False, inline: bool = False) -> Function:
    """The function as machine code, compiled when it is first called and kept on disk where that can be written to."""
    fastmath = {"contract"} if contract else False
    make = partial(numba.njit, error_model="numpy", fastmath=fastmath, forceinline=inline)
    try:
        ready = make(cache=True)(function)
        forget_older(Path(ready.stats.cache_path or ""), function.__qualname__, NEWEST_SOURCE)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        ready = make()(function)
    return cast(Function, ready)


def forget_older(folder: Path, function: str, time: float) -> None:
    """Remove what is kept of that function's machine code from before that time.

    numba looks at the function's own file alone, but a loop is made of what several modules say.
    """
    for name in os.listdir(folder) if folder.is_dir() else ():  # a glob takes twice as long, at every start
        if f".{function}-" in name and name.endswith(".nbi"):
            index = folder / name
            with suppress(OSError):  # another process was faster, or it can't be written to
                if index.stat().st_mtime < time:
                    index.unlink()


def contracted(function: Function) -> Function:
    """`compiled`, where a product and a sum may be rounded at once, as processors' instructions for both do."""
    return compiled(function, contract=True)


def inlined(function: Function) -> Function:
    """`contracted`, as a part of the loops that call it: a call would keep them from vector instructions."""
    return compiled(function, contract=True, inline=True)


@compiled
def moments(inputs: Array, first: Array, total: Array, squares: Array) -> None:
    """Sums of x - f and (x - f)^2 over rows and pixels.

    `inputs` (replica, row, lane), `first` f and `total`, `squares` float64 (replica, channel).
    """
    replicas, rows, lanes = inputs.shape
    channels = total.shape[1]
    start = np.empty(lanes, inputs.dtype)
    sums, of_squares = np.empty(lanes), np.empty(lanes)
    for r in range(replicas):
        for lane in range(lanes):
            start[lane] = first[r, lane % channels]
        sums[:] = 0.0
        of_squares[:] = 0.0
        for n in range(rows):
            row = inputs[r, n]
            for lane in range(lanes):
                difference = np.float64(row[lane] - start[lane])
                sums[lane] += difference
                of_squares[lane] += difference * difference
        fold(sums, total[r])
        fold(of_squares, squares[r])


@compiled
def totals(inputs: Array, total: Array) -> None:
    """Sums over rows and pixels: `inputs` (replica, row, lane), `total` float64 (replica, channel)."""
    replicas, rows, lanes = inputs.shape
    sums = np.empty(lanes)
    for r in range(replicas):
        sums[:] = 0.0
        for n in range(rows):
            row = inputs[r, n]
            for lane in range(lanes):
                sums[lane] += np.float64(row[lane])
        fold(sums, total[r])


@compiled
def fold(lanes: Array, channels: Array) -> None:
    """The sum over pixels: `lanes` (pixel * channel) into `channels`."""
    size = len(channels)
    channels[:] = lanes[:size]
    for first in range(size, len(lanes), size):
        for c in range(size):
            channels[c] += lanes[first + c]


@compiled
def transform(inputs: Array, scale: Array, offset: Array, rectify: bool, outputs: Array) -> None:
    """scale x + offset, and of it the positive part if `rectify`; all (replica, row, lane), or (replica, lane)."""
    replicas, rows, lanes = inputs.shape
    zero = inputs.dtype.type(0)
    for r in range(replicas):
        a, b = scale[r], offset[r]
        for n in range(rows):
            row, out = inputs[r, n], outputs[r, n]
            if rectify:
                for lane in range(lanes):
                    value = row[lane] * a[lane] + b[lane]
                    out[lane] = zero if value < zero else value
            else:
                for lane in range(lanes):
                    out[lane] = row[lane] * a[lane] + b[lane]


NOWHERE = 4
"""In the place of a pixel's number in its square: none of the four has a gradient."""


@compiled
def extremes(images: Array, scale: Array, rectify: bool, chosen: Array, places: Array) -> None:
    """The x of every 2 x 2 square whose scale x is largest, the first of equals; one that is not a number wins.

    `images` (image, height, width, channel) of one replica after another, `scale` (replica, channel). At an odd edge a
    square may be smaller. `chosen` are the values (image, square, square, channel), of them the positive part if
    `rectify`; `places` uint8 their pixels' numbers in the square, `NOWHERE` if none was positive.
    """
    zero = images.dtype.type(0)
    count, height, width, channels = images.shape
    for n in range(count):
        factor = scale[n * len(scale) // count]
        for i in range(chosen.shape[1]):
            top, bottom = 2 * i, min(2 * i + 1, height - 1)
            for j in range(chosen.shape[2]):
                left, right = 2 * j, min(2 * j + 1, width - 1)
                one, two, three, four = (
                    images[n, top, left],
                    images[n, top, right],
                    images[n, bottom, left],
                    images[n, bottom, right],
                )
                value, place = chosen[n, i, j], places[n, i, j]
                for c in range(channels):
                    best, found, where = one[c] * factor[c], one[c], np.uint8(0)
                    candidate = two[c] * factor[c]
                    if candidate > best or candidate != candidate:
                        best, found, where = candidate, two[c], np.uint8(1)
                    candidate = three[c] * factor[c]
                    if candidate > best or candidate != candidate:
                        best, found, where = candidate, three[c], np.uint8(2)
                    candidate = four[c] * factor[c]
                    if candidate > best or candidate != candidate:
                        best, found, where = candidate, four[c], np.uint8(3)
                    value[c] = found
                    place[c] = where
                if rectify:
                    for c in range(channels):
                        place[c] = np.uint8(NOWHERE) if value[c] <= zero else place[c]
                        value[c] = zero if value[c] <= zero else value[c]


@compiled
def spread(gradient: Array, places: Array, passed: Array) -> None:
    """Put the gradient of every square's chosen pixel there, and 0 elsewhere; shapes as in `extremes`."""
    count, height, width, channels = passed.shape
    rows, columns = min(height, 2 * gradient.shape[1]), min(width, 2 * gradient.shape[2])
    zero = passed.dtype.type(0)
    for n in range(count):
        passed[n, rows:] = zero  # an edge that belongs to no square
        passed[n, :, columns:] = zero
        for y in range(rows):
            for x in range(columns):
                out = passed[n, y, x]
                of_square, place = gradient[n, y // 2, x // 2], places[n, y // 2, x // 2]
                here = np.uint8(2 * (y % 2) + x % 2)
                for c in range(channels):
                    value = of_square[c]  # in any case: what may be skipped is a branch where channels are few
                    out[c] = value if place[c] == here else zero


@compiled
def of_weights(
    inputs: Array,
    gradient: Array,
    mean: Array,
    scale: Array,
    offset: Array,
    rectify: bool,
    total: Array,
    product: Array,
) -> None:
    """Sums of d and d (x - mean) over rows and pixels, d the gradient where scale x + offset > 0, or everywhere.

    `inputs`, `gradient` (replica, row, lane); `mean`, `scale`, `offset` (replica, lane); `total`, `product` float64
    (replica, channel). If `rectify`, the gradient is set to 0 where it does not pass.
    """
    replicas, rows, lanes = inputs.shape
    zero = inputs.dtype.type(0)
    sums, of_products = np.empty(lanes), np.empty(lanes)
    for r in range(replicas):
        m, a, b = mean[r], scale[r], offset[r]
        sums[:] = 0.0
        of_products[:] = 0.0
        for n in range(rows):
            row, d = inputs[r, n], gradient[r, n]
            if rectify:
                for lane in range(lanes):
                    d[lane] = d[lane] if row[lane] * a[lane] + b[lane] > zero else zero
            for lane in range(lanes):
                sums[lane] += np.float64(d[lane])
                of_products[lane] += np.float64(d[lane]) * np.float64(row[lane] - m[lane])
        fold(sums, total[r])
        fold(of_products, product[r])


@compiled
def of_inputs(inputs: Array, gradient: Array, mean: Array, scale: Array, share: Array, slope: Array) -> None:
    """d <- scale (d - share - slope (x - mean)).

    `inputs` x and `gradient` d (replica, row, lane), the others (replica, lane).
    """
    replicas, rows, lanes = inputs.shape
    for r in range(replicas):
        m, a, s, k = mean[r], scale[r], share[r], slope[r]
        for n in range(rows):
            row, d = inputs[r, n], gradient[r, n]
            for lane in range(lanes):
                d[lane] = a[lane] * (d[lane] - s[lane] - (row[lane] - m[lane]) * k[lane])


@compiled
def spread_of_inputs(images: Array, gradient: Array, places: Array, of_lanes: tuple[Array, ...], passed: Array) -> None:
    """`spread`, then `of_inputs`, image by image, so that the second one finds the first one's results in cache.

    `of_lanes`: mean, scale, share and slope (replica, lane).
    """
    mean, scale, share, slope = of_lanes
    replicas, lanes = mean.shape
    for n in range(len(images)):
        own = slice(n * replicas // len(images), n * replicas // len(images) + 1)
        spread(gradient[n : n + 1], places[n : n + 1], passed[n : n + 1])
        rows, of_rows = images[n].reshape(1, -1, lanes), passed[n].reshape(1, -1, lanes)
        of_inputs(rows, of_rows, mean[own], scale[own], share[own], slope[own])
