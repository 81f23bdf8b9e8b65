"""Plain conv nets: published sizes, and agreement with the same net made of torch modules."""

import pytest
import torch
from torch import nn

from refute import architectures
from refute.errors import UnknownNameError, UsageError


@pytest.mark.parametrize(
    ("variant", "convolutions", "dense"),
    [("2", 38_592, 4_262_400), ("4", 259_776, 2_165_248), ("6", 1_144_512, 1_116_672)],
)
def test_the_nets_of_frankle_and_carbin_have_their_published_size(variant: str, convolutions: int, dense: int) -> None:
    """4.3, 2.4 and 2.3 million weights, 38 k, 260 k and 1.1 million of them in convolutions (figure 2 there)."""
    network = architectures.build("convnet", (3, 32, 32), 10, variant=variant, bias=False)
    sizes = {slot.name: torch.Size(slot.shape).numel() for slot in network.slots}
    assert sum(size for name, size in sizes.items() if name.startswith("conv")) == convolutions
    assert sum(size for name, size in sizes.items() if not name.startswith("conv")) == dense


@pytest.mark.parametrize("variant", ["small", "strided"])
def test_it_computes_what_plain_modules_compute(variant: str) -> None:
    network = architectures.build("convnet", (1, 14, 14), 10, variant=variant)
    weights = network.initialize([3])
    strided = variant == "strided"
    shapes = {"small": ((1, 8), (8, 8), (392, 64)), "strided": ((1, 8), (8, 16), (256, 32))}[variant]
    first, second, hidden = shapes
    stride = 2 if strided else 1
    plain = nn.Sequential(
        nn.Conv2d(*first, 3, stride=stride, padding=1),
        nn.ReLU(),
        nn.Conv2d(*second, 3, stride=stride, padding=1),
        nn.ReLU(),
        nn.Identity() if strided else nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(*hidden),
        nn.ReLU(),
        nn.Linear(hidden[1], 10),
    )
    with torch.no_grad():
        for own, tensor in zip(plain.parameters(), weights.values(), strict=True):
            own.copy_(tensor[0])
        images = torch.rand(6, 1, 14, 14)
        torch.testing.assert_close(network.evaluate(weights, images)[0], plain(images))


def test_flat_inputs_and_unknown_variants_are_refused() -> None:
    with pytest.raises(UsageError, match="don't flatten"):
        architectures.build("convnet", (196,), 10)
    with pytest.raises(UnknownNameError, match="no variant '5'"):
        architectures.build("convnet", (1, 14, 14), 10, variant="5")
