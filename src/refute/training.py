"""The one training loop: all replicas of a cohort take each step together, each on its own data, in its own order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from refute.algorithms import SGD, Algorithm
from refute.architectures import Network, Readout, Weights
from refute.datasets import Data
from refute.errors import ShapeError, UsageError
from refute.randomness import stream
from refute.schedules import Constant, Schedule

Loss = Literal["cross-entropy", "squared"]
Vector = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class Run:
    """A trained cohort. `snapshots[step]` are the weights before that step; `losses` is (replica, step)."""

    start: Weights
    end: Weights
    snapshots: Mapping[int, Weights]
    losses: Tensor
    readout: Readout

    @property
    def diverged(self) -> Tensor:
        """Replicas whose weights or losses are not finite, bool (replica,)."""
        return ~(self.end.finite() & torch.isfinite(self.losses).all(dim=1))


@dataclass(frozen=True)
class _Pass:
    """One forward and backward pass: the replicas it covers, views of their weights, and where gradients go."""

    replicas: slice
    weights: dict[str, Tensor]
    trained: dict[str, Tensor]
    gradients: list[Tensor]


def train(
    network: Network,
    data: Data,
    algorithm: Algorithm | None = None,
    *,
    learning_rate: Vector,
    seeds: Sequence[int],
    steps: int,
    batch: int | None,
    weight_decay: Vector = 0.0,
    schedule: Schedule | None = None,
    loss: Loss = "cross-entropy",
    readout: Readout | None = None,
    snapshots: Sequence[int] = (),
    start: Weights | None = None,
) -> Run:
    """Train one cohort.

    Loss per replica: mean over the batch of the cross-entropy, or of (1/2) sum_c (y_c - f_c)^2 ("squared", one-hot y).

    Args:
        network: what is trained.
        data: training subset, labels and order are per replica.
        algorithm: plain SGD by default.
        learning_rate: a number, or one per replica.
        seeds: one per replica; streams "initialization" and "order-EPOCH" are derived from it.
        steps: number of optimizer steps.
        batch: examples per step and replica; None is full-batch gradient descent.
        weight_decay: a number, or one per replica.
        schedule: multiplier of the learning rate, constant by default.
        loss: "cross-entropy" or "squared".
        readout: scale and centre of the output (lazy training); plain outputs by default.
        snapshots: steps before which the weights are kept; `steps` itself means after the last.
        start: initial weights; drawn from the seeds by default.

    Raises:
        ShapeError: a vector or the data do not have one entry per seed.
    """
    replicas = len(seeds)
    device = str(data.inputs.device)
    rate, decay = (
        _column(v, replicas, n).to(device)
        for v, n in ((learning_rate, "learning_rate"), (weight_decay, "weight_decay"))
    )
    if data.index.shape[0] != replicas:
        raise ShapeError(f"data are for {data.index.shape[0]} replicas, {replicas} seeds came")
    unknown = [step for step in snapshots if not 0 <= step <= steps]
    if unknown:
        raise UsageError(f"snapshots must lie between 0 and {steps} steps, {unknown} came")

    schedule, algorithm, readout = schedule or Constant(), algorithm or SGD(), readout or Readout()
    start = start.clone() if start is not None else network.initialize(seeds, device=device)
    weights = start.clone()
    state = algorithm.start(weights)
    gradient = torch.zeros_like(weights.flat)
    passes = _passes(network, weights, gradient)
    losses = torch.zeros(replicas, steps, device=device)
    kept: dict[int, Weights] = {}

    for step, positions in enumerate(_batches(seeds, data.index.shape[1], batch, steps, device)):
        if step in snapshots:
            kept[step] = weights.clone()
        inputs, labels = data.batch(positions)
        for each in passes:
            x, y = inputs[each.replicas], labels[each.replicas]
            outputs = network(each.weights, x, training=True)
            outputs = readout.take(each.replicas).of(network, outputs, x)
            per_replica = _loss(outputs, y, loss)
            losses[each.replicas, step] = per_replica.detach()
            gradients = torch.autograd.grad(per_replica.sum(), list(each.trained.values()))
            for target, found in zip(each.gradients, gradients, strict=True):
                target.copy_(found)
        algorithm.step(weights, gradient, state, rate * schedule(step, steps), decay)

    if steps in snapshots:
        kept[steps] = weights.clone()
    return Run(start, weights, kept, losses, readout)


def _passes(network: Network, weights: Weights, gradient: Tensor) -> list[_Pass]:
    """Stacked nets take one pass over all replicas, looped ones a pass per replica.

    The leaves are views of the cohort's weights: an optimizer step on the one flat array moves them all.
    """
    count = weights.replicas
    groups = [slice(r, r + 1) for r in range(count)] if network.mode == "looped" else [slice(0, count)]
    gradients = Weights(weights.slots, gradient)
    passes = []
    for group in groups:
        views = {name: tensor[group].detach() for name, tensor in weights.items()}
        trained = {slot.name: views[slot.name].requires_grad_() for slot in weights.slots if not slot.buffer}
        passes.append(_Pass(group, views, trained, [gradients[name][group] for name in trained]))
    return passes


def _batches(seeds: Sequence[int], examples: int, batch: int | None, steps: int, device: str) -> Iterator[Tensor]:
    """Positions (replica, batch) in each replica's training subset; each epoch is a fresh shuffle per replica."""
    if batch is None or batch >= examples:
        everything = torch.arange(examples, device=device).expand(len(seeds), examples)
        for _ in range(steps):
            yield everything
        return
    per_epoch = examples // batch
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            shuffled = [torch.randperm(examples, generator=stream(seed, f"order-{epoch}")) for seed in seeds]
            order = torch.stack(shuffled).to(device)
        yield order[:, position * batch : (position + 1) * batch]


def _loss(outputs: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Loss of each replica (replica,) from outputs (replica, batch, output) and labels (replica, batch)."""
    if loss == "squared":
        targets = functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
        return (outputs - targets).square().sum(dim=-1).mean(dim=-1) / 2
    each = functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=-1)


def _column(value: Vector, replicas: int, name: str) -> Tensor:
    """A vector over replicas as (replica, 1)."""
    vector = torch.as_tensor(value, dtype=torch.float32)
    if vector.ndim > 1 or (vector.ndim == 1 and len(vector) != replicas):
        raise ShapeError(f"{name} must be a number or {replicas} numbers (one per seed), {tuple(vector.shape)} came")
    return vector.expand(replicas).reshape(replicas, 1).clone()
