"""Products made of small ones, against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.architectures.layers.kernels import Array, contracted
from refute.architectures.layers.lstm_kernels import sigmoid, tanh
from refute.architectures.layers.small_products import BLOCK, EVERYTHING, LEAST, MOST
from refute.architectures.layers.tiled_products import (
    NEAR,
    by_columns,
    by_rows,
    in_panels,
    pack,
    rows_near,
    sum_of_rows,
)

HERE = np.zeros(1, np.int64)
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}

sizes = st.integers(1, 40)
columns = st.integers(1, 9).map(lambda count: LEAST * count)
kinds = st.sampled_from([np.float64, np.float32])
shares = st.sampled_from([0.0, 1.0, 0.9])


@contracted
def _by_rows(a: Array, b: Array, packs: bool, start: Array, share: float, least: float, c: Array, shape: Array) -> None:
    rows, columns, steps = shape
    panels = np.empty(len(b), b.dtype)
    pack(b, columns, steps, panels)
    given, b_row = (panels, 0) if packs else (b, columns)
    by_rows(a, 0, 1, rows, given, b_row, start, 0, columns, share, least, c, 0, HERE, rows, columns, steps)


@contracted
def _by_columns(a: Array, b: Array, packs: int, start: Array, least: float, c: Array, shape: Array) -> None:
    rows, columns, steps = shape
    panels, panel = np.empty(len(b), b.dtype), np.empty(steps * BLOCK, b.dtype)
    pack(b, columns, steps, panels)
    if packs == 0:
        by_columns(a, steps, b, 0, columns, panel[:0], start, 0, least, c, HERE, rows, columns, steps)
    elif packs == 1:
        by_columns(a, steps, b, 0, columns, panel, start, 0, least, c, HERE, rows, columns, steps)
    else:
        by_columns(a, steps, panels, 0, 0, panel[:0], start, 0, least, c, HERE, rows, columns, steps)


@contracted
def _by_panels(a: Array, weights: Array, start: Array, c: Array, shape: Array) -> None:
    rows, columns, steps = shape
    panels = np.zeros(steps * (columns + LEAST), a.dtype)
    in_panels(weights, 0, steps, columns, panels, 0)
    nothing, everything = np.empty(0, a.dtype), a.dtype.type(EVERYTHING)
    by_columns(a, steps, panels, 0, 0, nothing, start, 0, everything, c, HERE, rows, columns, steps)


@contracted
def _sum(a: Array, one: Array, share: float, start: Array, c: Array, shape: Array) -> None:
    sum_of_rows(a, one, shape[0], shape[1], share, start, 0, c, 0, HERE)


@contracted
def _functions(x: Array, of_tanh: Array, of_sigmoid: Array) -> None:
    for at in range(len(x)):
        of_tanh[at] = tanh(x[at])
    for at in range(len(x)):
        of_sigmoid[at] = sigmoid(x[at])


def drawn(*shape: int, kind: type) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(kind)


def close(found: Array, expected: Array) -> bool:
    return bool(np.allclose(found, expected.ravel(), rtol=0, atol=TOLERANCE[found.dtype.type]))


@settings(max_examples=40, deadline=None)
@given(sizes, columns, sizes, st.booleans(), shares, st.booleans(), kinds)
def test_by_rows(rows: int, width: int, steps: int, packs: bool, share: float, rectify: bool, kind: type) -> None:
    a, b, start = drawn(steps, rows, kind=kind), drawn(steps, width, kind=kind), drawn(rows, width, kind=kind)
    found, least = np.empty(rows * width, kind), kind(0 if rectify else EVERYTHING)
    shape = np.array([rows, width, steps])
    _by_rows(a.ravel(), b.ravel(), packs, start.ravel(), kind(share), least, found, shape)
    assert close(found, np.maximum(kind(share) * start + a.T @ b, least))


@settings(max_examples=40, deadline=None)
@given(sizes, columns, sizes, st.integers(0, 2), st.booleans(), kinds)
def test_by_columns(rows: int, width: int, steps: int, packs: int, rectify: bool, kind: type) -> None:
    a, b, start = drawn(rows, steps, kind=kind), drawn(steps, width, kind=kind), drawn(width, kind=kind)
    found, least = np.empty(rows * width, kind), kind(0 if rectify else EVERYTHING)
    _by_columns(a.ravel(), b.ravel(), packs, start, least, found, np.array([rows, width, steps]))
    assert close(found, np.maximum(start + a @ b, least))


@pytest.mark.parametrize("packs", [0, 1, 2])
def test_more_rows_than_stay_in_cache(packs: int) -> None:
    steps = 200
    rows, width = 2 * NEAR // steps + 1, BLOCK + LEAST
    a, b, start = drawn(rows, steps, kind=np.float64), drawn(steps, width, kind=np.float64), np.ones(width)
    found = np.empty(rows * width)
    _by_columns(a.ravel(), b.ravel(), packs, start, EVERYTHING, found, np.array([rows, width, steps]))
    assert close(found, start + a @ b)


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_rows_are_taken_in_about_equal_parts_that_stay_in_cache(rows: int, width: int) -> None:
    part = rows_near.py_func(rows, width)
    assert part % MOST == 0
    assert (part - MOST) * width <= NEAR
    assert part * -(-rows // part) < rows + part  # no part is empty
    assert rows * width > NEAR or part >= rows


@settings(max_examples=30, deadline=None)
@given(sizes, columns, sizes, kinds)
def test_weights_are_turned_into_panels(rows: int, width: int, steps: int, kind: type) -> None:
    a, weights, start = drawn(rows, steps, kind=kind), drawn(width, steps, kind=kind), drawn(width, kind=kind)
    found = np.empty(rows * width, kind)
    _by_panels(a.ravel(), weights.ravel(), start, found, np.array([rows, width, steps]))
    assert close(found, start + a @ weights.T)


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(1, 70), shares, kinds)
def test_sums_of_rows(rows: int, width: int, share: float, kind: type) -> None:
    a, start, found = drawn(rows, width, kind=kind), drawn(width, kind=kind), np.empty(width, kind)
    _sum(a.ravel(), np.ones(1, kind), kind(share), start, found, np.array([rows, width]))
    assert close(found, kind(share) * start + a.sum(0))


def test_a_relu_lets_through_what_is_not_a_number() -> None:
    a, found = np.array([np.nan, 1, -1, np.inf], np.float32), np.empty(4 * LEAST, np.float32)
    _by_columns(
        a, np.ones(LEAST, np.float32), 0, np.zeros(LEAST, np.float32), np.float32(0), found, np.array([4, 8, 1])
    )
    expected = np.repeat(np.array([np.nan, 1, 0, np.inf], np.float32), LEAST)
    assert np.array_equal(found, expected, equal_nan=True)


def test_functions_of_gates_are_exact_to_a_few_units_of_the_last_place() -> None:
    x = np.concatenate([np.linspace(-30, 30, 200_001), np.geomspace(1e-30, 1, 1_000), [np.inf, -np.inf, 0]])
    x = x.astype(np.float32)
    of_tanh, of_sigmoid = np.empty_like(x), np.empty_like(x)
    _functions(x, of_tanh, of_sigmoid)
    exact = np.tanh(x.astype(np.float64))
    assert np.abs(of_tanh - exact).max() < 4e-7
    assert np.abs(of_tanh[exact != 0] / exact[exact != 0] - 1).max() < 5e-7
    assert np.abs(of_tanh).max() <= 1
    assert np.abs(of_sigmoid - 0.5 * (1 + np.tanh(x.astype(np.float64) / 2))).max() < 3e-7


@pytest.mark.parametrize("function", [0, 1])
def test_functions_of_gates_let_through_what_is_not_a_number(function: int) -> None:
    found = np.zeros(17, np.float32), np.zeros(17, np.float32)
    _functions(np.full(17, np.nan, np.float32), *found)
    assert np.isnan(found[function]).all()
