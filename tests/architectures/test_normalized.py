"""Normalized nets: the layers against torch, and the same linear maps whatever the normalization."""

import pytest
import torch
from torch import nn

from refute import architectures
from refute.architectures.layers.standardization import LayerNorm, Standardize
from refute.errors import UnknownNameError, UsageError


def test_layer_norm_is_that_of_torch_for_every_replica() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = LayerNorm("dense1", 6)
    weights = {
        "dense1.gamma": torch.randn(3, 6, generator=generator, dtype=torch.float64),
        "dense1.beta": torch.randn(3, 6, generator=generator, dtype=torch.float64),
    }
    inputs = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    found = layer.apply(inputs, weights, training=True)
    for replica in range(3):
        theirs = nn.LayerNorm(6).double()
        theirs.load_state_dict({"weight": weights["dense1.gamma"][replica], "bias": weights["dense1.beta"][replica]})
        assert torch.allclose(found[replica], theirs(inputs[replica]), atol=1e-12)


def test_standardization_is_by_channel() -> None:
    images = torch.rand(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    mean, deviation = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    found = Standardize(mean, deviation).apply(images, {}, training=False)
    for channel in range(3):
        assert torch.allclose(found[:, :, channel], (images[:, :, channel] - mean[channel]) / deviation[channel])
    flat = Standardize((0.5,), (0.25,)).apply(torch.ones(1, 2, 7), {}, training=False)
    assert torch.equal(flat, torch.full((1, 2, 7), 2.0))


@pytest.mark.parametrize("body", ["mlp", "conv", "vgg-11"])
def test_normalization_leaves_the_initial_maps_alone(body: str) -> None:
    plain = architectures.build("normalized", (3, 16, 16), 10, body=body)
    normed = architectures.build("normalized", (3, 16, 16), 10, body=body, normalization="batch")
    first, second = plain.initialize([1, 2]), normed.initialize([1, 2])
    assert plain.kernels == normed.kernels
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert set(first) < set(second)
    assert normed.evaluate(second, torch.rand(4, 3, 16, 16)).shape == (2, 4, 10)
    assert normed.mixes
    assert not plain.mixes


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_training_gradients_are_those_of_autograd(normalization: str) -> None:
    network = architectures.build(
        "normalized", (1, 4, 4), 3, depth=2, width=8, normalization=normalization, mean=(0.3,), deviation=(0.2,)
    )
    weights = network.initialize([1, 2])
    inputs = torch.rand(2, 12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    gradient = torch.zeros_like(weights.flat)
    chain = network.bind(weights.clone(), gradient)
    wanted = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(1))
    chain.forward(inputs)
    chain.backward(wanted.clone(), keep=0)
    flat = weights.flat.clone().requires_grad_()
    outputs = network(architectures.Weights(weights.slots, flat, weights.clone().buffers), inputs, training=True)
    (expected,) = torch.autograd.grad(outputs, flat, wanted)
    assert torch.allclose(gradient, expected, atol=1e-4)


def test_refusals() -> None:
    with pytest.raises(UnknownNameError, match="no body 'mpl'"):
        architectures.build("normalized", (1, 4, 4), 3, body="mpl")
    with pytest.raises(UnknownNameError, match="no normalization 'bach'"):
        architectures.build("normalized", (1, 4, 4), 3, normalization="bach")
    with pytest.raises(UsageError, match="one per channel"):
        architectures.build("normalized", (3, 4, 4), 3, mean=(0.1, 0.2), deviation=(1.0, 1.0))
    with pytest.raises(UsageError, match='"layer" is for'):
        architectures.build("normalized", (1, 8, 8), 3, body="conv", normalization="layer")
    with pytest.raises(UsageError, match="do not flatten"):
        architectures.build("normalized", (64,), 3, body="conv")
