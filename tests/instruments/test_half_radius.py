"""Half-accuracy radii against the distances of linear nets, whose median they are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import case
from torch import nn

from refute import architectures
from refute.architectures import Network, Weights
from refute.errors import ShapeError, UsageError
from refute.instruments.half_radius import half_accuracy_noise, half_accuracy_radius
from refute.instruments.hessian import cast
from refute.instruments.interface import trusted
from refute.instruments.robustness import robust_accuracy

Linear = tuple[Network, Weights, torch.Tensor, torch.Tensor, torch.Tensor]


def linear(norm: str, replicas: int = 3, examples: int = 400, wrong: int = 40) -> Linear:
    """Two-class linear nets, examples, labels, and each right example's distance from the plane (inf where wrong)."""
    network = architectures.build("mlp", (6,), 2, depth=0)
    weights = cast(network.initialize(list(range(replicas))), torch.float64)
    inputs = torch.randn(replicas, examples, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = network.evaluate(weights, inputs)
    labels = outputs.argmax(dim=2)
    labels[:, :wrong] = 1 - labels[:, :wrong]
    slope = weights["output.weight"][:, 1] - weights["output.weight"][:, 0]
    size = slope.norm(dim=1) if norm == "l2" else slope.abs().sum(dim=1)
    away = (outputs[..., 1] - outputs[..., 0]).abs() / size.unsqueeze(1)
    return network, weights, inputs, labels, away[:, wrong:]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", [0.001, 0.1, 8.0])
def test_it_is_the_median_distance_of_the_right_examples(norm: str, start: float) -> None:
    network, weights, inputs, labels, away = linear(norm)
    found = half_accuracy_radius(
        network, weights, inputs, labels, seeds=[0, 1, 2], start=start, norm=norm, precision=1e-4, visits=60  # type: ignore[arg-type]
    )  # fmt: skip
    ordered = away.sort(dim=1).values
    assert bool(trusted(found).all())
    assert torch.allclose(found.clean, torch.full((3,), 0.9, dtype=torch.float64))
    # half of 360 right ones have fallen between the distances 180 and 181
    assert bool((found.radius >= ordered[:, 178] * 0.999).all())
    assert bool((found.radius <= ordered[:, 181] * 1.001).all())


def test_accuracy_at_the_radius_is_half() -> None:
    made = case(examples=200, spread=0.5)
    labels = made.network.evaluate(made.weights, made.inputs).argmax(dim=2)
    inputs = made.inputs.expand(3, -1, -1).clone()
    found = half_accuracy_radius(made.network, made.weights, inputs, labels, seeds=made.seeds, start=0.05)
    at = robust_accuracy(
        made.network, made.weights, inputs, labels, radii=found.radius.unsqueeze(1), seeds=made.seeds
    ).accuracy[:, 0]  # fmt: skip
    assert bool(((at - found.clean / 2).abs() < 0.02).all())
    assert bool((found.low <= found.radius).all() & (found.radius <= found.high).all())


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 20.0))
def test_scaling_the_inputs_scales_it_and_scaling_the_outputs_does_not(factor: float) -> None:
    network, weights, inputs, labels, _ = linear("l2", replicas=1, examples=100)
    options = {"seeds": [0], "norm": "l2", "random_starts": 0}
    base = half_accuracy_radius(network, weights, inputs, labels, start=0.1, **options)  # type: ignore[arg-type]
    bias = weights.clone()
    bias["output.bias"].mul_(factor)
    moved = half_accuracy_radius(network, bias, factor * inputs, labels, start=0.1 * factor, **options)  # type: ignore[arg-type]
    assert moved.radius.item() == pytest.approx(factor * base.radius.item(), rel=1e-9)
    scaled = Weights(weights.slots, weights.flat * 3.0, weights.buffers)
    assert half_accuracy_radius(network, scaled, inputs, labels, start=0.1, **options).radius.item() == pytest.approx(  # type: ignore[arg-type]
        base.radius.item(), rel=1e-9
    )


def test_packing_changes_nothing() -> None:
    made = case(examples=60)
    whole = half_accuracy_radius(made.network, made.weights, made.inputs, made.labels, seeds=made.seeds, start=0.1)
    for replica in range(3):
        rows = slice(replica, replica + 1)
        alone = half_accuracy_radius(
            made.network, made.weights.take(rows), made.inputs, made.labels, seeds=made.seeds[rows], start=0.1
        )
        assert torch.allclose(alone.radius, whole.radius[rows], rtol=1e-9, equal_nan=True)
        assert torch.allclose(alone.octaves, whole.octaves[rows], rtol=1e-9, equal_nan=True)


def test_noise_at_which_a_linear_net_errs_on_half_is_flagged_as_chance_and_found_for_a_threshold() -> None:
    # three classes: right only within |x| < 1; noise s leaves the origin there with chance erf(1 / (s sqrt 2)) = 1/2
    module = nn.Linear(1, 3)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.0], [1.0], [-1.0]]))
        module.bias.copy_(torch.tensor([0.0, -1.0, -1.0]))
    inputs, labels = torch.zeros(4000, 1), torch.zeros(4000).long()
    found = half_accuracy_noise(module, None, inputs, labels, seeds=[0], start=0.1, draws=5)
    exact = 1 / (math.sqrt(2) * torch.erfinv(torch.tensor(0.5)).item())
    assert found.radius.item() == pytest.approx(exact, rel=0.02)
    assert abs(math.log2(found.radius.item() / exact)) < 5 * found.octaves.item()
    assert bool(found.flags["half is near chance"])  # 0.5 of 3 classes


def test_what_has_no_half_radius_says_so() -> None:
    network, weights, inputs, labels, _ = linear("linf", replicas=1)
    found = half_accuracy_radius(network, weights, inputs, labels, seeds=[0], start=0.001, largest=0.002)
    assert bool(found.flags["never half"])
    assert bool(found.radius.isnan())
    few = half_accuracy_radius(network, weights, inputs, labels, seeds=[0], start=0.1, visits=4)
    assert bool(few.flags["not bracketed closely"] | few.flags["never half"])


def test_refusals() -> None:
    made = case()
    arguments = (made.network, made.weights, made.inputs, made.labels)
    with pytest.raises(UsageError, match="start must be above 0"):
        half_accuracy_radius(*arguments, seeds=made.seeds, start=0.0)
    with pytest.raises(UsageError, match="within smallest"):
        half_accuracy_radius(*arguments, seeds=made.seeds, start=0.1, largest=0.05)
    with pytest.raises(ShapeError, match="seeds must be 3"):
        half_accuracy_radius(*arguments, seeds=[0], start=0.1)
    with pytest.raises(ShapeError, match="inputs must be"):
        half_accuracy_radius(made.network, made.weights, made.inputs[:, :2], made.labels, seeds=made.seeds, start=0.1)
