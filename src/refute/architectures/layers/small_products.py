"""A product of small matrices that stay in registers, written as LLVM's code, for the compiled loops that call it.

It is summed over taps, so that convolutions and dense layers can be made of it (the idea: Georganas et al. 2020,
"Harnessing deep learning via a single building block", arXiv 1906.06440). Matrices are turned the same way.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, cast

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from refute.architectures import processor
from refute.architectures.layers.kernels import Array, inlined

X86 = binding.get_process_triple().startswith(("x86_64", "i686", "amd64"))
WIDEST = processor.vector_bytes()
MANY_REGISTERS = WIDEST == 64 or not X86
"""Whether there are 32 vector registers, not 16."""
MOST, HALF = (12, 8) if MANY_REGISTERS else (6, 4)
FITTING = 14 if MANY_REGISTERS else MOST
"""Rows for which registers just suffice: the inner pixels of a row of 16, taken where nothing is left then."""
HEIGHTS = tuple(sorted({FITTING, MOST, HALF, 4, 3, 1}, reverse=True))
"""Rows of a product that are taken together."""
BLOCK = WIDEST // 2
HALF_BLOCK = max(8, BLOCK // 2)
LEAST = 8
WIDTHS = tuple(sorted({BLOCK, HALF_BLOCK, LEAST}))
"""Columns of a product, which are channels: a block makes two registers of float32; `LEAST` are for small layers."""
SHARING = 3
"""Rows that one pointer serves: processors add one and two times a distance for nothing. With a pointer for each row,
as LLVM would have it, there are too few registers."""
EVERYTHING = -math.inf
LATENCY, MOST_CHAINS = 8, 4
"""Sums that must be under way for the processor never to wait for one; few rows get there with several taps at once."""


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
    share: Any,  # noqa: ARG001
    least: Any,  # noqa: ARG001
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
    """c[row, column] = share start[row, column] + the sum over taps t and steps k of a[t, row, k] b[t, k, column].

    What is not above `least` becomes that: 0 makes a relu of it, in no pass of its own, `EVERYTHING` leaves all.
    Every array comes with the place where its part begins. From there, a's element is at a_taps[t] + row a_row +
    k a_step, b's at b_taps[t] + k b_step + column, those of start and c at row start_row or c_row + column. `rows` and
    `columns` are among `HEIGHTS` and `WIDTHS`. Without taps or steps c is share start.

    For numba: the types of the arguments, and what writes LLVM's code into the loops that call it.
    """
    integers = [types.intp] * 9
    signature = types.void(
        a, types.intp, b, types.intp, start, types.intp, c, types.intp, c.dtype, c.dtype, a_taps, b_taps, *integers
    )
    bits = c.dtype.bitwidth

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        def pointer(array: Any, place: int) -> Any:
            return context.make_array(array)(context, builder, given[place]).data

        places = ((a, 0), (b, 2), (start, 4), (c, 6))
        first = [builder.gep(pointer(array, place), [given[place + 1]]) for array, place in places]
        of_taps = pointer(a_taps, 10), pointer(b_taps, 11), given[12]
        steps, rows, columns, *strides = given[13:21]
        for width, height in itertools.product(WIDTHS, HEIGHTS):
            fits = ((columns, width), (rows, height))
            asked = [builder.icmp_signed("==", number, _integer(size)) for number, size in fits]
            with builder.if_then(builder.and_(*asked)):
                lanes = min(width, 8 * WIDEST // bits)
                for column in range(0, width, 2 * lanes):  # as many as there are registers for
                    here = [first[0], *(builder.gep(base, [_integer(column)]) for base in first[1:])]
                    vectors = min(2, (width - column) // lanes)
                    _in_registers(builder, here, given[8:10], of_taps, steps, strides, (height, vectors, lanes, bits))
        return context.get_dummy_value()

    return signature, build


product = cast(Callable[..., None], intrinsic(_product))


def _in_registers(
    builder: Any, first: Any, bounds: Any, of_taps: Any, steps: Any, strides: Any, shape: tuple[int, int, int, int]
) -> None:
    """LLVM's code of `product` for rows and columns that fit in registers: a loop over taps, in it one over steps."""
    a, b, start, c = first
    share, least = bounds
    a_taps, b_taps, taps = of_taps
    a_row, a_step, b_step, start_row, c_row = strides
    rows, vectors, lanes, bits = shape
    vector = _vector(bits, lanes)
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
    sums = [ir.Constant(vector, [0.0] * lanes)] * len(cells)
    chains = min(MOST_CHAINS, max(1, LATENCY // len(cells)))
    if chains > 1:
        groups = builder.udiv(taps, _integer(chains))
        several = over_taps(groups, _integer(0), chains, sums * chains)
        sums = several[: len(cells)]
        for chain in range(1, chains):
            others = several[chain * len(cells) : (chain + 1) * len(cells)]
            sums = [builder.fadd(total, other) for total, other in zip(sums, others, strict=True)]
        done = builder.mul(groups, _integer(chains))
        sums = over_taps(builder.sub(taps, done), done, 1, sums)
    else:
        sums = over_taps(taps, _integer(0), 1, sums)
    kept, floor = everywhere(share), everywhere(least)
    for (row, number), total in zip(cells, sums, strict=True):
        # read now, not first: all would have waited for what comes from farther away than the factors
        total = builder.call(multiply_add, [kept, load(place(start, row, start_row, number)), total])
        value = builder.select(builder.fcmp_ordered("<=", total, floor), floor, total)
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


def _vector(bits: int, lanes: int) -> Any:
    return ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), lanes)


def _vector_at(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any) -> Any:
    """A pointer to the numbers of an array from `at` on, as that vector."""
    base = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(base, [at]), vector.as_pointer())


@inlined
def columns_of(left: int) -> int:
    """How many of the columns left make the next block."""
    return BLOCK if left >= BLOCK else (HALF_BLOCK if left >= HALF_BLOCK else LEAST)


@inlined
def rows_alone(left: int) -> int:
    """How many of the rows left to take together, none of them twice."""
    if left in (FITTING, 2 * FITTING):
        return FITTING
    if left >= MOST and left != 2 * HALF:
        return MOST
    return HALF if left >= HALF else (4 if left >= 4 else (3 if left == 3 else 1))


@inlined
def rows_from(done: int, rows: int) -> tuple[int, int]:
    """How many rows to take together, and from where on: a few of them a second time rather than very few."""
    left = rows - done
    if left in (FITTING, 2 * FITTING):
        return FITTING, done
    if left >= MOST and not MOST < left <= 2 * HALF:
        return MOST, done
    size = HALF if left > 4 and rows >= HALF else (4 if rows >= 4 else (3 if left == 3 else 1))
    return size, min(done, rows - size)


def _move(
    typing: Any,  # noqa: ARG001
    a: Any,
    a_at: Any,  # noqa: ARG001
    count: Any,  # noqa: ARG001
    c: Any,
    c_at: Any,  # noqa: ARG001
) -> tuple[Any, Callable[..., Any]]:
    """c[n] = a[n] for n < count, which is among `WIDTHS`: a copy too short for a loop to be worth its while."""
    signature = types.void(a, types.intp, types.intp, c, types.intp)
    bits = c.dtype.bitwidth

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        def place(array: Any, position: int, column: int, vector: Any) -> Any:
            at = builder.add(given[position + 1], _integer(column))
            return _vector_at(context, builder, array, given[position], at, vector)

        for width in WIDTHS:
            with builder.if_then(builder.icmp_signed("==", given[2], _integer(width))):
                lanes = min(width, 8 * WIDEST // bits)
                vector = _vector(bits, lanes)
                for column in range(0, width, lanes):
                    found = builder.load(place(a, 0, column, vector))
                    found.align = bits // 8
                    builder.store(found, place(c, 3, column, vector)).align = bits // 8
        return context.get_dummy_value()

    return signature, build


move = cast(Callable[..., None], intrinsic(_move))


def _turn_square(
    typing: Any,  # noqa: ARG001
    a: Any,
    a_at: Any,  # noqa: ARG001
    a_row: Any,  # noqa: ARG001
    c: Any,
    c_at: Any,  # noqa: ARG001
    c_row: Any,  # noqa: ARG001
) -> tuple[Any, Callable[..., Any]]:
    """c[k, j] = a[j, k] for as many j and k as a register has numbers; rows are a_row and c_row apart.

    Halves of rows change places, then quarters, and so on: each time half of a register with half of another.
    """
    signature = types.void(a, types.intp, types.intp, c, types.intp, types.intp)
    bits = c.dtype.bitwidth
    lanes = 8 * WIDEST // bits

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        vector = _vector(bits, lanes)

        def place(array: Any, position: int, row: int) -> Any:
            at = builder.add(given[position + 1], builder.mul(_integer(row), given[position + 2]))
            return _vector_at(context, builder, array, given[position], at, vector)

        rows = []
        for row in range(lanes):
            found = builder.load(place(a, 0, row))
            found.align = bits // 8
            rows.append(found)
        distance = lanes // 2
        while distance:
            low = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
            high = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask) for mask in (low, high)]
            for row in range(lanes):
                if not row & distance:
                    pair = rows[row], rows[row + distance]
                    rows[row], rows[row + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            distance //= 2
        for row in range(lanes):
            builder.store(rows[row], place(c, 3, row)).align = bits // 8
        return context.get_dummy_value()

    return signature, build


_square = cast(Callable[..., None], intrinsic(_turn_square))


@inlined
def turn(a: Array, a_at: int, a_row: int, rows: int, columns: int, c: Array, c_at: int, c_row: int) -> None:
    """c[k, j] = a[j, k], j < rows, k < columns."""
    lanes = WIDEST // a.itemsize
    for j in range(0, rows - lanes + 1, lanes):
        for k in range(0, columns - lanes + 1, lanes):
            _square(a, a_at + j * a_row + k, a_row, c, c_at + k * c_row + j, c_row)
    whole = rows // lanes * lanes, columns // lanes * lanes
    for j in range(rows):
        for k in range(whole[1] if j < whole[0] else 0, columns):
            c[c_at + k * c_row + j] = a[a_at + j * a_row + k]
