"""The task, the same for every contestant, and what is asked of them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from contestants.nets import NETS, TRAIN, Net, data

LEARNING_RATE, MOMENTUM = 0.05, 0.9
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
AT_ENDS = 3
"""Steps whose mean is the loss at the beginning, and at the end."""
EVALUATED = {"dense": 1000, "conv": 250, "sequence": 250}
"""Test examples of a pass, by kind of net."""


class LeftOutError(Exception):
    """A contestant cannot do a net; the text says why."""


@dataclass(frozen=True)
class Task:
    """Train `replicas` of a net on batches of `batch`, each with its own initial weights and its own order of data."""

    net: str
    batch: int
    replicas: int

    @property
    def what(self) -> Net:
        return NETS[self.net]

    @property
    def per_epoch(self) -> int:
        return TRAIN // self.batch


@dataclass(frozen=True)
class Outcome:
    """Training loss of each replica's first and last steps; mean accuracy (or loss) on the test examples.

    `training_s` is how long the steps took, evaluation apart.
    """

    first_losses: list[float]
    last_losses: list[float]
    score: float
    training_s: float


@dataclass(frozen=True)
class Contestant:
    """`run(steps)` does the whole task; `prepare(steps)`, not timed with it, compiles for that number of steps."""

    run: Callable[[int], Outcome]
    prepare: Callable[[int], None] = lambda _: None
    remark: Callable[[], str] = lambda: ""


def outcome(losses: Tensor, score: float, training_s: float) -> Outcome:
    """Of losses (replica, step)."""
    first, last = losses[:, :AT_ENDS].mean(dim=1), losses[:, -AT_ENDS:].mean(dim=1)
    return Outcome(first.tolist(), last.tolist(), score, training_s)


def joined(parts: Sequence[Outcome], training_s: float) -> Outcome:
    """Of parts of the replicas."""
    first = [loss for part in parts for loss in part.first_losses]
    last = [loss for part in parts for loss in part.last_losses]
    score = sum(part.score * len(part.first_losses) for part in parts) / len(first)
    return Outcome(first, last, score, training_s)


@lru_cache(maxsize=1)
def loaded(net: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return data(NETS[net])


def made(net: Net, seed: int) -> nn.Module:
    """A replica's module with its initial weights."""
    torch.manual_seed(seed)
    return net.make()


def order(seed: int, epoch: int) -> Tensor:
    """In which order a replica sees the training examples in an epoch."""
    return torch.randperm(TRAIN, generator=torch.Generator().manual_seed(1000 * seed + epoch))


def loss_of(net: Net, outputs: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    if net.reconstructs:
        return nn.functional.mse_loss(outputs, inputs)
    return nn.functional.cross_entropy(outputs, labels)


def score_of(net: Net, outputs: Tensor, inputs: Tensor, labels: Tensor) -> float:
    """Mean over examples (and replicas, if outputs have that leading axis)."""
    if net.reconstructs:
        return float(nn.functional.mse_loss(outputs, inputs.expand_as(outputs)))
    return float((outputs.argmax(dim=-1) == labels).float().mean())
