"""Layca against an implementation for one network, one kernel at a time, in float64 numpy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refute import architectures, datasets
from refute.algorithms import SGD, Adam, Algorithm, Layca
from refute.architectures import Network, Weights
from refute.training import train

SEEDS = (1, 2, 3)
RATES = torch.tensor([[0.5], [0.05], [0.001]])
NETWORK = architectures.build("mlp", (6,), 4, depth=2, width=5, normalization="batch")


def never() -> None:
    raise AssertionError("only SAM asks for a second gradient")


def turned(kernel: NDArray[np.float64], step: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """The official code's update of one kernel."""
    w, s = kernel.ravel(), step.ravel()
    norm = math.sqrt(w @ w)
    s = s - (s @ w) / norm**2 * w
    length = math.sqrt(s @ s)
    s = s * norm / length if length > 1e-7 else np.zeros_like(s)
    w = w - rate * s
    return (w * norm / math.sqrt(w @ w)).reshape(kernel.shape)


def made() -> tuple[Weights, torch.Tensor]:
    weights = NETWORK.initialize(SEEDS)
    return weights, torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(5))


def angle(before: torch.Tensor, after: torch.Tensor) -> float:
    a, b = before.double().flatten(), after.double().flatten()
    return 2 * math.atan2(float((a / a.norm() - b / b.norm()).norm()), float((a / a.norm() + b / b.norm()).norm()))


def test_a_step_is_that_of_the_official_code() -> None:
    weights, gradient = made()
    before = weights.clone()
    multipliers = {"dense2.weight": torch.tensor([[1.0], [0.1], [10.0]])}
    Layca(rates=multipliers).step(weights, gradient.clone(), {}, RATES, None, never)
    steps = Weights(weights.slots, gradient)
    for name in NETWORK.kernels:
        for replica in range(3):
            rate = float(RATES[replica]) * float(multipliers[name][replica] if name in multipliers else 1)
            expected = turned(before[name][replica].double().numpy(), steps[name][replica].double().numpy(), rate)
            np.testing.assert_allclose(weights[name][replica].numpy(), expected, rtol=1e-5, atol=1e-7)


def test_a_step_keeps_every_norm_and_turns_by_the_arctangent_of_the_rate() -> None:
    weights, gradient = made()
    before = weights.clone()
    Layca().step(weights, gradient, {}, RATES, None, never)
    for name in NETWORK.kernels:
        for replica in range(3):
            a, b = before[name][replica], weights[name][replica]
            assert b.norm().item() == pytest.approx(a.norm().item(), rel=1e-6)
            assert angle(a, b) == pytest.approx(math.atan(float(RATES[replica])), rel=1e-3)


def test_nothing_but_kernels_moves() -> None:
    weights, gradient = made()
    before = weights.clone()
    Layca().step(weights, gradient, {}, RATES, None, never)
    others = set(weights) - set(NETWORK.kernels)
    assert others
    assert all(torch.equal(weights[name], before[name]) for name in others)


def test_a_kernel_without_a_step_stays_and_is_counted() -> None:
    weights, gradient = made()
    steps = Weights(weights.slots, gradient)
    steps["dense1.weight"][0] = 0
    steps["dense2.weight"][0] *= 1e-9
    steps["dense1.weight"][2] = 3e-8 * weights["dense1.weight"][2]
    before, idle = weights.clone(), torch.zeros(3, 1)
    Layca(idle=idle).step(weights, gradient, {}, RATES, None, never)
    assert idle[:, 0].tolist() == [2, 0, 1]
    assert torch.allclose(weights["dense1.weight"][0], before["dense1.weight"][0], rtol=1e-6)
    assert torch.isfinite(weights.flat).all()


def test_the_step_depends_only_on_the_directions_direction() -> None:
    one, gradient = made()
    other = one.clone()
    Layca().step(one, gradient.clone(), {}, RATES, None, never)
    Layca().step(other, 1000 * gradient, {}, RATES, None, never)
    assert torch.allclose(one.flat, other.flat, rtol=1e-4, atol=1e-6)


def test_some_replicas_alone_take_the_same_step_and_count_into_the_same_tensor() -> None:
    together, gradient = made()
    alone, idle = together.clone(), torch.zeros(3, 1)
    Weights(together.slots, gradient)["dense1.weight"][2] = 0
    multipliers = {"dense2.weight": torch.tensor([[1.0], [0.1], [10.0]])}
    Layca(rates=multipliers).step(together, gradient.clone(), {}, RATES, None, never)
    last = slice(1, 3)
    Layca(rates=multipliers, idle=idle).take(last).step(
        alone.take(last), gradient[last].clone(), {}, RATES[last], None, never
    )
    torch.testing.assert_close(alone.flat[last], together.flat[last])
    assert idle[:, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("inner", [SGD(), Adam()], ids=["sgd", "adam"])
def test_training_keeps_norms_and_a_replica_alone_is_the_same(inner: Algorithm) -> None:
    def trained(seeds: tuple[int, ...]) -> tuple[Network, Weights, Weights]:
        data = datasets.load("digits", train=200, seeds=seeds, flatten=True)
        network = architectures.build("mlp", data.input_shape, 10, depth=2, width=8, bias=False)
        rates = [0.1 / seed for seed in seeds]
        run = train(network, data, Layca(inner), learning_rate=rates, seeds=seeds, steps=20, batch=50)
        return network, run.start, run.end

    network, start, end = trained(SEEDS)
    _, _, alone = trained(SEEDS[1:2])
    for name in network.kernels:
        norms = (weights[name].flatten(1).double().norm(dim=1) for weights in (start, end))
        torch.testing.assert_close(*norms, rtol=1e-5, atol=0)
        assert not torch.equal(start[name], end[name])
        torch.testing.assert_close(alone[name][0], end[name][1], rtol=1e-3, atol=1e-4)
