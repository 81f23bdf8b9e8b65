"""Accuracy under adversarial attack, of a whole cohort at once, with checks that tell a weak attack from a robust net.

An attack only bounds the robust accuracy from above. What can be checked is checked: a cheaper attack must not find
more (Carlini et al. 2019, arXiv 1902.06705, section 5), and gradients must neither vanish nor drown in rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from refute import losses
from refute.architectures import Network, Weights
from refute.architectures.network import channels_together
from refute.attacks import PGD, SMALLEST_NORM, STEPS_OF_RADIUS
from refute.errors import ShapeError, UsageError
from refute.instruments.hessian import examples_of
from refute.instruments.interface import Flags, check_examples, subject
from refute.instruments.objective import right
from refute.instruments.probes import check_seeds
from refute.losses import Loss
from refute.randomness import stream

Norm = Literal["linf", "l2"]
Statistics = Literal["running", "batch", "batch-adaptive"]

BATCH = 256
"""Examples that are attacked together; what a network in training mode takes its statistics from."""
GROUP_BYTES = 4 * 2**20
"""Inputs of the replicas that are attacked together: about a core's share of cache."""
THINNED = 0.8
"""Examples that have fallen are left out once no more than this share of a batch stands."""
WEAKER = 0.005
"""An attack is flagged if a cheaper one leaves less accuracy by more than this share (half of the specifications')."""
CONVERGED = 0.01
"""An attack is flagged if more steps leave less accuracy by at least this (specification: 1 point)."""
FEW = 0.01
"""Share of rightly classified examples without a usable gradient above which a replica is flagged."""


@dataclass(frozen=True)
class RobustAccuracy:
    """Accuracy under attack at each radius.

    Attributes:
        radii: (replica, radius), in units of the inputs.
        accuracy: share of examples that are right where they are and wherever the attack came by, in [0, 1], (replica,
            radius).
        standard_error: of `accuracy` as an estimate for new examples, sqrt(a (1 - a) / n), (replica, radius).
        clean: accuracy without attack, (replica,).
        cheaper: the least accuracy that the cheaper attacks leave, (replica, radius); nan where none was run.
        no_gradient: share of the rightly classified examples whose gradient is 0, (replica,).
        saturated: share of those whose loss is below the type's rounding error, (replica,).
        correct: (replica, radius, example), bool.
        flags: "weaker than a cheaper attack", "not converged" (only with `audit_steps`), "rises with the radius" (by
            more than a standard error), "zero gradients", "saturated gradients" (try loss="margin").
    """

    radii: Tensor
    accuracy: Tensor
    standard_error: Tensor
    clean: Tensor
    cheaper: Tensor
    no_gradient: Tensor
    saturated: Tensor
    correct: Tensor
    flags: Flags


@dataclass(frozen=True)
class Margin:
    """max_{j != y} f_j - f_y, above 0 where an example is wrong (Carlini & Wagner 2017, section V, f_6 without bounds).

    Its gradient does not vanish where the cross-entropy saturates. One output: -y f with y = -1, +1.

    >>> Margin().each(torch.tensor([[[2.0, 0.5, -1.0]]]), torch.tensor([[0]])).tolist()
    [[-1.5]]
    """

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        labels = targets.unsqueeze(-1)
        if outputs.shape[-1] == 1:
            return -(outputs * (2 * labels - 1)).squeeze(-1)
        rivals = outputs.scatter(-1, labels, -torch.inf).max(dim=-1).values
        return rivals - outputs.gather(-1, labels).squeeze(-1)


@dataclass(frozen=True)
class Target:
    """Networks and examples under attack; from `target`. Inputs (replica, example, *input_shape)."""

    network: Network
    weights: Weights
    inputs: Tensor
    labels: Tensor
    loss: Loss | Margin
    statistics: Statistics
    batch: int
    seeds: tuple[int, ...]
    low: float | None = None
    high: float | None = None

    @property
    def examples(self) -> int:
        return self.inputs.shape[1]

    def parts(self) -> Iterator[tuple[slice, slice, "Part"]]:
        """Replicas and examples that go through together: one replica at a time where convolutions are looped over."""
        one = 4 * min(self.batch, self.examples) * self.inputs[0, 0].numel()
        step = 1 if self.network.mode == "looped" else max(1, GROUP_BYTES // one)
        for first in range(0, self.weights.replicas, step):
            rows = slice(first, min(first + step, self.weights.replicas))
            for begin in range(0, self.examples, self.batch):
                columns = slice(begin, begin + self.batch)
                own = (self.inputs[rows, columns], self.labels[rows, columns])
                yield rows, columns, Part(self, rows, columns, self.weights.take(rows), *own)

    def clean(self) -> Tensor:
        """Which examples are right where they are, bool (replica, example)."""
        found = torch.empty(self.labels.shape, dtype=torch.bool, device=self.labels.device)
        for rows, columns, part in self.parts():
            found[rows, columns] = part.right(part.inputs)
        return found


@dataclass(frozen=True)
class Part:
    """Some replicas and some of their examples: what an attack sees of the networks."""

    target: Target
    rows: slice
    columns: slice
    weights: Weights
    inputs: Tensor
    labels: Tensor

    @torch.no_grad()
    def right(self, inputs: Tensor) -> Tensor:
        """Whether each is told right, bool (replica, example)."""
        return right(self._outputs(inputs, training=self.target.statistics != "running"), self.labels)

    @torch.no_grad()
    def losses(self, inputs: Tensor) -> Tensor:
        """The attack's loss of each, (replica, example)."""
        outputs = self._outputs(inputs, training=self.target.statistics == "batch-adaptive")
        return self.target.loss.each(outputs, self.labels)

    def gradient(self, inputs: Tensor) -> Tensor:
        """The derivative of the summed losses by the inputs, like inputs."""
        return self.gradient_and_right(inputs)[0]

    def gradient_and_right(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`gradient`, and what the outputs of the same pass say: bool (replica, example)."""
        with torch.enable_grad():
            leaf = inputs.detach().requires_grad_()
            outputs = self._outputs(leaf, training=self.target.statistics == "batch-adaptive")
            total = self.target.loss.each(outputs, self.labels).sum()
            (found,) = torch.autograd.grad(total, leaf, materialize_grads=True)
        return found, right(outputs.detach(), self.labels)

    def generators(self) -> list[torch.Generator]:
        """One stream per replica, the same however replicas are packed."""
        return [stream(seed, f"robustness-{self.columns.start}") for seed in self.target.seeds[self.rows]]

    def take(self, index: Tensor) -> "Part":
        """The examples at `index` (replica, example)."""
        return replace(self, inputs=self.picked(self.inputs, index), labels=picked(self.labels, index))

    def picked(self, inputs: Tensor, index: Tensor) -> Tensor:
        """Inputs at `index`, in the memory order that suits the network."""
        chosen = picked(inputs, index)
        return channels_together(chosen) if self.target.network.channels_last else chosen

    def _outputs(self, inputs: Tensor, *, training: bool) -> Tensor:
        buffers = self.weights.buffers
        if training:
            buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        flat = self.weights.flat.detach()
        return self.target.network(Weights(self.weights.slots, flat, buffers), inputs, training=training)


@dataclass(frozen=True)
class Attacker:
    """Projected gradient descent of any radius, from the input and from random points; one step from the input is FGSM.

    `step_size` in units of the radius.
    """

    norm: Norm = "linf"
    steps: int = 20
    step_size: float | None = None
    random_starts: int = 1
    clean_start: bool = True

    def __post_init__(self) -> None:
        PGD(0.0, self.norm, None, self.steps)  # refuses what PGD refuses
        if self.random_starts < 0 or not (self.random_starts or self.clean_start):
            raise UsageError("an attack needs a start: set clean_start, or random_starts to 1 or more")

    def standing(self, target: Target, radius: Tensor, standing: Tensor) -> Tensor:
        """Which of the examples `standing` stay right, bool (replica, example); radius (replica,).

        An example falls at the first point where it is wrong, and costs nothing more. Only where outputs depend on who
        else is in the batch is everyone attacked to the end, and judged there.
        """
        left = torch.empty_like(standing)
        for rows, columns, part in target.parts():
            before, reach = standing[rows, columns], radius[rows]
            if target.statistics == "running":
                left[rows, columns] = self._until_fallen(part, reach, before)
            else:
                left[rows, columns] = before & self._to_the_end(part, reach)
        return left

    @property
    def cheaper(self) -> tuple["Attacker", ...]:
        """One step, and a quarter of the steps, both from the input alone; none below FGSM."""
        steps = {1, self.steps // 4} - {0, self.steps}
        return tuple(Attacker(self.norm, count, None, 0, True) for count in sorted(steps))

    def attacks(self, target: Target, radius: Tensor) -> list[PGD]:
        """One attack for each start, the same that `train` takes."""
        starts = [False] * self.clean_start + [True] * self.random_starts
        bounds = (target.low, target.high)
        return [PGD(radius, self.norm, self._size(radius), self.steps, 1, start, *bounds) for start in starts]

    def _size(self, radius: Tensor) -> Tensor:
        shares = 1.0 if self.steps == 1 else STEPS_OF_RADIUS / self.steps
        return radius * (shares if self.step_size is None else self.step_size)

    def _to_the_end(self, part: Part, radius: Tensor) -> Tensor:
        left, ways = torch.ones_like(part.labels, dtype=torch.bool), [part]
        if part.target.statistics == "batch-adaptive":
            # where examples share statistics, the sum of losses is raised most by a few that are far gone
            ways.append(replace(part, target=replace(part.target, statistics="batch")))
        for way in ways:
            generators = way.generators()
            for attack in self.attacks(way.target, radius):
                left &= part.right(attack.perturb(part.inputs, way.gradient, way.losses, generators))
        return left

    def _until_fallen(self, part: Part, radius: Tensor, standing: Tensor) -> Tensor:
        left, generators = standing.clone(), part.generators()
        for random in [False] * self.clean_start + [True] * self.random_starts:
            moved = self._start(part, radius, generators) if random else part.inputs
            index = _front(left)
            if index.shape[1] == 0:
                break
            descent = Descent(part.take(index), part.picked(moved, index), radius, self._size(radius), self.norm)
            for _ in range(self.steps):
                left.scatter_(1, index, left.gather(1, index) & descent.step())
                kept = _front(left.gather(1, index))
                if kept.shape[1] <= THINNED * index.shape[1]:
                    index, descent = index.gather(1, kept), descent.take(kept)
                if index.shape[1] == 0:
                    break
            if index.shape[1]:
                left.scatter_(1, index, left.gather(1, index) & descent.right())
        return left

    def _start(self, part: Part, radius: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Uniform in the ball: a PGD that stays where it starts."""
        still = PGD(radius, self.norm, torch.zeros_like(radius), 1, 1, True, part.target.low, part.target.high)
        return still.perturb(part.inputs, torch.zeros_like, part.losses, generators)


class Descent:
    """The steps of `attacks.PGD` one at a time, in memory of its own, so that examples can be left out on the way."""

    def __init__(self, part: Part, moved: Tensor, radius: Tensor, size: Tensor, norm: Norm) -> None:
        self.part, self.moved, self.radius, self.size, self.norm = part, moved, radius, size, norm
        low, high = part.target.low, part.target.high
        self.reach = radius.view(-1, *[1] * (moved.ndim - 1)).to(moved)
        self.stride = size.view(-1, *[1] * (moved.ndim - 1)).to(moved)
        if norm == "linf":
            self.lower = (part.inputs - self.reach).clamp_(low, None) if low is not None else part.inputs - self.reach
            self.upper = (part.inputs + self.reach).clamp_(None, high) if high is not None else part.inputs + self.reach

    def step(self) -> Tensor:
        """Move once; whether each was right before, bool (replica, example)."""
        gradient, was_right = self.part.gradient_and_right(self.moved)
        if self.norm == "linf":
            moved = gradient.sign_().mul_(self.stride).add_(self.moved)
            self.moved = torch.clamp(moved, self.lower, self.upper, out=moved)
            return was_right
        length = gradient.flatten(2).norm(dim=2).clamp_(min=SMALLEST_NORM).view(*gradient.shape[:2], *self._ones)
        away = gradient.div_(length).mul_(self.stride).add_(self.moved).sub_(self.part.inputs)
        length = away.flatten(2).norm(dim=2).clamp_(min=SMALLEST_NORM).view(*away.shape[:2], *self._ones)
        self.moved = away.mul_((self.reach / length).clamp_(max=1)).add_(self.part.inputs)
        if self.part.target.low is not None or self.part.target.high is not None:
            self.moved.clamp_(self.part.target.low, self.part.target.high)
        return was_right

    def right(self) -> Tensor:
        """Whether each is right where it is, bool (replica, example)."""
        return self.part.right(self.moved)

    def take(self, index: Tensor) -> "Descent":
        """Some of the examples, at `index` (replica, example)."""
        part = self.part.take(index)
        return Descent(part, self.part.picked(self.moved, index), self.radius, self.size, self.norm)

    @property
    def _ones(self) -> list[int]:
        return [1] * (self.moved.ndim - 2)


def picked(tensor: Tensor, index: Tensor) -> Tensor:
    """Entries of (replica, example, ...) at `index` (replica, example)."""
    return tensor[torch.arange(len(index), device=index.device).unsqueeze(1), index]


def _front(standing: Tensor) -> Tensor:
    """Where the standing examples are, (replica, most of them in a replica); filled up with others."""
    most = int(standing.sum(dim=1).max())
    return standing.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]


def target(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    seeds: Sequence[int],
    loss: str | Loss | Margin = "cross-entropy",
    statistics: Statistics = "running",
    batch: int = BATCH,
    low: float | None = None,
    high: float | None = None,
) -> Target:
    """What is attacked; the arguments are those of `robust_accuracy`."""
    network, weights = subject(network, weights, inputs)
    check_examples(network, weights, inputs, labels)
    check_seeds(seeds, weights.replicas)
    if not inputs.is_floating_point():
        raise UsageError("inputs must be real numbers to be moved a little, whole numbers came")
    if labels.is_floating_point():
        raise UsageError("labels must be classes, values came: an accuracy needs classes")
    if statistics not in ("running", "batch", "batch-adaptive"):
        raise UsageError(f'statistics must be "running", "batch" or "batch-adaptive", {statistics!r} came')
    if batch < 1:
        raise UsageError(f"batch must be at least 1, {batch} came")
    lowest, highest = inputs.aminmax()
    if (low is not None and lowest < low) or (high is not None and highest > high):
        raise UsageError(
            f"inputs must lie in low..high, {low}..{high}, but reach from {lowest:g} to {highest:g}: give the range "
            "of the inputs as they are (after standardization), or None"
        )
    x, y = examples_of(network, weights, inputs, labels)
    chosen = Margin() if loss == "margin" else losses.get(loss) if isinstance(loss, str) else loss
    return Target(network, weights, x, y, chosen, statistics, batch, tuple(seeds), low, high)


def robust_accuracy(
    network: Network | torch.nn.Module,
    weights: Weights | None,
    inputs: Tensor,
    labels: Tensor,
    *,
    radii: Sequence[float] | Tensor,
    seeds: Sequence[int],
    norm: Norm = "linf",
    steps: int = 20,
    step_size: float | None = None,
    random_starts: int = 1,
    clean_start: bool = True,
    loss: str | Loss | Margin = "cross-entropy",
    statistics: Statistics = "running",
    batch: int = BATCH,
    low: float | None = None,
    high: float | None = None,
    check: bool = True,
    audit_steps: int | None = None,
) -> RobustAccuracy:
    """A(epsilon) = mean_i min over the points x' that the attack visits in the ball of 1[argmax f(x') = y_i].

    Projected gradient descent (Madry et al. 2018, section 2.1), see `refute.attacks.PGD`; `steps=1` without random
    starts is FGSM (Goodfellow et al. 2015, section 4), in "l2" one normalized step of the radius.
    batch-norm-adversarial-vulnerability: steps 20, step_size 1/8, both starts, low 0, high 1, l2 radii epsilon sqrt(d).
    adversarial-training-hurts-generalization: steps 20, two starts.

    Args:
        network: with `weights`, or a module alone.
        weights: of the cohort.
        inputs: (example, *input_shape) or (replica, example, *input_shape).
        labels: (example,) or (replica, example), classes.
        radii: epsilon in units of the inputs, not negative, (radius,), or each replica's own, (replica, radius).
        seeds: one per replica, of which its random starts come.
        norm: "linf" or "l2", over all of one input's numbers.
        steps: gradients per start.
        step_size: in units of the radius; 2.5 / steps by default (one step: 1).
        random_starts: starts uniformly in the ball.
        clean_start: start at the input as well.
        loss: what the attack raises: a name or value, see `refute.losses`, or "margin", see `Margin`.
        statistics: "running"; "batch": attacked as "running", then judged with the statistics of the attacked batch;
            "batch-adaptive": attacked through these too, and as "batch", the worse of both counts (Awais et al. 2020;
            specification C5d).
        batch: examples together.
        low, high: range of the inputs, None for no bound.
        check: also run one step and a quarter of the steps, for the flags; each radius apart, so that a rise is seen.
            False is faster: an example that has fallen is not attacked at larger radii, whose balls hold it too.
        audit_steps: run so many steps as well and flag if they find a point more.

    Raises:
        ShapeError: examples, radii or seeds that do not fit.
        UsageError: no attack at all, steps below 1, inputs outside of low..high, labels that are not classes.

    >>> net = torch.nn.Linear(1, 2)
    >>> _ = net.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.zeros(2)})
    >>> inputs = torch.tensor([[0.1], [0.3], [0.5], [-0.7]])  # right by the sign of the input, each |x| from wrong
    >>> found = robust_accuracy(net, None, inputs, (inputs > 0).long().flatten(), radii=[0, 0.2, 0.6], seeds=[0])
    >>> found.accuracy.tolist()
    [[1.0, 0.75, 0.25]]
    """
    goal = target(
        network,
        weights,
        inputs,
        labels,
        seeds=seeds,
        loss=loss,
        statistics=statistics,
        batch=batch,
        low=low,
        high=high,
    )
    attacker = Attacker(norm, steps, step_size, random_starts, clean_start)
    wanted = own_radii(radii, goal.weights)
    clean = goal.clean()
    correct = _curve(goal, attacker, wanted, clean, apart=check)
    accuracy = correct.double().mean(dim=2)
    cheaper = torch.full_like(accuracy, torch.nan)
    if check and attacker.cheaper:
        each = [_curve(goal, cheap, wanted, clean, apart=True).double().mean(dim=2) for cheap in attacker.cheaper]
        cheaper = torch.stack(each).amin(dim=0)
    no_gradient, saturated = gradient_shares(goal, clean)
    flags = {
        "weaker than a cheaper attack": (accuracy > cheaper + WEAKER).any(dim=1),
        "rises with the radius": _rises(wanted, accuracy, goal.examples),
        "zero gradients": no_gradient > FEW,
        "saturated gradients": saturated > FEW,
    }
    if audit_steps is not None:
        longer = Attacker(norm, audit_steps, step_size, random_starts, clean_start)
        audited = _curve(goal, longer, wanted, clean, apart=True).double().mean(dim=2)
        flags["not converged"] = (accuracy - audited >= CONVERGED).any(dim=1)
    error = (accuracy * (1 - accuracy) / goal.examples).sqrt()
    clean_accuracy = clean.double().mean(dim=1)
    return RobustAccuracy(wanted, accuracy, error, clean_accuracy, cheaper, no_gradient, saturated, correct, flags)


def own_radii(radii: Sequence[float] | Tensor, weights: Weights) -> Tensor:
    """Radii (replica, radius) of shared or own ones."""
    wanted = torch.as_tensor(radii, dtype=weights.flat.dtype, device=weights.flat.device)
    wanted = wanted.expand(weights.replicas, -1) if wanted.ndim == 1 else wanted
    if wanted.ndim != 2 or len(wanted) != weights.replicas or wanted.numel() == 0:
        came = tuple(torch.as_tensor(radii).shape)
        raise ShapeError(f"radii must be (radius,) or ({weights.replicas} replicas, radius), {came} came")
    if not bool((torch.isfinite(wanted) & (wanted >= 0)).all()):
        raise UsageError("radii must be finite and not negative")
    return wanted


def _curve(goal: Target, attacker: Attacker, radii: Tensor, clean: Tensor, *, apart: bool) -> Tensor:
    """Which examples stay right at each radius, bool (replica, radius, example).

    Unless every radius is to be measured `apart`, who has fallen at a smaller one is not attacked again.
    """
    order = radii.argsort(dim=1)
    correct = torch.empty(*radii.shape, goal.examples, dtype=torch.bool, device=clean.device)
    replicas, standing = torch.arange(len(radii), device=clean.device), clean
    for at in order.T:
        left = attacker.standing(goal, radii[replicas, at], standing)
        correct[replicas, at] = left
        standing = clean if apart else left
    return correct


def gradient_shares(goal: Target, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of rightly classified examples with a gradient of 0, and with a loss below rounding, each (replica,)."""
    zero, tiny = torch.zeros_like(clean), torch.zeros_like(clean)
    for rows, columns, part in goal.parts():
        zero[rows, columns] = part.gradient(part.inputs).flatten(2).abs().amax(dim=2) == 0
        if not isinstance(goal.loss, Margin):
            tiny[rows, columns] = part.losses(part.inputs) < torch.finfo(part.inputs.dtype).eps
    right_ones = clean.sum(dim=1).clamp(min=1)
    return (zero & clean).sum(dim=1) / right_ones, (tiny & clean).sum(dim=1) / right_ones


def _rises(radii: Tensor, accuracy: Tensor, examples: int) -> Tensor:
    """Whether accuracy is higher at a larger radius by more than a standard error."""
    ordered = accuracy.gather(1, radii.argsort(dim=1))
    lowest = ordered.cummin(dim=1).values
    slack = (ordered * (1 - ordered) / examples).sqrt() + 1 / examples
    return (ordered > lowest + slack).any(dim=1)
