"""Bias and variance of a learning procedure, from nets trained on several training sets from several starts.

With h(x; S, I) the prediction (softmax, or outputs of nets trained by squared loss), y the one-hot label, |.| Euclidean
over classes, and means over x:

    risk            E |h - y|^2 = bias^2 + variance
    bias^2          |E h - y|^2 (label noise is part of it)
    variance        E |h - E h|^2 = initialization + sampling
    initialization  E_S Var_I(h | S), the starts and the order of the data
    sampling        Var_S(E_I[h | S]), the training sets

Each is estimated without bias by means over pairs of nets: with D = |h - h'|^2 / 2, the variance is the mean of D over
pairs that share nothing, initialization over pairs that share the training set only, and bias^2 the mean of
<h - y, h' - y> over pairs that share nothing. In the nested design (starts of their own in every training set) this is
the same as the mean sample variance, the variance of the sets' means minus initialization / K_I, and so on; in the
crossed one (the same starts in all sets) pairs with a common start are left out too.

Source: Neal et al. 2018 (arXiv 1810.08591), section 3 (law of total variance); estimators: Searle, Casella & McCulloch
1992, Variance Components, chapter 3; specification bias-variance-width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags
from refute.instruments.probes import check_seeds
from refute.randomness import stream

FEW = 5
"""Training sets below which standard errors are flagged."""

Part = Literal["bias_squared", "variance", "initialization", "sampling", "risk"]


@dataclass(frozen=True)
class Parts:
    """The parts, float64; `interaction`: what a start means in one training set only, nan in the nested design."""

    bias_squared: Tensor
    variance: Tensor
    initialization: Tensor
    sampling: Tensor
    interaction: Tensor
    risk: Tensor


@dataclass(frozen=True)
class Decomposition:
    """`parts`: unbiased, each (replica,); sampling, interaction and bias^2 may lie below 0, and stay there.
    `standard_error`: by leaving out one training set after the other; `draws`: of resampled training sets, each
    (replica, draw). Flags: "fewer than 5 training sets", "sampling below zero"."""

    parts: Parts
    standard_error: Parts
    draws: Parts
    flags: Flags


@dataclass(frozen=True)
class PartLogRatio:
    """ln(second / first), float64 (replica,), with the percentiles of its draws; nan where a part is not positive.
    Flags: "not positive" (in the estimate, or in more than 1 % of the draws)."""

    value: Tensor
    low: Tensor
    high: Tensor
    flags: Flags


def bias_variance(
    predictions: Tensor,
    targets: Tensor,
    *,
    crossed: bool = False,
    seeds: Sequence[int] | None = None,
    draws: int = 1000,
) -> Decomposition:
    """Decompose the squared error of predictions.

    Args:
        predictions: h, (replica, training set, start, example, output); a replica is a whole design.
        targets: classes (example,) or (replica, example), or values (example, output) or (replica, example, output).
        crossed: whether start i is the same initialization in every training set.
        seeds: one per replica, for the draws; without seeds there are none. Equal seeds resample equally, so that
            designs on the same training sets (other widths, for example) can be compared set by set.
        draws: resamples of the training sets with replacement; pairs of copies of one set are left out.

    Raises:
        ShapeError: shapes that do not fit, fewer than 2 training sets or 2 starts, or numbers that are not finite.

    >>> h = torch.tensor([[[[[1.0]], [[3.0]]], [[[2.0]], [[4.0]]]]])  # 2 sets x 2 starts, one example
    >>> found = bias_variance(h, torch.tensor([[0.0]])).parts
    >>> [round(part.item(), 4) for part in (found.risk, found.bias_squared, found.initialization, found.sampling)]
    [7.5, 6.0, 2.0, -0.5]
    """
    y = _targets(predictions, targets)
    replicas, sets, starts = predictions.shape[:3]
    residual = (predictions.double() - y[:, None, None]).flatten(3).flatten(1, 2)
    inner = (residual @ residual.transpose(1, 2) / y.shape[1]).view(replicas, sets, starts, sets, starts)
    table = _table(inner, crossed)
    once = torch.ones(1, sets, dtype=torch.float64, device=inner.device)
    without = once - torch.eye(sets, dtype=torch.float64, device=inner.device)
    resampled = torch.zeros(replicas, 0, sets, dtype=torch.float64, device=inner.device)
    if seeds is not None:
        check_seeds(seeds, replicas)
        resampled = torch.stack([_resampled(seed, sets, draws) for seed in seeds]).to(inner.device)
    estimate = _parts(table, once.expand(replicas, 1, sets))
    left_out = _parts(table, without.expand(replicas, sets, sets))
    parts = Parts(*(part[:, 0] for part in vars(estimate).values()))
    errors = Parts(*(((sets - 1) * part.var(dim=1, correction=0)).sqrt() for part in vars(left_out).values()))
    return Decomposition(
        parts,
        errors,
        _parts(table, resampled),
        {
            f"fewer than {FEW} training sets": torch.full((replicas,), sets < FEW, device=inner.device),
            "sampling below zero": parts.sampling < 0,
        },
    )


def part_log_ratio(first: Decomposition, second: Decomposition, part: Part, *, level: float = 0.95) -> PartLogRatio:
    """ln of a part of one decomposition over that of another, with a bootstrap interval paired by training set.

    Args:
        first, second: of designs on the same training sets, with draws of the same seeds.
        part: which one.
        level: of the interval.

    Raises:
        UsageError: no draws, or not as many in both.

    >>> h = torch.randn(1, 6, 3, 40, 2, generator=torch.Generator().manual_seed(0))
    >>> wide, narrow = (bias_variance(scale * h, torch.zeros(40, 2), seeds=[0]) for scale in (1.0, 2.0))
    >>> found = part_log_ratio(narrow, wide, "variance")
    >>> round(found.value.item(), 4), round(found.low.item(), 4)  # variances differ by a factor of 4
    (-1.3863, -1.3863)
    """
    one, two = getattr(first.draws, part), getattr(second.draws, part)
    if one.shape != two.shape or one.shape[1] == 0:
        raise UsageError(
            f"both decompositions must have as many draws, {tuple(one.shape)} and {tuple(two.shape)} came: pass seeds"
        )
    drawn = torch.log(two / one)
    usable = torch.isfinite(drawn) & (one > 0)
    tail = (1 - level) / 2
    drawn = drawn.masked_fill(~usable, torch.nan)
    low, high = (torch.nanquantile(drawn, share, dim=1) for share in (tail, 1 - tail))
    top, bottom = getattr(second.parts, part), getattr(first.parts, part)
    positive = (top > 0) & (bottom > 0)
    value = torch.where(positive, (top / bottom).log(), torch.nan)
    return PartLogRatio(value, low, high, {"not positive": ~positive | (usable.double().mean(dim=1) < 0.99)})


@dataclass(frozen=True)
class _Table:
    """Means over starts, of residuals r = h - y, by training sets: `own` (replica, set): |r|^2; `within` (replica,
    set): D over pairs of starts; `between` (replica, set, other set): <r, r'> over pairs of starts (of different ones
    if crossed); `same_start`: D over pairs of the same start, nan in the nested design."""

    own: Tensor
    within: Tensor
    between: Tensor
    same_start: Tensor


def _table(inner: Tensor, crossed: bool) -> _Table:
    starts = inner.shape[2]
    squares = torch.einsum("rsisi->rsi", inner)
    own = squares.mean(dim=2)
    in_set = torch.einsum("rsisj->rsij", inner)
    trace = squares.sum(dim=2)
    within = own - (in_set.sum(dim=(2, 3)) - trace) / (starts * (starts - 1))
    total = inner.sum(dim=(2, 4))
    if not crossed:
        return _Table(own, within, total / starts**2, torch.full_like(total, torch.nan))
    diagonal = torch.einsum("rsiti->rst", inner)
    between = (total - diagonal) / (starts * (starts - 1))
    same = (own.unsqueeze(2) + own.unsqueeze(1)) / 2 - diagonal / starts
    return _Table(own, within, between, same)


def _parts(table: _Table, weights: Tensor) -> Parts:
    """Parts (replica, draw) where training set s enters weights (replica, draw, set) times."""
    sets = weights.shape[2]
    off = 1 - torch.eye(sets, dtype=weights.dtype, device=weights.device)
    count = weights.sum(dim=2)
    pairs = count.square() - weights.square().sum(dim=2)

    def over_pairs(matrix: Tensor) -> Tensor:
        return torch.einsum("rds,rst,rdt->rd", weights, matrix * off, weights) / pairs

    bias_squared = over_pairs(table.between)
    square = over_pairs((table.own.unsqueeze(2) + table.own.unsqueeze(1)) / 2)
    variance = square - bias_squared
    initialization = torch.einsum("rds,rs->rd", weights, table.within) / count
    interaction = initialization + over_pairs(table.same_start) - variance
    return Parts(bias_squared, variance, initialization, variance - initialization, interaction, square)


def _resampled(seed: int, sets: int, draws: int) -> Tensor:
    """How often each training set was drawn, (draw, set)."""
    chosen = torch.randint(0, sets, (draws, sets), generator=stream(seed, "bootstrap"))
    return functional.one_hot(chosen, sets).sum(dim=1).double()


def _targets(predictions: Tensor, targets: Tensor) -> Tensor:
    """y (replica, example, output) float64."""
    if predictions.ndim != 5 or predictions.numel() == 0 or min(predictions.shape[1:3]) < 2:
        raise ShapeError(
            "predictions must be (replica, training set, start, example, output) of 2 training sets and 2 starts or "
            f"more, {tuple(predictions.shape)} came"
        )
    if not bool(torch.isfinite(predictions).all()):
        raise ShapeError("predictions must be finite, some are nan or inf: leave diverged nets' designs out")
    replicas, _, _, examples, outputs = predictions.shape
    if targets.is_floating_point():
        if targets.shape not in ((examples, outputs), (replicas, examples, outputs)):
            raise ShapeError(f"targets must be values {(examples, outputs)}, {tuple(targets.shape)} came")
        return targets.double().expand(replicas, examples, outputs)
    if (
        targets.shape not in ((examples,), (replicas, examples))
        or not 0 <= int(targets.min()) <= int(targets.max()) < outputs
    ):
        raise ShapeError(
            f"targets must be classes {(examples,)} of 0 to {outputs - 1}, or values {(examples, outputs)}; "
            f"{tuple(targets.shape)} came"
        )
    return functional.one_hot(targets.long(), outputs).double().expand(replicas, examples, outputs)
