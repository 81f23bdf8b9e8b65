"""Linear CKA: how alike two representations of the same examples are, whatever their rotation and scale.

With K = X X^T and L = Y Y^T the Gram matrices of n examples,

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),

HSIC either the biased estimate tr(K H L H) / (n - 1)^2, H = I - 1 1^T / n (Gretton et al. 2005), as in Kornblith,
Norouzi, Lee & Hinton 2019 (arXiv 1905.00414), section 3, or the unbiased one of Song et al. 2012, equation 5, with K~
and L~ the matrices with diagonal 0,

    HSIC_1 = [tr(K~ L~) + 1^T K~ 1 1^T L~ 1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1^T K~ L~ 1] / (n (n - 3)),

which Nguyen, Raghu & Kornblith 2021 (arXiv 2010.15327), section 3.1, put into CKA ("debiased"). The biased one goes to
1 when features are many and examples few, even for unrelated representations.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.features import check_features
from refute.instruments.interface import Flags

LEAST = 4
"""Examples that the unbiased estimate needs."""
GROUPS = 10
"""Groups of examples that the jackknife leaves out in turn."""
FEW = 5.0
"""Examples per feature below which the biased estimate is flagged: for unrelated Gaussian features of dimension p it is
about p / (n + p), here above 1/6."""


@dataclass(frozen=True)
class Similarity:
    """Linear CKA of two representations of each replica.

    `value` (replica,): in [0, 1], the debiased one in about [-1, 1], around 0 for unrelated representations;
    `standard_error` (replica,): over examples, by a delete-a-group jackknife, nan where that leaves fewer than 4; it is
    on the safe side, 1.1 to 1.9 times the true spread (validation/instruments/representations.py).
    Flags: "no variance" (a representation is the same for all examples, or its debiased HSIC is not above 0: nan), "few
    examples for the features" (of the biased estimate only).
    """

    value: Tensor
    standard_error: Tensor
    flags: Flags


def linear_cka(first: Tensor, second: Tensor, *, debiased: bool = True, groups: int = GROUPS) -> Similarity:
    """Linear CKA of two layers, or nets, at the same examples.

    Unchanged by rotations, shifts and isotropic rescaling of either representation; not by other linear maps.

    Args:
        first, second: (replica, example, feature); the numbers of features may differ.
        debiased: Nguyen et al.'s estimate; False is Kornblith et al.'s.
        groups: of the jackknife, at most one per example; 0 leaves the standard error out (nan).

    Raises:
        ShapeError: examples that do not fit, or fewer than 4.
        UsageError: 1 group, or a number below 0.

    >>> x = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0))
    >>> found = linear_cka(x, 3 * x.flip(2))  # flipping the features is an orthogonal map
    >>> round(found.value.item(), 6)
    1.0
    """
    return _similarity(_prepared(first, "first"), _prepared(second, "second"), debiased, groups)


def cka_matrix(layers: Sequence[Tensor], *, debiased: bool = True) -> Tensor:
    """Linear CKA of every pair of layers, float64 (replica, layer, layer); nan where there is no variance.

    Args:
        layers: each (replica, example, feature), at the same examples.
        debiased: see `linear_cka`.

    Raises:
        ShapeError: as `linear_cka`.
        UsageError: no layers.

    >>> x = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0))
    >>> cka_matrix([x, x.square()]).shape
    torch.Size([2, 2, 2])
    """
    if not layers:
        raise UsageError("layers must hold at least one representation, none came")
    own = [_prepared(layer, "layers") for layer in layers]
    found = own[0].new_empty(len(own[0]), len(own), len(own))
    for i, j in itertools.combinations_with_replacement(range(len(own)), 2):
        _check_pair(own[i], own[j])
        found[:, i, j] = found[:, j, i] = hsic(own[i], own[j], debiased=debiased)
    scale = found.diagonal(dim1=1, dim2=2)
    scale = scale.masked_fill(scale <= 0, torch.nan).sqrt()
    return found / (scale.unsqueeze(1) * scale.unsqueeze(2))


def hsic(first: Tensor, second: Tensor, *, debiased: bool = True) -> Tensor:
    """HSIC with linear kernels, (replica,): an estimate of |Cov(x, y)|_F^2, and with itself of tr Cov(x)^2.

    Args:
        first, second: (replica, example, feature), of the same examples.
        debiased: the unbiased estimate HSIC_1, else the biased one; see the head of this file.

    >>> x = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]])
    >>> round(hsic(x, x, debiased=False).item(), 4)  # squared variance, (5/3)^2
    2.7778
    """
    examples = first.shape[1]
    x, y = (own - own.mean(dim=1, keepdim=True) for own in (first, second))
    if min(x.shape[2], y.shape[2]) * max(x.shape[2], y.shape[2]) <= examples**2:
        cross = (x.transpose(1, 2) @ y).square().sum(dim=(1, 2))
    else:
        cross = ((x @ x.transpose(1, 2)) * (y @ y.transpose(1, 2))).sum(dim=(1, 2))
    if not debiased:
        biased: Tensor = cross / (examples - 1) ** 2
        return biased
    # after centring K 1 = 0, so that K~ 1 = -diagonal of K
    k, own = x.square().sum(dim=2), y.square().sum(dim=2)
    product = (k * own).sum(dim=1)
    totals = k.sum(dim=1) * own.sum(dim=1) / ((examples - 1) * (examples - 2))
    unbiased: Tensor = (cross - product + totals - 2 / (examples - 2) * product) / (examples * (examples - 3))
    return unbiased


def _similarity(first: Tensor, second: Tensor, debiased: bool, groups: int) -> Similarity:
    _check_pair(first, second)
    examples = first.shape[1]
    if groups != 0 and groups < 2:
        raise UsageError(f"groups must be 0, or 2 and more, {groups} came")
    groups = min(groups, examples)
    value = _cka(first, second, debiased)
    error = torch.full_like(value, torch.nan)
    if groups and examples - -(-examples // groups) >= LEAST:
        place = torch.arange(examples, device=first.device) % groups
        left = [_cka(first[:, place != group], second[:, place != group], debiased) for group in range(groups)]
        each = torch.stack(left, dim=1)
        error = ((groups - 1) * each.var(dim=1, correction=0)).sqrt()
    few = examples < FEW * max(first.shape[2], second.shape[2]) and not debiased
    flags = {
        "no variance": torch.isnan(value),
        "few examples for the features": torch.full_like(value, few, dtype=torch.bool),
    }
    return Similarity(value, error, flags)


def _cka(first: Tensor, second: Tensor, debiased: bool) -> Tensor:
    scale = hsic(first, first, debiased=debiased), hsic(second, second, debiased=debiased)
    sound = (scale[0] > 0) & (scale[1] > 0)
    value: Tensor = hsic(first, second, debiased=debiased) / (scale[0] * scale[1]).clamp(min=0).sqrt()
    return value.masked_fill(~sound, torch.nan)


def _prepared(features: Tensor, name: str) -> Tensor:
    check_features(features, name=name)
    if features.shape[1] < LEAST:
        raise ShapeError(f"{name} must be of at least {LEAST} examples for a CKA, {features.shape[1]} came")
    wide = features.double()
    wide = wide - wide.mean(dim=1, keepdim=True)
    size = wide.flatten(1).norm(dim=1).view(-1, 1, 1)
    rounding = torch.finfo(features.dtype).eps * features.double().flatten(1).norm(dim=1).view(-1, 1, 1)
    sound = size > 4 * rounding  # what is constant but for rounding has no variance
    return torch.where(sound, wide / size.clamp(min=torch.finfo(torch.float64).tiny), torch.zeros_like(wide))


def _check_pair(first: Tensor, second: Tensor) -> None:
    if first.shape[:2] != second.shape[:2]:
        raise ShapeError(
            f"both must be of the same replicas and examples, {tuple(first.shape[:2])}, {tuple(second.shape[:2])} came"
        )
