"""The floor: how long the matrix products of the task take by themselves, at the net's own sizes, on one core.

Every product is timed in the library that is fastest at it, torch.mm (MKL), oneDNN or OpenBLAS, and nothing else is
counted: no activation, no data, no optimizer. All cores together are taken to be that many times as fast as one.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from contestants.nets import TEST, Product
from contestants.task import CORES, Contestant, Task
from refute.architectures import openblas

ONEDNN = bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
SAMPLES, LEAST_S = 9, 0.003


@dataclass(frozen=True)
class Ground:
    """Seconds of one core for one replica: a step's products, and those of evaluating the test examples."""

    step_s: float
    evaluation_s: float


@dataclass(frozen=True)
class _Size:
    """(rows, inner) times (inner, columns), `times` times a step; `matrices` > 0 of them in one batched call."""

    times: int
    matrices: int
    rows: int
    inner: int
    columns: int


def build(task: Task) -> Contestant:
    torch.set_num_threads(1)
    return Contestant(lambda _: measured(task))


def measured(task: Task) -> Ground:
    known: dict[_Size, float] = {}
    step = forward = 0.0
    for product in task.what.products:
        for place, size in enumerate(_sizes(product, task.batch)):
            if size not in known:
                known[size] = size.times * min(_seconds(way) for way in _ways(size))
            step += known[size]
            forward += known[size] if place == 0 else 0.0
    return Ground(step, forward * TEST / task.batch)


def rate(found: Ground, steps: int) -> float:
    """Replica-steps per second of all cores, evaluation included."""
    return CORES * steps / (steps * found.step_s + found.evaluation_s)


def _sizes(product: Product, batch: int) -> Iterator[_Size]:
    """Forward, gradient of the right matrix, gradient of the left one."""
    rows, inner, columns = product.rows, product.inner, product.columns
    if product.matrices:
        pairs = batch * product.matrices
        yield _Size(product.repeats, pairs, rows, inner, columns)
        yield _Size(product.repeats, pairs, inner, rows, columns)
        yield _Size(product.repeats, pairs, rows, columns, inner)
        return
    yield _Size(product.repeats, 0, batch * rows, inner, columns)
    yield _Size(1, 0, columns, batch * rows * product.repeats, inner)
    if not product.first:
        yield _Size(product.repeats, 0, batch * rows, columns, inner)


def _ways(size: _Size) -> list[Callable[[], object]]:
    if size.matrices:
        left = torch.randn(size.matrices, size.rows, size.inner)
        right = torch.randn(size.matrices, size.inner, size.columns)
        into = torch.empty(size.matrices, size.rows, size.columns)
        return [lambda: torch.bmm(left, right, out=into), *_openblas(left, right, into)]
    a, b, b_turned = (
        torch.randn(size.rows, size.inner), torch.randn(size.inner, size.columns), torch.randn(size.columns, size.inner)
    )  # fmt: skip
    c = torch.empty(size.rows, size.columns)
    ways: list[Callable[[], object]] = [lambda: torch.mm(a, b, out=c), lambda: torch.mm(a, b_turned.t(), out=c)]
    if ONEDNN:
        onednn = torch.ops.mkldnn._linear_pointwise
        ways.append(lambda: onednn(a, b_turned, None, "none", [], ""))
    ways += _openblas(a[None], b[None], c[None]) + _openblas(a[None], b_turned.t()[None], c[None])
    return ways


def _openblas(left: Tensor, right: Tensor, into: Tensor) -> list[Callable[[], object]]:
    """By refute's own call, where it has one."""
    return [lambda: openblas.multiply(left, right, into, keep=0)] if openblas.fits(left, right, into) else []


def _seconds(way: Callable[[], object]) -> float:
    """The median of some samples, each long enough for the clock: contestants have no best moments picked either."""
    for _ in range(2):
        started = time.perf_counter()
        way()
        once = time.perf_counter() - started
    calls = max(1, round(LEAST_S / max(once, 1e-7)))
    samples = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        for _ in range(calls):
            way()
        samples.append((time.perf_counter() - started) / calls)
    return statistics.median(samples)
