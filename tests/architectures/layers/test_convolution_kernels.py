"""The compiled convolutions against torch's, and what tells which pixels meet."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from other_processor import shorter_vectors, x86_with_shorter_vectors

from refute.architectures.layers import convolution_kernels as kernels
from refute.architectures.layers.axes import Axis, backward_axis, forward_axis
from refute.architectures.layers.kernels import Array
from refute.architectures.layers.small_products import HEIGHTS, LEAST, WIDTHS, rows_alone, rows_from

TOLERANCE = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 2e-5}


class Problem(NamedTuple):
    replicas: int
    examples: int
    height: int
    width: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    margin: int

    @property
    def form(self) -> tuple[int, int, int]:
        return self.kernel, self.stride, self.margin


class Found(NamedTuple):
    outputs: Array
    of_weights: Array
    of_inputs: Array


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    kernel, margin = draw(st.sampled_from([1, 2, 3, 5])), draw(st.integers(0, 3))
    least = max(1, kernel - 2 * margin)
    return Problem(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 30)),
        draw(st.integers(least, 16)),
        draw(st.integers(least, 30)),
        draw(st.sampled_from([8, 16, 24])),
        LEAST * draw(st.integers(1, 9)),
        kernel,
        draw(st.integers(1, 3)),
        margin,
    )


def drawn(problem: Problem, dtype: str) -> tuple[Array, Array, Array, Array]:
    """Inputs, weights, biases and the gradient of the outputs."""
    generator = np.random.default_rng(0)
    tall, wide = (len(forward_axis(side, *problem.form).counts) for side in (problem.height, problem.width))
    lead = problem.replicas, problem.examples
    shapes = (
        (*lead, problem.height, problem.width, problem.inputs),
        (problem.replicas, problem.outputs, problem.inputs, problem.kernel**2),
        (problem.replicas, problem.outputs),
        (*lead, tall, wide, problem.outputs),
    )
    inputs, weights, biases, gradient = (generator.standard_normal(shape).astype(dtype) for shape in shapes)
    return inputs, weights, biases, gradient


def ours(problem: Problem, inputs: Array, weights: Array, biases: Array, gradient: Array, *, keep: float = 0) -> Found:
    """What was in the place of the weights' gradient is 1."""
    shape = weights.shape
    first = np.empty((shape[0], shape[3], shape[2], shape[1]), weights.dtype)
    turned = np.empty((shape[0], shape[3], shape[1], shape[2]), weights.dtype)
    outputs, of_inputs = np.empty_like(gradient), np.empty_like(inputs)
    kernels.tap_first(weights, False, first)
    kernels.tap_first(weights, True, turned)
    sides = problem.height, problem.width
    kernels.run(inputs, first, biases, outputs, [forward_axis(side, *problem.form) for side in sides])
    start = np.zeros((shape[0], shape[2]), weights.dtype)
    kernels.run(gradient, turned, start, of_inputs, [backward_axis(side, *problem.form) for side in sides])
    found, of_weights = np.full_like(first, np.nan), np.ones_like(weights)
    kernels.gather(inputs, gradient, found, (problem.kernel,) * 2, (problem.stride,) * 2, problem.margin)
    kernels.tap_last(found, keep, of_weights)
    return Found(outputs, of_weights, of_inputs)


def by_torch(problem: Problem, inputs: Array, weights: Array, biases: Array, gradient: Array) -> Found:
    x = torch.from_numpy(inputs).permute(0, 1, 4, 2, 3).requires_grad_()
    w = torch.from_numpy(weights).unflatten(3, (problem.kernel, problem.kernel)).requires_grad_()
    maps = [
        torch.nn.functional.conv2d(a, b, torch.from_numpy(c), stride=problem.stride, padding=problem.margin)
        for a, b, c in zip(x, w, biases, strict=True)
    ]
    outputs = torch.stack(maps)
    of_inputs, of_weights = torch.autograd.grad(outputs, (x, w), torch.from_numpy(gradient).permute(0, 1, 4, 2, 3))
    last = (each.permute(0, 1, 3, 4, 2).numpy() for each in (outputs.detach(), of_inputs))
    found, passed = last
    return Found(found, of_weights.flatten(3).numpy(), passed)


def apart(found: Array, wanted: Array) -> float:
    return float(np.abs(found - wanted).max(initial=0) / max(1, np.abs(wanted).max(initial=0)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_outputs_and_gradients_are_those_of_torch(problem: Problem, dtype: str) -> None:
    given_arrays = drawn(problem, dtype)
    for found, wanted in zip(ours(problem, *given_arrays), by_torch(problem, *given_arrays), strict=True):
        assert apart(found, wanted) < TOLERANCE[found.dtype]


@settings(max_examples=30, deadline=None)
@given(problem=problems(), replica=st.integers(0, 2))
def test_packing_replicas_differently_changes_no_bit(problem: Problem, replica: int) -> None:
    whole = drawn(problem._replace(replicas=3), "float32")
    together = ours(problem._replace(replicas=3), *whole)
    own = slice(replica, replica + 1)
    alone = ours(problem._replace(replicas=1), *(each[own] for each in whole))
    for among, single in zip(together, alone, strict=True):
        assert np.array_equal(among[own], single)


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_gradients_of_weights_go_on_top_of_what_is_kept(keep: float) -> None:
    problem = Problem(2, 5, 6, 6, 8, 16, 3, 1, 1)
    given_arrays = drawn(problem, "float64")
    alone, found = ours(problem, *given_arrays).of_weights, ours(problem, *given_arrays, keep=keep).of_weights
    assert apart(found, alone + keep) < 1e-12


def test_what_was_there_counts_for_nothing_if_nothing_is_kept() -> None:
    target = np.full((1, 2, 3, 4), np.nan)
    kernels.tap_last(np.ones((1, 4, 3, 2)), 0.0, target)
    assert np.array_equal(target, np.ones_like(target))


@pytest.mark.parametrize("inputs", [1, 3, 5])
def test_few_channels_come_in(inputs: int) -> None:
    problem = Problem(2, 7, 9, 13, inputs, 24, 3, 1, 1)
    given_arrays = drawn(problem, "float64")
    tall = forward_axis(9, 3, 1, 1)
    assert len(tall.counts) == 9
    weights = given_arrays[1]
    first = np.empty((2, 9, inputs, 24))
    kernels.tap_first(weights, False, first)
    outputs = np.empty_like(given_arrays[3])
    kernels.run(given_arrays[0], first, given_arrays[2], outputs, [tall, forward_axis(13, 3, 1, 1)])
    found, of_weights = np.empty_like(first), np.empty_like(weights)
    kernels.gather(given_arrays[0], given_arrays[3], found, (3, 3), (1, 1), 1)
    kernels.tap_last(found, 0.0, of_weights)
    wanted = by_torch(problem, *given_arrays)
    assert apart(outputs, wanted.outputs) < 1e-12
    assert apart(of_weights, wanted.of_weights) < 1e-12


def test_one_that_is_not_a_number_stays_where_it_is() -> None:
    problem = Problem(2, 14, 16, 16, 8, 8, 3, 1, 1)
    inputs, weights, biases, gradient = drawn(problem, "float32")
    inputs[1, 3, 7, 7, 2] = np.nan
    found = ours(problem, inputs, weights, biases, gradient)
    bad = np.isnan(found.outputs).any(axis=-1)
    assert bad.sum() == 9
    assert bad[1, 3, 6:9, 6:9].all()
    assert not np.isnan(found.of_weights[0]).any()
    assert np.isnan(found.of_weights[1, :, 2]).all()


@settings(max_examples=100, deadline=None)
@given(size=st.integers(1, 40), kernel=st.integers(1, 7), stride=st.integers(1, 4), margin=st.integers(0, 5))
def test_axes_say_who_meets(size: int, kernel: int, stride: int, margin: int) -> None:
    if size + 2 * margin < kernel:
        return
    forward, backward = forward_axis(size, kernel, stride, margin), backward_axis(size, kernel, stride, margin)
    pairs = met(forward)
    assert pairs == {
        (y, k, y * stride + k - margin)
        for y in range(len(forward.counts))
        for k in range(kernel)
        if 0 <= y * stride + k - margin < size
    }
    assert {(y, kernel - 1 - k, x) for x, k, y in met(backward)} == pairs
    for axis in (forward, backward):
        covered = [first + step * n for first, step, number in axis.runs.tolist() for n in range(number)]
        assert sorted(covered) == list(range(len(axis.counts)))


def met(axis: Axis) -> set[tuple[int, int, int]]:
    """Pixel, tap and the pixel read, by the runs: all pixels of one read what the first does, moved on."""
    return {
        (first + step * n, int(k), int(y) + axis.reading * n)
        for first, step, number in axis.runs.tolist()
        for n in range(number)
        for k, y in axis.taps[first, : axis.counts[first]]
    }


@pytest.mark.parametrize("rows", range(1, 60))
def test_all_rows_are_taken_and_none_beyond(rows: int) -> None:
    taken: list[int] = []
    done = 0
    while done < rows:
        size, first = rows_from(done, rows)
        assert size in HEIGHTS
        assert first <= done < first + size <= rows
        taken += range(first, first + size)
        done = first + size
    assert set(taken) == set(range(rows))
    left = rows
    while left:
        assert rows_alone(left) in HEIGHTS
        left -= rows_alone(left)
    assert left == 0
    assert set(WIDTHS) >= {LEAST}


OTHER_PROCESSOR = """
import test_convolution_kernels as tests
for problem in (
    tests.Problem(2, 13, 4, 4, 16, 32, 3, 1, 1),
    tests.Problem(1, 5, 9, 16, 8, 24, 3, 2, 1),
    tests.Problem(1, 3, 7, 30, 8, 8, 5, 1, 0),
):
    given = tests.drawn(problem, "float32")
    for found, wanted in zip(tests.ours(problem, *given), tests.by_torch(problem, *given), strict=True):
        assert tests.apart(found, wanted) < 2e-5, problem
"""


@x86_with_shorter_vectors
def test_processors_with_shorter_vectors(tmp_path: Path, name: str, features: list[str], width: int) -> None:
    assert shorter_vectors(OTHER_PROCESSOR, Path(__file__).parent, tmp_path, name, features) == width
