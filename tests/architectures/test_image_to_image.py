"""Image to image: sizes, that a residual net begins as the identity, and what is refused."""

import pytest
import torch

from refute import architectures
from refute.errors import UsageError


@pytest.mark.parametrize(("kind", "depth"), [("dense", 1), ("dense", 3), ("conv", 1), ("conv", 4), ("residual", 3)])
def test_an_image_goes_in_and_one_comes_out(kind: str, depth: int) -> None:
    network = architectures.build("image-to-image", (2, 6, 5), 60, kind=kind, depth=depth, width=7)
    assert len(network.kernels) == depth
    assert network.evaluate(network.initialize([0, 1]), torch.rand(3, 2, 6, 5)).shape == (2, 3, 60)


def test_a_residual_net_begins_as_the_identity() -> None:
    network = architectures.build("image-to-image", (1, 8, 8), 64, kind="residual", depth=5)
    images = torch.rand(4, 1, 8, 8)
    outputs = network.evaluate(network.initialize([0]), images)
    assert torch.allclose(outputs[0], images.flatten(1), atol=0.01)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="as many outputs"):
        architectures.build("image-to-image", (1, 8, 8), 10)
    with pytest.raises(UsageError, match="dense, conv or residual"):
        architectures.build("image-to-image", (1, 8, 8), 64, kind="deep")
