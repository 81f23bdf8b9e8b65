"""Layer rotation against the formula, layer by layer and replica by replica."""

import math

import numpy as np
import pytest
import torch

from refute import architectures
from refute.architectures import Weights
from refute.instruments import layer_rotation

SEEDS = (1, 2, 3)
NETWORK = architectures.build("vgg", (1, 8, 8), 4, variant="small", normalization="batch")


def pair() -> tuple[Weights, Weights]:
    return NETWORK.initialize(SEEDS), NETWORK.initialize(SEEDS, purpose="end")


def test_it_is_one_minus_the_cosine_of_each_kernel() -> None:
    start, end = pair()
    found = layer_rotation(start, end)
    assert found.shape == (3, 5)
    assert found.dtype == torch.float64
    for layer, name in enumerate(NETWORK.kernels):
        for replica in range(3):
            a, b = (weights[name][replica].double().numpy().ravel() for weights in (start, end))
            expected = 1 - np.dot(a, b) / math.sqrt(np.dot(a, a) * np.dot(b, b))
            assert float(found[replica, layer]) == pytest.approx(expected, abs=1e-12)


def test_no_turn_a_half_turn_and_a_known_angle() -> None:
    start, end = pair()
    still, opposite = layer_rotation(start, start), layer_rotation(start, Weights(start.slots, -3 * start.flat))
    torch.testing.assert_close(still, torch.zeros_like(still), rtol=0, atol=1e-12)
    torch.testing.assert_close(opposite, torch.full_like(opposite, 2), rtol=0, atol=1e-12)
    for name in NETWORK.kernels:
        w, v = start[name], end[name]
        along = (w * v).flatten(1).sum(dim=1) / w.flatten(1).square().sum(dim=1)
        across = v - along.view(-1, *[1] * (w.ndim - 1)) * w
        scale = (w.flatten(1).norm(dim=1) / across.flatten(1).norm(dim=1)).view(-1, *[1] * (w.ndim - 1))
        v.copy_(w * math.cos(0.3) + across * scale * math.sin(0.3))
    known = layer_rotation(start, end)
    torch.testing.assert_close(known, torch.full_like(known, 1 - math.cos(0.3)), rtol=1e-4, atol=0)


def test_scale_biases_and_normalization_do_not_enter() -> None:
    start, end = pair()
    before = layer_rotation(start, end)
    for name, tensor in end.items():
        if name in NETWORK.kernels:
            tensor.mul_(7)
        else:
            tensor.add_(1)
    torch.testing.assert_close(layer_rotation(start, end), before, rtol=1e-6, atol=1e-9)


def test_independent_directions_are_orthogonal() -> None:
    wide = architectures.build("mlp", (200,), 200, depth=2, width=200, bias=False)
    many = tuple(range(20))
    distances = layer_rotation(wide.initialize(many), wide.initialize(many, purpose="placebo"))
    deviation = 1 / math.sqrt(200 * 200)
    assert (distances - 1).abs().max() < 5 * deviation
    assert (distances - 1).abs().mean() == pytest.approx(deviation * math.sqrt(2 / math.pi), rel=0.3)
