"""The size of a perturbation at which a network has lost half of its accuracy, for each replica by bisection.

Unlike accuracy at one size it knows no floor and no ceiling (batch-norm-adversarial-vulnerability: eps50, sigma*).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refute.architectures import Network, Weights
from refute.errors import UsageError
from refute.instruments.corruptions import SHARES, Kind, corrupted_target
from refute.instruments.interface import Flags
from refute.instruments.probes import check_seeds
from refute.instruments.robustness import FEW, WEAKER, Attacker, Margin, Norm, Statistics, gradient_shares, target
from refute.losses import Loss
from refute.randomness import stream

FACTOR = 1.6
"""Ratio of neighbouring radii before half accuracy is bracketed (specification)."""
NEAR_CHANCE = 1.5
"""Half of an accuracy below so many times 1 / classes can't be told from guessing under noise."""

ASIDE, BEYOND = 0.3, 3.0
"""Octaves: how far from the radius found its slope is taken, and how far the bootstrap extrapolates by it."""

Standing = Callable[[Tensor, Tensor], Tensor]
"""(radius (replica,), who is still attacked, bool (replica, example)) -> share right in [0, 1], (replica, example)."""


@dataclass(frozen=True)
class HalfRadius:
    """Where accuracy is half of what it is without a perturbation.

    Attributes:
        radius: (replica,), in units of the inputs; nan where it was not bracketed.
        octaves: standard error of log2(radius) from the finite test set, by bootstrap over examples, (replica,).
        low, high: 95 % bootstrap interval of radius, (replica,).
        clean: accuracy without perturbation, (replica,).
        radii, accuracies: what was visited, radii ascending, (replica, visit).
        flags: "never half" (not within smallest..largest), "not bracketed closely" (visits ran out), "rises with the
            radius"; of an attack those of `robust_accuracy` at the radius found; of noise "half is near chance".
    """

    radius: Tensor
    octaves: Tensor
    low: Tensor
    high: Tensor
    clean: Tensor
    radii: Tensor
    accuracies: Tensor
    flags: Flags


def half_accuracy_radius(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    start: float,
    smallest: float | None = None,
    largest: float | None = None,
    norm: Norm = "linf",
    steps: int = 20,
    step_size: float | None = None,
    random_starts: int = 1,
    clean_start: bool = True,
    loss: str | Loss | Margin = "cross-entropy",
    statistics: Statistics = "running",
    low: float | None = None,
    high: float | None = None,
    precision: float = 0.02,
    visits: int = 20,
    resamples: int = 200,
    check: bool = True,
) -> HalfRadius:
    """eps50: A(eps50) = A(0) / 2, A the accuracy under attack; interpolated in log(epsilon) between two visited radii.

    Each replica's radius is multiplied or divided by 1.6 from `start` until half accuracy lies between two radii, then
    the bracket is halved in the logarithm. Source: specification batch-norm-adversarial-vulnerability (start 0.00625).

    Args:
        network, weights, inputs, labels, seeds, norm, steps, step_size, random_starts, clean_start, loss, statistics,
            low, high: see `robustness.robust_accuracy`.
        start: first radius, above 0.
        smallest, largest: where to give up; start / 1000 and start x 1000 by default.
        precision: width of the bracket in log2 at which to stop.
        visits: most radii to try.
        resamples: bootstrap samples of the examples.
        check: also run the cheaper attacks at the radius found, for the flag.

    Raises:
        ShapeError, UsageError: as `robustness.robust_accuracy`; numbers out of range.

    >>> net = torch.nn.Linear(1, 2)
    >>> _ = net.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)})
    >>> inputs = torch.linspace(0.01, 1.0, 100).unsqueeze(1)  # an input x falls at the radius x
    >>> found = half_accuracy_radius(net, None, inputs, torch.ones(100).long(), seeds=[0], start=0.1)
    >>> abs(found.radius.item() - 0.5) < 0.02
    True
    """
    goal = target(
        network, weights, inputs, labels, seeds=seeds, loss=loss, statistics=statistics, low=low, high=high
    )  # fmt: skip
    attacker = Attacker(norm, steps, step_size, random_starts, clean_start)
    clean = goal.clean()
    falls = goal.statistics == "running"

    def share_right(radius: Tensor, standing: Tensor) -> Tensor:
        return attacker.standing(goal, radius, standing if falls else clean).double()

    found = bisect(share_right, clean.double(), goal.seeds, start, smallest, largest, precision, visits, resamples)
    no_gradient, saturated = gradient_shares(goal, clean)
    flags = {**found.flags, "zero gradients": no_gradient > FEW, "saturated gradients": saturated > FEW}
    if check and attacker.cheaper:
        at = found.radius.nan_to_num(nan=start).to(goal.inputs.dtype)
        own = attacker.standing(goal, at, clean).double().mean(dim=1)
        cheap = [attack.standing(goal, at, clean).double().mean(dim=1) for attack in attacker.cheaper]
        flags["weaker than a cheaper attack"] = own > torch.stack(cheap).amin(dim=0) + WEAKER
    return HalfRadius(**{**vars(found), "flags": flags})


def half_accuracy_noise(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    start: float,
    kind: Kind = "gaussian",
    smallest: float | None = None,
    largest: float | None = None,
    draws: int = 3,
    low: float | None = None,
    high: float | None = None,
    precision: float = 0.02,
    visits: int = 20,
    resamples: int = 200,
) -> HalfRadius:
    """sigma*: the level of a corruption at which half the accuracy is left; the same draws at every level.

    Args:
        network, weights, inputs, labels, seeds, kind, draws, low, high: see `corruptions.corruption_accuracy`.
        start, smallest, largest, precision, visits, resamples: see `half_accuracy_radius`.
    """
    goal = corrupted_target(network, weights, inputs, labels, seeds=seeds, kind=kind, draws=draws, low=low, high=high)
    clean = goal.right_at(torch.zeros(goal.weights.replicas, dtype=goal.inputs.dtype), draws=1)

    most = largest if largest is not None or kind not in SHARES else 1.0

    def share_right(level: Tensor, _: Tensor) -> Tensor:
        return goal.right_at(level, draws=draws)

    found = bisect(share_right, clean, tuple(seeds), start, smallest, most, precision, visits, resamples)
    near = found.clean / 2 <= NEAR_CHANCE / max(goal.network.outputs, 2)
    return HalfRadius(**{**vars(found), "flags": {**found.flags, "half is near chance": near}})


def bisect(
    share_right: Standing,
    clean: Tensor,
    seeds: Sequence[int],
    start: float,
    smallest: float | None,
    largest: float | None,
    precision: float,
    visits: int,
    resamples: int,
) -> HalfRadius:
    """The search shared by attacks and noise; `clean` (replica, example) is the share right without perturbation."""
    least = start / 1000 if smallest is None else smallest
    most = start * 1000 if largest is None else largest
    if not 0 < least <= start <= most or precision <= 0 or visits < 2 or resamples < 2:
        raise UsageError(
            "start must be above 0 and within smallest..largest, precision above 0, visits and resamples at least 2; "
            f"{start}, {least}..{most}, {precision}, {visits} and {resamples} came"
        )
    check_seeds(seeds, len(clean))
    half = clean.mean(dim=1) / 2
    device = clean.device
    below = torch.full(half.shape, torch.nan, dtype=torch.float64, device=device)  # largest radius above half accuracy
    above = below.clone()
    radius = torch.full_like(below, start)
    radii: list[Tensor] = []
    rights: list[Tensor] = []
    for _ in range(visits):
        standing = clean > 0
        for seen, right in zip(radii, rights, strict=True):
            standing = standing & ((right > 0) | (seen >= radius).unsqueeze(1))
        right = share_right(radius, standing).double()
        radii.append(radius)
        rights.append(right)
        high_enough = right.mean(dim=1) >= half
        below = torch.where(high_enough, radius.fmax(below), below)
        above = torch.where(high_enough, above, radius.fmin(above))
        bracketed = ~(below.isnan() | above.isnan())
        close = bracketed & ((above / below).log2() <= precision)
        grown, shrunk = (below * FACTOR).clamp(max=most), (above / FACTOR).clamp(min=least)
        following = torch.where(bracketed, (below * above).sqrt(), torch.where(above.isnan(), grown, shrunk))
        done = close | (following == radius)
        if bool(done.all()):
            break
        radius = torch.where(done, radius, following)
    visited, order = torch.stack(radii, dim=1).sort(dim=1)
    right = torch.stack(rights, dim=1).gather(1, order.unsqueeze(2).expand(-1, -1, clean.shape[1]))
    accuracies = right.mean(dim=2)
    never = below.isnan() | above.isnan()
    crossed = _crossing(visited, (accuracies - half.unsqueeze(1)).unsqueeze(2))[:, 0]
    found = crossed.exp2()
    spread = _bootstrap(visited, right, clean, crossed, seeds, resamples)
    low, high = (spread.quantile(q, dim=1).exp2() for q in (0.025, 0.975))
    error = (accuracies * (1 - accuracies) / clean.shape[1]).sqrt() + 1 / clean.shape[1]
    flags = {
        "never half": never,
        "not bracketed closely": ~never & ((above / below).log2() > precision),
        "rises with the radius": (accuracies > accuracies.cummin(dim=1).values + error).any(dim=1),
    }
    unknown = torch.full_like(found, torch.nan)
    return HalfRadius(
        torch.where(never, unknown, found),
        torch.where(never, unknown, spread.std(dim=1)),
        torch.where(never, unknown, low),
        torch.where(never, unknown, high),
        clean.mean(dim=1),
        visited,
        accuracies,
        flags,
    )


def _crossing(radii: Tensor, heights: Tensor) -> Tensor:
    """log2 of the first radius (replica, visit) where heights (replica, visit, sample) fall below 0, interpolated."""
    logs = radii.log2().unsqueeze(2).expand_as(heights)
    after = (heights < 0).to(torch.int8).argmax(dim=1, keepdim=True)
    after = torch.where((heights < 0).any(dim=1, keepdim=True), after, heights.shape[1] - 1)
    before = (after - 1).clamp(min=0)
    high, low = heights.gather(1, before), heights.gather(1, after)
    share = torch.where(high > low, (high / (high - low)).clamp(0, 1), 1.0)
    start, end = logs.gather(1, before), logs.gather(1, after)
    return (start + share * (end - start)).squeeze(1)


def _bootstrap(
    radii: Tensor, right: Tensor, clean: Tensor, found: Tensor, seeds: Sequence[int], resamples: int
) -> Tensor:
    """log2 of the half-accuracy radius of resampled test sets, (replica, sample); `found` (replica,) is the log2 of it.

    Beyond the radii visited, which may end close to the one found, accuracy goes on with the slope about it.
    """
    each = []
    for replica, seed in enumerate(seeds):
        examples = clean.shape[1]
        drawn = torch.randint(0, examples, (resamples, examples), generator=stream(seed, "half-radius-bootstrap"))
        drawn = drawn.to(clean.device)
        heights = torch.stack([values[drawn].mean(dim=1) for values in right[replica]])
        heights = heights - clean[replica][drawn].mean(dim=1) / 2
        logs = radii[replica].log2()
        fall = BEYOND * _slope(logs, right[replica].mean(dim=1), found[replica])
        logs = torch.cat([logs[:1] - BEYOND, logs, logs[-1:] + BEYOND])
        heights = torch.cat([heights[:1] + fall, heights, heights[-1:] - fall])
        each.append(_crossing(logs.exp2().unsqueeze(0), heights.unsqueeze(0))[0])
    return torch.stack(each)


def _slope(logs: Tensor, accuracies: Tensor, at: Tensor) -> Tensor:
    """Fall of accuracy per octave between the visited radii next to `at` but at least ASIDE octaves from it."""
    lower, upper = (logs <= at - ASIDE).nonzero(), (logs >= at + ASIDE).nonzero()
    first = int(lower[-1]) if len(lower) else 0
    last = int(upper[0]) if len(upper) else len(logs) - 1
    return (accuracies[first] - accuracies[last]) / (logs[last] - logs[first]).clamp(min=1e-9)
