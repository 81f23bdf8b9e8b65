"""How the singular values of a matrix grow in training: one after the other, and with which nuclear norm.

Source: Gunasekar et al. 2017 (arXiv 1705.09280); Arora et al. 2019 (arXiv 1905.13655), section 3; specification
implicit-bias-low-nuclear-norm (order of growth: when each singular value passes half of its last value).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.architectures.layers import Dense, Flatten
from refute.errors import ShapeError, UsageError
from refute.instruments.interface import Flags
from refute.instruments.layer_norms import ranks_of
from refute.instruments.modes import WEAKEST, crossing_times

MOVING = 0.01
"""Relative change of the nuclear norm from the last moment but one to the last, above which curves are flagged."""


@dataclass(frozen=True)
class SingularTrajectories:
    """float64: `values` (replica, moment, component), descending at every moment; `nuclear`, `effective_rank`
    (replica, moment), the rank nan for a zero matrix; `half_times` (replica, component): when each passes half of its
    last value, nan for components that end below 5 % of the largest. Flags: "still moving" (the nuclear norm changed
    by more than 1 % in the last interval), "zero at the end"."""

    values: Tensor
    nuclear: Tensor
    effective_rank: Tensor
    half_times: Tensor
    flags: Flags


def singular_trajectories(
    matrices: Tensor, times: Sequence[float], *, weakest: float = WEAKEST
) -> SingularTrajectories:
    """Singular values over training.

    Args:
        matrices: (replica, moment, row, column), see `end_to_end`.
        times: of the moments, ascending.
        weakest: share of the largest last value below which a component has no time.

    Raises:
        ShapeError: shapes that do not fit, numbers that are not finite, or times that do not ascend.

    >>> strengths = torch.tensor([[0.0, 0.0], [2.0, 0.1], [2.0, 1.0]])
    >>> found = singular_trajectories(torch.diag_embed(strengths)[None], [0.0, 1.0, 2.0])
    >>> found.half_times.round(decimals=3).tolist(), found.nuclear.round(decimals=3).tolist()
    ([[0.5, 1.444]], [[0.0, 2.1, 3.0]])
    """
    at = torch.tensor([float(time) for time in times], dtype=torch.float64, device=matrices.device)
    if matrices.ndim != 4 or len(at) != matrices.shape[1] or bool((at.diff() <= 0).any()):
        raise ShapeError(
            f"expected matrices (replica, moment, row, column) and as many ascending times, {tuple(matrices.shape)} "
            f"and {list(times)} came"
        )
    found = ranks_of(matrices)
    last = found.singular_values[:, -1]
    kept = (last >= weakest * last[:, :1]) & (last > 0)
    relative = found.singular_values / last.unsqueeze(1).masked_fill(~kept.unsqueeze(1), math.inf)
    half = crossing_times(relative.transpose(1, 2), at.expand(len(matrices), -1), 0.5).masked_fill(~kept, math.nan)
    before = found.nuclear[:, -2] if len(at) > 1 else torch.zeros_like(found.nuclear[:, -1])
    return SingularTrajectories(
        found.singular_values,
        found.nuclear,
        found.effective_rank,
        half,
        {
            "still moving": (found.nuclear[:, -1] - before).abs() > MOVING * found.nuclear[:, -1],
            "zero at the end": found.nuclear[:, -1] == 0,
        },
    )


def end_to_end(network: Network, weights: Weights) -> Tensor:
    """W_D ... W_1 of a linear net, (replica, output, input) in the type of the weights; differentiable.

    Raises:
        UsageError: a net with anything but dense layers without biases.

    >>> from refute import architectures
    >>> net = architectures.build("linear", (3,), 2, depth=3, width=4)
    >>> weights = net.initialize([0, 1])
    >>> torch.allclose(net.evaluate(weights, torch.eye(3)).mT, end_to_end(net, weights), atol=1e-6)
    True
    """
    strange = [
        type(layer).__name__
        for layer in network.layers
        if not isinstance(layer, Flatten | Dense) or (isinstance(layer, Dense) and layer.bias)
    ]
    if strange:
        raise UsageError(f"end_to_end needs dense layers without biases; {network.name} has {', '.join(strange)}")
    first, *others = network.kernels
    product = weights[first]
    for name in others:
        product = weights[name] @ product
    return product
