"""A first convolution of images of one channel and the maximum over 2 x 2 squares behind it, as one compiled loop.

The convolution's outputs, which would be the largest array of the net, are never stored: the forward pass keeps the
largest of every square, and the backward pass computes the others again where a normalization needs them.

Arrays have one axis, so that distances between what an inner loop reads are known when it is compiled: without that,
or with fewer than `LANES` channels, LLVM makes no vector instructions. Inner loops run over channels of one replica:
packing replicas differently changes no bit.

    images      (replica, example, height + 2, width + 2): a margin of zeros on every side; height and width even
    of_lanes    (replica, block, row, lane), a block is LANES channels; rows as the constants say, first the weights
    chosen      (replica, example, square, square, channel), and `places` uint8 alike: the pixels' numbers in the square
    totals      float64 (replica, block, row, lane), sums over all examples, which are added to what is there
    shape       replicas, examples, squares in a column, squares in a row, blocks
"""

from typing import Any

import numpy as np

from refute.architectures.layers.kernels import NOWHERE, Array, contracted, inlined

Shape = tuple[int, int, int, int, int]
Row = tuple[Any, ...]

LANES = 16
TAPS, BIAS = 9, 9
"""Number of weights, and the row of the bias."""
SIGN, FIRST, SUMS, FORWARD_ROWS = 10, 11, 12, 14
"""Forward: sign of the normalization's scale, or 1; a shift f; sums of x - f and (x - f)^2 of one example, 0 before."""
MEAN, SHARE, SLOPE, GRADIENTS, BACKWARD_ROWS = 10, 11, 12, 13, 23
"""Backward: what makes d - share - slope (x - mean) of an output's gradient d; gradients of one example, 0 before."""


@contracted
def forward(
    images: Array, of_lanes: Array, chosen: Array, places: Array, totals: Array, shape: Shape, rectify: bool
) -> None:
    """Of every square the output x whose product with `sign` is largest; one that is not a number wins.

    Of what is chosen the positive part if `rectify`; places are then `NOWHERE` if none was positive.
    """
    zero = images.dtype.type(0)
    replicas, examples, tall, wide, blocks = shape
    row, size, sums = 2 * wide + 2, FORWARD_ROWS * LANES, (FORWARD_ROWS - SUMS) * LANES
    for r in range(replicas):
        for n in range(examples):
            for b in range(blocks):
                block = r * blocks + b
                own = of_lanes[block * size : (block + 1) * size]
                for i in range(tall):
                    for j in range(wide):
                        p = window(images, 2 * (((r * examples + n) * (tall + 1) + i) * row + j), row)
                        at = ((((r * examples + n) * tall + i) * wide + j) * blocks + b) * LANES
                        value, place = chosen[at : at + LANES], places[at : at + LANES]
                        for lane in range(LANES):
                            sign, first = own[lane + SIGN * LANES], own[lane + FIRST * LANES]
                            one, two, three, four = outputs(own, lane, p)
                            best, found, where = one * sign, one, np.uint8(0)
                            if two * sign > best or two != two:
                                best, found, where = two * sign, two, np.uint8(1)
                            if three * sign > best or three != three:
                                best, found, where = three * sign, three, np.uint8(2)
                            if four * sign > best or four != four:
                                best, found, where = four * sign, four, np.uint8(3)
                            hidden = rectify and found <= zero
                            value[lane] = zero if hidden else found
                            place[lane] = np.uint8(NOWHERE) if hidden else where
                            one, two, three, four = one - first, two - first, three - first, four - first
                            own[lane + SUMS * LANES] += (one + two) + (three + four)
                            own[lane + (SUMS + 1) * LANES] += (one * one + two * two) + (three * three + four * four)
                add(own[SUMS * LANES :], totals[block * sums : (block + 1) * sums])


@contracted
def backward(
    images: Array, of_lanes: Array, gradient: Array, places: Array, totals: Array, shape: Shape, normalized: bool
) -> None:
    """Gradients of the weights, then the bias. `gradient`: that of what was chosen; see `MEAN` for `normalized`."""
    replicas, examples, tall, wide, blocks = shape
    row, size, sums = 2 * wide + 2, BACKWARD_ROWS * LANES, (BACKWARD_ROWS - GRADIENTS) * LANES
    zero = images.dtype.type(0)
    for r in range(replicas):
        for n in range(examples):
            for b in range(blocks):
                block = r * blocks + b
                own = of_lanes[block * size : (block + 1) * size]
                for i in range(tall):
                    for j in range(wide):
                        p = window(images, 2 * (((r * examples + n) * (tall + 1) + i) * row + j), row)
                        at = ((((r * examples + n) * tall + i) * wide + j) * blocks + b) * LANES
                        of_square, place = gradient[at : at + LANES], places[at : at + LANES]
                        if normalized:
                            for lane in range(LANES):
                                one, two, three, four = spread(of_square[lane], place[lane], zero)
                                x1, x2, x3, x4 = outputs(own, lane, p)
                                mean = own[lane + MEAN * LANES]
                                share, slope = own[lane + SHARE * LANES], own[lane + SLOPE * LANES]
                                one = one - share - slope * (x1 - mean)
                                two = two - share - slope * (x2 - mean)
                                three = three - share - slope * (x3 - mean)
                                four = four - share - slope * (x4 - mean)
                                gather(own, lane, p, one, two, three, four)
                        else:
                            for lane in range(LANES):
                                one, two, three, four = spread(of_square[lane], place[lane], zero)
                                gather(own, lane, p, one, two, three, four)
                add(own[GRADIENTS * LANES :], totals[block * sums : (block + 1) * sums])


@inlined
def window(images: Array, at: int, row: int) -> tuple[Row, Row, Row, Row]:
    """The 4 x 4 pixels from `at` on, of which the convolution makes a square of 2 x 2."""
    second, third, last = at + row, at + 2 * row, at + 3 * row
    return (
        (images[at], images[at + 1], images[at + 2], images[at + 3]),
        (images[second], images[second + 1], images[second + 2], images[second + 3]),
        (images[third], images[third + 1], images[third + 2], images[third + 3]),
        (images[last], images[last + 1], images[last + 2], images[last + 3]),
    )


@inlined
def outputs(own: Array, lane: int, p: tuple[Row, Row, Row, Row]) -> tuple[Any, Any, Any, Any]:
    """The convolution's outputs at the four pixels of a square."""
    return (
        output(own, lane, p[0], p[1], p[2], 0),
        output(own, lane, p[0], p[1], p[2], 1),
        output(own, lane, p[1], p[2], p[3], 0),
        output(own, lane, p[1], p[2], p[3], 1),
    )


@inlined
def output(own: Array, lane: int, above: Row, here: Row, below: Row, x: int) -> Any:
    """That of the 3 x 3 pixels from column x on."""
    w = own[lane], own[lane + LANES], own[lane + 2 * LANES], own[lane + 3 * LANES], own[lane + 4 * LANES]
    v = own[lane + 5 * LANES], own[lane + 6 * LANES], own[lane + 7 * LANES], own[lane + 8 * LANES]
    upper = w[0] * above[x] + w[1] * above[x + 1] + w[2] * above[x + 2]
    middle = w[3] * here[x] + w[4] * here[x + 1] + v[0] * here[x + 2]
    lower = v[1] * below[x] + v[2] * below[x + 1] + v[3] * below[x + 2]
    return own[lane + BIAS * LANES] + upper + middle + lower


@inlined
def spread(of_square: Any, place: int, zero: Any) -> tuple[Any, Any, Any, Any]:
    """The gradients at the four pixels of a square: that of the chosen one, and 0."""
    return (
        of_square if place == 0 else zero,
        of_square if place == 1 else zero,
        of_square if place == 2 else zero,
        of_square if place == 3 else zero,
    )


@inlined
def gather(own: Array, lane: int, p: tuple[Row, Row, Row, Row], one: Any, two: Any, three: Any, four: Any) -> None:
    """Add to the gradients of weights and bias what the four pixels of a square contribute."""
    gather_row(own, lane, GRADIENTS, p[0], p[1], one, two, three, four)
    gather_row(own, lane, GRADIENTS + 3, p[1], p[2], one, two, three, four)
    gather_row(own, lane, GRADIENTS + 6, p[2], p[3], one, two, three, four)
    own[lane + (GRADIENTS + TAPS) * LANES] += (one + two) + (three + four)


@inlined
def gather_row(own: Array, lane: int, at: int, a: Row, b: Row, one: Any, two: Any, three: Any, four: Any) -> None:
    """For three weights side by side; `a` and `b` are the pixels that they meet in the square's upper and lower row."""
    own[lane + at * LANES] += one * a[0] + two * a[1] + three * b[0] + four * b[1]
    own[lane + (at + 1) * LANES] += one * a[1] + two * a[2] + three * b[1] + four * b[2]
    own[lane + (at + 2) * LANES] += one * a[2] + two * a[3] + three * b[2] + four * b[3]


@inlined
def add(sums: Array, total: Array) -> None:
    """Sums of one example to those of all."""
    for k in range(len(total)):
        total[k] += sums[k]
        sums[k] = 0
