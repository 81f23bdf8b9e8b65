"""What every training algorithm can do."""

from typing import Protocol

from torch import Tensor

from refute.architectures import Weights

State = dict[str, Tensor]


class Algorithm(Protocol):
    """`direction` says where to go (the weights then move by -rate * direction); `step` goes there, in place."""

    def start(self, weights: Weights) -> State:
        """A fresh state: tensors (replica, parameter)."""
        ...

    def direction(self, weights: Weights, gradient: Tensor, state: State, decay: Tensor) -> Tensor:
        """The step before the learning rate, (replica, parameter); may overwrite `gradient` and changes `state`."""
        ...

    def step(self, weights: Weights, gradient: Tensor, state: State, rate: Tensor, decay: Tensor) -> None:
        """Change the weights in place. rate and decay (weight decay) are (replica, 1)."""
        ...
