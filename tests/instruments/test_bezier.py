"""Bezier curves."""

import pytest
import torch
from small_nets import Case, case

from refute.architectures import Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.bezier import train_curve
from refute.instruments.objective import objective
from refute.instruments.paths import barrier, profile_of
from refute.randomness import stream


def exchanged(replicas: int = 2) -> tuple[Case, Weights, torch.Tensor]:
    """A net, the same with its hidden units reversed, and labels that it fits; width enough for a way around."""
    made = case(activation="tanh", depth=1, width=6, replicas=replicas, spread=0.0)
    made.weights.flat.mul_(2)
    swapped = made.weights.clone()
    for name, axis in (("dense1.weight", 1), ("dense1.bias", 1), ("output.weight", 2)):
        swapped[name].copy_(made.weights[name].flip(axis))
    labels = made.network.evaluate(made.weights, made.inputs).argmax(dim=2)
    return made._replace(inputs=made.inputs.expand(replicas, *made.inputs.shape)), swapped, labels


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_trained_bend_goes_around_a_barrier(optimizer: str) -> None:
    made, swapped, labels = exchanged()
    arguments = (made.network, made.weights, swapped, made.inputs, labels)
    rate = 0.05 if optimizer == "adam" else 0.1
    curve = train_curve(*arguments, seeds=made.seeds, steps=400, learning_rate=rate, optimizer=optimizer)  # type: ignore[arg-type]
    straight = train_curve(*arguments, seeds=made.seeds, steps=1, learning_rate=1e-12)
    heights = [barrier(profile_of(made.network, c.at, made.inputs, labels), kind="maximum") for c in (straight, curve)]
    assert bool((heights[1].loss < 0.5 * heights[0].loss).all())
    assert torch.equal(curve.at(0.0).flat, made.weights.flat)
    assert torch.equal(curve.at(1.0).flat, swapped.flat)


def test_points_of_quadratic_and_cubic_curves() -> None:
    made, swapped, labels = exchanged()
    for bends in (1, 2):
        curve = train_curve(
            made.network, made.weights, swapped, made.inputs, labels, seeds=made.seeds, steps=3, bends=bends
        )
        a, c = 0.3, curve.bends
        if bends == 1:
            expected = 0.49 * made.weights.flat + 0.42 * c[:, 0] + 0.09 * swapped.flat
        else:
            ends = 0.7**3 * made.weights.flat + 0.3**3 * swapped.flat
            expected = ends + 3 * 0.49 * a * c[:, 0] + 3 * 0.7 * a**2 * c[:, 1]
        assert torch.allclose(curve.at(a).flat, expected, atol=1e-12)


def test_one_step_of_gradient_descent_is_that_of_autograd() -> None:
    made, swapped, labels = exchanged()
    arguments = (made.network, made.weights, swapped, made.inputs, labels)
    curve = train_curve(*arguments, seeds=made.seeds, steps=1, batch=None, learning_rate=0.1, optimizer="sgd", bends=2)
    from_seeds = [torch.rand((), generator=generator, dtype=torch.float64) for generator in streams(made.seeds)]
    a = torch.stack(from_seeds).unsqueeze(1)
    ends = made.weights.flat, swapped.flat
    bends = [torch.lerp(*ends, k / 3).requires_grad_() for k in (1, 2)]
    point = (1 - a) ** 3 * ends[0] + 3 * (1 - a) ** 2 * a * bends[0] + 3 * (1 - a) * a**2 * bends[1] + a**3 * ends[1]
    outputs = made.network(Weights(made.weights.slots, point), made.inputs)
    loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="sum") / 20
    gradients = torch.autograd.grad(loss, bends)
    for k in (0, 1):
        assert torch.allclose(curve.bends[:, k], bends[k] - 0.1 * gradients[k], atol=1e-12)
    expected = objective(made.network, made.weights, made.inputs, labels).losses(point.detach())
    assert torch.allclose(curve.losses[:, 0], expected, atol=1e-12)


def streams(seeds: list[int]) -> list[torch.Generator]:
    return [stream(seed, "bezier") for seed in seeds]


def test_a_mask_keeps_the_curve_in_its_subspace() -> None:
    made, swapped, labels = exchanged()
    mask = (torch.arange(made.weights.flat.shape[1]) % 2).expand_as(made.weights.flat).double()
    first, second = made.weights.clone(), swapped.clone()
    first.flat.mul_(mask)
    second.flat.mul_(mask)
    curve = train_curve(made.network, first, second, made.inputs, labels, seeds=made.seeds, steps=5, mask=mask)
    assert not (curve.at(0.4).flat * (1 - mask)).any()
    assert curve.at(0.4).flat.any()


def test_packing_changes_nothing() -> None:
    made, swapped, labels = exchanged()
    found = train_curve(made.network, made.weights, swapped, made.inputs, labels, seeds=made.seeds, steps=20, batch=5)
    rows = slice(1, 2)
    alone = train_curve(
        made.network,
        made.weights.take(rows),
        swapped.take(rows),
        made.inputs[rows],
        labels[rows],
        seeds=made.seeds[rows],
        steps=20,
        batch=5,
    )
    assert torch.allclose(found.bends[rows], alone.bends, rtol=1e-9)


def test_an_unfinished_training_is_flagged_and_a_finished_one_is_not() -> None:
    made, _, labels = exchanged()
    made.weights.flat.mul_(0.1)
    arguments = (made.network, made.weights, made.weights, made.inputs, labels)
    short = train_curve(*arguments, seeds=made.seeds, steps=300, learning_rate=0.005)
    assert short.flags["still falling"].all()
    long = train_curve(*arguments, seeds=made.seeds, steps=1500, learning_rate=0.1)
    assert not long.flags["still falling"].any()


def test_what_does_not_fit_is_refused() -> None:
    made, swapped, labels = exchanged()
    arguments = (made.network, made.weights, swapped, made.inputs, labels)
    with pytest.raises(ShapeError, match="seeds must be 2"):
        train_curve(*arguments, seeds=[0])
    with pytest.raises(ShapeError, match="mask must be"):
        train_curve(*arguments, seeds=[0, 1], mask=torch.ones(2))
    with pytest.raises(UsageError, match="steps, bends and batch must be at least 1"):
        train_curve(*arguments, seeds=[0, 1], bends=0)
    with pytest.raises(UsageError, match='optimizer must be "sgd" or "adam"'):
        train_curve(*arguments, seeds=[0, 1], optimizer="lion")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="both ends"):
        train_curve(made.network, made.weights, swapped.take(slice(0, 1)), made.inputs, labels, seeds=[0, 1])
