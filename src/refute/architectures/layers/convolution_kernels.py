"""Convolutions of small images, compiled for the processor at hand: forward, and the gradients of inputs and weights.

Libraries turn a convolution into matrix products whose rows are pixels, with zeros where a pixel has no neighbour, and
need long rows to be fast. Here the rows of one product are columns of an image or, where images are small, the same
pixel of several examples; what lies outside of the image is left out instead of being multiplied by zero. On images of
4 x 4 that is a third of all products, on 2 x 2 more than half (see benchmarks/NOTES.md).

Everything is made of one product of small matrices that stay in registers, summed over the taps of a kernel (`product`;
the idea: Georganas et al. 2020, "Harnessing deep learning via a single building block", arXiv 1906.06440).

Arrays are contiguous with one axis, float32 or float64:

    images      (replica, example, height, width, channel)
    weights     (replica, tap row, tap column, channel read, channel written)

Replicas are taken one after another, and sums are in an order that depends on the shape of one replica's images alone:
packing replicas differently changes no bit.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from refute.architectures.layers.axes import Axis, Integers
from refute.architectures.layers.kernels import Array, contracted, inlined

Shape = tuple[int, int, int, int, int, int, int, int]

try:
    FEATURES = binding.get_host_cpu_features()
except RuntimeError:  # some processors do not say
    FEATURES = {}
X86 = binding.get_process_triple().startswith(("x86_64", "i686", "amd64"))
WIDEST = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx2") else 16
"""Bytes of a vector register."""
MANY_REGISTERS = WIDEST == 64 or not X86
"""Whether there are 32 vector registers, not 16."""
HEIGHTS = (12, 8, 4, 3, 1) if MANY_REGISTERS else (6, 4, 3, 1)
"""Rows of a product that are taken together."""
MOST, HALF = HEIGHTS[:2]
BLOCK = WIDEST // 2
HALF_BLOCK = max(8, BLOCK // 2)
LEAST = 8
WIDTHS = tuple(sorted({BLOCK, HALF_BLOCK, LEAST}))
"""Columns of a product, which are channels: a block makes two registers of float32; `LEAST` are for small layers."""
SHARING = 3
"""Rows that one pointer serves: processors add one and two times a distance for nothing. With a pointer for each row,
as LLVM would have it, there are too few registers."""
LATENCY, MOST_CHAINS = 8, 4
"""Sums that must be under way for the processor never to wait for one; few rows get there with several taps at once."""
IN_CORE, NEAR = 64 * 1024, 256 * 1024
"""Bytes of images taken together, for the gradient of weights and for the outputs, so that caches hold them."""
SHORT = 8
"""Rows of images shorter than this are summed over examples, longer ones along the row."""


def _product(
    typing: Any,  # noqa: ARG001
    a: Any,
    a_at: Any,  # noqa: ARG001
    b: Any,
    b_at: Any,  # noqa: ARG001
    start: Any,
    start_at: Any,  # noqa: ARG001
    c: Any,
    c_at: Any,  # noqa: ARG001
    a_taps: Any,
    b_taps: Any,
    taps: Any,  # noqa: ARG001
    steps: Any,  # noqa: ARG001
    rows: Any,  # noqa: ARG001
    columns: Any,  # noqa: ARG001
    a_row: Any,  # noqa: ARG001
    a_step: Any,  # noqa: ARG001
    b_step: Any,  # noqa: ARG001
    start_row: Any,  # noqa: ARG001
    c_row: Any,  # noqa: ARG001
) -> tuple[Any, Callable[..., Any]]:
    """c[row, column] = start[row, column] + the sum over taps t and steps k of a[t, row, k] b[t, k, column].

    Every array comes with the place where its part begins. From there, a's element is at a_taps[t] + row a_row +
    k a_step, b's at b_taps[t] + k b_step + column, those of start and c at row start_row or c_row + column. `rows` and
    `columns` are among `HEIGHTS` and `WIDTHS`. Without taps or steps c is start.

    For numba: the types of the arguments, and what writes LLVM's code into the loops that call it.
    """
    integers = [types.intp] * 9
    signature = types.void(a, types.intp, b, types.intp, start, types.intp, c, types.intp, a_taps, b_taps, *integers)
    bits = c.dtype.bitwidth

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        def pointer(array: Any, place: int) -> Any:
            return context.make_array(array)(context, builder, given[place]).data

        places = ((a, 0), (b, 2), (start, 4), (c, 6))
        first = [builder.gep(pointer(array, place), [given[place + 1]]) for array, place in places]
        of_taps = pointer(a_taps, 8), pointer(b_taps, 9), given[10]
        steps, rows, columns, *strides = given[11:19]
        for width, height in itertools.product(WIDTHS, HEIGHTS):
            fits = ((columns, width), (rows, height))
            asked = [builder.icmp_signed("==", number, _integer(size)) for number, size in fits]
            with builder.if_then(builder.and_(*asked)):
                lanes = min(width, 8 * WIDEST // bits)
                for column in range(0, width, 2 * lanes):  # as many as there are registers for
                    here = [first[0], *(builder.gep(base, [_integer(column)]) for base in first[1:])]
                    vectors = min(2, (width - column) // lanes)
                    _in_registers(builder, here, of_taps, steps, strides, (height, vectors, lanes, bits))
        return context.get_dummy_value()

    return signature, build


product = cast(Callable[..., None], intrinsic(_product))


def _in_registers(
    builder: Any, first: Any, of_taps: Any, steps: Any, strides: Any, shape: tuple[int, int, int, int]
) -> None:
    """LLVM's code of `product` for rows and columns that fit in registers: a loop over taps, in it one over steps."""
    a, b, start, c = first
    a_taps, b_taps, taps = of_taps
    a_row, a_step, b_step, start_row, c_row = strides
    rows, vectors, lanes, bits = shape
    vector = ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), lanes)
    ternary = ir.FunctionType(vector, [vector] * 3)
    declare: Callable[..., Any] = cgutils.get_or_insert_function
    multiply_add = declare(builder.module, ternary, f"llvm.fmuladd.v{lanes}f{bits}")
    same = ir.FunctionType(a.type, [a.type])

    def place(base: Any, row: int, stride: Any, number: int) -> Any:
        at = builder.add(builder.mul(_integer(row), stride), _integer(number * lanes))
        return builder.bitcast(builder.gep(base, [at]), vector.as_pointer())

    def load(where: Any) -> Any:
        found = builder.load(where)
        found.align = bits // 8
        return found

    def everywhere(value: Any) -> Any:
        nothing, zero = ir.Constant(vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        alone = builder.insert_element(nothing, value, zero)
        return builder.shuffle_vector(alone, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))

    def over_taps(count: Any, first_tap: Any, chains: int, sums: list[Any]) -> list[Any]:
        """`count` times as many taps as chains, each of which has its own sums: more to do while one is waited for."""

        def taps_at_once(index: Any, carried: list[Any]) -> list[Any]:
            tap = builder.add(first_tap, builder.mul(index, _integer(chains)))
            places = [builder.add(tap, _integer(chain)) for chain in range(chains)]
            b_first = [builder.gep(b, [builder.load(builder.gep(b_taps, [place_of]))]) for place_of in places]
            a_first = [builder.gep(a, [builder.load(builder.gep(a_taps, [place_of]))]) for place_of in places]
            shared = [builder.mul(_integer(row), a_row) for row in range(0, rows, SHARING)]
            pointers = [builder.gep(each, [shift]) for each in a_first for shift in shared]
            return _loop(builder, steps, [*b_first, *pointers, *carried], over_steps)[chains + len(pointers) :]

        def over_steps(_: Any, carried: list[Any]) -> list[Any]:
            start_of_sums = -len(cells) * chains
            b_here, pointers, sums = carried[:chains], carried[chains:start_of_sums], carried[start_of_sums:]
            # an instruction that does nothing, so that LLVM does not see that these go along with one another
            pointers = [builder.asm(same, "", "=r,0", [each], side_effect=False) for each in pointers]
            found: list[Any] = []
            for chain in range(chains):
                own = pointers[chain * len(pointers) // chains :]
                factors = [load(place(b_here[chain], 0, _integer(0), number)) for number in range(vectors)]
                for row in range(rows):
                    shift = builder.mul(_integer(row % SHARING), a_row)
                    factor = everywhere(builder.load(builder.gep(own[row // SHARING], [shift])))
                    for number in range(vectors):
                        total = sums[len(found)]
                        found.append(builder.call(multiply_add, [factor, factors[number], total]))
            moved = [builder.gep(each, [b_step]) for each in b_here], [builder.gep(each, [a_step]) for each in pointers]
            return [*moved[0], *moved[1], *found]

        return _loop(builder, count, sums, taps_at_once)

    cells = [(row, number) for row in range(rows) for number in range(vectors)]
    sums = [load(place(start, row, start_row, number)) for row, number in cells]
    chains = min(MOST_CHAINS, max(1, LATENCY // len(cells)))
    if chains > 1:
        groups = builder.udiv(taps, _integer(chains))
        nothing = [ir.Constant(vector, [0.0] * lanes)] * (len(cells) * (chains - 1))
        several = over_taps(groups, _integer(0), chains, sums + nothing)
        sums = several[: len(cells)]
        for chain in range(1, chains):
            others = several[chain * len(cells) : (chain + 1) * len(cells)]
            sums = [builder.fadd(total, other) for total, other in zip(sums, others, strict=True)]
        done = builder.mul(groups, _integer(chains))
        sums = over_taps(builder.sub(taps, done), done, 1, sums)
    else:
        sums = over_taps(taps, _integer(0), 1, sums)
    for (row, number), value in zip(cells, sums, strict=True):
        builder.store(value, place(c, row, c_row, number)).align = bits // 8


def _loop(builder: Any, count: Any, values: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """LLVM's code of a loop: `body` of the index and the values gives the next values."""
    before, inside, behind = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed("<", _integer(0), count), inside, behind)
    builder.position_at_end(inside)
    index, carried = builder.phi(ir.IntType(64)), [builder.phi(value.type) for value in values]
    following = body(index, carried)
    after, end = builder.add(index, _integer(1)), builder.block
    builder.cbranch(builder.icmp_signed("<", after, count), inside, behind)
    for phi, first, then in zip([index, *carried], [_integer(0), *values], [after, *following], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, end)
    builder.position_at_end(behind)
    found = [builder.phi(value.type) for value in values]
    for phi, first, then in zip(found, values, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(then, end)
    return found


def _integer(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


@inlined
def columns_of(left: int) -> int:
    """How many of the columns left make the next block."""
    return BLOCK if left >= BLOCK else (HALF_BLOCK if left >= HALF_BLOCK else LEAST)


@inlined
def rows_alone(left: int) -> int:
    """How many of the rows left to take together, none of them twice."""
    if left >= MOST and left != 2 * HALF:
        return MOST
    return HALF if left >= HALF else (4 if left >= 4 else (3 if left == 3 else 1))


@inlined
def rows_from(done: int, rows: int) -> tuple[int, int]:
    """How many rows to take together, and from where on: a few of them a second time rather than very few."""
    left = rows - done
    if left >= MOST and not MOST < left <= 2 * HALF:
        return MOST, done
    size = HALF if left > 4 and rows >= HALF else (4 if rows >= 4 else (3 if left == 3 else 1))
    return size, min(done, rows - size)


@contracted
def convolve(
    inputs: Array,
    weights: Array,
    start: Array,
    outputs: Array,
    shape: Shape,
    kernel: int,
    down: tuple[Integers, Integers],
    along: tuple[Integers, Integers, Integers],
    reading: int,
    dense: bool,
) -> None:
    """Outputs, or the gradient of the inputs, of all replicas.

    `shape`: replicas, examples, height, width and channels of what is read, then of what is written; channels written
    are a multiple of `LEAST`. `start` (replica, channel) is where sums begin: the bias. `down`: taps and counts of an
    `Axis`; `along`: those and runs, with `reading` and `dense`.
    """
    replicas, examples, height, width, channels, tall, wide, written = shape
    row, read_image, written_image = width * channels, height * width * channels, tall * wide * written
    tap, runs, apart = channels * written, along[2], reading * channels
    read_taps, weight_taps = np.empty(kernel * kernel, np.int64), np.empty(kernel * kernel, np.int64)
    chunk = MOST * max(1, NEAR // (MOST * read_image * inputs.itemsize))
    for r in range(replicas):
        block = 0
        while block < written:
            columns = columns_of(written - block)
            own, begin = r * kernel * kernel * tap + block, r * written + block
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
                                weight_taps[taps] = (down[0][i, p, 0] * kernel + along[0][j, q, 0]) * tap
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
                                    outputs, at + n * write_next + m * write_row, read_taps, weight_taps, taps, steps,
                                    size, columns, read_row, 1, written, 0, write_row,
                                )  # fmt: skip
                                done = m + size
            block += columns


def run(inputs: Array, weights: Array, start: Array, outputs: Array, axes: Sequence[Axis]) -> None:
    """`convolve` of arrays with all their axes; `axes` are those of the height and of the width."""
    down, along = axes
    kernel = down.taps.shape[1]
    shape = *inputs.shape, *outputs.shape[2:]
    pixels = (down.taps, down.counts), (along.taps, along.counts, along.runs)
    read, own, begin, written = (each.reshape(-1) for each in (inputs, weights, np.ascontiguousarray(start), outputs))
    convolve(read, own, begin, written, shape, kernel, *pixels, along.reading, along.dense)


def gather(inputs: Array, gradient: Array, found: Array, kernel: int, stride: int, margin: int) -> None:
    """`correlate` of arrays with all their axes."""
    shape = *inputs.shape, *gradient.shape[2:]
    correlate(inputs.reshape(-1), gradient.reshape(-1), found.reshape(-1), shape, kernel, stride, margin)


@contracted
def correlate(
    inputs: Array, gradient: Array, found: Array, shape: Shape, kernel: int, stride: int, margin: int
) -> None:
    """Gradients of the weights (replica, tap row, tap column, channel in, channel out).

    `shape`: replicas, examples, height, width and channels of the inputs, then of the gradient of the outputs, whose
    channels are a multiple of `LEAST`.
    """
    replicas, examples, height, width, channels, tall, wide, written = shape
    image, of_image = height * width * channels, tall * wide * written
    chunk = min(max(1, examples), max(4, IN_CORE // ((image + of_image) * inputs.itemsize)))
    along_rows = wide >= SHORT
    most = chunk * tall if along_rows else tall * wide
    rows = kernel * channels if margin == 0 else channels  # without a margin, all taps beside one another meet the same
    read_taps, of_taps = np.empty(most, np.int64), np.empty(most, np.int64)
    found[:] = 0
    for r in range(replicas):
        for first in range(0, examples, chunk):
            together = min(chunk, examples - first)
            read, of_outputs = (r * examples + first) * image, (r * examples + first) * of_image
            for p in range(kernel):
                top, bottom = inside(p, height, tall, stride, margin)
                for q in range(1 if margin == 0 else kernel):
                    left, right = inside(q, width, wide, stride, margin)
                    taps, corner = 0, (p - margin) * width + q - margin
                    if along_rows and right > left:
                        for n in range(together):
                            for i in range(top, bottom):
                                pixel = (i * width + left) * stride + corner
                                read_taps[taps] = n * image + pixel * channels
                                of_taps[taps] = n * of_image + (i * wide + left) * written
                                taps += 1
                        steps, step, of_step = right - left, stride * channels, written
                    else:
                        for i in range(top, bottom):
                            for j in range(left, right):
                                read_taps[taps] = ((i * width + j) * stride + corner) * channels
                                of_taps[taps] = (i * wide + j) * written
                                taps += 1
                        steps, step, of_step = together, image, of_image
                    tap = ((r * kernel + p) * kernel + q) * channels * written
                    block = 0
                    while block < written:
                        columns = columns_of(written - block)
                        done = 0
                        while done < rows:
                            size, at = rows_alone(rows - done), tap + done * written + block
                            product(
                                inputs, read + done, gradient, of_outputs + block, found, at, found, at,
                                read_taps, of_taps, taps, steps, size, columns, 1, step, of_step, written, written,
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
