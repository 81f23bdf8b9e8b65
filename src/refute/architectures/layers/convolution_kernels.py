"""Convolutions of small images, compiled for the processor at hand: forward, and the gradients of inputs and weights.

Libraries turn a convolution into matrix products whose rows are pixels, with zeros where a pixel has no neighbour, and
need long rows to be fast. Here the rows of one product are columns of an image or, where images are small, the same
pixel of several examples; what lies outside of the image is left out instead of being multiplied by zero. On images of
4 x 4 that is a third of all products, on 2 x 2 more than half (see benchmarks/NOTES.md).

Everything is made of one product of small matrices, summed over the taps of a kernel (see `small_products`).

Arrays are contiguous with one axis, float32 or float64:

    images      (replica, example, height, width, channel)
    weights     (replica, tap row, tap column, channel read, channel written)

Replicas are taken one after another, and sums are in an order that depends on the shape of one replica's images alone:
packing replicas differently changes no bit.
"""

from collections.abc import Sequence

import numpy as np

from refute.architectures.layers.axes import Axis, Integers
from refute.architectures.layers.kernels import Array, contracted, inlined
from refute.architectures.layers.small_products import EVERYTHING, MOST, columns_of, product, rows_alone, rows_from

Shape = tuple[int, int, int, int, int, int, int, int]
Pair = tuple[int, int]

IN_CORE, NEAR = 64 * 1024, 256 * 1024
"""Bytes of images taken together, for the gradient of weights and for the outputs, so that caches hold them."""
SHORT = 8
"""Rows of images shorter than this are summed over examples, longer ones along the row."""


@contracted
def convolve(
    inputs: Array,
    weights: Array,
    start: Array,
    outputs: Array,
    shape: Shape,
    kernel: Pair,
    down: tuple[Integers, Integers],
    along: tuple[Integers, Integers, Integers],
    reading: int,
    dense: bool,
) -> None:
    """Outputs, or the gradient of the inputs, of all replicas.

    `shape`: replicas, examples, height, width and channels of what is read, then of what is written; channels written
    are a multiple of `LEAST`. `kernel`: rows and columns of taps. `start` (replica, channel) is where sums begin: the
    bias. `down`: taps and counts of an `Axis`; `along`: those and runs, with `reading` and `dense`.
    """
    one, everything = inputs.dtype.type(1), inputs.dtype.type(EVERYTHING)
    all_taps, in_a_row = kernel[0] * kernel[1], kernel[1]
    replicas, examples, height, width, channels, tall, wide, written = shape
    row, read_image, written_image = width * channels, height * width * channels, tall * wide * written
    tap, runs, apart = channels * written, along[2], reading * channels
    read_taps, weight_taps = np.empty(all_taps, np.int64), np.empty(all_taps, np.int64)
    chunk = MOST * max(1, NEAR // (MOST * read_image * inputs.itemsize))
    for r in range(replicas):
        block = 0
        while block < written:
            columns = columns_of(written - block)
            own, begin = r * all_taps * tap + block, r * written + block
            for first in range(0, examples, chunk):
                together = min(chunk, examples - first)
                read, write = (r * examples + first) * read_image, (r * examples + first) * written_image + block
                for i in range(tall):
                    for run in range(len(runs)):
                        j, distance, pixels = runs[run, 0], runs[run, 1] * written, runs[run, 2]
                        taps, beside = 0, along[1][j]
                        for p in range(down[1][i]):
                            for q in range(1 if dense else beside):
                                read_taps[taps] = down[0][i, p, 1] * row + along[0][j, q, 1] * channels
                                weight_taps[taps] = (down[0][i, p, 0] * in_a_row + along[0][j, q, 0]) * tap
                                taps += 1
                        steps = beside * channels if dense else channels
                        at = write + (i * wide + j) * written
                        if pixels >= MOST:  # rows of the product are pixels of one image
                            times, read_next, write_next = together, read_image, written_image
                            rows, read_row, write_row = pixels, apart, distance
                        else:  # they are the same pixel of several images
                            times, read_next, write_next = pixels, apart, distance
                            rows, read_row, write_row = together, read_image, written_image
                        for n in range(times):
                            done = 0
                            while done < rows:
                                size, m = rows_from(done, rows)
                                product(
                                    inputs, read + n * read_next + m * read_row, weights, own, start, begin,
                                    outputs, at + n * write_next + m * write_row, one, everything, read_taps,
                                    weight_taps, taps, steps, size, columns, read_row, 1, written, 0, write_row,
                                )  # fmt: skip
                                done = m + size
            block += columns


def run(inputs: Array, weights: Array, start: Array, outputs: Array, axes: Sequence[Axis]) -> None:
    """`convolve` of arrays with all their axes; `axes` are those of the height and of the width."""
    down, along = axes
    kernel = down.taps.shape[1], along.taps.shape[1]
    shape = *inputs.shape, *outputs.shape[2:]
    pixels = (down.taps, down.counts), (along.taps, along.counts, along.runs)
    read, own, begin, written = (each.reshape(-1) for each in (inputs, weights, np.ascontiguousarray(start), outputs))
    convolve(read, own, begin, written, shape, kernel, *pixels, along.reading, along.dense)


def gather(inputs: Array, gradient: Array, found: Array, kernel: Pair, stride: Pair, margin: int) -> None:
    """`correlate` of arrays with all their axes."""
    shape = *inputs.shape, *gradient.shape[2:]
    correlate(inputs.reshape(-1), gradient.reshape(-1), found.reshape(-1), shape, kernel, stride, margin)


@contracted
def correlate(
    inputs: Array, gradient: Array, found: Array, shape: Shape, kernel: Pair, stride: Pair, margin: int
) -> None:
    """Gradients of the weights (replica, tap row, tap column, channel in, channel out).

    `shape`: replicas, examples, height, width and channels of the inputs, then of the gradient of the outputs, whose
    channels are a multiple of `LEAST`. `kernel` and `stride` are those of rows, then of columns.
    """
    in_a_row, (down, along) = kernel[1], stride
    one, everything = inputs.dtype.type(1), inputs.dtype.type(EVERYTHING)
    replicas, examples, height, width, channels, tall, wide, written = shape
    image, of_image = height * width * channels, tall * wide * written
    chunk = min(max(1, examples), max(4, IN_CORE // ((image + of_image) * inputs.itemsize)))
    along_rows = wide >= SHORT
    most = chunk * tall if along_rows else tall * wide
    rows = in_a_row * channels if margin == 0 else channels  # without a margin, taps beside one another meet the same
    read_taps, of_taps = np.empty(most, np.int64), np.empty(most, np.int64)
    found[:] = 0
    for r in range(replicas):
        for first in range(0, examples, chunk):
            together = min(chunk, examples - first)
            read, of_outputs = (r * examples + first) * image, (r * examples + first) * of_image
            for p in range(kernel[0]):
                top, bottom = inside(p, height, tall, down, margin)
                for q in range(1 if margin == 0 else in_a_row):
                    left, right = inside(q, width, wide, along, margin)
                    taps, corner = 0, (p - margin) * width + q - margin
                    if along_rows and right > left:
                        for n in range(together):
                            for i in range(top, bottom):
                                pixel = i * down * width + left * along + corner
                                read_taps[taps] = n * image + pixel * channels
                                of_taps[taps] = n * of_image + (i * wide + left) * written
                                taps += 1
                        steps, step, of_step = right - left, along * channels, written
                    else:
                        for i in range(top, bottom):
                            for j in range(left, right):
                                read_taps[taps] = (i * down * width + j * along + corner) * channels
                                of_taps[taps] = (i * wide + j) * written
                                taps += 1
                        steps, step, of_step = together, image, of_image
                    tap = ((r * kernel[0] + p) * in_a_row + q) * channels * written
                    block = 0
                    while block < written:
                        columns = columns_of(written - block)
                        done = 0
                        while done < rows:
                            size, at = rows_alone(rows - done), tap + done * written + block
                            product(
                                inputs, read + done, gradient, of_outputs + block, found, at, found, at, one,
                                everything, read_taps, of_taps, taps, steps, size, columns, 1, step, of_step, written,
                                written,
                            )  # fmt: skip
                            done += size
                        block += columns


@inlined
def inside(tap: int, size: int, outputs: int, stride: int, margin: int) -> tuple[int, int]:
    """The first output whose pixel under this tap lies in the image, and the one after the last."""
    first = max(0, -((tap - margin) // stride))
    last = min(outputs, (size - 1 + margin - tap) // stride + 1)
    return first, max(first, last)


@contracted
def tap_first(weights: Array, turned: bool, found: Array) -> None:
    """(replica, tap, in, out) of weights (replica, out, in, tap); `turned`, (replica, tap, out, in), last tap first."""
    replicas, outputs, inputs, taps = weights.shape
    for r in range(replicas):
        for t in range(taps):
            if turned:
                for o in range(outputs):
                    for i in range(inputs):
                        found[r, t, o, i] = weights[r, o, i, taps - 1 - t]
            else:
                for i in range(inputs):
                    for o in range(outputs):
                        found[r, t, i, o] = weights[r, o, i, t]


@contracted
def tap_last(found: Array, keep: float, target: Array) -> None:
    """`target` (replica, out, in, tap) becomes keep target + `found` (replica, tap, in, out)."""
    replicas, outputs, inputs, taps = target.shape
    kept = target.dtype.type(keep)
    for r in range(replicas):
        for o in range(outputs):
            for i in range(inputs):
                for t in range(taps):
                    before = kept * target[r, o, i, t] if keep else kept
                    target[r, o, i, t] = before + found[r, t, i, o]
