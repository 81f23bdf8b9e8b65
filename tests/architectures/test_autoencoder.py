"""Autoencoders: shapes, agreement with a plain module, initialization, and what is refused."""

import math

import pytest
import torch
from torch import nn

from refute import architectures
from refute.errors import UsageError

IMAGES = (1, 8, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 1},
        {"depth": 4, "activation": "selu"},
        {"depth": 3, "skip": True, "output": "sigmoid"},
        {"kind": "conv", "depth": 1, "activation": "linear"},
        {"kind": "conv", "depth": 5, "width": 4},
        {"kind": "conv", "depth": 3, "width": 4, "skip": True},
    ],
)
def test_outputs_are_the_pixels(options: dict[str, object]) -> None:
    network = architectures.build("autoencoder", IMAGES, 64, **options)
    weights = network.initialize([1, 2])
    outputs = network.evaluate(weights, torch.rand(5, *IMAGES))
    assert outputs.shape == (2, 5, 64)
    assert len(network.kernels) == options["depth"]
    assert torch.isfinite(outputs).all()


def test_a_dense_one_is_the_plain_chain() -> None:
    network = architectures.build("autoencoder", (6,), 6, depth=3, width=5)
    weights = network.initialize([7])
    module = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(0.2), nn.Linear(5, 5), nn.LeakyReLU(0.2), nn.Linear(5, 6))
    for layer, name in zip(module[::2], ("dense1", "dense2", "output"), strict=True):
        layer.weight.data, layer.bias.data = weights[f"{name}.weight"][0], weights[f"{name}.bias"][0]
    inputs = torch.randn(4, 6)
    torch.testing.assert_close(network.evaluate(weights, inputs)[0], module(inputs).detach())


def test_a_skip_adds_the_input() -> None:
    plain = architectures.build("autoencoder", (6,), 6, depth=2, width=5)
    skipping = architectures.build("autoencoder", (6,), 6, depth=2, width=5, skip=True)
    weights, inputs = plain.initialize([7]), torch.randn(4, 6)
    expected = plain.evaluate(weights, inputs) + inputs
    torch.testing.assert_close(skipping.evaluate(skipping.initialize([7]), inputs), expected)


def test_torchs_law_draws_kernels_and_biases_alike() -> None:
    network = architectures.build("autoencoder", (64,), 64, depth=3, width=400)
    weights = network.initialize([1])
    for name, fan in (("dense1", 64), ("dense2", 400), ("output", 400)):
        for tensor in (weights[f"{name}.weight"], weights[f"{name}.bias"]):
            assert tensor.abs().max().item() == pytest.approx(1 / math.sqrt(fan), rel=0.05)
            assert tensor.var().item() == pytest.approx(1 / (3 * fan), rel=0.2)
    again = network.initialize([1, 5])
    assert torch.equal(again.flat[0], weights.flat[0])
    assert not torch.equal(again.flat[1], weights.flat[0])
    started = architectures.build("autoencoder", (64,), 64, law="he-normal").initialize([1])
    assert not started["dense1.bias"].any()


@pytest.mark.parametrize(
    ("shape", "outputs", "options", "message"),
    [
        ((64,), 10, {}, "64 outputs, not 10"),
        ((64,), 64, {"kind": "conv"}, "don't flatten"),
        ((64,), 64, {"kind": "dens"}, "dense or conv"),
        ((64,), 64, {"depth": 0}, "depth 1 or more"),
    ],
)
def test_what_is_no_autoencoder_is_refused(
    shape: tuple[int, ...], outputs: int, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        architectures.build("autoencoder", shape, outputs, **options)
