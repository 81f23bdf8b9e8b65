"""A first convolution taken together with the maximum behind it against the layers one after another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from refute.architectures import Network, Weights
from refute.architectures.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Flatten,
    Layer,
    MaxPool,
    Renamed,
    Stem,
    fused,
    stemmed,
)
from refute.architectures.layers.stem_kernels import LANES

RELU = Activation("relu")
CONVOLUTION = Convolution("conv", 1, LANES)
NORM = BatchNorm("norm", LANES)
PARTS: tuple[tuple[Layer, ...], ...] = (
    (CONVOLUTION, MaxPool()),
    (CONVOLUTION, MaxPool(), RELU),
    (Convolution("conv", 1, 2 * LANES, bias=False), MaxPool()),
    (CONVOLUTION, NORM, MaxPool(), RELU),
    (CONVOLUTION, NORM, MaxPool()),
    (Convolution("conv", 1, LANES, bias=False), BatchNorm("norm", LANES, affine=False), MaxPool(), RELU),
)


def stem_of(parts: tuple[Layer, ...]) -> Stem:
    (layer,) = stemmed(fused(parts))
    assert isinstance(layer, Stem)
    return layer


def kinds(layers: tuple[Layer, ...]) -> list[str]:
    return [type(layer).__name__ for layer in stemmed(fused(layers))]


def test_what_is_taken_together() -> None:
    seen = Renamed(CONVOLUTION, (("conv.weight", "0.weight"), ("conv.bias", "0.bias")))
    assert kinds((CONVOLUTION, RELU, MaxPool(), Flatten())) == ["Stem", "Flatten"]
    assert kinds((CONVOLUTION, NORM, RELU, MaxPool())) == ["Stem"]
    assert kinds((seen, NORM, RELU, MaxPool())) == ["Stem"]
    assert kinds((CONVOLUTION, NORM, RELU, CONVOLUTION)) == ["Convolution", "Fused", "Convolution"]
    assert kinds((CONVOLUTION, RELU, MaxPool(3))) == ["Convolution", "MaxPool", "Activation"]
    assert kinds((CONVOLUTION,)) == ["Convolution"]
    for other in (
        Convolution("conv", 2, LANES),
        Convolution("conv", 1, LANES + 1),
        Convolution("conv", 1, LANES, size=5),
        Convolution("conv", 1, LANES, stride=2),
        Convolution("conv", 1, LANES, padding=0),
    ):
        assert kinds((other, RELU, MaxPool())) == ["Convolution", "Fused"]


def weights_of(parts: tuple[Layer, ...], replicas: int, dtype: torch.dtype) -> Weights:
    """All numbers drawn, so that scales have any sign; one of them 0."""
    generator = torch.Generator().manual_seed(replicas)
    network = Network("net", parts, (1, 4, 4), 1)
    weights = network.initialize(range(replicas))
    flat = torch.randn(weights.flat.shape, generator=generator)
    buffers = {name: torch.rand(buffer.shape, generator=generator) for name, buffer in weights.buffers.items()}
    drawn = Weights(weights.slots, flat.to(dtype), {name: buffer.to(dtype) for name, buffer in buffers.items()})
    if "norm.gamma" in drawn:
        drawn["norm.gamma"][:, 1] = 0
    return drawn


def pixels(replicas: int, height: int, width: int, dtype: torch.dtype, examples: int = 3) -> Tensor:
    """Random images, with an empty corner, so that some squares' pixels are equal."""
    generator = torch.Generator().manual_seed(height * width)
    images = torch.randn(replicas, examples, 1, height, width, generator=generator)
    images[..., :5, :5] = 0
    return images.to(dtype)


@given(st.sampled_from(PARTS), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.0, 0.5]))
@settings(max_examples=100, deadline=None)
def test_numbers_are_those_of_the_layers_one_after_another(
    parts: tuple[Layer, ...], replicas: int, height: int, width: int, keep: float
) -> None:
    """Images of odd height or width go another way."""
    inputs = pixels(replicas, height, width, torch.float64)
    theirs = weights_of(parts, replicas, torch.float64)
    ours, gradient = theirs.clone(), torch.ones_like(theirs.flat)
    flat = theirs.flat.clone().requires_grad_()
    y = inputs
    for part in parts:
        y = part.apply(y, Weights(theirs.slots, flat, theirs.buffers), True)
    of_outputs = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (of_weights,) = torch.autograd.grad(y, flat, of_outputs)
    with torch.no_grad():
        step = stem_of(parts).bind(ours, Weights(ours.slots, gradient), wanted=False, spare=False)
        found = step.forward(inputs)
        assert step.backward(of_outputs.clone(), keep=keep) is None
    assert torch.allclose(found, y, atol=1e-9)
    assert torch.allclose(gradient, keep + of_weights, atol=1e-9)
    for name, buffer in theirs.buffers.items():
        assert torch.allclose(ours.buffers[name], buffer, atol=1e-9), name


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("side", [6, 7])
@torch.no_grad()
def test_evaluation(parts: tuple[Layer, ...], side: int) -> None:
    weights, inputs = weights_of(parts, 2, torch.float64), pixels(2, side, side, torch.float64)
    kept = {name: buffer.clone() for name, buffer in weights.buffers.items()}
    expected = inputs
    for part in parts:
        expected = part.apply(expected, weights, False)
    assert torch.allclose(stem_of(parts).apply(inputs, weights, False), expected, atol=1e-10)
    assert all(torch.equal(buffer, kept[name]) for name, buffer in weights.buffers.items())


@pytest.mark.parametrize("parts", PARTS)
@torch.no_grad()
def test_packing_changes_no_bit(parts: tuple[Layer, ...]) -> None:
    replicas = 5
    whole, inputs = weights_of(parts, replicas, torch.float32), pixels(replicas, 8, 6, torch.float32)
    channels = whole["conv.weight"].shape[1]
    of_outputs = torch.randn(replicas, 3, channels, 4, 3)

    def run(part: slice) -> list[Tensor]:
        weights = whole.take(part).clone()
        gradient = torch.zeros_like(weights.flat)
        step = stem_of(parts).bind(weights, Weights(weights.slots, gradient), wanted=False, spare=False)
        outputs = step.forward(inputs[part]).clone()
        step.backward(of_outputs[part].clone(), keep=0)
        return [outputs, gradient, *weights.buffers.values()]

    together = run(slice(0, replicas))
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        for one, all_of_them in zip(run(part), together, strict=True):
            assert torch.equal(one, all_of_them[part])


@torch.no_grad()
def test_float32_keeps_its_digits_far_from_zero() -> None:
    """Pixels of 30 deviations: variances of what the convolution gives are small beside the squares of its means."""
    parts = (Convolution("conv", 1, LANES), BatchNorm("norm", LANES), MaxPool())
    inputs = 30 + torch.randn(2, 64, 1, 32, 32, dtype=torch.float64)
    weights = weights_of(parts, 2, torch.float64)
    weights.flat.view(2, -1)[:, : 9 * LANES].abs_()
    exact, ours = weights.clone(), Weights(weights.slots, weights.flat.float(), _floats(weights))
    y = inputs
    for part in parts:
        y = part.apply(y, exact, True)
    gradient = Weights(ours.slots, torch.zeros_like(ours.flat))
    found = stem_of(parts).bind(ours, gradient, wanted=False, spare=False).forward(inputs.float())
    assert (found - y).abs().max() < 1e-3 * y.abs().max()
    relative = ours.buffers["norm.running_variance"] / exact.buffers["norm.running_variance"]
    assert (relative - 1).abs().max() < 1e-4


def _floats(weights: Weights) -> dict[str, Tensor]:
    return {name: buffer.float() for name, buffer in weights.buffers.items()}


@torch.no_grad()
def test_a_replica_that_diverges_does_so_alone_and_silently() -> None:
    parts = PARTS[3]
    weights, inputs = weights_of(parts, 2, torch.float32), pixels(2, 6, 6, torch.float32)
    weights.flat[0] = torch.inf
    gradient = torch.zeros_like(weights.flat)
    step = stem_of(parts).bind(weights, Weights(weights.slots, gradient), wanted=False, spare=False)
    outputs = step.forward(inputs)
    step.backward(torch.ones_like(outputs), keep=0)
    assert not outputs[0].isfinite().any()
    assert outputs[1].isfinite().all()
    assert gradient[1].isfinite().all()


def test_gradients_of_the_pixels_can_be_had_all_the_same() -> None:
    """By autograd, as attacks do."""
    network = Network("net", (CONVOLUTION, RELU, MaxPool(), Flatten()), (1, 6, 6), 9 * LANES)
    weights = network.initialize([0, 1])
    x = pixels(2, 6, 6, torch.float32).requires_grad_()
    (found,) = torch.autograd.grad(network(weights, x).sum(), x)
    assert found.abs().sum() > 0


@pytest.mark.parametrize("batch_norm", [True, False])
@torch.no_grad()
def test_a_module_that_starts_so_is_translated_and_agrees(batch_norm: bool) -> None:
    def make() -> nn.Module:
        norm = [nn.BatchNorm2d(LANES)] if batch_norm else []
        return nn.Sequential(
            nn.Conv2d(1, LANES, 3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * LANES, 3)
        )

    network = Network.from_module(make, input_shape=(1, 4, 4), outputs=3)
    assert isinstance(network._together[0], Stem)
    weights, inputs = network.initialize([5]), torch.randn(7, 1, 4, 4)
    module = make().eval()
    module.load_state_dict({name: tensor[0] for name, tensor in weights.items()}, strict=False)
    assert torch.allclose(network.evaluate(weights, inputs)[0], module(inputs), atol=1e-5)
