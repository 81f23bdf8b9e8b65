"""Norms and ranks against numpy, and the norm of a convolution against its dense matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from small_nets import case

from refute import architectures
from refute.errors import ShapeError, UsageError
from refute.instruments.layer_norms import convolution_norms, layer_norms, ranks_of


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_every_kernel_by_numpy(name: str) -> None:
    made = case(name)
    found = layer_norms(made.network, made.weights)
    assert found.kernels == made.network.kernels
    for replica in range(3):
        for layer, kernel in enumerate(found.kernels):
            matrix = made.weights[kernel][replica].flatten(1).numpy()
            sigma = np.linalg.svd(matrix, compute_uv=False)
            expected = {
                "frobenius": np.linalg.norm(matrix),
                "spectral": np.linalg.norm(matrix, 2),
                "nuclear": np.linalg.norm(matrix, "nuc"),
                "stable_rank": (sigma**2).sum() / sigma[0] ** 2,
                "effective_rank": np.exp(entropy(sigma / sigma.sum())),
            }
            for what, value in expected.items():
                assert abs(getattr(found, what)[replica, layer].item() / value - 1) < 1e-12, what
    assert torch.allclose(found.spectral_product, found.spectral.prod(dim=1))


def test_ranks_of_known_matrices() -> None:
    found = ranks_of(torch.stack([torch.eye(4), torch.ones(4, 4)]))
    assert torch.allclose(found.stable_rank, torch.tensor([4.0, 1.0], dtype=torch.float64))
    assert torch.allclose(found.effective_rank, torch.tensor([4.0, 1.0], dtype=torch.float64), atol=1e-5)
    assert torch.isnan(ranks_of(torch.zeros(2, 2)).effective_rank)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_a_layers_scale_changes_its_norms_and_not_its_ranks(seed: int, scale: float) -> None:
    made = case(replicas=1)
    made.weights.flat.copy_(torch.randn(made.weights.flat.shape, generator=torch.Generator().manual_seed(seed)))
    before = layer_norms(made.network, made.weights)
    made.weights["dense1.weight"].mul_(scale)
    made.weights["output.weight"].div_(scale)
    after = layer_norms(made.network, made.weights)
    assert torch.allclose(after.frobenius[:, 0], scale * before.frobenius[:, 0])
    assert torch.allclose(after.spectral_product, before.spectral_product, rtol=1e-9)
    assert torch.allclose(after.stable_rank, before.stable_rank, rtol=1e-9)
    assert torch.allclose(after.effective_rank, before.effective_rank, rtol=1e-9)


@pytest.mark.parametrize("size", [(4, 5), (6, 3)])
def test_the_norm_of_a_convolution_by_its_dense_matrix(size: tuple[int, int]) -> None:
    kernel = torch.randn(2, 3, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = convolution_norms(kernel, size)
    basis = torch.eye(2 * size[0] * size[1], dtype=torch.float64).view(-1, 2, *size)
    for replica in range(2):
        padded = torch.nn.functional.pad(basis, (1, 1, 1, 1), mode="circular")
        columns = torch.nn.functional.conv2d(padded, kernel[replica]).flatten(1)
        assert abs(found[replica].item() / torch.linalg.matrix_norm(columns, 2).item() - 1) < 1e-12


def test_a_zero_kernel_is_flagged() -> None:
    made = case()
    made.weights["dense2.weight"][1] = 0
    found = layer_norms(made.network, made.weights)
    assert found.flags["a kernel is zero"].tolist() == [False, True, False]


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match="matrices must be"):
        ranks_of(torch.ones(3))
    with pytest.raises(ShapeError, match="finite"):
        ranks_of(torch.full((2, 2), torch.nan))
    with pytest.raises(ShapeError, match="kernel must be"):
        convolution_norms(torch.ones(3, 3), (4, 4))
    with pytest.raises(UsageError, match="size must be at least the kernel's"):
        convolution_norms(torch.ones(1, 1, 1, 3, 3), (2, 4))
    network = architectures.build("mlp", (4,), 3, depth=1)
    bare = type(network)("bare", network.layers[:1], (4,), 4)
    with pytest.raises(UsageError, match="bare has no kernels"):
        layer_norms(bare, network.initialize([0]))
