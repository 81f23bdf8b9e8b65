"""Norms and ranks of every layer's kernel, from its singular values sigma_1 >= sigma_2 >= ...

    Frobenius       sqrt(sum sigma^2)
    spectral        sigma_1
    nuclear         sum sigma
    stable rank     sum sigma^2 / sigma_1^2          (Rudelson & Vershynin 2007)
    effective rank  exp(-sum p ln p), p = sigma / sum sigma   (Roy & Vetterli 2007)

A convolution's kernel is taken as the matrix (output channel, input channel x position), as its weights are stored; the
norm of the map itself, which slides this matrix over an image, is `convolution_norms`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags


@dataclass(frozen=True)
class Ranks:
    """Of each matrix, float64, leading with the axes of the matrices: `frobenius`, `spectral`, `nuclear`,
    `stable_rank`, `effective_rank`; ranks are nan where the matrix is 0. `singular_values` (..., component),
    descending."""

    frobenius: Tensor
    spectral: Tensor
    nuclear: Tensor
    stable_rank: Tensor
    effective_rank: Tensor
    singular_values: Tensor


@dataclass(frozen=True)
class LayerNorms:
    """Of each kernel, input side first, float64 (replica, layer); see `Ranks`.

    `kernels`: their names; `spectral_product` (replica,): product of the spectral norms (specification
    bad-global-minima). Flags: "a kernel is zero" (its ranks are nan).
    """

    kernels: tuple[str, ...]
    frobenius: Tensor
    spectral: Tensor
    nuclear: Tensor
    stable_rank: Tensor
    effective_rank: Tensor
    spectral_product: Tensor
    flags: Flags


def ranks_of(matrices: Tensor) -> Ranks:
    """Norms and ranks of matrices (..., row, column); ranks do not depend on their scale.

    Raises:
        ShapeError: no matrices, or numbers that are not finite.

    >>> found = ranks_of(torch.diag(torch.tensor([2.0, 2.0, 0.0])))
    >>> found.spectral.item(), round(found.effective_rank.item(), 6), round(found.stable_rank.item(), 6)
    (2.0, 2.0, 2.0)
    """
    if matrices.ndim < 2 or matrices.numel() == 0 or not bool(torch.isfinite(matrices).all()):
        raise ShapeError(f"matrices must be (..., row, column) and finite, {tuple(matrices.shape)} came")
    sigma = torch.linalg.svdvals(matrices.double())
    total, largest = sigma.sum(dim=-1), sigma[..., 0]
    square = sigma.square().sum(dim=-1)
    shares = sigma / total.unsqueeze(-1)
    effective = torch.special.entr(shares).sum(dim=-1).exp()
    return Ranks(square.sqrt(), largest, total, square / largest.square(), effective, sigma)


def layer_norms(network: Network, weights: Weights) -> LayerNorms:
    """Norms and ranks of every kernel; biases and normalization are left out.

    Args:
        network: whose kernels.
        weights: of the cohort.

    Raises:
        UsageError: a network without kernels.
        ShapeError: weights that are not finite.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (4,), 3, depth=2, width=8)
    >>> found = layer_norms(net, net.initialize([0, 1]))
    >>> found.kernels, tuple(found.stable_rank.shape)
    (('dense1.weight', 'dense2.weight', 'output.weight'), (2, 3))
    """
    if not network.kernels:
        raise UsageError(f"{network.name} has no kernels: there is nothing to measure")
    each = [ranks_of(weights[name].flatten(2)) for name in network.kernels]
    frobenius, spectral, nuclear, stable, effective = (
        torch.stack(parts, dim=1)
        for parts in zip(
            *((one.frobenius, one.spectral, one.nuclear, one.stable_rank, one.effective_rank) for one in each),
            strict=True,
        )
    )
    flags = {"a kernel is zero": (spectral == 0).any(dim=1)}
    return LayerNorms(network.kernels, frobenius, spectral, nuclear, stable, effective, spectral.prod(dim=1), flags)


def convolution_norms(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Spectral norm of a convolution of stride 1 with circular padding as a linear map of images, float64 (replica,).

    Definition: the largest singular value of the matrices (output channel, input channel) that the two-dimensional
    Fourier transform of the kernel has at every frequency. Source: Sedghi, Gupta & Long 2019 (arXiv 1805.10408),
    theorem 6. With zero padding the norm is at most that on images larger by the kernel's size less 1.

    Args:
        kernel: (replica, output channel, input channel, height, width).
        size: height and width of the images, at least the kernel's.

    Raises:
        ShapeError: other axes.
        UsageError: images smaller than the kernel.

    >>> convolution_norms(torch.ones(1, 1, 1, 3, 3), (8, 8)).item()  # a constant image is multiplied by 9
    9.0
    """
    if kernel.ndim != 5:
        raise ShapeError(f"kernel must be (replica, output, input, height, width), {tuple(kernel.shape)} came")
    if size[0] < kernel.shape[3] or size[1] < kernel.shape[4]:
        raise UsageError(f"size must be at least the kernel's {tuple(kernel.shape[3:])}, {size} came")
    spectra = torch.fft.fft2(kernel.double(), s=list(size)).permute(0, 3, 4, 1, 2)
    norms: Tensor = torch.linalg.svdvals(spectra)[..., 0].flatten(1).amax(dim=1)
    return norms
