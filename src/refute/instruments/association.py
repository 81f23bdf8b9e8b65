"""Association of two numbers over the examples (or word types, or units) of one trial, batched over replicas.

All of them go by ranks, with ties averaged, in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.interface import Flags

FEW = 50
"""Members of a class below which an area under the curve is flagged (specification predicting-correctness: its
standard error is then about 0.035)."""


@dataclass(frozen=True)
class Area:
    """Area under the ROC curve.

    `value` (replica,), in [0, 1], nan where a class is empty; `standard_error` (replica,), DeLong's. Flags: "a class is
    empty", "fewer than 50 in a class".
    """

    value: Tensor
    standard_error: Tensor
    flags: Flags


def ranks(values: Tensor) -> Tensor:
    """Ranks 1 ... n along the last axis, ties averaged, float64.

    >>> ranks(torch.tensor([[3.0, 1.0, 3.0]])).tolist()
    [[2.5, 1.0, 2.5]]
    """
    ordered, order = values.sort(dim=-1)
    low = torch.searchsorted(ordered, ordered, side="left")
    high = torch.searchsorted(ordered, ordered, side="right")
    mean = (low + 1 + high).double() / 2
    return torch.empty_like(mean).scatter_(-1, order, mean)


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation along the last axis, in [-1, 1], float64 (replica,); nan where one is constant.

    Definition: Pearson's correlation of the ranks, ties averaged. Source: Spearman 1904.

    Args:
        x, y: (replica, example); leading axes broadcast.

    Raises:
        ShapeError: different numbers of examples, fewer than 3, or nan.

    >>> spearman(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]])).round(decimals=6).tolist()
    [0.5]
    """
    _check(x, y)
    return _correlation(_centred(ranks(x)), _centred(ranks(y)))


def partial_spearman(x: Tensor, y: Tensor, *, given: tuple[Tensor, ...] = (), groups: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation of what linear regression on other ranks leaves of the ranks of x and of y.

    Definition: correlation of the residuals of ranks(x) and ranks(y) after regression on the ranks of `given` and on
    indicators of `groups`; with one `given` z it is (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)).
    Source: Kendall & Stuart, Advanced Theory of Statistics, vol. 2, chapter 27.

    Args:
        x, y: (replica, example).
        given: other variables, each (replica, example).
        groups: class labels (replica, example) or (example,), whose level is removed.

    Returns:
        (replica,), float64, in [-1, 1]; nan where a residual is 0.

    Raises:
        ShapeError: as `spearman`.

    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    >>> partial_spearman(x, x.flip(1), groups=torch.tensor([0, 0, 0, 1, 1])).round(decimals=6).tolist()
    [-1.0]
    """
    for other in (y, *given):
        _check(x, other)
    design = [_centred(ranks(z)).expand_as(x) for z in given]
    if groups is not None:
        own = groups.expand(x.shape)
        design += [_centred((own == group).double()) for group in torch.unique(own).tolist()]
    first, second = _centred(ranks(x)), _centred(ranks(y)).expand(x.shape)
    if not design:
        return _correlation(first, second)
    columns = torch.stack(design, dim=-1)
    inverse = torch.linalg.pinv(columns, rtol=1e-10)  # indicators of all groups add up to 0 after centring
    left = [own - (columns @ (inverse @ own.unsqueeze(-1))).squeeze(-1) for own in (first, second)]
    vanished = torch.stack(
        [now.norm(dim=-1) <= 1e-9 * own.norm(dim=-1) for now, own in zip(left, (first, second), strict=True)]
    ).any(dim=0)
    return _correlation(*left).masked_fill(vanished, torch.nan)


def auroc(scores: Tensor, positive: Tensor) -> Area:
    """P(score of a positive > score of a negative) + P(equal) / 2, with DeLong's standard error.

    Source: Hanley & McNeil 1982; DeLong, DeLong & Clarke-Pearson 1988, equations 4 to 6.

    Args:
        scores: (replica, example), higher for what is likely positive.
        positive: bool, (replica, example) or (example,).

    Raises:
        ShapeError: shapes that do not fit, scores that are nan, labels that are not bool.

    >>> auroc(torch.tensor([[0.1, 0.4, 0.35, 0.8]]), torch.tensor([[False, False, True, True]])).value.tolist()
    [0.75]
    """
    _check(scores, scores, least=1)
    if positive.dtype != torch.bool or positive.shape[-1] != scores.shape[-1]:
        raise ShapeError(
            f"positive must be bool {tuple(scores.shape)} like scores, {tuple(positive.shape)}, {positive.dtype}, came"
        )
    own = positive.expand_as(scores).double()
    above, below = own.sum(dim=-1), (1 - own).sum(dim=-1)
    everywhere = ranks(scores)
    within = torch.stack([_ranks_within(*pair) for pair in zip(scores, own, strict=True)])
    beaten = everywhere - within  # of the other class: how many score lower, ties as a half
    value = (own * beaten).sum(dim=-1) / (above * below)
    share = torch.where(own > 0, beaten / below.unsqueeze(-1), 1 - beaten / above.unsqueeze(-1))
    off = (share - value.unsqueeze(-1)).square()
    variance = sum((part * off).sum(dim=-1) / (part.sum(dim=-1) - 1) / part.sum(dim=-1) for part in (own, 1 - own))
    fewest = torch.minimum(above, below)
    empty = fewest < 1
    return Area(
        value.masked_fill(empty, torch.nan),
        torch.as_tensor(variance).sqrt(),
        {"a class is empty": empty, f"fewer than {FEW} in a class": fewest < FEW},
    )


def balanced_accuracy(scores: Tensor, positive: Tensor, threshold: Tensor) -> Tensor:
    """Mean of the shares of positives above the threshold and of negatives at most at it, float64 (replica,).

    Args:
        scores: (replica, example).
        positive: bool (replica, example) or (example,).
        threshold: (replica,), from `best_threshold` on other examples.

    >>> scores, positive = torch.tensor([[0.2, 0.6, 0.9]]), torch.tensor([False, True, True])
    >>> balanced_accuracy(scores, positive, torch.tensor([0.7])).tolist()
    [0.75]
    """
    own = positive.expand_as(scores)
    above = scores > threshold.unsqueeze(-1)
    sensitivity = (above & own).sum(dim=-1).double() / own.sum(dim=-1)
    specificity = (~above & ~own).sum(dim=-1).double() / (~own).sum(dim=-1)
    return (sensitivity + specificity) / 2


def best_threshold(scores: Tensor, positive: Tensor) -> Tensor:
    """The score above which calling examples positive gives the highest balanced accuracy on them, (replica,).

    The middle between two neighbouring scores; the lowest of several equally good ones.

    >>> best_threshold(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([False, False, True, True])).tolist()
    [1.5]
    """
    own = positive.expand_as(scores)
    ordered, order = scores.sort(dim=-1)
    sorted_own = own.gather(-1, order).double()
    lost = sorted_own.cumsum(dim=-1) / sorted_own.sum(dim=-1, keepdim=True)
    kept = (1 - sorted_own).cumsum(dim=-1) / (1 - sorted_own).sum(dim=-1, keepdim=True)
    gain = (kept - lost)[:, :-1]
    gain = gain.masked_fill(ordered[:, :-1] == ordered[:, 1:], -torch.inf)
    best = gain.argmax(dim=-1, keepdim=True)
    return ((ordered.gather(-1, best) + ordered.gather(-1, best + 1)) / 2).squeeze(-1)


def _ranks_within(scores: Tensor, own: Tensor) -> Tensor:
    found = torch.empty_like(own)
    for member in (own > 0, own <= 0):
        found[member] = ranks(scores[member])
    return found


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=-1, keepdim=True)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = (x * y).sum(dim=-1) / (x.norm(dim=-1) * y.norm(dim=-1))
    return found.clamp(-1, 1)


def _check(x: Tensor, y: Tensor, *, least: int = 3) -> None:
    if x.ndim < 1 or y.ndim < 1 or x.shape[-1] != y.shape[-1] or x.shape[-1] < least:
        raise ShapeError(
            f"both must be (replica, example) with {least} examples or more, {tuple(x.shape)} and {tuple(y.shape)} came"
        )
    if any(bool(torch.isnan(own).any()) for own in (x, y) if own.is_floating_point()):
        raise ShapeError("values must be numbers, nan came: leave these examples out")
