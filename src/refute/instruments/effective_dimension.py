"""Effective dimension: in how many directions the features of a class vary, by five definitions.

Of n examples of a class, centred by their mean, with lambda_1 >= lambda_2 >= ... the eigenvalues of Z^T Z / (n - 1),
those below 1e-10 lambda_1 left out, sigma = sqrt(lambda) and p = lambda / sum lambda:

    participation  (sum lambda)^2 / sum lambda^2
    singular       (sum sigma)^2 / sum sigma^2
    entropy        exp(-sum p ln p)
    ninety         number of components that hold 90 % of the variance
    stable         sum lambda / lambda_1

Source: the specification effective-dimension-hump, after Ravichandran, Jain & Rakhlin 2019, whose own formula is not
known; participation ratio: Gao et al. 2017; entropy: Roy & Vetterli 2007 (there of singular values).

All are biased by few examples: for isotropic Gaussian features of dimension d the participation ratio is about
d n / (d + n + 1). Two remedies: 1/D is about linear in 1/n, so that n and n/2 extrapolate to infinity; and the
moments (tr C)^2 and tr C^2 of the covariance C have unbiased estimates. By simulation the latter are better: with
n below d extrapolated entropies are off by up to 60 % (validation/instruments/representations.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.cka import hsic
from refute.instruments.features import check_features, own_labels
from refute.instruments.interface import Flags

LEAST = 1e-10
"""Eigenvalues below this share of the largest one are left out (specification)."""
SHARE = 0.9
"""Of the variance, for "ninety"."""
ENOUGH = 5.0
"""Examples per effective dimension below which a class is flagged (specification)."""


@dataclass(frozen=True)
class EffectiveDimension:
    """By definition ("participation", "singular", "entropy", "ninety", "stable") and class, float64.

    `values[name]` (replica, class), in [1, min(examples - 1, ambient)]; `halves[name]` (replica, class, 2): from either
    half of the examples alone; `extrapolated[name]` (replica, class): at infinitely many examples,
    1 / (2 / D(n) - 1 / D(n/2)), infinite where that is not above 0; `debiased` (replica, class): participation ratio
    of unbiased moments, nan where the estimate of tr C^2 is not above 0. `examples`: n of every class; `ambient`:
    number of features. Flags: "few examples" (n is below 5 x the participation ratio of some class), "no variance" (of
    some class, whose values are nan).
    """

    values: Mapping[str, Tensor]
    halves: Mapping[str, Tensor]
    extrapolated: Mapping[str, Tensor]
    debiased: Tensor
    examples: int
    ambient: int
    flags: Flags

    def log_mean(self, name: str = "participation") -> Tensor:
        """d = mean over classes of ln D, (replica,)."""
        return self.values[name].log().mean(dim=1)

    def log_error(self, name: str = "participation") -> Tensor:
        """Standard error over examples of `log_mean`, (replica,), from the difference of the halves of each class.

        Of the participation ratio 0.8 to 1.1 times the true spread (validation/instruments/representations.py); the
        bias of few examples is not in it.
        """
        apart = self.halves[name].log().diff(dim=2).squeeze(2)
        return apart.square().sum(dim=1).sqrt() / 2 / apart.shape[1]


@dataclass(frozen=True)
class DimensionProfile:
    """How ln D runs over the layers 0 (input), 1, ..., L (penultimate), each (replica,).

    `rise`: max_{1 <= l <= L} d_l - d_0; `fall`: the same maximum - d_L; `peak`: l* / L, where it is; `late_slope`:
    minus the least-squares slope of d_l on l / L over l >= l*; `hump`: rise > 0, fall > 0 and l* < L. Flags: "peak is
    the last layer" (late_slope is nan), "not finite".
    """

    rise: Tensor
    fall: Tensor
    peak: Tensor
    late_slope: Tensor
    hump: Tensor
    flags: Flags


def effective_dimension(
    features: Tensor, labels: Tensor | None = None, *, per_class: int | None = None
) -> EffectiveDimension:
    """Effective dimension of every class, of as many examples of each; all definitions at once.

    Unchanged by rotation, shift and isotropic rescaling of the features. Eigenvalues come from the smaller of Gram and
    covariance matrix, in float64; memory is that of one replica at a time.

    Args:
        features: (replica, example, feature), such as a layer's of `features.representations`.
        labels: (replica, example) or (example,); None takes all examples as one class (within and between together).
        per_class: n, the first so many examples of each class; by default all that the smallest class has.

    Raises:
        ShapeError: features or labels that do not fit.
        UsageError: per_class below 4, or more than a class has.

    >>> x = torch.randn(1, 100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> found = effective_dimension(x * torch.tensor([1.0, 1.0, 0.001]))
    >>> round(found.values["participation"].item(), 1), found.values["ninety"].item()
    (1.9, 2.0)
    """
    own = torch.zeros_like(features[..., 0], dtype=torch.int64) if labels is None else own_labels(labels, features)
    check_features(features, own)
    classes = torch.unique(own)
    count = torch.stack([(own == label).sum(dim=1) for label in classes.tolist()], dim=1)
    size = int(count.min()) if per_class is None else per_class
    if size < 4 or size > int(count.min()):
        raise UsageError(
            f"per_class must be 4 to {int(count.min())} (the examples of the smallest class), {size} would be taken"
        )
    each = [_of_replica(rows, own[replica], classes, size) for replica, rows in enumerate(features)]
    whole, first, second = (
        {name: torch.stack([one[part][name] for one in each]) for name in each[0][part]} for part in range(3)
    )
    debiased = whole.pop("debiased")
    halves = {name: torch.stack([first[name], second[name]], dim=2) for name in whole}
    extrapolated = {name: (1 / (2 / whole[name] - (1 / halves[name]).mean(dim=2)).clamp(min=0)) for name in whole}
    few = (size < ENOUGH * whole["participation"]).any(dim=1)
    flags = {"few examples": few, "no variance": torch.isnan(whole["participation"]).any(dim=1)}
    return EffectiveDimension(whole, halves, extrapolated, debiased, size, features.shape[2], flags)


def dimensions_of(eigenvalues: Tensor) -> dict[str, Tensor]:
    """The five definitions from eigenvalues (..., component), in any order; nan where the largest is 0.

    >>> {name: round(value.item(), 3) for name, value in dimensions_of(torch.tensor([4.0, 1.0])).items()}
    {'participation': 1.471, 'singular': 1.8, 'entropy': 1.649, 'ninety': 2.0, 'stable': 1.25}
    """
    found = eigenvalues.double().sort(dim=-1, descending=True).values
    found = found * (found >= LEAST * found[..., :1])
    shares = found / found.sum(dim=-1, keepdim=True)
    cumulative = shares.cumsum(dim=-1)
    components = (cumulative < SHARE - 1e-12).sum(dim=-1).double() + 1
    return {
        "participation": 1 / shares.square().sum(dim=-1),
        "singular": shares.sqrt().sum(dim=-1).square(),
        "entropy": torch.special.entr(shares).sum(dim=-1).exp(),
        "ninety": torch.where(torch.isnan(cumulative[..., -1]), torch.nan, components),
        "stable": 1 / shares[..., 0],
    }


def dimension_profile(log_dimensions: Tensor) -> DimensionProfile:
    """Rise, fall and late slope of d_l = mean over classes of ln D.

    Args:
        log_dimensions: (replica, layer), layer 0 the inputs, the last one the penultimate layer; 3 layers or more.

    Raises:
        ShapeError: other axes or fewer layers.

    >>> found = dimension_profile(torch.tensor([[1.0, 2.0, 1.5, 1.0]]))
    >>> found.rise.item(), found.fall.item(), round(found.peak.item(), 3), round(found.late_slope.item(), 3)
    (1.0, 1.0, 0.333, 1.5)
    """
    if log_dimensions.ndim != 2 or log_dimensions.shape[1] < 3:
        raise ShapeError(
            f"log_dimensions must be (replica, layer) of 3 layers or more, {tuple(log_dimensions.shape)} came"
        )
    d = log_dimensions.double()
    last = d.shape[1] - 1
    top, place = d[:, 1:].max(dim=1)
    place = place + 1
    depth = torch.arange(last + 1, dtype=torch.float64, device=d.device) / last
    late = (depth * last >= place.unsqueeze(1)).double()
    count = late.sum(dim=1, keepdim=True)
    x = (depth - (late * depth).sum(dim=1, keepdim=True) / count) * late
    slope = (x * d).sum(dim=1) / x.square().sum(dim=1)
    rise, fall = top - d[:, 0], top - d[:, -1]
    flags = {"peak is the last layer": place == last, "not finite": ~torch.isfinite(d).all(dim=1)}
    return DimensionProfile(rise, fall, place / last, -slope, (rise > 0) & (fall > 0) & (place < last), flags)


def within_share(features: Tensor, labels: Tensor) -> Tensor:
    """Share of the variance that lies within classes, tr Sigma_W / tr Sigma_T, in [0, 1], float64 (replica,).

    Args:
        features: (replica, example, feature).
        labels: (replica, example) or (example,).

    Raises:
        ShapeError: features or labels that do not fit.

    >>> x = torch.tensor([[[0.0], [2.0], [10.0], [12.0]]])
    >>> round(within_share(x, torch.tensor([0, 0, 1, 1])).item(), 4)
    0.0385
    """
    own = own_labels(labels, features)
    check_features(features, own)
    wide = features.double()
    total = (wide - wide.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    within = torch.zeros_like(total)
    for label in torch.unique(own).tolist():
        mask = (own == label).double().unsqueeze(2)
        mean = (mask * wide).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        within += (mask * (wide - mean).square()).sum(dim=(1, 2))
    return within / total


def _of_replica(rows: Tensor, labels: Tensor, classes: Tensor, size: int) -> tuple[dict[str, Tensor], ...]:
    """Definitions from all `size` examples of each class, and from either half; each (class,)."""
    places = torch.stack([(labels == label).nonzero().flatten()[:size] for label in classes])
    own = rows[places].double()
    half = size // 2
    parts = (own, own[:, :half], own[:, half : 2 * half])
    whole, first, second = (dimensions_of(_spectrum(part, rows.dtype)) for part in parts)
    return {**whole, "debiased": _debiased(own)}, first, second


def _spectrum(own: Tensor, given: torch.dtype) -> Tensor:
    """Eigenvalues of the covariance of (class, example, feature); 0 where it is rounding of a constant."""
    centred = own - own.mean(dim=1, keepdim=True)
    gram = centred @ centred.transpose(1, 2) if own.shape[1] <= own.shape[2] else centred.transpose(1, 2) @ centred
    constant = centred.flatten(1).norm(dim=1) <= 4 * torch.finfo(given).eps * own.flatten(1).norm(dim=1)
    found = torch.linalg.eigvalsh(gram).clamp(min=0) / (own.shape[1] - 1)
    kept: Tensor = found * (~constant).unsqueeze(1)
    return kept


def _debiased(own: Tensor) -> Tensor:
    """U[(tr C)^2] / U[tr C^2], U the unbiased estimates: means over distinct examples; (class,).

    (tr C)^2 is the mean of D_ij D_kl over distinct i, j, k, l, D_ij = |x_i - x_j|^2 / 2; tr C^2 is HSIC_1 of the
    features with themselves.
    """
    count = own.shape[1]
    centred = own - own.mean(dim=1, keepdim=True)
    square = centred.square().sum(dim=2)
    gram = centred @ centred.transpose(1, 2)
    apart = (square.unsqueeze(1) + square.unsqueeze(2)) / 2 - gram
    pairs = apart.sum(dim=(1, 2)).square() - 4 * apart.sum(dim=2).square().sum(dim=1)
    trace = (pairs + 2 * apart.square().sum(dim=(1, 2))) / math.perm(count, 4)
    second = hsic(own, own)
    return torch.where(second > 0, trace / second, torch.nan)
