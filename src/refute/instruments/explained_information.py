"""How much of a net's performance another model explains, in bits of mutual information.

    mu(F; L) = I(F; Y) - I(F; Y | L),     share = mu / I(F; Y)

F, L, Y: classes that the net and the other model predict, and the labels. Plug-in entropies with the correction of
Miller (1955), (cells - 1) / (2 n). Source: Nakkiran et al. 2019 (arXiv 1905.11604), definition 1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags

EXAMPLES_PER_CELL = 2
"""Examples per cell of the table below which estimates are flagged: 2000 for 10 classes (specification)."""
NOTHING = 1e-3
"""Bits of I(F; Y) below which a share of it has no meaning."""


@dataclass(frozen=True)
class ExplainedInformation:
    """In bits, float64, like the leading axes of the predictions: `total` I(F; Y); `explained` mu; `share` mu / I,
    nan where I is below 0.001; standard errors of the last two by the delta method. Flags: "too few examples for the
    table", "predictions say nothing of the labels"."""

    total: Tensor
    explained: Tensor
    share: Tensor
    explained_error: Tensor
    share_error: Tensor
    flags: Flags


def explained_information(
    predictions: Tensor, explanation: Tensor, labels: Tensor, *, classes: int
) -> ExplainedInformation:
    """The part of a net's information about the labels that another model's predictions already hold.

    With many classes and few examples, merge classes into 2 in all three arguments: the table then has 8 cells.

    Args:
        predictions: F, whole numbers (replica, example) or (replica, checkpoint, example).
        explanation: L, (example,) or (replica, example).
        labels: Y, (example,) or (replica, example).
        classes: how many there are, in all three.

    Raises:
        ShapeError: shapes or types that do not fit.
        UsageError: a class outside 0 ... classes - 1.

    >>> y = torch.tensor([0, 0, 1, 1]).repeat(500)
    >>> found = explained_information(y[None], y, y, classes=2)
    >>> round(found.total.item(), 2), round(found.share.item(), 2)
    (1.0, 1.0)
    """
    if predictions.ndim not in (2, 3) or predictions.numel() == 0:
        raise ShapeError(
            f"predictions must be (replica, example) or (replica, checkpoint, example), {tuple(predictions.shape)} came"
        )
    replicas, examples = predictions.shape[0], predictions.shape[-1]
    rows = predictions.reshape(replicas, -1, examples)
    others = []
    for name, values in (("explanation", explanation), ("labels", labels)):
        if values.shape not in ((examples,), (replicas, examples)):
            raise ShapeError(
                f"{name} must be {(examples,)} or {(replicas, examples)} like predictions, {tuple(values.shape)} came"
            )
        others.append(values.expand(replicas, examples))
    for values in (rows, *others):
        if values.is_floating_point() or not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise UsageError(f"predictions, explanation and labels must be whole numbers of 0 to {classes - 1}")
    found = [
        _of_table(row, other, label, classes) for own, other, label in zip(rows, *others, strict=True) for row in own
    ]
    total, explained, share, error, share_error = (
        torch.tensor(column, dtype=torch.float64, device=rows.device).view(predictions.shape[:-1])
        for column in zip(*found, strict=True)
    )
    nothing = total.abs() < NOTHING
    few = examples < EXAMPLES_PER_CELL * classes**3
    return ExplainedInformation(
        total,
        explained,
        share,
        error,
        share_error,
        {
            "too few examples for the table": torch.full((replicas,), few, device=rows.device),
            "predictions say nothing of the labels": nothing.view(replicas, -1).any(dim=1),
        },
    )


def _of_table(f: Tensor, other: Tensor, y: Tensor, classes: int) -> tuple[float, float, float, float, float]:
    """Total, explained, share and the standard errors of the last two, of one table."""
    n = len(f)
    table = torch.bincount((f * classes + other) * classes + y, minlength=classes**3).view(classes, classes, classes)
    counts = table.double()
    margins = {
        axes: counts.sum(dim=axes) if axes else counts for axes in ((), (1,), (2,), (0,), (0, 1), (0, 2), (1, 2))
    }
    entropies = {axes: _entropy(own, n) for axes, own in margins.items()}
    # axes are those summed over: () is (F, L, Y), (1,) is (F, Y), (0, 1) is Y, ...
    total = entropies[1, 2] + entropies[0, 1] - entropies[1,]
    conditional = entropies[2,] + entropies[0,] - entropies[()] - entropies[0, 2]
    explained = total - conditional
    joint = margins[1,] * n / (margins[1, 2].unsqueeze(1) * margins[0, 1])
    given = counts * margins[0, 2].view(1, -1, 1) / (margins[2,].unsqueeze(2) * margins[0,].unsqueeze(0))
    of_total = joint.log2()[f, y]
    of_explained = of_total - given.log2()[f, other, y]
    share = explained / total if abs(total) >= NOTHING else math.nan
    ratio = (of_explained - of_explained.mean() - share * (of_total - of_total.mean())) / total if total else of_total
    root = math.sqrt(n)
    share_error = float(ratio.std(correction=0)) / root if math.isfinite(share) else math.nan
    return total, explained, share, float(of_explained.std(correction=0)) / root, share_error


def _entropy(counts: Tensor, n: int) -> float:
    """In bits, corrected for the cells that are filled."""
    shares = counts[counts > 0] / n
    plain = -float((shares * shares.log2()).sum())
    return plain + (len(shares) - 1) / (2 * n * math.log(2))
