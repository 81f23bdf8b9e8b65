"""Confidence: how sure a network's outputs are of each example, all in float64, where probabilities near 1 differ.

With p = softmax(f): hardness of the true class 1 - p_y; largest probability max p (Hendrycks & Gimpel 2017); margin of
the true class f_y - max_{c != y} f_c; lead f_(1) - f_(2) of the two largest outputs; entropy - sum p ln p.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.errors import ShapeError
from refute.instruments.interface import Flags

COLDEST, HOTTEST = 1e-3, 1e3
"""Temperatures that are tried."""


@dataclass(frozen=True)
class Confidence:
    """Of every example, float64 (replica, example).

    `hardness`: 1 - p_y, to full precision however small; `largest`: max p; `margin`; `lead`; `entropy`, in nats;
    `right`: whether the largest output is the label's. Flags: "not finite".
    """

    hardness: Tensor
    largest: Tensor
    margin: Tensor
    lead: Tensor
    entropy: Tensor
    right: Tensor
    flags: Flags


@dataclass(frozen=True)
class Temperature:
    """T of softmax(f / T) with the least negative log-likelihood, `value` (replica,), and that likelihood per example,
    `loss` (replica,). Flags: "at the end of the range" (of 0.001 to 1000: for example no errors at all)."""

    value: Tensor
    loss: Tensor
    flags: Flags


def confidence(outputs: Tensor, labels: Tensor, *, temperature: Tensor | None = None) -> Confidence:
    """How sure the outputs are.

    Args:
        outputs: (replica, example, class), 2 classes or more.
        labels: (replica, example) or (example,).
        temperature: T (replica,), outputs are divided by; see `fit_temperature`.

    Raises:
        ShapeError: outputs or labels that do not fit.

    >>> found = confidence(torch.tensor([[[40.0, 0.0], [0.0, 0.0]]]), torch.tensor([0, 1]))
    >>> found.hardness.tolist(), found.margin.tolist()
    ([[4.248354255291589e-18, 0.5]], [[40.0, 0.0]])
    """
    own = _check(outputs, labels)
    scores = outputs.double() if temperature is None else outputs.double() / temperature.double().view(-1, 1, 1)
    log_shares = torch.log_softmax(scores, dim=2)
    at_label = own.unsqueeze(2)
    others = log_shares.scatter(2, at_label, -torch.inf)
    two = scores.topk(2, dim=2).values
    return Confidence(
        others.logsumexp(dim=2).exp(),
        log_shares.amax(dim=2).exp(),
        scores.gather(2, at_label).squeeze(2) - scores.scatter(2, at_label, -torch.inf).amax(dim=2),
        two[:, :, 0] - two[:, :, 1],
        -(log_shares.exp() * log_shares).nan_to_num(0.0).sum(dim=2),
        outputs.argmax(dim=2) == own,
        {"not finite": ~torch.isfinite(outputs).flatten(1).all(dim=1)},
    )


def sorted_shares(outputs: Tensor) -> Tensor:
    """Softmax of outputs (replica, example, class), largest first; float64.

    >>> sorted_shares(torch.tensor([[[0.0, 0.0]]])).tolist()
    [[[0.5, 0.5]]]
    """
    return torch.softmax(outputs.double(), dim=2).sort(dim=2, descending=True).values


def fit_temperature(outputs: Tensor, labels: Tensor, *, iterations: int = 60) -> Temperature:
    """Temperature scaling (Guo et al. 2017, section 4.2): T by maximum likelihood, on examples kept for it.

    The loss is convex in 1 / T: Newton's method in ln T, safeguarded by bisection.

    Args:
        outputs, labels: see `confidence`.
        iterations: at most.

    Raises:
        ShapeError: outputs or labels that do not fit.

    >>> outputs = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]])  # right in 2 of 3: p = 2/3 at T = 2 / ln 2
    >>> round(fit_temperature(outputs, torch.tensor([0, 0, 1])).value.item(), 4)
    2.8854
    """
    own = _check(outputs, labels)
    scores = outputs.double()
    at_label = scores.gather(2, own.unsqueeze(2)).squeeze(2).mean(dim=1)

    def derivatives(inverse: Tensor) -> tuple[Tensor, Tensor]:
        """First and second, of the mean loss by 1 / T."""
        shares = torch.softmax(scores * inverse.view(-1, 1, 1), dim=2)
        mean = (shares * scores).sum(dim=2)
        variance = (shares * scores.square()).sum(dim=2) - mean.square()
        return mean.mean(dim=1) - at_label, variance.mean(dim=1)

    low = torch.full_like(at_label, math.log(1 / HOTTEST))
    high = torch.full_like(at_label, math.log(1 / COLDEST))
    hot, cold = derivatives(low.exp())[0] >= 0, derivatives(high.exp())[0] <= 0
    low, high = torch.where(cold, high, low), torch.where(hot & ~cold, low, high)
    point = torch.where(hot | cold, low, 0.0)
    for _ in range(iterations):
        inverse = point.exp()
        slope, bend = derivatives(inverse)
        low, high = torch.where(slope < 0, point, low), torch.where(slope >= 0, point, high)
        newton = point - slope / (bend * inverse + slope)
        moved = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        point = torch.where(hot | cold, point, moved)
    loss = -torch.log_softmax(scores * point.exp().view(-1, 1, 1), dim=2).gather(2, own.unsqueeze(2)).squeeze(2)
    return Temperature((-point).exp(), loss.mean(dim=1), {"at the end of the range": hot | cold})


def _check(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.ndim != 3 or outputs.shape[2] < 2 or outputs.numel() == 0:
        raise ShapeError(f"outputs must be (replica, example, class) of 2 classes or more, {tuple(outputs.shape)} came")
    if labels.shape not in (outputs.shape[:2], outputs.shape[1:2]) or labels.is_floating_point():
        raise ShapeError(
            f"labels must be whole numbers {tuple(outputs.shape[:2])} like the outputs, {tuple(labels.shape)} came"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < outputs.shape[2]:
        raise ShapeError(f"labels must be 0 to {outputs.shape[2] - 1}, {int(labels.min())} to {int(labels.max())} came")
    return labels.expand(outputs.shape[:2]).long()
