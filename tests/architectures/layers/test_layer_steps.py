"""Hand-written backward passes against automatic differentiation, for chains of layers drawn at random."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refute.architectures import Network, Weights
from refute.architectures.layers import (
    Activation,
    BatchNorm,
    Convolution,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Residual,
)
from refute.architectures.network import channels_together

REPLICAS, EXAMPLES, FEATURES, CHANNELS, SIDE = 3, 7, 5, 4, 6

activations = st.sampled_from(["relu", "tanh", "identity", "gelu", "sigmoid"])


@st.composite
def dense_layers(draw: st.DrawFn) -> list[Layer]:
    """A dense net with activations, normalization and residual blocks in any order."""
    layers: list[Layer] = [Flatten()]
    for index in range(draw(st.integers(1, 5))):
        name = f"layer{index}"
        match draw(st.sampled_from(["dense", "activation", "norm", "affine-free", "residual", "preactivated"])):
            case "dense":
                layers.append(Dense(name, FEATURES, FEATURES, bias=draw(st.booleans())))
            case "activation":
                layers.append(Activation(draw(activations)))
            case "norm":
                layers.append(BatchNorm(name, FEATURES))
            case "affine-free":
                layers.append(BatchNorm(name, FEATURES, affine=False))
            case "residual":
                body = (
                    Dense(f"{name}.a", FEATURES, FEATURES),
                    Activation("relu"),
                    Dense(f"{name}.b", FEATURES, FEATURES),
                )
                shortcut = (Dense(f"{name}.c", FEATURES, FEATURES),) if draw(st.booleans()) else ()
                layers.append(Residual(body, shortcut, draw(activations)))
            case _:
                layers.append(Residual((Activation("relu"), Dense(f"{name}.a", FEATURES, FEATURES)), (), "identity"))
    return [*layers, Dense("output", FEATURES, 2)]


@st.composite
def image_layers(draw: st.DrawFn) -> list[Layer]:
    """A conv net: convolutions, normalization, pooling, residual blocks, then a dense output."""
    layers: list[Layer] = []
    side = SIDE
    for index in range(draw(st.integers(1, 4))):
        name = f"layer{index}"
        match draw(st.sampled_from(["conv", "activation", "norm", "pool", "residual"])):
            case "conv":
                layers.append(Convolution(name, CHANNELS, CHANNELS, size=draw(st.sampled_from([1, 3]))))
            case "activation":
                layers.append(Activation(draw(activations)))
            case "norm":
                layers.append(BatchNorm(name, CHANNELS))
            case "pool" if side > 1:
                layers.append(MaxPool(2))
                side = (side + 1) // 2
            case _:
                body = (
                    Convolution(f"{name}.a", CHANNELS, CHANNELS),
                    BatchNorm(f"{name}.a", CHANNELS),
                    Activation("relu"),
                )
                shortcut = (Convolution(f"{name}.c", CHANNELS, CHANNELS, size=1),) if draw(st.booleans()) else ()
                layers.append(Residual(body, shortcut))
    if draw(st.booleans()):
        return [*layers, GlobalAveragePool(), Dense("output", CHANNELS, 2)]
    return [*layers, Flatten(), Dense("output", CHANNELS * side * side, 2)]


def doubled(weights: Weights) -> Weights:
    return Weights(weights.slots, weights.flat.double(), {name: b.double() for name, b in weights.buffers.items()})


def check(layers: Sequence[Layer], input_shape: tuple[int, ...]) -> None:
    """Outputs, gradients and running statistics of the bound chain are those of `apply` under autograd."""
    network = Network("drawn", tuple(layers), input_shape, 2)
    theirs = doubled(network.initialize(range(REPLICAS)))
    ours = theirs.clone()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(REPLICAS, EXAMPLES, *input_shape, dtype=torch.float64, generator=generator)
    of_outputs = torch.randn(REPLICAS, EXAMPLES, 2, dtype=torch.float64, generator=generator)

    theirs.flat.requires_grad_()
    alone = [network(theirs.take(slice(r, r + 1)).clone(), inputs[r : r + 1], training=True) for r in range(REPLICAS)]
    expected = network(theirs, inputs, training=True)
    assert torch.allclose(torch.cat(alone), expected, atol=1e-10)
    (expected_gradient,) = torch.autograd.grad(expected, theirs.flat, of_outputs)

    gradient = torch.full_like(ours.flat, torch.nan)
    laid_out = channels_together(inputs) if network.channels_last else inputs
    with torch.no_grad():
        chain = network.bind(ours, gradient)
        for turn in range(2):  # memory is used again: the second time must be like the first
            outputs = chain.forward(laid_out)
            if turn == 0:
                for name, buffer in theirs.buffers.items():
                    assert torch.allclose(ours.buffers[name], buffer, atol=1e-10), name
            chain.backward(of_outputs.clone(), keep=0)
            assert torch.allclose(outputs, expected, atol=1e-10)
            assert torch.allclose(gradient, expected_gradient, atol=1e-9)
        chain.forward(laid_out)
        chain.backward(of_outputs.clone(), keep=1)
    assert torch.allclose(gradient, 2 * expected_gradient, atol=1e-9)


@given(dense_layers())
@settings(max_examples=60, deadline=None)
def test_dense_chains(layers: list[Layer]) -> None:
    check(layers, (FEATURES,))


@given(image_layers())
@settings(max_examples=60, deadline=None)
def test_image_chains(layers: list[Layer]) -> None:
    check(layers, (CHANNELS, SIDE, SIDE))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_laid_out_with_channels_together(channels: int) -> None:
    images = torch.randn(2, 5, channels, 4, 6)
    together = channels_together(images)
    assert torch.equal(together, images)
    assert together.stride()[2:] == (1, 6 * channels, channels)


def test_bytes_kept_for_the_backward_pass_are_measured() -> None:
    layers = (Dense("a", 5, 32), Activation("relu"), Dense("b", 32, 2))
    network = Network("net", layers, (5,), 2)
    weights = network.initialize([0, 1])
    inputs = torch.randn(1, 8, 5)
    # the inputs (5 numbers of an example) and the outputs of the hidden layer (32), in float32
    assert network.activation_bytes(weights, inputs) == 4 * (5 + 32)
