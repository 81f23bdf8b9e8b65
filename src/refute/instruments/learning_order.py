"""When a net learns each example, and whether one group of examples is learned before the others.

From correctness c_i(t) at checkpoints t_0 < ... < t_T:

    first learned   the first checkpoint at which c_i = 1 and stays 1 at the next two, inf if there is none
    settled         the checkpoint after the last wrong one, inf if the last one is wrong
    precedence      A = P(tau_S < tau_N) + P(tau_S = tau_N) / 2 over pairs of an example of S and one of the others

Source: Mangalam & Prabhu 2019 (OpenReview HkxHv4rn24) for the question; specification shallow-learnable-first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.association import ranks
from refute.instruments.interface import Flags, check_examples
from refute.instruments.modes import crossing_times
from refute.instruments.objective import right

HOLD = 3
"""Checkpoints in a row at which an example must be right to count as learned (specification)."""
FEW = 40
"""Members of a group below which a precedence is flagged (specification)."""
UNSETTLED = 0.05
"""Share of examples right at the end, but not for long enough to count as learned, above which times are flagged."""


@dataclass(frozen=True)
class LearningTimes:
    """Of every example, in the unit of `steps`, float64 (replica, example), inf where it never came.

    `first`: first learned; `settled`: right from there to the end; `known` bool: right at the last checkpoint. Flags:
    "learned too late to tell" (more than 5 % of the known examples have no first time: train longer).
    """

    first: Tensor
    settled: Tensor
    known: Tensor
    flags: Flags


@dataclass(frozen=True)
class Precedence:
    """`value` (replica,): A within strata, their pairs pooled, 0.5 for no order, nan without pairs; `standard_error`
    (replica,), DeLong's within strata; `unstratified` (replica,): A over all pairs; `pairs` (replica,) int64. Flags:
    "no pairs", "fewer than 40 in a group"."""

    value: Tensor
    standard_error: Tensor
    unstratified: Tensor
    pairs: Tensor
    flags: Flags


@dataclass(frozen=True)
class LearningSpeed:
    """`group`, `others` (replica,): steps at which each one's accuracy reaches a share of its own last value; `ratio`
    others / group; `group_accuracy`, `others_accuracy` (replica, checkpoint). Flags: "never right" (nan), "reached at
    the first checkpoint" (look earlier)."""

    group: Tensor
    others: Tensor
    ratio: Tensor
    group_accuracy: Tensor
    others_accuracy: Tensor
    flags: Flags


def correctness(network: Network, checkpoints: Sequence[Weights], inputs: Tensor, labels: Tensor) -> Tensor:
    """c_i(t): whether each example is told right at each checkpoint, bool (replica, checkpoint, example).

    Args:
        network: what was trained.
        checkpoints: its weights at the moments, of the same replicas each.
        inputs: (example, *input_shape), or (replica, example, *input_shape).
        labels: classes (example,) or (replica, example).

    Raises:
        UsageError: no checkpoints, or values instead of classes.
        ShapeError: examples that do not fit.
    """
    if not checkpoints:
        raise UsageError("checkpoints must hold the weights of at least one moment, none came")
    check_examples(network, checkpoints[0], inputs, labels)
    return torch.stack([right(network.evaluate(weights, inputs), labels) for weights in checkpoints], dim=1)


def learning_times(correct: Tensor, steps: Sequence[float], *, hold: int = HOLD) -> LearningTimes:
    """When each example was learned.

    Args:
        correct: bool (replica, checkpoint, example), see `correctness`.
        steps: of the checkpoints, ascending (in any unit of time).
        hold: checkpoints in a row at which an example must be right; 1 for the first right answer.

    Raises:
        ShapeError: another shape or type, or steps that do not ascend.
        UsageError: `hold` is below 1 or above the number of checkpoints.

    >>> c = torch.tensor([[[0, 1], [1, 1], [1, 0], [1, 1]]]).bool()
    >>> found = learning_times(c, [0, 10, 20, 30])
    >>> found.first.tolist(), found.settled.tolist()
    ([[10.0, inf]], [[10.0, 30.0]])
    """
    times = _check(correct, steps)
    moments = correct.shape[1]
    if not 1 <= hold <= moments:
        raise UsageError(f"hold must lie between 1 and the {moments} checkpoints, {hold} came")
    held = correct.unfold(1, hold, 1).all(dim=-1)
    start = held.to(torch.int8).argmax(dim=1)
    wrong = ~correct
    after = moments - wrong.flip(1).to(torch.int8).argmax(dim=1)
    after = torch.where(wrong.any(dim=1), after, 0)
    later = torch.cat([times, times.new_full((1,), math.inf)])
    first = times[start].masked_fill(~held.any(dim=1), math.inf)
    known = correct[:, -1]
    lost = (known & torch.isinf(first)).sum(dim=1)
    return LearningTimes(
        first, later[after], known, {"learned too late to tell": lost > UNSETTLED * known.sum(dim=1).clamp(min=1)}
    )


def precedence(
    times: Tensor, group: Tensor, *, strata: Tensor | None = None, among: Tensor | None = None
) -> Precedence:
    """How likely an example of the group is learned before one of the others.

    Pairs lie within strata, so that a difference between classes is no order; A = sum_c pairs_c A_c / sum_c pairs_c.

    Args:
        times: (replica, example), inf for never, see `learning_times`.
        group: bool (example,) or (replica, example), fixed before the times were looked at; for example what a
            shallow model tells right.
        strata: whole numbers (example,) or (replica, example): classes, or classes x another model's correctness.
        among: bool, (example,) or (replica, example): which examples enter; for example `LearningTimes.known`.

    Raises:
        ShapeError: shapes or types that do not fit, or times that are nan.

    >>> found = precedence(torch.tensor([[1.0, 2.0, 3.0, 3.0]]), torch.tensor([True, True, False, True]))
    >>> round(found.value.item(), 4), found.pairs.item()
    (0.8333, 3)
    """
    if times.ndim != 2 or times.numel() == 0 or bool(torch.isnan(times).any()):
        raise ShapeError(f"times must be (replica, example) without nan, {tuple(times.shape)} came")
    own = _per_example(group, times, "group", torch.bool)
    entering = torch.ones_like(own) if among is None else _per_example(among, times, "among", torch.bool)
    levels = torch.zeros_like(own, dtype=torch.int64) if strata is None else _per_example(strata, times, "strata")
    stratified = [_pooled(*one) for one in zip(times.double(), own, levels, entering, strict=True)]
    plain = [_pooled(*one) for one in zip(times.double(), own, torch.zeros_like(levels), entering, strict=True)]
    value, error, pairs = (
        torch.tensor(column, dtype=torch.float64, device=times.device) for column in zip(*stratified, strict=True)
    )
    fewest = torch.minimum((own & entering).sum(dim=1), (~own & entering).sum(dim=1))
    return Precedence(
        value,
        error,
        torch.tensor([one[0] for one in plain], dtype=torch.float64, device=times.device),
        pairs.long(),
        {"no pairs": pairs == 0, f"fewer than {FEW} in a group": fewest < FEW},
    )


def learning_speed(correct: Tensor, steps: Sequence[float], group: Tensor, *, share: float = 0.9) -> LearningSpeed:
    """Steps after which a group, and the others, have reached a share of their last accuracy.

    Linear interpolation in the logarithm of the step, step 0 counted as 1 (specification: R90).

    Args:
        correct: bool (replica, checkpoint, example), see `correctness`.
        steps: of the checkpoints, ascending.
        group: bool (example,) or (replica, example).
        share: of the last accuracy.

    Raises:
        ShapeError: shapes or types that do not fit.

    >>> c = torch.tensor([[[0, 0], [1, 0], [1, 0], [1, 1]]]).bool()
    >>> round(learning_speed(c, [1, 10, 100, 1000], torch.tensor([True, False]), share=1.0).ratio.item(), 6)
    100.0
    """
    times = _check(correct, steps)
    own = _per_example(group, correct[:, 0], "group", torch.bool)
    logs = times.clamp(min=1).log().expand(len(correct), -1)
    curves = []
    for member in (own, ~own):
        counted = (correct & member.unsqueeze(1)).sum(dim=2).double()
        curves.append(counted / member.sum(dim=1, keepdim=True))
    last = torch.stack([curve[:, -1] for curve in curves], dim=1)
    relative = torch.stack(curves, dim=1) / last.unsqueeze(2)
    never = ~(last > 0)
    reached = crossing_times(relative.nan_to_num(0.0, posinf=0.0), logs, share).exp().masked_fill(never, math.nan)
    return LearningSpeed(
        reached[:, 0],
        reached[:, 1],
        reached[:, 1] / reached[:, 0],
        curves[0],
        curves[1],
        {
            "never right": never.any(dim=1),
            "reached at the first checkpoint": (relative[:, :, 0] >= share).any(dim=1),
        },
    )


def _pooled(times: Tensor, group: Tensor, strata: Tensor, among: Tensor) -> tuple[float, float, int]:
    """A of one replica, its standard error, and its number of pairs."""
    wins, pairs, parts = 0.0, 0, []
    for stratum in torch.unique(strata[among]).tolist():
        inside = among & (strata == stratum)
        first, second = times[inside & group], times[inside & ~group]
        n, m = len(first), len(second)
        if n == 0 or m == 0:
            continue
        everywhere = ranks(torch.cat([first, second]))
        later = m - (everywhere[:n] - ranks(first))  # of the others: how many were learned later, ties as a half
        earlier = everywhere[n:] - ranks(second)
        wins, pairs = wins + float(later.sum()), pairs + n * m
        parts += [_deviation(later), _deviation(earlier)]
    if pairs == 0:
        return math.nan, math.nan, 0
    return wins / pairs, math.sqrt(sum(parts)) / pairs, pairs


def _deviation(counts: Tensor) -> float:
    """Sum of squares around the mean, with the correction for it; one member alone tells nothing and adds nothing."""
    return 0.0 if len(counts) < 2 else float(len(counts) * counts.var())


def _check(correct: Tensor, steps: Sequence[float]) -> Tensor:
    """The steps as a tensor (checkpoint,)."""
    if correct.ndim != 3 or correct.numel() == 0 or correct.dtype != torch.bool:
        raise ShapeError(
            f"correct must be bool (replica, checkpoint, example), {tuple(correct.shape)}, {correct.dtype}, came"
        )
    times = torch.tensor([float(step) for step in steps], dtype=torch.float64, device=correct.device)
    if len(times) != correct.shape[1] or bool((times.diff() <= 0).any()):
        raise ShapeError(f"steps must be {correct.shape[1]} ascending numbers, one per checkpoint, {list(steps)} came")
    return times


def _per_example(values: Tensor, like: Tensor, name: str, dtype: torch.dtype | None = None) -> Tensor:
    if values.shape not in (like.shape, like.shape[1:]) or (dtype and values.dtype != dtype):
        kind = "bool " if dtype == torch.bool else ""
        raise ShapeError(
            f"{name} must be {kind}{tuple(like.shape)} or {tuple(like.shape[1:])}, {tuple(values.shape)}, "
            f"{values.dtype}, came"
        )
    return values.expand(like.shape)
