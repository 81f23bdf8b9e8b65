"""Learning-rate schedules: what the base rate is multiplied with at a step."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A multiplier of the learning rate at `step` of `steps`."""

    def __call__(self, step: int, steps: int) -> float: ...


@dataclass(frozen=True)
class Constant:
    """Always 1."""

    def __call__(self, step: int, steps: int) -> float:  # noqa: ARG002
        return 1.0


@dataclass(frozen=True)
class Staircase:
    """Multiplied by `factor` at each of the fractions `at` of training.

    >>> schedule = Staircase(at=(0.5, 0.75), factor=0.1)
    >>> [round(schedule(step, 100), 3) for step in (0, 49, 50, 75)]
    [1.0, 1.0, 0.1, 0.01]
    """

    at: tuple[float, ...]
    factor: float = 0.1

    def __call__(self, step: int, steps: int) -> float:
        return self.factor ** sum(step >= fraction * steps for fraction in self.at)


@dataclass(frozen=True)
class Cosine:
    """(1 + cos(pi step / steps)) / 2 (Loshchilov & Hutter 2017, eq. 5, no restart).

    >>> round(Cosine()(50, 100), 3)
    0.5
    """

    def __call__(self, step: int, steps: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True)
class WarmUp:
    """Linear rise over the first `length` steps, then `then` on the steps that remain.

    >>> [WarmUp(length=4)(step, 100) for step in (0, 1, 3, 4)]
    [0.25, 0.5, 1.0, 1.0]
    """

    length: int
    then: Schedule = Constant()

    def __call__(self, step: int, steps: int) -> float:
        if step < self.length:
            return (step + 1) / self.length
        return self.then(step - self.length, max(1, steps - self.length))
