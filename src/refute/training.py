"""The one training loop: every replica of a cohort takes its steps on its own data, in its own order.

A cohort is trained in groups of replicas, one group after the other: small networks many at once, large ones and
convolutions one at a time, so that what a step touches stays in the processor's cache. How replicas are grouped
changes no initial weight, no data order and no noise.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from refute import losses
from refute.algorithms import SGD, Algorithm, State
from refute.allocation import keep_freed_memory
from refute.architectures import Network, Readout, Weights, noise, processor
from refute.architectures.layers import Chain, PerceptronStep
from refute.architectures.layers.arrays import known
from refute.architectures.layers.images import by_replica, side_by_side
from refute.architectures.network import channels_together, shares
from refute.attacks import Attack
from refute.augmentation import Augmentation, augment
from refute.datasets import Batch, Data
from refute.errors import ShapeError, UsageError
from refute.losses import Loss
from refute.precision import full_precision
from refute.randomness import stream
from refute.schedules import Constant, Schedule
from refute.stopping import EarlyStop

Vector = float | Sequence[float] | Tensor

CACHE_BYTES = processor.group_bytes()
"""What one group of replicas should touch in a step."""
MODULE_BYTES = processor.module_group_bytes()
"""The same where torch differentiates modules."""
PASS_BYTES = 64 * 2**20
"""What a pass should touch at most; a larger batch goes through in chunks."""
DEVICE_PASS_BYTES = 2 * 2**30
"""What a replica's pass should touch at most on another device than the CPU, where few large passes are fastest."""
SMALLEST_CHUNK = 32
"""Examples below which smaller passes cost more in calls than they save in cache."""
BATCHES_BYTES = 2**22
"""Inputs that are gathered at a time where several steps can be taken in one call."""
PROBE_EXAMPLES = 8


@dataclass(frozen=True)
class Run:
    """A trained cohort.

    `start`, `end`: its weights before and after; `snapshots[step]`: those before that step; `losses` (replica, step):
    of each step's batch, nan after a replica's early stop; `taken` (replica,) int64: steps that each replica took.
    """

    start: Weights
    end: Weights
    snapshots: Mapping[int, Weights]
    losses: Tensor
    taken: Tensor
    readout: Readout

    @property
    def diverged(self) -> Tensor:
        """Replicas whose weights or losses are not finite, bool (replica,)."""
        steps = torch.arange(self.losses.shape[1], device=self.losses.device)
        sound = torch.isfinite(self.losses) | (steps >= self.taken.unsqueeze(1))
        return ~(self.end.finite() & sound.all(dim=1))

    def take(self, replicas: slice) -> "Run":
        """Views of some replicas."""
        return Run(
            self.start.take(replicas),
            self.end.take(replicas),
            {step: kept.take(replicas) for step, kept in self.snapshots.items()},
            self.losses[replicas],
            self.taken[replicas],
            self.readout.take(replicas),
        )


@torch.no_grad()
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
    loss: str | Loss = "cross-entropy",
    augmentations: Sequence[Augmentation] = (),
    attack: Attack | None = None,
    stop: EarlyStop | None = None,
    readout: Readout | None = None,
    snapshots: Sequence[int] = (),
    start: Weights | None = None,
) -> Run:
    """Train one cohort.

    Args:
        network: what is trained.
        data: training subset, labels and order are per replica.
        algorithm: plain SGD by default.
        learning_rate: a number, or one per replica.
        seeds: one per replica, of which its streams come: "initialization", "order-EPOCH", "augmentation", "attack" and
            "noise" (dropout).
        steps: number of optimizer steps.
        batch: examples per step and replica; None is full-batch gradient descent.
        weight_decay: a number, or one per replica.
        schedule: multiplier of the learning rate, constant by default.
        loss: name of a loss (see `refute.losses`) or a loss of your own; what is minimized is its mean over the batch.
        augmentations: random changes of every batch's images, see `refute.augmentation`.
        attack: adversarial training: every batch is moved by it first (after augmentation), against the weights of that
            step in training mode; running statistics see the moved batch only.
        stop: when a replica has trained enough, see `refute.stopping`; it then costs nothing more.
        readout: scale and centre of the output (lazy training); plain outputs by default.
        snapshots: steps before which the weights are kept; `steps` itself means after the last.
        start: initial weights; drawn from the seeds by default.

    Raises:
        ShapeError: a vector or the data do not have one entry per seed, or the inputs are not of the network's shape.
        UsageError: a snapshot lies outside the run, a batch holds nothing, or a network has too few outputs (one output
            tells 2 classes apart).
        UnknownNameError: there is no loss of that name.
    """
    replicas = common_replicas(data, seeds)
    unknown = [step for step in snapshots if not 0 <= step <= steps]
    if unknown:
        raise UsageError(f"snapshots must lie between 0 and {steps} steps, {unknown} came")
    chosen = losses.get(loss) if isinstance(loss, str) else loss
    if data.input_shape != network.input_shape:
        raise ShapeError(
            f"{network.name} takes inputs {network.input_shape} each, but {data.name} has {data.input_shape}"
        )
    if batch is not None and batch < 1:
        raise UsageError(f"batch should be at least 1, or None for all examples, but is {batch}")
    if network.outputs == 1 and data.classes != 2 and not isinstance(chosen, losses.Reconstruction):
        raise UsageError(f"a network with one output tells 2 classes apart, but {data.name} has {data.classes}")
    if isinstance(loss, str) and loss != "reconstruction" and 1 < network.outputs < data.classes:
        raise UsageError(
            f"{network.name} has {network.outputs} outputs, too few for the {data.classes} classes of {data.name}"
        )
    keep_freed_memory()
    full_precision()
    device = str(data.inputs.device)
    rate = column(learning_rate, replicas, "learning_rate").to(device)
    decay = column(weight_decay, replicas, "weight_decay").to(device)
    start = start.clone() if start is not None else network.initialize(seeds, device=device)
    run = Run(
        start,
        start.clone(),
        {step: start.clone() for step in snapshots},
        torch.full((replicas, steps), torch.nan, device=device),
        torch.zeros(replicas, dtype=torch.int64, device=device),
        readout or Readout(),
    )
    whole = _Job(
        network,
        data,
        algorithm or SGD(),
        rate,
        decay,
        tuple(seeds),
        batch if batch is not None and batch < data.index.shape[1] else None,
        schedule or Constant(),
        chosen,
        tuple(augmentations),
        attack,
        stop,
        run,
    )
    noise.begin(run.end.buffers, seeds)
    size, chunk = _sizes(network, start, data, batch)
    for group in shares(replicas, size):
        _train_group(whole.take(group), chunk, _begin(whole, group))
    return run


@dataclass(frozen=True)
class _Job:
    """What is to be trained, and where the results go (views of the cohort's, in a job for some replicas)."""

    network: Network
    data: Data
    algorithm: Algorithm
    rate: Tensor
    decay: Tensor
    seeds: tuple[int, ...]
    batch: int | None
    schedule: Schedule
    loss: Loss
    augmentations: tuple[Augmentation, ...]
    attack: Attack | None
    stop: EarlyStop | None
    run: Run

    def take(self, replicas: slice) -> "_Job":
        return replace(
            self,
            data=self.data.take_replicas(replicas),
            algorithm=self.algorithm.take(replicas),
            rate=self.rate[replicas],
            decay=self.decay[replicas],
            seeds=self.seeds[replicas],
            attack=self.attack and self.attack.take(replicas),
            run=self.run.take(replicas),
        )


@dataclass(frozen=True)
class _Progress:
    """Where a group stands: steps taken, what the optimizer and the early stop remember, generators of each replica."""

    step: int
    optimizer: State
    stop: State
    augmentation: tuple[torch.Generator, ...]
    attack: tuple[torch.Generator, ...]

    def take(self, replicas: slice, step: int) -> "_Progress":
        return _Progress(
            step,
            _rows(self.optimizer, replicas),
            _rows(self.stop, replicas),
            self.augmentation[replicas],
            self.attack[replicas],
        )


def _begin(whole: _Job, group: slice) -> _Progress:
    job = whole.take(group)
    places = torch.arange(group.start, group.stop, device=job.rate.device)
    return _Progress(
        0,
        job.algorithm.start(job.run.end),
        job.stop.start(places) if job.stop else {},
        tuple(stream(seed, "augmentation") for seed in job.seeds),
        tuple(stream(seed, "attack") for seed in job.seeds),
    )


def _rows(state: State, replicas: slice) -> State:
    return {name: tensor[replicas] if tensor.ndim else tensor.clone() for name, tensor in state.items()}


def _train_group(job: _Job, chunk: int, progress: _Progress) -> None:
    """Train some replicas, all of them at once in every step; those that an early stop leaves go on by themselves."""
    run, steps = job.run, job.run.losses.shape[1]
    weights = run.end
    # plain momentum needs no gradient of its own: adding to the velocity spares a pass through memory
    follows = job.algorithm if isinstance(job.algorithm, SGD) and job.algorithm.gathers else None
    gradient = progress.optimizer["velocity"] if follows else torch.zeros_like(weights.flat)
    keep = float(follows.momentum) if follows else 0.0
    chain = job.network.bind(weights, gradient)
    decay = job.decay if job.decay.any() else None
    whole, takes_loss = _whole_steps(job, chain, chunk), _takes_loss(job)
    together = _steps_together(job) if whole and takes_loss else 1
    for step, inputs, targets, count in _batches(job, progress.step, steps, together):
        if step in run.snapshots:
            run.snapshots[step].copy_(weights)
        inputs, targets = _changed(job, progress, weights, inputs, targets, chunk)
        rate = torch.cat([job.rate * job.schedule(step + later, steps) for later in range(count)], dim=1)
        if whole and takes_loss:
            run.losses[:, step : step + count] = whole.descend(inputs, targets, rate, decay, keep=keep)
        elif whole:
            follow = partial(whole.follow, rate=rate, decay=decay)
            run.losses[:, step] = _differentiate(job, chain, inputs, targets, chunk, keep=keep, backward=follow)
        else:
            run.losses[:, step] = _differentiate(job, chain, inputs, targets, chunk, keep=keep)
            if follows:
                follows.follow(weights, gradient, rate, decay)
            else:
                again = partial(_differentiate_again, weights, job, chain, inputs, targets, chunk)
                job.algorithm.step(weights, gradient, progress.optimizer, rate, decay, again)
        if job.stop is None:
            continue
        finished = job.stop.finished(progress.stop, step, run.losses[:, step], weights)
        if finished.any():
            _end(run, step + 1, finished)
            for part in _parts(~finished):
                _train_group(job.take(part), chunk, progress.take(part, step + 1))
            return
    _end(run, steps, torch.ones(len(job.seeds), dtype=torch.bool, device=weights.flat.device))


def _whole_steps(job: _Job, chain: Chain, chunk: int) -> PerceptronStep | None:
    """What takes whole steps without a pass over weights and gradients of its own: perceptrons, by plain SGD."""
    plain = isinstance(job.algorithm, SGD) and job.algorithm.plain
    batch = job.data.index.shape[1] if job.batch is None else job.batch
    return chain.perceptron if plain and batch <= chunk else None


def _takes_loss(job: _Job) -> bool:
    """Whether the loop of a whole step has the loss as well, of the outputs themselves."""
    if job.run.readout != Readout():
        return False
    if job.loss == losses.Reconstruction():
        return math.prod(job.network.input_shape) == job.network.outputs
    return job.loss == losses.CrossEntropy() and job.data.classes <= job.network.outputs


def _steps_together(job: _Job) -> int:
    """How many steps a loop of whole steps may take at a time: nothing happens between them, and inputs stay near."""
    if job.batch is None or job.augmentations or job.attack or job.stop:
        return 1
    inputs = job.data.inputs
    step = len(job.seeds) * job.batch * math.prod(job.network.input_shape) * inputs.element_size()
    return max(1, BATCHES_BYTES // step)


def _end(run: Run, taken: int, which: Tensor) -> None:
    """These replicas are done after `taken` steps: later snapshots are their last weights."""
    run.taken[which] = taken
    for step, kept in run.snapshots.items():
        if step >= taken:
            for part in _parts(which):
                kept.take(part).copy_(run.end.take(part))


def _parts(which: Tensor) -> list[slice]:
    """The runs of neighbours among the chosen replicas, so that each is a view of its tensors."""
    chosen = which.nonzero().flatten().tolist()
    starts = [r for r in chosen if r - 1 not in chosen]
    ends = [r + 1 for r in chosen if r + 1 not in chosen]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True)]


def _changed(
    job: _Job, progress: _Progress, weights: Weights, inputs: Tensor, targets: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """A batch after augmentation and attack."""
    if job.augmentations:
        same = targets is inputs
        inputs = augment(inputs, job.augmentations, progress.augmentation)
        targets = inputs if same else targets
    if job.attack is None:
        return inputs, targets
    frozen = Weights(weights.slots, weights.flat, {name: b.clone() for name, b in weights.buffers.items()})

    parts = _pieces(inputs.shape[1], chunk)

    def of_part(x: Tensor, wanted: Tensor) -> Tensor:
        outputs = job.network(frozen, x, training=True)
        return job.loss.each(job.run.readout.of(job.network, outputs, x), wanted)

    def of_inputs(x: Tensor, wanted: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(of_part(x, wanted).sum(), x)
        return found

    def each(x: Tensor) -> Tensor:
        return torch.cat([of_part(x[:, part], targets[:, part]) for part in parts], dim=1)

    def gradient(x: Tensor) -> Tensor:
        found = [of_inputs(x[:, part], targets[:, part]) for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    return job.attack.perturb(inputs, gradient, each, progress.attack), targets


def _differentiate_again(
    weights: Weights, job: _Job, chain: Chain, inputs: Tensor, targets: Tensor, chunk: int
) -> None:
    """The gradient of the same batch at weights that an algorithm tries; running statistics stay as they are."""
    kept = {name: buffer.clone() for name, buffer in weights.buffers.items() if name != noise.STATE}
    _differentiate(job, chain, inputs, targets, chunk)
    for name, buffer in kept.items():
        weights.buffers[name].copy_(buffer)


def _differentiate(
    job: _Job,
    chain: Chain,
    inputs: Tensor,
    targets: Tensor,
    chunk: int,
    *,
    keep: float = 0,
    backward: Callable[..., object] | None = None,
) -> Tensor:
    """Put the gradient of the mean loss where `chain` was bound to; give the mean loss, (replica,).

    `keep`: the share of what is there that stays below the gradient. `backward`: instead of the chain's own.

    The batch goes through in chunks of about `chunk` examples: sums of gradients are those of the whole batch.
    """
    backward = backward or chain.backward
    examples = inputs.shape[1]
    total = torch.zeros(len(inputs), device=inputs.device)
    for piece, part in enumerate(_pieces(examples, chunk)):
        x = inputs[:, part]
        outputs = chain.forward(x)
        seen = job.run.readout.of(job.network, outputs, x)
        each, of_outputs = job.loss.value_and_gradient(seen, targets[:, part])
        backward(job.run.readout.gradient(of_outputs).div_(examples), keep=1 if piece else keep)
        total += each.sum(dim=1)
    return total / examples


def _pieces(examples: int, chunk: int) -> list[slice]:
    """The examples of a batch in pieces of about the same length, of `chunk` at most.

    >>> _pieces(5, 2)
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    count = math.ceil(examples / chunk)
    return [slice(examples * piece // count, examples * (piece + 1) // count) for piece in range(count)]


def _sizes(network: Network, weights: Weights, data: Data, batch: int | None) -> tuple[int, int]:
    """Replicas to a group and examples to a pass, so that what a pass touches stays in cache, or fits elsewhere."""
    examples = min(batch or data.index.shape[1], data.index.shape[1])
    elsewhere = weights.flat.device.type != "cpu"
    if elsewhere and network.mixes:
        return weights.replicas, examples
    probe = data.take_replicas(slice(0, 1)).first(PROBE_EXAMPLES).inputs
    probe = channels_together(probe) if network.channels_last else probe
    touched = 2 * network.activation_bytes(weights, probe)  # activations and their gradients
    most = DEVICE_PASS_BYTES if elsewhere else PASS_BYTES
    chunk = examples if network.mixes else min(examples, max(SMALLEST_CHUNK, most // touched))
    if elsewhere:
        return weights.replicas, chunk
    if network.mode == "looped":
        return network.together(chunk), chunk
    optimizer = 3 * weights.flat.element_size() * weights.flat.shape[1]  # weights, gradient, momentum
    near = MODULE_BYTES if network.by_autograd else CACHE_BYTES
    return max(1, near // (optimizer + touched * chunk)), chunk


def _batches(job: _Job, first: int, steps: int, together: int) -> Iterator[tuple[int, Tensor, Tensor, int]]:
    """From step `first` on: a step, inputs (replica, example, ...) and targets of some steps, and how many those are.

    At most `together`, and none after the next snapshot or the end of an epoch, every one of which is a fresh shuffle.
    """
    examples, device = job.data.index.shape[1], job.data.index.device
    if job.batch is None:
        whole = _laid_out(job, job.data.first(examples))
        for step in range(first, steps):
            yield step, *whole, 1
        return
    per_epoch, step = examples // job.batch, first
    order = torch.empty(0)
    while step < steps:
        epoch, position = divmod(step, per_epoch)
        if position == 0 or step == first:
            shuffled = [torch.randperm(examples, generator=stream(seed, f"order-{epoch}")) for seed in job.seeds]
            order = torch.stack(shuffled).to(device)
        ends = (steps, step + together, (epoch + 1) * per_epoch, *job.run.snapshots)
        count = min(end for end in ends if end > step) - step
        chosen = order[:, position * job.batch : (position + count) * job.batch]
        yield step, *_laid_out(job, job.data.batch(chosen)), count
        step += count


def _laid_out(job: _Job, examples: Batch) -> tuple[Tensor, Tensor]:
    """Inputs in the network's memory order, and targets: the labels, or the inputs themselves for a reconstruction."""
    inputs = examples.inputs
    if job.network.channels_last:
        inputs = channels_together(inputs) if known(inputs) else by_replica(side_by_side(inputs), len(inputs))
    return inputs, inputs if isinstance(job.loss, losses.Reconstruction) else examples.labels


def common_replicas(data: Data, seeds: Sequence[int]) -> int:
    """How many replicas data and seeds are for; `ShapeError` if those are two numbers."""
    if data.replicas != len(seeds):
        raise ShapeError(f"data are for {data.replicas} replicas, {len(seeds)} seeds came")
    return len(seeds)


def column(value: Vector, replicas: int, name: str) -> Tensor:
    """A vector over replicas as (replica, 1), a copy; `name` for the `ShapeError` if it is for another number."""
    vector = torch.as_tensor(value, dtype=torch.float32)
    if vector.ndim > 1 or (vector.ndim == 1 and len(vector) != replicas):
        raise ShapeError(f"{name} must be a number or {replicas} numbers (one per seed), {tuple(vector.shape)} came")
    return vector.expand(replicas).reshape(replicas, 1).clone()
