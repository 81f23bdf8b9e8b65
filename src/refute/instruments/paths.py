"""Loss and error along paths between weights, and the barriers on them.

Source: Goodfellow et al. 2015 (arXiv 1412.6544), section 3 (straight lines); Frankle et al. 2020 (arXiv 1912.05671),
section 2 (instability); specifications of linear-mode-connectivity, sgd-escapes-local-minima and
sparse-training-difficulty.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from refute.architectures import Network, Weights, estimate_statistics
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import cast
from refute.instruments.interface import Flags, check_examples, own_examples
from refute.instruments.objective import objective
from refute.losses import Loss

Kind = Literal["mean", "maximum", "chord"]

FEWEST_POINTS = 11
"""Fewer points may step over a narrow barrier."""


@dataclass(frozen=True)
class Profile:
    """Along a path: `fractions` (point,), ascending from 0 to 1; `losses` (replica, point), mean loss, float64.

    `errors` (replica, point): share of examples told wrong, in [0, 1], nan where there are values instead of labels;
    `chance`: the error of a constant answer on these examples, (replica,), nan likewise. Flags: "few points", "not
    finite".
    """

    fractions: Tensor
    losses: Tensor
    errors: Tensor
    chance: Tensor
    flags: Flags


@dataclass(frozen=True)
class Barrier:
    """`loss` and `error` (replica,): height of the barrier in the loss, and in the error (a share; x 100 for points).

    `loss_at`, `error_at` (replica,): fraction of the path where it is highest; `profile`: what it was read off. Flags:
    "at chance" (the error reaches that of a constant answer: its barrier can't grow further, look at the loss), "few
    points", "not finite".
    """

    loss: Tensor
    error: Tensor
    loss_at: Tensor
    error_at: Tensor
    profile: Profile
    flags: Flags


def interpolated(first: Weights, second: Weights, fraction: float | Tensor) -> Weights:
    """(1 - a) first + a second, running statistics too; a is a number or (replica,).

    Raises:
        ShapeError: weights of different networks or numbers of replicas.
    """
    _check_pair(first, second)
    share = torch.as_tensor(fraction, dtype=first.flat.dtype, device=first.flat.device).reshape(-1, 1)
    buffers = {
        name: torch.lerp(buffer, second.buffers[name], share.to(buffer).view(-1, *[1] * (buffer.ndim - 1)))
        if buffer.is_floating_point()
        else buffer.clone()
        for name, buffer in first.buffers.items()
    }
    return Weights(first.slots, torch.lerp(first.flat, second.flat, share), buffers)


def profile_of(
    network: Network,
    path: Callable[[float], Weights],
    inputs: Tensor,
    labels: Tensor,
    *,
    points: int = 30,
    low: float = 0.0,
    high: float = 1.0,
    statistics: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Profile:
    """Loss and error along any path, fraction -> weights of the cohort, at evenly spaced fractions.

    Args:
        network: what is evaluated.
        path: the weights at a fraction of the way.
        inputs: (example, *input_shape), or (replica, example, *input_shape).
        labels: (example,) or (replica, example), or values for losses that take them.
        points: of the path, its ends included.
        low, high: first and last fraction; -1 and 2 in Keskar et al. 2017, figure 3.
        statistics: inputs (example, *input_shape), or a set per replica, on which batch normalization's statistics are
            estimated anew at every point: those of the ends make barriers of their own. None takes the path's.
        loss: see `refute.losses`.
        training: normalize with the statistics of these very examples instead.

    Raises:
        ShapeError: examples that do not fit.
        UsageError: fewer than 2 points.
    """
    if points < 2 or high <= low:
        raise UsageError(f"points must be at least 2 and high above low, {points}, {low} and {high} came")
    fractions = torch.linspace(low, high, points, dtype=torch.float64)
    found, wrong = [], []
    base, chance = None, torch.empty(0)
    for fraction in fractions.tolist():
        weights = path(fraction)
        if statistics is not None and weights.buffers:
            check_examples(network, weights, statistics)
            weights = estimate_statistics(network, weights, own_examples(weights, network, statistics).contiguous())
        if base is None:
            base = objective(network, weights, inputs, labels, loss=loss, training=training)
            chance = _chance(base.labels, network.outputs)
        else:
            base = base.at(weights)
        found.append(base.losses(base.weights.flat))
        values = labels.is_floating_point()
        wrong.append(torch.full_like(found[-1], torch.nan) if values else 1 - base.accuracy(base.weights.flat))
    losses, errors = torch.stack(found, dim=1), torch.stack(wrong, dim=1)
    flags = {
        "few points": torch.full_like(losses[:, 0], points < FEWEST_POINTS, dtype=torch.bool),
        "not finite": ~torch.isfinite(losses).all(dim=1),
    }
    return Profile(fractions.to(losses.device), losses, errors, chance, flags)


def line_profile(
    network: Network,
    first: Weights,
    second: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    points: int = 30,
    low: float = 0.0,
    high: float = 1.0,
    statistics: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Profile:
    """Loss and error on the straight line (1 - a) first + a second; the arguments are those of `profile_of`.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (2,), 2, depth=0)
    >>> one, two = net.initialize([0]), net.initialize([1])
    >>> found = line_profile(net, one, two, torch.eye(2), torch.tensor([0, 1]), points=3)
    >>> found.losses.shape, found.fractions.tolist()
    (torch.Size([1, 3]), [0.0, 0.5, 1.0])
    """
    _check_pair(first, second)
    return profile_of(
        network,
        lambda fraction: interpolated(first, second, fraction),
        inputs,
        labels,
        points=points,
        low=low,
        high=high,
        statistics=statistics,
        loss=loss,
        training=training,
    )


def barrier(profile: Profile, *, kind: Kind = "mean") -> Barrier:
    """Height of the barrier on a path, with E the loss or the error; never below 0: the ends are among the points.

    "mean": max_a E(a) - (E(0) + E(1)) / 2, the instability of Frankle et al. 2020 (linear-mode-connectivity).
    "maximum": max_a E(a) - max(E(0), E(1)), the climb from the higher end (sgd-escapes-local-minima,
    sparse-training-difficulty). "chord": max_a E(a) - ((1 - a) E(0) + a E(1)) (Entezari et al. 2022, section 2;
    sparse-training-difficulty).

    Raises:
        UsageError: an unknown kind, or a profile that does not go from 0 to 1.
    """
    ends = profile.fractions[[0, -1]].tolist()
    if ends != [0.0, 1.0]:
        raise UsageError(f"a barrier needs a profile from 0 to 1, this one goes from {ends[0]:g} to {ends[1]:g}")
    loss, loss_at = _height(profile.losses, profile.fractions, kind)
    error, error_at = _height(profile.errors, profile.fractions, kind)
    flags = {**profile.flags, "at chance": profile.errors.amax(dim=1) >= profile.chance}
    return Barrier(loss, error, loss_at, error_at, profile, flags)


def linear_barrier(
    network: Network,
    first: Weights,
    second: Weights,
    inputs: Tensor,
    labels: Tensor,
    *,
    kind: Kind = "mean",
    points: int = 30,
    statistics: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Barrier:
    """`barrier` of the straight line between two weights; the arguments are those of `profile_of` and `barrier`."""
    found = line_profile(
        network, first, second, inputs, labels, points=points, statistics=statistics, loss=loss, training=training
    )
    return barrier(found, kind=kind)


@dataclass(frozen=True)
class Crossings:
    """Of every segment between two snapshots, (replica, segment): `barrier` max_a phi(a) - max(phi(0), phi(1)).

    `crossed`: barrier > max(relative x phi(0), absolute); `valley`: an interior point below both ends by more than
    1e-6; `convexity`: share of interior second differences above 0; `losses` (replica, segment, point). Flags: "not
    finite".
    """

    barrier: Tensor
    crossed: Tensor
    valley: Tensor
    convexity: Tensor
    losses: Tensor
    flags: Flags


VALLEY = 1e-6
"""Depth in nats below which an interior minimum is rounding (specification of sgd-escapes-local-minima)."""


def crossings(
    network: Network,
    snapshots: Sequence[Weights],
    inputs: Tensor,
    labels: Tensor,
    *,
    points: int = 21,
    relative: float = 0.01,
    absolute: float = 1e-4,
    statistics: Tensor | None = None,
    loss: str | Loss = "cross-entropy",
    training: bool = False,
) -> Crossings:
    """Barriers of the full loss on the straight segments between successive snapshots of training.

    Source: Xing et al. 2018 (arXiv 1802.08770), section 3; specification of sgd-escapes-local-minima. Snapshots of
    successive steps give lag 1, of every tenth step lag 10. For basins give quenched weights, with relative 0.1 and
    absolute 0.02.

    Args:
        network, inputs, labels, points, statistics, loss, training: see `profile_of`. Losses are computed in float64.
        snapshots: weights in the order of training, at least 2.
        relative, absolute: what a barrier must exceed to be crossed.

    Raises:
        ShapeError: as `profile_of`; snapshots that do not fit each other.
        UsageError: fewer than 2 snapshots or 3 points.

    >>> from refute import architectures
    >>> net = architectures.build("mlp", (2,), 2, depth=0)
    >>> one, two = net.initialize([0]), net.initialize([1])
    >>> found = crossings(net, [one, two, one], torch.eye(2), torch.tensor([0, 1]))
    >>> found.crossed.tolist()  # the loss of a linear net is convex
    [[False, False]]
    """
    if len(snapshots) < 2 or points < 3:
        raise UsageError(f"2 snapshots and 3 points are the least, {len(snapshots)} and {points} came")
    wide = [cast(snapshot, torch.float64) for snapshot in snapshots]
    profiles = [
        line_profile(
            network, first, second, inputs, labels, points=points, statistics=statistics, loss=loss, training=training
        ).losses
        for first, second in itertools.pairwise(wide)
    ]
    losses = torch.stack(profiles, dim=1)
    start, end, inner = losses[..., 0], losses[..., -1], losses[..., 1:-1]
    height = losses.amax(dim=2) - torch.maximum(start, end)
    bends = losses[..., 2:] - 2 * inner + losses[..., :-2]
    return Crossings(
        height,
        height > (relative * start).clamp(min=absolute),
        inner.amin(dim=2) < torch.minimum(start, end) - VALLEY,
        (bends > 0).double().mean(dim=2),
        losses,
        {"not finite": ~torch.isfinite(losses).flatten(1).all(dim=1)},
    )


def disagreement(network: Network, first: Weights, second: Weights, inputs: Tensor) -> Tensor:
    """Share of examples for which two weights name different classes, in [0, 1], (replica,).

    Args:
        network: what is evaluated, with at least 2 outputs.
        first, second: weights of as many replicas.
        inputs: (example, *input_shape), or (replica, example, *input_shape).

    Raises:
        ShapeError: weights or inputs that do not fit.
    """
    _check_pair(first, second)
    check_examples(network, first, inputs)
    one, two = (network.evaluate(weights, inputs).argmax(dim=-1) for weights in (first, second))
    return (one != two).double().mean(dim=1)


def _height(values: Tensor, fractions: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    start, end = values[:, :1], values[:, -1:]
    match kind:
        case "mean":
            level = (start + end) / 2
        case "maximum":
            level = torch.maximum(start, end)
        case "chord":
            level = start + fractions.to(values) * (end - start)
        case _:
            raise UsageError(f'kind must be "mean", "maximum" or "chord", {kind!r} came')
    highest = (values - level).max(dim=1)
    return highest.values, fractions.to(values)[highest.indices]


def _chance(labels: Tensor, outputs: int) -> Tensor:
    """Error of the commonest label, (replica,)."""
    if labels.is_floating_point():
        return torch.full((len(labels),), torch.nan, dtype=torch.float64, device=labels.device)
    counts = torch.stack([torch.bincount(own.flatten(), minlength=outputs) for own in labels])
    return 1 - counts.amax(dim=1).double() / labels[0].numel()


def _check_pair(first: Weights, second: Weights) -> None:
    if first.flat.shape != second.flat.shape or first.slots != second.slots:
        raise ShapeError(
            f"both ends must be weights of one network and as many replicas, "
            f"{tuple(first.flat.shape)} and {tuple(second.flat.shape)} (replica, parameter) came"
        )
