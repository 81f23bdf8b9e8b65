"""Products of larger matrices, made of those of `small_products`, for the compiled loops that call them.

Arrays have one axis and are contiguous, rows of a matrix together. A matrix may lie in panels instead: the columns that
one small product reads by themselves, panel after panel. `here` is where the only tap of a small product is: an array
of one 0, because one made for every product would take a good part of its time.
"""

import numpy as np

from refute.architectures.layers.axes import Integers
from refute.architectures.layers.kernels import Array, inlined
from refute.architectures.layers.small_products import (
    EVERYTHING,
    LEAST,
    MOST,
    columns_of,
    move,
    product,
    rows_alone,
    turn,
)

NEAR = 2**17
"""Numbers of a matrix that are gone through again and again while they are in cache."""
LINE = 64
"""Bytes of a line of the cache: a vector that begins elsewhere may take two of them."""


@inlined
def aligned(size: int, like: Array) -> Array:
    """Room for so many numbers of the kind of `like`, at the beginning of a line."""
    found = np.empty(size + LINE // like.itemsize, like.dtype)
    first = -found.ctypes.data % LINE // like.itemsize
    return found[first : first + size]


@inlined
def rows_near(rows: int, columns: int) -> int:
    """How many rows of a matrix to go through at a time, about as many each time; at least `MOST`."""
    times = max(1, (rows * columns + NEAR - 1) // NEAR)
    equal = max(1, (rows + times - 1) // times)
    return equal + -equal % MOST


@inlined
def by_rows(
    a: Array, a_at: int, a_row: int, a_step: int, b: Array, b_row: int, start: Array, start_at: int, start_row: int,
    share: float, least: float, c: Array, c_at: int, here: Integers, rows: int, columns: int, steps: int,
) -> None:  # fmt: skip
    """c[m, n] = share start[m, n] + the sum over k of a[m, k] b[k, n]; c has as many columns in memory.

    `b_row`: numbers from one row of b to the next, 0 if it lies in panels. `here`: where the only tap is, 0.
    """
    m = 0
    while m < rows:
        tall, n = rows_alone(rows - m), 0
        while n < columns:
            wide, at = columns_of(columns - n), c_at + m * columns + n
            b_first, b_next = _first_and_next(n, b_row, steps, wide)
            product(
                a, a_at + m * a_row, b, b_first, start, start_at + m * start_row + n, c, at, share, least,
                here, here, 1, steps, tall, wide, a_row, a_step, b_next, start_row, columns,
            )  # fmt: skip
            n += wide
        m += tall


@inlined
def by_columns(
    a: Array, a_row: int, b: Array, b_at: int, b_row: int, panel: Array, start: Array, start_at: int, least: float,
    c: Array, here: Integers, rows: int, columns: int, steps: int,
) -> None:  # fmt: skip
    """c[m, n] = start[n] + the sum over k of a[m, k] b[k, n], in the other order: b is read once, a again and again.

    That is, once for as many rows of a as stay in cache. Into `panel`, if it is not empty, the columns of b that a
    product reads are copied first.
    """
    one, part = c.dtype.type(1), rows_near(rows, a_row)
    for first in range(0, rows, part):
        last, n = min(rows, first + part), 0
        while n < columns:
            wide, m = columns_of(columns - n), first
            if len(panel):
                _move_columns(b, b_at + n, b_row, steps, wide, panel, 0)
                read, read_at, b_first, b_next = panel, 0, 0, wide
            else:
                read, read_at = b, b_at
                b_first, b_next = _first_and_next(n, b_row, steps, wide)
            while m < last:
                tall = rows_alone(last - m)
                product(
                    a, m * a_row, read, read_at + b_first, start, start_at + n, c, m * columns + n, one, least,
                    here, here, 1, steps, tall, wide, a_row, 1, b_next, 0, columns,
                )  # fmt: skip
                m += tall
            n += wide


@inlined
def sum_of_rows(
    a: Array, one: Array, rows: int, columns: int, share: float, start: Array, start_at: int, c: Array, c_at: int,
    here: Integers,
) -> None:  # fmt: skip
    """c[n] = share start[n] + the sum over m of a[m, n]: a product with `one`, [1], which keeps sums in registers."""
    if columns % LEAST == 0:
        n = 0
        while n < columns:
            wide = columns_of(columns - n)
            product(
                one, 0, a, n, start, start_at + n, c, c_at + n, share, one.dtype.type(EVERYTHING),
                here, here, 1, rows, 1, wide, 0, 0, columns, 0, 0,
            )  # fmt: skip
            n += wide
    else:
        total = c[c_at : c_at + columns]
        for n in range(columns):
            total[n] = share * start[start_at + n]
        for m in range(rows):
            line = a[m * columns : (m + 1) * columns]
            for n in range(columns):
                total[n] += line[n]


@inlined
def pack(a: Array, columns: int, rows: int, panels: Array) -> None:
    """The matrix a in panels."""
    n = 0
    while n < columns:
        wide = columns_of(columns - n)
        _move_columns(a, n, columns, rows, wide, panels, n * rows)
        n += wide


@inlined
def in_panels(weights: Array, first: int, reads: int, writes: int, panels: Array, panels_at: int) -> None:
    """Weights (output, input) turned and in panels.

    There are as many columns as the next multiple of `LEAST`; those beyond `writes` are left as they are.
    """
    columns, n = writes + -writes % LEAST, 0
    while n < columns:
        wide = columns_of(columns - n)
        turn(weights, first + n * reads, reads, min(wide, writes - n), reads, panels, panels_at + n * reads, wide)
        n += wide


@inlined
def _first_and_next(n: int, row: int, rows: int, wide: int) -> tuple[int, int]:
    """Where `wide` columns from n on begin, and how far their rows are apart: `row`, or 0 for a matrix in panels."""
    return (n, row) if row else (n * rows, wide)


@inlined
def _move_columns(a: Array, a_at: int, a_row: int, rows: int, wide: int, panels: Array, at: int) -> None:
    for k in range(rows):
        move(a, a_at + k * a_row, wide, panels, at + k * wide)
