"""What holds for every algorithm: packing, `take`, and the contract of `direction`, on a loss that is not quadratic.

Each replica r minimizes sum_i cos(a_ri w_ri + i), whose gradient is -a sin(a w + i).
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from refute.algorithms import SAM, SGD, Adam, Algorithm, Clipped, Layca, Masked
from refute.algorithms.adam import FUSED_FROM
from refute.architectures import Weights
from refute.architectures.layers import Slot

REPLICAS = 3
RATES = torch.tensor([[0.1], [0.01], [0.05]])
DECAYS = torch.tensor([[0.0], [0.1], [0.01]])
SLOTS = (Slot("dense1.weight", (4, 3), "he-normal"), Slot("dense1.bias", (4,), "zeros"))
LARGE = (Slot("dense1.weight", (FUSED_FROM // 10, 10), "he-normal"), Slot("dense1.bias", (4,), "zeros"))


@dataclass(frozen=True)
class Problem:
    """A cohort with its gradient buffer and its loss."""

    weights: Weights
    gradient: Tensor
    slopes: Tensor

    def again(self) -> None:
        places = torch.arange(self.slopes.shape[1], dtype=self.slopes.dtype)
        self.gradient.copy_(-self.slopes * torch.sin(self.slopes * self.weights.flat + places))

    def take(self, replicas: slice) -> "Problem":
        chosen = self.weights.take(replicas)
        return Problem(chosen, self.gradient[replicas].clone(), self.slopes[replicas])


def problem(slots: tuple[Slot, ...] = SLOTS) -> Problem:
    generator = torch.Generator().manual_seed(3)
    size = sum(torch.Size(slot.shape).numel() for slot in slots)
    flat, slopes = (torch.randn(REPLICAS, size, generator=generator) for _ in range(2))
    return Problem(Weights(slots, flat), torch.zeros(REPLICAS, size), slopes)


def mask(slots: tuple[Slot, ...] = SLOTS) -> Tensor:
    return problem(slots).slopes > 0


def train(algorithm: Algorithm, of: Problem, replicas: slice = slice(None), steps: int = 4) -> Tensor:
    state = algorithm.start(of.weights)
    assert all(len(tensor) == of.weights.replicas for tensor in state.values())
    for _ in range(steps):
        of.again()
        algorithm.step(of.weights, of.gradient, state, RATES[replicas], DECAYS[replicas], of.again)
    return of.weights.flat


MAKERS: dict[str, Callable[[tuple[Slot, ...]], Algorithm]] = {
    "sgd": lambda slots: SGD(),
    "momentum": lambda slots: SGD(0.9),
    "nesterov": lambda slots: SGD(0.9, nesterov=True),
    "adam": lambda slots: Adam(),
    "adamw": lambda slots: Adam(decoupled=True),
    "sam": lambda slots: SAM(SGD(0.9), rho=torch.tensor([[0.1], [0.5], [0.0]])),
    "asam": lambda slots: SAM(Adam(), rho=0.5, adaptive=True),
    "clipped": lambda slots: Clipped(SGD(0.9), norm=torch.tensor([[0.1], [1.0], [100.0]])),
    "masked": lambda slots: Masked(Adam(), mask(slots)),
    "layca": lambda slots: Layca(SGD(0.9), {"dense1.weight": torch.tensor([[1.0], [0.1], [0.5]])}),
    "nested": lambda slots: Masked(Clipped(SAM(Layca(Adam()), rho=0.1), norm=0.5), mask(slots)),
}
PLAIN = [name for name in MAKERS if name not in ("layca", "nested")]  # Layca turns kernels, on tensors of its own


@pytest.mark.parametrize("slots", [SLOTS, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_replica_alone_takes_the_same_steps(name: str, slots: tuple[Slot, ...]) -> None:
    algorithm = MAKERS[name](slots)
    together = train(algorithm, problem(slots))
    assert not torch.equal(together, problem(slots).weights.flat)
    for replica in range(REPLICAS):
        only = slice(replica, replica + 1)
        alone = train(algorithm.take(only), problem(slots).take(only), only)
        torch.testing.assert_close(alone[0], together[replica], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_goes_against_the_direction_times_the_rate(name: str) -> None:
    algorithm, of = MAKERS[name](SLOTS), problem()
    one, other = algorithm.start(of.weights), algorithm.start(of.weights)
    for _ in range(3):
        before = of.weights.flat.clone()
        of.again()
        direction = algorithm.direction(of.weights, of.gradient, one, DECAYS, of.again)
        assert direction is of.gradient
        assert torch.equal(of.weights.flat, before)
        expected = before - RATES * direction
        of.again()
        algorithm.step(of.weights, of.gradient, other, RATES, DECAYS, of.again)
        torch.testing.assert_close(of.weights.flat, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_no_decay_is_decay_of_zero(name: str) -> None:
    algorithm = MAKERS[name](SLOTS)
    ends = []
    for decay in (None, torch.zeros(REPLICAS, 1)):
        of = problem()
        state = algorithm.start(of.weights)
        for _ in range(2):
            of.again()
            algorithm.step(of.weights, of.gradient, state, RATES, decay, of.again)
        ends.append(of.weights.flat)
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_allocates_nothing_of_the_size_of_the_weights(name: str) -> None:
    algorithm, of = MAKERS[name](LARGE), problem(LARGE)
    state = algorithm.start(of.weights)
    again = lambda: None
    of.again()
    algorithm.step(of.weights, of.gradient, state, RATES, DECAYS, again)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        algorithm.step(of.weights, of.gradient, state, RATES, DECAYS, again)
    largest = max((event.self_cpu_memory_usage for event in profile.key_averages()), default=0)
    assert largest < of.weights.flat.numel() * of.weights.flat.element_size() // 2
