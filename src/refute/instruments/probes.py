"""Random directions, and numbers with standard errors: what the estimators share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError

Probes = Literal["gaussian", "rademacher"]

UNCERTAIN = 0.1
"""A standard error above this share of the value is flagged."""


@dataclass(frozen=True)
class Estimate:
    """A number per replica and its standard error, both (replica,); nan error from a single draw."""

    value: Tensor
    standard_error: Tensor


def drawn(kind: Probes, like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One probe for every replica, (replica, parameter), with independent entries of mean 0 and variance 1.

    Each replica's comes from its own generator, in float64, so that packing and type change nothing but rounding.

    Raises:
        UsageError: there is no such kind.
    """
    if kind == "gaussian":
        each = [torch.randn(like.shape[1], generator=g, dtype=torch.float64) for g in generators]
    elif kind == "rademacher":
        each = [torch.randint(0, 2, (like.shape[1],), generator=g).double() * 2 - 1 for g in generators]
    else:
        raise UsageError(f'kind must be "gaussian" or "rademacher", {kind!r} came')
    return torch.stack(each).to(like)


def check_seeds(seeds: Sequence[int], replicas: int) -> None:
    """One seed per replica, or ShapeError."""
    if len(seeds) != replicas:
        raise ShapeError(f"seeds must be {replicas}, one per replica, {len(seeds)} came")


def mean_of(each: Tensor) -> Estimate:
    """Mean and standard error over independent draws (replica, draw)."""
    return Estimate(each.mean(dim=1), standard_error(each))


def standard_error(each: Tensor) -> Tensor:
    """Standard error of the mean of (replica, draw), (replica,); nan of a single draw."""
    if each.shape[1] < 2:
        return torch.full_like(each[:, 0], torch.nan)
    return each.std(dim=1) / math.sqrt(each.shape[1])
