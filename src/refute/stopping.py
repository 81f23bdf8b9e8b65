"""Early stopping: when a replica has trained enough. A finished replica stays finished; the others go on.

A rule is a frozen value: `start(replicas)` makes its state, `finished(...)` is told of every step and says which
replicas are finished. Every tensor of the state leads with the axis replica and holds all that is a replica's own, so
that a state can be cut down to any of the replicas, like weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from refute.architectures import Weights
from refute.errors import UsageError

State = dict[str, Tensor]


class EarlyStop(Protocol):
    """What every rule can do."""

    def start(self, replicas: Tensor) -> State:
        """A fresh state for some replicas, given by their places in the cohort (replica,) int64."""
        ...

    def finished(self, state: State, step: int, losses: Tensor, weights: Weights) -> Tensor:
        """Which replicas are finished after `step` (0, 1, ...), bool (replica,); changes the state.

        `losses` (replica,): the training loss of this step's batch; `weights`: those after the step.
        """
        ...


@dataclass(frozen=True)
class LossBelow:
    """Finished when the mean training loss of the last `window` steps is below `threshold`, looked at every `every`.

    `threshold`: a number, or one per replica of the cohort, (replica,). A loss that is not a number is never below.
    """

    threshold: float | Tensor
    window: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        _at_least_one(window=self.window, every=self.every)

    def start(self, replicas: Tensor) -> State:
        threshold = torch.as_tensor(self.threshold, device=replicas.device)
        return {
            "threshold": threshold[replicas] if threshold.ndim else threshold.repeat(len(replicas)),
            # until the window is full its mean is infinite
            "recent": torch.full((len(replicas), self.window), torch.inf, device=replicas.device),
            "finished": torch.zeros_like(replicas, dtype=torch.bool),
        }

    def finished(self, state: State, step: int, losses: Tensor, weights: Weights) -> Tensor:  # noqa: ARG002
        state["recent"][:, step % self.window] = losses
        if (step + 1) % self.every == 0:
            state["finished"].logical_or_(state["recent"].mean(dim=1) < state["threshold"])
        return state["finished"]


@dataclass(frozen=True)
class Patience:
    """Finished when `patience` checks in a row have not beaten the best score (Goodfellow et al. 2016, algorithm 7.1).

    `score`: (weights, replicas) -> (replica,), higher is better, such as validation accuracy; `replicas` (replica,) are
    the places in the cohort of those whose weights come. It is asked for after every `every` steps. A score counts as
    better if it is more than `margin` above the best; one that is not a number never is.
    """

    score: Callable[[Weights, Tensor], Tensor]
    every: int
    patience: int = 5
    margin: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one(every=self.every, patience=self.patience)

    def start(self, replicas: Tensor) -> State:
        return {
            "replicas": replicas,
            "best": torch.full(replicas.shape, -torch.inf, device=replicas.device),
            "waited": torch.zeros_like(replicas),
            "finished": torch.zeros_like(replicas, dtype=torch.bool),
        }

    def finished(self, state: State, step: int, losses: Tensor, weights: Weights) -> Tensor:  # noqa: ARG002
        if (step + 1) % self.every == 0:
            score = self.score(weights, state["replicas"]).to(state["best"])
            better = score > state["best"] + self.margin
            state["best"][better] = score[better]
            state["waited"].add_(1).mul_(~better)
            state["finished"].logical_or_(state["waited"] >= self.patience)
        return state["finished"]


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"{name} of an early stop should be at least 1, but is {number}")
