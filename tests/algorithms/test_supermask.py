"""Learning which weights to keep: the gradient by the logits, the draws, and what never moves."""

import pytest
import torch
from torch import Tensor

from refute import architectures, datasets
from refute.algorithms import SGD, Adam, Supermask
from refute.algorithms.supermask import drawn, masked
from refute.architectures import Weights
from refute.architectures.layers import Slot
from refute.errors import ShapeError, UsageError
from refute.instruments import accuracy
from refute.training import train

SLOTS = (Slot("dense1.weight", (4, 3), "he-normal"), Slot("dense1.bias", (4,), "zeros"))


def values(seed: int, replicas: int = 2) -> Tensor:
    return torch.randn(replicas, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rescaled", [False, True])
def test_a_step_follows_the_straight_through_gradient_of_autograd(rescaled: bool) -> None:
    """d loss / d s with m = b + sigmoid(s) - stop(sigmoid(s)) and w = w_i m c, as an autograd graph has it."""
    initial, logits = Weights(SLOTS, values(0)), values(1)
    algorithm = Supermask(SGD(), initial, logits.clone(), (3, 4), rescaled)
    weights = algorithm.draw(0)
    target, before = values(2), logits.clone().requires_grad_()
    bits = drawn(logits, (3, 4), "supermask-0")
    chances = torch.sigmoid(before)
    through = bits + chances - chances.detach()
    factor = 12 / bits[:, :12].sum(dim=1, keepdim=True) if rescaled else 1.0
    kernel = initial.flat[:, :12] * through[:, :12] * factor
    torch.testing.assert_close(kernel.detach(), weights.flat[:, :12])
    (target[:, :12] * kernel).sum().backward()  # type: ignore[no-untyped-call]

    state = algorithm.start(weights)
    rate = torch.full((2, 1), 0.5)
    algorithm.step(weights, target.clone(), state, rate, None, lambda: None)
    assert before.grad is not None
    torch.testing.assert_close(algorithm.logits, logits - 0.5 * before.grad)
    torch.testing.assert_close(weights.flat, algorithm.draw(1).flat)


def test_biases_keep_their_values_and_kernels_are_zero_or_initial() -> None:
    initial, logits = Weights(SLOTS, values(0)), torch.zeros(2, 16)
    algorithm = Supermask(Adam(), initial, logits, (3, 4))
    weights = algorithm.draw(0)
    state = algorithm.start(weights)
    for step in range(5):
        algorithm.step(weights, values(step), state, torch.full((2, 1), 0.1), None, lambda: None)
        torch.testing.assert_close(weights.flat[:, 12:], initial.flat[:, 12:], rtol=0, atol=0)
        kept = weights.flat[:, :12] != 0
        torch.testing.assert_close(weights.flat[:, :12][kept], initial.flat[:, :12][kept], rtol=0, atol=0)
    torch.testing.assert_close(logits[:, 12:], torch.zeros(2, 4))
    assert (logits[:, :12] != 0).all()


def test_masks_are_drawn_with_their_chances_and_anew_at_each_purpose() -> None:
    logits = torch.full((1, 40_000), 1.0)
    first, second = drawn(logits, (5,), "a"), drawn(logits, (5,), "b")
    assert first.mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, drawn(logits, (5,), "a"))


def test_rescaling_divides_by_the_share_kept_of_each_kernel() -> None:
    weights = Weights(SLOTS, torch.ones(2, 16))
    mask = torch.ones(2, 16)
    mask[0, :6] = 0
    mask[1, :12] = 0
    found = masked(weights, mask, rescaled=True)
    torch.testing.assert_close(found.flat[0], torch.tensor([0.0] * 6 + [2.0] * 6 + [1.0] * 4))
    torch.testing.assert_close(found.flat[1], torch.tensor([0.0] * 12 + [1.0] * 4))


def test_a_net_learns_by_masks_alone_and_packing_changes_nothing() -> None:
    network = architectures.build("lenet", (1, 8, 8), 10, variant="32-16")

    def learned(seeds: tuple[int, ...]) -> Tensor:
        data = datasets.load("digits", train=500, seeds=seeds)
        logits = torch.zeros(len(seeds), network.parameters())
        algorithm = Supermask(Adam(), network.initialize(seeds), logits, seeds)
        run = train(
            network, data, algorithm, learning_rate=0.1, seeds=seeds, steps=200, batch=50, start=algorithm.draw(0)
        )
        assert not run.diverged.any()
        final = masked(algorithm.initial, (logits > 0).float())
        assert (accuracy(network, final, data.test_inputs, data.test_labels) > 0.4).all()
        return logits

    together = learned((1, 2))
    torch.testing.assert_close(together[1:], learned((2,)), rtol=1e-3, atol=1e-3)


def test_misuse_is_refused() -> None:
    initial = Weights(SLOTS, values(0))
    with pytest.raises(ShapeError, match=r"2 seeds|1 seeds"):
        Supermask(SGD(), initial, torch.zeros(2, 16), (1,))
    algorithm = Supermask(SGD(), initial, torch.zeros(2, 16), (1, 2))
    with pytest.raises(UsageError, match="logits"):
        algorithm.direction(initial, values(1), {}, None, lambda: None)
