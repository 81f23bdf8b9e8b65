"""What every training algorithm can do."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from refute.architectures import Weights

State = dict[str, Tensor]
"""What an algorithm remembers between steps; every tensor leads with the axis replica."""

Again = Callable[[], object]
"""Writes the gradient of the same batch at the current weights into the gradient buffer; changes nothing else."""


class Algorithm(Protocol):
    """`direction` says where to go (the weights then move by -rate * direction); `step` goes there.

    Both work in place. Their arguments: `weights`; `gradient`, the gradient buffer (replica, parameter); `state`, from
    `start`; `decay`, weight decay (replica, 1), or None if no replica has any; `again`, see `Again`.
    """

    def start(self, weights: Weights) -> State:
        """A fresh state."""
        ...

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor | None, again: Again) -> Tensor:
        """The step before the learning rate; it is written into `gradient`, which is returned."""
        ...

    def step(
        self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor | None, again: Again
    ) -> None:
        """Move the weights; rate is (replica, 1). What is left in `gradient` has no meaning."""
        ...

    def take(self, replicas: slice) -> "Algorithm":
        """The algorithm for some of the cohort's replicas; what is a vector over replicas becomes a view of it."""
        ...


def take(value: float | Tensor, replicas: slice) -> float | Tensor:
    """A hyper-parameter, a number or (replica, 1), for some of the replicas."""
    return value[replicas] if isinstance(value, Tensor) else value
