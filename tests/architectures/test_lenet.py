"""Dense nets of two widths: published size, and agreement with the same net made of torch modules."""

import pytest
import torch
from torch import nn

from refute import architectures
from refute.errors import UnknownNameError


def test_lenet_300_100_has_its_published_number_of_weights() -> None:
    network = architectures.build("lenet", (1, 28, 28), 10, bias=False)
    assert network.parameters() == 784 * 300 + 300 * 100 + 100 * 10


def test_it_computes_what_plain_modules_compute() -> None:
    network = architectures.build("lenet", (1, 8, 8), 10, variant="32-16", law="glorot-normal")
    weights = network.initialize([3])
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))
    with torch.no_grad():
        for own, tensor in zip(plain.parameters(), weights.values(), strict=True):
            own.copy_(tensor[0])
        images = torch.rand(6, 1, 8, 8)
        torch.testing.assert_close(network.evaluate(weights, images)[0], plain(images))


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no variant '5'"):
        architectures.build("lenet", (64,), 10, variant="5")
