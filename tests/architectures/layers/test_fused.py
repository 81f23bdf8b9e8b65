"""Layers taken together against the same layers one after another: numbers, ties, bad numbers, bits."""

from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.layers import Activation, BatchNorm, Dense, Fused, Layer, MaxPool, Renamed, fused, kernels
from refute.architectures.layers.arrays import LONG, rows_of
from refute.architectures.layers.fused import takes

CHANNELS = 3
RELU = Activation("relu")


def names(layers: list[Layer]) -> list[list[str]]:
    return [[type(part).__name__ for part in getattr(layer, "parts", (layer,))] for layer in layers]


def test_what_is_taken_together() -> None:
    norm, pool, tanh = BatchNorm("norm", CHANNELS), MaxPool(2), Activation("tanh")
    seen = Renamed(norm, (("norm.gamma", "weight"),))
    assert names(fused([norm, RELU, pool, RELU])) == [["BatchNorm", "MaxPool", "Activation"], ["Activation"]]
    assert names(fused([seen, RELU])) == [["Renamed", "Activation"]]
    assert names(fused([norm, tanh, pool, RELU])) == [["BatchNorm"], ["Activation"], ["MaxPool", "Activation"]]
    assert names(fused([RELU, MaxPool(3), Dense("d", 2, 2)])) == [["MaxPool"], ["Activation"], ["Dense"]]
    assert fused([]) == []
    assert fused([RELU]) == [RELU]


def weights_of(norm: BatchNorm, replicas: int, dtype: torch.dtype) -> Weights:
    """Scales of any sign, one of them 0; some statistics."""
    generator = torch.Generator().manual_seed(replicas)
    slots = norm.slots()
    channels = norm.channels
    flat = torch.randn(replicas, 2 * channels if norm.affine else 0, generator=generator).to(dtype)
    if norm.affine:
        flat[:, 0] = 0
    mean, variance = torch.randn(replicas, channels, generator=generator), torch.rand(replicas, channels)
    return Weights(slots, flat, {"norm.running_mean": mean.to(dtype), "norm.running_variance": variance.to(dtype)})


def expected(parts: tuple[Layer, ...], weights: Weights, inputs: Tensor, of_outputs: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and gradients of inputs and weights, by autograd of the parts one after another."""
    x, flat = inputs.clone().requires_grad_(), weights.flat.clone().requires_grad_()
    own = Weights(weights.slots, flat, weights.buffers)
    y = x
    for part in parts:
        y = part.apply(y, own, True)
    found = torch.autograd.grad(y, (x, flat), of_outputs[..., : y.shape[-2], : y.shape[-1]], allow_unused=True)
    return y.detach(), found[0], torch.zeros_like(flat) if found[1] is None else found[1]


@st.composite
def problems(draw: st.DrawFn) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    """Parts that are taken together, and a shape of inputs (replica, batch, channel, height, width)."""
    norm = draw(st.sampled_from([None, BatchNorm("norm", CHANNELS), BatchNorm("norm", CHANNELS, affine=False)]))
    pool = MaxPool(2, ceil=draw(st.booleans())) if norm is None or draw(st.booleans()) else None
    relu = RELU if draw(st.booleans()) else None
    side = st.integers(2, 9)
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 5)), CHANNELS, draw(side), draw(side)
    return tuple(part for part in (norm, pool, relu) if part is not None), shape


@given(problems(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_numbers_are_those_of_the_layers_one_after_another(
    problem: tuple[tuple[Layer, ...], tuple[int, ...]], together: bool
) -> None:
    parts, shape = problem
    (layer,) = fused(parts)
    generator = torch.Generator().manual_seed(sum(shape))
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    if together:  # in the order of memory that convolutions give
        inputs = inputs.permute(1, 3, 4, 0, 2).contiguous().permute(3, 0, 4, 1, 2)
    of_outputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    norm = parts[0] if isinstance(parts[0], BatchNorm) else BatchNorm("norm", CHANNELS)
    theirs = weights_of(norm, shape[0], torch.float64)
    ours, gradient = theirs.clone(), torch.full_like(theirs.flat, 0.5)
    outputs, of_inputs, of_weights = expected(parts, theirs, inputs, of_outputs)
    with torch.no_grad():
        step = layer.bind(ours, Weights(ours.slots, gradient), wanted=True, spare=False)
        found = step.forward(inputs)
        passed = step.backward(of_outputs[..., : found.shape[-2], : found.shape[-1]].clone(), keep=0.5)
    assert passed is not None
    assert torch.allclose(found, outputs, atol=1e-9)
    assert torch.allclose(passed, of_inputs, atol=1e-9)
    if parts[0] is norm:
        assert torch.allclose(gradient, 0.25 + of_weights, atol=1e-9)
    for name, buffer in theirs.buffers.items():
        assert torch.allclose(ours.buffers[name], buffer, atol=1e-9), name
    one_by_one = inputs
    for part in parts:
        one_by_one = part.apply(one_by_one, ours, False)
    with torch.no_grad():
        assert torch.allclose(layer.apply(inputs, ours, False), one_by_one, atol=1e-9)


@pytest.mark.parametrize("relu", [True, False])
def test_features_without_images(relu: bool) -> None:
    parts = (BatchNorm("norm", 6), *([RELU] if relu else []))
    theirs = weights_of(parts[0], 3, torch.float64)
    ours, gradient = theirs.clone(), torch.zeros_like(theirs.flat)
    inputs, of_outputs = torch.randn(2, 3, 10, 6, dtype=torch.float64)
    outputs, of_inputs, of_weights = expected(parts, theirs, inputs, of_outputs)
    with torch.no_grad():
        step = fused(parts)[0].bind(ours, Weights(ours.slots, gradient), wanted=True, spare=False)
        assert torch.allclose(step.forward(inputs), outputs, atol=1e-10)
        passed = step.backward(of_outputs.clone(), keep=0)
    assert passed is not None
    assert torch.allclose(passed, of_inputs, atol=1e-10)
    assert torch.allclose(gradient, of_weights, atol=1e-10)


@pytest.mark.parametrize(
    "parts",
    [
        (MaxPool(2),),
        (MaxPool(2), RELU),
        (BatchNorm("norm", CHANNELS), RELU),
        (BatchNorm("norm", CHANNELS), MaxPool(2), RELU),
    ],
)
@pytest.mark.parametrize("side", [2, 6, 7])
@torch.no_grad()
def test_packing_changes_no_bit(parts: tuple[Layer, ...], side: int) -> None:
    replicas = 5
    whole = weights_of(BatchNorm("norm", CHANNELS), replicas, torch.float32)
    inputs, of_outputs = torch.randn(replicas, 4, CHANNELS, side, side), torch.randn(replicas, 4, CHANNELS, side, side)

    def run(part: slice) -> list[Tensor]:
        weights = whole.take(part).clone()
        gradient = torch.zeros_like(weights.flat)
        step = fused(parts)[0].bind(weights, Weights(weights.slots, gradient), wanted=True, spare=False)
        outputs = step.forward(inputs[part]).clone()
        passed = step.backward(of_outputs[part][..., : outputs.shape[-2], : outputs.shape[-1]].clone(), keep=0)
        assert passed is not None
        return [outputs, passed.clone(), gradient, *weights.buffers.values()]

    together = run(slice(0, replicas))
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        for one, all_of_them in zip(run(part), together, strict=True):
            assert torch.equal(one, all_of_them[part])


@pytest.mark.parametrize("relu", [True, False])
def test_the_first_of_equals_gets_the_gradient_and_bad_numbers_go_through(relu: bool) -> None:
    parts = (MaxPool(2), RELU) if relu else (MaxPool(2),)
    images = torch.tensor([[1.0, 1, 0, 2], [1, 1, 3, 3], [0, -1, 5, torch.nan], [0, 0, 1, 7]]).view(1, 1, 1, 4, 4)
    images = torch.cat([images, torch.full_like(images, -torch.inf)], dim=1)
    of_outputs = torch.arange(1.0, 9).view(1, 2, 1, 2, 2)
    outputs, of_inputs, _ = expected(parts, weights_of(BatchNorm("norm", 1), 1, torch.float32), images, of_outputs)
    with torch.no_grad():
        step = fused(parts)[0].bind({}, {}, wanted=True, spare=False)
        found = step.forward(images)
        passed = step.backward(of_outputs.clone(), keep=0)
    assert passed is not None
    assert torch.equal(found.nan_to_num(99), outputs.nan_to_num(99))
    assert found.isnan().sum() == 1
    assert torch.equal(passed, of_inputs)


def test_a_replica_that_diverges_does_so_alone_and_silently() -> None:
    parts = BatchNorm("norm", CHANNELS), MaxPool(2), RELU
    weights = weights_of(BatchNorm("norm", CHANNELS), 2, torch.float32)
    gradient = torch.zeros_like(weights.flat)
    inputs = torch.randn(2, 4, CHANNELS, 6, 6)
    inputs[0] = torch.inf
    with torch.no_grad():
        step = fused(parts)[0].bind(weights, Weights(weights.slots, gradient), wanted=True, spare=False)
        outputs = step.forward(inputs)
        passed = step.backward(torch.ones_like(outputs), keep=0)
    assert passed is not None
    assert outputs[0].isnan().all()
    assert outputs[1].isfinite().all()
    assert passed[1].isfinite().all()
    assert gradient[1].isfinite().all()
    assert not weights.finite().all() or not weights.buffers["norm.running_mean"][0].isfinite().any()


def test_moments_far_from_zero_keep_their_digits() -> None:
    """A mean of 1,000 deviations: the sum of squares alone would lose all digits of the variance in float32."""
    weights = weights_of(BatchNorm("norm", CHANNELS, affine=False), 1, torch.float32)
    inputs = 1000 + torch.randn(1, 16, CHANNELS, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        step = fused([BatchNorm("norm", CHANNELS, affine=False)])[0].bind(weights, {}, wanted=False, spare=False)
        found = step.forward(inputs.float())
    assert found.var(dim=(1, 3, 4), unbiased=False).sub(1).abs().max() < 1e-3
    assert found.mean(dim=(1, 3, 4)).abs().max() < 1e-3


def test_gradients_that_cannot_be_overwritten_are_copied() -> None:
    weights = weights_of(BatchNorm("norm", CHANNELS), 2, torch.float32)
    gradient = torch.zeros_like(weights.flat)
    of_outputs = torch.ones(1, 1, 1, 1, 1).expand(2, 4, CHANNELS, 6, 6)
    with torch.no_grad():
        step = fused([BatchNorm("norm", CHANNELS), RELU])[0].bind(
            weights, Weights(weights.slots, gradient), wanted=True, spare=False
        )
        step.forward(torch.randn(2, 4, CHANNELS, 6, 6))
        step.backward(of_outputs, keep=0)
    assert torch.equal(of_outputs, torch.ones_like(of_outputs))


def test_what_autograd_must_see_stays_visible() -> None:
    network = Network("net", (BatchNorm("norm", 4), RELU, Dense("d", 4, 2)), (4,), 2)
    weights = network.initialize([0, 1])
    x = torch.randn(2, 5, 4, requires_grad=True)
    (found,) = torch.autograd.grad(network(weights, x).sum(), x)
    assert found.abs().sum() > 0


def test_other_types_and_devices_go_another_way() -> None:
    assert takes(
        {"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.float64), "c": torch.zeros(2, dtype=torch.int64)}
    )
    assert not takes({"a": torch.zeros(2, device="meta")})
    assert not takes({"a": torch.zeros(2, dtype=torch.bfloat16)})
    images = torch.randn(1, 2, CHANNELS, 4, 4, dtype=torch.bfloat16)
    with torch.no_grad():
        assert Fused(pool=MaxPool(2)).apply(images, {}, False).dtype == torch.bfloat16


@pytest.mark.parametrize("channels", [1, 5, 16, 300])
def test_rows_are_as_long_for_any_number_of_replicas(channels: int) -> None:
    pixels = {rows_of(np.empty((replicas, 3, 6, 6, channels))).shape[2] // channels for replicas in (1, 2, 7)}
    assert len(pixels) == 1
    assert pixels == {1} or max(pixels) * channels <= LONG


def test_kernels_work_where_nothing_can_be_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(*functions: object, **options: object) -> object:  # numba decorates its own with it when it first compiles
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*functions, **options)

    monkeypatch.setattr(numba, "njit", njit)
    fold = kernels.compiled(kernels.fold.py_func)
    sums = np.empty(2)
    fold(np.arange(6.0), sums)
    assert sums.tolist() == [0 + 2 + 4, 1 + 3 + 5]


def test_kernels_are_kept_on_disk() -> None:
    kernels.fold(np.arange(6.0), np.empty(2))
    assert Path(kernels.fold.stats.cache_path).is_dir()
